"""Exposing tensors: chosen ones become outputs, and what they do not need is cut away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from onnxviz.errors import ModelError, SelectionError
from onnxviz.messages import printable
from onnxviz.model.graph.names import FreshNames
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope, node_attributes, subgraphs, walk
from onnxviz.model.model import Model


@dataclass(frozen=True)
class Tap:
    """A tensor to look at: its name, and the path of the graph it lives in ("" for the main graph)."""

    tensor: str
    scope: str = ""


@dataclass(frozen=True)
class Exposed:
    """A graph made to give chosen tensors.

    Attributes:
        proto: the new model; weights are references into the source model's folder.
        outputs: the name under which each tap comes out, in the order asked for.
        conditional: taps inside an If, whose output is empty where the other branch runs.
    """

    proto: onnx.ModelProto
    outputs: tuple[str, ...]
    conditional: frozenset[Tap]


def expose(model: Model, taps: Sequence[Tap], *, keep_outputs: bool = False) -> Exposed:
    """A model that gives the chosen tensors, and computes only what they need.

    A tensor inside an If becomes an output of the If (empty where the other branch runs); one inside a Loop or Scan
    gets a leading axis that counts the iterations.

    Args:
        model: not changed.
        taps: what shall come out.
        keep_outputs: whether the model's own outputs, and so the whole graph, stay as well.

    Raises:
        SelectionError: the model has no such tensor.
        ModelError: the tensor is in a kind of subgraph that cannot give it out.
    """
    lifted = _lift_out_of_subgraphs(model, [tap for tap in taps if tap.scope])
    graph = lifted.graph if lifted is not None else model.proto.graph
    names = lifted.names if lifted is not None else {}
    outputs = tuple(names.get(tap, tap.tensor) for tap in taps)
    made = {name for node in graph.node for name in node.output}
    for tap, name in zip(taps, outputs, strict=True):
        if name not in made:
            raise SelectionError(f"{model.label} has no tensor '{printable(tap.tensor)}' that a node makes")
    own = [value.name for value in graph.output] if keep_outputs else []
    proto = pruned(model.proto, graph, list(dict.fromkeys([*own, *outputs])))
    conditional = lifted.conditional if lifted is not None else frozenset()
    return Exposed(proto, outputs, conditional)


def pruned(model: onnx.ModelProto, graph: GraphProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """A model of the nodes, initializers and inputs of `graph` that `outputs` depend on.

    Args:
        model: gives versions and functions; not changed.
        graph: nodes in topological order; not changed.
        outputs: tensors of `graph`.
    """
    needed = Scope(graph).ancestors(outputs)
    used = needed.tensors.union(outputs)
    proto = onnx.ModelProto(
        ir_version=model.ir_version,
        producer_name="onnxviz",
        opset_import=model.opset_import,
        functions=model.functions,
    )
    target = proto.graph
    target.name = "onnxviz"  # the source's own name may be confidential, and onnxruntime logs it
    target.node.extend(needed.nodes)
    target.initializer.extend(tensor for tensor in graph.initializer if tensor.name in used)
    target.sparse_initializer.extend(s for s in graph.sparse_initializer if s.values.name in used)
    target.input.extend(value for value in graph.input if value.name in used)
    declared = {value.name: value for value in graph.output}
    target.output.extend(declared.get(name, ValueInfoProto(name=name)) for name in outputs)
    return proto


@dataclass(frozen=True)
class _Lifted:
    graph: GraphProto
    names: dict[Tap, str]
    conditional: frozenset[Tap]


def _lift_out_of_subgraphs(model: Model, taps: Sequence[Tap]) -> _Lifted | None:
    """A copy of the main graph in which tensors of subgraphs are outputs of the nodes that own those subgraphs."""
    if not taps:
        return None
    graph = GraphProto()
    graph.CopyFrom(model.proto.graph)
    scopes = {scope.name: scope for scope, _ in walk(Scope(graph))}
    fresh = FreshNames(graph)
    names: dict[Tap, str] = {}
    conditional: set[Tap] = set()
    for tap in dict.fromkeys(taps):
        scope = scopes.get(tap.scope)
        if scope is None or tap.tensor not in scope.producers:
            raise SelectionError(f"{model.label} has no tensor '{printable(tap.tensor)}' in '{printable(tap.scope)}'")
        element_type = model.shapes.element_type(tap.tensor, tap.scope) or TensorProto.FLOAT
        tensor = tap.tensor
        while scope.owner is not None and scope.parent is not None:
            owner, attribute = scope.owner
            outer = fresh.tensor(f"{tensor}@{scope.name}")
            if owner.op_type == "If":
                conditional.add(tap)
            _give_out(scope.graph, owner, attribute, tensor, outer, element_type, fresh)
            tensor, scope = outer, scope.parent
        names[tap] = tensor
    return _Lifted(graph, names, frozenset(conditional))


def _give_out(
    graph: GraphProto, owner: NodeProto, attribute: str, tensor: str, outer: str, element_type: int, fresh: FreshNames
) -> None:
    """Makes `tensor` of `graph`, which `owner` carries in `attribute`, an output `outer` of `owner`."""
    value = helper.make_tensor_value_info(tensor, element_type, None)
    if owner.op_type == "If":
        for name, branch in subgraphs(owner):
            if name == attribute:
                _add_output(branch, value, fresh)
            else:
                empty = fresh.tensor(f"{outer}/not_run")
                nothing = helper.make_tensor(empty, element_type, [0], [])
                branch.node.append(helper.make_node("Constant", [], [empty], value=nothing))
                branch.output.append(helper.make_tensor_value_info(empty, element_type, [0]))
    elif belongs(owner, Family.LOOPING):
        _add_output(graph, value, fresh)
        # Scan lists an axis and a direction for each scan output, if it lists any.
        for listed in ("scan_output_axes", "scan_output_directions"):
            if listed in (attributes := node_attributes(owner)):
                attributes[listed].ints.append(0)
    else:
        raise ModelError(f"tensor '{printable(tensor)}' is inside a {owner.op_type}, which cannot give it out")
    owner.output.append(outer)


def _add_output(graph: GraphProto, value: ValueInfoProto, fresh: FreshNames) -> None:
    """Adds an output; through an Identity where the tensor is one already, since outputs must differ."""
    if any(output.name == value.name for output in graph.output):
        copy = fresh.tensor(f"{value.name}/copy")
        graph.node.append(helper.make_node("Identity", [value.name], [copy]))
        value = helper.make_tensor_value_info(copy, value.type.tensor_type.elem_type, None)
    graph.output.append(value)
