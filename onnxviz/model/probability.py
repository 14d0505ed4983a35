"""Probabilities: what softmax and sigmoid make of scores, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LIMIT = 700.0  # exp of more overflows float64
_ONE = 1e-3  # how far a sum of probabilities that float32 made may be from one


def sigmoid(scores: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-x)) of each score, in the shape of `scores`."""
    shares: NDArray[Any] = 1 / (1 + np.exp(-np.clip(scores, -_LIMIT, _LIMIT)))
    return shares


def softmax(scores: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """exp(x) over its sum along `axis`, in the shape of `scores`."""
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=axis, keepdims=True)
    return shares


def are_probabilities(scores: NDArray[Any]) -> bool:
    """Whether scores of several classes, along the first axis, are none below 0 and add up to 1."""
    return len(scores) > 1 and bool(scores.min() >= 0 and np.abs(scores.sum(axis=0) - 1).max() <= _ONE)
