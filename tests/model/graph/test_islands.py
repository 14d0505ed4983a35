"""The parts of a graph that begin at one tensor and end at one."""

from __future__ import annotations

import onnx.parser
import pytest

from onnxviz.model.graph.islands import Island, Islands, Shore
from onnxviz.model.graph.scopes import Scope
from onnxviz.model.graph.settled import Settled


def islands(body: str, outputs: str = "float[n,3] y") -> Islands:
    text = f"""
        <ir_version: 8, opset_import: ["" : 18]>
        g (float[n,3] x, float[n,3] other) => ({outputs}) <float k = {{2.0}}>
        {{ {body} }}
    """
    return Islands(Scope(onnx.parser.parse_model(text).graph), Settled(), lambda node: node.op_type != "Conv")


def found(body: str, outputs: str = "float[n,3] y", start: str = "x") -> tuple[str, list[str]]:
    island = islands(body, outputs).after(start)
    assert isinstance(island, Island)
    return island.end, [node.op_type for node in island.nodes]


def test_one_node_is_an_island() -> None:
    assert found("y = Relu (x)") == ("y", ["Relu"])


def test_the_smallest_is_found() -> None:
    assert found("s = Sigmoid (x) p = Mul (x, s) y = Mul (p, k)") == ("p", ["Sigmoid", "Mul"])


def test_nodes_may_stand_in_any_order() -> None:
    assert found("y = Mul (p, k) p = Mul (x, s) s = Sigmoid (x)") == ("p", ["Sigmoid", "Mul"])


def test_sizes_are_no_values() -> None:
    assert found("s = Shape (x) e = Expand (k, s) y = Mul (x, e)") == ("y", ["Mul"])


def test_what_nothing_reads_is_no_way_out() -> None:
    assert found("a, b = Split <axis = 1, num_outputs = 2> (x) y = Relu (a)", "float y") == ("a", ["Split"])


@pytest.mark.parametrize(
    ("body", "outputs", "field", "op"),
    [
        ("y = Add (x, other)", "float y", "joins", "Add"),
        ("s = Sigmoid (x) y = Mul (s, other)", "float y", None, None),
        ("s = Sigmoid (other) y = Mul (x, s)", "float y", "joins", "Mul"),
        ("c = Conv (x, k) a = Relu (x) y = Add (a, c)", "float y", "foreign", "Conv"),
        ("y = Relu (x) z = Neg (x)", "float y, float z", "joins", None),
        ("a = Relu (x) y = Add (a, x)", "float y, float a", "joins", None),
    ],
)
def test_shores(body: str, outputs: str, field: str | None, op: str | None) -> None:
    shore = islands(body, outputs).after("x")
    if field is None:
        assert shore == Island("x", "s", shore.nodes)
        return
    assert isinstance(shore, Shore)
    node = getattr(shore, field)
    assert (node.op_type if node is not None else None) == op


def test_the_end_of_the_graph() -> None:
    one = islands("y = Relu (x)")
    assert one.after("y") == Shore("y", True, ())


def test_a_large_island_is_not_followed_for_long() -> None:
    chain = " ".join(f"a{i} = Add (a{i - 1}, x)" for i in range(1, 2000))
    shore = islands(f"a0 = Relu (x) {chain} y = Neg (a1999)").after("x")
    assert isinstance(shore, Shore)
