"""A case: one sample whose score is explained, with what every explanation method asks of the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.errors import InputError
from onnxviz.explanations.map_axes import MapAxes
from onnxviz.explanations.probe import Probe
from onnxviz.explanations.target import Target
from onnxviz.gradients.gradient import Differentiated, GradientSession
from onnxviz.gradients.self_check import self_check_warning
from onnxviz.gradients.step import Mode
from onnxviz.inputs.failures import Progress
from onnxviz.inputs.samples import Feeds
from onnxviz.messages import printable
from onnxviz.model.axes.arrangement import PARTS, Arrangement, PartAxis, UntoldAxesError
from onnxviz.model.axes.axis_trace import AxisTrace
from onnxviz.model.axes.said_axes import saying_axes
from onnxviz.model.graph.shapes import Shapes
from onnxviz.runtime.batching import pad_rows

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Case:
    """One sample under a probe.

    Attributes:
        probe: the model.
        feeds: the sample's arrays by input name, one row each.
        target: what is scored; None until that is decided.
        progress: called with (variants run, variants in all), first with 0 run; None to be silent.
        shared: what methods that explain the same have in common, once it was asked for; None to keep nothing.
    """

    probe: Probe
    feeds: Feeds
    target: Target | None = None
    progress: Progress | None = None
    shared: dict[object, Any] | None = None

    def sharing(self) -> Case:
        """This sample and target, which keeps what several methods ask for: values and gradients of the sample."""
        return self._with(shared={})

    def _once(self, key: object, make: Callable[[], Made]) -> Made:
        """What was made of the sample; anew where nothing is kept. Nobody writes into it."""
        if self.shared is None:
            return make()
        if key not in self.shared:
            self.shared[key] = make()
        made: Made = self.shared[key]
        return made

    def scoring(self, target: Target) -> Case:
        """This sample with something to score."""
        return self._with(target=target)

    def _with(self, **changes: Any) -> Case:
        """This sample with something else about it, and the answer that was worked out."""
        found = replace(self, **changes)
        vars(found)["_answer"] = self._answer
        return found

    @property
    def x(self) -> NDArray[Any]:
        """The array that is explained, without the batch axis where it has one."""
        array: NDArray[Any] = self.feeds[self.probe.port.name]
        row: NDArray[Any] = array[0] if self._rows else array
        return row

    @property
    def _rows(self) -> bool:
        return self.probe.port.name in self.probe.batching.inputs

    @property
    def channel_axis(self) -> int | None:
        """Which axis of `x` counts channels, None if there is none."""
        return self.probe.port.channel_axis

    @property
    def axes(self) -> MapAxes:
        """What the axes of a map of the input count: views or frames, then positions; none where that is not told."""
        letters = self.probe.port.layout[1:]
        parts = [letter for letter in letters if letter in PARTS]
        sizes = dict(zip(letters, self.x.shape, strict=False))
        counted = tuple(PartAxis.numbered(letter, sizes[letter]) for letter in parts)
        return MapAxes(counted, "".join(letter for letter in letters if letter not in (*parts, "C")))

    @property
    def _order(self) -> tuple[int, ...]:
        """The axes of `x` in the order channels, parts, positions."""
        if self.channel_axis is None:
            return tuple(range(self.x.ndim))
        letters = self.probe.port.layout[1:]
        parts = [axis for axis, letter in enumerate(letters) if letter in PARTS]
        rest = [axis for axis in range(self.x.ndim) if axis not in (self.channel_axis, *parts)]
        return (self.channel_axis, *parts, *rest)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The sizes of the axes of a map of the input: those of `x` but for the channels, parts first."""
        return tuple(self.x.shape[axis] for axis in self._order if axis != self.channel_axis)

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every input."""
        return {name: array.shape for name, array in self.feeds.items()}

    def channels_first(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array like `x` with its channels in front, then its parts; as it is where there are no channels."""
        return array.transpose(self._order)

    def as_fed(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array (C, parts…, positions…) with its axes as those of `x` are."""
        return array.transpose(np.argsort(self._order))

    def over_channels(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Masks (n, spatial…) as arrays that multiply variants of `x`, (n, …)."""
        if self.channel_axis is None:
            return mask
        return mask[:, None].transpose(0, *(1 + np.argsort(self._order)))

    def whole(self, tensors: tuple[str, ...]) -> list[NDArray[Any]]:
        """The tensors' values as the model makes them of the sample, batch axis and copies of the sample included."""
        return self._once(("whole", tensors), lambda: self._raw(tensors, self.x[None]))

    def whole_gradients(self, tensors: tuple[str, ...]) -> tuple[list[NDArray[Any]], tuple[str, ...]]:
        """∂score/∂tensor of each tensor, in the form of `whole`, and what there is to say; errors as `gradients`."""
        return self._once(("slopes", tensors), lambda: self._whole_gradients(tensors))

    def _whole_gradients(self, tensors: tuple[str, ...]) -> tuple[list[NDArray[Any]], tuple[str, ...]]:
        session, fixed = self.probe.slope(self.sizes, tensors, "plain")
        padded = pad_rows(self._scored.weights[None], fixed, zero=True)
        found = session.run(self._feed(pad_rows(self.x[None], fixed)), padded.reshape(self._seed_shape(len(padded))))
        notes = (*session.gradient.warnings, *self._doubts(session, fixed), *found.warnings)
        return [_finite(found, name) for name in tensors], tuple(dict.fromkeys(notes))

    @cached_property
    def _trace(self) -> AxisTrace:
        """What the axes of tensors in the form of `whole` count."""
        return self.probe.axes(self._padded(self.x[None]))

    def class_axis(self, tensor: str) -> int | None:
        """Which axis of a tensor counts classes, from the end, where others count views or frames; None elsewhere."""
        return self._trace.class_axis(tensor)

    def picks(self, tensor: str) -> frozenset[tuple[str, int]]:
        """(letter, index) of each view or frame that was picked on the way to a tensor."""
        return self._trace.picks(tensor)

    def arrangement(self, tensor: str) -> Arrangement:
        """How a tensor in the form of `whole` is set out as parts, channels and positions.

        Raises:
            InputError: that cannot be told from the graph; the message says how to say it.
        """
        try:
            return self._trace.arrangement(tensor)
        except UntoldAxesError as error:
            name = printable(tensor)
            raise InputError(
                f"what the axes of '{name}' count cannot be told from the graph, {error}: say it, with letters, "
                f"{saying_axes(tensor, 'N,C,H,W')}: N samples, V views, T frames, C channels, D, H "
                "and W positions, 1+H*W for tokens behind a class token"
            ) from None

    def values(self, tensor: str) -> NDArray[Any]:
        """A tensor's values on the sample, without the batch axis."""
        return self._own(self._outputs((tensor,), self.x[None])[0])

    def several(self, tensors: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The values of several tensors on the sample, without the batch axis, of one run, which gives `base` too."""
        names = tuple(dict.fromkeys([*tensors, self.probe.target]))
        found = dict(zip(names, self._outputs(names, self.x[None]), strict=True))
        vars(self)["_answer"] = found[self.probe.target]
        return {name: self._own(found[name]) for name in tensors}

    @cached_property
    def _answer(self) -> NDArray[Any]:
        """The target's values on the sample as the model makes them, batch axis included."""
        return self._outputs((self.probe.target,), self.x[None])[0]

    @property
    def base(self) -> NDArray[Any]:
        """The target's values on the sample, without the batch axis."""
        return self._own(self._answer)

    def _own(self, array: NDArray[Any]) -> NDArray[Any]:
        """Values on the sample, without the batch axis."""
        own: NDArray[Any] = array[0] if self._has_batch(array, 1) else array
        return own

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
        session = self.probe.session(target)

        def run(feeds: Feeds) -> list[NDArray[Any]]:
            return session.run(target, {name: feeds[name] for name in session.inputs})

        alone = [(self.base[None], 0)]
        return size if batching.independent(session.proto, self.feeds, alone, run) else 1

    def gradient_batch(self, mode: Mode) -> int:
        """As `batch`, for gradients, which keep every activation."""
        _, fixed = self.probe.slope(self.sizes, self.probe.port.name, mode)
        if fixed or self.batch == 1:
            return fixed or 1
        shapes = self.probe.shapes(self.sizes)
        kept = sum(_elements(shapes, node) for node in self.probe.model.proto.graph.node)
        return min(self.batch, self.probe.batching.affordable(4 * 3 * kept))

    def tell(self, done: int, total: int) -> None:
        """Tells whoever asked how many variants have run, 0 before the first."""
        if self.progress is not None:
            self.progress(done, total)

    def scores(self, variants: NDArray[Any]) -> NDArray[Any]:
        """The score of each variant of `x`: (n, …) to (n,) float64."""
        return self._scored.score(self._run((self.probe.target,), variants)[0])

    def probabilities(self, variants: NDArray[Any]) -> NDArray[Any]:
        """The class's probability for each variant, (n,); its score, where the target is no classifier's."""
        values = self._run((self.probe.target,), variants)[0]
        found = self._scored.probability(values)
        return self._scored.score(values) if found is None else found

    def gradient(self, mode: Mode = "plain") -> tuple[NDArray[Any], tuple[str, ...]]:
        """∂score/∂x at the sample, in the form of `x`, and what there is to say of it; errors as `gradients`."""
        found, notes = self._once(("gradient", mode), lambda: self.gradients(self.x[None], mode))
        return found[0], notes

    def gradients(self, variants: NDArray[Any], mode: Mode = "plain") -> tuple[NDArray[Any], tuple[str, ...]]:
        """∂score/∂x for each variant of `x`, (n, …) as `variants`, and what there is to say of it.

        Args:
            variants: (n, …).
            mode: how gradients pass Relu.

        Raises:
            UnsupportedGradientError: the target is not differentiable with respect to the input.
            InputError: the gradient is not finite; the message says where that begins.
        """
        name = self.probe.port.name
        session, fixed = self.probe.slope(self.sizes, name, mode)
        step = fixed or self.gradient_batch(mode)
        parts, notes = [], [*session.gradient.warnings, *self._doubts(session, fixed)]
        for rows in _pieces(variants, step):
            weights = np.broadcast_to(self._scored.weights, (len(rows), *self._scored.weights.shape))
            padded = pad_rows(weights, fixed, zero=True)
            seed = padded.reshape(self._seed_shape(len(padded)))
            found = session.run(self._feed(pad_rows(rows, fixed)), seed)
            array = _finite(found, name)
            parts.append(array[: len(rows)] if self._rows else array[None])
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

        def value(feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
            cast = {name: np.asarray(feeds[name], self.feeds[name].dtype) for name in runner.inputs}
            return runner.run((self.probe.target,), cast)[0]

        # What was widened to float32 would be held against half precision's rounding.
        run = None if session.gradient.warnings else value
        found = self_check_warning(session, self._feed(rows), weights.reshape(self._seed_shape(len(rows))), run)
        return [found] if found else []

    def approximations(self, wrt: str | tuple[str, ...] | None = None, mode: Mode = "plain") -> tuple[str, ...]:
        """Where the gradient is not that of what the model computes."""
        return self.probe.slope(self.sizes, wrt or self.probe.port.name, mode)[0].gradient.approximations

    def _seed_shape(self, rows: int) -> tuple[int, ...]:
        shape = self._scored.weights.shape
        return (rows, *shape) if self._has_batch(self._answer, 1) else shape

    def _has_batch(self, array: NDArray[Any], rows: int) -> bool:
        return self._rows and array.ndim > 0 and array.shape[0] == rows

    def _run(self, tensors: tuple[str, ...], variants: NDArray[Any]) -> list[NDArray[Any]]:
        """The tensors' values for variants of `x`, (n, …) each."""
        step = 1 if len(variants) == 1 else self.batch
        found = [self._outputs(tensors, rows) for rows in _pieces(variants, step)]
        parts = [
            [array if self._has_batch(array, len(rows)) else array[None] for array in arrays]
            for arrays, rows in zip(found, _pieces(variants, step), strict=True)
        ]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _outputs(self, tensors: tuple[str, ...], rows: NDArray[Any]) -> list[NDArray[Any]]:
        found = self._raw(tensors, rows)
        return [self.probe.batching.unpadded(array, len(rows)) for array in found] if self._rows else found

    def _raw(self, tensors: tuple[str, ...], rows: NDArray[Any]) -> list[NDArray[Any]]:
        session = self.probe.session(tensors)
        return session.run(tensors, session.own(self._padded(rows)))

    def _padded(self, rows: NDArray[Any]) -> Feeds:
        return self.probe.batching.padded(self._feed(rows)) if self._rows else self._feed(rows)

    def _feed(self, rows: NDArray[Any]) -> Feeds:
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


def _pieces(array: NDArray[Any], step: int) -> list[NDArray[Any]]:
    return [array[start : start + step] for start in range(0, len(array), step)]


def _finite(found: Differentiated, name: str) -> NDArray[Any]:
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
