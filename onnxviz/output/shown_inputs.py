"""Inputs as they are shown beside what is drawn of them: the photo, its name, and the model's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onnxviz.errors import OnnxvizError
from onnxviz.inputs.given import Given
from onnxviz.inputs.samples import Feeds
from onnxviz.maps.folded import MapsBatch
from onnxviz.maps.tapped_run import TappedRun
from onnxviz.plots import Photo
from onnxviz.predictions.answering import Answering
from onnxviz.predictions.prediction import Prediction


class ShownInputs:
    """What the model was given as each label of a run, and what it says of it.

    The answer is `predict`'s: the model is run to its end, by a session of its own. A model that cannot be asked has
    none, and its maps are drawn all the same.

    Args:
        run: whose inputs they are.
        labels: names of the classes; None for those in the model's metadata.
        answer: whether the model is asked.

    Attributes:
        why: why there are no answers; "" where there are.

    Raises:
        InputError: the labels do not fit the model's classes.
    """

    def __init__(self, run: TappedRun, labels: Sequence[str] | None = None, *, answer: bool = True) -> None:
        self._run = run
        self._labels = labels
        self._asked: Answering | None = None
        self._last: tuple[Feeds | None, list[Prediction]] = (None, [])
        self.why = "" if answer else "it was not asked for"
        self.predictions: list[Prediction | None] = []
        if not answer:
            return
        try:
            self._asked = Answering(run.model, run.options, labels)
        except OnnxvizError as error:
            if labels is not None:
                raise
            self.why = str(error)

    def of(self, batch: MapsBatch, position: int) -> Photo:
        """The photo of a label of a batch, with its name and the answer; each label is asked for once, in order."""
        label = batch.labels[position]
        sample, feeds, row = batch.source(position)
        given = Given.of(self._run.model, sample, self._run.images, label, row)
        said = self._said(label, feeds, row)
        self.predictions.append(said)
        return Photo.of(given.picture(feeds=feeds), given.name, "" if said is None else said.answer.sentence)

    def _said(self, label: str, feeds: Feeds, row: int) -> Prediction | None:
        """What the model says of a row; all rows of a sample are asked together."""
        if self._asked is None:
            return None
        if self._last[0] is not feeds:
            try:
                self._last = (feeds, self._asked.of(label, feeds))
            except OnnxvizError as error:
                if self._labels is not None:
                    raise
                self.why = self.why or str(error)
                self._last = (feeds, [])
        found = self._last[1]
        return replace(found[row], input=label) if row < len(found) else None

    def as_dict(self) -> dict[str, Any]:
        """The answers as JSON types: of each label the sentence and what stands behind it, or why there are none."""
        answers = [
            {"input": one.input, "answer": one.answer.sentence or None, "output": one.answer.as_dict()}
            for one in self.predictions
            if one is not None
        ]
        return {"answers": answers, **({"no_answer": self.why} if self.why else {})}
