"""Histograms of values over fixed, logarithmic bins, so that parts merge exactly.

A float32's exponent and the first bit of its fraction name its bin: from 2^k to 1.5·2^k and from there to 2^(k+1),
for k from -16 to 15, on both sides of zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOWEST, _HIGHEST = -16, 15
_SIDE = 2 * (_HIGHEST - _LOWEST + 1)
_BIASED = 127  # what float32 adds to an exponent
_FRACTION_BITS = 22  # of the 23, those that are not looked at


def _edges() -> NDArray[Any]:
    steps = [part * 2.0**k for k in range(_LOWEST, _HIGHEST + 1) for part in (1, 1.5)]
    positive = np.array([*steps, 2.0 ** (_HIGHEST + 1)])
    return np.concatenate([-positive[::-1], positive])


EDGES: NDArray[Any] = _edges()
"""The edges between bins, (130,), ascending: bin i lies between EDGES[i - 1] and EDGES[i]."""
BINS = len(EDGES) + 1


def histogram(values: NDArray[Any]) -> NDArray[Any]:
    """How many finite values lie in each bin, channel by channel.

    Args:
        values: (rows, channels, …), of any real type; looked at as float32.

    Returns:
        int64 (channels, `BINS`). The first and last bins hold what is beyond the edges, the middle one what is nearer
        to zero than the smallest; a value on an edge counts with those farther from zero.
    """
    flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1).astype(np.float32)
    bits = np.abs(flat).view(np.uint32) >> _FRACTION_BITS
    place = np.clip(bits.astype(np.int64) - 2 * (_BIASED + _LOWEST), -1, _SIDE)
    signed = np.where(flat < 0, -place - 1, place + 1)
    bins = np.where(place < 0, 0, signed) + _SIDE + 1
    channels = np.arange(len(flat))[:, None]
    counted = (bins + channels * BINS)[np.isfinite(flat)]
    return np.bincount(counted, minlength=len(flat) * BINS).reshape(len(flat), BINS).astype(np.int64)
