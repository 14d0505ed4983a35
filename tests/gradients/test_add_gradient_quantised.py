"""Networks that onnxruntime's own tools quantised, against PyTorch with straight-through rounding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from oracles import angle
from protos import classifier_proto

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient, grad_support

torch = pytest.importorskip("torch", reason="the oracle is PyTorch's autograd: pip install torch")
import torch_graph  # noqa: E402 - of no use without torch

quantization = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime's quantiser is the subject")

SHAPE = (4, 3, 16, 12)


class Samples(quantization.CalibrationDataReader):
    """Random images to find the ranges with."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.left = [{"image": rng.normal(size=SHAPE).astype(np.float32)} for _ in range(4)]

    def get_next(self):
        return self.left.pop() if self.left else None


@pytest.fixture(scope="module", params=["per-tensor", "per-channel"])
def quantised(request, tmp_path_factory):
    """The small classifier, float and as quantize/dequantize pairs; Relu is the saturation of the quantiser."""
    folder = tmp_path_factory.mktemp("quantised")
    onnx.save(classifier_proto(), folder / "float.onnx")
    quantization.quantize_static(
        folder / "float.onnx",
        folder / "qdq.onnx",
        Samples(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=request.param == "per-channel",
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return folder


def test_a_quantised_network(quantised):
    proto = onnx.load(quantised / "qdq.onnx")
    model = onnxviz.load(quantised / "qdq.onnx")
    assert "Relu" not in model.operators
    gradient = add_gradient(model)
    assert gradient.approximations
    assert grad_support(model)
    x = np.random.default_rng(9).normal(size=SHAPE).astype(np.float32)
    seed = np.random.default_rng(8).normal(size=(4, 5)).astype(np.float32)
    found = gradient.session(threads=1).run({"image": x}, seed)
    point = torch.tensor(x.astype(np.float64), requires_grad=True)
    value = torch_graph.run(proto, {"image": point}, model.outputs[0].name)
    value.backward(torch.tensor(seed.astype(np.float64)))
    expected = point.grad.numpy()
    # Rounding in float32 and float64 differs where a number lies halfway between two steps.
    assert np.abs(found.value - value.detach().numpy()).max() < 0.05 * np.abs(found.value).max()
    assert angle(found.gradients["image"], expected) < 1e-4


def test_it_points_where_the_float_network_points(quantised):
    x = np.random.default_rng(9).normal(size=SHAPE).astype(np.float32)
    found = []
    for name in ("float", "qdq"):
        session = add_gradient(onnxviz.load(quantised / f"{name}.onnx")).session(threads=1)
        found.append(session.run({"image": x}, np.eye(5)[:4]).gradients["image"])
    assert angle(*found) < 0.1


def test_integer_operators_are_refused_with_what_to_do(quantised, tmp_path):
    quantization.quantize_static(
        quantised / "float.onnx",
        tmp_path / "integers.onnx",
        Samples(),
        quant_format=quantization.QuantFormat.QOperator,
    )
    support = grad_support(onnxviz.load(tmp_path / "integers.onnx"))
    assert {one.kind for one in support.blocking} == {"quantised"}
    assert "QuantFormat.QDQ" in str(support)
