"""`onnxviz layers`: the layer table."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from onnxviz.cli.heeding import ALWAYS
from onnxviz.cli.options import JsonOption, ModelArgument, OpsOption, QuietOption, parse_operators
from onnxviz.cli.program import command
from onnxviz.cli.terminal import note, print_json, stdout

_HEEDS = {ALWAYS: "model all_layers ops layout as_json quiet"}


@command(_HEEDS, epilog="Example: onnxviz layers model.onnx --layout keras")
def layers(
    model: ModelArgument,
    all_layers: Annotated[bool, typer.Option("--all", help="Also poolings, activations, dense layers …")] = False,
    ops: OpsOption = None,
    layout: Annotated[
        Literal["onnx", "keras"], typer.Option(help="Order of axes in shapes; keras adds the places in model.layers.")
    ] = "onnx",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the convolutions of a model: filters, geometry, output shapes, where the weights come from."""
    from onnxviz.cli.tables import layer_table
    from onnxviz.model.listing import chosen_layers, listing
    from onnxviz.model.model import load

    opened = load(model)
    rows = chosen_layers(opened, all_layers, parse_operators(ops))
    if as_json:
        print_json(listing(opened, rows, layout))
        return
    console = stdout()
    console.print(layer_table(opened, rows, layout, console.width))
    if not rows and not all_layers:
        note(quiet, f"{opened.label} has no convolution; --all lists its other layers")
