"""Axes: what each axis of a model's tensors counts, followed from the inputs through the graph."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.errors import ModelError
from onnxviz.messages import dims
from onnxviz.model.axes.arrangement import (
    Arrangement,
    Entries,
    UntoldAxesError,
    arranged,
    entries_of,
    picked_entries,
    written,
)
from onnxviz.model.axes.axis_rules import traced_outputs
from onnxviz.model.axes.axis_step import AxisStep, TracedTensor
from onnxviz.model.axes.factors import CONSTANT, PARTS, Axes, axis_of, kinds, length, untold
from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.evaluation import evaluated
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope, attribute, outer_reads, subgraphs
from onnxviz.model.graph.symbolic_sizes import Dim

# Longer tensors are no shapes, positions or permutations of channels.
_MOST_ELEMENTS = 4096
_DEEPEST = 64

ShapeOf = Callable[[str], Sequence[Dim] | None]
Said = Callable[[str, Sequence[int]], Axes | None]


class AxisTrace:
    """What the axes of the main graph's tensors are made of, for inputs of given sizes.

    Args:
        scope: the main graph, nodes in topological order.
        constants: finds the values of constants.
        opset: versions of the operators by domain.
        shape_of: the shape of a tensor; sizes that are not known are None or names.
        starts: the axes of each input.
        said: the axes of a tensor of some shape that a caller named, None of the others.

    Attributes:
        convolved: each convolution with the axes of what it slides over, in graph order.
    """

    def __init__(
        self,
        scope: Scope,
        constants: Constants,
        opset: Mapping[str, int],
        shape_of: ShapeOf,
        starts: Mapping[str, Axes],
        said: Said | None = None,
    ) -> None:
        self._scope, self._constants, self._opset, self._shape_of = scope, constants, opset, shape_of
        self._said = said
        self._found = {name: TracedTensor(axes, frozenset([name])) for name, axes in starts.items()}
        self._values: dict[str, NDArray[Any] | None] = {}
        self._lost: dict[str, TracedTensor] = {}
        self.convolved: list[tuple[NodeProto, Axes]] = []
        for node in scope.graph.node:
            self._follow(node)

    @property
    def unknown(self) -> list[str]:
        """The tensors whose shape could not be told; what depends on them is not followed."""
        return list(self._lost)

    def of(self, tensor: str) -> TracedTensor | None:
        """What is known of a tensor; None if it depends on no input, or its shape is not known."""
        return self._found.get(tensor)

    def picks(self, tensor: str) -> frozenset[tuple[str, int]]:
        """(letter, index) of each view or frame that was picked out of an axis on the way to a tensor."""
        found = self._found.get(tensor)
        return frozenset() if found is None else found.picks

    def class_axis(self, tensor: str) -> int | None:
        """Which axis of a tensor counts classes, from the end, where others count views or frames; None elsewhere."""
        found = self._found.get(tensor)
        told = [kinds(axis) for axis in found.axes] if found is not None else []
        if not set("".join(told)) & set(PARTS) or told.count("C") != 1:
            return None
        return told.index("C") - len(told)

    def entries(self, tensor: str) -> Entries | None:
        """What the entries of a tensor's first axis are, where it counts views, frames or branches beside samples.

        Where it counts samples alone, of each the one view or frame that was picked on the way.
        """
        found = self._found.get(tensor)
        if found is None or not found.axes:
            return None
        picks = [pick for pick in found.picks if pick[0] in PARTS]
        if len(picks) == 1 and kinds(found.axes[0]) in ("N", ""):
            return picked_entries(*picks[0], length(found.axes[0]))
        return entries_of(found.axes[0])

    def arrangement(self, tensor: str) -> Arrangement:
        """How a tensor is set out as parts, channels and positions.

        Raises:
            UntoldAxesError: that cannot be told; the text says what is known of it.
        """
        found = self._found.get(tensor)
        if found is None:
            raise UntoldAxesError("not even their number")
        try:
            return arranged(found.axes)
        except UntoldAxesError as error:
            sizes = dims([length(axis) for axis in found.axes])
            raise UntoldAxesError(f"{error} ({sizes} is {written(found.axes)})") from None

    def _follow(self, node: NodeProto) -> None:
        read = self._reads(node)
        known = [self._found[name] for name in read if name in self._found]
        lost = [self._lost[name] for name in read if name in self._lost]
        if belongs(node, Family.MEASURING) or not (known or lost):
            return
        given = [self._given(name) for name in node.input]
        if belongs(node, Family.CONVOLUTION) and given[0] is not None:
            self.convolved.append((node, given[0].axes))
        sizes = [self._sizes(name) for name in node.output]
        if sizes and sizes[0] is None and not lost:
            with contextlib.suppress(ValueError, LookupError, TypeError, ArithmeticError):  # a form that is not treated
                sizes[0] = self._asked_for(node)
        if lost or len(known) > sum(name in self._found for name in node.input):  # or read by a subgraph
            inputs = frozenset[str]().union(*(one.inputs for one in (*known, *lost)))
            outputs = [TracedTensor(untold(size or ()), inputs) for size in sizes]
        else:
            outputs = traced_outputs(AxisStep(node, given, sizes, self.value))
        for name, traced, size in zip(node.output, outputs, sizes, strict=True):
            own = self._said(name, size) if self._said is not None and size is not None else None
            if own is not None:
                traced = replace(traced, axes=own)
            told = size is not None or bool(traced.axes)
            (self._found if told else self._lost)[name] = traced

    def _reads(self, node: NodeProto) -> list[str]:
        return [*node.input, *(name for _, graph in subgraphs(node) for name in outer_reads(graph))]

    def _given(self, name: str) -> TracedTensor | None:
        found = self._found.get(name)
        sizes = self._sizes(name) if name and found is None and name not in self._lost else None
        return TracedTensor(tuple(axis_of(CONSTANT, size) for size in sizes)) if sizes is not None else found

    def _sizes(self, name: str) -> tuple[int, ...] | None:
        if name in self._found:
            return tuple(length(axis) for axis in self._found[name].axes)
        stored = self._scope.initializers.get(name)
        dims = tuple(stored.dims) if stored is not None else self._shape_of(name) if name else None
        sizes = tuple(dim for dim in dims or () if isinstance(dim, int))
        if dims is not None and len(sizes) == len(dims):
            return sizes
        value = self.value(name) if name else None
        return None if value is None else value.shape

    def _asked_for(self, node: NodeProto) -> tuple[int, ...] | None:
        """The shape of what is made by shapes and positions that are computed in the graph."""
        before = self._sizes(node.input[0])
        if node.op_type == "Concat" and before:
            axis = attribute(node, "axis") % len(before)
            parts = [self._sizes(name) for name in node.input]
            total = sum(part[axis] for part in parts if part)
            return (*before[:axis], total, *before[axis + 1 :]) if all(parts) else None
        operands = [self.value(name) if name else None for name in node.input[1:]]
        if before is None or not operands or any(one is None for one in operands):
            return None
        if node.op_type == "Gather" and operands[0] is not None:
            axis = (attribute(node, "axis") or 0) % len(before)
            return (*before[:axis], *operands[0].shape, *before[axis + 1 :])
        if node.op_type == "Slice":
            form = np.broadcast_to(np.int8(0), before)  # takes no memory
            found = evaluated(node, [form, *operands], self._opset)
            return found[0].shape if found else None
        if node.op_type != "Reshape" or operands[0] is None or operands[0].ndim != 1 or attribute(node, "allowzero"):
            return None
        wanted = [before[axis] if size == 0 else int(size) for axis, size in enumerate(operands[0])]
        rest = math.prod(size for size in wanted if size > 0)
        if wanted.count(-1) > 1 or math.prod(before) % max(rest, 1):
            return None
        return tuple(math.prod(before) // max(rest, 1) if size < 0 else size for size in wanted)

    def value(self, name: str, depth: int = 0) -> NDArray[Any] | None:
        """The values of a small tensor that depends on constants and shapes alone, None if it is none."""
        if name not in self._values:
            self._values[name] = None  # a graph that contradicts itself ends here
            try:
                self._values[name] = self._value(name, depth)
            except (ModelError, ValueError, LookupError, TypeError, ArithmeticError):  # refused where it is run
                return None
        return self._values[name]

    def _value(self, name: str, depth: int) -> NDArray[Any] | None:
        found = self._constants.find(self._scope, name)
        if found is not None:
            return found.array if math.prod(found.shape) <= _MOST_ELEMENTS else None
        node = self._scope.producers.get(name)
        if node is None or name in self._found or len(node.output) != 1 or depth > _DEEPEST:
            return None
        if belongs(node, Family.MEASURING):
            sizes = self._sizes(node.input[0])
            if sizes is None:
                return None
            if node.op_type == "Shape":
                return np.array(sizes[attribute(node, "start") or 0 : attribute(node, "end")], np.int64)
            return np.array(math.prod(sizes), np.int64)
        if belongs(node, Family.RANDOM) or self._is_large(name):
            return None
        operands = [self.value(one, depth + 1) if one else None for one in node.input]
        if any(one and operand is None for one, operand in zip(node.input, operands, strict=True)):
            return None
        values = evaluated(node, operands, self._opset)
        return values[0] if values and values[0].size <= _MOST_ELEMENTS else None

    def _is_large(self, name: str) -> bool:
        dims = self._shape_of(name)
        return dims is not None and math.prod(dim for dim in dims if isinstance(dim, int)) > _MOST_ELEMENTS


def input_axes(letters: str, sizes: Sequence[int], *, batched: bool = True) -> Axes:
    """The axes of an input: one letter each, or nothing known of them but the batch in front, where there is one."""
    if len(letters) == len(sizes):
        return tuple(axis_of(letter, size) for letter, size in zip(letters, sizes, strict=True))
    found = untold(sizes)
    return (axis_of("N", sizes[0]), *found[1:]) if batched and sizes else found
