"""Dense layers of images, which TensorFlow writes as a product of matrices between two reshapes."""

from __future__ import annotations

import numpy as np
import pytest
import rewriting
from onnx import NodeProto
from rewriting import array, graph_of, node, rewritten


def dense(target: str) -> list[NodeProto]:
    """As TensorFlow writes a dense layer of an image: to a matrix, and back to the sizes in `target`."""
    return [
        node("Reshape", "x rows", "flat"),
        node("MatMul", "flat dense/kernel", "m"),
        node("Reshape", f"m {target}", "y"),
    ]


@pytest.mark.parametrize(
    ("target", "together"),
    [
        ([-1, 4, 5, 2], True),
        ([2, 4, 5, 2], False),
        ([-1, 5, 4, 2], False),
        ([-1, 4, 10, 1], False),
        ([-1, 20, 2], False),
    ],
)
def test_a_dense_layer_is_a_product_along_the_last_axis(target: list[int], together: bool) -> None:
    stored = {"rows": np.array([-1, 3]), "back": np.array(target)}
    proto = graph_of(dense("back"), {"x": ["n", 4, 5, 3]}, "y", stored=stored)
    weights = {"dense/kernel": array(3, 2)}
    result = rewritten(proto, weights, {"x": array(2, 4, 5, 3)})
    assert ("Reshape" not in rewriting.operators(result)) is together
    np.testing.assert_array_equal(rewriting.stored(result)["dense/kernel"], weights["dense/kernel"])


@pytest.mark.parametrize(("picked", "together"), [([0, 1, 2], True), ([0, 2, 1], False)])
def test_dense_layers_of_open_sizes(picked: list[int], together: bool) -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape picked", "sizes"),
        node("ReduceProd", "sizes", "positions", keepdims=1),
        node("Concat", "positions three", "rows", axis=0),
        node("Concat", "sizes two", "target", axis=0),
        *dense("target"),
    ]
    stored = {"picked": np.array(picked), "three": np.array([3]), "two": np.array([2])}
    proto = graph_of(nodes, {"x": ["n", "h", "w", 3]}, "y", stored=stored)
    result = rewritten(proto, {"dense/kernel": array(3, 2)}, {"x": array(2, 4, 5, 3)})
    assert (rewriting.operators(result) == {"MatMul": 1}) is together


@pytest.mark.parametrize("what", ["other rows", "two readers", "a product of two"])
def test_what_is_no_dense_layer_is_reshaped(what: str) -> None:
    nodes, outputs = dense("back"), "y"
    shapes, kernel = {"x": ["n", 4, 5, 3]}, array(3, 2)
    stored = {"rows": np.array([-1, 3]), "back": np.array([-1, 4, 5, 2])}
    if what == "other rows":
        shapes, stored["rows"], kernel = {"x": ["n", 4, 3, 6]}, np.array([-1, 3]), array(3, 1)
        stored["back"] = np.array([-1, 4, 3, 2])
    elif what == "two readers":
        nodes, outputs = [*nodes, node("Relu", "flat", "z")], "y z"
    else:
        kernel = array(2, 3, 2)
        stored["back"] = np.array([2, -1, 4, 5, 2])
    proto = graph_of(nodes, shapes, outputs, stored=stored)
    result = rewritten(proto, {"dense/kernel": kernel}, {"x": array(2, *[int(size) for size in shapes["x"][1:]])})
    assert rewriting.operators(result)["Reshape"] == 2
