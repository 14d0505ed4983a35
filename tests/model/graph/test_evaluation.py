"""Values of nodes whose inputs are known: rearrangements against onnx.reference, arithmetic against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from rewriting import array, graph_of, rewritten

import onnxviz
from onnxviz.model.graph.evaluation import PICKING, REARRANGING, evaluated
from onnxviz.passes.prepare import prepare

DATA = np.arange(24, dtype=np.float32).reshape(2, 1, 3, 4)
REARRANGEMENTS = [
    ("Identity", DATA, None, {}),
    ("Transpose", DATA, None, {}),
    ("Transpose", DATA, None, {"perm": [3, 1, 0, 2]}),
    ("Squeeze", DATA, None, {}),
    ("Squeeze", DATA, [1], {}),
    ("Squeeze", DATA, [-3], {}),
    ("Unsqueeze", DATA, [0, -1], {}),
    ("Unsqueeze", DATA, [5, 1], {}),
    ("Reshape", DATA, [4, -1], {}),
    ("Reshape", DATA, [0, 0, -1], {}),
    ("Reshape", DATA[:0], [0, 12], {"allowzero": 1}),
    ("Reshape", np.float32(3), [], {}),
]


@pytest.mark.parametrize(("op", "data", "second", "attributes"), REARRANGEMENTS)
def test_a_rearrangement_is_the_references(op, data, second, attributes):
    operands = [np.asarray(data), *([np.array(second, np.int64)] if second is not None else [])]
    node = helper.make_node(op, ["a", "b"][: len(operands)], ["c"], **attributes)
    feeds = dict(zip(node.input, operands, strict=True))
    expected = ReferenceEvaluator(node, opsets={"": 18}).run(None, feeds)[0]
    (found,) = evaluated(node, operands, {"": 18})
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    assert found.size == 0 or np.shares_memory(found, operands[0]), "a view, however large the weight"


def test_every_rearrangement_is_tried():
    assert {op for op, *_ in REARRANGEMENTS} == set(REARRANGING)


def whole(*values):
    return np.array(values, np.int64)


PICKED = [
    ("Gather", [DATA, np.array(-1)], {"axis": 3}),
    ("Gather", [DATA, np.array([[0, 2], [1, -3]], np.int32)], {"axis": 2}),
    ("Gather", [DATA, whole(1, 1, 0)], {}),
    ("Concat", [DATA, DATA[:, :, :1]], {"axis": 2}),
    ("Concat", [whole(1), whole(2, 3), whole()], {"axis": -1}),
    ("Slice", [DATA, whole(1, -9), whole(2**62, 3), whole(2, -1)], {}),
    ("Slice", [DATA, whole(-1), whole(-(2**63)), whole(3), whole(-2)], {}),
    ("Slice", [DATA, whole(9), whole(0), whole(2), whole(-1)], {}),
    ("Slice", [DATA, whole(0, 0), whole(1, 1)], {}),
    ("Slice", [DATA, whole(3), whole(1), whole(3)], {}),
]


@pytest.mark.parametrize(("op", "operands", "attributes"), PICKED)
def test_what_picks_elements_is_the_references(op, operands, attributes):
    node = helper.make_node(op, list("abcde")[: len(operands)], ["y"], **attributes)
    expected = ReferenceEvaluator(node, opsets={"": 18}).run(None, dict(zip(node.input, operands, strict=True)))[0]
    (found,) = evaluated(node, operands, {"": 18})
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


def test_everything_that_picks_is_tried():
    assert {op for op, *_ in PICKED} == set(PICKING)


@pytest.mark.parametrize(
    ("op", "attributes", "shape"),
    [
        ("Squeeze", {"axes": [1]}, (2, 3, 4)),
        ("Unsqueeze", {"axes": [0]}, (1, 2, 1, 3, 4)),
        ("Reshape", {"shape": [0, 12]}, (2, 12)),
    ],
)
def test_attributes_of_old_operators_say_what_inputs_do_today(op, attributes, shape):
    node = helper.make_node(op, ["a"], ["c"], **attributes)
    (found,) = evaluated(node, [DATA], {"": 1})
    assert found.shape == shape
    np.testing.assert_array_equal(found.reshape(-1), DATA.reshape(-1))


def one(array: list[object], dtype: type = np.int64) -> np.ndarray:
    return np.array(array, dtype)


ARITHMETIC = [
    ("Div", [one([-7, 7, -7, 7]), one([2, 2, -2, -2])], {}),
    ("Mod", [one([-7, 7, -7, 7]), one([2, 2, -3, -3])], {}),
    ("Mod", [one([-7, 7, -7, 7]), one([2, 2, -3, -3])], {"fmod": 1}),
    ("Gather", [one([5, 6, 7]), one([-1, 0])], {"axis": 0}),
    ("Slice", [one([5, 6, 7]), one([-1]), one([-(2**63)]), one([0]), one([-2])], {}),
    ("Concat", [one([5]), one([6, 7])], {"axis": 0}),
    ("Cast", [one([1.5, -1.5, 2.0], np.float32)], {"to": onnx.TensorProto.INT64}),
    ("Cast", [one([0, 3, -1])], {"to": onnx.TensorProto.BOOL}),
    ("ReduceProd", [one([2, 3, 4])], {"keepdims": 0}),
    ("Floor", [one([1.5, -1.5], np.float32)], {}),
    ("Where", [one([True, False], bool), one([1, 2]), one([3, 4])], {}),
    ("Range", [one(1), one(9), one(3)], {}),
    ("Pow", [one([2, -3], np.float32), one([3, 2])], {}),
]


@pytest.mark.parametrize(("op", "operands", "attributes"), ARITHMETIC)
def test_shape_arithmetic_is_onnxruntimes(op, operands, attributes):
    names = [f"i{place}" for place in range(len(operands))]
    node = helper.make_node(op, names, ["c"], **attributes)
    feeds = dict(zip(names, operands, strict=True))
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    graph = helper.make_graph([node], "g", inputs, [helper.make_empty_tensor_value_info("c")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    expected = ort.InferenceSession(proto.SerializeToString(), options).run(None, feeds)[0]
    (found,) = evaluated(node, operands, {"": 18})
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_told_is_none():
    assert evaluated(helper.make_node("Gather", ["a", "b"], ["c"]), [one([1]), one([7])], {"": 18}) is None
    assert evaluated(helper.make_node("NoSuch", ["a"], ["c"]), [one([1])], {"": 18}) is None
    assert evaluated(helper.make_node("Identity", ["a"], ["c"], domain="other"), [one([1])], {"": 18}) is None
    assert evaluated(helper.make_node("SequenceConstruct", ["a"], ["c"]), [one([1])], {"": 18}) is None
    branch = helper.make_graph([], "b", [], [])
    node = helper.make_node("If", ["a"], ["c"], then_branch=branch, else_branch=branch)
    assert evaluated(node, [np.array(True)], {"": 18}) is None


def test_a_node_that_cannot_be_computed_leaves_the_others_constant():
    """A Gather beyond its end, which nothing needs: all other shape arithmetic is worked out nevertheless."""
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (float[2, 6] x) => (float[a, b] y) <int64[1] three = {3}, int64[1] far = {9}, int64 axis = {1},
           int64[1] one = {1}> {
            bad = Gather (three, far)
            worse = Mul (bad, three)
            s = Shape (x)
            n = Gather (s, axis)
            half = Div (n, three)
            minus = Neg (one)
            target = Concat<axis = 0> (half, minus)
            y = Reshape (x, target)
        }"""
    )
    prepared = prepare(onnxviz.load(proto))
    assert prepared.constant("target").array.tolist() == [2, -1]
    assert prepared.shape("y") == (2, 6)
    assert prepared.constant("bad") is None


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Conv", {"auto_pad": "VALID"}),
        ("Conv", {"auto_pad": "SAME_LOWER", "strides": [1, 3]}),
        ("MaxPool", {"auto_pad": "SAME_LOWER", "strides": [2, 2], "kernel_shape": [3, 3]}),
        ("LpPool", {"ceil_mode": 1, "strides": [2, 2], "kernel_shape": [3, 3]}),
    ],
)
def test_a_window_over_constants_gives_what_onnxruntime_gives(op, attributes):
    """onnx.reference has other values in these."""
    inputs = ["c", "k"] if op == "Conv" else ["c"]
    nodes = [helper.make_node(op, inputs, ["w"], **attributes), helper.make_node("Add", ["w", "x"], ["y"])]
    stored = {"c": array(1, 4, 7, 8), "k": array(4, 4, 3, 3)}
    proto = graph_of(nodes, {"x": [1]}, "y", opset=18, stored={name: stored[name] for name in inputs})
    rewritten(proto, {}, {"x": array(1)}, asked=["onnxruntime"])
