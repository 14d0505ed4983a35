"""Channel reductions: nodes behind chosen tensors that make a number a channel of them, so that maps need not leave.

Each tensor (N, C, spatial…) is reshaped to (N, C, positions) right behind the node that makes it. The mean of squares
comes from SimplifiedLayerNormalization, whose second output is 1 / root mean square; it takes half the time of
ReduceSumSquare in onnxruntime. Positive values of what cannot be negative are counted by the mean of
Clip(x, 0, 2^-100): Clip and ReduceMean are vectorised, a comparison and its sum are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxviz.model.graph.names import FreshNames
from onnxviz.model.graph.scopes import set_nodes

TINY = 2.0**-100
"""What a positive value adds to the sum that counts them."""
_AXES_AS_INPUT = 18  # of ReduceMean, ReduceMax, ReduceMin and ReduceL1; an attribute before
_BOUNDS_AS_INPUTS = 11  # of Clip; attributes before


@dataclass(frozen=True)
class Reduction:
    """How one tensor is reduced.

    Attributes:
        tensor: (N, C, spatial…), of float32 or of quantised integers.
        rectified: whether none of its values is negative: positives are counted, and the minimum is left out.
        complete: whether both are computed for any tensor.
        scale, zero_point: of quantised values, one or one a channel; None where they are not quantised.
        centred: channels whose values are also taken relative to `centre`, since they vary little around it.
        centre: float32, one for each of `centred`.
    """

    tensor: str
    rectified: bool
    complete: bool = False
    scale: NDArray[Any] | None = None
    zero_point: NDArray[Any] | None = None
    centred: NDArray[Any] | None = None
    centre: NDArray[Any] | None = None


@dataclass(frozen=True)
class ReducedOutputs:
    """The outputs that a tensor was reduced to, each (N, C) but for `positions`; "" for what is left out.

    Attributes:
        mean: over all positions.
        inverse_rms: 1 / √(mean of squares), infinite where all are zero.
        highest, lowest: the extremes.
        positives: the mean of min(max(x, 0), 2^-100): the share of positive values, times 2^-100.
        nonzeros: how many values are not 0, as a float32 that is exact up to 2^24.
        shape: that of the reshaped tensor, (3,).
        centred_mean, centred_inverse_rms: as `mean` and `inverse_rms`, of x - centre, for the centred channels alone.
    """

    mean: str
    inverse_rms: str
    highest: str
    lowest: str
    positives: str
    nonzeros: str
    shape: str
    centred_mean: str = ""
    centred_inverse_rms: str = ""

    @property
    def all(self) -> tuple[str, ...]:
        """All that there are."""
        return tuple(name for name in astuple(self) if name)


def reduce_channels(
    proto: onnx.ModelProto, reductions: Sequence[Reduction]
) -> tuple[onnx.ModelProto, list[ReducedOutputs]]:
    """The model with the reductions as its outputs.

    Args:
        proto: makes each of the tensors in its main graph; not changed.
        reductions: what to reduce, and how.

    Returns:
        The new model, and what each of `reductions` became, in order.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    writer = _Writer(made)
    found = [writer.reduced(reduction) for reduction in reductions]
    writer.finish()
    del made.graph.output[:]
    for outputs in found:
        made.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs.all)
    return made, found


