"""Whole files: the nine networks in the onnx wheel, the zoo, and the models that onnxviz ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import zoo
from examples import representatives
from oracles import angle, relative, untouched
from specimens import filled, light, with_weights

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient, grad_support
from onnxviz.gradients.self_check import self_check

torch = pytest.importorskip("torch", reason="the oracle is PyTorch's autograd: pip install torch")
import torch_graph  # noqa: E402 - of no use without torch

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.mark.parametrize("path", light(), ids=lambda path: path.stem)
def test_every_network_of_the_wheel_is_differentiable(path):
    support = grad_support(onnxviz.load(path))
    assert support, str(support)
    assert not support.approximations


SMALL = ("squeezenet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "zfnet512")


@pytest.mark.parametrize("name", representatives(SMALL, {"squeezenet", "shufflenet", "inception_v1"}))
def test_a_network_of_the_wheel_has_the_gradient_that_autograd_has(name, tmp_path):
    """With weights of random values; to the logits, since a softmax of random ones is flat."""
    (path,) = [path for path in light() if path.stem == f"light_{name}"]
    proto = with_weights(onnx.load(path), filled(onnx.load(path)))
    softmax = next((node for node in proto.graph.node if node.op_type == "Softmax"), None)
    target = softmax.input[0] if softmax is not None else proto.graph.output[0].name
    onnx.save(proto, tmp_path / "m.onnx")
    model = onnxviz.load(tmp_path / "m.onnx")
    (port,) = model.inputs
    x = np.random.default_rng(3).normal(size=port.shape).astype(np.float32)
    session = add_gradient(model, of=target).session(threads=1)
    seed = np.random.default_rng(4).normal(size=session.value({port.name: x}).shape)
    result = session.run({port.name: x}, seed)

    point = torch.tensor(x.astype(np.float64), requires_grad=True)
    value = torch_graph.run(proto, {port.name: point}, target)
    value.backward(torch.tensor(seed))
    assert relative(result.value, value.detach().numpy()) < 1e-4
    assert angle(result.gradients[port.name], point.grad.numpy()) < 1e-4


@pytest.mark.parametrize(("name", "size"), [("classifier", (96, 96)), ("unet", (64, 80)), ("unet", (96, 64))])
def test_shipped_model(name, size):
    path = MODELS / f"{name}.onnx"
    model = onnxviz.load(path)
    x = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
    session = add_gradient(model).session(threads=1)
    output = model.outputs[0].name
    seed = np.random.default_rng(1).normal(size=session.value({"image": x}).shape)
    result = session.run({"image": x}, seed)
    proto = onnx.load(path)
    assert relative(result.value, untouched(proto, [output], {"image": x})[output]) < 1e-5
    point = torch.tensor(x.astype(np.float64), requires_grad=True)
    torch_graph.run(proto, {"image": point}, output).backward(torch.tensor(seed))
    assert relative(result.gradients["image"], point.grad.numpy()) < 1e-4


# What stands in the way, "" where nothing does; some have tensors of integers at their ends.
ZOO = {
    "activations": "",
    "channels_last": "",
    "classifier": "",
    "dynamic_weight": "its input 1",
    "functions": "",
    "functions_by_hand": "",
    "geometry": "",
    "half": "",
    "inputs_as_initializers": "",
    "quantized": "quantised operator",
    "subgraphs": "control flow",
    "weights": "",
}


def test_the_list_is_the_whole_zoo():
    assert sorted(ZOO) == zoo.NAMES


@pytest.mark.parametrize("name", ZOO)
def test_zoo(name):
    proto = zoo.model(name)
    model = onnxviz.load(proto)
    support = grad_support(model)
    if ZOO[name]:
        assert not support
        assert ZOO[name] in str(support)
        return
    assert support, str(support)
    session = add_gradient(model).session(threads=1)
    feeds = zoo.feeds(proto)
    value = session.value(feeds)
    seed = np.random.default_rng(1).normal(size=value.shape)
    check = self_check(session, feeds, seed)
    assert check, check
