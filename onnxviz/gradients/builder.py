"""Nodes appended to a graph: values with arithmetic, so that a rule reads as its formula does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxviz.model.graph.names import FreshNames
from onnxviz.model.graph.scopes import Scope
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.passes.prepare import Prepared

# Weights that are kept a second time, rearranged, for speed; past this sum the slower form without a copy is built.
COPIED_BYTES = 2**30


class Value:
    """A tensor of the graph that is being built.

    Arithmetic appends nodes; numbers become constants of the tensor's own type. A comparison gives 1 and 0 in the
    tensor's own type, so that multiplying by it selects (onnxruntime multiplies much faster than it runs `Where`).

    Attributes:
        builder: what the nodes are appended to.
        name: the tensor's name.
        element_type: its `TensorProto.DataType`.
        spread: of the gradient with respect to a MaxPool's input, where it comes from; else None.
    """

    __slots__ = ("builder", "element_type", "name", "spread")

    def __init__(self, builder: Builder, name: str, element_type: int) -> None:
        self.builder = builder
        self.name = name
        self.element_type = element_type
        self.spread: Spread | None = None

    def __repr__(self) -> str:
        return f"Value({self.name!r})"

    def op(self, op_type: str, *others: Value | float | None, **attributes: Any) -> Value:
        """The first output of a new node whose first input is this value; numbers take this value's type."""
        inputs = [self.number(x) if isinstance(x, int | float) else x for x in others]
        return self.builder.op(op_type, self, *inputs, **attributes)

    def number(self, value: float) -> Value:
        """A scalar constant of this value's type."""
        return self.builder.constant(np.asarray(value, self.dtype))

    @property
    def dtype(self) -> np.dtype[Any]:
        """numpy's name for the element type."""
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.element_type))

    def __add__(self, other: Value | float) -> Value:
        return self.op("Add", other)

    def __radd__(self, other: float) -> Value:
        return self.number(other).op("Add", self)

    def __sub__(self, other: Value | float) -> Value:
        return self.op("Sub", other)

    def __rsub__(self, other: float) -> Value:
        return self.number(other).op("Sub", self)

    def __mul__(self, other: Value | float) -> Value:
        return self.op("Mul", other)

    def __rmul__(self, other: float) -> Value:
        return self.number(other).op("Mul", self)

    def __truediv__(self, other: Value | float) -> Value:
        return self.op("Div", other)

    def __rtruediv__(self, other: float) -> Value:
        return self.number(other).op("Div", self)

    def __neg__(self) -> Value:
        return self.op("Neg")

    def __gt__(self, other: Value | float) -> Value:
        return self._mask("Greater", other)

    def __lt__(self, other: Value | float) -> Value:
        return self._mask("Less", other)

    def __ge__(self, other: Value | float) -> Value:
        return self._mask("GreaterOrEqual", other)

    def __le__(self, other: Value | float) -> Value:
        return self._mask("LessOrEqual", other)

    def equals(self, other: Value | float) -> Value:
        """1 where the two agree, else 0."""
        return self._mask("Equal", other)

    def positive(self) -> Value:
        """1 where > 0, else 0, of a tensor without negative numbers."""
        if self.element_type != TensorProto.FLOAT:
            return self > 0.0
        # One node, that is two thirds of the time; what is below 3e-39 counts as a fraction. OpenVINO takes a beta of 0
        # for the operator's default, 0.5; this one is lost in every sum, but for that with 0, which is clipped to 0.
        limits = np.finfo(np.float32)
        return self.op("HardSigmoid", alpha=float(limits.max), beta=-float(limits.tiny))

    def between(self, low: Value | float, high: Value | float) -> Value:
        """1 where low < value < high, else 0."""
        return self.op("Greater", low).op("And", self.op("Less", high)).cast(self.element_type)

    def _mask(self, op_type: str, other: Value | float) -> Value:
        return self.op(op_type, other).cast(self.element_type)

    @property
    def shape(self) -> Value:
        """Its shape, as an integer tensor."""
        return Value(self.builder, self.op("Shape").name, TensorProto.INT64)

    def cast(self, element_type: int) -> Value:
        """The value in another type."""
        return Value(self.builder, self.op("Cast", to=element_type).name, element_type)

    def sum(self, axes: Sequence[int], *, keep: bool = True) -> Value:
        """The sum along `axes`; they stay with size 1 where `keep`."""
        return self._reduced("ReduceSum", axes, keep)

    def mean(self, axes: Sequence[int], *, keep: bool = True) -> Value:
        """The mean along `axes`; they stay with size 1 where `keep`."""
        return self._reduced("ReduceMean", axes, keep)

    def _reduced(self, op_type: str, axes: Sequence[int], keep: bool) -> Value:
        return self.op(op_type, self.builder.integers(axes), keepdims=int(keep)) if axes else self

    def reshape(self, shape: Sequence[int] | Value) -> Value:
        """In another shape; 0 keeps a size and -1 takes the rest, as in the Reshape operator."""
        return self.op("Reshape", shape if isinstance(shape, Value) else self.builder.integers(shape))

    def transpose(self, perm: Sequence[int]) -> Value:
        """With its axes in another order."""
        return self.op("Transpose", perm=list(perm)) if list(perm) != sorted(perm) else self

    def expand(self, shape: Value) -> Value:
        """Repeated along axes of size 1 to fill `shape`, an integer tensor."""
        return self.op("Expand", shape)

    def slice(self, starts: Sequence[int] | Value, ends: Sequence[int] | Value, axes: Sequence[int]) -> Value:
        """The part from `starts` to before `ends` along `axes`."""
        bounds = [x if isinstance(x, Value) else self.builder.integers(x) for x in (starts, ends, axes)]
        return self.op("Slice", *bounds)

    def pad(self, begin: Sequence[int], end: Sequence[int], axes: Sequence[int], rank: int) -> Value:
        """With zeros added before and behind along `axes`.

        All axes are written out: onnxruntime's transpose optimizer misreads the `axes` input of Pad (1.32).
        """
        if not any((*begin, *end)):
            return self
        pads = [0] * (2 * rank)
        for axis, before, behind in zip(axes, begin, end, strict=True):
            pads[axis], pads[axis + rank] = before, behind
        return self.op("Pad", self.builder.integers(pads))


