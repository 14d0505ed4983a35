"""Shape arithmetic, beside onnx.reference: with all sizes known, and with some open."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnxviz.passes.shape_arithmetic import as_sizes, made_of_sizes, measured

SIZES = np.array([2, 3, 5, 7], np.int64)


def whole(*values):
    return np.array(values, np.int64)


# The node, and its operands; of the first, elements may be open.
NODES = {
    "Gather one": (helper.make_node("Gather", ["x", "i"], ["y"], axis=0), [SIZES, np.array(2)]),
    "Gather last": (helper.make_node("Gather", ["x", "i"], ["y"]), [SIZES, np.array(-1)]),
    "Gather some": (helper.make_node("Gather", ["x", "i"], ["y"]), [SIZES, whole(0, 3)]),
    "Slice": (helper.make_node("Slice", ["x", "b", "e", "a"], ["y"]), [SIZES, whole(1), whole(2**31), whole(0)]),
    "Slice backwards": (
        helper.make_node("Slice", ["x", "b", "e", "a", "s"], ["y"]),
        [SIZES, whole(-1), whole(-(2**31)), whole(0), whole(-1)],
    ),
    "Slice every other": (
        helper.make_node("Slice", ["x", "b", "e", "", "s"], ["y"]),
        [SIZES, whole(0), whole(4), None, whole(2)],
    ),
    "Concat": (helper.make_node("Concat", ["x", "z"], ["y"], axis=0), [SIZES, whole(9)]),
    "Unsqueeze": (helper.make_node("Unsqueeze", ["x", "a"], ["y"]), [SIZES, whole(0)]),
    "Squeeze": (helper.make_node("Squeeze", ["x", "a"], ["y"]), [SIZES[None], whole(0)]),
    "Reshape": (helper.make_node("Reshape", ["x", "s"], ["y"]), [SIZES, whole(2, 2)]),
    "Cast": (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64), [SIZES]),
    "Identity": (helper.make_node("Identity", ["x"], ["y"]), [SIZES]),
    "Mul": (helper.make_node("Mul", ["x", "z"], ["y"]), [SIZES, whole(4)]),
    "ReduceProd": (helper.make_node("ReduceProd", ["x"], ["y"], keepdims=0), [SIZES]),
    "ReduceProd, kept": (helper.make_node("ReduceProd", ["x"], ["y"], keepdims=1), [SIZES]),
}


@pytest.mark.parametrize("name", NODES)
@given(opened=st.sets(st.integers(0, 3)))
def test_made_of_sizes(name, opened):
    """An element is the reference's where it is told, and with nothing open each is told."""
    node, operands = NODES[name]
    feeds = {one: operand for one, operand in zip(node.input, operands, strict=True) if one}
    (truth,) = ReferenceEvaluator(node, opsets={"": 18}).run(None, feeds)
    given_ = [None if operand is None else as_sizes(operand) for operand in operands]
    for place in opened:
        given_[0].flat[place] = f"open {place}" if place % 2 else None
    found = made_of_sizes(node, given_)
    assert found.shape == np.shape(truth)
    told = [isinstance(one, int) for one in found.flat]
    pairs = zip(found.flat, np.ravel(truth), strict=True)
    assert all(one == true for one, true in pairs if isinstance(one, int))
    if not opened:
        assert all(told)
    elif name.startswith("ReduceProd"):
        assert not any(told)
    else:
        assert len(told) - sum(told) <= len(opened)


def test_measured():
    shape = helper.make_node("Shape", ["x"], ["y"], start=1, end=-1)
    assert measured(shape, ("batch", 3, None, 5)).tolist() == [3, None]
    assert measured(helper.make_node("Shape", ["x"], ["y"]), ("batch", 3)).tolist() == ["batch", 3]
    size = helper.make_node("Size", ["x"], ["y"])
    assert measured(size, (2, 3, 5)).tolist() == 30
    assert measured(size, ("batch", 3)).tolist() is None
    assert measured(size, None) is None


@pytest.mark.parametrize("operator", ["Div", "Relu", "ReduceSum"])
def test_what_is_no_shape_arithmetic(operator):
    assert made_of_sizes(helper.make_node(operator, ["x"], ["y"]), [as_sizes(SIZES)]) is None


@pytest.mark.parametrize(
    "array", [np.zeros(65, np.int64), np.zeros(2, np.float32), np.array(["a"])], ids=["long", "float", "text"]
)
def test_what_lists_no_sizes(array):
    assert as_sizes(array) is None
