"""Arithmetic, activations and reductions: broadcasting, kinks, ties, old and new forms."""

from __future__ import annotations

import numpy as np
import pytest
from cases_gradients_elementwise import CASES
from gradient_cases import check, ours
from onnx import helper

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rule(case):
    check(case)


def gradient_at(op, *arrays, **attributes):
    """The gradient of one node with a seed of ones."""
    names = [f"x{index}" for index in range(len(arrays))]
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info(n, 1, a.shape) for n, a in zip(names, arrays, strict=True)],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    model = onnxviz.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    session = add_gradient(model).session()
    feeds = dict(zip(names, arrays, strict=True))
    found = session.run(feeds, np.ones_like(session.value(feeds))).gradients
    return [found[name] for name in names]


def test_relu_gives_nothing_at_zero():
    (x,) = gradient_at("Relu", np.asarray([-1, 0, 2], np.float32))
    assert x.tolist() == [0, 0, 1]


def test_ties_of_max_are_shared():
    a, b = gradient_at("Max", np.asarray([1, 2, 3], np.float32), np.asarray([1, 3, 2], np.float32))
    assert (a.tolist(), b.tolist()) == ([0.5, 0, 1], [0.5, 1, 0])


def test_ties_of_a_global_maximum_are_shared():
    (x,) = gradient_at("GlobalMaxPool", np.asarray([[[2, 1, 2, 0]]], np.float32))
    assert x.tolist() == [[[0.5, 0, 0.5, 0]]]


def test_norms_of_zero_have_gradient_zero():
    for op in ("ReduceL1", "ReduceL2", "LpNormalization"):
        (x,) = gradient_at(op, np.zeros((1, 3), np.float32))
        assert np.isfinite(x).all(), op


def test_a_fresh_case_gives_the_value_of_the_untouched_model():
    value, _ = ours(CASES[0])
    given = CASES[0].given
    np.testing.assert_array_equal(value, given["a"] + given["b"])
