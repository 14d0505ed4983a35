"""A second provider: answers that flip on it, and nodes that it hands to the CPU. `make test-openvino` runs this."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from drifting import outcome, scoring
from protos import parsed
from quantised import folded, quantise
from samples import CLASSIFIER, MODELS, UNET, photo_crops

from onnxviz.auditing.audit import audit
from onnxviz.model.model import load
from onnxviz.model.scores import find_scores

pytestmark = pytest.mark.openvino
PHOTOS = str(MODELS / "photos")
COARSE = '{"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}}'
BFLOAT16 = f"openvino:device_type=CPU,load_config={COARSE}"


def judged(model, data, code: str, provider: str = "openvino", **options):
    """(severity, value) of each finding, and whether it passed."""
    result = audit(model, data, select=[code], provider=provider, **options)
    return [(one.severity.value, one.value) for one in result.findings], code in result.passed


def close(margin: float) -> np.ndarray:
    """Two samples (2, 4, 2, 2): class 1 is ahead of class 0 by a margin; class 2 by 1."""
    scores = np.array([[1 - margin, 1, 0, 0], [0, 0, 1, 0]], np.float32)
    return np.repeat(scores, 4).reshape(2, 4, 2, 2)


def in_bfloat16(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """The scores of OpenVINO in bfloat16, by onnxruntime alone."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    settings = {"device_type": "CPU", "load_config": COARSE}
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=[("OpenVINOExecutionProvider", settings)]
    )
    scores = session.run(None, {"x": x})[0]
    if np.abs(scores - outcome(proto, x)[0]).max() < 1e-3:
        pytest.skip("this processor has no bfloat16, and OpenVINO computes in float32")
    return scores


@pytest.mark.parametrize("margin", [0.00105, 0.0013, 0.0018])
def test_a_provider_that_flips_an_answer_is_an_error(margin: float) -> None:
    """bfloat16 has eight bits: what is ahead by less than half of its last place is level, and the first class wins."""
    x = close(margin)
    assert (in_bfloat16(scoring(), x).argmax(1) == [0, 2]).all()
    findings, _ = judged(scoring(), x, "P02", BFLOAT16)
    assert findings == [("error", pytest.approx(margin, rel=1e-3))]
    assert judged(scoring(), x, "P02") == ([], True)


def test_a_flip_that_rounding_explains_is_a_note() -> None:
    """Class 3 makes the range four times as large."""
    x = close(0.00105)
    x[1, 3] = -3
    in_bfloat16(scoring(), x)
    findings, _ = judged(scoring(), x, "P02", BFLOAT16)
    assert findings == [("note", pytest.approx(0.00105 / 4, rel=1e-3))]


@pytest.mark.parametrize("model", [CLASSIFIER, UNET], ids=lambda path: path.stem)
def test_sound_models_are_clean(model: Path) -> None:
    size = {"size": (64, 64)} if model == UNET else {}
    for code in ("P02", "P05"):
        assert judged(model, PHOTOS, code, **size) == ([], True)


def test_a_quantised_model_is_clean(tmp_path: Path) -> None:
    crops = [one[None] for one in (photo_crops(6, 96, 3).transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)]
    low = quantise(folded(CLASSIFIER, tmp_path / "plain.onnx"), tmp_path / "low.onnx", crops)
    for code in ("P02", "P05"):
        assert judged(low, PHOTOS, code) == ([], True)


def logits(path: Path, tensor: str, provider: str, x: np.ndarray) -> np.ndarray:
    """A tensor of a model on a provider, by onnxruntime alone."""
    proto = onnx.load(path)
    proto.graph.output.append(onnx.ValueInfoProto(name=tensor))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=[f"{provider}ExecutionProvider"])
    return np.concatenate([session.run([tensor], {"image": one[None]})[0] for one in x]).astype(np.float64)


@pytest.mark.parametrize(("weights", "severity", "tolerance"), [("QUInt8", "error", 0.3), ("QInt8", "note", 0.02)])
def test_a_quantised_model_that_flips(tmp_path: Path, weights: str, severity: str, tolerance: float) -> None:
    """The sample U-Net: its masks flip by what rounding explains with int8 weights, by much more with uint8 weights.

    With these, convolutions of 24 filters change from run to run on the CPU provider of onnxruntime 1.24.1, where the
    processor has AMX: hence the tolerance. On processors where both compute alike there is nothing to find.
    """
    samples = [one[None] for one in (photo_crops(4, 64, 3).transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)]
    low = quantise(folded(UNET, tmp_path / "plain.onnx"), tmp_path / "low.onnx", samples, types=("QUInt8", weights))
    tensor = find_scores(load(low)).tensor
    x = (photo_crops(3, 64, 5).transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
    mine, theirs = (logits(low, tensor, provider, x) for provider in ("CPU", "OpenVINO"))
    flips = (mine > 0) != (theirs > 0)
    # A logit is that of one of two classes, the other's is its negative: margins and their range count twice.
    margin = float(np.abs(mine[flips]).max(initial=0) / np.abs(mine).max())
    if not flips.any() or (margin <= 0.15 and severity == "error"):
        pytest.skip("on this processor both providers answer alike")
    (found,) = audit(low, list(x), select=["P02"], provider="openvino").findings
    assert found.severity.value == severity
    assert found.value == pytest.approx(margin, rel=tolerance)
    listed = re.search(r"and ([\d,]+) of 12,288 have another class", found.message)
    assert listed is not None
    assert int(listed[1].replace(",", "")) == pytest.approx(flips.sum(), rel=tolerance)
    assert judged(UNET, list(x), "P02") == ([], True)


def handing(relus: int) -> onnx.ModelProto:
    """A convolution, some activations, and a Hardmax, which OpenVINO's provider does not take."""
    lines = [f"r{place} = LeakyRelu ({'c' if not place else f'r{place - 1}'})" for place in range(relus)]
    return parsed(
        f"handing (float[n,3,8,8] x) => (float[n,4,8,8] y) {{ c = Conv (x, w) {' '.join(lines)} "
        f"y = Hardmax <axis = 1> (r{relus - 1}) }}",
        w=np.ones((4, 3, 1, 1), np.float32),
    )


@pytest.mark.parametrize(
    ("relus", "severity"), [(1, "warning"), (4, "warning"), (7, "warning"), (8, "note"), (20, "note")]
)
def test_nodes_that_are_handed_over(relus: int, severity: str) -> None:
    """One of ten nodes is a tenth, which is not more than a tenth."""
    findings, _ = judged(handing(relus), None, "P05")
    severity = "warning" if relus < 8 else "note"
    assert findings == [(severity, pytest.approx(1 / (relus + 2)))]


def test_one_that_takes_nothing_is_an_error() -> None:
    proto = parsed("g (float[n,4] x) => (float[n,4] y) { y = Hardmax (x) }")
    (one,) = audit(proto, select=["P05"], provider="openvino").findings
    assert one.severity.value == "error"
    assert "it takes none of the 1 nodes" in one.message
