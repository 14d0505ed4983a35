"""Answering: a model made ready to be asked what it says, and asked sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from onnxviz.errors import InputError, SelectionError
from onnxviz.inputs.labels import fitting_names
from onnxviz.inputs.samples import Feeds
from onnxviz.model.detection.box_scores import with_box_scores
from onnxviz.model.detection.boxes import Boxes
from onnxviz.model.model import Model
from onnxviz.model.scores import Scores, find_scores, names_fit
from onnxviz.passes.expose import Tap, expose
from onnxviz.predictions.answers import of_boxes, of_numbers, of_scores
from onnxviz.predictions.prediction import OutputPrediction, Prediction
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.session import RunOptions, Session


class Answering:
    """One model, ready to be asked what it says.

    Args:
        model: the model.
        options: how it is run.
        labels: names of the classes; None for those in its metadata.
        top: how many classes, or boxes, of each sample.

    Attributes:
        names_source: where the names of classes come from: "metadata", "labels", or "" where there are none.
        notes: what a user should know; more may be said as samples come.

    Raises:
        InputError: the labels are not as many as there are classes, or there is nothing to name.
        OnnxvizError: the model cannot be run.
    """

    def __init__(self, model: Model, options: RunOptions, labels: Sequence[str] | None = None, top: int = 5) -> None:
        self.top = top
        self.notes: list[str] = []
        scores, self.refusal = _scores_of(model, labelled=labels is not None)
        self.scores = scores
        self.model = model if scores is None or scores.head is None else with_box_scores(model, scores.head)
        if labels is not None and scores is None:
            raise InputError(f"labels were given, but {self.refusal}")
        self.labels = None if labels is None or scores is None else fitting_names(labels, scores, None)
        self.names = self.labels if self.labels is not None else () if scores is None else scores.names
        self.names_source = "labels" if self.labels is not None else "metadata" if self.names else ""
        tensors: tuple[str, ...] = ()
        if scores is not None:
            tensors = Boxes.tensors(scores.head) if scores.head is not None else (scores.tensor,)
        made = self.model.scope.producers
        self.outputs = [port.name for port in model.outputs if port.dtype and port.name in made]
        exposed = expose(self.model, [Tap(name) for name in tensors], keep_outputs=True)
        self.tensors = tuple(dict.fromkeys([*tensors, *self.outputs]))
        self.session = Session.of(self.model, exposed.proto, options)
        self.batching = Batching.of(model, options.memory)

    def of(self, label: str, feeds: Feeds) -> list[Prediction]:
        """What is said of each row of a sample.

        Args:
            label: what the sample is called.
            feeds: its arrays by input name, batch axis included.

        Raises:
            OnnxvizError: it cannot be run.
        """
        fed = self.batching.padded(self.session.own(feeds))
        rows = self.batching.count(feeds)
        values = dict(zip(self.tensors, self.session.run(self.tensors, fed), strict=True))
        count = self.batching.count(fed)
        labels = [label] if rows == 1 else [f"{label}[{row}]" for row in range(rows)]
        found = []
        for row, name in enumerate(labels):
            own = {
                tensor: array[row] if array.ndim and array.shape[0] == count else array
                for tensor, array in values.items()
            }
            found.append(Prediction(name, tuple(self._outputs(own, feeds))))
        return found

    def _outputs(self, values: dict[str, NDArray[Any]], feeds: Feeds) -> list[OutputPrediction]:
        scores = self.scores
        told: set[str] = set()
        found = []
        if scores is not None and scores.head is not None:
            boxes = Boxes.read(scores.head, values, self._size(feeds))
            self._check_names(boxes.scores.shape[1], scores)
            found.append(of_boxes(scores, boxes, self.names, self.top))
            told = set(scores.head.outputs)
        elif scores is not None:
            array = scores.real(values[scores.tensor])
            self._check_names(scores.count((1, *array.shape)), scores)
            found.append(of_scores(scores, array, self.names, self.top))
            told = {scores.output}
        elif self.refusal:
            self.notes.append(f"{self.refusal}: its outputs are shown as numbers")
        return found + [of_numbers(name, values[name]) for name in self.outputs if name not in told]

    def _check_names(self, count: int | None, scores: Scores) -> None:
        if self.labels is not None:
            fitting_names(self.labels, scores, count)
        elif self.names and not names_fit(self.names, count):
            self.notes.append(
                f"the model's metadata name {len(self.names)} classes, but '{scores.output}' has {count}: "
                "the names are left out"
            )

    def _size(self, feeds: Feeds) -> tuple[int, int]:
        """(height, width) of the input with the pictures."""
        for port in self.model.inputs:
            if port.layout in ("NCHW", "NHWC") and port.name in feeds:
                shape = feeds[port.name].shape
                return shape[port.layout.index("H")], shape[port.layout.index("W")]
        raise InputError(f"{self.model.label} has boxes, but no input for pictures to measure them in")


def _scores_of(model: Model, *, labelled: bool) -> tuple[Scores | None, str]:
    """Where a model answers, or None and why that is not known."""
    try:
        return find_scores(model, labelled=labelled), ""
    except SelectionError as error:
        return None, str(error)
