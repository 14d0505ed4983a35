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
    shape = model.shapes.of(tensor)
    if shape is None or not -len(shape) <= axis < len(shape):
        return None
    axis %= len(shape)
    size = shape[axis]
    if not isinstance(size, int) or size < 1 or axis == 0:
        return None
    return _Walk(model).pieces(Part(tensor, axis, 0, size), "")


class _Walk:
    """Follows columns back; a walk that gets too long ends where it is."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.steps = 0

    def pieces(self, part: Part, link: Link, depth: int = 0) -> list[Piece]:
        """The pieces that make up a part; `depth` counts the concatenations on the way."""
        while (node := self.model.scope.producers.get(part.tensor)) is not None and node.input:
            self.steps += 1
            if self.steps > _MOST_STEPS or depth > _DEEPEST:
                break
            if operator(node) == "Concat":
                return self._concatenated(node, part, link, depth + 1) or [Piece((part,), link)]
            if belongs(node, Family.PROBABILITY) and not link:
                return self._linked(node, part, depth + 1) or [Piece((part,), link)]
            before = self._before(node, part)
            if before is None:
                break
            part = before
        return [Piece((part,), link)]

    def _before(self, node: NodeProto, part: Part) -> Part | None:
        """The same columns in the node's input, None where the node does more than move them together."""
        name, source = operator(node), node.input[0]
        if belongs(node, Family.IDENTITY | Family.DROPOUT):
            return replace(part, tensor=source)
        if name == "Transpose":
            order = attribute(node, "perm") or list(reversed(range(len(self._shape(source)))))
            if part.axis >= len(order):
                return None
            others = [place for axis, place in enumerate(order) if axis != part.axis]
            return replace(part, tensor=source, axis=order[part.axis]) if others == sorted(others) else None
        if belongs(node, Family.RESHAPING):
            axis = self._kept(source, part)
            return None if axis is None else replace(part, tensor=source, axis=axis)
        if name == "Split":
            return _shifted(part, source, self._offset(node, part))
        return _shifted(part, source, self._sliced(node, part)) if name == "Slice" else None

    def _linked(self, node: NodeProto, part: Part, depth: int) -> list[Piece] | None:
        if not belongs(node, Family.SOFTMAX):
            return self.pieces(replace(part, tensor=node.input[0]), "sigmoid", depth)
        rank = len(self._shape(part.tensor))
        axis = attribute(node, "axis")
        axis = (-1 if self.model.opset.get("", 13) >= 13 else 1) if axis is None else axis
        if operator(node) != "Softmax" or rank == 0 or axis % rank != part.axis:
            return None
        size = self._shape(part.tensor)[part.axis]
        found = self.pieces(replace(part, tensor=node.input[0]), "softmax", depth)
        # Columns of several tensors, or some of a wider one, do not tell what the softmax makes of them.
        if len(found) == 1 and all(self._shape(one.tensor)[one.axis] == size for one in found[0].parts):
            return found
        return [Piece((replace(part, tensor=node.input[0]),), "softmax")]

    def _concatenated(self, node: NodeProto, part: Part, link: Link, depth: int) -> list[Piece] | None:
        shape = self._shape(part.tensor)
        along = attribute(node, "axis")
        if not shape or along is None:
            return None
        if along % len(shape) == part.axis:
            return self._side_by_side(node, part, link, depth)
        # One below the other: in the order of the boxes only along the first of the other axes.
        first = 1 if part.axis != 1 else 2
        if along % len(shape) != first:
            return None
        found = [self.pieces(replace(part, tensor=name), link, depth) for name in node.input]
        kinds = {tuple((piece.width, piece.link) for piece in pieces) for pieces in found}
        if len(kinds) != 1:
            return None
        return [
            Piece(tuple(one for piece in level for one in piece.parts), level[0].link)
            for level in zip(*found, strict=True)
        ]

    def _side_by_side(self, node: NodeProto, part: Part, link: Link, depth: int) -> list[Piece] | None:
        found: list[Piece] = []
        first = 0
        for name in node.input:
            shape = self._shape(name)
            size = shape[part.axis] if len(shape) > part.axis else None
            if not isinstance(size, int):
                return None
            start, stop = max(part.start - first, 0), min(part.stop - first, size)
            if start < stop:
                found += self.pieces(replace(part, tensor=name, start=start, stop=stop), link, depth)
            first += size
        return found if sum(piece.width for piece in found) == part.stop - part.start else None

    def _kept(self, source: str, part: Part) -> int | None:
        """The axis of a reshaped tensor that the part's axis was before, None where it was none."""
        before, after = self._shape(source), self._shape(part.tensor)
        if not before or not after:
            return None
        size = after[part.axis]
        if not isinstance(size, int):
            return None
        if part.axis == len(after) - 1 and before[-1] == size and len(before) > 1:
            return len(before) - 1
        alike = len(before) > part.axis and before[part.axis] == size
        if alike and all(one == other for one, other in zip(before[1 : part.axis], after[1 : part.axis], strict=True)):
            return part.axis
        return None

    def _offset(self, node: NodeProto, part: Part) -> int | None:
        """Where the columns of one of a Split's outputs begin."""
        shape = self._shape(node.input[0])
        if not shape or (attribute(node, "axis") or 0) % len(shape) != part.axis:
            return None
        first = 0
        for name in node.output:
            if name == part.tensor:
                return first
            size = self._shape(name)[part.axis] if self._shape(name) else None
            if not isinstance(size, int):
                return None
            first += size
        return None

    def _sliced(self, node: NodeProto, part: Part) -> int | None:
        """Where the columns of a Slice begin; None where it cuts another axis, or steps."""
        shape = self._shape(node.input[0])
        if not shape:
            return None
        given: list[list[int] | None] = []
        for place, key in enumerate(("starts", "ends", "axes", "steps"), 1):
            value: Any = attribute(node, key)
            if value is None and place < len(node.input) and node.input[place]:
                array = self.model.constants.value(self.model.scope, node.input[place])
                if array is None:
                    return None
                value = array.reshape(-1).tolist()
            given.append(None if value is None else [int(one) for one in value])
        starts, _, axes, steps = given
        if starts is None:
            return None
        axes = list(range(len(starts))) if axes is None else axes
        if [axis % len(shape) for axis in axes] != [part.axis] or (steps is not None and steps != [1]):
            return None
        size = shape[part.axis]
        if not isinstance(size, int):
            return None
        return min(starts[0], size) if starts[0] >= 0 else max(starts[0] + size, 0)

    def _shape(self, tensor: str) -> tuple[int | str | None, ...]:
        return self.model.shapes.of(tensor) or ()


def _shifted(part: Part, tensor: str, first: int | None) -> Part | None:
    """The part in a tensor that it was cut out of, from column `first` on."""
    if first is None:
        return None
    return replace(part, tensor=tensor, start=part.start + first, stop=part.stop + first)
