"""Old opsets, half precision, shape arithmetic, decided branches, open sizes: what happens before any rule."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient, grad_support
from onnxviz.passes.prepare import prepare
from onnxviz.runtime.session import RunOptions, Session


def one(op, opset, shapes, attributes=None, constants=(), outputs=1):
    """A model of one node in the form of an old opset."""
    names = [f"x{index}" for index in range(len(shapes))]
    weights = [numpy_helper.from_array(array, f"w{index}") for index, array in enumerate(constants)]
    graph = helper.make_graph(
        [
            helper.make_node(
                op, [*names, *(w.name for w in weights)], [f"y{i}" for i in range(outputs)], **attributes or {}
            )
        ],
        "old",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(names, shapes, strict=True)
        ],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None) for i in range(outputs)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def f32(*values):
    return np.asarray(values, np.float32)


def i64(*values):
    return np.asarray(values, np.int64)


# Old forms that onnxruntime still runs: the value after the upgrade must be the value before.
RUN_BY_ONNXRUNTIME = {
    "slice-9": one("Slice", 9, [(2, 5, 4)], {"starts": [1, -3], "ends": [9, -1], "axes": [1, 2]}),
    "squeeze-11": one("Squeeze", 11, [(2, 1, 4)], {"axes": [1]}),
    "unsqueeze-11": one("Unsqueeze", 11, [(2, 4)], {"axes": [0, 3]}),
    "split-11": one("Split", 11, [(2, 6)], {"axis": 1, "split": [1, 5]}, outputs=2),
    "split-11-even": one("Split", 11, [(2, 6)], {"axis": 1}, outputs=3),
    "split-13-even": one("Split", 13, [(2, 6)], {"axis": 1}, outputs=2),
    "pad-10": one("Pad", 10, [(2, 3)], {"pads": [0, 1, 1, 2], "value": 3.0}),
    "pad-10-reflect": one("Pad", 10, [(1, 1, 4, 5)], {"pads": [0, 0, 1, 2, 0, 0, 2, 1], "mode": "reflect"}),
    "clip-10": one("Clip", 10, [(3, 4)], {"min": -0.5, "max": 0.7}),
    "clip-10-low": one("Clip", 10, [(3, 4)], {"min": -0.5}),
    "dropout-11": one("Dropout", 11, [(3, 4)], {"ratio": 0.3}),
    "softmax-11": one("Softmax", 11, [(2, 3, 4)], {"axis": 1}),
    "softmax-11-default": one("Softmax", 11, [(2, 3, 2, 2)]),
    "softmax-11-negative": one("Softmax", 11, [(2, 3, 4)], {"axis": -1}),
    "log-softmax-9": one("LogSoftmax", 9, [(2, 3, 4)], {"axis": 2}),
    "reduce-mean-13": one("ReduceMean", 13, [(2, 3, 4)], {"axes": [0, 2], "keepdims": 0}),
    "reduce-sum-11": one("ReduceSum", 11, [(2, 3, 4)], {"axes": [-1]}),
    "reduce-l2-13": one("ReduceL2", 13, [(2, 3, 4)], {"axes": [1]}),
    "upsample-7": one("Upsample", 7, [(1, 2, 3, 4)], {"scales": [1.0, 1.0, 2.0, 3.0]}),
    "upsample-9": one("Upsample", 9, [(1, 2, 3, 4)], {"mode": "nearest"}, [f32(1, 1, 2, 2)]),
    "upsample-9-linear": one("Upsample", 9, [(1, 2, 3, 4)], {"mode": "linear"}, [f32(1, 1, 2, 2)]),
    "resize-10": one("Resize", 10, [(1, 2, 3, 4)], {"mode": "nearest"}, [f32(1, 1, 2, 1.5)]),
    "resize-10-linear": one("Resize", 10, [(1, 2, 3, 4)], {"mode": "linear"}, [f32(1, 1, 2, 1.5)]),
    "resize-10-down": one("Resize", 10, [(1, 2, 6, 5)], {"mode": "nearest"}, [f32(1, 1, 0.5, 0.6)]),
    "batch-norm-9": one(
        "BatchNormalization", 9, [(2, 3, 4)], {}, [f32(1, 2, 3), f32(0, 1, 2), f32(1, 0, 2), f32(1, 2, 3)]
    ),
    "batch-norm-7": one(
        "BatchNormalization", 7, [(2, 3, 4)], {"spatial": 1}, [f32(1, 2, 3), f32(0, 1, 2), f32(1, 0, 2), f32(1, 2, 3)]
    ),
    "concat-4": one("Concat", 4, [(2, 3), (2, 2)], {"axis": 1}),
    "max-pool-8": one("MaxPool", 8, [(1, 2, 5, 5)], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "average-pool-7": one("AveragePool", 7, [(1, 2, 5, 5)], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "reshape-5": one("Reshape", 5, [(2, 6)], {}, [i64(3, -1)]),
    "gather-1": one("Gather", 7, [(4, 3)], {}, [i64(2, 0)]),
}


def feeds(model):
    rng = np.random.default_rng(5)
    return {port.name: rng.normal(size=port.shape).astype(np.float32) for port in model.inputs}


@pytest.mark.parametrize("name", RUN_BY_ONNXRUNTIME)
def test_an_old_form_keeps_its_value_and_is_differentiable(name):
    proto = RUN_BY_ONNXRUNTIME[name]
    model = onnxviz.load(proto)
    x = feeds(model)
    old = Session(model.proto, model.folder, "old", RunOptions(threads=1)).run(["y0"], x)[0]
    ready = prepare(model)
    assert ready.newest == 18
    new = Session(ready.model, ready.folder, "new", RunOptions(threads=1)).run(["y0"], x)[0]
    np.testing.assert_allclose(new, old, rtol=1e-6, atol=1e-7)
    session = add_gradient(model).session()
    seed = np.random.default_rng(6).normal(size=old.shape).astype(np.float32)
    found = session.run(x, seed).gradients
    _holds(session, x, seed, found)


def _holds(session, x, seed, gradients):
    """The slope along one direction, by a difference in float32."""
    rng = np.random.default_rng(7)
    ways = {name: rng.normal(size=array.shape).astype(np.float32) for name, array in x.items()}
    step = 1e-3
    ends = [session.value({n: x[n] + side * step * ways[n] for n in x}).astype(np.float64) for side in (1, -1)]
    slope = float((seed * (ends[0] - ends[1])).sum()) / (2 * step)
    mine = sum(float((gradients[n].astype(np.float64) * ways[n]).sum()) for n in gradients)
    size = np.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values()))
    assert abs(mine - slope) < 2e-3 * max(size, abs(slope))


# Older than anything onnxruntime runs; what they mean is in ONNX's operator changelog.
ANCIENT = {
    "add-6": (one("Add", 6, [(2, 3, 4), (3,)], {"broadcast": 1, "axis": 1}), lambda a, b: a + b[:, None]),
    "add-6-last": (one("Add", 6, [(2, 3, 4), (4,)], {"broadcast": 1}), lambda a, b: a + b),
    "mul-6-middle": (one("Mul", 6, [(2, 3, 4, 5), (3, 4)], {"broadcast": 1, "axis": 1}), lambda a, b: a * b[..., None]),
    "sub-6-negative": (one("Sub", 6, [(2, 3, 4), (3,)], {"broadcast": 1, "axis": -2}), lambda a, b: a - b[:, None]),
    "prelu-6": (one("PRelu", 6, [(2, 3, 4), (3,)]), lambda a, b: np.where(a > 0, a, a * b[:, None])),
    "gemm-6": (one("Gemm", 6, [(2, 3), (3, 4), (4,)], {"broadcast": 1}), lambda a, b, c: a @ b + c),
    "relu-1": (one("Relu", 1, [(2, 3)], {"consumed_inputs": [0]}), lambda a: np.maximum(a, 0)),
    "reshape-1": (one("Reshape", 1, [(2, 6)], {"shape": [3, 4]}), lambda a: a.reshape(3, 4)),
    "concat-1": (one("Concat", 1, [(2, 3), (2, 2)]), lambda a, b: np.concatenate([a, b], 1)),
    "pad-1": (one("Pad", 1, [(2, 3)], {"paddings": [0, 1, 1, 0]}), lambda a: np.pad(a, ((0, 1), (1, 0)))),
    "cast-1": (one("Cast", 1, [(2, 3)], {"to": "FLOAT"}), lambda a: a),
    "dropout-6": (one("Dropout", 6, [(2, 3)], {"is_test": 1, "ratio": 0.2}), lambda a: a),
    "clip-6": (one("Clip", 6, [(2, 3)], {"max": 0.3}), lambda a: np.minimum(a, 0.3)),
}


@pytest.mark.parametrize("name", ANCIENT)
def test_an_ancient_form_means_what_it_meant(name):
    proto, formula = ANCIENT[name]
    model = onnxviz.load(proto)
    x = feeds(model)
    session = add_gradient(model).session()
    value = session.value(x)
    np.testing.assert_allclose(value, formula(*x.values()), rtol=1e-5, atol=1e-6)
    seed = np.random.default_rng(6).normal(size=value.shape).astype(np.float32)
    _holds(session, x, seed, session.run(x, seed).gradients)


def test_what_cannot_be_upgraded_is_said():
    proto = one("BatchNormalization", 7, [(2, 3, 4)], {"spatial": 0}, [np.ones((3, 4), np.float32)] * 4)
    (blocking,) = grad_support(onnxviz.load(proto)).blocking
    assert (blocking.kind, blocking.opset) == ("attribute-unsupported", 7)
    assert "old attribute 'spatial'" in blocking.reason
    assert "version_converter" in blocking.remedy


def test_half_precision_is_computed_in_single():
    half = helper.make_tensor("half", TensorProto.FLOAT16, [1], [0.5])
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["k"], value=half),
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Mul", ["c", "k"], ["s"]),
            helper.make_node("Cast", ["s"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Sigmoid", ["wide"], ["r"]),
            helper.make_node("Cast", ["r"], ["y"], to=TensorProto.FLOAT16),
        ],
        "half",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [1, 3, 4, 4])],
        [numpy_helper.from_array(np.arange(1, 7, dtype=np.float16).reshape(3, 2, 1, 1), "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model = onnxviz.load(proto)
    gradient = add_gradient(model)
    assert "half-precision" in gradient.warnings[0]
    session = gradient.session()
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float16)
    found = session.run({"x": x}, np.ones((1, 3, 4, 4)))
    assert found.value.dtype == found.gradients["x"].dtype == np.float32
    w = np.asarray([[1, 2], [3, 4], [5, 6]], np.float64)
    y = 1 / (1 + np.exp(-0.5 * np.einsum("oc,nchw->nohw", w, x.astype(np.float64))))
    np.testing.assert_allclose(found.value, y, rtol=1e-4)
    expected = np.einsum("oc,nohw->nchw", w, 0.5 * y * (1 - y))
    np.testing.assert_allclose(found.gradients["x"], expected, rtol=1e-4, atol=1e-7)


def test_double_precision_stays():
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (double[2, 3] x) => (double[2, 3] y) { s = Exp(x) y = Mul(s, x) }'
    )
    session = add_gradient(onnxviz.load(proto)).session()
    x = np.random.default_rng(0).normal(size=(2, 3))
    found = session.run({"x": x}, np.ones((2, 3))).gradients["x"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.exp(x) * (1 + x), rtol=1e-12)


def test_shape_arithmetic_is_worked_out_with_an_open_batch():
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[batch, 2, 4, 6] x) => (float[batch, 8] y) <int64 zero = {0}, int64 two = {2}, int64 three = {3},
       int64[1] axis = {0}, int64[1] rest = {-1}, int64[1] begin = {0}, int64[1] end = {8}, int64[1] place = {1}>
    {
        s = Shape(x)
        n = Gather(s, zero)
        w = Gather(s, three)
        half = Div(w, two)
        n1 = Unsqueeze(n, axis)
        half1 = Unsqueeze(half, axis)
        wanted = Concat<axis = 0>(n1, rest, half1)
        r = Reshape(x, wanted)
        m = ReduceMean<axes = [2], keepdims = 0>(r)
        p = Relu(m)
        y = Slice(p, begin, end, place)
    }"""
    model = onnxviz.load(onnx.parser.parse_model(text))
    ready = prepare(model)
    assert "Div" not in {node.op_type for node in ready.graph.node}
    session = add_gradient(model).session()
    for batch in (1, 3):
        x = np.random.default_rng(batch).normal(size=(batch, 2, 4, 6)).astype(np.float32)
        seed = np.random.default_rng(9).normal(size=(batch, 8)).astype(np.float32)
        rows = x.reshape(batch, -1, 3)
        expected = np.zeros_like(rows)
        expected[:, :8] = (seed * (rows.mean(2)[:, :8] > 0))[..., None] / 3
        found = session.run({"x": x}, seed).gradients["x"]
        np.testing.assert_allclose(found, expected.reshape(x.shape), rtol=1e-6)


