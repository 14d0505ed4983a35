"""Likeness of two maps: rank correlation and structural similarity, in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", section III.
_SIGMA, _REACH = 1.5, 5
_K1, _K2 = 0.01, 0.03


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Spearman's ρ, −1…1; ties share the mean of their ranks; 0 where a map is constant: it ranks nothing."""
    a, b = _ranks(one.reshape(-1)), _ranks(other.reshape(-1))
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else 0.0


def _ranks(values: NDArray[Any]) -> NDArray[Any]:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(starts[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends - 1) / 2, ends - starts)
    return ranks


def structural_similarity(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Mean SSIM of two maps, each stretched to 0…1 first: 1 where they are equal.

    (Wang et al. 2004, equation 13, with their Gaussian window of σ = 1.5; borders that the window does not fit in are
    left out. A constant map becomes 0 throughout.) Maps smaller than the window get one as large as they are.

    Args:
        one: a map of any number of axes.
        other: another of the same shape.
    """
    x, y = _stretched(one), _stretched(other)
    mx, my = _blurred(x), _blurred(y)
    xx, yy, xy = _blurred(x * x) - mx * mx, _blurred(y * y) - my * my, _blurred(x * y) - mx * my
    c1, c2 = _K1**2, _K2**2
    ratio = (2 * mx * my + c1) * (2 * xy + c2) / ((mx * mx + my * my + c1) * (xx + yy + c2))
    return float(ratio.mean())


def _stretched(values: NDArray[Any]) -> NDArray[Any]:
    numbers = values.astype(np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    return (numbers - low) / (high - low) if high > low else np.zeros(numbers.shape)


def _blurred(values: NDArray[Any]) -> NDArray[Any]:
    """Weighted means under a Gaussian window, where it fits."""
    for axis in range(values.ndim):
        reach = min(_REACH, (values.shape[axis] - 1) // 2)
        taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * _SIGMA**2))
        taps /= taps.sum()
        count = values.shape[axis] - 2 * reach
        values = sum(
            (tap * values.take(range(place, place + count), axis) for place, tap in enumerate(taps)),
            start=np.zeros(()),
        )
    return values


def blurred(values: NDArray[Any], sigma: float, axes: int) -> NDArray[Any]:
    """`values` under a Gaussian of `sigma` samples along the last `axes` axes; ends are mirrored."""
    for axis in range(-axes, 0):
        length = values.shape[axis]
        reach = min(math.ceil(4 * sigma), length - 1)
        taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
        taps /= taps.sum()
        pads = [(0, 0)] * values.ndim
        pads[axis] = (reach, reach)
        padded = np.pad(values, pads, mode="symmetric")
        values = sum(
            (tap * padded.take(range(place, place + length), axis) for place, tap in enumerate(taps)),
            start=np.zeros(()),
        )
    return values
