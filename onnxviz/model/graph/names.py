"""Fresh names in a graph: names that no tensor or node of it has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from onnx import GraphProto, ModelProto, NodeProto

from onnxviz.model.graph.scopes import all_graphs, subgraphs


class FreshNames:
    """Names that neither a model nor its subgraphs and functions have.

    Tensors and nodes are named apart, as in ONNX: a node may be called as the tensor that it makes.

    Args:
        proto: a model or a graph, as it is now; it is not watched.
        also: further names of tensors that are not to be given.
    """

    def __init__(self, proto: ModelProto | GraphProto, also: Iterable[str] = ()) -> None:
        self._tensors = Namespace(chain(tensor_names(proto), also))
        self._nodes = Namespace(node.name for node in _nodes(proto))

    def tensor(self, stem: str) -> str:
        """`stem`, or `stem_2`, `stem_3` …, such that no tensor is called so; it is not given again."""
        return self._tensors.fresh(stem)

    def node(self, stem: str) -> str:
        """`stem`, or `stem_2`, `stem_3` …, such that no node is called so; it is not given again."""
        return self._nodes.fresh(stem)


class Namespace:
    """A set of names with a counter for each stem, so that n names of one stem take n steps."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def fresh(self, stem: str) -> str:
        """`stem`, or `stem_2`, `stem_3` …, such that nothing is called so; it is not given again."""
        name = stem
        while name in self._taken:
            self._counts[stem] = self._counts.get(stem, 1) + 1
            name = f"{stem}_{self._counts[stem]}"
        self._taken.add(name)
        return name


def distinct(names: Iterable[str], reserved: Iterable[str] = ()) -> list[str]:
    """`names` with `_2`, `_3` … added where one occurs again, so that all differ.

    Args:
        names: each first occurrence stays as it is, unless it is reserved.
        reserved: names that none of the result may be.
    """
    given = list(names)
    seen = set(reserved)
    namespace = Namespace([*given, *seen])
    result = []
    for name in given:
        result.append(namespace.fresh(name) if name in seen else name)
        seen.add(name)
    return result


def tensor_names(proto: ModelProto | GraphProto) -> set[str]:
    """Every name that stands for a tensor: fed, stored, read, made, declared or given out, in subgraphs too."""
    names = set[str]()
    for graph in _graphs(proto):
        names.update(value.name for value in (*graph.input, *graph.output, *graph.value_info))
        names.update(tensor.name for tensor in graph.initializer)
        names.update(tensor.name for sparse in graph.sparse_initializer for tensor in (sparse.values, sparse.indices))
    for node in _nodes(proto):
        names.update(node.input)
        names.update(node.output)
    for function in proto.functions if isinstance(proto, ModelProto) else ():
        names.update((*function.input, *function.output))
    return names


def made_in(graph: GraphProto) -> set[str]:
    """The names of all tensors that the graph and the graphs nested in it are fed, store or make."""
    names = set[str]()
    for one in all_graphs(graph):
        names.update(value.name for value in one.input)
        names.update(tensor.name for tensor in one.initializer)
        names.update(sparse.values.name for sparse in one.sparse_initializer)
        names.update(name for node in one.node for name in node.output)
    return names


def rename_reads(graph: GraphProto, renamed: Mapping[str, str], *, nested: bool = False) -> None:
    """Lets every reader of a renamed tensor, in subgraphs too, read its new name.

    Args:
        graph: changed.
        renamed: new names by old ones.
        nested: whether `graph` is itself a subgraph, whose outputs may be tensors from outside.
    """
    waiting = [graph]
    while waiting:
        one = waiting.pop()
        for node in one.node:
            for index, name in enumerate(node.input):
                if name in renamed:
                    node.input[index] = renamed[name]
            waiting.extend(inner for _, inner in subgraphs(node))
        if nested or one is not graph:
            for value in one.output:
                value.name = renamed.get(value.name, value.name)


def _graphs(proto: ModelProto | GraphProto) -> Iterator[GraphProto]:
    """The graph and every graph nested in it; of a model also those of training and of functions."""
    if isinstance(proto, GraphProto):
        yield from all_graphs(proto)
        return
    training = ((info.initialization, info.algorithm) for info in proto.training_info)
    for root in (proto.graph, *chain.from_iterable(training)):
        yield from all_graphs(root)
    for function in proto.functions:
        for node in function.node:
            for _, inner in subgraphs(node):
                yield from all_graphs(inner)


def _nodes(proto: ModelProto | GraphProto) -> Iterator[NodeProto]:
    for graph in _graphs(proto):
        yield from graph.node
    for function in proto.functions if isinstance(proto, ModelProto) else ():
        yield from function.node
