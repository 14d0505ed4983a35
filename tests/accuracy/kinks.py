"""PyTorch's Relu and MaxPool on the sides of their kinks that another run took.

Of millions of numbers before a Relu a few lie so near 0 that float32 and float64 put them on different sides, and each
may carry 1e-4 of the gradient. Both answers are right where they are; to compare them, both must stand on one side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from oracles import untouched

from onnxviz.gradients.gradient import Gradient


@contextmanager
def on_the_sides_of(gradient: Gradient, feeds: dict[str, np.ndarray], folder: Path) -> Iterator[None]:
    """Within, `torch.nn.functional.relu` and `max_pool2d` decide as the gradient's own run does, call by call."""
    proto = onnx.load(gradient.save(folder / "gradient.onnx"))
    nodes = [node for node in proto.graph.node if node.op_type in ("Relu", "MaxPool")]
    ends = {node.output[0]: node.output[0] if node.op_type == "Relu" else node.input[0] for node in nodes}
    values = untouched(proto, list(dict.fromkeys(ends.values())), feeds)
    relus = iter([values[ends[node.output[0]]] > 0 for node in nodes if node.op_type == "Relu"])
    pools = iter([values[ends[node.output[0]]] for node in nodes if node.op_type == "MaxPool"])
    functional = torch.nn.functional
    relu, max_pool2d = functional.relu, functional.max_pool2d

    def held_relu(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
        return x * torch.tensor(next(relus))

    def held_pool(x: torch.Tensor, *form, **more) -> torch.Tensor:
        _, places = max_pool2d(torch.tensor(next(pools)), *form, **{**more, "return_indices": True})
        return x.flatten(2).gather(2, places.flatten(2)).reshape(places.shape)

    functional.relu, functional.max_pool2d = held_relu, held_pool
    try:
        yield
    finally:
        functional.relu, functional.max_pool2d = relu, max_pool2d
