"""Error sums beside numpy over all samples at once, whatever the samples are split into."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from protos import normal

from onnxviz.comparison.comparison import difference_of
from onnxviz.comparison.error_sums import ErrorSums, decibels


def sums(a, b, cuts=(), axis=1) -> ErrorSums:
    """Those of the samples between the cuts, added up."""
    ends = [0, *sorted(set(cuts)), len(a)]
    parts = [
        ErrorSums.of(a[low:high], b[low:high], axis, number)
        for number, (low, high) in enumerate(pairwise(ends))
        if high > low
    ]
    return ErrorSums.total(parts)


def pair(dtype=np.float32):
    a = normal(6, 5, 4, 3) * np.arange(1, 6, dtype=np.float32)[:, None, None]
    return a.astype(dtype), (a + 0.1 * normal(6, 5, 4, 3, seed=2)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_beside_numpy_over_all_samples(dtype) -> None:
    a, b = pair(dtype)
    found = sums(a, b, (1, 2, 3, 4, 5))
    x, y = a.astype(np.float64), b.astype(np.float64)
    over = (0, 2, 3)
    np.testing.assert_allclose(found.signal, (x**2).sum(over), rtol=1e-12)
    np.testing.assert_allclose(found.noise, ((x - y) ** 2).sum(over), rtol=1e-12)
    np.testing.assert_array_equal(found.largest, np.abs(x - y).max(over))
    np.testing.assert_array_equal(found.count, 72)
    told = difference_of(found, ("a", "b"), ("a", "b"), "", None)
    assert told.rmse == pytest.approx(np.sqrt(((x - y) ** 2).mean()), rel=1e-12)
    assert found.sqnr == pytest.approx(10 * math.log10((x**2).sum() / ((x - y) ** 2).sum()), rel=1e-12)
    np.testing.assert_allclose(
        found.channel_sqnr, 10 * np.log10((x**2).sum(over) / ((x - y) ** 2).sum(over)), rtol=1e-12
    )
    assert found.cosine == pytest.approx((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()), rel=1e-12)
    assert found.worst_channel == ((x - y) ** 2).sum(over).argmax()
    assert found.sample == (((x - y) ** 2).sum((1, 2, 3)) / (x**2).sum((1, 2, 3))).argmax()


FEW = st.sampled_from([0.0, 1.0, -2.0, 0.25, 1e-3, np.nan, np.inf, -np.inf])


@given(
    arrays(np.float32, (5, 2, 3), elements=FEW),
    arrays(np.float32, (5, 2, 3), elements=FEW),
    st.lists(st.integers(1, 4), max_size=4),
)
def test_they_add_up_however_the_samples_are_split(a, b, cuts) -> None:
    found, whole = sums(a, b, cuts), sums(a, b)
    for name in ("signal", "noise", "cross"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-12, err_msg=name)
    for name in ("largest", "count", "unlike"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name), err_msg=name)
    finite = np.isfinite(a) & np.isfinite(b)
    np.testing.assert_array_equal(found.count, finite.sum((0, 2)))
    same = np.array([x == y or (x != x and y != y) for x, y in zip(a.flat, b.flat, strict=True)]).reshape(a.shape)
    np.testing.assert_array_equal(found.unlike, (~finite & ~same).sum((0, 2)))
    x, y = np.where(finite, a, 0).astype(np.float64), np.where(finite, b, 0).astype(np.float64)
    np.testing.assert_allclose(found.noise, ((x - y) ** 2).sum((0, 2)), rtol=1e-12)
    assert math.isnan(found.sqnr) == bool((~finite & ~same).any())


def test_what_is_not_finite_in_both_is_no_difference() -> None:
    a = normal(1, 2, 4)
    a[0, 1, :3] = np.nan, np.inf, -np.inf
    found = sums(a, a.copy())
    assert (found.sqnr, found.cosine, found.worst_channel, found.unlike.sum()) == (math.inf, 1.0, -1, 0)
    np.testing.assert_array_equal(found.count, [4, 1])
    np.testing.assert_array_equal(found.channel_sqnr, [math.inf, math.inf])


@pytest.mark.parametrize("other", [1.0, np.inf, -np.inf])
def test_nan_in_one_alone_makes_its_channel_and_sample_the_worst(other) -> None:
    a, b = pair()
    a[4, 2, 0, 0], b[4, 2, 0, 0] = np.nan, other
    found = sums(a, b, range(1, 6))
    assert math.isnan(found.sqnr)
    assert (found.worst_channel, found.sample, found.worst) == (2, 4, math.inf)
    assert [*np.isnan(found.channel_sqnr)] == [False, False, True, False, False]
    assert np.isfinite(found.cosine)


def test_zeros() -> None:
    zeros, some = np.zeros((1, 2, 3), np.float32), normal(1, 2, 3)
    assert (sums(zeros, zeros).sqnr, sums(zeros, zeros).cosine) == (math.inf, 1.0)
    assert sums(zeros, some).sqnr == -math.inf
    assert sums(some, zeros).sqnr == 0
    assert math.isnan(sums(zeros, some).cosine)
    assert math.isnan(sums(some, zeros).cosine)
    assert math.isnan(sums(some, some * 1e-9).cosine)  # no digits are left of it
    assert sums(some, some * np.float32(1e-3)).cosine == pytest.approx(1, abs=1e-7)
    assert sums(some, -some).cosine == -1


@pytest.mark.parametrize("error", [1e-3, 1e-5, 1e-7])
def test_the_cosine_tells_small_angles_from_none(error) -> None:
    """Of orthogonal a and e, cos = 1/√(1 + |e|²/|a|²)."""
    a = np.array([[[1.0, 2.0, 2.0]]])
    b = a + error * np.array([[[2.0, 1.0, -2.0]]])
    exact = -math.expm1(-0.5 * math.log1p(error**2))
    assert 1 - sums(a, b).cosine == pytest.approx(exact, rel=1e-6, abs=4e-16)


def test_decibels() -> None:
    assert decibels(100, 1) == 20
    assert decibels(1, 0) == decibels(0, 0) == math.inf
    assert decibels(0, 1) == -math.inf


def test_adding_does_not_change_what_was_added() -> None:
    a, b = pair()
    parts = [ErrorSums.of(a[n : n + 1], b[n : n + 1], 1, n) for n in range(2)]
    before = [part.noise.copy() for part in parts]
    ErrorSums.total(parts)
    for part, known in zip(parts, before, strict=True):
        np.testing.assert_array_equal(part.noise, known)
