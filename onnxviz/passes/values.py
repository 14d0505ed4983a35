"""Values of constant tensors while a graph is rewritten: weights, and what is computed from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True, eq=False)
class KnownValue:
    """A tensor whose value is known.

    Attributes:
        array: the value, often a view.
        weights: names of the weights it is computed from.
        arranged: whether it holds the elements of its one weight, in another order or shape.
    """

    array: NDArray[Any]
    weights: frozenset[str] = frozenset()
    arranged: bool = True

    def rearranged(self, array: NDArray[Any]) -> KnownValue:
        """The same elements in another order or shape."""
        return KnownValue(array, self.weights, self.arranged)


# ---- arrays and tensors


def element_type(array: NDArray[Any]) -> int:
    """ONNX' number for the array's element type, in whatever order its bytes are."""
    return helper.np_dtype_to_tensor_dtype(array.dtype.newbyteorder("="))


def as_tensor(array: NDArray[Any], name: str) -> TensorProto:
    """The array as a tensor that holds its values."""
    native = array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
    return numpy_helper.from_array(native, name)


# ---- nodes
