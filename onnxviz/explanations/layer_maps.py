"""The maps of a layer on a sample, set out as parts, channels and positions; of one that runs once a frame, of all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.explanations.case import Case
from onnxviz.explanations.map_axes import MapAxes
from onnxviz.messages import option, printable
from onnxviz.model.axes.arrangement import PARTS, Arrangement, PartAxis
from onnxviz.model.layer import Layer
from onnxviz.model.taps import real_values


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """What a class activation map is made of.

    Attributes:
        maps: (parts…, C, positions…) float64.
        axes: those of a map over its positions: (parts…, positions…).
        notes: what to keep in mind.
    """

    maps: NDArray[Any]
    axes: MapAxes
    notes: tuple[str, ...]
    _case: Case
    _tensors: tuple[str, ...]
    _arrangements: tuple[Arrangement, ...]
    _kept: tuple[tuple[int, ...] | int, ...]

    @classmethod
    def of(cls, case: Case, tensors: Sequence[str], stacked: PartAxis | None = None) -> LayerMaps:
        """The maps of a layer.

        Args:
            case: the sample.
            tensors: the layer's tensor; several, of one form, where it stands in the graph once for each of `stacked`.
            stacked: what tells several tensors apart.

        Raises:
            InputError: it has no positions, is not finite, is of integers of unknown scale, or what its axes count
                cannot be told.
        """
        arrays = [_real(case, *one) for one in zip(tensors, case.whole(tuple(tensors)), strict=True)]
        for name, array in zip(tensors, arrays, strict=True):
            if array.ndim < 2 or array.size == 0:
                raise _no_positions(name, array)
            if not np.isfinite(array).all():
                raise InputError(f"the maps of '{printable(name)}' on this input are not finite (NaN or infinite)")
        try:
            arrangements = tuple(case.arrangement(name) for name in tensors)
            first = arrangements[0]
        except InputError:
            if arrays[0].ndim > 2:
                raise
            raise _no_positions(tensors[0], arrays[0]) from None
        if not first.positions:
            raise _no_positions(tensors[0], arrays[0])
        parts = (*([stacked] if stacked is not None else []), *first.parts)
        kept = tuple(_kept(part, case.probe.port.name) for part in parts)
        left = [
            replace(part, branches=tuple(part.branches[i] for i in keep))
            for part, keep in zip(parts, kept, strict=True)
            if not isinstance(keep, int)
        ]
        picked = frozenset(pick for pick in case.picks(tensors[0]) if pick[0] in PARTS and len(tensors) == 1)
        notes: tuple[str, ...] = ()
        if first.extra:
            tokens = (
                "1 token, which is no position (a class token), is"
                if first.extra == 1
                else f"{first.extra} tokens, which are no positions, are"
            )
            notes = (f"{tokens} left out of the map",)
        bare = cls(
            np.empty(0), MapAxes(tuple(left), first.positions, picked), notes, case, tuple(tensors), arrangements, kept
        )
        return replace(bare, maps=bare.set_out(arrays))

    def set_out(self, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Arrays in the form of the layer's tensors as (parts…, C, positions…) float64."""
        found = [arrangement.of(array) for arrangement, array in zip(self._arrangements, arrays, strict=True)]
        whole = np.stack(found) if len(self._tensors) > 1 else found[0]
        for axis in reversed(range(len(self._kept))):
            whole = whole.take(self._kept[axis], axis)
        return whole.astype(np.float64)

    def slopes(self) -> tuple[NDArray[Any], tuple[str, ...]]:
        """∂score/∂maps, in the form of `maps`, and what there is to say of it.

        Raises:
            UnsupportedGradientError: the score is not differentiable with respect to the layer.
            InputError: the gradient is not finite.
        """
        arrays, notes = self._case.whole_gradients(self._tensors)
        return self.set_out(arrays), notes

    @property
    def approximations(self) -> tuple[str, ...]:
        """Where the gradient is not that of what the model computes."""
        return self._case.approximations(self._tensors)

    def each(self, weigh: Callable[..., NDArray[Any]], *others: NDArray[Any]) -> NDArray[Any]:
        """A map (parts…, positions…): what `weigh` makes of each part's maps and others, (C, positions…) each."""
        count = len(self.axes.parts)
        parts, inner = self.maps.shape[:count], self.maps.shape[count:]
        flat = [array.reshape(-1, *inner) for array in (self.maps, *others)]
        found = np.stack([weigh(*of_part) for of_part in zip(*flat, strict=True)])
        return found.reshape(*parts, *found.shape[1:])

    def masks(self) -> NDArray[Any]:
        """The maps channel by channel, (C, parts…, positions…)."""
        return np.moveaxis(self.maps, len(self.axes.parts), 0)


def _real(case: Case, tensor: str, array: NDArray[Any]) -> NDArray[Any]:
    """Values as real numbers: the zero point of an integer is no 0, and axes may have scales of their own."""
    model = case.probe.model
    found = real_values(model.scope, model.constants, tensor, array)
    if found is None:
        raise InputError(
            f"the maps of '{printable(tensor)}' are integers whose scale is not known: choose a tensor that is "
            f"dequantised, with {option('layer')}"
        )
    return found


def _no_positions(tensor: str, array: NDArray[Any]) -> InputError:
    return InputError(f"'{printable(tensor)}' has no positions to look at: its shape is {array.shape[1:]}")


def _kept(part: PartAxis, explained: str) -> tuple[int, ...] | int:
    """Which of the parts depend on the input that is explained; a number where only one of several does.

    All, where what was stacked does not depend on it: it came in later.
    """
    every = tuple(range(len(part.branches)))
    own = tuple(number for number in every if explained in part.branches[number].inputs)
    return own[0] if len(own) == 1 and len(every) > 1 else own or every


def copies(case: Case, layer: Layer, among: Collection[Layer]) -> tuple[tuple[Layer, ...], PartAxis | None]:
    """The layers that are this one, run on other frames, views or branches; and what tells them apart.

    Exporters write a network that is applied to each frame once for each: convolutions of one weight and one form,
    none of which reads another.

    Args:
        case: a sample.
        layer: one of them.
        among: layers between the explained input and the target.

    Returns:
        The layer alone, and None, where there are no others.
    """
    if layer.source is None:
        return (layer,), None
    scope, shapes = case.probe.model.scope, case.probe.shapes(case.sizes)

    def form(one: Layer) -> tuple[object, ...]:
        return (
            one.op,
            one.source.tensor if one.source is not None else "",
            shapes.of(one.taps["conv"]),
            one.strides,
            one.dilations,
        )

    alike = [one for one in among if form(one) == form(layer)]
    tensors = [one.taps["conv"] for one in alike]
    if len(alike) < 2 or any(scope.descendants([tensor]).intersection({*tensors} - {tensor}) for tensor in tensors):
        return (layer,), None
    picks = [case.picks(tensor) for tensor in tensors]
    for kind in PARTS:
        indices = [[index for letter, index in own if letter == kind] for own in picks]
        if all(len(own) == 1 for own in indices) and len({own[0] for own in indices}) == len(alike):
            order = sorted(range(len(alike)), key=lambda place: indices[place][0])
            part = PartAxis.numbered(kind, max(own[0] for own in indices) + 1)
            branches = tuple(part.branches[indices[place][0]] for place in order)
            return tuple(alike[place] for place in order), replace(part, branches=branches)
    return tuple(alike), PartAxis.numbered("S", len(alike))
