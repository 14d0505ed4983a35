"""Filters of ConvInteger in real numbers: the scale stands behind the operator, or there is none and that is said."""

import json
import logging

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from protos import normal

from onnxviz import load, plot_filters
from onnxviz.cli import run

KERNEL = normal(4, 3, 3, 3)


def graph(body, outputs="float[n, 4, 8, 8] y", inputs="float[n, 3, 8, 8] x", **stored):
    """A model whose nodes are `body`, with integer filters `w`, zero point `z` and the tensors in `stored`."""
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({outputs}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    weights = np.random.default_rng(3).integers(-128, 128, (4, 3, 3, 3)).astype(np.int8)
    arrays = {"w": weights, "z": np.array(5, np.int8), **stored}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items())
    return model


DYNAMIC = "q, s, p = DynamicQuantizeLinear(x) i = ConvInteger<pads = [1, 1, 1, 1]>(q, w, p, z) c = Cast<to = 1>(i)"
STATIC = "q = QuantizeLinear(x, s, p) i = ConvInteger<pads = [1, 1, 1, 1]>(q, w, p, z) c = Cast<to = 1>(i)"
ONE = {"f": np.float32(0.03)}
EACH = {"f": np.array([0.01, 0.02, 0.5, 3], np.float32).reshape(4, 1, 1)}
FED = {"s": np.float32(0.02), "p": np.array(7, np.uint8)}
# As onnxruntime's quantiser writes it, and other forms of the same product.
FORMS = {
    "both in one": (f"{DYNAMIC} b = Mul(s, f) y = Mul(c, b)", ONE),
    "a scale a filter": (f"{DYNAMIC} b = Mul(s, f) y = Mul(b, c)", EACH),
    "the input's first": (f"{DYNAMIC} b = Mul(c, s) y = Mul(b, f)", EACH),
    "the filters' first": (f"{DYNAMIC} b = Mul(c, f) y = Mul(s, b)", ONE),
    "another factor follows": (f"{DYNAMIC} b = Mul(s, f) y = Mul(c, b) t = Mul(y, f)", ONE),
    "moved before": (
        "q, s, p = DynamicQuantizeLinear(x) m = Transpose<perm = [0, 1, 2, 3]>(q) "
        "i = ConvInteger<pads = [1, 1, 1, 1]>(m, w, p, z) c = Cast<to = 1>(i) b = Mul(s, f) y = Mul(c, b)",
        ONE,
    ),
    "a constant input scale": (f"{STATIC} b = Mul(c, s) y = Mul(b, f)", {**EACH, **FED}),
    "both constants in one": (f"{STATIC} y = Mul(c, f)", {**EACH, **FED}),
    "the same number twice": (f"{STATIC} b = Mul(c, u) y = Mul(b, f)", {**ONE, **FED, "u": np.float32(0.02)}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_convolution_with_these_filters_is_what_the_graph_computes(form):
    body, stored = FORMS[form]
    (layer,) = load(graph(body, **stored)).layers
    x = normal(1, 3, 8, 8)
    told = graph(body, "float[n, 4, 8, 8] y, uint8[n, 3, 8, 8] q, float s, uint8 p", **stored)
    names = ["y", "q", *(name for name in "sp" if name not in stored)]
    found = dict(zip(names, ReferenceEvaluator(told).run(names, {"x": x}), strict=True))
    scale, zero = (found.get(name, stored.get(name)) for name in "sp")
    fed = (found["q"].astype(np.float32) - np.float32(zero)) * scale
    plain = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 3, 8, 8] x, float[4, 3, 3, 3] w) => (float[n, 4, 8, 8] y)'
        "{ y = Conv<pads = [1, 1, 1, 1]>(x, w) }"
    )
    (expected,) = ReferenceEvaluator(plain).run(["y"], {"x": fed, "w": layer.weight})
    np.testing.assert_allclose(found["y"], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert (layer.counts, layer.dtype, str(layer.weight.dtype)) == (False, "float32", "float32")
    assert layer.weight_source == "dequantized"


@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
def test_filters_are_within_half_a_step_of_those_that_onnxruntime_quantised(tmp_path, kind, monkeypatch):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    monkeypatch.setattr(logging.root, "level", logging.CRITICAL)
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 3, 8, 8] x) => (float[n, 4, 8, 8] z)'
        "{ y = Conv<pads = [1, 1, 1, 1]>(x, k, b) z = Relu(y) }"
    )
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend([numpy_helper.from_array(KERNEL, "k"), numpy_helper.from_array(normal(4), "b")])
    onnx.save(model, tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "m.onnx", weight_type=QuantType[kind])
    (layer,) = load(tmp_path / "m.onnx").layers
    assert layer.op == "ConvInteger"
    step = np.diff(np.unique(layer.weight)).min()
    assert np.abs(layer.weight - KERNEL).max() <= 0.5001 * step
    assert step < np.ptp(KERNEL) / 200  # the old picture's step was 1


BARE = {
    "the counts are the result": ("i = ConvInteger<pads = [1, 1, 1, 1]>(x, w, p, z)", "uint8[n, 3, 8, 8] x"),
    "nobody says what the input's integers are": (
        "i = ConvInteger<pads = [1, 1, 1, 1]>(x, w, p, z) c = Cast<to = 1>(i) y = Mul(c, f)",
        "uint8[n, 3, 8, 8] x",
    ),
    "the factor is not constant": (f"{DYNAMIC} b = Mul(s, v) y = Mul(c, b)", "float[n, 3, 8, 8] x, float v"),
    "a factor a position": (f"{DYNAMIC} b = Mul(s, g) y = Mul(c, b)", "float[n, 3, 8, 8] x"),
    "only the input's scale": (f"{DYNAMIC} y = Mul(c, s)", "float[n, 3, 8, 8] x"),
    "something else first": (f"{DYNAMIC} r = Relu(c) b = Mul(s, f) y = Mul(r, b)", "float[n, 3, 8, 8] x"),
}


@pytest.mark.parametrize("case", BARE)
def test_without_a_scale_they_are_counts_and_said_to_be(case, tmp_path, monkeypatch, capsys):
    body, inputs = BARE[case]
    output = "int32[n, 4, 8, 8] i" if "y" not in body else "float[n, 4, 8, 8] y"
    model = graph(body, output, inputs, p=np.array(7, np.uint8), g=np.ones(8, np.float32), **ONE)
    if "DynamicQuantizeLinear" in body:
        del model.graph.initializer[2]  # p is computed
    monkeypatch.chdir(tmp_path)
    onnx.save(model, "m.onnx")
    (layer,) = load("m.onnx").layers
    assert (layer.counts, layer.dtype, layer.weight_source) == (True, "int32", "initializer")
    stored = numpy_helper.to_array(model.graph.initializer[0]).astype(int)
    np.testing.assert_array_equal(layer.weight, stored - 5)
    words = " ".join(text.get_text() for text in plot_filters(layer).findobj(lambda one: hasattr(one, "get_text")))
    assert "quantisation steps: the graph has no scale for them" in words
    assert run(["layers", "m.onnx"]) == 0
    assert "counts, no scale" in capsys.readouterr().out
    assert run(["filters", "m.onnx", "--save", "f.npz"]) == 0
    saved = json.loads((tmp_path / "f.npz.manifest.json").read_text())["layers"]
    assert [one["counts"] for one in saved.values()] == [True]
