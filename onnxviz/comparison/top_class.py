"""Top classes: whether two models put the same class first, sample by sample or position by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.comparison.comparison import Agreement, Flip
from onnxviz.comparison.reading import Reading
from onnxviz.comparison.side import Side
from onnxviz.errors import SelectionError
from onnxviz.model.scores import Scores, find_scores, name_of, with_both


@dataclass(frozen=True)
class Answer:
    """Where a model scores classes that exclude one another, and how that is read.

    `refusal` says why there is no such place.
    """

    scores: Scores | None
    refusal: str = ""
    readings: tuple[Reading, ...] = ()

    @classmethod
    def of(cls, side: Side) -> Answer:
        """Where the model of a side answers."""
        try:
            found = find_scores(side.model)
        except SelectionError as error:
            return cls(None, str(error))
        if found.head is not None:
            return cls(None, f"{side.label} gives boxes, of which none is the first: their outputs are compared alone")
        return cls(found, readings=(Reading.of_tensor(side.model, found.tensor),))


class TopClasses:
    """Counts agreement over samples.

    Args:
        a, b: where the models answer.
    """

    def __init__(self, a: Scores, b: Scores) -> None:
        self._scores = a, b
        self._agreeing = self._total = self._unknown = 0
        self._positions = False
        self._flips: list[Flip] = []
        self.unequal = ""

    def take(self, label: str, a: NDArray[Any], b: NDArray[Any]) -> None:
        """Takes in the scores of a sample, batch axis included."""
        a, b = np.atleast_1d(a), np.atleast_1d(b)
        for row, (one, other) in enumerate(zip(a, b, strict=True)):
            name = label if len(a) == 1 else f"{label}[{row}]"
            self._take_row(
                name, *(scores.by_class(array) for array, scores in zip((one, other), self._scores, strict=True))
            )

    def _take_row(self, label: str, a: NDArray[Any], b: NDArray[Any]) -> None:
        one, other = with_both(a), with_both(b)
        if one.shape != other.shape:
            self.unequal = (
                "top classes are not compared: "
                f"A scores {len(a)} classes at {a.shape[1]:,} positions, B {len(b)} at {b.shape[1]:,}"
            )
            return
        unknown = np.isnan(one).any(0) | np.isnan(other).any(0)
        same = (one.argmax(0) == other.argmax(0)) & ~unknown
        self._unknown += int(unknown.sum())
        self._agreeing += int(same.sum())
        self._total += len(same)
        self._positions |= len(same) > 1
        if len(same) == 1 and not same[0]:
            names = self._scores[0].names or self._scores[1].names
            self._flips.append(Flip(label, _first(a[:, 0], names), _first(b[:, 0], names)))

    def agreement(self) -> Agreement | None:
        """What was counted; None where nothing could be."""
        if self.unequal or not self._total:
            return None
        flips = () if self._positions else tuple(self._flips)
        return Agreement(self._agreeing, self._total, self._positions, flips, self._unknown)


def _first(scores: NDArray[Any], names: tuple[str, ...]) -> tuple[int, str, float]:
    """The first class of (scores,), its name, and how far it is above the second; -1 where a score is NaN."""
    classes = with_both(scores[:, None])[:, 0]
    if np.isnan(classes).any():
        return -1, "", float("nan")
    number = int(classes.argmax())
    next_best = np.delete(classes, number).max()
    return number, name_of(number, names, len(scores)), float(classes[number] - next_best)
