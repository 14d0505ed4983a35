"""A probe: many variants of one input run in batches, for their scores and the scores' gradients."""

from __future__ import annotations

from collections.abc import Mapping

from onnxviz.errors import InputError, SelectionError, UnsupportedGradientError
from onnxviz.gradients.add_gradient import add_gradient
from onnxviz.gradients.gradient import GradientSession
from onnxviz.gradients.step import Mode
from onnxviz.inputs.samples import Feeds
from onnxviz.messages import dims, meant, option, printable
from onnxviz.model.axes.axis_trace import AxisTrace
from onnxviz.model.axes.said_axes import saying_axes
from onnxviz.model.batch_axis import batch_inputs
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.model import Model
from onnxviz.model.ports import Port
from onnxviz.runtime.batching import MAX_GRADIENT_BATCH, Batching
from onnxviz.runtime.measured_axes import axes_on
from onnxviz.runtime.session import RunOptions, Session

_DEFAULT_OPTIONS = RunOptions()


class Probe:
    """A model made ready to be asked the same thing of many inputs; sessions are made once for each size of input.

    Args:
        model: the model.
        target: the tensor whose values are the scores.
        wrt: name of the input that is explained, if the model has several.
        options: how it is run.

    Raises:
        SelectionError: there is no such input, or there are several.
        InputError: it has no batch axis.
    """

    def __init__(
        self,
        model: Model,
        target: str,
        wrt: str | None = None,
        options: RunOptions = _DEFAULT_OPTIONS,
    ) -> None:
        self.model = model
        self.target = target
        self.port = _explained(model, wrt)
        if self.port.shape is not None and self.port.name not in batch_inputs(model.inputs):
            raise InputError(
                f"input '{printable(self.port.name)}' of {model.label} is {dims(self.port.shape)}, without a batch "
                "axis in front; explanations run many variants of a sample: export the model with one (n x …)"
            )
        if self.port.shape is not None and len(self.port.shape) == 5 and not self.port.layout:
            name = printable(self.port.name)
            raise InputError(
                f"what the axes of input '{name}' ({dims(self.port.shape)}) count cannot be told from the graph: say "
                f"it, {saying_axes(self.port.name, 'N,V,C,H,W')} for views, N,C,D,H,W for volumes"
            )
        self.batching = Batching.of(model, options.memory, limit=MAX_GRADIENT_BATCH)
        self.options = options
        self._sessions: dict[tuple[str, ...], Session] = {}
        self._slopes: dict[object, tuple[GradientSession, int]] = {}
        self.checked: set[GradientSession] = set()
        self._shapes: dict[object, Shapes] = {}
        self._axes: dict[object, AxisTrace] = {}

    def session(self, tensors: tuple[str, ...]) -> Session:
        """A session that gives these tensors."""
        if tensors not in self._sessions:
            self._sessions[tensors] = Session.of(self.model, tensors, self.options)
        return self._sessions[tensors]

    def shapes(self, sizes: Mapping[str, tuple[int, ...]]) -> Shapes:
        """The shapes of all tensors for inputs of these sizes."""
        key = tuple(sorted(sizes.items()))
        if key not in self._shapes:
            self._shapes[key] = self.model.shapes_at(sizes)
        return self._shapes[key]

    def axes(self, feeds: Feeds) -> AxisTrace:
        """What the axes of the target, and of the tensors before it, count on such inputs."""
        sizes = {name: array.shape for name, array in feeds.items()}
        key = tuple(sorted(sizes.items()))
        if key not in self._axes:
            samples = self.batching.count(feeds)
            self._axes[key] = axes_on(self.model, feeds, self.shapes(sizes), samples, [self.target], self.options)
        return self._axes[key]

    def slope(
        self, sizes: Mapping[str, tuple[int, ...]], wrt: str | tuple[str, ...], mode: Mode
    ) -> tuple[GradientSession, int]:
        """A session that gives ∂⟨seed, target⟩/∂wrt, and the batch that it takes, 0 for any.

        Raises:
            UnsupportedGradientError: the target is not differentiable with respect to `wrt`.
        """
        key = (tuple(sorted(sizes.items())), wrt, mode)
        if key in self._slopes:
            return self._slopes[key]
        ports = {port.name: port for port in self.model.inputs}
        pinned = {name: (_first(ports[name], size[0]), *size[1:]) for name, size in sizes.items() if ports[name].shape}
        opened = {
            name: (_first(ports[name], "batch"), *size[1:]) if name in self.batching.inputs else size
            for name, size in pinned.items()
        }
        batch = self.batching.fixed or 0
        try:
            gradient = add_gradient(self.model, self.target, wrt, shapes=opened, mode=mode)
        except UnsupportedGradientError:
            if opened == pinned:
                raise
            gradient, batch = add_gradient(self.model, self.target, wrt, shapes=pinned, mode=mode), 1
        session = GradientSession(gradient, self.options)
        self._slopes[key] = session, batch
        return self._slopes[key]


def _first(port: Port, otherwise: int | str) -> int | str:
    """The batch of an input, `otherwise` where the model leaves it open."""
    first = port.shape[0] if port.shape else None
    return first if isinstance(first, int) else otherwise


def _explained(model: Model, wrt: str | None) -> Port:
    """The input whose parts are held responsible."""
    there = ", ".join(printable(port.name) for port in model.inputs) or "none"
    if wrt is not None:
        found = next((port for port in model.inputs if port.name == wrt), None)
        if found is None:
            hint = meant(wrt, [port.name for port in model.inputs])
            raise SelectionError(f"{model.label} has no input '{printable(wrt)}'; {hint}it has {there}")
        return found
    images = [port for port in model.inputs if port.layout]
    candidates = images or list(model.inputs)
    if len(candidates) != 1:
        raise SelectionError(
            f"{model.label} has {len(model.inputs)} inputs ({there}): say which one is to be explained "
            f"({option('wrt', 'NAME')})"
        )
    return candidates[0]
