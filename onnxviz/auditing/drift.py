"""Drift: how far the answers of two runs are apart on the same samples, and how often their classes differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.comparison.fed_alike import PairedSample
from onnxviz.comparison.reading import Precision, Reading
from onnxviz.comparison.side import Side
from onnxviz.errors import OnnxvizError, SelectionError
from onnxviz.inputs.failures import nothing_usable
from onnxviz.inputs.samples import Feeds
from onnxviz.model.model import Model
from onnxviz.model.scores import find_scores, with_both
from onnxviz.runtime.session import Session

Values = list[NDArray[Any]]
"""An answer: the scores of classes as (N, classes, positions), where the model gives any; then its outputs, (N, …)."""


class Answers:
    """A model ready to answer.

    Args:
        side: the model, and where it runs.
        taps: tensors of the main graph that are computed and given out besides.

    Attributes:
        scores: whether it scores classes that exclude one another, so that one of them is its answer.
        graph: the tensors that its session gives.

    Raises:
        OnnxvizError: it cannot be run.
    """

    def __init__(self, side: Side, taps: Sequence[str] = ()) -> None:
        self._side = side
        model = side.model
        outputs = [port.name for port in model.outputs if port.dtype.startswith(("float", "bfloat"))]
        try:
            found = find_scores(model)
        except SelectionError:
            found = None
        self._scores = found if found is not None and found.head is None else None
        self.scores = self._scores is not None
        first = [] if self._scores is None else [self._scores.tensor]
        self._tensors = list(dict.fromkeys([*first, *outputs]))
        self.graph = tuple(dict.fromkeys([*self._tensors, *(one.name for one in model.outputs), *taps]))
        self._session = Session.of(model, self.graph, side.options)

    def of(self, feeds: Feeds) -> Values:
        """What it answers to a sample.

        Raises:
            InputError: it cannot be run on it.
        """
        values = self._session.run(self.graph, self._side.fed(self._session, feeds))[: len(self._tensors)]
        batching = self._side.batching
        rows = batching.count(feeds)
        own = [batching.unpadded(value, rows, 0).astype(np.float64) for value in values]
        if self._scores is not None:
            own[0] = np.stack([with_both(self._scores.by_class(row)) for row in self._scores.real(own[0])])
        return own


@dataclass
class Drift:
    """What two runs differ by.

    Attributes:
        samples: how many were compared.
        answers: how many answers: samples, or positions of masks; 0 where no classes are scored.
        flips: how many of them have another class.
        flipped: label of the sample with the flip of the largest margin; "" where nothing flips.
        worst: label of the sample with the largest difference; "" where nothing differs.
    """

    samples: int = 0
    answers: int = 0
    flips: int = 0
    flipped: str = ""
    worst: str = ""
    _margin: float = 0.0
    _largest: dict[int, float] = field(default_factory=dict)
    _range: dict[int, tuple[float, float]] = field(default_factory=dict)

    def take(self, label: str, a: Values, b: Values, *, scores: bool) -> None:
        """Takes in what both runs answered to one sample; `scores`: whether the first arrays are scores of classes.

        Of models with other outputs the scores are compared alone.
        """
        if len(a) != len(b):
            a, b = (a[:1], b[:1]) if scores else ([], [])
        self.samples += 1
        for place, (one, other) in enumerate(zip(a, b, strict=True)):
            finite = one[np.isfinite(one)]
            low, high = self._range.get(place, (math.inf, -math.inf))
            self._range[place] = (
                min(low, float(finite.min(initial=math.inf))),
                max(high, float(finite.max(initial=-math.inf))),
            )
            largest = _apart(one, other)
            if largest > max(self._largest.values(), default=0.0):
                self.worst = label
            self._largest[place] = max(self._largest.get(place, 0.0), largest)
        if scores and a[0].shape == b[0].shape:
            self._compare_classes(label, a[0], b[0])

    def _compare_classes(self, label: str, a: NDArray[Any], b: NDArray[Any]) -> None:
        """Takes in scores (N, classes, positions)."""
        self.answers += a.shape[0] * a.shape[2]
        flipped = (a.argmax(1) != b.argmax(1)) | (np.isnan(a).any(1) != np.isnan(b).any(1))
        if a.shape[1] < 2 or not flipped.any():
            return
        self.flips += int(flipped.sum())
        best = np.sort(a.swapaxes(1, 2)[flipped], axis=1)
        margin = float(np.nan_to_num(best[:, -1] - best[:, -2], nan=math.inf).max())
        if margin >= self._margin:
            self._margin, self.flipped = margin, label

    @property
    def error(self) -> float:
        """The largest difference of a value, as a share of the range of its tensor; infinite where one is no number."""
        return max((self._share(place, value) for place, value in self._largest.items()), default=0.0)

    @property
    def margin(self) -> float:
        """Of the flips, the largest margin of the first run's class, as a share of the range of scores."""
        return self._share(0, self._margin)

    def _share(self, place: int, value: float) -> float:
        if not value:
            return 0.0
        low, high = self._range[place]
        scale = max(high - low, _LEAST * max(abs(low), abs(high)))
        return value / scale if math.isfinite(value) and scale > 0 else math.inf

    def words(self) -> str:
        """Differences and flips, for a message."""
        said = f"answers differ by up to {self.error:.2g} of their range"
        if self.flips:
            said += (
                f", and {self.flips:,} of {self.answers:,} have another class: one was ahead by {self.margin:.2g} of "
                f"the range ('{self.flipped}')"
            )
        return said


def drifts(first: Answers, others: Sequence[Answers], samples: Iterable[PairedSample]) -> list[Drift]:
    """What each of several runs differs by from a first one; samples that cannot be read or run are left out.

    Args:
        first: a run that is taken as right.
        others: runs of the other side; the first again for another run of it.
        samples: as both sides read them.

    Raises:
        OnnxvizError: none can be run.
    """
    found, failed = [Drift() for _ in others], []
    for sample in samples:
        try:
            mine, theirs = sample.read()
            a, answers = first.of(mine), [other.of(theirs) for other in others]
        except OnnxvizError as error:
            failed.append((sample.label, str(error)))
            continue
        for one, other, b in zip(found, others, answers, strict=True):
            one.take(sample.label, a, b, scores=first.scores and other.scores)
    if failed and not found[0].samples:
        raise nothing_usable(failed)
    return found


def drift(first: Answers, second: Answers, samples: Iterable[PairedSample]) -> Drift:
    """As `drifts`, of one run."""
    return drifts(first, [second], samples)[0]


def precision(*models: Model) -> Precision:
    """The lowest precision that a layer of the models computes in."""
    layers = [one for model in models for one in model.all_layers if one.source is not None]
    found = {Precision.of(one, Reading.of(one)) for one in layers}
    found |= {Precision.HALF for one in layers if one.source is not None and one.source.dtype in _HALF}
    order = (Precision.QUANTISED, Precision.HALF)
    return next((one for one in order if one in found), Precision.FULL)


_HALF = ("float16", "bfloat16")
# Where all answers are alike, their range is that of rounding: it counts as a hundredth of the largest value at least.
_LEAST = 0.01


def _apart(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The largest |a − b|; infinite where shapes differ or one alone is NaN or infinite."""
    if a.shape != b.shape:
        return math.inf
    different = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    gaps = np.abs(a[different] - b[different])
    return float(np.nan_to_num(gaps, nan=math.inf).max(initial=0.0))
