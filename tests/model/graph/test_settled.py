"""Which tensors depend on sizes and constants alone."""

from __future__ import annotations

import onnx.parser
import zoo

from onnxviz.model.graph.scopes import Scope, walk
from onnxviz.model.graph.settled import Settled, value_inputs


def scope(text: str) -> Scope:
    return Scope(onnx.parser.parse_model(text).graph)


def test_sizes_types_and_constants_are_settled_and_values_are_not() -> None:
    graph = scope("""
        <ir_version: 8, opset_import: ["" : 18, "strange" : 1]>
        g (float[n,3] x) => (float[n,3] y) <float k = {2.0}, float[3] w = {1.0, 2.0, 3.0}>
        {
            size = Shape (x)
            one = CastLike (k, x)
            wide = Expand (one, size)
            scaled = Mul (w, k)
            y = Mul (x, wide)
            back = CastLike (x, k)
            drawn = RandomNormal <shape = [3]> ()
            noise = Add (drawn, k)
            other = strange.Make (k)
            after = Neg (other)
        }
    """)
    settled = Settled()
    told = {name: settled(graph, name) for name in [*graph.producers, "k", "w", "x", "nowhere"]}
    assert {name for name, is_settled in told.items() if is_settled} == {"size", "one", "wide", "scaled", "k", "w"}


def test_an_input_with_a_stored_value_is_settled() -> None:
    proto = zoo.model("inputs_as_initializers")
    stored = {tensor.name for tensor in proto.graph.initializer}
    fed = {value.name for value in proto.graph.input} - stored
    settled = Settled()
    assert stored
    assert all(settled(Scope(proto.graph), name) for name in stored)
    assert not any(settled(Scope(proto.graph), name) for name in fed)


def test_subgraphs_see_what_is_settled_around_them() -> None:
    graph = scope("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[3] x, bool b) => (float[3] y) <float[3] k = {1.0, 2.0, 3.0}>
        {
            z = Neg (x)
            y = If (b) <then_branch = t () => (float[3] p) { h = Neg (k) p = Add (z, h) },
                        else_branch = e () => (float[3] q) { q = Exp (k) }>
        }
    """)
    settled = Settled()
    inner = {one.name: one for one, _ in walk(graph)}
    then, other = (next(one for name, one in inner.items() if word in name) for word in ("then", "else"))
    assert settled(then, "h")
    assert settled(then, "k")
    assert settled(other, "q")
    assert not settled(then, "p")
    assert not settled(then, "z")
    assert not settled(graph, "y")  # the branch that runs depends on what is fed


def test_values_that_a_node_reads() -> None:
    graph = scope("""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[3] x) => (float[3] y) <float k = {2.0}>
        { s = Shape (x) c = CastLike (k, x) y = Mul (x, x) }
    """)
    assert {node.output[0]: value_inputs(node) for node in graph.graph.node} == {"s": [], "c": ["k"], "y": ["x"]}
