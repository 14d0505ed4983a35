"""Nodes that are not folded, and nodes that do nothing."""

from __future__ import annotations

import numpy as np
import onnx
import oracles
import pytest
import rewriting
from onnx import TensorProto, numpy_helper
from rewriting import array, graph_of, node, rewritten
from weights import FEEDS, convolution


@pytest.mark.parametrize("opset", [13, 19, 21])
def test_quantisation_stays(opset: int) -> None:
    weights = {"w": array(3, 4), "s": np.float32(0.1).reshape(())}
    nodes = [
        node("QuantizeLinear", "w s zero", "q"),
        node("DequantizeLinear", "q s zero", "d"),
        node("MatMul", "x d", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3]}, "y", opset=opset, stored={"zero": np.int8(0)})
    result = rewritten(proto, weights, {"x": array(2, 3)}, asked=["onnxruntime"])  # onnxruntime multiplies less exactly
    assert rewriting.operators(result) == rewriting.operators(proto)


def test_infinity_and_nan_are_folded_in_silence() -> None:
    weights = {"norm/w": np.float32([0, -1, 1e30])}
    nodes = [node("Log", "norm/w", "a"), node("Mul", "norm/w norm/w", "b"), node("Sum", "x a b", "y")]
    result = rewritten(graph_of(nodes, {"x": [3]}, "y"), weights, {"x": array(3)})
    assert rewriting.operators(result) == {"Sum": 1}


def test_chance_stays() -> None:
    nodes = [
        node("RandomNormal", "", "a", shape=[3]),
        node("RandomUniformLike", "w", "b"),
        node("Bernoulli", "w", "c"),
        node("Dropout", "w ratio training", "d e"),
        node("Sum", "x a b c d", "y"),
    ]
    stored = {"w": np.full(3, 0.5, np.float32), "ratio": np.float32(0.5), "training": np.array(True)}
    result = rewritten(graph_of(nodes, {"x": [3]}, "y", stored=stored))
    assert rewriting.operators(result) == {one.op_type: 1 for one in nodes}


def test_dropout_of_a_constant_that_drops_nothing() -> None:
    nodes = [node("Dropout", "w ratio training", "d"), node("Dropout", "d", "e -"), node("Add", "x e", "y")]
    stored = {"w": array(3), "ratio": np.float32(0.5), "training": np.array(False)}
    result = rewritten(graph_of(nodes, {"x": [3]}, "y", stored=stored), {}, {"x": array(3)})
    assert rewriting.operators(result) == {"Add": 1}


@pytest.mark.parametrize(("size", "folded"), [(2**16, True), (2**16 + 1, False)])
def test_little_is_not_made_much(size: int, folded: bool) -> None:
    nodes = [node("Expand", "w sizes", "wide"), node("Add", "x wide", "y")]
    proto = graph_of(nodes, {"x": ["n"]}, "y", stored={"sizes": np.array([size]), "w": np.float32([2])})
    result = rewritten(proto, {}, {"x": array(size)})
    assert ("Expand" in rewriting.operators(result)) is not folded


def test_a_large_constant_node_is_a_constant() -> None:
    kernel = array(3, 3, 3, 2**13)
    nodes = [
        node("Constant", "", "w", value=numpy_helper.from_array(kernel)),
        node("Transpose", "w", "k", perm=(3, 2, 0, 1)),
    ]
    assert rewriting.operators(rewritten(convolution(*nodes), {}, FEEDS)) == {"Conv": 1}


def test_a_sequence_of_constants_stays_one() -> None:
    nodes = [
        node("SequenceConstruct", "v w", "s"),
        node("SequenceAt", "s index", "picked"),
        node("Add", "x picked", "y"),
    ]
    proto = graph_of(nodes, {"x": [3]}, "y", stored={"v": array(3), "w": array(3, seed=1), "index": np.array(1)})
    result = rewritten(proto, {}, {"x": array(3)})
    assert rewriting.operators(result)["SequenceConstruct"] == 1


def test_an_operator_of_another_domain_is_not_ours() -> None:
    nodes = [
        node("Identity", "w", "v", domain="own"),
        node("Identity", "x", "a", domain="own"),
        node("Add", "a v", "y"),
    ]
    proto = graph_of(nodes, {"x": [3]}, "y", stored={"w": array(3)}, domains=["own"])
    assert rewriting.operators(rewritten(proto)) == {"Identity": 2, "Add": 1}


