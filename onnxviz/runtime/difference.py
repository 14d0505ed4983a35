"""Difference of two arrays: absolute, and relative to the larger's scale."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def difference(a: NDArray[Any], b: NDArray[Any]) -> tuple[float, float]:
    """Largest |a − b|, and that over the largest finite |b|; infinite where one is NaN and the other not."""
    if a.shape != b.shape:
        return math.inf, math.inf
    if a.dtype.kind not in "fc" or a.size == 0:
        return (0.0, 0.0) if np.array_equal(a, b) else (math.inf, math.inf)
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    one, other = a.astype(wide), b.astype(wide)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    if same.all():
        return 0.0, 0.0
    finite = np.isfinite(one) & np.isfinite(other)
    if not (finite | same).all():
        return math.inf, math.inf
    absolute = float(np.abs(one[finite] - other[finite]).max())
    largest = float(np.abs(other[finite]).max())
    return absolute, absolute / largest if largest > 0 else math.inf
