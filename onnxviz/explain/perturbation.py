"""Methods that change the input and look at the score: they need no gradient, so they work on every model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

from onnxviz.errors import InputError
from onnxviz.explain.method import Found, Method, Settings
from onnxviz.explain.probe import Case
from onnxviz.explain.resize import resized
from onnxviz.weights import Array

_MASKS = 1000
# Windows along the shorter side, unless a window is given.
_WINDOWS = 8


def occlusion(case: Case, settings: Settings, layer: str) -> Found:
    """By how much the score falls where a square is covered (Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2).

    A position's value is the mean fall over the squares that cover it, as in captum. Squares start every `stride`
    pixels until one reaches the far side; the last is cut off there.
    """
    spatial = case.spatial
    if not spatial:
        raise InputError(f"input '{case.probe.port.name}' has no positions to cover")
    window = settings.window or max(1, round(min(spatial) / _WINDOWS))
    stride = settings.stride or max(1, window // 2)
    if stride > window:
        raise InputError(f"with a stride of {stride}, squares of {window} would leave gaps; take {window} or less")
    squares = list(_squares(spatial, window, stride))
    falls, covered = np.zeros(spatial), np.zeros(spatial)
    for first in range(0, len(squares), case.batch):
        part = squares[first : first + case.batch]
        masks = np.zeros((len(part), *spatial), bool)
        for mask, square in zip(masks, part, strict=True):
            mask[square] = True
        scores = case.scores(np.where(case.over_channels(masks), settings.baseline, case.x))
        for square, score in zip(part, scores, strict=True):
            falls[square] += case.score - score
            covered[square] += 1
        if case.progress is not None:
            case.progress(first + len(part), len(squares))
    return Found(map=falls / np.maximum(covered, 1))


def rise(case: Case, settings: Settings, layer: str) -> Found:
    """E[P(x·M)·M] / keep over random masks M (Petsiuk et al. 2018, RISE, arXiv 1806.07421, equation 6).

    P is the class's probability where the target is a classifier's, else the score. Masks are `cells`² random bits,
    enlarged linearly and shifted by a random part of a cell, as in the authors' code.
    """
    spatial = case.spatial
    if not spatial:
        raise InputError(f"input '{case.probe.port.name}' has no positions to mask")
    count = settings.samples or _MASKS
    rng = np.random.default_rng(settings.seed)
    total = np.zeros(spatial)
    for first in range(0, count, case.batch):
        rows = min(case.batch, count - first)
        masks = np.stack([random_mask(rng, spatial, settings.cells, settings.keep) for _ in range(rows)])
        scores = case.probabilities(case.x * case.over_channels(masks))
        total += np.tensordot(scores, masks.astype(np.float64), 1)
        if case.progress is not None:
            case.progress(first + rows, count)
    return Found(map=total / count / settings.keep)


def _squares(spatial: tuple[int, ...], window: int, stride: int) -> Iterator[tuple[slice, ...]]:
    starts = [range(0, math.ceil(max(size - window, 0) / stride) * stride + 1, stride) for size in spatial]
    for corner in product(*starts):
        yield tuple(slice(start, min(start + window, size)) for start, size in zip(corner, spatial, strict=True))


def random_mask(rng: np.random.Generator, spatial: tuple[int, ...], cells: int, keep: float) -> Array:
    """One mask, (spatial…) float32 0…1."""
    grid = (rng.random((cells,) * len(spatial)) < keep).astype(np.float32)
    cell = [math.ceil(size / cells) for size in spatial]
    shift = [int(rng.integers(0, side)) for side in cell]
    large = resized(grid, [(cells + 1) * side for side in cell])
    return large[tuple(slice(start, start + size) for start, size in zip(shift, spatial, strict=True))]


METHODS = (
    Method(name="occlusion", needs="nothing", run=occlusion, source="Zeiler & Fergus 2014", signed=True),
    Method(name="rise", needs="nothing", run=rise, source="Petsiuk et al. 2018"),
)
