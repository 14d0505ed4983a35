"""Local functions of a model, inlined: their nodes put in the place of each call.

ONNX IR specification, "Functions": https://onnx.ai/onnx/repo-docs/IR.html#functions
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto

from onnxviz.model.graph.names import Namespace, tensor_names
from onnxviz.model.graph.scopes import all_graphs, plain_domain, subgraphs
from onnxviz.model.validate import call_key, function_key

# Written into the metadata of each node that came from a function: the path of calls that led to it.
SCOPE_KEY = "onnxviz.scope"


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with every call of a local function replaced by the function's nodes.

    Tensors of the body are renamed to `call/tensor`, nodes to `call/node`; the path of calls is kept in each node's
    metadata under `SCOPE_KEY`. A call whose function was written for another opset than the model's stays as it is:
    its nodes may mean something else.

    Args:
        model: checked already: no recursion, a bounded expansion. It is not changed.

    Returns:
        `model` itself where it has no functions.
    """
    if not model.functions:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _Inliner(result).run()
    return result


class _Inliner:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.opsets = {plain_domain(entry.domain): entry.version for entry in model.opset_import}
        self.functions = {function_key(f): f for f in model.functions}
        self.kept = False
        names = tensor_names(model.graph).union(node.name for graph in all_graphs(model.graph) for node in graph.node)
        # Every `a/b` of `a/b/c` is a prefix in use.
        self.prefixes = Namespace(name[: place.start()] for name in names for place in re.finditer("/", name))

    def run(self) -> None:
        self.graph(self.model.graph, "")
        if not self.kept:  # one that stays may call any of the others
            del self.model.functions[:]
        del self.model.opset_import[:]
        for domain, version in self.opsets.items():
            self.model.opset_import.append(onnx.helper.make_opsetid(domain, version))

    def graph(self, graph: GraphProto, caller: str) -> None:
        nodes = self.nodes(graph.node, caller)
        del graph.node[:]
        graph.node.extend(nodes)

    def nodes(self, nodes: Iterable[NodeProto], caller: str) -> list[NodeProto]:
        result: list[NodeProto] = []
        for node in nodes:
            for _, inner in subgraphs(node):
                self.graph(inner, caller)
            function = self.functions.get(call_key(node))
            if function is None:
                result.append(node)
            elif self.fits(function):
                result.extend(self.expand(node, function, caller))
            else:
                self.kept = True
                result.append(node)
        return result

    def fits(self, function: FunctionProto) -> bool:
        """Whether the body may stand among the model's nodes; adds the domains that only the function imports."""
        for entry in function.opset_import:
            if self.opsets.setdefault(plain_domain(entry.domain), entry.version) != entry.version:
                return False
        return True

    def expand(self, call: NodeProto, function: FunctionProto, caller: str) -> list[NodeProto]:
        # A named call inside a function carries its caller's label already.
        label = self.prefixes.fresh(call.name or "/".join(filter(None, (caller, function.name))))
        tensors = dict(zip(function.input, call.input, strict=False))
        tensors.update({name: "" for name in function.input if name not in tensors})
        passed = []
        for inner, outer in zip(function.output, call.output, strict=False):
            if not outer:
                continue
            if inner in tensors:  # an input, or an output named twice, is passed through
                passed.append(onnx.helper.make_node("Identity", [tensors[inner]], [outer], name=f"{label}/Identity"))
            else:
                tensors[inner] = outer
        attributes = {a.name: a for a in function.attribute_proto}
        attributes.update({a.name: a for a in call.attribute})
        body = []
        for node in function.node:
            copy = NodeProto()
            copy.CopyFrom(node)
            rename(copy, tensors, label, attributes)
            if not any(entry.key == SCOPE_KEY for entry in copy.metadata_props):
                copy.metadata_props.add(key=SCOPE_KEY, value=label)
            body.append(copy)
        return [*self.nodes(body, label), *passed]


def rename(node: NodeProto, tensors: dict[str, str], label: str, attributes: dict[str, AttributeProto]) -> None:
    """Gives `node` and its subgraphs the caller's tensors and attributes; `tensors` grows by the names it meets."""

    def renamed(name: str) -> str:
        return tensors.setdefault(name, f"{label}/{name}") if name else ""

    if node.name:
        node.name = f"{label}/{node.name}"
    node.input[:] = [renamed(name) for name in node.input]
    node.output[:] = [renamed(name) for name in node.output]
    resolved = []
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            given = attributes.get(attribute.ref_attr_name)
            if given is None:
                continue  # an optional attribute the caller left out
            copy = AttributeProto()
            copy.CopyFrom(given)
            copy.name = attribute.name
            resolved.append(copy)
        else:
            resolved.append(attribute)
    copies = [AttributeProto.FromString(a.SerializeToString()) for a in resolved]
    del node.attribute[:]
    node.attribute.extend(copies)
    for _, graph in subgraphs(node):
        for value in (*graph.input, *graph.output, *graph.value_info):
            value.name = renamed(value.name)
        for tensor in graph.initializer:
            tensor.name = renamed(tensor.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = renamed(sparse.values.name)
        for inner in graph.node:
            rename(inner, tensors, label, attributes)
