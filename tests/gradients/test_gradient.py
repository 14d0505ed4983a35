"""A run of a gradient: its warnings, and what it is fed."""

from __future__ import annotations

import numpy as np
import pytest
from protos import classifier_proto, parsed

import onnxviz
from onnxviz.errors import InputError
from onnxviz.gradients.add_gradient import add_gradient
from onnxviz.gradients.gradient import Differentiated


def run(model, x, seed, **options) -> Differentiated:
    return add_gradient(model, **options).session().run({"x": np.asarray(x, np.float32)}, np.asarray(seed))


DEAD = """g (float[1, 3] x) => (float[1, 3] y) <float[1] low = {-100}>
    { one = Neg(x) two = Add(x, low) three = Relu(two) y = Sigmoid(three) }"""


def test_a_gradient_that_vanishes_is_a_warning_that_names_the_node():
    proto = parsed(DEAD)
    for node in proto.graph.node:
        node.name = f"n_{node.output[0]}"
    found = run(onnxviz.load(proto), [[1, 2, 3]], np.ones((1, 3)))
    assert found.gradients["x"].tolist() == [[0, 0, 0]]
    assert found.warnings == ("the gradient with respect to 'x' is zero everywhere: it vanishes at Relu 'n_three'",)


def test_a_gradient_that_is_not_a_number_is_a_warning_that_names_the_node():
    model = onnxviz.load(parsed("g (float[1, 2] x) => (float[1, 2] y) { a = Relu(x) b = Sqrt(a) y = Neg(b) }"))
    found = run(model, [[0, 4]], np.ones((1, 2)))
    assert found.warnings == ("the gradient with respect to 'x' is not finite: it becomes so at Sqrt 'b'",)


def test_a_seed_of_zeros_is_no_reason_to_warn():
    assert run(onnxviz.load(parsed(DEAD)), [[1, 2, 3]], np.zeros((1, 3))).warnings == ()


def test_a_sound_gradient_has_no_warning():
    assert run(onnxviz.load(parsed(DEAD)), [[101, 102, 103]], np.ones((1, 3))).warnings == ()


def test_a_seed_of_another_shape():
    model = onnxviz.load(parsed("g (float[N, M] x) => (float[N, M] y) { y = Relu(x) }"))
    with pytest.raises(InputError, match=r"the seed is 1x3, but 'y' is 1x2|could not run"):
        run(model, [[1, 2]], np.ones((1, 3)))


def test_a_missing_input():
    session = add_gradient(onnxviz.load(classifier_proto())).session()
    with pytest.raises(InputError, match="also needs image"):
        session.run({}, np.ones((1, 5)))
