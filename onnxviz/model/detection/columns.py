"""Columns of a tensor: which pieces a model put together along one axis, and what each is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import attribute, operator
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.model import Model

Link = Literal["softmax", "sigmoid", ""]

# A detector has some hundred nodes between its convolutions and its output.
_MOST_STEPS, _DEEPEST = 2000, 40


@dataclass(frozen=True)
class Part:
    """A range of one axis of a tensor; the other axes, in their order, count boxes.

    Attributes:
        tensor: its name.
        axis: which axis has the columns, the batch axis counted, from 0.
        start, stop: the range.
        split: into how many anchors the axis is cut first: (N, anchors · columns, …) is read as (N, anchors, columns,
            …), and the range is one of `columns`; 1 where it is not cut.
    """

    tensor: str
    axis: int
    start: int
    stop: int
    split: int = 1

    def rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """The columns of one sample as (boxes, columns).

        Args:
            values: the tensor's, without the batch axis.
        """
        axis = self.axis - 1
        if self.split > 1:
            shape = values.shape
            values = values.reshape(*shape[:axis], self.split, shape[axis] // self.split, *shape[axis + 1 :])
            axis += 1
        last = np.moveaxis(values, axis, -1)
        rows: NDArray[Any] = last.reshape(-1, last.shape[-1])[:, self.start : self.stop]
        return rows

    def grid(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The sizes of the other axes of one sample, anchors in front where the axis is cut.

        Args:
            shape: of one sample, without the batch axis.
        """
        others = tuple(size for place, size in enumerate(shape) if place != self.axis - 1)
        return (self.split, *others) if self.split > 1 else others


@dataclass(frozen=True)
class Piece:
    """Columns that are made in one way.

    Attributes:
        parts: where their values lie, before `link`; their boxes one after the other are the tensor's.
        link: what is applied to the parts on the way to the tensor.
    """

    parts: tuple[Part, ...]
    link: Link = ""

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.parts[0].stop - self.parts[0].start

    def narrowed(self, start: int, stop: int) -> Piece:
        """Some of the columns, counted from the piece's first."""
        parts = [replace(part, start=part.start + start, stop=part.start + stop) for part in self.parts]
        return Piece(tuple(parts), self.link)


def columns(model: Model, tensor: str, axis: int) -> list[Piece] | None:
    """What stands along an axis of a tensor, in order: followed back as long as values are only moved.

    Concatenations along the axis make pieces, those along another axis make parts (a detector's strides); a sigmoid or
    softmax on the way is the piece's link.

    Args:
        model: the model.
        tensor: a tensor of the main graph.
        axis: the axis, the batch axis counted; negative from the end.

    Returns:
        None where the size of the axis is not known.
    """
    shape = known_shape(model, tensor)
    if shape is None or not -len(shape) <= axis < len(shape):
        return None
    axis %= len(shape)
    size = shape[axis]
    if not isinstance(size, int) or size < 1 or axis == 0:
        return None
    return _Walk(model).pieces(_Place(tensor, axis, 0, size, size, len(shape)), "")


@dataclass(frozen=True)
class _Place:
    """Columns on their way: a range of an axis of `size`, in a tensor of `rank` axes, even where no shape is known."""

    tensor: str
    axis: int
    start: int
    stop: int
    size: int
    rank: int

    def alone(self, link: Link) -> list[Piece]:
        """The columns as they are here."""
        return [Piece((Part(self.tensor, self.axis, self.start, self.stop),), link)]


