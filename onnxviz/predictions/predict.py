"""`predict`: what a model says of images or arrays, with names of classes and shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError, OnnxvizError, SelectionError
from onnxviz.inputs.failures import Progress, nothing_usable
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.labels import fitting_names
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import Feeds, ImageOptions, InputLike, Size, samples
from onnxviz.messages import one_of
from onnxviz.model.detection.box_scores import with_box_scores
from onnxviz.model.detection.boxes import Boxes
from onnxviz.model.model import Model, Source, load
from onnxviz.model.scores import Scores, find_scores, names_fit
from onnxviz.passes.expose import Tap, expose
from onnxviz.predictions.answers import of_boxes, of_numbers, of_scores
from onnxviz.predictions.prediction import OutputPrediction, Prediction, Predictions
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.session import RunOptions, Session


@typed
def predict(
    model: Source,
    x: InputLike,
    *,
    labels: Sequence[str] | None = None,
    top: int = 5,
    preprocess: str | Preprocessing = "auto",
    size: Size | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    threads: int = 0,
    errors: Literal["raise", "skip"] = "raise",
    progress: Progress | None = None,
) -> Predictions:
    """What the model says of each input: classes with shares, a mask's classes, boxes, or numbers.

    Args:
        model: an opened model, or what `load` opens.
        x: as for `capture`.
        labels: names of the classes; None for those in the model's metadata.
        top: how many classes, or boxes, of each input.
        preprocess: what is done to images; `auto` asks the model's metadata, then its graph.
        size: (height, width) of images where the model leaves it open.
        fit: "stretch" images to the size (None), or "crop" them.
        background: colour behind transparent pixels; None for white.
        provider: an execution provider of onnxruntime by its short name, as "cpu", "cuda",
            "openvino:device_type=CPU"; there is no fallback from one that cannot start.
        threads: of onnxruntime; 0 for its own choice.
        errors: "raise" at the first input that fails, or "skip" it and list it in `failed`.
        progress: called with (samples done, samples in all).

    Returns:
        A sequence of predictions, one an input, in order. Of a classifier each has `answer.top`, the largest first: the
        share of a class is its softmax, the model's own where it ends in one. What has no softmax to speak of, such as
        labels that do not exclude one another, has no share.

    Raises:
        InputError: an input cannot be used, or `labels` are not as many as there are classes.
        OnnxvizError: the model cannot be run.
    """
    one_of("way to treat errors", errors, ("raise", "skip"))
    if top < 1:
        raise InputError(f"top is 1 or more, not {top}")
    opened = load(model)
    images = ImageOptions.of(opened, preprocess, size, fit, background)
    given = samples(opened, x, images)
    images.check_heeded(opened, given)
    running = RunOptions(provider, threads=threads)
    run = _Run(opened, labels, top, running)
    found: list[Prediction] = []
    failed: list[tuple[str, str]] = []
    for done, sample in enumerate(given, 1):
        try:
            found.extend(run.of(sample.label, sample.read()))
        except OnnxvizError as error:
            if errors == "raise":
                raise
            failed.append((sample.label, str(error)))
        if progress is not None:
            progress(done, len(given))
    if not found:
        raise nothing_usable(failed)
    reads_images = any(sample.photo for sample in given)
    provenance = Provenance(opened, running, images if reads_images else None)
    return Predictions(tuple(found), provenance, run.names_source, tuple(failed), tuple(dict.fromkeys(run.notes)))


@dataclass
class _Answering:
    """Where a model answers; `refusal` says why that is not known."""

    scores: Scores | None
    refusal: str = ""


class _Run:
    """One model, ready to be asked."""

    def __init__(self, model: Model, labels: Sequence[str] | None, top: int, options: RunOptions) -> None:
        self.top = top
        self.notes: list[str] = []
        self.answering = _answering(model)
        scores = self.answering.scores
        self.model = model if scores is None or scores.head is None else with_box_scores(model, scores.head)
        if labels is not None and scores is None:
            raise InputError(f"labels were given, but {self.answering.refusal}")
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
        """What is said of each row of a sample."""
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
        scores = self.answering.scores
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
        elif self.answering.refusal:
            self.notes.append(f"{self.answering.refusal}: its outputs are shown as numbers")
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


def _answering(model: Model) -> _Answering:
    try:
        return _Answering(find_scores(model))
    except SelectionError as error:
        return _Answering(None, str(error))
