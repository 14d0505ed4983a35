"""Constant tensors of a graph as numpy arrays: read from the file without loading it, and followed to their origin.

A convolution's weight need not be an initializer. This room follows it through Constant, ConstantOfShape, Identity,
Transpose, Reshape, Squeeze, Unsqueeze, Expand, Cast, CastLike, Shape, Concat, QuantizeLinear, DequantizeLinear
(ONNX operator specification, https://onnx.ai/onnx/operators/) and the arithmetic of normalised weights, and says where
it came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, SparseTensorProto, TensorProto

from onnxviz.errors import ModelError
from onnxviz.messages import printable
from onnxviz.model.graph.evaluation import PICKING, REARRANGING
from onnxviz.model.graph.scopes import Scope, node_attributes
from onnxviz.model.graph.tensors import TensorFile, frozen
from onnxviz.model.graph.weight_arithmetic import ARITHMETIC, ArithmeticRefused, computed, is_reduction, shape_of

Source = Literal["initializer", "constant", "computed", "dequantized"]
_RANK: dict[Source, int] = {"initializer": 0, "constant": 1, "computed": 2, "dequantized": 3}

# A ConstantOfShape can declare any size in a few bytes; nothing larger is ever materialised.
MAX_COMPUTED_ELEMENTS = 2**28


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that depends on nothing but constants.

    Attributes:
        tensor: the name of the stored tensor it comes from.
        source: "initializer" or "constant" (a Constant node) as stored, "computed" where operators reshape, cast or
            fill it, "dequantized" where it is stored quantised.
        shape: dimensions.
        dtype: the name of the numpy type after those operators.
        stored_dtype: the name of the type as stored.
    """

    tensor: str
    source: Source
    shape: tuple[int, ...]
    dtype: str
    stored_dtype: str
    _read: Callable[[], NDArray[Any]]

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def is_trained(self) -> bool:
        """Whether these may be trained values: numbers with a fraction, or quantised ones; and not a lone number."""
        kind = np.dtype(self.dtype).kind if self.dtype in np.sctypeDict else "V"
        return bool(self.shape) and (kind in "fV" or self.stored_dtype in ("int8", "uint8"))

    @cached_property
    def array(self) -> NDArray[Any]:
        """The values, read-only, of `shape`."""
        return self._read()


@dataclass
class _Value:
    """An array on its way through the operators, with the story of where it came from."""

    array: NDArray[Any]
    tensor: str
    source: Source
    stored_dtype: str

    def then(self, array: NDArray[Any], source: Source = "computed") -> _Value:
        worst = max(self.source, source, key=_RANK.__getitem__)
        return _Value(array, self.tensor, worst, self.stored_dtype)


class _NotConstant(Exception):
    """The tensor depends on the model's input or on an operator that is not followed."""


# Elements of a constant that is remembered.
_REMEMBERED = 4096
# Nodes of arithmetic that follow one another; a normalised weight has some five.
_MOST_DEEP = 32


