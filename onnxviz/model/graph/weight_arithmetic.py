"""Arithmetic on weights that a graph computes anew at each run, as normalised weights: g · v / ‖v‖, w / (uᵀ W v).

(Salimans & Kingma 2016, Weight Normalization, arXiv 1602.07868, equation 2; Miyato et al. 2018, Spectral Normalization,
arXiv 1802.05957, equations 8 and 9.) Operators by their definitions in ONNX; sums in float64, so that a result is the
nearest of its type, whichever order the runtime adds in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.model.graph.scopes import node_attributes

Arrays = Sequence[NDArray[Any]]

_ELEMENTWISE: dict[str, Callable[..., NDArray[Any]]] = {
    "Abs": np.abs,
    "Add": np.add,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Pow": np.power,
    "Reciprocal": np.reciprocal,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
}
_BEFORE_SUM: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "ReduceL1": np.abs,
    "ReduceL2": np.square,
    "ReduceMean": np.asarray,
    "ReduceSum": np.asarray,
    "ReduceSumSquare": np.square,
}
ARITHMETIC = frozenset((*_ELEMENTWISE, *_BEFORE_SUM, "MatMul"))
"""The operators that are computed."""


class ArithmeticRefused(Exception):
    """The operands are not those of weights: other types, shapes that do not fit, a result larger than all of them."""


def shape_of(node: NodeProto, operands: Arrays) -> tuple[int, ...]:
    """The shape of what a node makes of operands, of which the values do not count but those of a reduction's axes.

    Raises:
        ArithmeticRefused: it is not computed.
    """
    numbers = operands[:1] if is_reduction(node) else operands
    kinds = {array.dtype for array in numbers}
    if len(kinds) != 1 or kinds.pop().kind != "f":
        raise ArithmeticRefused
    shapes = [array.shape for array in numbers]
    try:
        if is_reduction(node):
            axes, kept = _axes(node, operands), _attribute(node, "keepdims", 1)
            found = [1 if axis in axes else size for axis, size in enumerate(shapes[0])]
            shape = tuple(size for axis, size in enumerate(found) if kept or axis not in axes)
        elif node.op_type == "MatMul":
            shape = _product_shape(*shapes)
        else:
            shape = np.broadcast_shapes(*shapes)
    except (ValueError, TypeError, IndexError):
        raise ArithmeticRefused from None
    if math.prod(shape) > sum(array.size for array in numbers):  # of no normalisation; a bomb may be
        raise ArithmeticRefused
    return shape


def computed(node: NodeProto, operands: Arrays) -> NDArray[Any]:
    """What a node makes of operands that `shape_of` takes, in their type."""
    first = operands[0]
    with np.errstate(all="ignore"):  # infinity and NaN are values like others
        if is_reduction(node):
            axes, kept = _axes(node, operands), bool(_attribute(node, "keepdims", 1))
            wide = _BEFORE_SUM[node.op_type](first.astype(np.float64))
            found = (np.mean if node.op_type == "ReduceMean" else np.sum)(wide, axis=axes, keepdims=kept)
            found = np.sqrt(found) if node.op_type == "ReduceL2" else found
        elif node.op_type == "MatMul":
            found = np.matmul(*(array.astype(np.float64) for array in operands))
        else:
            found = _folded(node, operands)
    return np.asarray(found).astype(first.dtype, copy=False)


def is_reduction(node: NodeProto) -> bool:
    """Whether the node's second input, if any, has the axes over which it reduces."""
    return node.op_type in _BEFORE_SUM


def _folded(node: NodeProto, operands: Arrays) -> NDArray[Any]:
    """Two operands or one; of Max and Min any number."""
    operation = _ELEMENTWISE[node.op_type]
    if len(operands) == 1 and getattr(operation, "nin", 1) == 2:
        return operands[0]
    found = operation(*operands[:2])
    for more in operands[2:]:
        found = operation(found, more)
    return found


def _attribute(node: NodeProto, name: str, otherwise: int) -> int:
    attributes = node_attributes(node)
    return int(attributes[name].i) if name in attributes else otherwise


def _axes(node: NodeProto, operands: Arrays) -> tuple[int, ...]:
    """The axes of a reduction, counted from the front: an input since opset 18, an attribute before; all by default."""
    rank, attributes = operands[0].ndim, node_attributes(node)
    if len(operands) > 1:
        given = [int(axis) for axis in operands[1].reshape(-1)]
    else:
        given = list(attributes["axes"].ints) if "axes" in attributes else []
    if any(not -rank <= axis < rank for axis in given):
        raise ValueError("an axis that there is not")
    if given or _attribute(node, "noop_with_empty_axes", 0):
        return tuple(axis % rank for axis in given)
    return tuple(range(rank))


def _product_shape(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    """As numpy's matmul, which ONNX' MatMul is: a vector is a row on the left and a column on the right."""
    left, right = first if len(first) > 1 else (1, *first), second if len(second) > 1 else (*second, 1)
    if not first or not second or left[-1] != right[-2]:
        raise ValueError("shapes do not fit")
    stacked = np.broadcast_shapes(left[:-2], right[:-2])
    return (*stacked, *left[-2:-1][: len(first) > 1], *right[-1:][: len(second) > 1])
