"""The graph of layers: which layers and inputs feed each layer and each output, through everything between them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope, subgraph_path, subgraphs
from onnxviz.model.graph.settled import value_inputs
from onnxviz.model.layer import Layer

Feeding = frozenset[Layer | str]
"""Layers, and inputs of the model by name."""
_NOTHING: Feeding = frozenset()
AnyLayer = TypeVar("AnyLayer")
"""A layer of a model, or what is kept of one."""


@dataclass(frozen=True, eq=False)
class LayerGraph(Generic[AnyLayer]):
    """What feeds what; other operators lie between.

    Attributes:
        inputs: of the model, by name.
        feeds: of each layer, what its values come from with no other of the layers between; in graph order.
        outputs: the same of each output of the model, by name.
    """

    inputs: tuple[str, ...]
    feeds: Mapping[AnyLayer, frozenset[AnyLayer | str]]
    outputs: Mapping[str, frozenset[AnyLayer | str]]


def layer_graph(top: Scope, layers: Iterable[Layer]) -> LayerGraph[Layer]:
    """The graph of some layers of a model.

    Values count, not sizes or scales: a Resize to the size of another tensor is not fed by it. What a node
    with subgraphs gives comes from all of its inputs and from what the subgraphs give; the turns of a loop are not told
    apart.

    Args:
        top: the main graph.
        layers: of the model of that graph.
    """
    stored = {*top.initializers, *top.sparse_initializers}
    inputs = tuple(value.name for value in top.graph.input if value.name not in stored)
    known: ChainMap[str, Feeding] = ChainMap({name: frozenset([name]) for name in inputs})
    feeds: dict[Layer, Feeding] = {}
    _follow(top, {(layer.graph_scope.name, layer.taps["conv"]): layer for layer in layers}, known, feeds)
    return LayerGraph(inputs, feeds, {value.name: known.get(value.name, _NOTHING) for value in top.graph.output})


def _follow(
    scope: Scope, layers: Mapping[tuple[str, str], Layer], known: ChainMap[str, Feeding], feeds: dict[Layer, Feeding]
) -> None:
    """Adds the tensors of a graph to `known`, and its layers to `feeds`."""
    for index, node in enumerate(scope.graph.node):
        # What subgraphs take from outside comes by way of their outputs.
        read = [name for name in value_inputs(node) if name in node.input]
        made = _NOTHING.union(*(known.get(name, _NOTHING) for name in read))
        for attribute, graph in subgraphs(node):
            inner = Scope(graph, subgraph_path(scope.name, node, index, attribute), scope, (node, attribute))
            inside = known.new_child({value.name: made for value in graph.input})
            _follow(inner, layers, inside, feeds)
            made = made.union(*(inside.get(value.name, _NOTHING) for value in graph.output))
        layer = layers.get((scope.name, node.output[0])) if node.output else None
        if layer is not None:
            feeds[layer] = made
            made = frozenset([layer])
        # A scale found from the values goes past the integer convolution, to be multiplied in behind it.
        carrying = node.output[:1] if belongs(node, Family.DYNAMIC_RANGE) else node.output
        known.update({name: made for name in carrying if name})