class Constants:
    """Finds the constant behind a tensor name."""

    def __init__(self, file: TensorFile) -> None:
        self.file = file
        # Small ones only: a chain of Reshapes that each read the one before twice would take 2**n steps.
        self._known: dict[tuple[str, str, bool], _Value] = {}
        # Large ones, while arithmetic on them lasts, which may read one often.
        self._passing: dict[tuple[str, str, bool], _Value] = {}
        self._deep = 0

    def find(self, scope: Scope, name: str) -> Constant | None:
        """The constant called `name` as seen from `scope`; None if it depends on the input or cannot be followed."""
        if not name:
            return None
        try:
            form = self._value(scope, name, values=False)
        except _NotConstant:
            return None
        return Constant(
            form.tensor,
            form.source,
            form.array.shape,
            str(form.array.dtype),
            form.stored_dtype,
            lambda: frozen(self._value(scope, name, values=True).array),
        )

    def value(self, scope: Scope, name: str) -> NDArray[Any] | None:
        """The values of the constant called `name`, None if it is not one."""
        found = self.find(scope, name)
        return None if found is None else found.array

    def _value(self, scope: Scope, name: str, *, values: bool) -> _Value:
        """Follows `name` to its origin; with `values=False` only type and shape are right, and nothing is read."""
        home = scope.home(name)
        if home is None:
            raise _NotConstant
        key = (home.name, name, values)
        if key in self._passing:
            return self._passing[key]
        if key not in self._known:
            value = self._computed(home, name, values=values)
            if values and value.array.size > _REMEMBERED:
                if self._deep:
                    self._passing[key] = value
                return value
            self._known[key] = value
        return self._known[key]

    def _computed(self, home: Scope, name: str, *, values: bool) -> _Value:
        if (tensor := home.initializers.get(name)) is not None:
            return self._stored(tensor, name, "initializer", values)
        if (sparse := home.sparse_initializers.get(name)) is not None:
            return self._sparse(sparse, name, "initializer", values)
        node = home.producers[name]
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx", "com.microsoft") else None
        if rule is None or name != node.output[0]:
            raise _NotConstant
        try:
            return rule(self, home, node, values)
        except (ArithmeticError, ValueError, LookupError, TypeError, MemoryError, RecursionError) as error:
            label = f"{node.op_type} '{printable(node.name or name)}'"
            raise ModelError(f"the constant '{printable(name)}' cannot be computed by {label}: {error}") from None

    def _stored(self, tensor: TensorProto, name: str, source: Source, values: bool) -> _Value:
        dtype = _dtype(tensor)
        array = self.file.read(tensor) if values else _form(tuple(tensor.dims), dtype)
        return _Value(array, name, source, str(dtype))

    def _sparse(self, sparse: SparseTensorProto, name: str, source: Source, values: bool) -> _Value:
        dtype = _dtype(sparse.values)
        array = self.file.read_sparse(sparse) if values else _form(tuple(sparse.dims), dtype)
        return _Value(array, name, source, str(dtype))

    def _operand(self, scope: Scope, node: NodeProto, index: int, values: bool = True) -> _Value | None:
        """The constant at input `index` of `node`, None where the input is absent."""
        if index >= len(node.input) or not node.input[index]:
            return None
        return self._value(scope, node.input[index], values=values)

    def _first(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        return self._value(scope, node.input[0], values=values)

    def _constant(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        attributes = node_attributes(node)
        name = node.output[0]
        if "value" in attributes:
            return self._stored(attributes["value"].t, name, "constant", values)
        for key, dtype in (("value_float", np.float32), ("value_int", np.int64)):
            for plural in ("", "s"):
                if key + plural in attributes:
                    array = np.asarray(onnx.helper.get_attribute_value(attributes[key + plural]), dtype)
                    return _Value(array, name, "constant", str(array.dtype))
        if "sparse_value" in attributes:
            sparse = attributes["sparse_value"].sparse_tensor
            return self._sparse(sparse, name, "constant", values)
        raise _NotConstant

    def _constant_of_shape(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        shape = [int(size) for size in self._first(scope, node, True).array.reshape(-1)]
        attributes = node_attributes(node)
        fill = self.file.read(attributes["value"].t) if "value" in attributes else np.zeros(1, np.float32)
        elements = math.prod(shape)
        if min(shape, default=0) < 0 or elements > MAX_COMPUTED_ELEMENTS:
            raise ModelError(f"ConstantOfShape '{printable(node.name)}' asks for a tensor of shape {shape}")
        array = np.broadcast_to(fill.reshape(()), shape)  # one element in memory, whatever the shape
        return _Value(array, node.output[0], "computed", str(array.dtype))

    def _identity(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        return self._first(scope, node, values)

    def _rearranged(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        value = self._first(scope, node, values)
        second = self._operand(scope, node, 1)
        return value.then(REARRANGING[node.op_type](node, [value.array, second.array if second is not None else None]))

    def _cast(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        value = self._first(scope, node, values)
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node_attributes(node)["to"].i))
        return value.then(value.array.astype(dtype) if values else _form(value.array.shape, dtype))

    def _cast_like(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        """PyTorch's unoptimised exports cast constants to the type of a tensor that they have already."""
        value = self._first(scope, node, values)
        try:
            dtype = self._value(scope, node.input[1], values=False).array.dtype
        except _NotConstant:
            return value
        return value.then(value.array.astype(dtype) if values else _form(value.array.shape, dtype))

    def _expand(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        value = self._first(scope, node, values)
        wanted = self._operand(scope, node, 1)
        shape = np.broadcast_shapes(value.array.shape, () if wanted is None else tuple(wanted.array.tolist()))
        if math.prod(shape) > MAX_COMPUTED_ELEMENTS:
            raise ModelError(f"Expand '{printable(node.name)}' asks for a tensor of shape {list(shape)}")
        return value.then(np.broadcast_to(value.array, shape))

    def _shape(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        value = self._first(scope, node, False)
        attributes = node_attributes(node)
        start, end = (attributes[key].i if key in attributes else None for key in ("start", "end"))
        array = np.asarray(value.array.shape, np.int64)[start:end]
        return _Value(array, node.output[0], "computed", "int64")

    def _dequantize(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        value = self._first(scope, node, values)
        scale, zero = self._operand(scope, node, 1, values), self._operand(scope, node, 2, values)
        if scale is None:
            raise _NotConstant
        if not values:
            return value.then(_form(value.array.shape, scale.array.dtype), "dequantized")
        axis, block = _axis_and_block(node)
        array = dequantize(value.array, scale.array, None if zero is None else zero.array, axis, block)
        return value.then(array, "dequantized")

    def _quantize(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        value = self._first(scope, node, values)
        scale, zero = self._operand(scope, node, 1, values), self._operand(scope, node, 2, values)
        if scale is None:
            raise _NotConstant
        attributes = node_attributes(node)
        if zero is not None:
            dtype = zero.array.dtype
        elif "output_dtype" in attributes and attributes["output_dtype"].i:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(attributes["output_dtype"].i))
        else:
            dtype = np.dtype(np.uint8)
        if dtype.kind not in "iu":  # float8 rounds by other rules
            raise _NotConstant
        if not values:
            return value.then(_form(value.array.shape, dtype))
        axis, block = _axis_and_block(node)
        shape = value.array.shape
        steps = np.rint(value.array / _along(scale.array, shape, axis, block))
        if zero is not None:
            steps = steps + _along(zero.array, shape, axis, block)
        limits = np.iinfo(dtype)
        return value.then(np.clip(steps, limits.min, limits.max).astype(dtype))

    def _arithmetic(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        """Weight and spectral normalisation, which exporters leave to be computed at each run; see `weight_arithmetic`.

        The story is that of the largest operand: the direction of a weight, not its length.
        """
        if self._deep == _MOST_DEEP:
            raise _NotConstant
        self._deep += 1
        try:
            read = [values or (place == 1 and is_reduction(node)) for place in range(len(node.input))]
            found = [self._value(scope, name, values=one) for name, one in zip(node.input, read, strict=True)]
            operands = [one.array for one in found]
            shape = shape_of(node, operands)
            main = max(found, key=lambda one: one.array.size)
            return main.then(computed(node, operands) if values else _form(shape, operands[0].dtype))
        except ArithmeticRefused:
            raise _NotConstant from None
        finally:
            self._deep -= 1
            if not self._deep:
                self._passing.clear()

    def _joined(self, scope: Scope, node: NodeProto, values: bool) -> _Value:
        """Sizes, put together to a shape."""
        forms = [self._value(scope, name, values=False) for name in node.input]
        if sum(one.array.size for one in forms) > _REMEMBERED:
            raise _NotConstant
        found = [self._value(scope, name, values=True) for name in node.input]
        return found[0].then(PICKING["Concat"](node, [one.array for one in found]))


_RULES: dict[str, Callable[[Constants, Scope, NodeProto, bool], _Value]] = {
    "Constant": Constants._constant,
    "ConstantOfShape": Constants._constant_of_shape,
    "Identity": Constants._identity,
    "Transpose": Constants._rearranged,
    "Reshape": Constants._rearranged,
    "Squeeze": Constants._rearranged,
    "Unsqueeze": Constants._rearranged,
    "Cast": Constants._cast,
    "CastLike": Constants._cast_like,
    "Expand": Constants._expand,
    "Shape": Constants._shape,
    "DequantizeLinear": Constants._dequantize,
    "QuantizeLinear": Constants._quantize,
    "Concat": Constants._joined,
    **dict.fromkeys(ARITHMETIC, Constants._arithmetic),
}


def dequantize(
    quantized: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None, axis: int = 1, block: int = 0
) -> NDArray[Any]:
    """(quantized − zero) · scale, as DequantizeLinear defines it (ONNX operator specification, opset 21).

    Args:
        quantized: any shape, an integer or float8 type.
        scale: one value, one per index of `axis`, or one per block of `block` along `axis`.
        zero: as `scale`, in the type of `quantized`; None for zero.
        axis: the quantised axis.
        block: block length, 0 if there are no blocks.

    Returns:
        Of the shape of `quantized` and the type of `scale`.
    """
    shape = quantized.shape
    steps = quantized.astype(scale.dtype) if quantized.dtype.kind not in "iub" else quantized.astype(np.int64)
    if zero is not None and np.any(zero != 0):
        steps = steps - _along(zero, shape, axis, block).astype(steps.dtype)
    result: NDArray[Any] = (steps.astype(scale.dtype) * _along(scale, shape, axis, block)).astype(scale.dtype)
    return result


def quantize(values: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None, axis: int = 1) -> NDArray[Any]:
    """saturate(round(values / scale) + zero), as QuantizeLinear defines it (ONNX operator specification, opset 21).

    Args:
        values: any shape, real numbers.
        scale: one value, or one per index of `axis`.
        zero: as `scale`, an integer type, which is that of the result; None for uint8 with zero point 0.
        axis: the quantised axis.

    Returns:
        Of the shape of `values`; halves go to the even neighbour.
    """
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    steps = np.rint(values.astype(scale.dtype) / _along(scale, values.shape, axis, 0)).astype(np.float64)
    if zero is not None:
        steps = steps + _along(zero, values.shape, axis, 0).astype(np.float64)
    limits = np.iinfo(kind)
    result: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(kind)
    return result


def _along(values: NDArray[Any], shape: tuple[int, ...], axis: int, block: int) -> NDArray[Any]:
    """`values` made to broadcast against `shape`: a scalar, a vector along `axis`, or blocks along `axis`."""
    if values.size == 1:
        return values.reshape(())
    axis %= len(shape)
    if block:
        if values.shape[axis] != -(-shape[axis] // block):
            raise ValueError(f"{values.shape[axis]} scales for {shape[axis]} values in blocks of {block}")
        return np.repeat(values, min(block, shape[axis]), axis=axis).take(range(shape[axis]), axis=axis)
    return values.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _axis_and_block(node: NodeProto) -> tuple[int, int]:
    attributes = node_attributes(node)
    axis = attributes["axis"].i if "axis" in attributes else 1
    block = attributes["block_size"].i if "block_size" in attributes else 0
    return axis, block


def _dtype(tensor: TensorProto) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))


def _form(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of that shape and type that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)
