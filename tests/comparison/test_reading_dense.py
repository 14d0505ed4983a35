"""Dense layers are read behind their bias, wherever an exporter or a quantiser has put it."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import quantize_dynamic
from oracles import untouched
from protos import normal, parsed
from quantised import quantise

import onnxviz

FORMS = {
    "Gemm": "g (float[n,6] x) => (float[n,5] y) { d = Gemm (x, w, b) y = Relu (d) }",
    "MatMul, Add": "g (float[n,6] x) => (float[n,5] y) { m = MatMul (x, w) d = Add (m, b) y = Relu (d) }",
    "Add, MatMul": "g (float[n,6] x) => (float[n,5] y) { m = MatMul (x, w) d = Add (b, m) y = Relu (d) }",
}
WEIGHTS = {"w": normal(6, 5), "b": np.array([9, -8, 7, -6, 5], np.float32)}
X = normal(16, 6, seed=3)


def dynamic(source, target) -> None:
    quantize_dynamic(source, target)


def static(form):
    return partial(quantise, samples=[X], form=form, types=("QInt8", "QInt8"))


@pytest.mark.parametrize("lower", [dynamic, static("QDQ"), static("QOperator")], ids=["dynamic", "QDQ", "QOperator"])
@pytest.mark.parametrize("form", FORMS)
def test_a_quantised_dense_layer_is_compared_with_its_bias(form, lower, tmp_path) -> None:
    a, b = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(parsed(FORMS[form], **WEIGHTS), a)
    lower(a, b)
    found = onnxviz.compare(a, b, X)
    (layer,) = found.layers
    # One at a time: dynamic quantisation takes its scale from all that it is given.
    known, answer = (
        np.concatenate([untouched(onnx.load(path), ["y"], {"x": row[None]})["y"] for row in X]) for path in (a, b)
    )
    error = answer.astype(np.float64) - known
    assert 0 < np.abs(error).max() < 0.5 < np.abs(WEIGHTS["b"]).min()
    assert layer.max_abs_diff < 0.5, layer
    assert found.outputs[0].max_abs_diff == pytest.approx(np.abs(error).max(), rel=1e-5)
    assert layer.alone is not None
    assert layer.alone.sqnr > 30


def test_two_forms_of_one_layer_differ_by_rounding_alone() -> None:
    for one in FORMS.values():
        for other in FORMS.values():
            (layer,) = onnxviz.compare(parsed(one, **WEIGHTS), parsed(other, **WEIGHTS), X).layers
            assert layer.max_abs_diff < 1e-5


@pytest.mark.parametrize("at", ["conv", "activation"])
def test_a_dynamically_quantised_convolution_has_its_bias(at, tmp_path) -> None:
    proto = parsed(
        "g (float[n,3,8,6] x) => (float[n,4,8,6] y) { c = Conv (x, w, b) y = Relu (c) }",
        w=normal(4, 3, 1, 1), b=10 * normal(4),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "a.onnx")
    quantize_dynamic(tmp_path / "a.onnx", tmp_path / "b.onnx")
    (layer,) = onnxviz.compare(tmp_path / "a.onnx", tmp_path / "b.onnx", normal(2, 3, 8, 6), at=at).layers
    assert layer.sqnr > 30
