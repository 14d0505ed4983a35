"""Constant folding of weights: computed once at conversion; identities are removed.

Exporters leave arithmetic on constants in the graph: a transpose from the source framework's kernel order, the
reshape of a bias, the expansion of a scalar. Here it is done with numpy, so that a convolution's weight is a plain
initializer again. Kernels are only ever viewed in another order, never copied: memory does not grow with the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from onnxviz.model.graph.evaluation import REARRANGING, evaluated
from onnxviz.model.graph.names import distinct, made_in, rename_reads
from onnxviz.model.graph.operators import Family, belongs, keeps_type
from onnxviz.model.graph.scopes import Scope, attribute, operator, reads, set_nodes
from onnxviz.model.skeleton import INLINE_BYTES
from onnxviz.passes.fuse import fuse
from onnxviz.passes.shape_arithmetic import ranks, settle_targets
from onnxviz.passes.sink_transposes import sink_transposes
from onnxviz.passes.values import KnownValue, as_tensor, element_type

# Expand and its like make much of little: a result this large is only kept if it is no larger than what it is from.
_MAX_GROWN_ELEMENTS = 2**16
# Operators whose result is not a function of their inputs, or that mean something to later readers as they are.
_KEPT = Family.RANDOM | Family.QUANTISING | Family.DEQUANTISING
# Several elements share a byte of a tensor, but not of an array.
_PACKED = frozenset("int4 uint4 int2 uint2 float4_e2m1fn".split())


@dataclass(frozen=True)
class Folded:
    """A graph without arithmetic on constants.

    Attributes:
        proto: the model; most initializers of `INLINE_BYTES` or more are external, without a place yet.
        arrays: their values by name, often views.
    """

    proto: onnx.ModelProto
    arrays: Mapping[str, NDArray[Any]]

    def bytes_of(self, tensor: TensorProto) -> memoryview:
        """The bytes of an external initializer, as `onnxviz.model.skeleton.embed_weights` asks for them."""
        array = self.arrays[tensor.name]
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        return little.reshape(-1).view(np.uint8).data


def fold(source: onnx.ModelProto, weights: Mapping[str, NDArray[Any]]) -> Folded:
    """The model with everything computed that depends on constants alone.

    A tensor that holds one weight in another order is called as the weight is; the others are called after the layer
    their weights have in common, or as they were.

    Args:
        source: a model that reads `weights` by name without holding them; not changed.
        weights: their values.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(source)
    graph = proto.graph
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    known = {name: KnownValue(array, frozenset([name])) for name, array in weights.items()}
    # An initializer that is an input, too, is only what the input is where nothing is fed.
    defaults = [tensor for tensor in graph.initializer if tensor.name in {value.name for value in inputs}]
    for tensor in graph.initializer:
        if tensor not in defaults:
            known.setdefault(tensor.name, KnownValue(numpy_helper.to_array(tensor)))
    del graph.initializer[:]
    graph.initializer.extend(defaults)
    opset = {entry.domain: entry.version for entry in proto.opset_import}
    version = opset.get("", opset.get("ai.onnx", 1))
    _simplify(proto, known, opset)
    while fuse(proto, known, version):
        _drop_unused(graph)
    sink_transposes(graph, known, ranks(proto, known), version)
    _simplify(proto, known, opset)
    while fuse(proto, known, version):
        _simplify(proto, known, opset)
    _drop_unused(graph)
    _name_outputs_at_their_source(graph)
    arrays = _store(graph, known)
    return Folded(proto, arrays)


def _simplify(proto: onnx.ModelProto, known: dict[str, KnownValue], opset: Mapping[str, int]) -> None:
    graph = proto.graph
    _drop_unused(graph)
    while _computed(graph, known, opset) | _without_effect(graph, known) | settle_targets(proto, known):
        _drop_unused(graph)


def _computed(graph: GraphProto, known: dict[str, KnownValue], opset: Mapping[str, int]) -> bool:
    """Computes the nodes whose inputs are all known; says whether there was one."""
    left: list[NodeProto] = []
    for node in graph.node:
        values = _evaluated(node, known, opset)
        if values is None:
            left.append(node)
            continue
        operands = [known[name] for name in node.input if name]
        weights = frozenset[str]()
        if not belongs(node, Family.MEASURING):
            weights = weights.union(*(operand.weights for operand in operands))
        arranged = len(weights) <= 1 and _arranges(node) and all(o.arranged for o in operands if o.weights)
        for name, value in zip(node.output, values, strict=False):
            if name:
                known[name] = KnownValue(value, weights, arranged)
    changed = len(left) < len(graph.node)
    if changed:
        set_nodes(graph, left)
    return changed


def _arranges(node: NodeProto) -> bool:
    """Whether the result has the elements of the first operand, in another order or shape."""
    return node.op_type in REARRANGING or node.op_type == "Flatten"


def _evaluated(
    node: NodeProto, known: Mapping[str, KnownValue], opset: Mapping[str, int]
) -> Sequence[NDArray[Any]] | None:
    """The node's outputs; None if they depend on the model's input or are better left to be computed."""
    if not operator(node) or belongs(node, _KEPT):
        return None
    if any(name and name not in known for name in node.input):
        return None
    operands = [known[name].array if name else None for name in node.input]
    if node.op_type == "Dropout" and len(operands) > 2 and operands[2] is not None and operands[2].any():
        return None
    if not node.input and node.op_type != "Constant":
        return None
    arrays = evaluated(node, operands, opset)
    if arrays is None or node.op_type in REARRANGING:
        return arrays
    largest = max((operand.size for operand in operands if operand is not None), default=0)
    grown = node.op_type != "Constant" and any(one.size > max(largest, _MAX_GROWN_ELEMENTS) for one in arrays)
    return None if grown or any(one.dtype.kind in "OSUT" for one in arrays) else arrays


