"""Many variants of one input through one model, in batches: their scores, and the gradients of those."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
from onnx import NodeProto

from onnxviz.batch_axis import batch_inputs
from onnxviz.batching import MAX_GRADIENT_BATCH, Batching, pad_rows
from onnxviz.errors import InputError, SelectionError, UnsupportedGradientError
from onnxviz.explain.target import Target
from onnxviz.failures import Progress
from onnxviz.gradients import Differentiated, GradientSession, add_gradient
from onnxviz.gradients.slope import doubt
from onnxviz.gradients.step import Mode
from onnxviz.graph import Tap, expose
from onnxviz.inputs import Feeds
from onnxviz.model import Model, Port
from onnxviz.runtime import RunOptions, Session
from onnxviz.shapes import Shapes
from onnxviz.text import dims, printable
from onnxviz.weights import Array

_DEFAULT_OPTIONS = RunOptions()
_CHANNEL = {"NCHW": 0, "NHWC": 2, "NCW": 0, "NWC": 1, "NCDHW": 0, "NDHWC": 3}


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
        self.batching = Batching.of(model, options.memory, limit=MAX_GRADIENT_BATCH)
        self.options = options
        self._sessions: dict[tuple[str, ...], Session] = {}
        self._slopes: dict[object, tuple[GradientSession, int]] = {}
        self.checked: set[GradientSession] = set()
        self._shapes: dict[object, Shapes] = {}

    def exposed(self, tensors: tuple[str, ...]) -> onnx.ModelProto:
        """The part of the model that gives these tensors."""
        return expose(self.model, [Tap(name) for name in tensors]).proto

    def session(self, tensors: tuple[str, ...]) -> Session:
        """A session that gives these tensors."""
        if tensors not in self._sessions:
            self._sessions[tensors] = Session.of(self.model, self.exposed(tensors), self.options)
        return self._sessions[tensors]

    def shapes(self, sizes: Mapping[str, tuple[int, ...]]) -> Shapes:
        """The shapes of all tensors for inputs of these sizes."""
        key = tuple(sorted(sizes.items()))
        if key not in self._shapes:
            self._shapes[key] = Shapes(self.model.proto, sizes)
        return self._shapes[key]

    def slope(self, sizes: Mapping[str, tuple[int, ...]], wrt: str, mode: Mode) -> tuple[GradientSession, int]:
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
            raise SelectionError(f"{model.label} has no input '{printable(wrt)}'; it has {there}")
        return found
    images = [port for port in model.inputs if port.layout]
    candidates = images or list(model.inputs)
    if len(candidates) != 1:
        raise SelectionError(
            f"{model.label} has {len(model.inputs)} inputs ({there}): say which one is to be explained "
            "(--wrt NAME, wrt=…)"
        )
    return candidates[0]


@dataclass(frozen=True, eq=False)
class Case:
    """One sample under a probe.

    Attributes:
        probe: the model.
        feeds: the sample's arrays by input name, one row each.
        target: what is scored; None until that is decided.
        progress: called with (variants run, variants in all); None to be silent.
    """

    probe: Probe
    feeds: Feeds
    target: Target | None = None
    progress: Progress | None = None

    def scoring(self, target: Target) -> Case:
        """This sample with something to score."""
        found = replace(self, target=target)
        vars(found)["base"] = self.base
        return found

    @property
    def x(self) -> Array:
        """The array that is explained, without the batch axis where it has one."""
        array: Array = self.feeds[self.probe.port.name]
        row: Array = array[0] if self._rows else array
        return row

    @property
    def _rows(self) -> bool:
        return self.probe.port.name in self.probe.batching.inputs

    @property
    def channel_axis(self) -> int | None:
        """Which axis of `x` counts channels, None if there is none."""
        return _CHANNEL.get(self.probe.port.layout)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The sizes of the other axes of `x`."""
        return tuple(size for axis, size in enumerate(self.x.shape) if axis != self.channel_axis)

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every input."""
        return {name: array.shape for name, array in self.feeds.items()}

    def channels_first(self, array: Array) -> Array:
        """An array like `x` with its channels in front, or as it is where there are none."""
        found: Array = array if self.channel_axis is None else np.moveaxis(array, self.channel_axis, 0)
        return found

    def over_channels(self, mask: Array) -> Array:
        """Masks (n, spatial…) as arrays that multiply variants of `x`, (n, …)."""
        found: Array = mask if self.channel_axis is None else np.expand_dims(mask, self.channel_axis + 1)
        return found

    def values(self, tensor: str) -> Array:
        """A tensor's values on the sample, without the batch axis."""
        found: Array = self._run((tensor,), self.x[None])[0][0]
        return found

    @cached_property
    def base(self) -> Array:
        """The target's values on the sample, without the batch axis."""
        return self.values(self.probe.target)

    @cached_property
    def score(self) -> float:
        """The sample's score."""
        return float(self._scored.score(self.base[None])[0])

    @property
    def _scored(self) -> Target:
        assert self.target is not None, "no target was chosen"
        return self.target

    @cached_property
    def batch(self) -> int:
        """How many variants run at a time: as many as the model insists on, or as the budget holds.

        One, where a row of a batch does not give what it gives alone: ranges that a batch shares, loops.
        """
        if not self._rows:
            return 1
        batching, target = self.probe.batching, (self.probe.target,)
        size = batching.size(4 * (3 * self.probe.shapes(self.sizes).largest + self.x.size))
        if size == 1:
            return 1
        proto, session = self.probe.exposed(target), self.probe.session(target)

        def run(feeds: Feeds) -> list[Array]:
            return session.run(target, {name: feeds[name] for name in session.inputs})

        alone = [(self.base[None], 0)]
        return size if batching.independent(proto, self.feeds, alone, run) else 1

    def gradient_batch(self, wrt: str, mode: Mode) -> int:
        """As `batch`, for gradients, which keep every activation."""
        _, fixed = self.probe.slope(self.sizes, wrt, mode)
        if fixed or self.batch == 1:
            return fixed or 1
        shapes = self.probe.shapes(self.sizes)
        kept = sum(_elements(shapes, node) for node in self.probe.model.proto.graph.node)
        return min(self.batch, self.probe.batching.affordable(4 * 3 * kept))

    def scores(self, variants: Array) -> Array:
        """The score of each variant of `x`: (n, …) to (n,) float64."""
        return self._scored.score(self._run((self.probe.target,), variants)[0])

    def probabilities(self, variants: Array) -> Array:
        """The class's probability for each variant, (n,); its score, where the target is no classifier's."""
        values = self._run((self.probe.target,), variants)[0]
        found = self._scored.probability(values)
        return self._scored.score(values) if found is None else found

    def gradients(self, variants: Array, wrt: str | None = None, mode: Mode = "plain") -> tuple[Array, tuple[str, ...]]:
        """∂score/∂wrt for each variant of `x`, without batch axes of its own, and what there is to say of it.

        Args:
            variants: (n, …).
            wrt: a tensor; None for the input that is explained.
            mode: how gradients pass Relu.

        Raises:
            UnsupportedGradientError: the target is not differentiable with respect to `wrt`.
            InputError: the gradient is not finite; the message says where that begins.
        """
        name = wrt or self.probe.port.name
        session, fixed = self.probe.slope(self.sizes, name, mode)
        step = fixed or self.gradient_batch(name, mode)
        parts, notes = [], [*session.gradient.warnings, *self._doubts(session, fixed)]
        for rows in _pieces(variants, step):
            weights = np.broadcast_to(self._scored.weights, (len(rows), *self._scored.weights.shape))
            padded = pad_rows(weights, fixed, zero=True)
            seed = padded.reshape(self._seed_shape(len(padded)))
            found = session.run(self._feed(pad_rows(rows, fixed)), seed)
            array = _finite(found, name)
            own = array if self._has_batch(array, len(padded)) else array[None]
            parts.append(own[: len(rows)])
            notes.extend(found.warnings)
        return np.concatenate(parts), tuple(dict.fromkeys(notes))

    def _doubts(self, session: GradientSession, fixed: int) -> list[str]:
        """What is to be said against a gradient that has not been used before, held against the model's own slope."""
        if session in self.probe.checked:
            return []
        self.probe.checked.add(session)
        rows = pad_rows(self.x[None], fixed)
        weights = pad_rows(self._scored.weights[None], fixed, zero=True)
        runner = self.probe.session((self.probe.target,))

        def value(feeds: Mapping[str, Array]) -> Array:
            cast = {name: np.asarray(feeds[name], self.feeds[name].dtype) for name in runner.inputs}
            return runner.run((self.probe.target,), cast)[0]

        # What was widened to float32 would be held against half precision's rounding.
        run = None if session.gradient.warnings else value
        found = doubt(session, self._feed(rows), weights.reshape(self._seed_shape(len(rows))), run)
        return [found] if found else []

    def approximations(self, wrt: str | None = None, mode: Mode = "plain") -> tuple[str, ...]:
        """Where the gradient is not that of what the model computes."""
        return self.probe.slope(self.sizes, wrt or self.probe.port.name, mode)[0].gradient.approximations

    def _seed_shape(self, rows: int) -> tuple[int, ...]:
        shape = self._scored.weights.shape
        return (rows, *shape) if self._target_rows else shape

    @cached_property
    def _target_rows(self) -> bool:
        """Whether the target's first axis counts samples."""
        raw = self._outputs((self.probe.target,), self.x[None])[0]
        return self._has_batch(raw, 1)

    def _has_batch(self, array: Array, rows: int) -> bool:
        return self._rows and array.ndim > 0 and array.shape[0] == rows

    def _run(self, tensors: tuple[str, ...], variants: Array) -> list[Array]:
        """The tensors' values for variants of `x`, (n, …) each."""
        step = 1 if len(variants) == 1 else self.batch
        found = [self._outputs(tensors, rows) for rows in _pieces(variants, step)]
        parts = [
            [array if self._has_batch(array, len(rows)) else array[None] for array in arrays]
            for arrays, rows in zip(found, _pieces(variants, step), strict=True)
        ]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _outputs(self, tensors: tuple[str, ...], rows: Array) -> list[Array]:
        session = self.probe.session(tensors)
        missing = [name for name in session.inputs if name not in self.feeds]
        if missing:
            raise InputError(
                f"{self.probe.model.label} also needs {', '.join(map(printable, missing))}: give NAME=PATH"
            )
        batching = self.probe.batching
        feeds = batching.padded(self._feed(rows)) if self._rows else self._feed(rows)
        found = session.run(tensors, {name: feeds[name] for name in session.inputs})
        return [batching.unpadded(array, len(rows)) for array in found] if self._rows else found

    def _feed(self, rows: Array) -> Feeds:
        """All inputs for these rows of the one that is explained; the others are the sample's own."""
        name, count = self.probe.port.name, len(rows)
        dtype = self.feeds[name].dtype
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            rows = np.clip(np.rint(rows), limits.min, limits.max)
        others = {other: array for other, array in self.feeds.items() if other != name}
        feeds = self.probe.batching.repeated(others, count)
        feeds[name] = np.ascontiguousarray(rows if self._rows else rows[0], dtype)
        return feeds


def _pieces(array: Array, step: int) -> list[Array]:
    return [array[start : start + step] for start in range(0, len(array), step)]


def _finite(found: Differentiated, name: str) -> Array:
    array = found.gradients[name]
    if not np.isfinite(array).all():
        raise InputError(next((text for text in found.warnings if "not finite" in text), "the gradient is not finite"))
    return array


def _elements(shapes: Shapes, node: NodeProto) -> int:
    total = 0
    for name in node.output:
        shape = shapes.of(name) if name else ()
        if shape and all(isinstance(dim, int) for dim in shape):
            total += math.prod(int(dim or 0) for dim in shape)
    return total


def spatial_sizes(values: Sequence[int | str | None] | None) -> tuple[int, ...] | None:
    """The sizes behind batch and channels, None if one is unknown."""
    if values is None or len(values) < 3:
        return None
    sizes = [dim for dim in values[2:] if isinstance(dim, int)]
    return tuple(sizes) if len(sizes) == len(values) - 2 else None
