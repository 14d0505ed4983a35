"""Similarity of filters: which layers of two models have the same weights, whatever scales, folds or quantises them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.comparison.layer_kind import dense_matrix, dense_shape, kind_of
from onnxviz.model.layer import Layer

# Of a layer, up to this many weights are compared: of a filter up to 256, of as many filters as then fit in. Which is
# drawn by size alone, so that layers of one shape show the same.
_SAMPLED = 8192
_SAMPLED_OF_A_FILTER = 256
# Directions that differ by less are one.
_DISTINCT = 1e-3
# Numbers that must be free for likeness to say anything: distinct filters x (weights of each - 1).
_FEWEST = 16
# 1 - mean |cosine|. In EfficientNet-Lite0 eight bits for a whole tensor leave up to 0.006, batch normalisations folded;
# different layers of one shape begin at 0.57, with depthwise filters.
_FARTHEST = 0.2
# How much farther the next layer must be: times the distance, and a distance that rounding may make of none.
_MARGIN = 2.0
_ROUNDING = 0.003
# Elements of a dense layer's matrix beyond which it is not looked at: where it is quantised, all of it is multiplied
# out. Such layers are few, and position tells them.
_LARGEST_DENSE = 2**24


@dataclass(frozen=True, eq=False)
class _Sample:
    """Filters of a layer.

    Attributes:
        directions: (F, D) float32, each filter of length 1.
        lengths: (F,) float32, of the filters before, relative to the longest.
    """

    directions: NDArray[np.float32]
    lengths: NDArray[np.float32]


def alike(a: Iterable[Layer], b: Iterable[Layer]) -> list[tuple[tuple[Layer, ...], tuple[Layer, ...]]]:
    """Groups of layers of two models whose weights are the same: one of each, or several that weights cannot tell.

    Compared are the directions of filters, each divided by its length: a batch normalisation that is folded in scales
    them, and may flip their sign. Weights that say little, such as constant ones, are left out. Each layer is in one
    group at most; the weights of one layer at a time are held.
    """
    sides = [_by_shape(layers) for layers in (a, b)]
    return [group for shape in sides[0] if shape in sides[1] for group in _groups(sides[0][shape], sides[1][shape])]


_Samples = list[tuple[Layer, _Sample]]


def _by_shape(layers: Iterable[Layer]) -> dict[tuple[Any, ...], _Samples]:
    found: dict[tuple[Any, ...], _Samples] = defaultdict(list)
    for layer in layers:
        weight = _weight(layer)
        if weight is None:
            continue
        sample = _sample(weight)
        if sample is not None:
            kernel = tuple(size for size in weight.shape[2:] if size > 1)  # 1-D may be written with an axis of size 1
            found[(kind_of(layer), *weight.shape[:2], *kernel)].append((layer, sample))
    return dict(found)


def _weight(layer: Layer) -> NDArray[Any] | None:
    """The filters; read from a copy of the layer, which keeps what it has read as long as it lives."""
    if not layer.is_convolution:
        shape = dense_shape(layer)
        return dense_matrix(layer) if shape is not None and shape[0] * shape[1] <= _LARGEST_DENSE else None
    return replace(layer, source=replace(layer.source)).weight if layer.source is not None else None


def _sample(weight: NDArray[Any]) -> _Sample | None:
    """Directions of some filters of (O, …); None where they say little."""
    filters = weight.reshape(len(weight), -1) if weight.ndim > 2 else weight
    count, size = filters.shape
    wide = min(size, _SAMPLED_OF_A_FILTER)
    if wide < 2:
        return None
    rows, columns = _drawn(count, min(count, _SAMPLED // wide)), _drawn(size, wide)
    chosen = np.nan_to_num(filters[np.ix_(rows, columns)].astype(np.float64), posinf=0, neginf=0)
    lengths = np.sqrt(np.square(chosen).sum(1))
    directions = chosen / np.where(lengths > 0, lengths, 1)[:, None]
    if _distinct(directions) * (wide - 1) < _FEWEST:
        return None
    return _Sample(directions.astype(np.float32), (lengths / lengths.max()).astype(np.float32))


def _drawn(count: int, wanted: int) -> NDArray[np.int64]:
    if wanted == count:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, wanted, replace=False))


def _distinct(directions: NDArray[np.float64]) -> int:
    """How many directions there are, up to sign; of equal weights, such as an average has them, none."""
    varied = directions[np.ptp(directions, axis=1) > _DISTINCT]
    if not len(varied):
        return 0
    largest = np.take_along_axis(varied, np.abs(varied).argmax(1)[:, None], 1)
    return len(np.unique(np.rint(varied * np.sign(largest) / _DISTINCT).astype(np.int32), axis=0))


def _groups(a: _Samples, b: _Samples) -> list[tuple[tuple[Layer, ...], tuple[Layer, ...]]]:
    """The groups among layers of one shape: connected by pairs of which each is (nearly) the nearest to the other."""
    distances = _distances([sample for _, sample in a], [sample for _, sample in b])
    nearest = np.maximum(distances.min(1)[:, None], 0), np.maximum(distances.min(0)[None], 0)
    near = (distances <= _FARTHEST) & (distances <= _MARGIN * np.minimum(*nearest) + _ROUNDING)
    groups, waiting = [], set(np.flatnonzero(near.any(1)).tolist())
    while waiting:
        rows = np.zeros(len(a), bool)
        rows[min(waiting)] = True
        while True:
            columns = near[rows].any(0)
            wider = near[:, columns].any(1)
            if (wider == rows).all():
                break
            rows = wider
        waiting -= set(np.flatnonzero(rows).tolist())
        groups.append(
            (tuple(a[row][0] for row in np.flatnonzero(rows)), tuple(b[row][0] for row in np.flatnonzero(columns)))
        )
    return groups


def _distances(a: Sequence[_Sample], b: Sequence[_Sample]) -> NDArray[np.float64]:
    """1 - mean |cosine| of filters, (layers of a, layers of b); 0 where all are parallel.

    A filter counts by its length, in the model where it is shorter beside the others: rounding to steps of one size
    for all leaves least of the short ones.
    """
    directions = np.stack([sample.directions for sample in b])
    lengths = np.stack([sample.lengths for sample in b])
    found = np.ones((len(a), len(b)))
    for row, sample in enumerate(a):
        cosines = np.abs(np.einsum("fd,nfd->nf", sample.directions, directions))
        weights = np.minimum(sample.lengths, lengths)
        total = weights.sum(1)
        found[row] = 1 - (cosines * weights).sum(1) / np.where(total > 0, total, 1)
    return found