def _without_effect(graph: GraphProto, known: Mapping[str, KnownValue]) -> bool:
    """Takes out nodes that give their input unchanged, bit for bit; says whether there was one."""
    types = _element_types(graph, known)
    outputs = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    left: list[NodeProto] = []
    for node in graph.node:
        passed = _passed_through(node, known, types)
        if passed is None or node.output[0] in outputs or passed in known:
            left.append(node)
        else:
            renamed[node.output[0]] = renamed.get(passed, passed)
    if not renamed:
        return False
    set_nodes(graph, left)
    rename_reads(graph, renamed)
    return True


def _passed_through(node: NodeProto, known: Mapping[str, KnownValue], types: Mapping[str, int]) -> str | None:
    """The input that the node gives on as it is; None if it does something."""
    op = operator(node)
    if not op or not node.input:
        return None
    first = node.input[0]
    if op == "Identity":
        return first
    if op == "Dropout" and len([name for name in node.output if name]) == 1:
        training = node.input[2] if len(node.input) > 2 else ""
        return first if not training or (training in known and not known[training].array.any()) else None
    if op == "Cast" and types.get(first) == attribute(node, "to") != 0:
        return first
    if op == "CastLike" and first in types and types[first] == types.get(node.input[1]):
        return first
    if op == "Transpose" and (perm := attribute(node, "perm")) is not None and list(perm) == sorted(perm):
        return first
    if belongs(node, Family.SCALING):
        # A scalar one; only where it cannot broadcast or change the type. 1·x is x for every float, NaN included.
        for one, other in ((1, 0), (0, 1)) if op == "Mul" else ((1, 0),):
            factor = known.get(node.input[one])
            if factor is not None and not factor.weights and factor.array.ndim == 0 and factor.array == 1:
                return node.input[other]
    return None


def _element_types(graph: GraphProto, known: Mapping[str, KnownValue]) -> dict[str, int]:
    """Element types that are certain: those of inputs and constants, and of what keeps their type."""
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    for name, value in known.items():
        types[name] = element_type(value.array)
    for node in graph.node:
        if keeps_type(operator(node)) and node.input and node.input[0] in types:
            types.setdefault(node.output[0], types[node.input[0]])
        elif node.op_type == "Cast":
            types.setdefault(node.output[0], attribute(node, "to"))
    return {name: elem for name, elem in types.items() if elem}


def _name_outputs_at_their_source(graph: GraphProto) -> None:
    """Takes out each Identity that only gives an output its name: the node before it gives it."""
    outputs = {value.name for value in graph.output}
    made = {name for node in graph.node for name in node.output}
    renamed = {
        node.input[0]: node.output[0]
        for node in graph.node
        if node.op_type == "Identity" and node.output[0] in outputs and node.input[0] in made - outputs
    }
    if not renamed:
        return
    dropped = set(renamed.values())
    left = [node for node in graph.node if not (node.op_type == "Identity" and node.output[0] in dropped)]
    for node in left:
        for index, name in enumerate(node.output):
            node.output[index] = renamed.get(name, name)
    set_nodes(graph, left)
    rename_reads(graph, renamed)


def _drop_unused(graph: GraphProto) -> None:
    """Takes out the nodes that no output depends on."""
    needed = Scope(graph).ancestors(value.name for value in graph.output).nodes
    if len(needed) < len(graph.node):
        set_nodes(graph, needed)


def _store(graph: GraphProto, known: Mapping[str, KnownValue]) -> dict[str, NDArray[Any]]:
    """Adds the known tensors that are read as initializers, named after their weights; gives the large ones."""
    wanted = dict.fromkeys(value.name for value in graph.output if value.name in known)
    wanted.update(dict.fromkeys(name for node in graph.node for name in reads(node) if name in known))
    outputs = {value.name for value in graph.output}
    same: dict[tuple[object, ...], str] = {}
    twins = {name: same.setdefault(_identity(known[name]), name) for name in wanted if name not in outputs}
    kept = [name for name in wanted if name in outputs or twins[name] == name]
    wished = [name if name in outputs else _stored_name(name, known[name]) for name in kept]
    names = dict(zip(kept, distinct(wished, reserved=made_in(graph)), strict=True))
    arrays: dict[str, NDArray[Any]] = {}
    for name, stored in names.items():
        array = known[name].array
        if array.nbytes < INLINE_BYTES or array.dtype.kind in "OSU" or array.dtype.name in _PACKED:
            graph.initializer.append(as_tensor(array, stored))
        else:
            tensor = graph.initializer.add(name=stored, dims=array.shape, data_type=element_type(array))
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="weights")
            arrays[stored] = array
    rename_reads(graph, {name: names[twin] for name, twin in twins.items()})
    return arrays


def _stored_name(name: str, value: KnownValue) -> str:
    """What a folded tensor is called: as its one weight, or after the layer that its weights share."""
    if len(value.weights) == 1 and value.arranged:
        return next(iter(value.weights))
    parents = {weight.rpartition("/")[0] or weight.rpartition(".")[0] for weight in value.weights}
    return f"{parents.pop()}/folded" if len(parents) == 1 and "" not in parents else name


def _identity(value: KnownValue) -> tuple[object, ...]:
    """Equal for two views of one weight, and for equal constants; never for two weights, however equal."""
    array = value.array
    place = array.__array_interface__["data"][0] if array.nbytes >= INLINE_BYTES else array.tobytes()
    return (value.weights, array.dtype, array.shape, array.strides, place)
