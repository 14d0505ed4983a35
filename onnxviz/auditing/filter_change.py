"""Changes of filters: which filters of a layer are which of a baseline's, and how far each has moved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.filter_sketch import PROJECTIONS, Sketch, cells, chosen, effective_filters, signs
from onnxviz.auditing.trained_weights import TrainedWeight

ROUNDING = 1e-5
"""Relative distance that rounding explains, such as that of a batch normalisation that is folded in."""
# How far a filter may be from what it was to be known again, as a share of its norm. One of many is near by chance:
# the projections of two filters at random are less than 0.3 apart in 7 of 10⁹.
_FARTHEST = 0.3
# Filters of a layer that are looked for first: where few are found, all stand elsewhere or are others.
_TRIED = 32
# Single numbers of a filter by which one that moved is known again.
_ENOUGH = 4
# Relative distance of numbers that are one, and elements of a matrix in which they are looked up.
_EQUAL = 2e-6
_LARGEST = 2**25

Places = NDArray[np.int64]
"""Of each filter, or input channel, the number that it has in the baseline; -1 for one that is not there."""


@dataclass(frozen=True, eq=False)
class FilterChange:
    """What became of a layer's filters.

    Attributes:
        before: the layer in the baseline.
        after: the layer now.
        rows: places of the filters.
        inputs: places of the input channels of a group.
        moved: (filters now,) distance from the filter in the baseline, as a share of its `scale`; NaN of new filters.
        is_plain: whether filters are compared without batch normalisations, since one stands right behind the layer in
            one version alone, and with it they are others; biases are not compared then.
        is_sampled: whether that was measured on 8 input channels at most, since others are gone.
    """

    before: Sketch
    after: Sketch
    rows: Places
    inputs: Places
    moved: NDArray[np.float64]
    is_plain: bool = False
    is_sampled: bool = False

    @property
    def gone(self) -> Places:
        """Filters of the baseline that are no longer there."""
        return np.setdiff1d(np.arange(self.before.filters), self.rows)

    @property
    def added(self) -> Places:
        """Filters that were not in the baseline."""
        return np.flatnonzero(self.rows < 0)

    @property
    def inputs_gone(self) -> int:
        """How many input channels of the baseline are not read any more."""
        return self.before.inputs - len(np.unique(self.inputs[self.inputs >= 0]))

    @property
    def inputs_added(self) -> int:
        """How many input channels are read that were not."""
        return int((self.inputs < 0).sum())

    @property
    def is_reordered(self) -> bool:
        """Whether filters stand in another order."""
        return _disordered(self.rows)

    @property
    def inputs_reordered(self) -> bool:
        """Whether input channels are read in another order."""
        return _disordered(self.inputs)

    @property
    def distance(self) -> float:
        """How far all filters that are still there moved together, as a share of their norm."""
        there = self.rows >= 0
        scale = self.before.scale[self.rows[there]]
        total = float(np.square(scale).sum())
        return math.sqrt(float(np.square(self.moved[there] * scale).sum()) / total) if total else math.inf

    @property
    def bias_distance(self) -> float:
        """How far the biases moved, as a share of their norm; 0 where there are none, infinite where there were."""
        there = self.rows >= 0
        before = self.before.bias[self.rows[there]].astype(np.float64)
        apart = float(np.linalg.norm(self.after.bias[there] - before))
        norm = float(np.linalg.norm(before))
        return apart / norm if norm else math.inf if apart else 0.0

    def is_moved(self, limit: float = ROUNDING) -> bool:
        """Whether a filter that is still there moved by more than a share of its scale."""
        return bool((self.moved > limit).any())  # NaN, of new filters, is not


def _disordered(places: Places) -> bool:
    return bool((np.diff(places[places >= 0]) < 0).any())


def filter_change(before: Sketch, after: Sketch, weight: TrainedWeight) -> FilterChange | None:
    """What became of a layer's filters; None where nothing tells which of them is which.

    Args:
        before: of the layer in the baseline.
        after: of the layer now.
        weight: the layer's now.
    """
    if before.window != after.window:
        return None
    if not (before.scaled and after.scaled):
        before, after = before.directions(), after.directions()
    found = _change(before, after, weight, plain=False)
    if before.folded != after.folded and (found is None or found.is_moved()):
        plain = _change(before.plain(), after.plain(), weight, plain=True)
        if plain is not None and (found is None or plain.distance < found.distance / 2):
            return plain
    return found


def _change(before: Sketch, after: Sketch, weight: TrainedWeight, *, plain: bool) -> FilterChange | None:
    """What became of filters of one window, with the batch normalisations that the sketches have."""
    inputs, alike = np.arange(after.inputs), before.shape[:2] == after.shape[:2]
    if alike and before.digest and before.digest == after.digest:
        return FilterChange(before, after, np.arange(after.filters), inputs, np.zeros(after.filters))
    if before.inputs == after.inputs:
        rows = _nearest(before, after.projection)
        if (rows >= 0).mean() > 0.5 or (after.filters < before.filters and (rows >= 0).all()):
            return FilterChange(before, after, rows, inputs, _apart(before, rows, after.projection), plain)
    found = _looked_up(before, after, weight, plain=plain)
    if found is not None:
        return found
    if alike:  # each in its place, however far it moved
        rows = np.arange(after.filters)
        return FilterChange(before, after, rows, inputs, _apart(before, rows, after.projection), plain)
    return None


def _apart(before: Sketch, rows: Places, projection: NDArray[np.float32]) -> NDArray[np.float64]:
    """(filters,) relative distances; NaN where there is no filter in the baseline."""
    found = np.full(len(rows), np.nan)
    there = rows >= 0
    old = before.projection[rows[there]].astype(np.float64)
    apart = np.sqrt(np.square(projection[there] - old).sum(1))
    found[there] = _share(apart, before.scale[rows[there]])
    return found


def _share(apart: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances as shares; of nothing, any distance is infinite."""
    return np.where(scale > 0, apart / np.where(scale > 0, scale, 1), np.where(apart > 0, np.inf, 0.0))


