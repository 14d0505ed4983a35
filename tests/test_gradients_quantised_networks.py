"""Networks that onnxruntime's own tools quantised, against PyTorch with straight-through rounding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from conftest import classifier_proto

import onnxviz
from onnxviz.gradients import add_gradient, grad_support

torch = pytest.importorskip("torch", reason="the oracle is PyTorch's autograd: pip install torch")
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


def straight_through(proto, x):
    """The model in float64: rounding forwards, the saturating line backwards."""
    f = torch.nn.functional
    values = {
        t.name: torch.tensor(np.asarray(onnx.numpy_helper.to_array(t), np.float64)) for t in proto.graph.initializer
    }
    limits = {
        t.name: np.iinfo(onnx.numpy_helper.to_array(t).dtype)
        for t in proto.graph.initializer
        if onnx.numpy_helper.to_array(t).dtype.kind in "iu"
    }
    values["image"] = x

    def along(value, axis, rank):
        return value.reshape([-1 if i == axis else 1 for i in range(rank)]) if value.numel() > 1 else value.reshape(())

    for node in proto.graph.node:
        a = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        v = [values[name] for name in node.input]
        if node.op_type == "QuantizeLinear":
            scale, zero = along(v[1], a.get("axis", 1), v[0].ndim), along(v[2], a.get("axis", 1), v[0].ndim)
            bounds = limits[node.input[2]]
            line = torch.maximum(torch.minimum(v[0], (bounds.max - zero) * scale), (bounds.min - zero) * scale)
            steps = torch.clamp(torch.round(v[0] / scale) + zero, bounds.min, bounds.max)
            y = line + ((steps - zero) * scale - line).detach()  # in real numbers, quantised
        elif node.op_type == "DequantizeLinear":
            if node.input[0] in limits or v[0].dtype != torch.float64 or node.input[0].endswith("_quantized"):
                axis = a.get("axis", 1)
                zero = along(v[2], axis, v[0].ndim) if len(v) > 2 else 0
                y = (v[0] - zero) * along(v[1], axis, v[0].ndim)
            else:
                y = v[0]
        elif node.op_type == "Conv":
            pads = a.get("pads", [0, 0, 0, 0])
            x4 = f.pad(v[0], [pads[1], pads[3], pads[0], pads[2]])
            y = f.conv2d(x4, v[1], v[2] if len(v) > 2 else None, 1, 0, a.get("dilations", [1, 1]))
        elif node.op_type == "MaxPool":
            y = f.max_pool2d(v[0], a["kernel_shape"], a["strides"])
        elif node.op_type == "GlobalAveragePool":
            y = v[0].mean((2, 3), keepdim=True)
        elif node.op_type == "Flatten":
            y = v[0].flatten(1)
        elif node.op_type in ("MatMul", "Relu"):
            y = v[0] @ v[1] if node.op_type == "MatMul" else torch.relu(v[0])
        else:
            raise NotImplementedError(node.op_type)
        values[node.output[0]] = y
    return values[proto.graph.output[0].name]


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
    value = straight_through(proto, point)
    value.backward(torch.tensor(seed.astype(np.float64)))
    expected = point.grad.numpy()
    # Rounding in float32 and float64 differs where a number lies halfway between two steps.
    assert np.abs(found.value - value.detach().numpy()).max() < 0.05 * np.abs(found.value).max()
    angle = 1 - (found.gradients["image"] * expected).sum() / np.linalg.norm(found.gradients["image"]) / np.linalg.norm(
        expected
    )
    assert angle < 1e-4


def test_it_points_where_the_float_network_points(quantised):
    x = np.random.default_rng(9).normal(size=SHAPE).astype(np.float32)
    found = []
    for name in ("float", "qdq"):
        session = add_gradient(onnxviz.load(quantised / f"{name}.onnx")).session(threads=1)
        found.append(session.run({"image": x}, np.eye(5)[:4]).gradients["image"].ravel())
    cosine = found[0] @ found[1] / np.linalg.norm(found[0]) / np.linalg.norm(found[1])
    assert cosine > 0.9


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
