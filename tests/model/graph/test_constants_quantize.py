"""Rounding to quantisation steps, beside onnx.reference's QuantizeLinear and onnxruntime's."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from protos import normal

from onnxviz.model.graph.constants import dequantize, quantize

# Halves of both kinds, ends of the types and beyond, zeros.
VALUES = np.concatenate([np.arange(-6, 7) / 2, [-0.0, 1e-9, 126.5, 127.5, 128, -128.5, 254.5, 255.5, 1e6, -1e6]])
KINDS = [np.uint8, np.int8, np.uint16, np.int16]


def by_onnx(values, scale, zero, axis) -> list[np.ndarray]:
    """What onnx.reference and onnxruntime make of it."""
    inputs = [("scale", scale), ("zero", zero)]
    names = ["x", *(name for name, array in inputs if array is not None)]
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", names, ["y"], axis=axis)],
        "g",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(array, name) for name, array in inputs if array is not None],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return [ReferenceEvaluator(proto).run(None, {"x": values})[0], session.run(None, {"x": values})[0]]


def assert_alike(values, scale, zero, axis=1) -> np.ndarray:
    found = quantize(values, scale, zero, axis)
    for known in by_onnx(values, scale, zero, axis):
        np.testing.assert_array_equal(found, known)
        assert found.dtype == known.dtype
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0173])
@pytest.mark.parametrize("zero", [0, 3])
def test_halves_and_saturation(kind, scale, zero) -> None:
    found = assert_alike(VALUES.astype(np.float32), np.float32(scale), np.array(zero, kind))
    assert (found.min(), found.max()) == (np.iinfo(kind).min, np.iinfo(kind).max)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_scale_for_each_index_of_an_axis(kind, axis) -> None:
    values = 3 * normal(3, 4, 5)
    count = values.shape[axis]
    scale = np.linspace(0.01, 0.05, count).astype(np.float32)
    assert_alike(values, scale, np.arange(count).astype(kind), axis)


def test_without_a_zero_point_it_is_uint8() -> None:
    assert quantize(VALUES.astype(np.float32), np.float32(0.5), None).dtype == np.uint8
    assert_alike(VALUES.astype(np.float32), np.float32(0.5), None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_back_is_rounded_to_what_was_stored(kind) -> None:
    steps = np.arange(np.iinfo(kind).min, np.iinfo(kind).max + 1).astype(kind)
    scale, zero = np.array(0.0173, np.float32), np.array(np.iinfo(kind).max // 3, kind)
    np.testing.assert_array_equal(quantize(dequantize(steps, scale, zero), scale, zero), steps)
