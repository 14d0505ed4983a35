"""A convolution whose kernel is computed, and what it is fed."""

from __future__ import annotations

import onnx
from rewriting import array, graph_of, node


def convolution(*nodes: onnx.NodeProto, opset: int = 18, **options: object) -> onnx.ModelProto:
    """A convolution of 3 → 4 channels whose kernel `k` the nodes make."""
    return graph_of([*nodes, node("Conv", "x k", "y", name="conv")], {"x": ["n", 3, 9, 9]}, "y", opset=opset, **options)


FEEDS = {"x": array(2, 3, 9, 9, seed=9)}
HWIO = [node("Transpose", "conv/kernel", "k", perm=(3, 2, 0, 1))]
