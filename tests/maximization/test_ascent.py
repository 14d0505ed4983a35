"""The steps of the ascent: its rate, and Adam by hand."""

import numpy as np
import pytest

from onnxviz.maximization.ascent import Adam, AscentSettings
from onnxviz.maximization.transforms import Jitter


def test_the_rate_falls_only_where_something_moves():
    moving, still = (AscentSettings(8, 0.05, 0, transforms, 0) for transforms in ((Jitter(1),), ()))
    rates = [moving.rate_at(step) for step in range(8)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.05
    assert rates[4] == pytest.approx(0.025)
    assert 0 < rates[7] < 0.002
    assert {still.rate_at(step) for step in range(8)} == {0.05}


def test_adam_is_adam():
    """A first step of the rate whatever the gradient's size; the second by hand. (Kingma & Ba 2015, algorithm 1)"""
    adam = Adam(0.1)
    first = adam.step(np.zeros(2, np.float32), np.array([1e-3, -5], np.float32))
    np.testing.assert_allclose(first, [0.1, -0.1], rtol=1e-4)
    second = adam.step(first, np.array([2e-3, 0], np.float32))
    mean = (0.9 * 0.1 * 1e-3 + 0.1 * 2e-3) / (1 - 0.9**2)
    square = (0.999 * 0.001 * 1e-6 + 0.001 * 4e-6) / (1 - 0.999**2)
    assert second[0] == pytest.approx(0.1 + 0.1 * mean / (np.sqrt(square) + 1e-8), rel=1e-4)
