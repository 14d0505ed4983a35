"""`onnxviz extract`: a part of a model as a model of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxviz.cli.heeding import ALWAYS
from onnxviz.cli.options import AtOption, JsonOption, ModelArgument, QuietOption, where_to
from onnxviz.cli.program import command
from onnxviz.cli.terminal import print_json, say

_HEEDS = {ALWAYS: "model selection from_ at output as_json quiet"}


@command(_HEEDS, epilog="Example: onnxviz extract model.onnx block1_conv1 -o block1.onnx")
def extract(
    model: ModelArgument,
    selection: Annotated[
        list[str],
        typer.Argument(metavar="LAYER", help="Names, globs or positions; each gives an output.", show_default=False),
    ],
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="LAYER", help="Begin with this layer.", show_default="the model's beginning"),
    ] = None,
    at: AtOption = "activation",
    output: Annotated[Path | None, where_to("OUT.onnx", "POSITION-LAYER.onnx")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Cut a model after one or more layers: what leads to them, weights included, as a model of its own."""
    from onnxviz.files import safe_name
    from onnxviz.messages import dims
    from onnxviz.model.listing import listing
    from onnxviz.model.model import load
    from onnxviz.passes.extract import chosen_layers
    from onnxviz.passes.extract import extract as cut

    opened = load(model)
    last = chosen_layers(opened, selection)[-1]
    part = cut(opened, selection, at=at, from_=from_)
    file = part.save(output or Path(f"{safe_name(last.index, last.name)}.onnx"))
    if as_json:
        print_json({**listing(part, part.layers, "onnx"), "files": [str(file)]})
        return
    say(str(file), 10_000)
    ends = [[f"{port.name} {dims(port.shape, '×')}" for port in ports] for ports in (part.inputs, part.outputs)]
    say(f"{part.parameters:,} parameters: {' to '.join(map(', '.join, ends))}")
