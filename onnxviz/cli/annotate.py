"""`onnxviz annotate`: a note in the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxviz.cli.heeding import ALWAYS
from onnxviz.cli.options import JsonOption, ModelArgument, QuietOption
from onnxviz.cli.program import command
from onnxviz.cli.terminal import report

_HEEDS = {ALWAYS: "model preprocess output as_json quiet"}


@command(_HEEDS, epilog="Example: onnxviz annotate model.onnx --preprocess torch -o annotated.onnx")
def annotate(
    model: ModelArgument,
    preprocess: Annotated[str, typer.Option(metavar="P", help="As for maps, without auto.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="The new .onnx file.", show_default=False)
    ],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Keep in a model how its images are prepared, so that no later command has to be told."""
    from onnxviz.inputs.annotate import annotate as keep_note
    from onnxviz.inputs.preprocessing import Preprocessing
    from onnxviz.model.model import load

    opened = load(model)
    written = keep_note(opened, preprocess, output)
    report(as_json, {"model": opened.label, "preprocessing": Preprocessing.parse(preprocess).as_dict()}, [written])
