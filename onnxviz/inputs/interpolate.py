"""Linear interpolation along the last axes of an array, as the frameworks do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def resized(values: NDArray[Any], sizes: Sequence[int], *, corners: bool = False) -> NDArray[Any]:
    """`values` with its last `len(sizes)` axes interpolated linearly to `sizes`; float64 in, float64 out, else float32.

    Args:
        values: any leading axes, then one axis for each size.
        sizes: the new lengths.
        corners: whether first and last samples stay where they are (torch's `align_corners=True`); else samples are
            centres of cells, and beyond the outer centres values are held (OpenCV's INTER_LINEAR, torch's default).
    """
    kind = np.float64 if values.dtype == np.float64 else np.float32
    found: NDArray[Any] = values.astype(kind)
    for axis, size in zip(range(-len(sizes), 0), sizes, strict=True):
        if found.shape[axis] == size:
            continue
        matrix = _weights(found.shape[axis], size, corners).astype(kind)
        found = np.moveaxis(np.tensordot(found, matrix, (axis, 1)), -1, axis)
    return np.ascontiguousarray(found)


def _weights(length: int, size: int, corners: bool) -> NDArray[Any]:
    """(size, length): each new sample as a weighted sum of two old ones."""
    if corners:
        places = np.linspace(0, length - 1, size) if size > 1 else np.zeros(1)
    else:
        places = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    low = np.minimum(np.floor(places).astype(np.intp), max(length - 2, 0))
    high = np.minimum(low + 1, length - 1)
    share = places - low
    matrix = np.zeros((size, length))
    rows = np.arange(size)
    matrix[rows, low] += 1 - share
    matrix[rows, high] += share
    return matrix
