"""Scores that a model holds as integers: read in their quantisation steps, whoever asks for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles import untouched
from planted_images import classifier, crop_inputs, ending
from protos import normal, parsed
from quantised import UNSIGNED, folded, quantise

from onnxviz import explain, load, predict
from onnxviz.auditing.audit import audit
from onnxviz.comparison.compare import compare
from onnxviz.model.score_steps import ScoreSteps
from onnxviz.model.scores import find_scores

ENDS = {"softmax": "out = Softmax <axis=1> (end)", "sigmoid": "out = Sigmoid (end)"}


@pytest.fixture(scope="module", params=sorted(ENDS))
def pair(request, tmp_path_factory) -> tuple[str, Path, Path]:
    """The sample classifier with a softmax or a sigmoid at its end, and it in integer operators."""
    folder = tmp_path_factory.mktemp(request.param)
    onnx.save(ending(classifier(), ENDS[request.param]), folder / "plain.onnx")
    folded(folder / "plain.onnx", folder / "folded.onnx")
    samples = [one[None] for one in crop_inputs(6)]
    return request.param, folder / "plain.onnx", quantise(folder / "folded.onnx", folder / "low.onnx", samples,
                                                          form="QOperator", types=UNSIGNED)  # fmt: skip


def logits(path: Path, x: np.ndarray) -> np.ndarray:
    """What the last layer's integers stand for, by onnxruntime and the formula of DequantizeLinear, (N, 11)."""
    proto = onnx.load(path)
    last = next(node for node in proto.graph.node if node.op_type in ("QLinearSoftmax", "QLinearSigmoid"))
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in proto.graph.initializer}
    scale, zero = (stored[name].astype(np.float64) for name in last.input[1:3])
    integers = untouched(proto, [last.input[0]], {"image": x})[last.input[0]]
    assert integers.dtype == np.uint8
    return (integers - zero) * scale


def test_predict_gives_real_scores(pair):
    link, _, low = pair
    x = crop_inputs(3, seed=5)
    found = find_scores(load(low))
    assert (found.tensor, found.link, found.axis) == ("logits_quantized", link, 1)
    for prediction, expected in zip(predict(low, x, top=11), logits(low, x), strict=True):
        (answer,) = prediction.outputs
        assert answer.kind == "classes"
        assert [one.score for one in answer.top] == pytest.approx(sorted(expected)[::-1], rel=1e-6)
        assert [expected[one.number] for one in answer.top] == pytest.approx([one.score for one in answer.top])
        if link == "softmax":
            shares = np.exp(expected) / np.exp(expected).sum()
            assert [one.share for one in answer.top] == pytest.approx([shares[one.number] for one in answer.top])


@pytest.mark.parametrize("method", ["occlusion", "score-cam"])
def test_explain_scores_a_class_in_real_numbers(pair, method):
    link, _, low = pair
    x = crop_inputs(1, seed=5)
    (expected,) = logits(low, x)
    options = {"window": 48, "stride": 48} if method == "occlusion" else {}
    found = explain(low, x[0], class_=3, method=method, **options)
    assert found.score == pytest.approx(expected[3], rel=1e-6)
    assert found.classes == 11
    assert found.target == "logits_quantized"
    share = np.exp(expected[3]) / np.exp(expected).sum() if link == "softmax" else 1 / (1 + np.exp(-expected[3]))
    assert found.probability == pytest.approx(share, rel=1e-5)


def test_occlusion_measures_real_numbers(pair):
    """One window over the whole image: what is lost is the score less that of the blank image."""
    _, _, low = pair
    x = crop_inputs(1, seed=6)
    found = explain(low, x[0], class_=2, method="occlusion", window=96, stride=96, baseline=0.0)
    lost = logits(low, x)[0, 2] - logits(low, np.zeros_like(x))[0, 2]
    assert found.map == pytest.approx(np.full((96, 96), lost), rel=1e-4, abs=1e-6)


