"""Probabilities: softmax and sigmoid beside math's exp, and which scores are probabilities already."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxviz.model.probability import are_probabilities, sigmoid, softmax

SCORES = np.array([[0.5, -2.0, 3.0], [1000.0, 999.0, -1000.0]])


def test_beside_exp():
    first = [math.exp(one) for one in SCORES[0]]
    np.testing.assert_allclose(softmax(SCORES)[0], np.array(first) / math.fsum(first), rtol=1e-15)
    np.testing.assert_allclose(softmax(SCORES)[1], [1 / (1 + math.exp(-1)), 1 / (1 + math.e), 0], rtol=1e-15)
    np.testing.assert_allclose(sigmoid(SCORES[0]), [1 / (1 + math.exp(-one)) for one in SCORES[0]], rtol=1e-15)
    np.testing.assert_allclose(softmax(SCORES.T, axis=0), softmax(SCORES).T, rtol=1e-15)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.2, 0.8], True), ([0.2, 0.8009], True), ([0.2, 0.8011], False), ([-0.1, 1.1], False), ([1.0], False),
     ([[0.2, 0.5], [0.8, 0.5]], True), ([[0.2, 0.5], [0.8, 0.6]], False), ([math.nan, 1.0], False)],
)  # fmt: skip
def test_what_is_a_probability_already(scores, expected):
    assert are_probabilities(np.array(scores)) is expected
