"""Peaks: nodes behind chosen tensors that give the largest value of each channel, and where it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxviz.errors import InputError
from onnxviz.model.graph.scopes import plain_domain
from onnxviz.model.model import Model
from onnxviz.passes.expose import Tap, expose


def with_peaks(model: Model, tensors: Sequence[str]) -> tuple[onnx.ModelProto, list[str]]:
    """A model that gives, for each tensor, the largest value of each channel, its flat position, the shape, and marks.

    The marks, one a channel, are NaN or ±infinity where any value of the channel is, else finite.
    """
    exposed = expose(model, [Tap(name) for name in tensors])
    proto = exposed.proto
    opset = max((entry.version for entry in proto.opset_import if not plain_domain(entry.domain)), default=0)
    if opset < 5:
        raise InputError(f"{model.label} is of opset {opset}; patches need 5 or later: convert it first")
    graph = proto.graph
    del graph.output[:]
    flat = "onnxviz/flat_shape"
    small = "onnxviz/small"  # no sum of finite values overflows
    graph.initializer.append(numpy_helper.from_array(np.array([0, 0, -1], np.int64), flat))
    graph.initializer.append(numpy_helper.from_array(np.array(1e-30, np.float32), small))
    outputs: list[str] = []
    for number, tensor in enumerate(tensors):
        parts = ("float", "flat", "peak", "max", "place", "shape", "small", "mean", "mark")
        names = {part: f"onnxviz/{part}_{number}" for part in parts}
        graph.node.extend(
            [
                helper.make_node("Shape", [tensor], [names["shape"]]),
                helper.make_node("Cast", [tensor], [names["float"]], to=TensorProto.FLOAT),
                helper.make_node("Reshape", [names["float"], flat], [names["flat"]]),
                helper.make_node("GlobalMaxPool", [names["flat"]], [names["peak"]]),
                helper.make_node("Flatten", [names["peak"]], [names["max"]], axis=1),
                helper.make_node("ArgMax", [names["flat"]], [names["place"]], axis=2, keepdims=0),
                helper.make_node("Mul", [names["flat"], small], [names["small"]]),
                helper.make_node("GlobalAveragePool", [names["small"]], [names["mean"]]),
                helper.make_node("Flatten", [names["mean"]], [names["mark"]], axis=1),
            ]
        )
        graph.output.append(helper.make_tensor_value_info(names["max"], TensorProto.FLOAT, None))
        graph.output.append(helper.make_tensor_value_info(names["place"], TensorProto.INT64, None))
        graph.output.append(helper.make_tensor_value_info(names["shape"], TensorProto.INT64, None))
        graph.output.append(helper.make_tensor_value_info(names["mark"], TensorProto.FLOAT, None))
        outputs += [names["max"], names["place"], names["shape"], names["mark"]]
    return proto, outputs
