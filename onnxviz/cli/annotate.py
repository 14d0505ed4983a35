"""`onnxviz annotate`: a note in the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxviz.cli.heeding import ALWAYS
from onnxviz.cli.options import JsonOption, LabelsOption, ModelArgument, QuietOption
from onnxviz.cli.program import command
from onnxviz.cli.terminal import report
from onnxviz.errors import InputError

_HEEDS = {ALWAYS: "model preprocess labels output as_json quiet"}


@command(_HEEDS, epilog="Example: onnxviz annotate model.onnx --preprocess torch -o annotated.onnx")
def annotate(
    model: ModelArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="The new .onnx file.", show_default=False)
    ],
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="P", help="raw, unit, signed, torch, caffe, or a formula as for maps.", show_default=False
        ),
    ] = None,
    labels: LabelsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Keep in a model how its images are prepared and what its classes are called, so that no later command asks."""
    from onnxviz.inputs.annotate import annotate as keep_note
    from onnxviz.inputs.labels import read_labels
    from onnxviz.inputs.preprocessing import Preprocessing
    from onnxviz.model.model import load

    if preprocess is None and labels is None:
        raise InputError("there is nothing to keep: give --preprocess P, --labels FILE, or both")
    opened = load(model)
    names = read_labels(labels) if labels is not None else None
    written = keep_note(opened, preprocess, output, labels=names)
    prepared = Preprocessing.parse(preprocess).as_dict() if preprocess is not None else None
    kept = {"preprocessing": prepared, "labels": None if names is None else list(names)}
    report(as_json, {"model": opened.label, **kept}, [written])
