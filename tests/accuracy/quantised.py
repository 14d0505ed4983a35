"""Networks that onnxruntime quantised (QDQ), against PyTorch with rounding passed straight through."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from oracles import untouched
from quantised import quantise

import onnxviz
from accuracy import from_pytorch
from accuracy.from_files import interpreted, weighing
from accuracy.measure import Case, Truth
from accuracy.torchvision_networks import SHAPES
from onnxviz.gradients.gradient import Gradient

MODELS = Path(__file__).resolve().parents[2] / "models"
# Weights per tensor or per channel; types of activations and weights.
WAYS = (
    ("per-channel uint8 × int8", True, "QUInt8", "QInt8"),
    ("per-tensor uint8 × int8", False, "QUInt8", "QInt8"),
    ("per-tensor uint8 × uint8", False, "QUInt8", "QUInt8"),
    ("per-channel int8 × int8", True, "QInt8", "QInt8"),
)
DRAWN = ("resnet18", "mobilenet_v2", "squeezenet1_1")
TRAINED = {"classifier": (2, 3, 96, 96), "unet": (2, 3, 96, 128)}


def cases() -> Iterator[Case]:
    """torchvision's networks with drawn weights, and the trained ones that onnxviz ships, in every way."""
    networks = [(name, functools.partial(_exported, name), SHAPES[name], ("torchvision",)) for name in DRAWN]
    networks += [(f"{name}.onnx", functools.partial(_shipped, name), shape, ()) for name, shape in TRAINED.items()]
    for name, network, shape, needs in networks:
        for label, *way in WAYS:
            export = functools.partial(_quantised, network, shape, *way)
            yield Case(f"{name}, quantised", label, export, functools.partial(_truth, shape), needs=needs)


def _exported(name: str, folder: Path) -> Path:
    """The TorchScript export, which has batch normalisation folded into the convolutions."""
    from_pytorch.export(from_pytorch.TORCHVISION[name], "TorchScript", folder)
    return folder / "m.onnx"


def _shipped(name: str, folder: Path) -> Path:
    return MODELS / f"{name}.onnx"


def _quantised(
    network: Callable[[Path], Path],
    shape: tuple[int, ...],
    per_channel: bool,
    activations: str,
    weights: str,
    folder: Path,
) -> onnxviz.Model:
    rng = np.random.default_rng(5)
    noise = [rng.normal(size=shape).astype(np.float32) for _ in range(4)]
    target = folder / "quantised.onnx"
    quantise(network(folder), target, noise, per_channel=per_channel, types=(activations, weights))
    return onnxviz.load(target)


def _truth(shape: tuple[int, ...], folder: Path, gradient: Gradient) -> Truth:
    """With rounding as onnxruntime does it.

    A number halfway between two steps goes up in float32 and down in float64; a layer later, a hundred do, and soon
    every one. So the steps are those of the run whose gradient is asked for; all else is PyTorch's. The value is that
    of the model as it is, which onnxruntime computes in integers: another rounding.
    """
    proto = onnx.load(folder / "quantised.onnx")
    x = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    steps = [node.output[0] for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    value = untouched(proto, [gradient.of], {gradient.wrt[0]: x})[gradient.of]
    held = untouched(
        onnx.load(gradient.save(folder / "gradient.onnx")),
        steps,
        {gradient.wrt[0]: x, gradient.seed: weighing(value.shape)},
    )
    return dataclasses.replace(interpreted(proto, gradient, x, held), value=value)
