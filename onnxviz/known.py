"""Tensors whose value is known while a graph is rewritten: weights, and what is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxviz.scopes import plain_domain

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Known:
    """A tensor whose value is known.

    Attributes:
        array: the value, often a view.
        weights: names of the weights it is computed from.
        arranged: whether it holds the elements of its one weight, in another order or shape.
    """

    array: Array
    weights: frozenset[str] = frozenset()
    arranged: bool = True

    def rearranged(self, array: Array) -> Known:
        """The same elements in another order or shape."""
        return Known(array, self.weights, self.arranged)


# ---- arrays and tensors


def element_type(array: Array) -> int:
    """ONNX' number for the array's element type, in whatever order its bytes are."""
    return helper.np_dtype_to_tensor_dtype(array.dtype.newbyteorder("="))


def as_tensor(array: Array, name: str) -> TensorProto:
    """The array as a tensor that holds its values."""
    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
    return numpy_helper.from_array(native, name)


# ---- nodes


def operator(node: NodeProto) -> str:
    """The node's operator; "" where it is not one of ONNX' own."""
    return "" if plain_domain(node.domain) else str(node.op_type)


def attribute(node: NodeProto, name: str) -> Any:
    """The value of the attribute `name`, None where the node has none."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


# ---- operators that only arrange elements anew


def _axes(node: NodeProto, operands: Sequence[Array | None]) -> tuple[int, ...] | None:
    """The axes of Squeeze and Unsqueeze: an input since opset 13, an attribute before."""
    if len(operands) > 1 and operands[1] is not None:
        return tuple(int(axis) for axis in operands[1].reshape(-1))
    axes = attribute(node, "axes")
    return tuple(axes) if axes is not None else None


def _first(operands: Sequence[Array | None]) -> Array:
    if not operands or operands[0] is None:
        raise ValueError("no operand")
    return operands[0]


def _unsqueezed(node: NodeProto, operands: Sequence[Array | None]) -> Array:
    axes = _axes(node, operands)
    if axes is None:
        raise ValueError("no axes")
    return np.expand_dims(_first(operands), axes)


def _reshaped(node: NodeProto, operands: Sequence[Array | None]) -> Array:
    data, shape = _first(operands), operands[1]
    if shape is None or attribute(node, "allowzero"):
        raise ValueError("not the plain form")
    sizes = [data.shape[axis] if size == 0 else int(size) for axis, size in enumerate(shape)]
    return data.reshape(sizes)


# The operator's result by numpy, which gives a view where onnx.reference would copy. Operands that are left out are
# None; any exception stands for a form of the operator that is not treated here.
ARRANGING: dict[str, Callable[[NodeProto, Sequence[Array | None]], Array]] = {
    "Identity": lambda node, operands: _first(operands),
    "Transpose": lambda node, operands: _first(operands).transpose(attribute(node, "perm")),
    "Squeeze": lambda node, operands: _first(operands).squeeze(_axes(node, operands)),
    "Unsqueeze": _unsqueezed,
    "Reshape": _reshaped,
}
