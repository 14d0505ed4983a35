"""Readings: which tensor of a layer is read, whether an activation is applied to it, and in which steps."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import referenced
from protos import normal, parsed

import onnxviz
from onnxviz.comparison.error_sums import ErrorSums
from onnxviz.comparison.reading import Reading


def rounded(zero: np.ndarray | None, scale: np.ndarray):
    """A convolution whose output is rounded to steps, and read by two."""
    zeros = "" if zero is None else ", z"
    weights = {"w": normal(4, 3, 3, 3), "s": scale, **({} if zero is None else {"z": zero})}
    return parsed(
        f"g (float[n,3,8,8] x) => (y, t) {{ c = Conv (x, w) q = QuantizeLinear (c, s{zeros}) "
        f"d = DequantizeLinear (q, s{zeros}) y = MaxPool <kernel_shape = [2, 2]> (d) t = Tanh (d) }}",
        opset=19,
        **weights,
    )


def of_integers(zero: np.ndarray):
    """The same as one operator on integers."""
    return parsed(
        "g (float[n,3,8,8] x) => (y, t) { a = QuantizeLinear (x, s, o) c = QLinearConv (a, s, o, w, s, i, s, z) "
        "d = DequantizeLinear (c, s, z) y = MaxPool <kernel_shape = [2, 2]> (d) t = Tanh (d) }",
        opset=19,
        w=np.ones((4, 3, 3, 3), np.int8), s=np.float32(0.05), o=np.uint8(128), i=np.int8(0), z=zero,
    )  # fmt: skip


ZEROS = [
    (np.uint8(0), True), (np.int8(-128), True), (np.uint8(128), False), (np.int8(0), False), (np.uint8(1), False),
]  # fmt: skip


@pytest.mark.parametrize(("zero", "saturates"), [(None, True), *ZEROS])
def test_rounding_cuts_at_zero_only_where_zero_is_the_lowest_step(zero, saturates) -> None:
    """A quantiser takes the ReLU out then, and the rounding is the activation; without a zero point it is uint8's 0."""
    reading = Reading.of(onnxviz.load(rounded(zero, np.float32(0.05))).layers[0])
    assert reading.tap.tensor == "d"
    assert reading.saturates is saturates
    assert reading.activated is saturates


@pytest.mark.parametrize(("zero", "saturates"), [one for one in ZEROS if one[0].dtype == np.uint8])
def test_whether_an_operator_on_integers_has_an_activation_is_not_known_where_it_saturates(zero, saturates) -> None:
    reading = Reading.of(onnxviz.load(of_integers(zero)).layers[0])
    assert reading.tap.tensor == "d"
    assert reading.saturates is saturates
    assert reading.activated is (None if saturates else False)


def test_an_error_in_steps_counts_each_channel_in_its_own() -> None:
    """Rounding alone: about 1/√12 of a step in each channel, whatever its scale; oracle: onnx's reference."""
    scale = np.array([0.01, 0.1, 0.05, 0.02], np.float32)
    proto = rounded(np.zeros(4, np.int8), scale)
    for node in proto.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.attribute.add(name="axis", i=1, type=2)
    reading = Reading.of(onnxviz.load(proto).layers[0])
    x = normal(2, 3, 8, 8, seed=5) * np.float32(0.05)
    found = referenced(proto, ["c", "d"], {"x": x})
    steps = (found["c"] - found["d"]) / scale[:, None, None]
    sums = ErrorSums.of(found["c"], found["d"], 1, 0)
    assert reading.in_steps(sums) == pytest.approx(np.sqrt((steps.astype(np.float64) ** 2).mean()), rel=1e-5)
    assert 0.2 < reading.in_steps(sums) < 0.4
