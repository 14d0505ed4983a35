"""`predict`: what a model says of images or arrays, with names of classes and shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from onnxviz.arguments import typed
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.inputs.failures import Progress, nothing_usable
from onnxviz.inputs.given import Given
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import ImageOptions, InputLike, Size, samples
from onnxviz.messages import one_of
from onnxviz.model.model import Source, load
from onnxviz.predictions.answering import Answering
from onnxviz.predictions.prediction import Prediction, Predictions
from onnxviz.runtime.session import RunOptions


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
    answering = Answering(opened, running, labels, top)
    found: list[Prediction] = []
    failed: list[tuple[str, str]] = []
    for done, sample in enumerate(given, 1):
        try:
            said = answering.of(sample.label, sample.read())
        except OnnxvizError as error:
            if errors == "raise":
                raise
            failed.append((sample.label, str(error)))
        else:
            rows = [Given.of(opened, sample, images, one.input, row) for row, one in enumerate(said)]
            found.extend(replace(one, file=sample.path, given=given) for one, given in zip(said, rows, strict=True))
        if progress is not None:
            progress(done, len(given))
    if not found:
        raise nothing_usable(failed)
    reads_images = any(sample.photo for sample in given)
    provenance = Provenance(opened, running, images if reads_images else None)
    return Predictions(
        tuple(found), provenance, answering.names_source, tuple(failed), tuple(dict.fromkeys(answering.notes))
    )
