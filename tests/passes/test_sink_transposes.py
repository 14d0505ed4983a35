"""Transposes: random graphs give what they gave, and the patterns that exporters write lose theirs."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import rewriting
from examples import examples
from hypothesis import HealthCheck, given, settings
from old_versions import EMPTY_REDUCTIONS_KEEP_AXES
from onnx import TensorProto, helper
from random_graphs import RandomGraph, random_graphs
from rewriting import array, graph_of, node, rewritten, value
from transposes import NCHW, NHWC, conv, turns

# ---- random graphs


@settings(max_examples=examples(60, 250), deadline=None, suppress_health_check=list(HealthCheck))
@given(random_graphs())
def test_random_graphs_give_what_they_gave(graph: RandomGraph) -> None:
    names = [one.name for one in graph.model.graph.output]
    try:
        expected = oracles.untouched(rewriting.attached(graph.model, graph.weights), names, graph.feeds)
    except Exception:  # onnxruntime lacks a form of an operator
        return
    if EMPTY_REDUCTIONS_KEEP_AXES and any(expected[name].shape != graph.values[name].shape for name in names):
        return
    result = rewritten(graph.model, graph.weights)
    answers = [expected, {name: graph.values[name] for name in names}]
    # Sums that cancel out are exact to what was added up, which is about 1.
    rewriting.same(oracles.untouched(result, names, graph.feeds), answers, 1e-5, least=1)


@pytest.mark.parametrize("opset", range(13, 24))
def test_forms_of_every_operator_set(opset: int) -> None:
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("ReduceSum", "t axes", "a", keepdims=0),
        node("ReduceMean", "t axes", "b", keepdims=0)
        if opset >= 18
        else node("ReduceMean", "t", "b", axes=[1, -2], keepdims=0),
        node("Split", "t sizes", "c d", axis=-1),
        node("Squeeze", "c last", "e"),
        node("Pad", "e pads", "f", mode="edge"),
        node("Softmax", "f", "g"),
        node("Add", "a b", "y"),
    ]
    stored = {"axes": np.array([1, -2]), "sizes": np.array([1, 2]), "last": np.array([-1]), "pads": np.arange(6)}
    proto = graph_of(nodes, {"x": ["n", 3, 4, 5]}, "y g d", opset=opset, stored=stored)
    result = rewritten(proto, {}, {"x": array(2, 3, 4, 5)})
    assert turns(result) == 1  # for d alone


# ---- exporters' patterns


def test_a_network_has_a_transpose_where_it_is_fed_and_none_else() -> None:
    """Convolutions, batch normalisation, activation, pooling, a shortcut, two branches put together, global means."""
    weights = {f"c{k}/kernel": array(3, 3, *io, seed=k) for k, io in enumerate([(3, 8), (8, 8), (8, 8), (16, 4)])}
    weights |= {f"bn/{k}": np.abs(array(8, seed=k)) + 1 for k in range(4)}
    weights |= {"bias": array(8), "dense/kernel": array(4, 5)}
    same = {"auto_pad": "SAME_UPPER"}
    nodes = [
        *conv("c0", "image", "a0", **same),
        node("Transpose", "a0", "n0", perm=NCHW),
        node("BatchNormalization", "n0 bn/0 bn/1 bn/2 bn/3", "n1"),
        node("Transpose", "n1", "n2", perm=NHWC),
        node("Relu", "n2", "r0"),
        *conv("c1", "r0", "a1", **same),
        node("Add", "a1 bias", "b1"),
        node("Add", "b1 r0", "s1"),
        node("Transpose", "s1", "p0", perm=NCHW),
        node("MaxPool", "p0", "p1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", "p1", "p2", perm=NHWC),
        *conv("c2", "p2", "a2", **same),
        node("Sigmoid", "a2", "g2"),
        node("Mul", "a2 g2", "r2"),
        node("Concat", "r2 p2", "both", axis=-1),
        node("Pad", "both pads", "wide"),
        *conv("c3", "wide", "a3"),
        node("ReduceMean", "a3 hw", "mean", keepdims=0),
        node("MatMul", "mean dense/kernel", "y"),
    ]
    stored = {"pads": np.array([0, 1, 1, 0, 0, 1, 1, 0]), "hw": np.array([1, 2])}
    proto = graph_of(nodes, {"image": ["n", 8, 8, 3]}, "y", stored=stored)
    result = rewritten(proto, weights, {"image": array(2, 8, 8, 3)})
    assert turns(result) == 1
    assert rewriting.the(result, "Transpose").input[0] == "image"
    assert [one.input[1] for one in result.graph.node if one.op_type == "Conv"] == [f"c{k}/kernel" for k in range(4)]
    assert "bias" in [one.input[2] for one in result.graph.node if one.op_type == "Conv" and len(one.input) > 2]


def test_squeeze_and_excite() -> None:
    """A gate of one number a channel, made by dense layers, is only reshaped."""
    weights = {"c0/kernel": array(3, 3, 3, 8), "down/kernel": array(8, 2), "up/kernel": array(2, 8)}
    weights["c1/kernel"] = array(1, 1, 8, 4)
    nodes = [
        *conv("c0", "image", "a"),
        node("ReduceMean", "a hw", "mean", keepdims=0),
        node("MatMul", "mean down/kernel", "d"),
        node("Relu", "d", "r"),
        node("MatMul", "r up/kernel", "u"),
        node("Sigmoid", "u", "s"),
        node("Reshape", "s sizes", "gate"),
        node("Mul", "a gate", "m"),
        *conv("c1", "m", "c"),
        node("ReduceMax", "c hw", "y", keepdims=0),
    ]
    stored = {"hw": np.array([1, 2]), "sizes": np.array([-1, 1, 1, 8])}
    proto = graph_of(nodes, {"image": ["n", 8, 8, 3]}, "y", stored=stored)
    result = rewritten(proto, weights, {"image": array(2, 8, 8, 3)})
    assert turns(result) == 1
    assert rewriting.stored(result)[rewriting.the(result, "Reshape").input[1]].tolist() == [-1, 8, 1, 1]


def test_a_map_is_turned_once_where_it_leaves() -> None:
    weights = {"c0/kernel": array(3, 3, 3, 8), "c1/kernel": array(1, 1, 8, 4), "bias": array(4)}
    nodes = [*conv("c0", "image", "a"), node("Relu", "a", "r"), *conv("c1", "r", "b"), node("Add", "b bias", "c")]
    nodes += [node("Softmax", "c", "y")]
    result = rewritten(graph_of(nodes, {"image": ["n", 8, 8, 3]}, "y"), weights, {"image": array(2, 8, 8, 3)})
    assert [one.op_type for one in result.graph.node] == ["Transpose", "Conv", "Relu", "Conv", "Softmax", "Transpose"]


def test_flattening_needs_the_order_of_the_source() -> None:
    weights = {"c0/kernel": array(3, 3, 3, 8), "dense/kernel": array(288, 2)}
    nodes = [*conv("c0", "image", "a"), node("Reshape", "a flat", "f"), node("MatMul", "f dense/kernel", "y")]
    proto = graph_of(nodes, {"image": ["n", 8, 8, 3]}, "y", stored={"flat": np.array([-1, 288])})
    assert turns(rewritten(proto, weights, {"image": array(2, 8, 8, 3)})) == 2


def test_blocks_that_go_to_channels_last_and_back_do_not_get_more() -> None:
    """As ConvNeXt does: two transposes a block, though the shortcuts are in the other order."""
    weights: dict[str, np.ndarray] = {}
    nodes, source = [], "x"
    for k in range(3):
        weights |= {f"b{k}/conv": array(6, 1, 3, 3, seed=k), f"b{k}/dense": array(6, 6, seed=k)}
        weights |= {f"b{k}/norm": array(6, seed=k), f"b{k}/gamma": array(6, 1, 1, seed=k)}
        nodes += [
            node("Conv", f"{source} b{k}/conv", f"c{k}", group=6, pads=[1] * 4),
            node("Transpose", f"c{k}", f"t{k}", perm=NHWC),
            node("LayerNormalization", f"t{k} b{k}/norm", f"n{k}"),
            node("MatMul", f"n{k} b{k}/dense", f"d{k}"),
            node("Transpose", f"d{k}", f"u{k}", perm=NCHW),
            node("Mul", f"u{k} b{k}/gamma", f"g{k}"),
            node("Add", f"g{k} {source}", f"x{k}"),
        ]
        source = f"x{k}"
    proto = graph_of([*nodes, node("GlobalAveragePool", source, "y")], {"x": ["n", 6, 5, 5]}, "y")
    assert turns(rewritten(proto, weights, {"x": array(2, 6, 5, 5)})) <= 2 * 3 + 1


@pytest.mark.parametrize("rank", range(2, 6))
def test_opposite_ones_cancel(rank: int) -> None:
    perm = np.random.default_rng(rank).permutation(rank)
    nodes = [node("Transpose", "x", "a", perm=perm), node("Relu", "a", "b")]
    nodes += [node("Transpose", "b", "c", perm=np.argsort(perm)), node("Neg", "c", "y")]
    result = rewritten(
        graph_of(nodes, {"x": [2] * rank}, "y"), {}, {"x": array(*range(2, 2 + rank))[(slice(2),) * rank]}
    )
    assert rewriting.operators(result) == {"Relu": 1, "Neg": 1}


def test_without_a_permutation_all_axes_are_reversed() -> None:
    nodes = [node("Transpose", "x", "a"), node("Exp", "a", "b"), node("Transpose", "b", "y")]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 4]}, "y"), {}, {"x": array(2, 3, 4)})
    assert rewriting.operators(result) == {"Exp": 1}
    result = rewritten(graph_of(nodes, {"x": None}, [value("y", ["a", "b", "c"])]), {}, {"x": array(2, 3, 4)})
    assert rewriting.operators(result) == {"Exp": 1, "Transpose": 2}


def test_one_transpose_for_all_who_need_it() -> None:
    nodes = [
        node("Transpose", "x", "a", perm=NHWC),
        node("Transpose", "x", "b", perm=NHWC),
        node("Flatten", "a", "f"),
        node("Flatten", "b", "g"),
        node("CumSum", "a axis", "h"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3, 4, 5]}, "f g h a", stored={"axis": np.array(1)})
    assert turns(rewritten(proto, {}, {"x": array(2, 3, 4, 5)})) == 1


# ---- outputs and subgraphs


def test_outputs_keep_their_order_and_names() -> None:
    nodes = [
        node("Transpose", "x", "turned", perm=NHWC),
        node("Transpose", "x", "twin", perm=NHWC),
        node("Identity", "turned", "same"),
        node("Transpose", "turned", "back", perm=NCHW),
        node("Relu", "turned", "inside"),
        node("Transpose", "inside", "r", perm=NCHW),
        node("Identity", "x", "x_again"),
        node("Shape", "turned", "sizes"),
        node("Add", "inside same", "sum"),
    ]
    floats = [value(name, None) for name in "twin back turned inside r same sum x_again".split()]
    sizes = helper.make_tensor_value_info("sizes", TensorProto.INT64, [4])
    proto = graph_of(nodes, {"x": ["n", 3, 4, 5]}, [*floats, sizes])
    result = rewritten(proto, {}, {"x": array(2, 3, 4, 5)})
    assert turns(result) == 3


@pytest.mark.parametrize("flag", [True, False])
def test_branches_read_what_they_read(flag: bool) -> None:
    then_branch = helper.make_graph([node("Add", "r w", "p")], "t", [], [value("p", None)])
    deep = helper.make_graph([node("Mul", "t w", "d")], "d", [], [value("d", None)])
    deeper = helper.make_graph([node("Identity", "r", "e")], "d", [], [value("e", None)])
    inner = node("If", "flag", "q", then_branch=deep, else_branch=deeper)
    else_branch = helper.make_graph([inner], "e", [], [value("q", None)])
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("Relu", "t", "r"),
        node("If", "flag", "i", then_branch=then_branch, else_branch=else_branch),
        node("Add", "r i", "s"),
        node("Transpose", "s", "y", perm=NCHW),
    ]
    proto = graph_of(nodes, [value("x", ["n", 3, 4, 5]), value("flag", [], bool)], "y")
    rewritten(proto, {"w": array(4, 5, 3)}, {"x": array(2, 3, 4, 5), "flag": np.array(flag)})


def test_a_branch_reads_what_was_turned_back() -> None:
    branches = {
        key: helper.make_graph([node("Neg", "back", "p")], key, [], [value("p", None)])
        for key in ("then_branch", "else_branch")
    }
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("Relu", "t", "r"),
        node("Transpose", "r", "back", perm=NCHW),
        node("If", "flag", "y", **branches),
    ]
    proto = graph_of(nodes, [value("x", ["n", 3, 4, 5]), value("flag", [], bool)], "y")
    result = rewritten(proto, {}, {"x": array(2, 3, 4, 5), "flag": np.array(True)})
    assert rewriting.operators(result) == {"Relu": 1, "If": 1}
    assert rewriting.the(result, "Relu").output[0] == "r"


def test_a_loop_reads_what_it_read() -> None:
    body = helper.make_graph(
        [node("Identity", "go", "on"), node("Add", "state r", "next"), node("Mul", "next w", "seen")],
        "body",
        [value("count", [], np.int64), value("go", [], bool), value("state", None)],
        [value("on", [], bool), value("next", None), value("seen", None)],
    )
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("Relu", "t", "r"),
        node("Loop", "times start t", "last all", body=body),
        node("Transpose", "last", "y", perm=NCHW),
    ]
    proto = graph_of(nodes, {"x": ["n", 3, 4, 5]}, "y all", stored={"times": np.array(3), "start": np.array(True)})
    result = rewritten(proto, {"w": array(3)}, {"x": array(2, 3, 4, 5)}, asked=["onnxruntime"])
    assert turns(result) == 3


def test_names_that_are_wanted_are_taken() -> None:
    """A base and its like are called by names that the graph may have already, in a subgraph even."""
    inner = [node("Neg", "x", "r/base_2"), node("Add", "r/base_2 r/base", "p")]
    branches = {key: helper.make_graph(inner, key, [], [value("p", None)]) for key in ("then_branch", "else_branch")}
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("Abs", "x", "r/base"),
        node("Relu", "t", "r"),
        node("Add", "r w", "s"),
        node("Mul", "s w/rearranged", "m"),
        node("ReduceSum", "m axes", "y", name="y", keepdims=0),
        node("Exp", "axes_in", "y/axes"),
        node("If", "flag", "z", **branches),
    ]
    proto = graph_of(
        nodes,
        [value("x", ["n", 3, 4, 5]), value("flag", [], bool), value("axes_in", [2])],
        "y z y/axes",
        stored={"axes": np.array([-1])},
    )
    feeds = {"x": array(2, 3, 4, 5), "flag": np.array(True), "axes_in": array(2)}
    rewritten(proto, {"w": array(4, 5, 3), "w/rearranged": array(1)}, feeds)


def test_node_names_that_are_wanted_are_taken() -> None:
    """onnxruntime takes no two nodes of one name."""
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("Shape", "t", "a", name=""),
        node("Shape", "t", "b", name=""),
        node("Relu", "t", "r", name="y/Transpose"),
        node("Neg", "r", "y", name="z/Identity"),
        node("Transpose", "t", "z", perm=NCHW, name="/sizes"),
    ]
    sizes = [helper.make_tensor_value_info(name, TensorProto.INT64, [4]) for name in "ab"]
    proto = graph_of(nodes, {"x": ["n", 3, 4, 5]}, [value("y", None), value("z", None), *sizes])
    rewritten(proto, {}, {"x": array(2, 3, 4, 5)})
