"""The scorer beside plain runs of onnxruntime, and Wilson's interval beside published values."""

import numpy as np
import onnx
import pytest
from planted_images import classifier, crop_inputs, ending, run
from protos import normal, parsed
from samples import UNET
from small_detector import small_detector

import onnxviz
from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.scorer import Scorer, changes, wilson_bounds
from onnxviz.runtime.session import RunOptions

X = crop_inputs(3)


@pytest.mark.parametrize("tail", ["out = Identity (end)", "out = Softmax (end)"])
def test_scores_are_those_before_the_softmax(tail):
    scorer = Scorer(onnxviz.load(ending(classifier(), tail)), RunOptions())
    found = scorer.of({"image": X})
    assert [one.shape for one in found] == [(11, 1)] * 3
    np.testing.assert_allclose(np.stack(found)[..., 0], run(classifier(), X)[0], rtol=1e-4, atol=1e-4)


def test_scores_of_a_mask_have_positions():
    scorer = Scorer(onnxviz.load(UNET), RunOptions())
    (one,) = scorer.of({"image": X[:1]})
    assert one.shape == (1, 96 * 96)
    probability = run(onnx.load(UNET), X[:1])[0]
    np.testing.assert_allclose(1 / (1 + np.exp(-one.reshape(96, 96))), probability[0, 0], atol=1e-4)


def test_what_has_no_first_class():
    with pytest.raises(UnmeasuredError, match="gives boxes"):
        Scorer(onnxviz.load(small_detector()), RunOptions())
    two = parsed(
        "g (float[n,2] x) => (float[n,4] y, float[n,4] z) { y = MatMul (x, v) z = MatMul (x, w) }",
        v=normal(2, 4), w=normal(2, 4, seed=2),
    )  # fmt: skip
    with pytest.raises(UnmeasuredError, match="it is not known where the model answers"):
        Scorer(onnxviz.load(two), RunOptions())


def column(*scores: float) -> np.ndarray:
    return np.array(scores, np.float64)[:, None]


def test_changes_of_sure_answers():
    assert changes(column(0, 5, 0), column(1, 0, 0), 0.5) == (1, 1)
    assert changes(column(0, 5, 0), column(1, 2, 0), 0.5) == (0, 1)
    assert changes(column(0, 0.1, 0), column(1, 0, 0), 0.5) == (0, 0)
    # Probabilities count as they are: the softmax of these would be sure of none.
    assert changes(column(0.2, 0.7, 0.1), column(1, 0, 0), 0.5) == (1, 1)
    # One logit: its sign is the class.
    both = changes(np.array([[3.0, 3, -3, 0.01]]), np.array([[3.0, -1, -3, -1]]), 0.6)
    assert both == (0.25, 0.75)


@pytest.mark.parametrize(
    ("seen", "count", "low", "high"),
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(seen, count, low, high):
    assert wilson_bounds(seen / count, count) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))
