"""Weights that a graph computes at each run: against onnxruntime, onnx.reference and the layers of PyTorch."""

from __future__ import annotations

import time
import warnings
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from protos import normal, parsed

import onnxviz
from onnxviz.model.graph.weight_arithmetic import ARITHMETIC


def convolved(lines: str, opset: int = 18, **weights: np.ndarray) -> onnx.ModelProto:
    """A convolution whose weight `w` the lines make of the initializers."""
    text = f"g (float[n,3,8,8] x) => (float[n,o,h,v] y) {{ {lines} y = Conv (x, w) }}"
    model = parsed(text, **weights)
    model.opset_import[0].version = opset
    return model


def fed_to_convolution(model: onnx.ModelProto) -> np.ndarray:
    """The weight as onnxruntime computes it."""
    tapped = onnx.ModelProto.FromString(model.SerializeToString())
    conv = next(node for node in tapped.graph.node if node.op_type == "Conv")
    tapped.graph.output.append(helper.make_empty_tensor_value_info(conv.input[1]))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tapped.SerializeToString(), options)
    shape = [size if isinstance(size, int) else 1 for size in session.get_inputs()[0].shape]
    return session.run([conv.input[1]], {session.get_inputs()[0].name: np.zeros(shape, np.float32)})[0]


V, G = normal(4, 3, 3, 3), np.abs(normal(4, 1, 1, 1, seed=1)) + 0.5
FORMS = {
    "weight norm, opset 13": (13, "n = ReduceL2 <axes=[1,2,3]> (v) d = Div (v, n) w = Mul (d, g)", {}),
    "weight norm, opset 18": (18, "n = ReduceL2 (v, a) d = Div (v, n) w = Mul (d, g)", {"a": np.array([1, -2, 3])}),
    "by squares": (18, "q = Mul (v, v) s = ReduceSum (q, a) n = Sqrt (s) d = Div (v, n) w = Mul (g, d)",
                   {"a": np.array([1, 2, 3])}),
    "all axes": (18, "n = ReduceSumSquare (v) r = Sqrt (n) e = Reciprocal (r) w = Mul (v, e)", {}),
    "spectral norm": (18, "f = Reshape (v, s) m = MatMul (f, r) i = MatMul (l, m) w = Div (v, i)",
                      {"s": np.array([4, 27]), "r": normal(27, seed=2), "l": normal(4, seed=3)}),
    "rows and columns": (18, "f = Reshape (v, s) m = MatMul (l, f) i = MatMul (m, r) o = Reshape (i, e) w = Div (v, o)",
                         {"s": np.array([4, 27]), "r": normal(27, 1, seed=2), "l": normal(1, 4, seed=3),
                          "e": np.array([1, 1, 1, 1])}),
    "weight standardisation": (18, "m = ReduceMean (v, a) c = Sub (v, m) q = Pow (c, two) k = ReduceMean (q, a)"
                               " t = Sqrt (k) u = Add (t, eps) w = Div (c, u)",
                               {"a": np.array([1, 2, 3]), "two": np.float32(2), "eps": np.float32(1e-5)}),
    "kept apart": (18, "n = ReduceL1 <keepdims=0> (v, a) o = Unsqueeze (n, a) p = Max (o, g) k = Min (p, p, o)"
                   " b = Abs (k) h = Neg (b) w = Div (v, h)", {"a": np.array([1, 2, 3])}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_computed_weight_is_what_the_runtime_convolves_with(name):
    opset, lines, more = FORMS[name]
    model = convolved(lines, opset, v=V, g=G, **more)
    (layer,) = onnxviz.load(model).layers
    assert (layer.weight_shape, layer.weight_source, layer.source.tensor) == ((4, 3, 3, 3), "computed", "v")
    np.testing.assert_allclose(layer.weight, fed_to_convolution(model), rtol=2e-6, atol=1e-7)
    assert layer.weight.dtype == np.float32


def test_every_operator_has_a_case():
    used = set()
    for opset, lines, more in FORMS.values():
        used |= {node.op_type for node in convolved(lines, opset, v=V, g=G, **more).graph.node}
    assert used >= ARITHMETIC


@pytest.mark.parametrize("half", [np.float16, np.float64])
def test_the_type_of_the_operands_stays(half):
    nodes = [helper.make_node("ReduceL2", ["v"], ["n"]), helper.make_node("Div", ["v", "n"], ["w"]),
             helper.make_node("Conv", ["x", "w"], ["y"])]  # fmt: skip
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(half))
    ports = [helper.make_tensor_value_info(name, kind, ["n", 3, 8, 8]) for name in "xy"]
    ports[1] = helper.make_tensor_value_info("y", kind, None)
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [numpy_helper.from_array(V.astype(half), "v")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (layer,) = onnxviz.load(model).layers
    graph.output.append(helper.make_empty_tensor_value_info("w"))
    expected = ReferenceEvaluator(helper.make_model(graph, opset_imports=model.opset_import)).run(
        ["w"], {"x": np.zeros((1, 3, 8, 8), half)}
    )[0]
    assert layer.weight.dtype == half
    np.testing.assert_allclose(layer.weight, expected, rtol=2e-3 if half == np.float16 else 1e-13)


@pytest.mark.parametrize(
    "lines",
    [
        "t = ReduceMean <keepdims=0> (x, a) q = Reshape (t, s) w = Mul (v, q)",  # of the input
        "i = Cast <to=7> (v) j = Mul (i, i) w = Cast <to=1> (j)",  # integers
        "m = Mul (long, wide) w = Reshape (m, form)",  # larger than what it is made of
    ],
)
def test_what_is_not_computed(lines):
    more = {"a": np.array([0, 2, 3]), "s": np.array([1, 3, 1, 1]), "long": normal(64, 1), "wide": normal(1, 48),
            "form": np.array([-1, 3, 4, 4])}  # fmt: skip
    model = convolved(lines, v=V, **more)
    (layer,) = onnxviz.load(model).layers
    assert layer.source is None


@pytest.mark.parametrize(("depth", "known"), [(24, True), (400, False), (5000, False)])
def test_a_chain_that_reads_each_twice_takes_no_longer_than_it_is_long(depth, known):
    names = ["v", *(f"t{place}" for place in range(depth - 1)), "w"]
    nodes = [helper.make_node("Add", [one, one], [other]) for one, other in pairwise(names)]
    nodes.append(helper.make_node("Conv", ["x", "w"], ["y"]))
    ports = [helper.make_tensor_value_info("x", 1, ["n", 64, 8, 8]), helper.make_tensor_value_info("y", 1, None)]
    v = np.full((64, 64, 3, 3), 1e-6, np.float32)
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [numpy_helper.from_array(v, "v")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    began = time.process_time()
    (layer,) = onnxviz.load(model).layers
    assert (layer.source is not None) == known
    if known:
        assert np.array_equal(layer.weight, v * np.float32(2**depth))
    assert time.process_time() - began < 20  # 2²⁴ additions of 37 thousand numbers would take hours


def normalised(name: str, torch):
    """The network, normalised with one of PyTorch's functions."""
    nn = torch.nn
    place = nn.utils if name in ("weight_norm", "spectral_norm") else nn.utils.parametrizations
    function = getattr(place, name.removeprefix("parametrizations."))
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older functions announce the newer
        return nn.Sequential(
            function(nn.Conv2d(3, 8, 3)), nn.ReLU(), function(nn.ConvTranspose2d(8, 4, 3), dim=1), nn.Flatten(),
            function(nn.Linear(784, 2)),
        ).eval()  # fmt: skip


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "parametrizations.weight_norm"])
@pytest.mark.parametrize("folding", [True, False])
def test_normalised_layers_of_torchscript_exports(name, folding, tmp_path):
    torch = pytest.importorskip("torch", reason="the oracle is PyTorch: pip install torch")
    module = normalised(name, torch)
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.rand(1, 3, 14, 14)
        torch.onnx.export(module, (x,), path, dynamo=False, do_constant_folding=folding, opset_version=20)
    layers = onnxviz.load(path).layers
    named = ["0", "2"], ["/0/Conv", "/2/ConvTranspose"]  # what is folded in part has lost its name
    assert [layer.name for layer in layers] in named[: 1 + folding]
    module(x)
    for layer, source in zip(layers, (module[0], module[2]), strict=True):
        expected = source.weight.detach().numpy()
        assert layer.weight_source == "computed"
        found = layer.weight if layer.op == "Conv" else layer.weight.swapaxes(0, 1)
        np.testing.assert_allclose(found, expected, rtol=5e-6, atol=1e-7)
