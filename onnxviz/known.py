"""Tensors whose value is known while a graph is rewritten: weights, and what is computed from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
