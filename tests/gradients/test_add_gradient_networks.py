"""Whole networks, exported by both of PyTorch's exporters, against its autograd in float64."""

from __future__ import annotations

import copy
import logging
import warnings

import numpy as np
import pytest
import torch_networks
from oracles import angle, relative

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient
from onnxviz.gradients.self_check import self_check

torch = pytest.importorskip("torch", reason="the oracle is PyTorch's autograd: pip install torch")
pytest.importorskip("onnxscript", reason="PyTorch's exporter needs it: pip install onnxscript")

# Relu and MaxPool turn float32's rounding into jumps here and there, so that angles are compared.
ANGLE = 1e-4


@pytest.fixture(scope="module")
def networks():
    built = torch_networks.networks()
    assert list(built) == torch_networks.NAMES
    return built


def exported(module, x, path, exporter, open_batch):
    """The module as `.onnx`; its inputs and outputs are called x and y."""
    names = {"input_names": ["x"], "output_names": ["y"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters announce what will change in them
        logging.disable(logging.WARNING)
        try:
            if exporter == "torchscript":
                axes = {"x": {0: "batch"}, "y": {0: "batch"}} if open_batch else None
                torch.onnx.export(module, (x,), path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
            else:
                shapes = ({0: torch.export.Dim("batch")},) if open_batch else None
                torch.onnx.export(module, (x,), path, dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
        finally:
            logging.disable(logging.NOTSET)
    return onnxviz.load(path)


def autograd(module, x, seed):
    """Value and gradient in float64."""
    exact = copy.deepcopy(module).double()
    point = x.double().requires_grad_()
    value = exact(point)
    value.backward(seed.double())
    return value.detach().numpy(), point.grad.numpy()


# The rules see what both exporters write for these; the rest of what the new one writes is for `make test-all`.
NEW_EXPORTER = {"resnet", "unet-bilinear", "convnext"}


@pytest.mark.parametrize(
    ("name", "exporter"),
    [
        *((name, "torchscript") for name in torch_networks.NAMES),
        *(
            pytest.param(name, "dynamo", marks=() if name in NEW_EXPORTER else pytest.mark.slow)
            for name in torch_networks.NAMES
        ),
    ],
)
def test_network(name, exporter, networks, tmp_path):
    module, shape = networks[name]
    torch.manual_seed(1)
    x = torch.randn(shape)
    # The new exporter's own shape arithmetic for an open batch differs from network to network: one size is enough.
    model = exported(module, x, tmp_path / "net.onnx", exporter, open_batch=exporter == "torchscript")
    gradient = add_gradient(model)
    if exporter == "torchscript":
        assert not isinstance(gradient.shapes["x"][0], int)
    session = gradient.session(threads=1)
    seed = torch.randn(module(x).shape)
    result = session.run({"x": x.numpy()}, seed.numpy())
    value, expected = autograd(module, x, seed)
    assert relative(result.value, value) < 1e-4
    assert angle(result.gradients["x"], expected) < ANGLE
    assert abs(np.linalg.norm(result.gradients["x"]) / np.linalg.norm(expected) - 1) < 1e-2
    assert not result.warnings


@pytest.mark.parametrize("name", ["resnet", "unet-bilinear", "yolo"])
def test_an_open_batch_of_the_new_exporter(name, networks, tmp_path):
    module, shape = networks[name]
    x = torch.randn(shape)
    model = exported(module, x, tmp_path / "net.onnx", "dynamo", open_batch=True)
    session = add_gradient(model).session(threads=1)
    more = torch.randn(5, *shape[1:])
    seed = torch.randn(module(more).shape)
    gradient = session.run({"x": more.numpy()}, seed.numpy()).gradients["x"]
    assert angle(gradient, autograd(module, more, seed)[1]) < ANGLE


@pytest.mark.parametrize("name", ["resnet", "efficientnet", "convnext"])
def test_the_self_check_agrees(name, networks, tmp_path):
    module, shape = networks[name]
    model = exported(module, torch.randn(shape), tmp_path / "net.onnx", "torchscript", open_batch=False)
    session = add_gradient(model).session(threads=1)
    x = torch.randn(shape).numpy()
    assert self_check(session, {"x": x}, np.ones_like(session.value({"x": x})))


def test_a_tensor_inside(networks, tmp_path):
    """What Grad-CAM needs: the gradient of a class with respect to feature maps, and the maps themselves."""
    module, shape = networks["resnet"]
    x = torch.randn(shape)
    model = exported(module, x, tmp_path / "net.onnx", "torchscript", open_batch=True)
    inside = next(node.input[0] for node in model.proto.graph.node if node.op_type == "GlobalAveragePool")
    session = add_gradient(model, of="y", wrt=[inside, "x"]).session()
    seed = np.zeros((2, 5), np.float32)
    seed[:, 3] = 1
    found = session.run({"x": x.numpy()}, seed).gradients
    maps = module[:4](x).detach().requires_grad_()
    module[4](maps)[:, 3].sum().backward()
    assert relative(found[inside], maps.grad.numpy()) < 1e-5
    assert angle(found["x"], autograd(module, x, torch.tensor(seed))[1]) < ANGLE


@pytest.mark.parametrize("mode", ["guided", "deconv"])
def test_other_ways_through_relu(mode, networks, tmp_path):
    """By hooks, as Captum does it."""
    module, shape = networks["vgg"]
    x = torch.randn(shape)
    model = exported(module, x, tmp_path / "net.onnx", "torchscript", open_batch=True)
    session = add_gradient(model, mode=mode).session()
    seed = torch.eye(5)[:2]
    found = session.run({"x": x.numpy()}, seed.numpy()).gradients["x"]

    steered = copy.deepcopy(module).double()
    for part in list(steered.modules()):
        if isinstance(part, torch.nn.ReLU):
            part.register_full_backward_hook(
                lambda part, before, behind: (before[0].clamp(min=0) if mode == "guided" else behind[0].clamp(min=0),)
            )
    point = x.double().requires_grad_()
    steered(point).backward(seed.double())
    assert angle(found, point.grad.numpy()) < 1e-6
