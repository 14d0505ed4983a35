"""Folding: what is computed from constants alone, and how it is called."""

from __future__ import annotations

import numpy as np
import pytest
import rewriting
from onnx import helper, numpy_helper
from rewriting import array, graph_of, node, rewritten, value
from weights import FEEDS, HWIO, convolution

from onnxviz.passes.fold_weights import fold

# ---- kernels


def test_a_kernel_in_another_order_is_a_view_that_keeps_its_name() -> None:
    weights = {"conv/kernel": array(9, 9, 3, 4)}
    folded = fold(convolution(*HWIO), weights)
    assert list(folded.arrays) == ["conv/kernel"]
    assert np.shares_memory(folded.arrays["conv/kernel"], weights["conv/kernel"])
    result = rewritten(convolution(*HWIO), weights, FEEDS)
    assert rewriting.operators(result) == {"Conv": 1}
    np.testing.assert_array_equal(rewriting.stored(result)["conv/kernel"], weights["conv/kernel"].transpose(3, 2, 0, 1))


@pytest.mark.parametrize("opset", range(13, 24))
def test_every_way_of_arranging_gives_a_view(opset: int) -> None:
    weights = {"conv/kernel": array(1, 3 * 9 * 4 * 4)}
    nodes = [
        node("Constant", "", "sizes", value=numpy_helper.from_array(np.array([12, 1, -1, 4]))),
        node("Constant", "", "one", value_ints=[1]),
        node("Constant", "", "zero", value_ints=[0]),
        node("Squeeze", "conv/kernel zero", "flat"),
        node("Reshape", "flat sizes", "square"),
        node("Squeeze", "square one", "thin"),
        node("Unsqueeze", "thin zero", "wide"),
        node("Squeeze", "wide", "again"),
        node("Identity", "again", "same"),
        node("Constant", "", "last", value=numpy_helper.from_array(np.array([4, 3, -1, 4]))),
        node("Reshape", "same last", "k"),
    ]
    proto = convolution(*nodes, opset=opset)
    folded = fold(proto, weights)
    assert np.shares_memory(folded.arrays["conv/kernel"], weights["conv/kernel"])
    assert rewriting.operators(rewritten(proto, weights, FEEDS)) == {"Conv": 1}


def test_weights_fed_as_inputs_are_no_inputs_any_more() -> None:
    proto = convolution(*HWIO)
    proto.graph.input.insert(0, value("conv/kernel", [3, 3, 3, 4]))
    result = rewritten(proto, {"conv/kernel": array(3, 3, 3, 4)}, FEEDS)
    assert [one.name for one in result.graph.input] == ["x"]


def test_equal_weights_are_never_merged() -> None:
    weights = {"a/kernel": array(3, 3, 3, 4), "b/kernel": array(3, 3, 3, 4)}
    weights |= {"a/bias": np.zeros(4, np.float32), "b/bias": np.zeros(4, np.float32)}
    nodes = [
        *(node("Transpose", f"{one}/kernel", f"{one}_k", perm=(3, 2, 0, 1)) for one in "ab"),
        *(node("Conv", f"x {one}_k {one}/bias", f"{one}_y") for one in "ab"),
        node("Add", "a_y b_y", "y"),
    ]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y"), weights, FEEDS)
    assert set(rewriting.stored(result)) == set(weights)


def test_one_weight_read_in_two_orders_is_stored_in_both() -> None:
    weights = {"conv/kernel": array(4, 4, 4, 4)}
    nodes = [
        node("Transpose", "conv/kernel", "k", perm=(3, 2, 0, 1)),
        node("Transpose", "conv/kernel", "l", perm=(3, 2, 1, 0)),
        node("Transpose", "conv/kernel", "m", perm=(3, 2, 0, 1)),
        *(node("Conv", f"x {kernel}", f"y_{kernel}") for kernel in "klm"),
        node("Sum", "y_k y_l y_m", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 4, 9, 9]}, "y")
    result = rewritten(proto, weights, {"x": array(1, 4, 9, 9)})
    first, second, third = (one.input[1] for one in result.graph.node if one.op_type == "Conv")
    assert first == third == "conv/kernel"
    assert second == "conv/kernel_2"
    folded = fold(proto, weights)
    assert all(np.shares_memory(one, weights["conv/kernel"]) for one in folded.arrays.values())


@pytest.mark.parametrize("count", [4, 400])
def test_equal_constants_that_nobody_trained_are_one(count: int) -> None:
    stored = {"p": np.full(count, 2, np.float32), "q": np.full(count, 2, np.float32)}
    nodes = [node("Mul", "x p", "a"), node("Mul", "a q", "y")]
    result = rewritten(graph_of(nodes, {"x": ["n", count]}, "y", stored=stored), {}, {"x": array(2, count)})
    assert len(rewriting.stored(result)) == (1 if count == 4 else 2)  # large ones are not compared


def test_what_several_weights_make_is_called_after_their_layer() -> None:
    weights = {"conv/kernel": array(4, 3, 1, 1), "conv/scale": array(4, 1, 1, 1), "other/scale": array(1)}
    nodes = [
        node("Mul", "conv/kernel conv/scale", "k"),
        node("Conv", "x k", "c"),
        node("Mul", "conv/scale other/scale", "s"),
    ]
    nodes += [node("Squeeze", "s", "v"), node("Add", "c v", "y")]
    nodes[3] = node("Reshape", "s sizes", "v")
    proto = graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y", stored={"sizes": np.array([1, 4, 1, 1])})
    result = rewritten(proto, weights, FEEDS)
    assert set(rewriting.stored(result)) == {"conv/folded", "v"}