def test_the_default_of_an_input_stays_a_default() -> None:
    proto = graph_of(
        [node("Mul", "x scale", "a"), node("Neg", "scale", "b"), node("Add", "a b", "y")],
        {"x": [3], "scale": [3]},
        "y",
        stored={"scale": np.float32([1, 2, 3])},
    )
    result = rewritten(proto, {}, {"x": array(3)})
    assert [one.name for one in result.graph.initializer] == ["scale"]
    rewritten(proto, {}, {"x": array(3), "scale": array(3)})


@pytest.mark.parametrize("opset", [13, 15, 19, 21])
def test_what_gives_its_input_on_is_taken_out(opset: int) -> None:
    nodes = [
        node("Identity", "x", "a"),
        node("Dropout", "a", "b"),
        node("Dropout", "b - off", "c -"),
        node("Cast", "c", "d", to=TensorProto.FLOAT),
        node("Transpose", "d", "e", perm=(0, 1)),
        node("Mul", "one e", "f"),
        node("Mul", "f one", "g"),
        node("Div", "g one", "h"),
        node("Relu", "h", "i"),
        node("Cast", "i", "j", to=TensorProto.FLOAT),
        *([node("CastLike", "j x", "k")] if opset >= 15 else [node("Identity", "j", "k")]),
        node("Neg", "k", "y"),
    ]
    proto = graph_of(nodes, {"x": [2, 3]}, "y", opset=opset, stored={"one": np.float32(1), "off": np.array(False)})
    special = np.float32([[np.nan, -0.0, np.inf], [-np.inf, 1e-42, 0.0]])
    result = rewritten(proto, {}, {"x": special})
    assert rewriting.operators(result) == {"Relu": 1, "Neg": 1}


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Mul", "x wide_one", "a"), node("Neg", "a", "y")],  # broadcasts
        [node("Div", "one x", "a"), node("Neg", "a", "y")],
        [node("Mul", "x two", "a"), node("Neg", "a", "y")],
        [node("Add", "x zero", "a"), node("Identity", "a", "b"), node("Neg", "b", "y")],  # −0.0 + 0.0 is 0.0
        [node("Cast", "x", "a", to=TensorProto.FLOAT16), node("Cast", "a", "y", to=TensorProto.FLOAT)],
        [node("CastLike", "x half", "a"), node("CastLike", "a one", "y")],
        [node("Transpose", "x", "a", perm=(1, 0)), node("Neg", "a", "y")],
        [node("Transpose", "x", "a"), node("Neg", "a", "y")],
        [node("Dropout", "x", "a b"), node("Cast", "b", "c", to=TensorProto.FLOAT), node("Add", "a c", "y")],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_what_does_something_stays(nodes: list[onnx.NodeProto]) -> None:
    one = np.float32(1)
    two, zero, half = np.float32(2), np.float32(0), np.float16(1)
    stored = {"one": one, "wide_one": one.reshape(1, 1, 1, 1), "two": two, "zero": zero, "half": half}
    proto = graph_of(nodes, {"x": [2, 3]}, "y", stored=stored)
    special = np.float32([[np.nan, -0.0, 0.3], [-np.inf, 1.00001, 0.0]])
    result = rewritten(proto, {}, {"x": special})
    names = ["y"]
    got = oracles.untouched(result, names, {"x": special})["y"]
    expected = oracles.untouched(proto, names, {"x": special})["y"]
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


def test_a_trained_one_stays() -> None:
    proto = graph_of([node("Mul", "x scale", "a"), node("Neg", "a", "y")], {"x": [3]}, "y")
    assert rewriting.operators(rewritten(proto, {"scale": np.array(1, np.float32)}, {"x": array(3)}))["Mul"] == 1


def test_what_no_output_needs_goes_and_holds_nothing_up() -> None:
    weights = {"k": array(4, 3, 1, 1), "b": array(4, 1, 1)}
    nodes = [node("Conv", "x k", "c"), node("Add", "c b", "y"), node("Relu", "c", "dead"), node("Neg", "dead", "too")]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y"), weights, FEEDS)
    assert rewriting.operators(result) == {"Conv": 1}
