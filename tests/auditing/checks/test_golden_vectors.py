"""Golden vectors replayed: answers that drift by a chosen amount, beyond what rounding explains and within it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from drifting import images, scoring
from planted import MODELS, audited
from planted_images import crop_inputs
from protos import parsed
from quantised import quantise

from onnxviz.auditing.finding import Finding
from onnxviz.auditing.golden import Golden


def replayed(released, model, data, **thresholds) -> tuple[Finding, ...]:
    found = audited(model, "R02", golden=Golden.of(released, data))
    assert not found.not_run, found.not_run
    return found.findings


@pytest.mark.parametrize("offset", [0.004, 0.05, 0.3])
def test_values_that_drift_are_a_warning(offset):
    """Class 1 is raised and stays behind; scores have a range of 1."""
    (found,) = replayed(scoring(), scoring(offset), images(0.5))
    assert (found.severity.value, found.threshold) == ("warning", 1e-3)
    assert found.value == pytest.approx(offset, rel=1e-4)


@pytest.mark.parametrize("margin", [0.01, 0.05, 0.3])
def test_a_class_that_flips_is_an_error(margin):
    (found,) = replayed(scoring(), scoring(margin * 1.5), images(margin))
    assert found.severity.value == "error"
    assert found.value == pytest.approx(margin, rel=1e-4)
    assert "1 of 2 have another class" in found.message


def test_a_flip_within_rounding_is_a_note():
    (found,) = replayed(scoring(), scoring(8e-4), images(4e-4))
    assert found.severity.value == "note"
    assert found.value == pytest.approx(4e-4, rel=1e-3)


@pytest.mark.parametrize("offset", [0.0, 9e-4])
def test_what_rounding_explains_is_silent(offset):
    assert replayed(scoring(), scoring(offset), images(0.5)) == ()


def test_the_sample_model_answers_as_it_did():
    assert replayed(MODELS / "classifier.onnx", MODELS / "classifier.onnx", crop_inputs(4)) == ()


def test_a_model_of_eight_bits_is_allowed_what_they_cost(tmp_path):
    """A tenth of the range, where either computes with integers."""
    path = quantise(MODELS / "classifier.onnx", tmp_path / "q.onnx", list(crop_inputs(8)[:, None]))
    for one, other in ((MODELS / "classifier.onnx", path), (path, MODELS / "classifier.onnx")):
        for found in replayed(one, other, crop_inputs(4)):
            assert found.threshold == 0.1


@pytest.mark.parametrize(("shift", "flips"), [(0.5, False), (3.0, True)])
def test_one_probability_is_that_of_class_1(shift, flips):
    """A sigmoid of 2: 0.88; with less than 0.5 the class is 0."""

    def model(bias: float) -> onnx.ModelProto:
        return parsed(
            "g (float[n,1,2,2] x) => (float[n,1] y) { c = Conv (x, w, b) p = GlobalAveragePool (c) f = Flatten (p) "
            "y = Sigmoid (f) }",
            w=np.ones((1, 1, 1, 1), np.float32), b=np.array([bias], np.float32),
        )  # fmt: skip

    data = np.stack([np.full((1, 2, 2), 2, np.float32), np.full((1, 2, 2), -4, np.float32)])
    (found,) = replayed(model(0), model(-shift), data)
    assert ("1 of 2 have another class" in found.message) == flips
    assert found.severity.value == ("error" if flips else "warning")


def test_outputs_that_are_no_scores():
    """Integers count by their difference as well: 1 of a range of 6."""

    def model(add: int) -> onnx.ModelProto:
        return parsed("g (int64[n,4] x) => (int64[n,4] y) { y = Add (x, k) }", k=np.array([add]))

    data = np.array([[0, 2, 4, 6]])
    assert replayed(model(0), model(0), data) == ()
    (found,) = replayed(model(0), model(1), data)
    assert found.severity.value == "warning"
    assert found.value == pytest.approx(1 / 6)


def test_without_vectors_it_is_not_run():
    (one,) = audited(scoring(), "R02").not_run
    assert one.why == "no golden vectors were given (onnxviz.audit(golden=))"
