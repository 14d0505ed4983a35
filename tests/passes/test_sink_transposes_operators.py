"""Transposes moved past operators with axes, sizes and orders of their own."""

from __future__ import annotations

import numpy as np
import pytest
import rewriting
from onnx import TensorProto, helper
from rewriting import array, graph_of, node, rewritten
from transposes import NCHW, NHWC, conv, turns


def test_an_operator_of_another_domain_gets_what_it_was_written_for() -> None:
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("Relu", "t", "r", domain="own"),
        node("Transpose", "r", "y", perm=NCHW),
    ]
    assert turns(rewritten(graph_of(nodes, {"x": [1, 2, 3, 4]}, "y", domains=["own"]))) == 2


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_slices_keep_the_type_of_their_numbers(dtype: type) -> None:
    nodes = [node("Transpose", "x", "t", perm=NHWC), node("Slice", "t starts ends axes steps", "s")]
    nodes += [node("Slice", "s starts ends", "u"), node("Transpose", "u", "y", perm=NCHW)]
    stored = {"starts": [0, -1], "ends": [9, -9], "axes": [-1, 1], "steps": [2, -1]}
    proto = graph_of(nodes, {"x": ["n", 3, 4, 5]}, "y", stored={k: np.array(v, dtype) for k, v in stored.items()})
    assert turns(rewritten(proto, {}, {"x": array(2, 3, 4, 5)})) == 0


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("operand", ["scales", "sizes"])
@pytest.mark.parametrize("perm", [NCHW, (2, 3, 0, 1), (3, 0, 2, 1)])
def test_images_are_resized_channels_first(mode: str, operand: str, perm: tuple[int, ...]) -> None:
    """The input is in another order; onnxruntime does not resize along every pair of axes in every mode."""
    nodes = [node("Transpose", "image", "x", perm=perm)]
    nodes += [node("Resize", "x - scales" if operand == "scales" else "x - - sizes", "r", mode=mode)]
    nodes += [node("GlobalAveragePool", "r", "y")]
    stored = {"scales": np.float32([1, 1, 2, 2]), "sizes": np.array([2, 3, 8, 10])}
    image = array(2, 3, 4, 5).transpose(np.argsort(perm))
    proto = graph_of(nodes, {"image": image.shape}, "y", stored={operand: stored[operand]})
    rewritten(proto, {}, {"image": np.ascontiguousarray(image)}, tolerance=1e-5)


def test_resizing_between_convolutions_needs_no_transpose() -> None:
    weights = {"c0/kernel": array(3, 3, 3, 8), "c1/kernel": array(1, 1, 8, 4)}
    nodes = [*conv("c0", "image", "a"), node("Resize", "a - scales", "b", mode="nearest"), *conv("c1", "b", "c")]
    nodes += [node("ReduceMean", "c hw", "y", keepdims=0)]
    stored = {"scales": np.float32([1, 2, 2, 1]), "hw": np.array([1, 2])}
    proto = graph_of(nodes, {"image": ["n", 8, 8, 3]}, "y", stored=stored)
    assert turns(rewritten(proto, weights, {"image": array(2, 8, 8, 3)})) == 1


def test_pads_of_some_axes() -> None:
    """onnxruntime 1.32 fails where it moves a transpose past such a Pad itself."""
    nodes = [node("Transpose", "x", "t", perm=NHWC), node("Pad", "t pads value axes", "p")]
    nodes += [node("Transpose", "p", "y", perm=NCHW)]
    stored = {"pads": np.array([1, 2, 3, 4]), "axes": np.array([-1, 1]), "value": np.float32(0.5)}
    result = rewritten(
        graph_of(nodes, {"x": ["n", 3, 4, 5]}, "y", stored=stored),
        {},
        {"x": array(2, 3, 4, 5)},
        asked=["onnx.reference"],
    )
    assert rewriting.operators(result) == {"Pad": 1}


@pytest.mark.parametrize(("start", "end"), [(None, None), (1, None), (-2, 9), (3, 1)])
def test_sizes_are_picked_in_the_order_asked_for(start: int | None, end: int | None) -> None:
    options = {key: given for key, given in (("start", start), ("end", end)) if given is not None}
    nodes = [node("Transpose", "x", "t", perm=NHWC), node("Shape", "t", "y", **options)]
    proto = graph_of(nodes, {"x": ["n", 3, 4, 5]}, [helper.make_tensor_value_info("y", TensorProto.INT64, ["k"])])
    assert turns(rewritten(proto, {}, {"x": array(2, 3, 4, 5)})) == 0


