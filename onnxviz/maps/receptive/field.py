"""Receptive fields: the part of the input that a unit of a layer depends on, worked out from the graph.

Back from one position of a layer goes an interval for each spatial axis, node by node; where ways meet, it is the one
that holds both (Araujo, Norris & Sim, Computing Receptive Fields of CNNs, Distill 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from onnxviz.errors import InputError, SelectionError
from onnxviz.maps.receptive.rules import Extent, FieldStep, Interval, known_sizes, seen_by
from onnxviz.messages import dims, printable
from onnxviz.model.model import Model
from onnxviz.passes.prepare import prepare


class ReceptiveField:
    """What units of one layer see of the input.

    Args:
        model: the model.
        tensor: the layer's tensor in the main graph, (N, C, spatial…).
        sizes: the shape of each input, by name.
        gates: whether what reaches a unit only through something that is the same for all positions counts too
            (squeeze-and-excitation, statistics of a normalisation): with it such a unit sees everything.

    Raises:
        SelectionError: the model has no such tensor, or it depends on no input.
        InputError: a size on the way is not known.
    """

    def __init__(self, model: Model, tensor: str, sizes: Mapping[str, Sequence[int]], *, gates: bool = False) -> None:
        self.tensor = tensor
        self.gates = gates
        self._prepared = prepare(model, {name: tuple(size) for name, size in sizes.items()})
        if tensor not in self._prepared.scope.producers:
            raise SelectionError(f"{model.label} has no tensor '{printable(tensor)}' that a node makes")
        before = self._prepared.scope.ancestors([tensor]).tensors
        there = [value.name for value in self._prepared.graph.input if value.name in before]
        if not there:
            raise SelectionError(f"'{printable(tensor)}' of {model.label} depends on no input")
        self._input = max(there, key=lambda name: len(self._prepared.shape(name) or ()))
        self._layout = next(port.layout for port in model.inputs if port.name == self._input)
        self._cache: dict[tuple[int, int, bool], dict[int, Interval]] = {}

    def __repr__(self) -> str:
        return f"ReceptiveField({self.tensor!r}, {dims(self.size)} pixels)"

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The layer's spatial sizes."""
        return tuple(known_sizes(self._prepared, self.tensor)[2:])

    @cached_property
    def size(self) -> tuple[int, ...]:
        """How many pixels a unit in the middle sees along each axis, padding included."""
        middle = tuple(size // 2 for size in self.shape)
        return tuple(last - first + 1 for first, last in self.at(middle, beyond=True))

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes of the input: as many as the layer has, behind the channels or before them."""
        rank = len(known_sizes(self._prepared, self._input))
        count = min(len(self.shape), rank)
        spatial = [axis for axis, letter in enumerate(self._layout) if letter in "DHW"]
        return tuple(spatial[-count:] if len(spatial) >= count > 0 else range(rank - count, rank))

    @cached_property
    def picture(self) -> tuple[int, ...]:
        """The sizes of the input along those axes."""
        sizes = known_sizes(self._prepared, self._input)
        return tuple(sizes[axis] for axis in self.axes)

    def at(self, position: Sequence[int], *, beyond: bool = False) -> tuple[Interval, ...]:
        """What the unit at `position` sees: first and last pixel along each spatial axis of the input, both inside.

        Args:
            position: one index for each spatial axis of the layer.
            beyond: whether the field may reach beyond the picture, where only padding is.

        Raises:
            InputError: the layer has no such position.
        """
        fits = len(position) == len(self.shape)
        if not fits or not all(0 <= index < size for index, size in zip(position, self.shape, strict=True)):
            raise InputError(f"'{printable(self.tensor)}' has {dims(self.shape)} positions, none at {tuple(position)}")
        parts = [self._along(axis, int(index), beyond) for axis, index in enumerate(position)]
        found = []
        for axis, size in zip(self.axes, self.picture, strict=True):
            spans = [part[axis] for part in parts if axis in part]
            found.append(_union(spans) if spans else (0, size - 1))
        return tuple(found)

    def _along(self, axis: int, index: int, beyond: bool) -> dict[int, Interval]:
        """What an index along one spatial axis of the layer sees, by axis of the input; no entry: no restriction."""
        key = axis, index, beyond
        if key not in self._cache:
            spans: dict[str, dict[int, Interval]] = {self.tensor: {axis + 2: (index, index)}}
            for node in reversed(self._prepared.graph.node):
                for output in node.output:
                    for at, (first, last) in spans.get(output, {}).items():
                        step = FieldStep(self._prepared, node, output, at, first, last, self.gates)
                        for seen in seen_by(step):
                            self._add(spans, seen, beyond)
            self._cache[key] = spans.get(self._input, {})
        return self._cache[key]

    def _add(self, spans: dict[str, dict[int, Interval]], seen: Extent, beyond: bool) -> None:
        first, last = seen.interval
        if not beyond:
            size = known_sizes(self._prepared, seen.tensor)[seen.axis]
            first, last = max(first, 0), min(last, size - 1)
        if first <= last:
            own = spans.setdefault(seen.tensor, {})
            own[seen.axis] = _union([own[seen.axis], (first, last)]) if seen.axis in own else (first, last)


def _union(intervals: Sequence[Interval]) -> Interval:
    return min(first for first, _ in intervals), max(last for _, last in intervals)
