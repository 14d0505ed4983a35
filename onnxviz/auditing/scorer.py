"""The scorer: a model's scores of classes, sample by sample, and whether the first class changes."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.errors import SelectionError
from onnxviz.inputs.samples import Feeds
from onnxviz.messages import printable
from onnxviz.model.model import Model
from onnxviz.model.probability import are_probabilities, softmax
from onnxviz.model.scores import find_scores, with_both
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.session import RunOptions, Session

Scored = NDArray[np.float64]
"""Scores of one sample, (classes, positions); one position where a whole image has one class."""


class Scorer:
    """Gives the scores of a model's classes before softmax or sigmoid.

    Args:
        model: the model.
        options: where it runs.

    Attributes:
        scores: where they lie.

    Raises:
        UnmeasuredError: it is not known where the model scores classes, or it gives boxes, of which none is the first.
    """

    def __init__(self, model: Model, options: RunOptions) -> None:
        try:
            self.scores = find_scores(model)
        except SelectionError as error:
            raise UnmeasuredError(f"it is not known where the model answers: {error}") from None
        if self.scores.head is not None:
            raise UnmeasuredError(f"{model.label} gives boxes: which answers are the same is not defined for them here")
        self._model = model
        self._options = options
        self._batching = Batching.of(model, options.memory)
        self._count: int | None = None

    @cached_property
    def _session(self) -> Session:
        """Opened at the first sample: where the scores lie can be asked without a run."""
        return Session.of(self._model, [self.scores.tensor], self._options)

    def of(self, feeds: Feeds) -> list[Scored]:
        """The scores of each row of a sample.

        Raises:
            UnmeasuredError: they are whole pictures, of which nothing says that their channels are classes; or samples
                have other numbers of them.
            InputError: the model cannot run on the sample.
        """
        rows = self._batching.count(feeds)
        (values,) = self._session.run([self.scores.tensor], self._session.own(self._batching.padded(feeds)))
        values = self._batching.unpadded(values, rows)
        if values.dtype.kind not in "fiu" or not values.ndim or len(values) != rows:
            raise UnmeasuredError(f"'{printable(self.scores.tensor)}' does not hold scores of each sample")
        found = [self.scores.by_class(row) for row in self.scores.real(values)]
        if found and found[0].shape[1] > 1 and not self._excludes():
            raise UnmeasuredError(
                f"nothing says that the channels of '{printable(self.scores.output)}' are classes: it has no softmax, "
                "sigmoid or arg-max, and the metadata name no classes"
            )
        for row in found:
            self._count = len(row) if self._count is None else self._count
            if len(row) != self._count:
                raise UnmeasuredError(f"the model scores {len(row)} classes of one sample and {self._count} of another")
        return found

    def _excludes(self) -> bool:
        """Whether the graph or the metadata tell that channels are classes."""
        return bool(self.scores.link or self.scores.names) or self.scores.tensor != self.scores.output


def changes(before: Scored, after: Scored, sure: float) -> tuple[float, float]:
    """At which share of the positions a sure answer changes, and at which it was sure; 0…1, of one position 0 or 1.

    Args:
        before: the scores that count.
        after: those that may put another class first.
        sure: the softmax, or what is a probability already, of a class that is sure.
    """
    classes = with_both(before)
    shares = classes if are_probabilities(classes) else softmax(classes, axis=0)
    certain = shares.max(axis=0) >= sure
    other = classes.argmax(0) != with_both(after).argmax(0)
    return float((certain & other).mean()), float(certain.mean())


def wilson_bounds(share: float, count: float) -> tuple[float, float]:
    """The interval in which a proportion lies with 95 % confidence (Wilson 1927), 0…1.

    Args:
        share: what was seen, 0…1.
        count: among how many, 1 or more.
    """
    z = 1.959964
    middle = share + z * z / (2 * count)
    apart = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    whole = 1 + z * z / count
    return max(0.0, (middle - apart) / whole), min(1.0, (middle + apart) / whole)