def test_a_shape_does_not_count_as_trained() -> None:
    """A bias that is given the shape of another weight is still that one bias."""
    weights = {"conv/kernel": array(4, 3, 1, 1), "conv/bias": array(4), "norm/bias": array(1, 4, 1, 1)}
    nodes = [node("Shape", "norm/bias", "sizes"), node("Reshape", "conv/bias sizes", "b")]
    nodes += [node("Conv", "x conv/kernel", "c"), node("Add", "c b", "y")]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y"), weights, FEEDS)
    assert [*rewriting.the(result, "Conv").input] == ["x", "conv/kernel", "conv/bias"]


# ---- outputs


def test_outputs_that_are_constants() -> None:
    weights = {"a/w": array(3, 4), "b": array(400, 3)}
    nodes = [
        node("Transpose", "a/w", "turned", perm=(1, 0)),
        node("Identity", "b", "same"),
        node("Gemm", "x a/w", "y"),
        node("Exp", "a/w", "made"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3]}, "same y turned made b")
    result = rewritten(proto, weights, {"x": array(2, 3)})
    assert rewriting.operators(result) == {"Gemm": 1}
    assert rewriting.the(result, "Gemm").input[1] == "a/w"


def test_an_output_called_as_a_weight_keeps_the_name() -> None:
    weights = {"conv/kernel": array(4, 3, 3, 3)}
    nodes = [node("Transpose", "conv/kernel", "k", perm=(0, 1, 3, 2)), node("Conv", "x k", "y")]
    proto = graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y conv/kernel")
    rewritten(proto, weights, FEEDS)


def test_identities_to_outputs_go() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("Identity", "a", "first"),
        node("Identity", "a", "second"),
        node("Identity", "first", "third"),
        node("Neg", "a", "fourth"),
        node("Identity", "x", "fifth"),
    ]
    proto = graph_of(nodes, {"x": [3]}, "third first second fourth fifth")
    result = rewritten(proto, {}, {"x": array(3)})
    assert rewriting.operators(result) == {"Relu": 1, "Neg": 1, "Identity": 3}


# ---- subgraphs and names


def test_subgraphs_read_what_was_folded() -> None:
    weights = {"dense/kernel": array(4, 3), "plain": array(4)}
    then_branch = helper.make_graph([node("MatMul", "x k", "p")], "t", [], [value("p", None)])
    else_branch = helper.make_graph([node("Add", "a plain", "q")], "e", [], [value("q", None)])
    nodes = [
        node("Transpose", "dense/kernel", "k", perm=(1, 0)),
        node("Identity", "x", "passed"),
        node("Mul", "passed one", "again"),
        node("MatMul", "again k", "a"),
        node("If", "flag", "y", then_branch=then_branch, else_branch=else_branch),
    ]
    inputs = [value("x", ["n", 3]), value("flag", [], bool)]
    proto = graph_of(nodes, inputs, "y", stored={"one": np.float32(1)})
    for flag in (True, False):
        result = rewritten(proto, weights, {"x": array(2, 3), "flag": np.array(flag)})
    assert rewriting.operators(result) == {"MatMul": 1, "If": 1}
    assert set(rewriting.stored(result)) == {"dense/kernel", "plain"}


def test_names_in_subgraphs_are_taken() -> None:
    """The folded kernel would be called as a tensor that a branch has of its own."""
    branches = []
    for op in ("Relu", "Abs"):
        inner = [node(op, "a", "dense/folded"), node("Add", "dense/folded k", f"{op}_y")]
        branches.append(helper.make_graph(inner, op, [], [value(f"{op}_y", None)]))
    nodes = [
        node("Mul", "dense/kernel dense/scale", "k"),
        node("MatMul", "x k", "a"),
        node("If", "flag", "y", then_branch=branches[0], else_branch=branches[1]),
    ]
    proto = graph_of(nodes, [value("x", ["n", 3]), value("flag", [], bool)], "y")
    weights = {"dense/kernel": array(3, 3), "dense/scale": array(3)}
    result = rewritten(proto, weights, {"x": array(3, 3), "flag": np.array(True)})
    assert [*rewriting.stored(result)] == ["dense/folded_2"]


def test_the_name_of_a_target_may_be_taken() -> None:
    nodes = [
        node("Shape", "x", "sizes"),
        node("Gather", "sizes zero", "n"),
        node("Concat", "n rest", "target", axis=0),
        node("Reshape", "x target", "r", name="flat"),
        node("Relu", "x", "flat/shape"),
        node("Flatten", "flat/shape", "f"),
        node("Add", "r f", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3, 2]}, "y", stored={"zero": np.array([0]), "rest": np.array([6])})
    rewritten(proto, {}, {"x": array(2, 3, 2)})


def test_the_source_is_not_changed_and_nothing_is_lost_without_weights() -> None:
    proto = convolution(stored={"k": array(4, 3, 3, 3)})
    result = rewritten(proto, {}, FEEDS)
    assert rewriting.stored(result)["k"].tolist() == rewriting.stored(proto)["k"].tolist()
