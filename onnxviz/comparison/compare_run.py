"""The run of a comparison: both models on each sample, differences added up; as many layers at once as fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.comparison.comparison import Alone
from onnxviz.comparison.error_sums import ErrorSums
from onnxviz.comparison.fed_alike import PairedSample
from onnxviz.comparison.layer_alone import LayersAlone
from onnxviz.comparison.pairing import LayerPair, NotCompared, Pairing, ReadPair
from onnxviz.comparison.side import Side
from onnxviz.comparison.top_class import Answer, TopClasses
from onnxviz.errors import OnnxvizError
from onnxviz.inputs.failures import Progress, nothing_usable
from onnxviz.inputs.samples import Feeds
from onnxviz.messages import dims

_BYTES = 8  # of each value of both models together, in float32
_SPACE = 6  # how much more is taken while one layer's differences are worked out in float64


class CompareRun:
    """Two models, what is compared of them, and the samples.

    Args:
        a, b: the models.
        pairing: what is compared.
        samples: what both are fed.
        skip: whether a sample that fails is left out.
        progress: called with (steps done, steps in all).

    Attributes:
        failed: (label, error) of samples that were left out.
        sums: of each pair that was compared.
        not_compared: counterparts that turned out to be of other shapes.
        top: counts agreement; None where one of the models does not score classes.
        unanswered: why not; "" where both do.
    """

    def __init__(
        self, a: Side, b: Side, pairing: Pairing, samples: Sequence[PairedSample], *, skip: bool,
        progress: Progress | None,
    ) -> None:  # fmt: skip
        self.a, self.b = a, b
        self.samples = samples
        self.failed: list[tuple[str, str]] = []
        self.sums: dict[ReadPair, ErrorSums] = {}
        self.not_compared: list[NotCompared] = []
        self._apart: set[ReadPair] = set()
        self._skip = skip
        self._bad: set[int] = set()
        self._progress = progress
        answers = Answer.of(a), Answer.of(b)
        self.unanswered = answers[0].refusal or answers[1].refusal
        one, other = (answer.scores for answer in answers)
        self.top = TopClasses(one, other) if one is not None and other is not None else None
        self._scores = [(x, y) for x, y in zip(answers[0].readings, answers[1].readings, strict=False)]
        self._pairs = [*pairing.layers, *pairing.outputs]

    def run(self) -> None:
        """Runs both models on all samples.

        Raises:
            OnnxvizError: a sample fails and is not to be skipped, or none can be used.
        """
        groups = list(self._groups())
        total = len(groups) * len(self.samples)
        for place, group in enumerate(groups):
            scores = self._scores if place == 0 else []
            runs = (
                self.a.runner([*(pair.a for pair in group), *(one for one, _ in scores)]),
                self.b.runner([*(pair.b for pair in group), *(other for _, other in scores)]),
            )
            for number, sample in enumerate(self.samples):
                if number not in self._bad:
                    try:
                        values = [run(feeds) for run, feeds in zip(runs, sample.read(), strict=True)]
                    except OnnxvizError as error:
                        if not self._skip or place:
                            raise
                        self._bad.add(number)
                        self.failed.append((sample.label, str(error)))
                    else:
                        self._take(group, number, *values)
                if self._progress is not None:
                    self._progress(place * len(self.samples) + number + 1, total)
            if len(self._bad) == len(self.samples):
                raise nothing_usable(self.failed)

    def _take(self, group: Sequence[ReadPair], number: int, a: list[NDArray[Any]], b: list[NDArray[Any]]) -> None:
        for pair, one, other in zip(group, a, b, strict=False):
            if pair in self._apart:
                continue
            if one.shape != other.shape:
                why = f"A's is {dims(one.shape)}, B's {dims(other.shape)}"
                self.not_compared.append(NotCompared(*pair.names, why))
                self._apart.add(pair)
                self.sums.pop(pair, None)
                continue
            if one.size == 0:
                continue
            found = ErrorSums.of(one, other, pair.a.axis + 1, number)
            if pair in self.sums:
                self.sums[pair].add(found)
            else:
                self.sums[pair] = found
        if self.top is not None and len(a) > len(group):
            self.top.take(self.samples[number].label, a[-1], b[-1])

    def _groups(self) -> Iterator[list[ReadPair]]:
        """The pairs, as many at a time as the memory takes; the outputs with the last."""
        group: list[ReadPair] = []
        taken = 0
        for pair in self._pairs:
            size = self._sizes.get(pair, 0) * _BYTES
            if group and taken + size * _SPACE > self.a.options.memory:
                yield group
                group, taken = [], 0
            group.append(pair)
            taken += size
        yield group

    @cached_property
    def _sizes(self) -> dict[ReadPair, int]:
        """How many values each pair has, where shape inference tells."""
        shapes = None
        for sample in self.samples:
            try:
                shapes = self.a.model.shapes_at({name: array.shape for name, array in sample.a.read().items()})
            except OnnxvizError:
                continue
            break
        if shapes is None:
            return {}
        found = {}
        for pair in self._pairs:
            shape = shapes.of(pair.a.tap.tensor, pair.a.tap.scope) or ()
            found[pair] = math.prod(size if isinstance(size, int) else 1 for size in shape)
        return found

    def maps(self, pair: ReadPair) -> tuple[NDArray[Any], NDArray[Any]]:
        """A's and B's maps (C, spatial…) on the sample with the most noise; of several rows, that of the most."""
        feeds = self.samples[self.sums[pair].sample].read()
        (a,), (b,) = (
            side.runner([reading])(fed)
            for side, reading, fed in zip((self.a, self.b), (pair.a, pair.b), feeds, strict=True)
        )
        a, b = (array.reshape(-1, *array.shape[pair.a.axis + 1 :]) for array in (a, b))
        row = int(np.argmax([np.square(one.astype(np.float64) - other).sum() for one, other in zip(a, b, strict=True)]))
        return a[row], b[row]

    def alone(self, pairs: Sequence[LayerPair], most: int) -> dict[ReadPair, Alone]:
        """What each of B's layers costs by itself, on up to `most` samples spread over all.

        Args:
            pairs: of layers.
            most: how many samples.
        """
        good = [sample for number, sample in enumerate(self.samples) if number not in self._bad]
        step = max(1, len(good) // most)
        feeds: list[Feeds] = [sample.a.read() for sample in good[::step][:most]]
        outputs = [pair.a for pair in self._pairs if not isinstance(pair, LayerPair)]
        answers = [*(one for one, _ in self._scores), *outputs]
        exchange = LayersAlone(self.a, self.b, answers, feeds)
        found: dict[ReadPair, Alone] = {}
        group: list[LayerPair] = []
        taken, done = 0, 0
        for place, pair in enumerate(pairs):
            group.append(pair)
            taken += 2 * self._sizes.get(pair, 0) * _BYTES * len(feeds)
            if taken > self.a.options.memory / 2 or place == len(pairs) - 1:
                for one, alone in zip(group, exchange.of(group), strict=True):
                    if alone is not None:
                        found[one] = alone
                    done += 1
                    if self._progress is not None:
                        self._progress(done, len(pairs))
                group, taken = [], 0
        return found
