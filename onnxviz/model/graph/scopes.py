"""Scopes of tensors: producers and consumers in a graph and the subgraphs of its If, Loop and Scan nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, helper


def subgraphs(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """Yields (attribute name, graph) for every graph that `node` carries."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH or attribute.HasField("g"):
            yield attribute.name, attribute.g
        for number, graph in enumerate(attribute.graphs):
            yield f"{attribute.name}.{number}", graph


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yields `graph` and every graph nested in it."""
    stack = [graph]
    while stack:
        current = stack.pop()
        yield current
        for node in current.node:
            stack.extend(inner for _, inner in subgraphs(node))


def reads(node: NodeProto) -> Iterator[str]:
    """Yields the name of every tensor `node` reads, those that its subgraphs take from outside included."""
    yield from (name for name in node.input if name)
    for _, graph in subgraphs(node):
        yield from outer_reads(graph)


def outer_reads(graph: GraphProto) -> Iterator[str]:
    """Yields the tensors that `graph` takes from the graphs around it."""
    own = {value.name for value in graph.input}
    own.update(tensor.name for tensor in graph.initializer)
    own.update(sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        own.update(node.output)
    for node in graph.node:
        yield from (name for name in reads(node) if name not in own)
    yield from (value.name for value in graph.output if value.name not in own)


def node_attributes(node: NodeProto) -> dict[str, AttributeProto]:
    """The attributes of `node` by name."""
    return {attribute.name: attribute for attribute in node.attribute}


def set_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Replaces the graph's nodes; those given may be its own, which go when the old ones do: they are copied first."""
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def plain_domain(domain: str) -> str:
    """ONNX's own domain has two spellings, "" and "ai.onnx"."""
    return "" if domain == "ai.onnx" else domain


@dataclass(frozen=True)
class Ancestors:
    """The part of one graph that some tensors depend on.

    Attributes:
        nodes: in graph order.
        tensors: what those nodes read, subgraphs' outer reads included: of this graph and of those around it.
    """

    nodes: tuple[NodeProto, ...]
    tensors: frozenset[str]


class Scope:
    """One graph with look-ups, and the way to the graphs around and inside it.

    Attributes:
        name: "" for the main graph, else the path of owning nodes and attributes: `If_0/then_branch`.
        graph: the graph itself; never changed.
        parent: the scope around this one, None for the main graph.
        owner: the node in `parent` that carries this graph, and the attribute's name.
    """

    def __init__(
        self,
        graph: GraphProto,
        name: str = "",
        parent: Scope | None = None,
        owner: tuple[NodeProto, str] | None = None,
    ) -> None:
        self.graph = graph
        self.name = name
        self.parent = parent
        self.owner = owner

    def __repr__(self) -> str:
        return f"Scope({self.name or 'main'!r}, {len(self.graph.node)} nodes)"

    @cached_property
    def producers(self) -> dict[str, NodeProto]:
        """The node that makes each tensor of this graph."""
        return {name: node for node in self.graph.node for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[NodeProto]]:
        """The nodes of this graph that read each tensor, once per node (through their subgraphs too)."""
        found: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.graph.node:
            for name in dict.fromkeys(reads(node)):
                found[name].append(node)
        return dict(found)

    def only_reader(self, tensor: str) -> NodeProto | None:
        """The one node of this graph that reads `tensor`; None where several do, or it is an output."""
        readers = self.consumers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where in `graph.node` the node stands that makes each tensor."""
        return {name: place for place, node in enumerate(self.graph.node) for name in node.output if name}

    def ancestors(self, tensors: Iterable[str]) -> Ancestors:
        """The nodes of this graph that `tensors` depend on, and the tensors that those read.

        Nodes may stand in any order. A tensor that this graph neither makes nor stores ends the walk: graphs around
        this one are not followed. Time and memory grow with the nodes and the names that they read.

        Args:
            tensors: names; they are themselves among the result's tensors only where another of them depends on them.
        """
        needed: set[int] = set()
        read: set[str] = set()
        waiting = [name for name in tensors if name in self._places]
        while waiting:
            place = self._places[waiting.pop()]
            if place in needed:
                continue
            needed.add(place)
            new = set(reads(self.graph.node[place])) - read
            read |= new
            waiting.extend(name for name in new if name in self._places)
        nodes = tuple(node for place, node in enumerate(self.graph.node) if place in needed)
        return Ancestors(nodes, frozenset(read))

    def descendants(self, tensors: Iterable[str]) -> frozenset[str]:
        """The tensors of this graph that depend on any of `tensors`, those included; nodes may stand in any order."""
        found = set(tensors)
        waiting = list(found)
        while waiting:
            for node in self.consumers.get(waiting.pop(), ()):
                new = {name for name in node.output if name} - found
                found |= new
                waiting.extend(new)
        return frozenset(found)

    @cached_property
    def inputs(self) -> frozenset[str]:
        """The names of this graph's inputs."""
        return frozenset(value.name for value in self.graph.input)

    @cached_property
    def outputs(self) -> frozenset[str]:
        """The names of this graph's outputs."""
        return frozenset(value.name for value in self.graph.output)

    @cached_property
    def initializers(self) -> dict[str, TensorProto]:
        """The dense initializers by name."""
        return {tensor.name: tensor for tensor in self.graph.initializer}

    @cached_property
    def sparse_initializers(self) -> dict[str, SparseTensorProto]:
        """The sparse initializers by name (ONNX keeps it in `values.name`)."""
        return {sparse.values.name: sparse for sparse in self.graph.sparse_initializer}

    def home(self, tensor: str) -> Scope | None:
        """The nearest scope, this one or one around it, that makes or stores `tensor`; None if none does."""
        scope: Scope | None = self
        while scope is not None:
            if tensor in scope.producers or tensor in scope.initializers or tensor in scope.sparse_initializers:
                return scope
            if tensor in scope.inputs:
                return None  # fed at run time
            scope = scope.parent
        return None


