"""Channel reductions, beside numpy on the tensors themselves; in old and new opsets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from protos import normal

from onnxviz.passes.reductions import TINY, Reduction, reduce_channels

X = normal(3, 4, 5, 6)
X[0, 1] = 0
X[1, 2] = 7


def model(opset: int) -> onnx.ModelProto:
    """x → Neg → t, and t → Relu → r, both read by a later node."""
    nodes = [
        helper.make_node("Neg", ["x"], ["t"]),
        helper.make_node("Relu", ["t"], ["r"]),
        helper.make_node("Add", ["t", "r"], ["y"]),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, "h", "w"])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [given], [made])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def run(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"x": X}), strict=True))


def parts(vector: np.ndarray, *widths: int) -> list[np.ndarray]:
    """The quantities of each tensor, (N, quantities, C), the centred ones behind them, and the sizes."""
    found, start = [], 0
    for width in widths:
        found.append(vector[start : start + 3 * width].reshape(3, width))
        start += 3 * width
    return [*found, vector[start:].reshape(-1, 4)]


@pytest.mark.parametrize("last", [None, 3])
@pytest.mark.parametrize("opset", [8, 10, 11, 13, 17, 18, 21])
def test_reductions(opset: int, last: int | None) -> None:
    before = model(opset)
    text = before.SerializeToString()
    some, centre = np.array([1, 3]), np.array([0.5, -2], np.float32)
    linear = Reduction("t", False, last=last, centred=some, centre=centre)
    plain, whole = (reduce_channels(before, [linear, Reduction("r", True)], complete=c) for c in (False, True))
    assert before.SerializeToString() == text
    for proto, quantities in ((plain, 4), (whole, 5)):
        (vector,) = run(proto).values()
        of_linear, of_rectified, sizes = parts(vector, 4 * quantities + 4, 4 * quantities)
        np.testing.assert_array_equal(sizes, [[3, 4, 30, 6 if last else 1], [3, 4, 30, 1]])
        for found, values in ((of_linear, -X), (of_rectified, np.maximum(-X, 0))):
            rows = values.reshape(3, 4, -1).astype(np.float64)
            mean, square, highest, fourth, *fifth = (found[:, 4 * i : 4 * i + 4] for i in range(quantities))
            np.testing.assert_allclose(mean, rows.mean(2), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(square, (rows**2).mean(2), rtol=1e-6)
            np.testing.assert_array_equal(highest, rows.max(2))
            if found is of_linear:
                np.testing.assert_array_equal(fourth, rows.min(2))
                others = (rows != 0).sum(2)
            else:
                np.testing.assert_array_equal(np.rint(fourth * 30.0 / TINY), (rows > 0).sum(2))
                others = rows.min(2)
            for one in fifth:
                np.testing.assert_array_equal(one, others)
        apart = (-X).reshape(3, 4, -1)[:, some] - centre[:, None]
        np.testing.assert_allclose(of_linear[:, -4:-2], apart.mean(2), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(of_linear[:, -2:], (apart**2).mean(2), rtol=1e-6)


def test_means_of_large_maps_of_equal_values() -> None:
    """A float32 sum of 50,176 equal values, one after the other, is off by 1e-4 of itself."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "c", "h", "w"])
    made = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["t"])], "g", [given], [made])
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    proto = reduce_channels(before, [Reduction("t", False, last=3)])
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    values = np.random.default_rng(0).uniform(0.1, 1, 64).astype(np.float32)
    (vector,) = session.run(None, {"x": np.broadcast_to(values[None, :, None, None], (1, 64, 224, 224)).copy()})
    np.testing.assert_allclose(vector[:64], -values, rtol=2e-6)


def test_a_tensor_is_reduced_before_the_next_is_made(tmp_path) -> None:
    """It is in the cache then, and is freed before all others are made."""
    nodes, weights = [], []
    for number in range(4):
        nodes.append(helper.make_node("Conv", [f"t{number}", f"w{number}"], [f"t{number + 1}"], pads=[1, 1, 1, 1]))
        weights.append(onnx.numpy_helper.from_array(normal(32, 32, 3, 3), f"w{number}"))
    given = helper.make_tensor_value_info("t0", TensorProto.FLOAT, ["n", 32, 16, 16])
    made = helper.make_tensor_value_info("t4", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [given], [made], weights)
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    proto = reduce_channels(before, [Reduction(f"t{number}", False, last=3) for number in range(1, 5)])
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.run(None, {"t0": normal(1, 32, 16, 16)})
    events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [event["args"]["op_name"] for event in events if event["name"].endswith("_kernel_time")]
    convolutions = [place for place, name in enumerate(kernels) if name == "Conv"]
    assert len(convolutions) == 4
    for first, last in zip(convolutions, [*convolutions[1:], len(kernels)], strict=True):
        assert kernels[first:last].count("ReduceMax") == 1
        assert kernels[first:last].count("ReduceMin") == 1