class _Writer:
    """Adds nodes behind those that make the reduced tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.names = FreshNames(model)
        opset = {entry.domain: entry.version for entry in model.opset_import}
        self.opset = opset.get("", opset.get("ai.onnx", 1))
        self.behind: dict[str, list[NodeProto]] = {}
        self.constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}
        self.tensor = ""

    def reduced(self, reduction: Reduction) -> ReducedOutputs:
        """The outputs that the tensor becomes; its nodes are kept until `finish`."""
        self.tensor = reduction.tensor
        self.behind.setdefault(self.tensor, [])
        value = self.tensor
        if reduction.scale is not None:
            zero = reduction.zero_point
            inputs = [value, self.constant(reduction.scale.astype(np.float32))]
            value = self.node("DequantizeLinear", inputs + ([] if zero is None else [self.constant(zero)]))
        rows = self.node("Reshape", [value, self.constant(np.array([0, 0, -1], np.int64))])
        shape = self.node("Shape", [rows])
        last = self.node("Gather", [shape, self.constant(np.array([2], np.int64))])
        ones = self.node("Expand", [self.constant(np.ones(1, np.float32)), last])
        rectified, complete = reduction.rectified, reduction.complete
        centred = {}
        if reduction.centred is not None and reduction.centre is not None:
            some = self.node("Gather", [rows, self.constant(reduction.centred.astype(np.int64))], axis=1)
            apart = self.node("Sub", [some, self.constant(reduction.centre.astype(np.float32)[:, None])])
            centred["centred_mean"] = self.over_positions("ReduceMean", apart)
            centred["centred_inverse_rms"] = self.inverse_rms(apart, ones)
        return ReducedOutputs(
            mean=self.over_positions("ReduceMean", rows),
            inverse_rms=self.inverse_rms(rows, ones),
            highest=self.over_positions("ReduceMax", rows),
            lowest=self.over_positions("ReduceMin", rows) if complete or not rectified else "",
            positives=self.over_positions("ReduceMean", self.clipped(rows)) if rectified else "",
            nonzeros=self.nonzeros(rows) if complete and not rectified else "",
            shape=shape,
            **centred,
        )

    def inverse_rms(self, rows: str, ones: str) -> str:
        """1 / √(mean of squares) of each row of positions."""
        outputs = [self.names.tensor(f"{self.tensor}/{name}") for name in ("normalised", "inverse_rms")]
        node = helper.make_node(
            "SimplifiedLayerNormalization", [rows, ones], outputs, axis=-1, epsilon=0.0, stash_type=TensorProto.FLOAT
        )
        self.behind[self.tensor].append(node)
        return self.node("Reshape", [outputs[1], self.constant(np.array([0, 0], np.int64))])

    def clipped(self, rows: str) -> str:
        """The values between 0 and 2^-100; Clip takes its bounds as inputs since opset 11."""
        if self.opset < _BOUNDS_AS_INPUTS:
            return self.node("Clip", [rows], min=0.0, max=TINY)
        return self.node("Clip", [rows, self.constant(np.float32(0)), self.constant(np.float32(TINY))])

    def nonzeros(self, rows: str) -> str:
        """How many values of each row of positions are not 0; a sum of what is not negative is an L1 norm."""
        there = self.node("Cast", [rows], to=TensorProto.BOOL)
        return self.over_positions("ReduceL1", self.node("Cast", [there], to=TensorProto.FLOAT))

    def over_positions(self, operator: str, rows: str) -> str:
        """A reduction of (N, C, positions) to (N, C)."""
        if self.opset >= _AXES_AS_INPUT:
            return self.node(operator, [rows, self.constant(np.array([2], np.int64))], keepdims=0)
        return self.node(operator, [rows], axes=[2], keepdims=0)

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """The one output of a new node behind the tensor."""
        output = self.names.tensor(f"{self.tensor}/{operator}")
        name = self.names.node(output)
        self.behind[self.tensor].append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def constant(self, array: Any) -> str:
        """A small constant; equal ones are stored once."""
        array = np.asarray(array)
        key = (str(array.dtype), array.tobytes(), array.shape)
        if key not in self.constants:
            self.constants[key] = self.names.tensor("onnxviz/constant")
            self.graph.initializer.append(numpy_helper.from_array(array, self.constants[key]))
        return self.constants[key]

    def finish(self) -> None:
        """Puts the nodes right behind those that make what they read: a tensor is in the cache then."""
        nodes: list[NodeProto] = []
        for node in self.graph.node:
            nodes.append(node)
            for name in node.output:
                nodes.extend(self.behind.pop(name, ()))
        set_nodes(self.graph, nodes)
