"""Ancestors, descendants and readers of tensors: against plain definitions, on drawn graphs and on long ones."""

from __future__ import annotations

import time

import onnx
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import GraphProto, NodeProto, helper
from random_graphs import random_graphs

from onnxviz.model.graph.scopes import Scope, subgraphs


def read_by(node: NodeProto) -> set[str]:
    """What a node reads: its inputs, and what its subgraphs use without making or storing it."""
    names = {name for name in node.input if name}
    for _, graph in subgraphs(node):
        used = {value.name for value in graph.output}.union(*(read_by(inner) for inner in graph.node))
        names |= used - {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
        names -= {name for inner in graph.node for name in inner.output}
    return names


def depends(graph: GraphProto) -> set[tuple[str, str]]:
    """(a, b) for every tensor a that depends on b: single steps, then steps of steps until there are no more."""
    pairs = {(made, read) for node in graph.node for made in node.output if made for read in read_by(node)}
    while True:
        longer = pairs | {(a, d) for a, b in pairs for c, d in pairs if b == c}
        if longer == pairs:
            return pairs
        pairs = longer


def check(graph: GraphProto, start: list[str]) -> None:
    pairs = depends(graph)
    found = Scope(graph).ancestors(start)
    behind = {b for a, b in pairs if a in start}
    assert found.tensors == behind
    needed = behind.union(start)
    assert list(found.nodes) == [node for node in graph.node if any(name in needed for name in node.output)]
    assert Scope(graph).descendants(start) == {a for a, b in pairs if b in start}.union(start)


@settings(deadline=None, max_examples=60)
@given(random_graphs(), st.data())
def test_drawn_graphs(graph, data):
    """Graphs with Ifs whose branches read tensors from outside; any tensors, in any order of the nodes."""
    proto = graph.model.graph
    names = sorted({name for node in proto.node for name in (*node.input, *node.output)} - {""})
    start = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    check(proto, start)
    order = data.draw(st.permutations(range(len(proto.node))))
    check(helper.make_graph([proto.node[place] for place in order], "g", proto.input, proto.output), start)


def nested() -> GraphProto:
    """A Loop in an If: `far` is read two graphs deep, `shadow` is another tensor in there."""
    return onnx.parser.parse_graph(
        """
        g (float[2] x, float[2] far, bool flag, int64 count, bool go) => (float[2] y, float[2] z) {
            shadow = Relu (x)
            y = If (flag) <
                then_branch = t () => (float[2] a) {
                    a = Loop (count, go, x) <body = b (int64 i, bool c, float[2] carried) => (bool d, float[2] e)
                        <float[2] shadow = {1, 2}> { d = Identity (c) s = Add (carried, shadow) e = Mul (s, far) }>
                },
                else_branch = f () => (float[2] x) { unused = Neg (far) }
            >
            z = Neg (shadow)
        }
        """
    )


@pytest.mark.parametrize("start", ["y", "z", "far", "x", "shadow", "flag", "nothing"])
def test_subgraphs_read_from_outside(start):
    check(nested(), [start])


def test_what_is_read_two_graphs_deep():
    found = Scope(nested()).ancestors(["y"])
    assert found.tensors == {"x", "far", "flag", "count", "go"}
    assert [node.op_type for node in found.nodes] == ["If"]
    assert Scope(nested()).descendants(["shadow"]) == {"shadow", "z"}


@pytest.mark.parametrize(
    ("tensor", "reader"), [("far", "If"), ("shadow", "Neg"), ("x", None), ("y", None), ("nothing", None)]
)
def test_the_only_reader_of_a_tensor(tensor, reader):
    """`far` is read in the If's branches alone, `x` outside too; an output has whoever runs the model as a reader."""
    found = Scope(nested()).only_reader(tensor)
    assert (None if found is None else found.op_type) == reader
    (then, _) = (graph for _, graph in subgraphs(nested().node[1]))
    assert Scope(then).only_reader("a") is None


def test_an_output_that_a_node_reads_too_has_no_only_reader():
    graph = onnx.parser.parse_graph("g (float[2] x) => (float[2] a, float[2] b) { a = Relu (x) b = Neg (a) }")
    assert Scope(graph).only_reader("a") is None


def test_a_subgraph_ends_at_its_own_edge():
    """Tensors of the graphs around are read, not followed."""
    (then, _) = (graph for _, graph in subgraphs(nested().node[1]))
    found = Scope(then).ancestors(["a"])
    assert [node.op_type for node in found.nodes] == ["Loop"]
    assert found.tensors == {"x", "far", "count", "go"}


def test_outputs_that_are_left_out_join_nothing():
    nodes = [helper.make_node("Dropout", ["a"], ["b", ""]), helper.make_node("Resize", ["c", "", "s"], ["d", ""])]
    graph = helper.make_graph(nodes, "g", [], [])
    check(graph, ["d"])
    check(graph, ["a"])
    assert Scope(graph).descendants(["a"]) == {"a", "b"}


def chain(length: int) -> GraphProto:
    """Nodes that each read the one before twice, an eighth of them through both branches of an If."""
    nodes = []
    for place in range(length):
        before, made = f"t{place}", f"t{place + 1}"
        if place % 8:
            nodes.append(helper.make_node("Add", [before, before], [made]))
            continue
        branches = [
            helper.make_graph([helper.make_node("Relu", [before], [f"{made}/{side}"])], side, [], [])
            for side in ("then_branch", "else_branch")
        ]
        for branch in branches:
            branch.output.append(helper.make_empty_tensor_value_info(branch.node[0].output[0]))
        then, other = branches
        nodes.append(helper.make_node("If", ["flag"], [made], then_branch=then, else_branch=other))
    return helper.make_graph(nodes, "g", [], [])


def walked(length: int) -> float:
    """The seconds of processor time that both walks over a chain take, the least of three."""
    graph = chain(length)
    taken = []
    for _ in range(3):
        begin = time.process_time()
        scope = Scope(graph)
        assert len(scope.ancestors([f"t{length}"]).nodes) == length
        assert len(scope.descendants(["t0"])) == length + 1
        taken.append(time.process_time() - begin)
    return min(taken)


def test_long_chains_take_linear_time():
    """Ten times the nodes: ten times the time, not a hundred times; and no recursion along the chain."""
    assert walked(20_000) < 30 * walked(2_000)
