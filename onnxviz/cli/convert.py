"""`onnxviz convert`: a Keras or PyTorch model as an ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxviz.cli.heeding import ALWAYS
from onnxviz.cli.options import JsonOption, QuietOption
from onnxviz.cli.program import command
from onnxviz.cli.terminal import clean_stdout, note, report, stderr
from onnxviz.errors import InputError

_HEEDS = {ALWAYS: "source output input_shape weights preprocess labels opset verify allow_code_execution as_json quiet"}


@command(_HEEDS, epilog="Example: onnxviz convert model.keras -o model.onnx")
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A .keras, .h5, .pt2 or TorchScript file, a SavedModel folder, module:factory or file.py:factory.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL.onnx", help="The file to write.", show_default=False)
    ],
    input_shape: Annotated[
        str | None,
        typer.Option(metavar="1x3x224x224", help="Batch first, ? for an open size; NAME=…,NAME=….", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keras weights or a state_dict to load.", show_default=False)
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="Kept in the model: raw, unit, signed, torch, caffe, or a formula as for maps.",
            show_default="as the graph expects",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Names of the classes, one a line; kept in the model.", show_default=False),
    ] = None,
    opset: Annotated[int, typer.Option(metavar="N", help="Version of ONNX' operators.")] = 18,
    verify: Annotated[
        bool,
        typer.Option(
            " /--no-verify", help="Do not compare filters, maps and outputs with the source.", show_default=False
        ),
    ] = True,
    allow_code_execution: Annotated[
        bool, typer.Option("--allow-code-execution", help="Run code that the file brings along, if it must.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert a Keras or PyTorch model: the same filters, the same names, compared with the source."""
    from onnxviz.cli.progress import stages
    from onnxviz.cli.tables import conversion_table
    from onnxviz.conversion.convert import conversion
    from onnxviz.inputs.labels import read_labels

    if preprocess == "auto":
        raise InputError("convert keeps one preprocessing in the model; 'auto' is none: name raw, unit, torch …")
    if output.suffix.lower() != ".onnx":
        raise InputError(f"{output} does not end in .onnx, by which every tool knows an ONNX model")
    with stages(quiet) as on_stage, clean_stdout():
        done = conversion(
            source,
            output=output,
            input_shape=input_shape,
            weights=weights,
            preprocess=preprocess,
            labels=read_labels(labels) if labels is not None else None,
            opset=opset,
            verify=verify,
            allow_code_execution=allow_code_execution,
            on_stage=on_stage,
        )
    for line in done.notes:
        note(quiet, line)
    if not as_json and not quiet:
        stderr().print(conversion_table(done))
    report(as_json, done.as_dict(), done.files)