def walk(scope: Scope) -> Iterator[tuple[Scope, NodeProto]]:
    """Yields every node with its scope, in graph order; the nodes of a subgraph follow the node that owns it."""
    for index, node in enumerate(scope.graph.node):
        yield scope, node
        for attribute, graph in subgraphs(node):
            yield from walk(Scope(graph, subgraph_path(scope.name, node, index, attribute), scope, (node, attribute)))


def subgraph_path(path: str, node: NodeProto, index: int, attribute: str) -> str:
    """The path of the graph in `attribute` of the node at `index` of the graph at `path`."""
    return "/".join(filter(None, (path, node.name or f"{node.op_type}_{index}", attribute)))


def sparse_tensors(model: onnx.ModelProto) -> Iterator[SparseTensorProto]:
    """Yields every sparse tensor of the model: initializers and attributes, functions included."""
    graphs = [inner for graph in _roots(model) for inner in all_graphs(graph)]
    nodes = [node for graph in graphs for node in graph.node]
    for graph in graphs:
        yield from graph.sparse_initializer
    for function in model.functions:
        for node in function.node:
            nodes.append(node)
            for _, graph in subgraphs(node):
                for inner in all_graphs(graph):
                    yield from inner.sparse_initializer
                    nodes.extend(inner.node)
    for node in nodes:
        for attribute in node.attribute:
            yield from _sparse_attributes(attribute)


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yields every dense tensor of the model that can refer to external data."""
    graphs = [inner for graph in _roots(model) for inner in all_graphs(graph)]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    nodes = [node for graph in graphs for node in graph.node]
    for function in model.functions:
        nodes.extend(function.node)
        for node in function.node:
            for _, graph in subgraphs(node):
                for inner in all_graphs(graph):
                    nodes.extend(inner.node)
                    yield from inner.initializer
        for attribute in function.attribute_proto:
            yield from _attribute_tensors(attribute)
    for node in nodes:
        for attribute in node.attribute:
            yield from _attribute_tensors(attribute)


def _roots(model: onnx.ModelProto) -> Iterator[GraphProto]:
    yield model.graph
    for training in model.training_info:
        yield training.initialization
        yield training.algorithm


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in _sparse_attributes(attribute):
        yield from (sparse.values, sparse.indices)


def _sparse_attributes(attribute: AttributeProto) -> Iterator[SparseTensorProto]:
    if attribute.HasField("sparse_tensor"):
        yield attribute.sparse_tensor
    yield from attribute.sparse_tensors


def operator(node: NodeProto) -> str:
    """The node's operator; "" where it is not one of ONNX' own."""
    return "" if plain_domain(node.domain) else str(node.op_type)


def attribute(node: NodeProto, name: str) -> Any:
    """The value of the attribute `name`, None where the node has none."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def named_axes(node: NodeProto, given: NDArray[Any] | None) -> tuple[int, ...] | None:
    """The axes that a node names: of `given`, its operand for them, or of the attribute that it was in earlier sets."""
    axes = attribute(node, "axes") if given is None else given.reshape(-1)
    return None if axes is None else tuple(int(axis) for axis in axes)