def test_comparison_and_audit_see_the_scores(pair):
    link, plain, low = pair
    x = crop_inputs(12, seed=7)
    top = untouched(onnx.load(plain), ["logits"], {"image": x})["logits"].argmax(1)
    agreement = compare(plain, low, x, layers="last").agreement
    assert agreement.agreeing == int((top == logits(low, x).argmax(1)).sum())
    found = audit(low, x, against=str(plain), select=["P02", "P03", "I02", "I06"])
    assert {one.code for one in found.findings} == set()
    assert {"P02", "P03", "I02"} <= set(found.passed)
    assert ("I06" in found.passed) == (link == "softmax")


TAILS = [
    ("y = com.microsoft.QLinearSoftmax <axis = 1, opset = 13> (q, s, z, t, o)", "q", "softmax", 1),
    ("y = com.microsoft.QLinearSoftmax <opset = 13> (q, s, z, t, o)", "q", "softmax", -1),
    ("p = com.microsoft.QLinearSoftmax <opset = 13> (q, s, z, t, o) y = DequantizeLinear (p, t, o)",
     "q", "softmax", -1),
    ("p = com.microsoft.QLinearSoftmax <opset = 13> (q, s, z, t, o) f = Flatten (p) y = DequantizeLinear (f, t, o)",
     "q", "softmax", -1),
    ("y = com.microsoft.QLinearSigmoid (q, s, z, t, o)", "q", "sigmoid", 1),
    ("r = DequantizeLinear (q, s, z) g = QuantizeLinear (r, t, o) "
     "y = com.microsoft.QLinearSoftmax <opset = 13> (g, t, o, t, o)", "r", "softmax", 1),
    ("y = ArgMax <axis = 1> (q)", "q", "", 1),
    ("y = Identity (q)", "y", "", 1),
]  # fmt: skip


def headed(tail: str) -> onnx.ModelProto:
    """Integers `q` (n, 5), made by an integer product, and what follows them."""
    given = {"s": np.float32(0.07), "z": np.uint8(90), "t": np.float32(1 / 256), "o": np.uint8(0),
             "u": np.float32(0.01), "v": np.int8(0)}  # fmt: skip
    proto = parsed(
        "g (float[n,4] x) => (float[k] y) { a = QuantizeLinear (x, s, z) q = QLinearMatMul (a, s, z, w, u, v, s, z) "
        + tail + " }",
        **{name: np.asarray(one) for name, one in given.items()},
        w=np.rint(normal(4, 5) * 60).clip(-127, 127).astype(np.int8),
    )  # fmt: skip
    proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    kind = onnx.TensorProto.INT64 if "ArgMax" in tail else onnx.TensorProto.UINT8
    if "DequantizeLinear (p" not in tail and "DequantizeLinear (f" not in tail:
        proto.graph.output[0].type.tensor_type.elem_type = kind
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize(("tail", "tensor", "link", "axis"), TAILS)
def test_where_the_scores_lie(tail, tensor, link, axis):
    proto = headed(tail)
    x = normal(2, 4, seed=3)
    found = find_scores(load(proto))
    assert (found.tensor, found.link, found.axis) == (tensor, link, axis)
    raw, values = (untouched(proto, [name], {"x": x})[name] for name in ("q", tensor))
    expected = (raw.astype(np.float64) - 90) * np.float64(np.float32(0.07))
    assert found.real(values) == pytest.approx(expected, rel=1e-6)


def test_a_scale_that_is_not_known_is_not_guessed():
    """The scale is another input: what the integers stand for is known on each sample alone."""
    proto = headed("y = com.microsoft.QLinearSoftmax <opset = 13> (q, s, z, t, o)")
    kept = [one for one in proto.graph.initializer if one.name != "s"]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, []))
    found = find_scores(load(proto))
    assert (found.tensor, found.link) == ("y", "")
    assert ScoreSteps.of(load(proto), "q") is None
