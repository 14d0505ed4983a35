"""Settled tensors: those whose values are the same whatever the input holds; its sizes at most decide them."""

from __future__ import annotations

from onnx import NodeProto

from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope, plain_domain, reads


def value_inputs(node: NodeProto) -> list[str]:
    """The tensors whose values the node reads, its subgraphs included: not those of which it takes size or type."""
    return [name for name in dict.fromkeys(reads(node)) if reads_values(node, name)]


def reads_values(node: NodeProto, tensor: str) -> bool:
    """Whether a node that reads `tensor` takes its values."""
    return not belongs(node, Family.MEASURING) and (node.op_type != "CastLike" or node.input[0] == tensor)


class Settled:
    """Tells settled tensors from those that carry what was fed; a graph is looked through once."""

    def __init__(self) -> None:
        self._carriers: dict[str, frozenset[str]] = {}

    def __call__(self, scope: Scope, tensor: str) -> bool:
        """Whether `tensor`, as seen from `scope`, depends on constants and sizes alone."""
        home = scope.home(tensor)
        return home is not None and tensor not in self._fed(home)

    def _fed(self, scope: Scope) -> frozenset[str]:
        """The tensors of a graph that carry values of inputs, draws, or results of operators that are not known."""
        if scope.name not in self._carriers:
            stored = {*scope.initializers, *scope.sparse_initializers}
            waiting = [name for name in scope.inputs if name not in stored]
            for node in scope.graph.node:
                if belongs(node, Family.RANDOM) or plain_domain(node.domain) not in _KNOWN_DOMAINS:
                    waiting.extend(node.output)
            if scope.parent is not None:
                waiting.extend(
                    name
                    for name in scope.consumers
                    if name not in scope.producers and name not in stored and not self(scope.parent, name)
                )
            found = set(waiting)
            while waiting:
                tensor = waiting.pop()
                for node in scope.consumers.get(tensor, ()):
                    if reads_values(node, tensor):
                        new = {name for name in node.output if name} - found
                        found |= new
                        waiting.extend(new)
            self._carriers[scope.name] = frozenset(found)
        return self._carriers[scope.name]


_KNOWN_DOMAINS = ("", "com.microsoft")