class _Walk:
    """Follows columns back; a walk that gets too long ends where it is."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.steps = 0

    def pieces(self, place: _Place, link: Link, depth: int = 0) -> list[Piece]:
        """The pieces that make up a range; `depth` counts the concatenations on the way."""
        while (node := self.model.scope.producers.get(place.tensor)) is not None and node.input:
            self.steps += 1
            if self.steps > _MOST_STEPS or depth > _DEEPEST:
                break
            if place.tensor != node.output[0] and operator(node) != "Split":
                break
            if operator(node) == "Concat":
                return self._concatenated(node, place, link, depth + 1) or place.alone(link)
            if belongs(node, Family.PROBABILITY) and not belongs(node, Family.INTEGER) and not link:
                return self._linked(node, place, depth + 1) or place.alone(link)
            before = self._before(node, place)
            if before is None:
                break
            place = before
        return place.alone(link)

    def _before(self, node: NodeProto, place: _Place) -> _Place | None:
        """The same columns in the node's input, None where the node does more than move them together."""
        name, source = operator(node), node.input[0]
        if belongs(node, Family.IDENTITY | Family.DROPOUT):
            return replace(place, tensor=source)
        if name == "Transpose":
            order = attribute(node, "perm") or list(reversed(range(place.rank)))
            if place.axis >= len(order):
                return None
            others = [one for axis, one in enumerate(order) if axis != place.axis]
            return replace(place, tensor=source, axis=order[place.axis]) if others == sorted(others) else None
        if belongs(node, Family.RESHAPING):
            return self._reshaped(source, place)
        if name == "Split":
            return self._cut(source, place, self._offset(node, place))
        return self._cut(source, place, self._sliced(node, place)) if name == "Slice" else None

    def _linked(self, node: NodeProto, place: _Place, depth: int) -> list[Piece] | None:
        if not belongs(node, Family.SOFTMAX):
            return self.pieces(replace(place, tensor=node.input[0]), "sigmoid", depth)
        axis = attribute(node, "axis")
        axis = (-1 if self.model.opset.get("", 13) >= 13 else 1) if axis is None else axis
        if operator(node) != "Softmax" or axis % place.rank != place.axis:
            return None
        source = replace(place, tensor=node.input[0])
        found = self.pieces(source, "softmax", depth)
        # Columns of several tensors, or some of a wider one, do not tell what the softmax makes of them.
        wide = [self._shape(one.tensor)[one.axis : one.axis + 1] for one in found[0].parts]
        return found if len(found) == 1 and set(wide) == {(place.size,)} else source.alone("softmax")

    def _concatenated(self, node: NodeProto, place: _Place, link: Link, depth: int) -> list[Piece] | None:
        along = attribute(node, "axis")
        if along is None:
            return None
        if along % place.rank == place.axis:
            return self._side_by_side(node, place, link, depth)
        # One below the other: in the order of the boxes only along the first of the other axes.
        if along % place.rank != (1 if place.axis != 1 else 2):
            return None
        found = [self.pieces(replace(place, tensor=name), link, depth) for name in node.input]
        kinds = {tuple((piece.width, piece.link) for piece in pieces) for pieces in found}
        if len(kinds) != 1:
            return None
        return [
            Piece(tuple(one for piece in level for one in piece.parts), level[0].link)
            for level in zip(*found, strict=True)
        ]

    def _side_by_side(self, node: NodeProto, place: _Place, link: Link, depth: int) -> list[Piece] | None:
        found: list[Piece] = []
        first = 0
        for name in node.input:
            shape = self._shape(name)
            size = shape[place.axis] if len(shape) > place.axis else None
            if not isinstance(size, int):
                return None
            start, stop = max(place.start - first, 0), min(place.stop - first, size)
            if start < stop:
                found += self.pieces(replace(place, tensor=name, start=start, stop=stop, size=size), link, depth)
            first += size
        return found if sum(piece.width for piece in found) == place.stop - place.start else None

    def _reshaped(self, source: str, place: _Place) -> _Place | None:
        """The columns in a tensor before it was reshaped, None where they were no axis of their own."""
        before, after = self._shape(source), self._shape(place.tensor)
        if not all(isinstance(size, int) for size in (*before[1:], *after[1:])):
            before, after = (self.model.example_shapes.of(name) or () for name in (source, place.tensor))
        if len(before) < 2:
            return None
        last = len(before) - 1
        if place.axis == place.rank - 1 and before[last] == place.size:
            return replace(place, tensor=source, axis=last, rank=len(before))
        between = after[1 : place.axis] if after else ()
        alike = len(before) > place.axis and before[place.axis] == place.size
        if alike and len(between) == place.axis - 1 and before[1 : place.axis] == between:
            return replace(place, tensor=source, rank=len(before))
        return None

    def _cut(self, source: str, place: _Place, first: int | None) -> _Place | None:
        """The columns in a tensor that they were cut out of, from column `first` on."""
        shape = self._shape(source)
        size = shape[place.axis] if len(shape) == place.rank else None
        if first is None or not isinstance(size, int):
            return None
        return replace(place, tensor=source, start=place.start + first, stop=place.stop + first, size=size)

    def _offset(self, node: NodeProto, place: _Place) -> int | None:
        """Where the columns of one of a Split's outputs begin."""
        if (attribute(node, "axis") or 0) % place.rank != place.axis:
            return None
        first = 0
        for name in node.output:
            if name == place.tensor:
                return first
            size = self._shape(name)[place.axis] if self._shape(name) else None
            if not isinstance(size, int):
                return None
            first += size
        return None

    def _sliced(self, node: NodeProto, place: _Place) -> int | None:
        """Where the columns of a Slice begin; None where it cuts another axis, or steps."""
        shape = self._shape(node.input[0])
        given: list[list[int] | None] = []
        for position, key in enumerate(("starts", "ends", "axes", "steps"), 1):
            value: Any = attribute(node, key)
            if value is None and position < len(node.input) and node.input[position]:
                array = self.model.constants.value(self.model.scope, node.input[position])
                if array is None:
                    return None
                value = array.reshape(-1).tolist()
            given.append(None if value is None else [int(one) for one in value])
        starts, _, axes, steps = given
        if starts is None or len(shape) != place.rank:
            return None
        axes = list(range(len(starts))) if axes is None else axes
        size = shape[place.axis]
        if (
            [axis % place.rank for axis in axes] != [place.axis]
            or steps not in (None, [1])
            or not isinstance(size, int)
        ):
            return None
        return slice(starts[0], None).indices(size)[0]

    def _shape(self, tensor: str) -> tuple[Dim, ...]:
        return known_shape(self.model, tensor) or ()


def known_shape(model: Model, tensor: str) -> tuple[Dim, ...] | None:
    """The shape of a tensor; where a size is not even named, its shape for inputs of an example size, if that is known.

    The model's own shapes go first: some models fix tables for one size of input and leave their inputs open.
    """
    own = model.shapes.of(tensor)
    if own is not None and None not in own:
        return own
    return model.example_shapes.of(tensor) or own
