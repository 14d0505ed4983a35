"""Bounds of operators: what a node gives at least and at most, as its definition in ONNX has it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.model.graph.operators import Family, belongs

Bounds = tuple[float, float]


def bounds_of(node: NodeProto, constant: Callable[[str], NDArray[Any] | None]) -> Bounds:
    """The least and the largest value that a node gives; infinite where there is no bound.

    Args:
        node: the node.
        constant: the values of a constant by its name; None where there is none.
    """
    if belongs(node, Family.FROM_ZERO_TO_ONE):
        return 0.0, 1.0
    if belongs(node, Family.FROM_MINUS_ONE_TO_ONE):
        return -1.0, 1.0
    if node.op_type == "Relu":
        return 0.0, math.inf
    if node.op_type != "Clip":
        return -math.inf, math.inf
    given = {one.name: float(one.f) for one in node.attribute}
    for key, name in zip(("min", "max"), node.input[1:3], strict=False):
        value = constant(name) if name else None
        if value is not None and value.size == 1:
            given[key] = float(value.reshape(()))
    return given.get("min", -math.inf), given.get("max", math.inf)