@dataclass(frozen=True)
class Spread:
    """How a gradient was spread over windows, each to the place of its maximum.

    A mask that depends on the input's value is the same for the maximum, so it may be applied before: to fewer numbers.

    Attributes:
        g: with respect to the maxima.
        maxima: the maxima.
        spread: from the one to the gradient with respect to the input.
    """

    g: Value
    maxima: Value
    spread: Callable[[Value], Value]


class Builder:
    """Collects the nodes and constants that differentiate a graph.

    Args:
        prepared: the model that is differentiated.
        nodes: copies of the forward nodes; more outputs of theirs may be asked for.
    """

    def __init__(self, prepared: Prepared, nodes: Sequence[NodeProto]) -> None:
        self.prepared = prepared
        self.forward = list(nodes)
        self.nodes: list[NodeProto] = []
        self._names = FreshNames(prepared.model)
        self._pending: dict[str, Callable[[], NDArray[Any]]] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._shapes: dict[str, Value] = {}
        self._copied = 0
        self.label = ""

    def name(self, wanted: str) -> str:
        """A name that no tensor has."""
        return self._names.tensor(wanted)

    def tensor(self, name: str, element_type: int = 0) -> Value:
        """An existing tensor as a value; of the given type where it is not known."""
        return Value(self, name, element_type or self.prepared.element_type(name) or TensorProto.FLOAT)

    def op(self, op_type: str, *inputs: Value | None, **attributes: Any) -> Value:
        """The first output of a new node of ONNX's own domain, in the type of its first input."""
        output = self.name(f"gradient/{self.label}/{op_type}")
        names = [value.name if value is not None else "" for value in inputs]
        self.nodes.append(helper.make_node(op_type, names, [output], name=self._names.node(output), **attributes))
        first = next((value.element_type for value in inputs if value is not None), TensorProto.FLOAT)
        return Value(self, output, first)

    def constant(self, array: NDArray[Any]) -> Value:
        """A small constant; equal ones are stored once."""
        array = np.asarray(array)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.later(array.dtype, lambda: array)
        return self._constants[key]

    def later(self, dtype: np.dtype[Any], make: Callable[[], NDArray[Any]], hint: str = "constant") -> Value:
        """A constant whose values are made only if the finished graph needs them."""
        name = self.name(f"gradient/{hint}")
        self._pending[name] = make
        return Value(self, name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def may_copy(self, count: int) -> bool:
        """Whether `count` more bytes of weights may be kept a second time; they are counted if so."""
        if self._copied + count > COPIED_BYTES:
            return False
        self._copied += count
        return True

    def integers(self, values: Sequence[int]) -> Value:
        """A vector of int64."""
        return self.constant(np.asarray(values, np.int64).reshape(-1))

    def shape_of(self, tensor: str) -> Value:
        """The shape of a forward tensor: a constant where it is known, else a Shape node."""
        if tensor not in self._shapes:
            dims = self.prepared.shape(tensor)
            known = [dim for dim in dims or () if isinstance(dim, int)]
            if dims is not None and len(known) == len(dims):
                self._shapes[tensor] = self.integers(known)
            else:
                self._shapes[tensor] = self.tensor(tensor).shape
        return self._shapes[tensor]

    def zeros(self, shape: Value, element_type: int) -> Value:
        """Zeros of a shape that is an integer tensor."""
        dtype = helper.tensor_dtype_to_np_dtype(element_type)
        value = self.op("ConstantOfShape", shape, value=numpy_helper.from_array(np.zeros(1, dtype)))
        return Value(self, value.name, element_type)

    def zeros_like(self, tensor: str, element_type: int) -> Value:
        """Zeros in the shape of a forward tensor."""
        return self.zeros(self.shape_of(tensor), element_type)

    def count_of(self, tensor: str) -> Value:
        """The number of elements of a forward tensor, as a vector of one int64."""
        dims = self.prepared.shape(tensor)
        known = [dim for dim in dims or () if isinstance(dim, int)]
        if dims is not None and len(known) == len(dims):
            return self.integers([math.prod(known)])
        size = self.op("Size", self.tensor(tensor))
        return Value(self, size.name, TensorProto.INT64).reshape([1])

    def size_of(self, tensor: str, axis: int) -> Value:
        """The size of a forward tensor along `axis`, as a vector of one int64."""
        dim = (self.prepared.shape(tensor) or ())[axis]
        if isinstance(dim, int):
            return self.integers([dim])
        return self.shape_of(tensor).op("Gather", self.integers([axis]))

    def graph(self, outputs: Sequence[str]) -> onnx.GraphProto:
        """The forward and the appended nodes, with those constants made that `outputs` need."""
        source = self.prepared.graph
        graph = onnx.GraphProto(name="onnxviz", input=source.input, sparse_initializer=source.sparse_initializer)
        graph.node.extend(self.forward)
        graph.node.extend(Scope(onnx.GraphProto(node=self.nodes)).ancestors(outputs).nodes)
        read = {name for node in graph.node for name in node.input}
        graph.initializer.extend(source.initializer)
        for name, make in self._pending.items():
            if name in read:
                graph.initializer.append(numpy_helper.from_array(np.asarray(make(), order="C"), name))
        return graph


def known_product(dims: Sequence[Dim]) -> int | None:
    """The product of sizes, None where one is open."""
    known = [dim for dim in dims if isinstance(dim, int)]
    return math.prod(known) if len(known) == len(dims) else None
