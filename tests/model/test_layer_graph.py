"""Graphs of layers, read from graphs that were drawn by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import zoo
from protos import parsed
from rewriting import array, graph_of, node

import onnxviz
from onnxviz.model.layer_graph import layer_graph


def drawn(proto: onnx.ModelProto, ops: list[str] | None = None) -> dict[str, set[str]]:
    """What feeds each layer and each output, by the tensors that layers make."""
    model = onnxviz.load(proto)
    graph = layer_graph(model.scope, model.layers_of(ops))
    named = {layer.taps["conv"]: feeding for layer, feeding in graph.feeds.items()} | dict(graph.outputs)
    return {name: {one if isinstance(one, str) else one.taps["conv"] for one in ones} for name, ones in named.items()}


K = {"k": array(3, 3, 1, 1)}


def test_branches_and_a_shortcut() -> None:
    nodes = [node("Conv", "x k", "a"), node("Relu", "a", "r"), node("Conv", "r k", "b"), node("Add", "b r", "s")]
    nodes += [node("Conv", "s k", "c"), node("Concat", "c x", "y", axis=1)]
    proto = graph_of(nodes, {"x": ["n", 3, 4, 4]}, "y", stored=K)
    assert drawn(proto) == {"a": {"x"}, "b": {"a"}, "c": {"a", "b"}, "y": {"c", "x"}}
    assert drawn(proto, ["Add"]) == {"s": {"x"}, "y": {"s", "x"}}


def test_sizes_and_scales_feed_nothing() -> None:
    nodes = [node("Conv", "x k", "a"), node("Shape", "x", "size"), node("Resize", "a - - size", "big")]
    nodes += [node("DynamicQuantizeLinear", "big", "q scale zero"), node("ConvInteger", "q kq zero", "i")]
    nodes += [node("Cast", "i", "f", to=1), node("Mul", "f scale", "y")]
    stored = K | {"kq": np.ones((3, 3, 1, 1), np.int8)}
    proto = graph_of(nodes, {"x": ["n", 3, 4, 4]}, "y", stored=stored)
    assert drawn(proto) == {"a": {"x"}, "i": {"a"}, "y": {"i"}}


def test_stored_inputs_are_no_inputs() -> None:
    nodes = [node("Conv", "x k", "a"), node("Relu", "a", "y")]
    proto = graph_of(nodes, {"x": ["n", 3, 4, 4], "k": [3, 3, 1, 1]}, "y", stored=K)
    assert layer_graph(onnxviz.load(proto).scope, ()).inputs == ("x",)
    assert drawn(proto) == {"a": {"x"}, "y": {"a"}}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_what_feeds_a_layer_comes_before_it(name: str) -> None:
    model = onnxviz.load(zoo.model(name))
    layers = model.layers_of(model.operators)
    graph = layer_graph(model.scope, model.layers)
    assert [*graph.feeds] == [*model.layers]
    seen: set[object] = set(graph.inputs)
    for layer, feeding in graph.feeds.items():
        assert feeding <= seen
        seen.add(layer)
    assert len(layer_graph(model.scope, layers).feeds) == len(layers)


def test_subgraphs() -> None:
    proto = parsed(
        """g (float[n,3,4,4] x, float[n,3,4,4] outside, bool if) => (float[n,3,4,4] y)
        { a = Conv (x, k)
          b = If <then_branch = t () => (float[n,3,4,4] c) { c = Conv (a, k) },
                  else_branch = e () => (float[n,3,4,4] d) { d = Conv (outside, k) }> (if)
          z = Conv (b, k)
          y = Relu (z) }""",
        **K,
    )
    # Which branch is taken comes from `if`.
    assert drawn(proto) == {"a": {"x"}, "c": {"a"}, "d": {"outside"}, "z": {"c", "d", "if"}, "y": {"z"}}
