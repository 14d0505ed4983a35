"""Channel reductions, beside numpy on the tensors themselves; in old and new opsets."""

from __future__ import annotations

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


@pytest.mark.parametrize("opset", [8, 10, 11, 13, 17, 18, 21])
def test_reductions(opset: int) -> None:
    before = model(opset)
    text = before.SerializeToString()
    some, centre = np.array([1, 3]), np.array([0.5, -2], np.float32)
    proto, (linear, rectified) = reduce_channels(
        before,
        [Reduction("t", False, complete=True, centred=some, centre=centre), Reduction("r", True)],
    )
    assert before.SerializeToString() == text
    found = run(proto)
    for outputs, values in ((linear, -X), (rectified, np.maximum(-X, 0))):
        rows = values.reshape(3, 4, -1).astype(np.float64)
        np.testing.assert_array_equal(found[outputs.shape], [3, 4, 30])
        np.testing.assert_allclose(found[outputs.mean], rows.mean(2), rtol=1e-5, atol=1e-6)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(found[outputs.inverse_rms], 1 / np.sqrt((rows**2).mean(2)), rtol=1e-6)
        np.testing.assert_array_equal(found[outputs.highest], rows.max(2))
    rows = -X.reshape(3, 4, -1)
    np.testing.assert_array_equal(found[linear.lowest], rows.min(2))
    np.testing.assert_array_equal(found[linear.nonzeros], (rows != 0).sum(2))
    np.testing.assert_array_equal(np.rint(found[rectified.positives] * 30.0 / TINY), (rows > 0).sum(2))
    assert (linear.positives, rectified.lowest, rectified.nonzeros, rectified.centred_mean) == ("", "", "", "")
    apart = rows[:, some] - centre[:, None]
    np.testing.assert_allclose(found[linear.centred_mean], apart.mean(2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[linear.centred_inverse_rms], 1 / np.sqrt((apart**2).mean(2)), rtol=1e-6)


def test_reductions_stand_right_behind_what_they_reduce() -> None:
    """What was just made is still in the cache."""
    proto, _ = reduce_channels(model(18), [Reduction("t", False)])
    operators = [node.op_type for node in proto.graph.node]
    assert operators[0] == "Neg"
    assert operators[-2:] == ["Relu", "Add"]