def _nearest(before: Sketch, projection: NDArray[np.float32]) -> Places:
    """Places of filters that read the same input channels: their own where they are near enough, else the nearest."""
    count = len(projection)
    shared = min(count, before.filters)
    own = _apart(before, np.arange(shared), projection[:shared])
    stays = own <= (_FARTHEST if (own <= _FARTHEST).mean() > 0.5 else 0.0)
    rows = np.full(count, -1)
    rows[:shared][stays] = np.flatnonzero(stays)
    new, free = np.flatnonzero(rows < 0), np.setdiff1d(np.arange(before.filters), rows)
    some = new[:: max(1, len(new) // _TRIED)]
    if len(some) == len(new) or (_found(before, projection, some, free) >= 0).mean() > 0.25:
        found = _found(before, projection, new, free)
        rows[new[found >= 0]] = free[found[found >= 0]]
    if count == before.filters:  # what is left of as many stands where it stood
        waiting = np.setdiff1d(np.flatnonzero(rows < 0), rows)
        rows[waiting] = waiting if len(waiting) < count / 2 else -1
    return rows


def _found(before: Sketch, projection: NDArray[np.float32], new: Places, free: Places) -> Places:
    """Of some filters the place among some of the baseline that is near enough; the nearest first."""
    old, now = before.projection[free].astype(np.float64), projection[new].astype(np.float64)
    squares = np.maximum(np.square(old).sum(1)[None] + np.square(now).sum(1)[:, None] - 2 * now @ old.T, 0)
    return _assigned(squares, np.square(_FARTHEST * before.scale[free])[None])


def _looked_up(before: Sketch, after: Sketch, weight: TrainedWeight, *, plain: bool) -> FilterChange | None:
    """Filters and input channels found by single numbers that both versions have, whatever their order."""
    grouped = weight.groups > 1 and after.inputs > 1  # each group reads channels of its own
    if grouped or after.filters * after.inputs > _LARGEST:
        return None
    found = np.concatenate([cells(part, after.shape) for _, part in effective_filters(weight, plain=plain)])
    rows, inputs = np.full(after.filters, -1), _voted(found.T, before.rows.T)
    for _ in range(2):  # what one axis tells helps the other
        _add_rest(rows, found, before.columns, _now(inputs, chosen(before.inputs)))
        _add_rest(inputs, found.T, before.rows.T, _now(rows, chosen(before.filters)))
    if (rows >= 0).mean() < 0.5 or (inputs >= 0).mean() < 0.5:
        return None
    if len(np.unique(inputs)) == before.inputs == after.inputs:
        directions = signs(before.shape)[inputs].reshape(-1, PROJECTIONS)
        projection = np.concatenate(
            [
                part.astype(np.float64) @ directions / math.sqrt(PROJECTIONS)
                for _, part in effective_filters(weight, plain=plain)
            ]
        ).astype(np.float32)
        return FilterChange(before, after, rows, inputs, _apart(before, rows, projection), plain)
    at = _now(inputs, chosen(before.inputs))
    moved = np.full(after.filters, np.nan)
    there = rows >= 0
    old = before.columns[rows[there]][:, at >= 0].astype(np.float64)
    apart = np.square(found[there][:, at[at >= 0]] - old).sum(1)
    share = len(at[at >= 0]) / before.inputs  # of the filter that was looked at
    size = np.maximum(np.sqrt(np.square(old).sum(1)), before.least * math.sqrt(share))
    moved[there] = _share(np.sqrt(apart), size)
    return FilterChange(before, after, rows, inputs, moved, plain, is_sampled=True)


def _now(places: Places, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where those of the baseline that are wanted are now; -1 where they are not."""
    back = np.full(max(int(places.max(initial=-1)), int(wanted.max(initial=-1))) + 1, -1)
    back[places[places >= 0]] = np.flatnonzero(places >= 0)
    return back[wanted]


def _voted(found: NDArray[np.float32], kept: NDArray[np.float32]) -> Places:
    """Places of the rows of a matrix: of each the row of the baseline most of whose kept numbers are in it.

    Args:
        found: (rows now, n), all numbers.
        kept: (rows in the baseline, up to 8), of each row some.
    """
    count, before = len(found), len(kept)
    values = kept.ravel().astype(np.float64)
    order = np.argsort(values, kind="stable")
    values, owners = values[order], np.repeat(np.arange(before), kept.shape[1])[order]
    numbers = found.astype(np.float64)
    wide = _EQUAL * np.abs(numbers)
    left = np.searchsorted(values, numbers - wide, "left")
    rows, columns = np.nonzero((np.append(values, np.inf)[left] <= numbers + wide) & (numbers != 0))
    left = left[rows, columns]
    width = np.searchsorted(values, (numbers + wide)[rows, columns], "right") - left
    votes = np.zeros(count * before, np.int64)
    for step in range(min(int(width.max(initial=0)), kept.shape[1])):  # more of one number say nothing
        inside = width > step
        votes += np.bincount(rows[inside] * before + owners[left[inside] + step], minlength=len(votes))
    matrix = votes.reshape(count, before)
    return _assigned(-matrix, -float(min(2, kept.shape[1], found.shape[1])))


def _assigned(costs: NDArray[Any], most: float | NDArray[Any]) -> Places:
    """(rows,) a column of each, at a cost of at most `most`; the cheapest first, each column once."""
    places = np.full(len(costs), -1)
    rows, columns = np.nonzero(costs <= most)
    taken = np.zeros(costs.shape[1], bool)
    for one in np.argsort(costs[rows, columns], kind="stable"):
        row, column = rows[one], columns[one]
        if places[row] < 0 and not taken[column]:
            places[row], taken[column] = column, True
    return places


def _add_rest(places: Places, found: NDArray[np.float32], kept: NDArray[np.float32], at: NDArray[np.int64]) -> None:
    """Adds the places of rows that votes do not tell: the nearest by their numbers in columns that are known.

    Such rows are of zeros, or have moved.

    Args:
        places: of the rows, filled in.
        found: (rows now, n), all numbers.
        kept: (rows in the baseline, up to 8), of each row some.
        at: (up to 8,) the columns where those are now, -1 where that is not known.
    """
    new, old = np.flatnonzero(places < 0), np.setdiff1d(np.arange(len(kept)), places)
    if not len(new) or not len(old) or not (at >= 0).any():
        return
    a, b = found[new][:, at[at >= 0]].astype(np.float64), kept[old][:, at >= 0].astype(np.float64)
    apart = np.stack([np.sqrt(np.square(row - b).sum(1)) for row in a])
    size = np.sqrt(np.maximum(np.square(a).sum(1)[:, None], np.square(b).sum(1)[None]))
    best = _assigned(apart / np.where(size > 0, size, 1), _FARTHEST if a.shape[1] >= _ENOUGH else _EQUAL)
    places[new[best >= 0]] = old[best[best >= 0]]