@pytest.mark.parametrize("wide", [True, False])
def test_a_branch_that_is_decided_by_sizes_is_inlined(wide):
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 3, H, 4] x) => (float[1, 3, H, 4] y) <int64 axis = {2}, int64 limit = {6}>
        {
            s = Shape(x)
            h = Gather(s, axis)
            c = Greater(h, limit)
            z = Neg(x)
            y = If<then_branch = big () => (float[1, 3, H, 4] b) <float two = {2}> { a = Mul(x, two) b = Exp(a) },
                   else_branch = small () => (float[1, 3, H, 4] b) { b = Mul(z, x) }>(c)
        }"""
    )
    model = onnxviz.load(proto)
    assert grad_support(model).blocking[0].op == "If"
    shape = (1, 3, 8 if wide else 5, 4)
    gradient = add_gradient(model, shapes={"x": shape})
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = gradient.session().run({"x": x}, np.ones(shape)).gradients["x"]
    np.testing.assert_allclose(found, 2 * np.exp(2 * x) if wide else -2 * x, rtol=1e-5)


def test_windows_that_ceil_mode_counts_in_vain():
    """onnx infers one more window than onnxruntime makes, so that shapes behind would be wrong."""
    attributes = {"kernel_shape": [2, 2], "strides": [2, 3], "pads": [1, 0, 1, 0], "ceil_mode": 1}
    proto = one("MaxPool", 18, [(1, 2, 3, 4)], attributes)
    model = onnxviz.load(proto)
    x = feeds(model)
    old = Session(model.proto, model.folder, "old", RunOptions(threads=1)).run(["y0"], x)[0]
    session = add_gradient(model).session()
    np.testing.assert_array_equal(session.value(x), old)
    seed = np.random.default_rng(1).normal(size=old.shape).astype(np.float32)
    _holds(session, x, seed, session.run(x, seed).gradients)


def test_preparing_is_remembered_for_each_set_of_sizes():
    model = onnxviz.load(RUN_BY_ONNXRUNTIME["clip-10"])
    assert prepare(model) is prepare(model, {})
    assert prepare(model, {"x0": (5, 4)}) is prepare(model, {"x0": (5, 4)})
    assert prepare(model, {"x0": (5, 4)}) is not prepare(model)
    assert prepare(model, {"x0": (5, 4)}).shape("y0") == (5, 4)


def test_weights_stay_in_the_file(tmp_path):
    """Only kernels that must be turned are read; a dense layer's weight is used where it lies."""
    rng = np.random.default_rng(0)
    weights = {
        "conv/kernel": rng.normal(size=(8, 4, 3, 3)),
        "dense/kernel": rng.normal(size=(8 * 36, 200)),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "conv/kernel"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Flatten", ["c"], ["f"]),
            helper.make_node("MatMul", ["f", "dense/kernel"], ["y"]),
        ],
        "stored",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 200])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    gradient = add_gradient(onnxviz.load(tmp_path / "m.onnx"))
    assert gradient.proto.ByteSize() < 20_000
    x = rng.normal(size=(2, 4, 12, 12)).astype(np.float32)
    seed = rng.normal(size=(2, 200)).astype(np.float32)
    found = gradient.session().run({"x": x}, seed).gradients["x"]
    evaluator = ReferenceEvaluator(onnx.load(tmp_path / "m.onnx"))
    value = evaluator.run(None, {"x": x})[0]
    slope = (seed * (evaluator.run(None, {"x": x + found})[0] - value)).sum()  # the model is linear
    np.testing.assert_allclose(slope, (found.astype(np.float64) ** 2).sum(), rtol=1e-4)


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        ("SplitToSequence<axis = 1> (x, three)", [slice(0, 3), slice(3, 6), slice(6, 7)]),
        ("SplitToSequence<axis = -1> (x, sizes)", [slice(0, 1), slice(1, 5), slice(5, 7)]),
        ("SplitToSequence<axis = 1> (x)", [slice(0, 1), slice(1, 2), slice(2, 3)]),
        ("SplitToSequence<axis = 1, keepdims = 0> (x)", [0, 1, 2]),
    ],
)
def test_a_list_of_parts_is_taken_apart(split, parts):
    """As PyTorch's exporter writes `split`, `chunk` and `unbind` where it is not let to optimise."""
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        g (float[n, 7] x) => (float p0, float p1, float p2) <int64 three = {{3}}, int64[3] sizes = {{1, 4, 2}},
           int64 first = {{0}}, int64 second = {{1}}, int64 third = {{2}}> {{
            parts = {split}
            p0 = SequenceAt (parts, first)
            p1 = SequenceAt (parts, second)
            p2 = SequenceAt (parts, third)
        }}"""
    )
    model = onnxviz.load(proto)
    x = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
    for index, part in enumerate(parts):
        seed = np.random.default_rng(1).normal(size=x[:, part].shape).astype(np.float32)
        found = add_gradient(model, of=f"p{index}").session().run({"x": x}, seed)
        np.testing.assert_array_equal(found.value, x[:, part])
        expected = np.zeros_like(x)
        expected[:, part] = seed
        np.testing.assert_array_equal(found.gradients["x"], expected)


def test_a_list_whose_parts_are_not_known_is_refused():
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (float[n, 7] x, int64 which) => (float y) <int64 three = {3}, int64 last = {-1}> {
            parts = SplitToSequence<axis = 1> (x, three)
            one = SequenceAt (parts, which)
            two = SequenceAt (parts, last)
            y = Add (one, two)
        }"""
    )
    blocking = grad_support(onnxviz.load(proto)).blocking
    assert {one.op for one in blocking} == {"SplitToSequence", "SequenceAt"}
