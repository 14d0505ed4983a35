"""Patterns of a graph: look-ups by which they are found, and the nodes that are put in their place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from onnx import ModelProto, NodeProto

from onnxviz.model.graph.names import FreshNames
from onnxviz.model.graph.scopes import attribute, named_axes, operator, reads, set_nodes
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.passes.shape_arithmetic import Sizes, with_shapes
from onnxviz.passes.values import KnownValue

# Nodes that are to go, and those that stand for them.
Rewrites = Iterator[tuple[list[NodeProto], list[NodeProto]]]


class View:
    """A model's graph with look-ups, whose nodes can be replaced while it is read.

    Args:
        proto: its graph is changed when the view is closed.
        known: values of constants; rearranged ones are added.
        opset: version of ONNX' own operators.
    """

    def __init__(self, proto: ModelProto, known: dict[str, KnownValue], opset: int) -> None:
        graph = proto.graph
        self.proto = proto
        self.graph = graph
        self.known = known
        self.opset = opset
        self.nodes = list(graph.node)
        self.names = FreshNames(graph, also=known)
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.readers = Counter(name for node in self.nodes for name in reads(node))
        self.readers.update(value.name for value in graph.output)
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self._gone: set[int] = set()
        self._instead: dict[int, list[NodeProto]] = {}

    @cached_property
    def sizes(self) -> Sizes:
        """The sizes of the graph's tensors; inferred when they are first asked for."""
        return Sizes(with_shapes(self.proto, self.known), self.known)

    @cached_property
    def places(self) -> dict[int, int]:
        """Where each node stands, by its `id`."""
        return {id(node): place for place, node in enumerate(self.nodes)}

    def made_for_one(self, name: str, op: str | tuple[str, ...]) -> NodeProto | None:
        """The node that makes `name`, if it is an `op` and nobody else reads it."""
        node = self.producers.get(name)
        ops = (op,) if isinstance(op, str) else op
        if node is None or operator(node) not in ops or self.readers[name] != 1 or id(node) in self._gone:
            return None
        return node

    def only_reader(self, name: str, op: str) -> NodeProto | None:
        """The one node that reads `name`, if it is an `op`."""
        readers = self.consumers.get(name, [])
        if self.readers[name] != 1 or len(readers) != 1 or operator(readers[0]) != op or id(readers[0]) in self._gone:
            return None
        return readers[0]

    def constant(self, like: str, suffix: str, array: np.ndarray) -> str:
        """The name of a constant that holds the elements of `like` in another form."""
        name = self.names.tensor(f"{like}/{suffix}")
        self.known[name] = self.known[like].rearranged(array)
        return name

    def added(self, stem: str, array: np.ndarray) -> str:
        """The name of a constant that the graph did not have, called `stem` if no other is."""
        name = self.names.tensor(stem)
        self.known[name] = KnownValue(array)
        return name

    def axes(self, node: NodeProto) -> tuple[int, ...] | None:
        """The axes that the node names, as an operand or, in earlier operator sets, an attribute; None if unknown."""
        value = self.known.get(node.input[1]) if len(node.input) > 1 else None
        return named_axes(node, value.array if value is not None else None)

    def reshapes_to(self, reshape: NodeProto, sizes: Sequence[Dim]) -> bool:
        """Whether a Reshape, of a tensor with as many elements, gives these sizes."""
        target = self.sizes.elements(reshape.input[1])
        if target is None or target.shape != (len(sizes),) or attribute(reshape, "allowzero"):
            return False
        others = [(one, size) for one, size in zip(target, sizes, strict=True) if one != -1]
        return len(others) >= len(sizes) - 1 and all(one is not None and one == size != 0 for one, size in others)

    def closed(self, nodes: Sequence[NodeProto], end: str) -> bool:
        """Whether nobody else reads what these nodes make, but for `end`; and none of them was replaced."""
        own = Counter(name for node in nodes for name in reads(node))
        made = {name for node in nodes for name in node.output if name} - {end}
        return all(self.readers[name] == own[name] for name in made) and not self._gone & {id(node) for node in nodes}

    def replace(self, old: list[NodeProto], new: list[NodeProto]) -> None:
        """Puts `new` where the last of `old` stands."""
        self._gone.update(id(node) for node in old)
        self._instead[id(old[-1])] = new

    def close(self) -> None:
        """Writes the graph's nodes anew, if any was replaced."""
        if not self._instead:
            return
        # What the nodes that are gone made may have another shape now.
        gone = {name for node in self.nodes if id(node) in self._gone for name in node.output}
        left = [value for value in self.graph.value_info if value.name not in gone]
        del self.graph.value_info[:]
        self.graph.value_info.extend(left)
        nodes: list[NodeProto] = []
        for node in self.nodes:
            nodes.extend(self._instead.get(id(node), [] if id(node) in self._gone else [node]))
        set_nodes(self.graph, nodes)
