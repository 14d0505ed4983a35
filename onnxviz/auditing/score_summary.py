"""The summary of scores: what a model's scores of classes are over a data set, gathered in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.scorer import Scored, Scorer
from onnxviz.errors import OnnxvizError
from onnxviz.inputs.samples import Feeds, Sample
from onnxviz.maps.moments import Moments
from onnxviz.model.probability import are_probabilities, softmax
from onnxviz.model.scores import with_both

# Smaller probabilities are no signal of float32.
_TINY = 1e-30


@dataclass
class ScoreSummary:
    """Scores before softmax or sigmoid, added up; those that are not finite are left out.

    Attributes:
        count: of how many rows of samples.
        single: whether each is one logit.
        winners: the classes that come first, at any position of any row.
        classes: of each class, over the rows, of its mean over the positions; of probabilities, their logarithms.
        apart: how far the inputs of each sample but the first are from the first's, in units of its deviation.
        lowest, highest: of all scores; infinite where there are none.
        probabilities: in how many rows the scores are probabilities already.
        saturated: in how many the largest share is 1 to the last bit of float32, at all positions.
    """

    count: int = 0
    single: bool = False
    winners: set[int] = field(default_factory=set)
    classes: Moments = field(default_factory=lambda: Moments.none(0))
    apart: list[float] = field(default_factory=list)
    lowest: float = math.inf
    highest: float = -math.inf
    probabilities: int = 0
    saturated: int = 0

    @classmethod
    def of(cls, scorer: Scorer, samples: Iterable[Sample]) -> ScoreSummary:
        """Of a model over samples; those that cannot be used are left out.

        Raises:
            UnmeasuredError: see `Scorer.of`.
        """
        made, first = cls(), None
        for sample in samples:
            try:
                feeds = sample.read()
                rows = scorer.of(feeds)
            except UnmeasuredError:
                raise
            except OnnxvizError:
                continue
            if first is None:
                first = feeds
            else:
                made.apart.append(_furthest(first, feeds))
            for row in rows:
                if np.isfinite(row).all():
                    made._add(row, linked=bool(scorer.scores.link))
        return made

    def _add(self, row: Scored, *, linked: bool) -> None:
        """Takes in a row; `linked`: whether a softmax or sigmoid follows."""
        given = are_probabilities(row)
        classes = with_both(np.log(np.maximum(row, _TINY)) if given else row)
        shares = row if given and not linked else softmax(row, axis=0)
        if not self.count:
            self.classes, self.single = Moments.none(len(classes)), len(row) == 1
        self.classes.add(Moments.of(classes.mean(axis=1)[None], self.count))
        self.winners.update(classes.argmax(axis=0).tolist())
        self.lowest, self.highest = min(self.lowest, float(row.min())), max(self.highest, float(row.max()))
        self.probabilities += given
        self.saturated += bool((shares.max(axis=0).astype(np.float32) == 1).all())
        self.count += 1


def _furthest(first: Feeds, other: Feeds) -> float:
    return max(_distance(first[name], other[name]) for name in other)


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """How far two inputs are apart, in units of the first's deviation; infinite of other sizes."""
    if one.shape != other.shape or one.dtype.kind not in "fiu":
        return math.inf
    apart = float(np.sqrt(np.mean((one.astype(np.float64) - other) ** 2)))
    spread = float(one.astype(np.float64).std())
    return apart / spread if spread else (math.inf if apart else 0.0)
