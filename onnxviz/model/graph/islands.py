"""Islands: the smallest parts of a graph through which all values of one tensor pass to one later tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx import NodeProto

from onnxviz.model.graph.scopes import Scope
from onnxviz.model.graph.settled import Settled, reads_values, value_inputs

# Sparsemax, the longest activation that an exporter writes out, has 38 nodes.
_MAX_NODES = 64


@dataclass(frozen=True)
class Island:
    """Nodes that read the values of nothing but one tensor, settled ones and each other's.

    Attributes:
        start: the tensor that all of it depends on.
        end: the one tensor of it that anything else reads; the nodes' only way out.
        nodes: in an order in which they can run; one node, or a diamond.
    """

    start: str
    end: str
    nodes: tuple[NodeProto, ...]


@dataclass(frozen=True)
class Shore:
    """Why no island begins at a tensor.

    Attributes:
        start: the tensor.
        output: whether it is an output of its graph, or nothing reads its values.
        readers: the nodes that read its values.
        joins: a node that reads another branch too.
        foreign: a node that may not be in an island.
    """

    start: str
    output: bool
    readers: tuple[NodeProto, ...]
    joins: NodeProto | None = None
    foreign: NodeProto | None = None


class Islands:
    """Finds the island that begins at a tensor of a graph.

    Args:
        scope: the graph.
        settled: tells tensors that carry no value of the input.
        may: whether a node can be part of an island at all.
    """

    def __init__(self, scope: Scope, settled: Settled, may: Callable[[NodeProto], bool]) -> None:
        self.scope = scope
        self.settled = settled
        self._may = may
        self._fed: dict[int, tuple[str, ...]] = {}  # by the node's id: the scope keeps its nodes

    def readers(self, tensor: str) -> list[NodeProto]:
        """The nodes that read the values of `tensor`, which is not settled, and make something of them."""
        return [node for node in self.scope.consumers.get(tensor, ()) if reads_values(node, tensor)]

    def fed(self, node: NodeProto) -> tuple[str, ...]:
        """The tensors whose values the node reads and that are not settled, each once."""
        found = self._fed.get(id(node))
        if found is None:
            found = tuple(name for name in value_inputs(node) if not self.settled(self.scope, name))
            self._fed[id(node)] = found
        return found

    def after(self, start: str) -> Island | Shore:
        """The island that begins at `start`. Takes time in proportion to its nodes, of which there are 64 at most."""
        readers = tuple(self.readers(start))
        if start in self.scope.outputs or not readers:
            return Shore(start, True, readers)
        unread = {start: len(readers)}  # readers outside, of each tensor that is reached and still has some
        waiting, nodes = list(readers), list[NodeProto]()
        reached = {start}
        while waiting and len(nodes) < _MAX_NODES:
            foreign = next((node for node in waiting if not self._may(node)), None)
            if foreign is not None:
                return Shore(start, False, readers, foreign=foreign)
            node = next((node for node in waiting if reached.issuperset(self.fed(node))), None)
            if node is None:
                return Shore(start, False, readers, joins=waiting[0])
            waiting.remove(node)
            nodes.append(node)
            for name in self.fed(node):
                unread[name] -= 1
                if not unread[name]:
                    del unread[name]
            for name in filter(None, node.output):
                reached.add(name)
                new = self.readers(name)
                if new or name in self.scope.outputs:
                    unread[name] = len(new) + (name in self.scope.outputs)
                waiting.extend(one for one in new if all(one is not other for other in waiting))
            if len(unread) == 1:
                return Island(start, next(iter(unread)), tuple(nodes))
            if not unread:
                return Shore(start, True, readers)
        return Shore(start, False, readers, foreign=waiting[0] if waiting else None)