def test_operands_of_lower_rank() -> None:
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("Add", "t vector", "a"),
        node("Mul", "table a", "b"),
        node("Sub", "one b", "c"),
        node("Max", "c scalar t", "d"),
        node("Where", "flags d t", "e"),
        node("Transpose", "e", "y", perm=NCHW),
    ]
    stored = {"table": array(5, 1), "one": array(1, 1, 1, 1), "scalar": np.float32(0.1), "flags": np.eye(5, 3) > 0}
    proto = graph_of(nodes, {"x": ["n", 3, 4, 5]}, "y", stored=stored)
    assert turns(rewritten(proto, {"vector": array(3)}, {"x": array(2, 3, 4, 5)})) == 0


def test_dynamic_operands() -> None:
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("Add", "t scalar", "a"),
        node("Add", "a vector", "b"),
        node("Add", "b other", "c"),
        node("Add", "c t", "d"),
        node("Transpose", "d", "y", perm=NCHW),
    ]
    inputs = {"x": ["n", 3, 4, 5], "scalar": [], "vector": [3], "other": ["n", 4, 5, 3]}
    feeds = {
        "x": array(2, 3, 4, 5),
        "scalar": np.full((), 2, np.float32),
        "vector": array(3),
        "other": array(2, 4, 5, 3),
    }
    rewritten(graph_of(nodes, inputs, "y"), {}, feeds)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax", "LpNormalization"])
@pytest.mark.parametrize("axis", [None, 0, -1, -3])
def test_operators_along_one_axis(op: str, axis: int | None) -> None:
    nodes = [node("Transpose", "x", "t", perm=NHWC), node(op, "t", "s", **({} if axis is None else {"axis": axis}))]
    nodes += [node("Transpose", "s", "y", perm=NCHW)]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 4, 5]}, "y"), {}, {"x": array(2, 3, 4, 5)})
    assert turns(result) == 0


def test_both_outputs_of_dropout() -> None:
    nodes = [node("Transpose", "x", "t", perm=NHWC), node("Dropout", "t", "d mask"), node("Where", "mask d t", "w")]
    proto = graph_of([*nodes, node("Transpose", "w", "y", perm=NCHW)], {"x": ["n", 3, 4, 5]}, "y")
    assert turns(rewritten(proto, {}, {"x": array(2, 3, 4, 5)})) == 0


@pytest.mark.parametrize(("axis", "left"), [(-3, 0), (1, 0), (-1, 2), (2, 2), (None, 2)])
def test_layer_normalisation_over_the_same_axes_in_another_order(axis: int | None, left: int) -> None:
    first = (-1 if axis is None else axis) % 4
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("LayerNormalization", "t scale offset", "s", **({} if axis is None else {"axis": axis})),
        node("Transpose", "s", "y", perm=NCHW),
    ]
    weights = {name: array(*(4, 5, 3)[first - 1 :], seed=seed) for seed, name in enumerate(("scale", "offset"))}
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 4, 5]}, "y"), weights, {"x": array(2, 3, 4, 5)}, tolerance=1e-5)
    assert turns(result) == left


@pytest.mark.parametrize("what", ["statistics", "one scale", "fed"])
def test_layer_normalisation_that_cannot_be_moved(what: str) -> None:
    """Its statistics would lie otherwise; a scale that is one number along an axis, or fed, cannot be turned."""
    nodes = [
        node("Transpose", "x", "t", perm=NHWC),
        node("LayerNormalization", "t scale", "s mean" if what == "statistics" else "s", axis=1),
        node("Transpose", "s", "y", perm=NCHW),
    ]
    scale = array(3) if what == "one scale" else array(4, 5, 3)
    inputs, feeds = {"x": ["n", 3, 4, 5]}, {"x": array(2, 3, 4, 5)}
    if what == "fed":
        inputs, feeds = inputs | {"scale": [4, 5, 3]}, feeds | {"scale": scale}
    proto = graph_of(nodes, inputs, "y mean" if what == "statistics" else "y")
    result = rewritten(proto, {} if what == "fed" else {"scale": scale}, feeds, tolerance=1e-5)
    assert turns(result) == 2
