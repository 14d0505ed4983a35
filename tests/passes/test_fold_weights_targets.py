"""Targets of Reshape, folded where they are settled."""

from __future__ import annotations

import numpy as np
import pytest
import rewriting
from onnx import TensorProto
from rewriting import array, graph_of, node, rewritten


def test_flattening_that_keeps_the_batch_is_a_constant() -> None:
    nodes = [
        node("Shape", "x", "sizes"),
        node("Slice", "sizes begin end", "batch"),
        node("Concat", "batch rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    stored = {"begin": np.array([0]), "end": np.array([1]), "rest": np.array([12])}
    proto = graph_of(nodes, {"x": ["n", 3, 2, 2]}, "y", stored=stored)
    for batch in (1, 3, 0):
        result = rewritten(proto, {}, {"x": array(batch, 3, 2, 2)})
    assert rewriting.operators(result) == {"Reshape": 1}
    (target,) = rewriting.stored(result).values()
    assert target.tolist() == [-1, 12]


@pytest.mark.parametrize("opset", [13, 15, 18, 21])
def test_each_way_to_a_target(opset: int) -> None:
    """Of x: (n, 3, 2, 5), made (n, 30, 1)."""
    nodes = [
        node("Shape", "x", "sizes"),
        node("Cast", "sizes", "short", to=TensorProto.INT32),
        node("Cast", "short", "long", to=TensorProto.INT64),
        node("Gather", "long zero", "n"),
        node("Gather", "long last", "width"),
        node("Slice", "long low high - steps", "between"),
        node("ReduceProd", "between", "product", keepdims=0),
        node("Mul", "product width", "all"),
        node("Unsqueeze", "n first", "n1"),
        node("Unsqueeze", "all first", "all1"),
        node("Concat", "ones all1 n1", "target", axis=0),
        node("Slice", "target end begin first back", "reversed"),
        node("Identity", "reversed", "same"),
        node("Reshape", "x same", "y"),
    ]
    stored = {"zero": np.array(0), "last": np.array(-1), "low": np.array([-3]), "high": np.array([3])}
    stored |= {"steps": np.array([1]), "first": np.array([0]), "ones": np.array([1])}
    stored |= {"end": np.array([-1]), "begin": np.array([-(2**31)]), "back": np.array([-1])}
    proto = graph_of(nodes, {"x": ["n", 3, 2, 5]}, "y", opset=opset, stored=stored)
    result = rewritten(proto, {}, {"x": array(2, 3, 2, 5)})
    assert rewriting.operators(result) == {"Reshape": 1}
    (target,) = rewriting.stored(result).values()
    assert target.tolist() == [-1, 30, 1]


def test_a_product_whose_axes_are_named_is_no_empty_one() -> None:
    """tf2onnx marks every reduction noop_with_empty_axes, and names the axes."""
    nodes = [
        node("Shape", "x", "sizes"),
        node("Slice", "sizes low high", "between"),
        node("ReduceProd", "between first", "product", keepdims=1, noop_with_empty_axes=1),
        node("Slice", "sizes first low", "batch"),
        node("Concat", "batch product", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    stored = {"low": np.array([1]), "high": np.array([4]), "first": np.array([0])}
    proto = graph_of(nodes, {"x": ["n", 3, 2, 5]}, "y", stored=stored)
    result = rewritten(proto, {}, {"x": array(2, 3, 2, 5)})
    assert rewriting.operators(result) == {"Reshape": 1}


def test_sizes_along_two_axes_are_not_mixed_up() -> None:
    """Of x: (n, 3, 5, 7), whose sizes make the matrix [[n, 3], [5, 7]]."""
    nodes = [
        node("Shape", "x", "sizes"),
        node("Reshape", "sizes square", "matrix"),
        node("Transpose", "matrix", "turned", perm=(1, 0)),
        node("Concat", "matrix turned", "both", axis=1),  # [[n, 3, n, 5], [5, 7, 3, 7]]
        node("Reshape", "both line", "eight"),
        node("Gather", "eight picked", "target"),
        node("Gather", "matrix one", "column", axis=1),
        node("Concat", "column rest", "other", axis=0),
        node("Reshape", "x target", "y"),
        node("Reshape", "x other", "z"),
    ]
    stored = {"square": np.array([2, 2]), "line": np.array([8]), "one": np.array(1), "rest": np.array([10])}
    stored["picked"] = np.array([3, 1, 5, 2])
    proto = graph_of(nodes, {"x": ["n", 3, 5, 7]}, "y z", stored=stored)
    result = rewritten(proto, {}, {"x": array(2, 3, 5, 7)})
    assert rewriting.operators(result) == {"Reshape": 2}
    assert sorted(one.tolist() for one in rewriting.stored(result).values()) == [[3, 7, 10], [5, 3, 7, -1]]


@pytest.mark.parametrize(
    ("shape", "target", "settled"),
    [
        (["n", "m", 4], [0, 4], False),  # 0 is "as the input's"
        (["n", "m", 4], [-1], False),  # two open sizes
        (["n", 3, 4], [-1], True),
        ([2, 3, 4], [6, 2], True),
    ],
)
def test_when_a_target_is_settled(shape: list[int | str], target: list[int], settled: bool) -> None:
    nodes = [node("Shape", "x", "sizes", name="s"), node("Gather", "sizes zero", "n")]
    nodes += [node("Concat", "n rest", "target", axis=0), node("Reshape", "x target", "y")]
    proto = graph_of(nodes, {"x": shape}, "y", stored={"zero": np.array([0]), "rest": np.array(target)})
    feeds = {"x": array(*(size if isinstance(size, int) else 2 for size in shape))}
    result = rewritten(proto, {}, feeds)
    assert ("Shape" not in rewriting.operators(result)) is (settled and target != [-1])


def test_two_open_sizes_are_not_settled() -> None:
    nodes = [node("Shape", "x", "sizes"), node("Gather", "sizes order", "target"), node("Reshape", "x target", "y")]
    proto = graph_of(nodes, {"x": ["n", "m", 4]}, "y", stored={"order": np.array([1, 0, 2])})
    assert rewriting.operators(rewritten(proto, {}, {"x": array(2, 3, 4)})) == rewriting.operators(proto)


def test_allowzero_is_left_alone() -> None:
    nodes = [node("Shape", "x", "sizes"), node("Reshape", "x sizes", "y", allowzero=1)]
    proto = graph_of(nodes, {"x": ["n", 3]}, "y")
    assert rewriting.operators(rewritten(proto, {}, {"x": array(0, 3)})) == {"Shape": 1, "Reshape": 1}
    stored = {"zero": np.array([0, 5]), "w": np.zeros((0, 7), np.float32)}
    nodes = [node("Reshape", "w zero", "v", allowzero=1), node("Concat", "x v", "y", axis=0)]
    rewritten(graph_of(nodes, {"x": ["n", 5]}, "y", stored=stored), {}, {"x": array(2, 5)})


def test_a_cast_to_truth_values_changes_sizes() -> None:
    nodes = [
        node("Shape", "x", "sizes"),
        node("Slice", "sizes one two", "channels"),
        node("Cast", "channels", "flag", to=TensorProto.BOOL),
        node("Cast", "flag", "single", to=TensorProto.INT64),
        node("Concat", "single sizes", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3]}, "y", stored={"one": np.array([1]), "two": np.array([2])})
    rewritten(proto, {}, {"x": array(2, 3)})


def test_doubling_sizes_is_quick() -> None:
    nodes = [node("Shape", "x", "s0"), node("Squeeze", "s0", "m0")]
    nodes += [node("Mul", f"m{k} m{k}", f"m{k + 1}") for k in range(30)]
    nodes += [node("Unsqueeze", "m30 zero", "target"), node("Reshape", "x target", "y")]
    proto = graph_of(nodes, {"x": ["n"]}, "y", stored={"zero": np.array([0])})
    result = rewritten(proto, {}, {"x": array(1)})
    assert rewriting.operators(result) == {"Reshape": 1}
