"""Models that are `.onnx` files from the start, against their graphs run by PyTorch in float64."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
import torch_graph
from specimens import filled, light, silero, with_weights

import onnxviz
from accuracy.measure import Case, Truth
from onnxviz.gradients.gradient import Gradient

MODELS = Path(__file__).resolve().parents[2] / "models"


def cases() -> Iterator[Case]:
    """The networks of the onnx wheel with drawn weights, those that onnxviz ships, and silero-vad's."""
    for path in light():
        export = functools.partial(_drawn, path)
        yield Case(path.stem, "onnx wheel", export, _truth, _before_softmax(path))
    for name in ("classifier", "unet"):
        path = MODELS / f"{name}.onnx"
        yield Case(path.name, "shipped, trained", functools.partial(_copied, path), _truth)
    for path in silero():
        yield Case(path.name, "silero-vad", functools.partial(_copied, path), None)


def _drawn(path: Path, folder: Path) -> onnxviz.Model:
    onnx.save(with_weights(onnx.load(path), filled(onnx.load(path))), folder / "m.onnx")
    return onnxviz.load(folder / "m.onnx")


def _copied(path: Path, folder: Path) -> onnxviz.Model:
    (folder / "m.onnx").write_bytes(path.read_bytes())
    return onnxviz.load(folder / "m.onnx")


def _before_softmax(path: Path) -> str:
    """The logits: a softmax of random ones is flat."""
    nodes = onnx.load(path).graph.node
    return next((node.input[0] for node in nodes if node.op_type == "Softmax"), "")


def _truth(folder: Path, gradient: Gradient) -> Truth:
    return interpreted(onnx.load(folder / "m.onnx"), gradient, point(gradient))


def point(gradient: Gradient) -> np.ndarray:
    """A random input of the model's size, two of 96x96 where it is open."""
    shape = gradient.shapes[gradient.wrt[0]]
    sizes = [dim if isinstance(dim, int) else 2 if axis == 0 else 96 for axis, dim in enumerate(shape)]
    return np.random.default_rng(3).normal(size=sizes).astype(np.float32)


def interpreted(proto: onnx.ModelProto, gradient: Gradient, x: np.ndarray, held=None) -> Truth:
    """What PyTorch makes of the graph; `held` as for `torch_graph.run`."""
    x64 = torch.tensor(x.astype(np.float64), requires_grad=True)
    value = torch_graph.run(proto, {gradient.wrt[0]: x64}, gradient.of, held=held)
    seed = weighing(value.shape)
    value.backward(torch.tensor(seed.astype(np.float64)))
    return Truth([x], seed, value.detach().numpy(), [x64.grad.numpy()])


def weighing(shape: tuple[int, ...]) -> np.ndarray:
    """A seed."""
    return np.random.default_rng(4).normal(size=shape).astype(np.float32)
