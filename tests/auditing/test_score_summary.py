"""The summary of scores beside numpy over all samples at once; samples that give NaN, or none at all, are left out."""

import numpy as np
import pytest
from planted_images import classifier, crop_inputs, ending, findings, run, why_not_run
from protos import normal, parsed

import onnxviz
from onnxviz.auditing.score_summary import ScoreSummary
from onnxviz.auditing.scorer import Scorer
from onnxviz.inputs.samples import ImageOptions, samples
from onnxviz.runtime.session import RunOptions

X = crop_inputs(9)


def summary(proto, data):
    model = onnxviz.load(proto)
    return ScoreSummary.of(Scorer(model, RunOptions()), samples(model, data, ImageOptions.of(model)))


def test_what_is_added_up_is_what_numpy_gives_of_all():
    scores = run(classifier(), X)[0].astype(np.float64)
    found = summary(ending(classifier(), "out = Softmax (end)"), X)
    assert (found.count, found.single, found.probabilities, found.saturated) == (9, False, 0, 0)
    assert found.winners == set(scores.argmax(axis=1).tolist())
    assert (found.lowest, found.highest) == pytest.approx((scores.min(), scores.max()), rel=1e-5)
    np.testing.assert_allclose(found.classes.mean, scores.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.classes.variance, scores.var(axis=0), rtol=1e-4)
    apart = np.sqrt(((X[1:] - X[0]).astype(np.float64) ** 2).mean(axis=(1, 2, 3))) / X[0].astype(np.float64).std()
    assert found.apart == pytest.approx(apart.tolist())


def test_a_sample_that_gives_nan_is_left_out():
    """Its scores made the mean of all NaN, which is below no threshold: a constant answer passed."""
    made = ending(
        classifier(), "r = Sqrt (end) z = Mul (r, none) out = Add (z, c)", none=np.float32(0),
        c=np.linspace(0, 1, 11, dtype=np.float32),
    )  # fmt: skip
    given = run(made, X)[0]
    finite = np.isfinite(given).all(axis=1)
    low = np.float32(run(classifier(), X)[0].min() + 1e-4)
    positive = ending(
        classifier(), "t = Sub (end, low) r = Sqrt (t) z = Mul (r, none) out = Add (z, c)", none=np.float32(0),
        c=np.linspace(0, 1, 11, dtype=np.float32), low=low,
    )  # fmt: skip
    assert not finite.any()
    assert "it needs 8 samples, and 0 could be used" in why_not_run(made, X, "I02")
    (found,) = findings(positive, X, "I02")
    assert "comes first on all 8 samples" in found.message


def test_other_numbers_of_scores_are_no_answers_of_the_same_classes():
    made = parsed(
        "g (float[n,3,h,w] x) => (float[n,k] y) { c = Conv (x, w) f = Flatten (c) y = Softmax (f) }",
        w=normal(1, 3, 3, 3),
    )  # fmt: skip
    data = [normal(1, 3, side, side) for side in (4, 4, 4, 4, 4, 5, 5, 5, 5, 5)]
    assert "scores 9 classes of one sample and 4 of another" in why_not_run(made, data, "I02")
