"""Moments, beside numpy's; histograms, beside a search for each value's bin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxviz.maps.histogram import BINS, EDGES, histogram
from onnxviz.maps.moments import Moments

VALUES = np.random.default_rng(3).standard_normal((6, 4, 5, 3)) * 10.0 ** np.arange(-2, 2)[:, None, None] + 7


def assert_like(found: Moments, values: np.ndarray) -> None:
    axes = (0, 2, 3)
    np.testing.assert_array_equal(found.count, values[:, 0].size)
    np.testing.assert_allclose(found.mean, values.mean(axes), rtol=1e-13)
    np.testing.assert_allclose(found.variance, values.var(axes), rtol=1e-9)
    np.testing.assert_array_equal(found.lowest, values.min(axes))
    np.testing.assert_array_equal(found.highest, values.max(axes))
    np.testing.assert_array_equal(found.zeros, (values == 0).sum(axes))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_parts_are_the_whole(cuts: list[int]) -> None:
    total = Moments.none(4)
    for number, part in enumerate(np.split(VALUES, sorted(cuts))):
        if len(part):
            total.add(Moments.of(part, number))
    assert_like(total, VALUES)


def test_the_first_of_equal_maxima_is_kept() -> None:
    total = Moments.of(np.array([[[1.0], [2.0]]]), 0)
    total.add(Moments.of(np.array([[[1.0], [3.0]]]), 1))
    np.testing.assert_array_equal(total.sample, [0, 1])


def test_no_finite_values() -> None:
    found = Moments.of(np.full((1, 2, 3), np.nan), 0)
    np.testing.assert_array_equal(found.nonfinite, 3)
    np.testing.assert_array_equal(found.sample, -1)
    assert np.isnan(found.variance).all()
    found.add(Moments.of(np.array([[[1.0, 3.0], [4.0, 4.0]]]), 1))
    np.testing.assert_array_equal(found.mean, [2, 4])
    np.testing.assert_array_equal(found.variance, [1, 0])


def test_the_mean_keeps_its_digits() -> None:
    """A constant beside which values vary little."""
    values = np.random.default_rng(0).standard_normal((1, 1, 10_000)) + 1e8
    np.testing.assert_allclose(Moments.of(values, 0).variance, values.var(), rtol=1e-9)


@given(
    st.lists(
        st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.0, 2.0**16, 2.0**-16, -(2.0**-16)]),
        min_size=1, max_size=40,
    )
)  # fmt: skip
def test_histogram(values: list[float]) -> None:
    array = np.array(values, np.float32)
    expected = np.zeros(BINS, np.int64)
    positive = EDGES[len(EDGES) // 2 :]
    for value in array[np.isfinite(array)]:
        steps = np.searchsorted(positive, abs(value), side="right")
        expected[BINS // 2 + (steps if value > 0 else -steps)] += 1
    np.testing.assert_array_equal(histogram(array[None, None]), expected[None])


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.float64])
def test_histogram_of_other_types(dtype: type) -> None:
    array = np.array([[[0, 1, -3, 100]]], dtype)
    np.testing.assert_array_equal(histogram(array), histogram(array.astype(np.float32)))


def test_edges_ascend_and_mirror() -> None:
    assert (np.diff(EDGES) > 0).all()
    np.testing.assert_array_equal(EDGES, -EDGES[::-1])
