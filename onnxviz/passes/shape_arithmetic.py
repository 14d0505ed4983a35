"""Shape arithmetic: sizes that a graph computes from shapes, known although the batch is open."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper

from onnxviz.model.graph.evaluation import BY_NUMPY, Operands, all_given
from onnxviz.model.graph.names import FreshNames
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import attribute, operator
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.skeleton import INLINE_BYTES
from onnxviz.passes.values import KnownValue, as_tensor, element_type

# Longer tensors are no shapes.
_MOST_ELEMENTS = 64
_DEEPEST = 32


def with_shapes(proto: onnx.ModelProto, known: Mapping[str, KnownValue]) -> GraphProto:
    """The graph with the shapes of its tensors inferred.

    Args:
        proto: not changed.
        known: the constants that it reads.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for name, value in known.items():
        if value.array.nbytes < INLINE_BYTES:  # inference reads the values of shapes and axes
            copy.graph.initializer.append(as_tensor(value.array, name))
        else:
            element = element_type(value.array)
            copy.graph.input.append(helper.make_tensor_value_info(name, element, value.array.shape))
    try:
        return onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    except Exception:  # an operator that inference does not know: what is declared has to do
        return proto.graph


def ranks(proto: onnx.ModelProto, known: Mapping[str, KnownValue]) -> dict[str, int]:
    """The number of axes of each tensor that shape inference can tell."""
    graph = with_shapes(proto, known)
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def settle_targets(proto: onnx.ModelProto, known: dict[str, KnownValue]) -> bool:
    """Makes the target of a Reshape constant where at most one of its sizes is open; says whether there was one.

    Exporters write "flatten, keeping the batch" as Shape, Slice, Concat, Reshape. The one open size becomes -1.

    Args:
        proto: changed.
        known: values of constants; targets are added.
    """
    open_ones = [
        node
        for node in proto.graph.node
        if operator(node) == "Reshape" and node.input[1] not in known and not attribute(node, "allowzero")
    ]
    if not open_ones:
        return False
    sizes = Sizes(with_shapes(proto, known), known)
    names = FreshNames(proto.graph, also=known)
    changed = False
    for node in open_ones:
        target = sizes.elements(node.input[1])
        if target is None or target.ndim != 1:
            continue
        wanted = [size if isinstance(size, int) else -1 for size in target]
        # 0 stands for a size of the input; -1 is another open one.
        if wanted.count(-1) > 1 or any(isinstance(size, int) and size <= 0 for size in target):
            continue
        node.input[1] = names.tensor(f"{node.name or 'Reshape'}/shape")
        known[node.input[1]] = KnownValue(np.array(wanted, np.int64))
        changed = True
    return changed


class Sizes:
    """Sizes of tensors, and small integer tensors made from them.

    A size is an int where it is known, else a name, of that axis of that tensor; what is computed from names is None.

    Args:
        graph: as `with_shapes` gives it.
        known: the constants that it reads.
    """

    def __init__(self, graph: GraphProto, known: Mapping[str, KnownValue]) -> None:
        self.known = known
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self._shapes: dict[str, list[Dim]] = {
            value.name: [
                dim.dim_value if dim.dim_value > 0 else f"{value.name}[{axis}]"
                for axis, dim in enumerate(value.type.tensor_type.shape.dim)
            ]
            for value in (*graph.input, *graph.value_info, *graph.output)
            if value.type.tensor_type.HasField("shape")
        }
        self._found: dict[str, NDArray[Any] | None] = {}

    def of(self, tensor: str) -> list[Dim] | None:
        """The sizes of a tensor that is not constant; None if not even its rank is known."""
        return self._shapes.get(tensor)

    def elements(self, name: str, depth: int = 0) -> NDArray[Any] | None:
        """The elements of tensor `name`; None if not even its shape is known."""
        if name not in self._found:
            self._found[name] = self._elements(name, depth)
        return self._found[name]

    def _elements(self, name: str, depth: int) -> NDArray[Any] | None:
        if name in self.known:
            return as_sizes(self.known[name].array)
        node = self.producers.get(name)
        if node is None or depth > _DEEPEST:
            return None
        if belongs(node, Family.MEASURING):
            return measured(node, self._shapes.get(node.input[0]))
        return made_of_sizes(node, [self.elements(one, depth + 1) if one else None for one in node.input])


def as_sizes(array: NDArray[Any]) -> NDArray[Any] | None:
    """A constant as the elements of a small integer tensor; None if it is none."""
    return array.astype(object) if array.size <= _MOST_ELEMENTS and array.dtype.kind in "iu" else None


def measured(node: NodeProto, shape: Sequence[Dim] | None) -> NDArray[Any] | None:
    """What Shape or Size gives for a tensor of that shape: ints, names and None, as objects; None if it is unknown."""
    if shape is None:
        return None
    if operator(node) == "Size":
        sizes = [size for size in shape if isinstance(size, int)]
        return np.array(math.prod(sizes) if len(sizes) == len(shape) else None, object)
    start, end = attribute(node, "start") or 0, attribute(node, "end")
    return np.array(list(shape)[start:end], object)


def made_of_sizes(node: NodeProto, operands: Operands) -> NDArray[Any] | None:
    """What a node makes of small integer tensors, such as list sizes.

    Args:
        node: any.
        operands: the elements of its inputs as objects: ints, names of open sizes, None for other open ones; None in
            place of an array for an input that is left out or is no such tensor.

    Returns:
        The elements of its output in the same form; None if it is no shape arithmetic, or not of a form treated here.
    """
    rule = _RULES.get(operator(node)) or BY_NUMPY.get(operator(node))
    if rule is None or any(one and operand is None for one, operand in zip(node.input, operands, strict=True)):
        return None
    try:
        return np.asarray(rule(node, operands), object)
    except (IndexError, KeyError, TypeError, ValueError):  # a form that is not treated, or an open operand
        return None


def _cast(node: NodeProto, operands: Operands) -> NDArray[Any]:
    if attribute(node, "to") not in (TensorProto.INT64, TensorProto.INT32):
        raise ValueError("not to whole numbers")
    return all_given(operands)[0]


def _multiply(node: NodeProto, operands: Operands) -> NDArray[Any]:
    product = np.frompyfunc(lambda a, b: a * b if isinstance(a, int) and isinstance(b, int) else None, 2, 1)
    return np.asarray(product(*all_given(operands)))


def _product(node: NodeProto, operands: Operands) -> NDArray[Any]:
    sizes, axes = (*operands, None)[:2]
    without_axes = axes is None or axes.size == 0
    if sizes is None or sizes.ndim != 1 or (without_axes and attribute(node, "noop_with_empty_axes")):
        raise ValueError("not the plain form")
    total = math.prod(sizes) if all(isinstance(size, int) for size in sizes) else None
    return np.array(total if attribute(node, "keepdims") == 0 else [total], object)


_RULES: dict[str, Callable[[NodeProto, Operands], NDArray[Any]]] = {
    "Cast": _cast,
    "Mul": _multiply,
    "ReduceProd": _product,
}
