"""The scale of an integer convolution's filters, which the operator does not have: found in the factors behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope

# Nodes that are followed before and behind the convolution, and factors of one product.
_FARTHEST = 16


def filter_scale(scope: Scope, node: NodeProto, shape: tuple[int, ...], constants: Constants) -> NDArray[Any] | None:
    """What one step of a ConvInteger's filters is worth, (1,) or (O,) float32; None where the graph does not tell.

    The operator's counts become real numbers by factors behind it: input scale · filter scale (ONNX operator
    specification, DynamicQuantizeLinear; as onnxruntime's quantiser writes them). With filters (w − zero point) · scale
    the convolution of what the quantiser was given is what the graph computes.

    Args:
        scope: the node's graph.
        node: the ConvInteger.
        shape: of its filters, (O, I/group, spatial…).
        constants: of the model.
    """
    quantiser = _quantiser(scope, node.input[0])
    if quantiser is None:
        return None
    dynamic = len(quantiser.input) == 1
    name = quantiser.output[1] if dynamic else quantiser.input[1]
    stated = None if dynamic else constants.value(scope, name)
    if not dynamic and (stated is None or stated.size != 1):
        return None
    found: list[NDArray[Any]] = []
    seen, first = False, 0
    for factors in _factors(scope, node.output[0]):
        for factor in factors:
            value = constants.value(scope, factor)
            if not seen and (factor == name or _same(value, stated)):
                seen = True
            elif value is not None:
                found.append(value)
            else:
                return None
        first = first or len(found)
        if seen and found:
            return _along_filters(found, shape)
    if stated is None or not found or not stated.all():
        return None
    scale = _along_filters(found[:first], shape)  # both scales were multiplied into one
    return None if scale is None else scale / stated.astype(np.float32).ravel()


def _quantiser(scope: Scope, tensor: str) -> NodeProto | None:
    """The node that made integers of real numbers, past those that only move them."""
    for _ in range(_FARTHEST):
        home = scope.home(tensor)
        node = home.producers.get(tensor) if home is not None else None
        if node is None or belongs(node, Family.QUANTISING):
            return node
        if not belongs(node, Family.MOVING) or belongs(node, Family.MERGING):
            return None
        tensor = node.input[0]
    return None


def _factors(scope: Scope, tensor: str) -> Iterator[list[str]]:
    """The factors of each product on the way from `tensor`, while one node alone reads it and products follow."""
    for _ in range(_FARTHEST):
        reader = scope.only_reader(tensor)
        if reader is None:
            return
        if reader.op_type == "Mul":
            others = [name for name in reader.input if name != tensor]
            if len(others) != 1:
                return
            yield _flat(scope, others[0])
        elif not belongs(reader, Family.IDENTITY) or reader.input[0] != tensor:
            return
        tensor = reader.output[0]


def _flat(scope: Scope, tensor: str) -> list[str]:
    """The factors that a product is made of, products of products included."""
    flat: list[str] = []
    waiting = [tensor]
    while waiting and len(flat) + len(waiting) <= _FARTHEST:
        name = waiting.pop()
        node = scope.producers.get(name)
        if node is not None and node.op_type == "Mul":
            waiting.extend(node.input)
        else:
            flat.append(name)
    return [*flat, *waiting]


def _same(value: NDArray[Any] | None, stated: NDArray[Any] | None) -> bool:
    return value is not None and stated is not None and np.array_equal(value.ravel(), stated.ravel())


def _along_filters(factors: list[NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any] | None:
    """The product of scalars and of factors with one value a channel of (N, O, spatial…)."""
    scale = np.ones(1, np.float32)
    for factor in factors:
        place = factor.ndim - (len(shape) - 1)
        if factor.size != 1 and (place < 0 or not shape[0] == factor.shape[place] == factor.size):
            return None
        scale = scale * factor.astype(np.float32).ravel()
    return scale
