"""`onnxviz predict`: what a model says of images, with names and shares."""

from __future__ import annotations

from typing import Annotated

import typer

from onnxviz.cli.heeding import ALWAYS
from onnxviz.cli.options import (
    BackgroundOption,
    FitOption,
    InputsArgument,
    JsonOption,
    LabelsOption,
    ModelArgument,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SizeOption,
    ThreadsOption,
    parse_size,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import Skipped, note, note_handed, print_json, stdout

_HEEDS = {ALWAYS: "model inputs labels top preprocess size fit background provider threads as_json quiet"}


@command(_HEEDS, epilog="Example: onnxviz predict model.onnx cat.jpg")
def predict(
    model: ModelArgument,
    inputs: InputsArgument,
    labels: LabelsOption = None,
    top: Annotated[int, typer.Option(metavar="N", help="How many classes, or boxes.", min=1)] = 5,
    preprocess: PreprocessOption = "auto",
    size: SizeOption = None,
    fit: FitOption = None,
    background: BackgroundOption = None,
    provider: ProviderOption = "cpu",
    threads: ThreadsOption = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what a model says: classes with shares, a mask's classes, boxes, or numbers."""
    from onnxviz.cli.progress import reporting
    from onnxviz.cli.tables import predictions_table
    from onnxviz.inputs.labels import read_labels
    from onnxviz.model.model import load
    from onnxviz.predictions.predict import predict as verb

    opened = load(model)
    names = read_labels(labels) if labels is not None else None
    with reporting(quiet, "asking") as progress:
        found = verb(
            opened, inputs, labels=names, top=top, preprocess=preprocess, size=parse_size(size), fit=fit,
            background=background, provider=provider, threads=threads, errors="skip", progress=progress,
        )  # fmt: skip
    skipped = Skipped()
    for label, error in found.failed:
        skipped.add(label, error)
    images = found.provenance.images
    if images is not None and (said := images.expected.words(opened.label)):
        note(quiet, said)
    note_handed(quiet, found.provenance.assignment)
    for text in found.notes:
        note(quiet, text)
    if as_json:
        print_json(found.as_dict())
    else:
        stdout().print(predictions_table(found))
    skipped.end(len(found) + len(found.failed))
