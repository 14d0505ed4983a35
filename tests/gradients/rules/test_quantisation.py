"""QuantizeLinear and DequantizeLinear: straight through, with the saturation seen."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from cases_gradients_quantisation import CASES, quantised
from gradient_cases import Case, check, seeded
from onnx import helper

import onnxviz
from onnxviz.errors import InputError, UnsupportedGradientError
from onnxviz.gradients.add_gradient import add_gradient, grad_support
from onnxviz.gradients.self_check import self_check


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rule(case):
    check(case)


def built(case):
    return onnxviz.load(case.model())


def test_quantised_tensors_are_moved_about_between():
    """Exporters leave Reshape and Transpose between the pair, on integers."""
    case = quantised("moved", 0.01, np.uint8(128), between=[("Transpose", {"perm": [2, 0, 1]}), ("Flatten", {})])
    x = case.given["x"]
    session = add_gradient(built(case), of="y").session()
    seed = np.arange(24, dtype=np.float32).reshape(session.value({"x": x}).shape)
    inside = (x > -1.285) & (x < 1.275)
    expected = seed.reshape(4, 2, 3).transpose(1, 2, 0) * inside
    np.testing.assert_array_equal(session.run({"x": x}, seed).gradients["x"], expected)


def test_the_mask_is_that_of_pytorchs_fake_quantize():
    """The bounds pass, and half a step beyond them, which still rounds to them."""
    torch = pytest.importorskip("torch", reason="the oracle is PyTorch's autograd: pip install torch")
    case = quantised("bounds", 0.25, np.uint8(3), x=(8,))
    x = np.asarray([-1.0, -0.88, -0.8, -0.75, 0.0, 63.0, 63.12, 63.13], np.float32)
    point = torch.tensor(x, requires_grad=True)
    torch.fake_quantize_per_tensor_affine(point, 0.25, 3, 0, 255).sum().backward()
    assert point.grad.tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    found = add_gradient(built(case), of="y").session().run({"x": x}, np.ones(8)).gradients["x"]
    np.testing.assert_array_equal(found, point.grad.numpy())


def test_what_was_quantised_before_passes_a_second_time():
    """As behind a MaxPool, whose output is quantised as its input was: all numbers stand on steps, also the last."""
    again = [
        ("DequantizeLinear", ["y0", "s", "z"], "r"),
        ("QuantizeLinear", ["r", "s", "z"], "q"),
        ("DequantizeLinear", ["q", "s", "z"], "y"),
    ]
    given = {"x": np.asarray([-0.1, 0.001, 1, 2.549, 2.6], np.float32), "s": np.float32(0.01), "z": np.uint8(0)}
    then = tuple(helper.make_node(op, inputs, [output]) for op, inputs, output in again)
    case = Case("QuantizeLinear", "twice", given, constant=("s", "z"), opset=21, then=then)
    found = add_gradient(built(case), of="y").session().run({"x": given["x"]}, np.ones(5)).gradients["x"]
    assert found.tolist() == [0, 1, 1, 1, 0]


def test_the_result_says_that_it_is_approximate():
    gradient = add_gradient(built(CASES[0]), of="y")
    (how,) = gradient.approximations
    assert how.startswith("QuantizeLinear: rounding is taken as the identity (straight through), saturation as zero")
    assert grad_support(built(CASES[0])).approximations == gradient.approximations


def test_an_approximate_gradient_is_not_checked_against_the_staircase():
    case = CASES[0]
    session = add_gradient(built(case), of="y").session()
    with pytest.raises(InputError, match="straight through"):
        self_check(session, case.fed, np.ones((2, 3, 4)))


def test_float8_is_refused():
    given = {"x": seeded(2, 3), "s": np.float32(1), "z": np.asarray(0, ml_dtypes.float8_e4m3fn)}
    then = (helper.make_node("DequantizeLinear", ["y0", "s", "z"], ["y"]),)
    case = Case("QuantizeLinear", "float8", given, constant=("s", "z"), opset=21, then=then)
    with pytest.raises(UnsupportedGradientError, match="float8_e4m3fn"):
        add_gradient(built(case), of="y")
