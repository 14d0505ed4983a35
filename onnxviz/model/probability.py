"""Probabilities: what softmax and sigmoid make of scores, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LIMIT = 700.0  # exp of more overflows float64


def sigmoid(scores: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-x)) of each score, in the shape of `scores`."""
    shares: NDArray[Any] = 1 / (1 + np.exp(-np.clip(scores, -_LIMIT, _LIMIT)))
    return shares


def softmax(scores: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """exp(x) over its sum along `axis`, in the shape of `scores`."""
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=axis, keepdims=True)
    return shares
