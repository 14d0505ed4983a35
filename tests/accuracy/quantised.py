"""Networks that onnxruntime quantised (QDQ), against PyTorch with rounding passed straight through."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization
from oracles import untouched

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


class _Noise(quantization.CalibrationDataReader):
    """Pictures to find the ranges with."""

    def __init__(self, name: str, shape: tuple[int, ...]):
        rng = np.random.default_rng(5)
        self.left = [{name: rng.normal(size=shape).astype(np.float32)} for _ in range(4)]

    def get_next(self):
        return self.left.pop() if self.left else None


def _quantised(
    network: Callable[[Path], Path],
    shape: tuple[int, ...],
    per_channel: bool,
    activations: str,
    weights: str,
    folder: Path,
) -> onnxviz.Model:
    path = network(folder)
    logging.disable(logging.WARNING)  # it recommends to fold batch normalisation, where there may be none
    try:
        quantization.quantize_static(
            path,
            folder / "quantised.onnx",
            _Noise(onnxviz.load(path).inputs[0].name, shape),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=quantization.QuantType[activations],
            weight_type=quantization.QuantType[weights],
        )
    finally:
        logging.disable(logging.NOTSET)
    return onnxviz.load(folder / "quantised.onnx")


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
