"""Channel reductions: nodes behind chosen tensors that make numbers a channel of them, so that maps need not leave.

Each tensor (N, C, spatial…) is reshaped to (N, C, positions) and reduced along the last axis; everything leaves as one
vector, since each output costs time of its own. The operators are those that onnxruntime vectorises: squares are
multiplied and averaged, which takes less than ReduceSumSquare; what is above zero is counted by the mean of
Clip(x, 0, 2^-100) rather than by a comparison and its sum. Means of large maps are taken line by line: a float32 sum
of 50,000 equal values is off by 6e-5, in two steps by 5e-7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxviz.model.graph.names import FreshNames

TINY = 2.0**-100
"""What a positive value adds to the sum that counts them."""
_AXES_AS_INPUT = 18  # of ReduceMean, ReduceMax, ReduceMin and ReduceL1; an attribute before
_BOUNDS_AS_INPUTS = 11  # of Clip; attributes before


@dataclass(frozen=True)
class Reduction:
    """How one tensor is reduced.

    Attributes:
        tensor: (N, C, spatial…), of float32 or of quantised integers.
        rectified: whether none of its values is negative.
        last: its last axis, 3 or more, where means are taken line by line; None to take them at once.
        scale, zero_point: of quantised values, one or one a channel; None where they are not quantised.
        centred: channels whose values are also taken relative to `centre`, since they vary little around it.
        centre: float32, one for each of `centred`.
    """

    tensor: str
    rectified: bool
    last: int | None = None
    scale: NDArray[Any] | None = None
    zero_point: NDArray[Any] | None = None
    centred: NDArray[Any] | None = None
    centre: NDArray[Any] | None = None


def reduce_channels(
    proto: onnx.ModelProto, reductions: Sequence[Reduction], *, complete: bool = False
) -> onnx.ModelProto:
    """The model with the reductions as its one output, a float32 vector.

    First each tensor's quantities, (N, quantities · C) laid flat, in order: the mean, the mean of squares and the
    maximum; of what is rectified the share of values above 0, times 2^-100, else the minimum; if `complete`, of what is
    rectified the minimum, else how many values are not 0 (exact up to 2^24); then the mean, and the mean of squares, of
    x - centre, for the centred channels alone. Behind all that, of each tensor: N, C, positions, and the length
    of the lines in which they were averaged, 1 if they were at once.

    Args:
        proto: makes each of the tensors in its main graph; not changed.
        reductions: what to reduce, and how.
        complete: whether minima of what is rectified, and zeros of what is not, are computed as well.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    opset = {entry.domain: entry.version for entry in made.opset_import}
    writer = _Writer(made, opset.get("", opset.get("ai.onnx", 1)))
    parts = [writer.reduced(reduction, complete=complete) for reduction in reductions]
    # onnxruntime goes back from the last node that nobody reads, and of what that reads does the last node first. So
    # the first tensor's nodes stand last: it is reduced as soon as it is made, while it is in the cache, and is freed.
    for nodes, *_ in reversed(parts):
        made.graph.node.extend(nodes)
    names = [name for _, name, _ in parts] + [shape for _, _, shape in parts]
    output = writer.names.tensor("onnxviz/reduced")
    made.graph.node.append(helper.make_node("Concat", names, [output], name=writer.names.node(output), axis=0))
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [None]))
    return made


class _Writer:
    """Writes the nodes that reduce one tensor after the other."""

    def __init__(self, model: onnx.ModelProto, opset: int) -> None:
        self.graph = model.graph
        self.opset = opset
        self.names = FreshNames(model)
        self.constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        self.tensor = ""
        self.nodes: list[NodeProto] = []

    def reduced(self, reduction: Reduction, *, complete: bool) -> tuple[list[NodeProto], str, str]:
        """The nodes for a tensor, and the names of its flat quantities and of its shape."""
        self.tensor, self.nodes = reduction.tensor, []
        value = self.tensor
        if reduction.scale is not None:
            zero = reduction.zero_point
            inputs = [value, self.constant(reduction.scale.astype(np.float32))]
            value = self.node("DequantizeLinear", inputs + ([] if zero is None else [self.constant(zero)]))
        rows = self.node("Reshape", [value, self.constant(np.array([0, 0, -1], np.int64))])
        lines = ""
        if reduction.last is not None:
            last = self.constant(np.array([reduction.last], np.int64))
            length = self.node("Gather", [self.node("Shape", [value]), last])
            lines = self.node("Concat", [self.constant(np.array([0, 0, -1], np.int64)), length], axis=0)
        else:
            length = self.constant(np.ones(1, np.int64))
        made = [*self.mean_and_square(rows, lines), self.along("ReduceMax", rows)]
        lowest = [self.along("ReduceMin", rows)] if complete or not reduction.rectified else []
        if reduction.rectified:
            made += [self.along("ReduceMean", self.clipped(rows)), *lowest]
        else:
            made += [*lowest, *([self.nonzeros(rows)] if complete else [])]
        if reduction.centred is not None and reduction.centre is not None:
            some = self.node("Gather", [rows, self.constant(reduction.centred.astype(np.int64))], axis=1)
            apart = self.node("Sub", [some, self.constant(reduction.centre.astype(np.float32)[:, None])])
            made += self.mean_and_square(apart, lines)
        joined = self.node("Concat", made, axis=1)
        flat = self.node("Reshape", [joined, self.constant(np.array([-1], np.int64))])
        sizes = self.node("Concat", [self.node("Shape", [rows]), length], axis=0)
        return self.nodes, flat, self.node("Cast", [sizes], to=TensorProto.FLOAT)

    def mean_and_square(self, rows: str, lines: str) -> list[str]:
        """The mean, and the mean of squares, of each row of positions; line by line if `lines` is their shape."""
        made = []
        for one in (rows, self.node("Mul", [rows, rows])):
            split = self.along("ReduceMean", self.node("Reshape", [one, lines]), 3) if lines else one
            made.append(self.along("ReduceMean", split))
        return made

    def clipped(self, rows: str) -> str:
        """The values between 0 and 2^-100; Clip takes its bounds as inputs since opset 11."""
        if self.opset < _BOUNDS_AS_INPUTS:
            return self.node("Clip", [rows], min=0.0, max=TINY)
        return self.node("Clip", [rows, self.constant(np.float32(0)), self.constant(np.float32(TINY))])

    def nonzeros(self, rows: str) -> str:
        """How many values of each row of positions are not 0; a sum of what is not negative is an L1 norm."""
        there = self.node("Cast", [rows], to=TensorProto.BOOL)
        return self.along("ReduceL1", self.node("Cast", [there], to=TensorProto.FLOAT))

    def along(self, operator: str, value: str, axis: int = 2) -> str:
        """A reduction of one axis, that of the positions."""
        if self.opset >= _AXES_AS_INPUT:
            return self.node(operator, [value, self.constant(np.array([axis], np.int64))], keepdims=0)
        return self.node(operator, [value], axes=[axis], keepdims=0)

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """The one output of a new node."""
        output = self.names.tensor(f"{self.tensor}/{operator}")
        self.nodes.append(helper.make_node(operator, inputs, [output], name=self.names.node(output), **attributes))
        return output

    def constant(self, array: Any) -> str:
        """A small constant; equal ones are stored once."""
        array = np.asarray(array)
        key = (str(array.dtype), array.tobytes(), array.shape)
        if key not in self.constants:
            self.constants[key] = self.names.tensor("onnxviz/constant")
            self.graph.initializer.append(numpy_helper.from_array(array, self.constants[key]))
        return self.constants[key]
