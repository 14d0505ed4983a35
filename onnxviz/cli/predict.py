"""`onnxviz predict`: what a model says of images, with names and shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxviz.cli.heeding import ALWAYS, IN_FOLDER, WITH_OUTPUT
from onnxviz.cli.options import (
    BackgroundOption,
    CaptionsOption,
    DpiOption,
    FitOption,
    FormatOption,
    InputsArgument,
    JsonOption,
    LabelsOption,
    ModelArgument,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SizeOption,
    ThreadsOption,
    TitleOption,
    parse_size,
    picture_options,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import Skipped, note, note_handed, report, stdout

_HEEDS = {
    ALWAYS: "model inputs labels top preprocess size fit background provider threads output as_json quiet",
    WITH_OUTPUT: "picture dpi title captions",
    IN_FOLDER: "picture",
}


@command(_HEEDS, epilog="Example: onnxviz predict model.onnx cat.jpg -o cat-says.png")
def predict(
    context: typer.Context,
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
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE|DIR", help="Also draw it: one picture, or a folder.", show_default=False
        ),
    ] = None,
    picture: FormatOption = "png",
    dpi: DpiOption = None,
    title: TitleOption = None,
    captions: CaptionsOption = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what a model says: classes with shares, a mask's classes, boxes, or numbers."""
    from onnxviz.cli.progress import reporting
    from onnxviz.cli.tables import predictions_table
    from onnxviz.inputs.labels import read_labels
    from onnxviz.model.model import load
    from onnxviz.output.predictions import check_output, write_predictions
    from onnxviz.predictions.predict import predict as verb

    pictures = picture_options(context, picture, dpi, title, captions)
    if output is not None:
        check_output(output)
    opened = load(model)
    names = read_labels(labels) if labels is not None else None
    with reporting(quiet, "asking") as progress:
        found = verb(
            opened, inputs, labels=names, top=top, preprocess=preprocess, size=parse_size(size), fit=fit,
            background=background, provider=provider, threads=threads, errors="skip", progress=progress,
        )  # fmt: skip
    written = write_predictions(found, output, pictures) if output is not None else []
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
        report(as_json, found.as_dict(), written)
    else:
        stdout().print(predictions_table(found))
        report(as_json, {}, written)
    skipped.end(len(found) + len(found.failed))
