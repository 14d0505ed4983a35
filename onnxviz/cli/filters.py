"""`onnxviz filters`: pictures of filters, and their weights as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onnxviz.cli.options import (
    CmapOption,
    FormatOption,
    JsonOption,
    ModelArgument,
    Picture,
    QuietOption,
    SaveOption,
    folder_for,
    where_to,
)
from onnxviz.cli.program import app
from onnxviz.cli.terminal import report
from onnxviz.errors import InputError, SelectionError
from onnxviz.files import is_picture, safe_name

if TYPE_CHECKING:
    from onnxviz.model.layer import Layer


@app.command(epilog="Example: onnxviz filters model.onnx block1_conv1 --first 6 -o filters.png")
def filters(
    model: ModelArgument,
    selection: Annotated[
        list[str] | None,
        typer.Argument(metavar="LAYER", help="Names, globs or positions; the first convolution.", show_default=False),
    ] = None,
    first: Annotated[int | None, typer.Option(metavar="N", help="How many filters.", min=1, show_default="6")] = None,
    numbers: Annotated[
        str | None, typer.Option("--filters", metavar="0,3,5-9|all", help="Which filters.", show_default=False)
    ] = None,
    channels: Annotated[
        str | None, typer.Option(metavar="0-2|all", help="Which input channels; rows: 64 at most.", show_default=False)
    ] = None,
    style: Annotated[
        Literal["rows", "grid", "rgb", "lines"], typer.Option(help="rows: a filter a row; grid; rgb; lines (1-D).")
    ] = "rows",
    scale: Annotated[Literal["layer", "filter", "symmetric"], typer.Option(help="What shares a range.")] = "layer",
    cmap: CmapOption = None,
    layout: Annotated[Literal["onnx", "keras"], typer.Option(help="Order of axes in titles.")] = "onnx",
    output: Annotated[Path | None, where_to("FILE|DIR", "filters/")] = None,
    picture: FormatOption = "png",
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw the filters of one or more layers."""
    from onnxviz.cli.progress import counting
    from onnxviz.files import make_folder, save_arrays
    from onnxviz.inputs.provenance import Provenance
    from onnxviz.model.model import load
    from onnxviz.model.selection import numbers as parse_numbers

    opened = load(model)
    chosen = opened.select(selection or "first")
    which = parse_numbers(numbers, "filters") if numbers not in (None, "all") else None
    inputs = parse_numbers(channels, "channels") if channels not in (None, "all") else None
    for layer in chosen:
        _check_numbers(layer, which, inputs)
    wanted = first if first is not None else (6 if style in ("rows", "lines") else 64)
    order = (opened.preprocessing or {}).get("order")
    written: list[Path] = []
    drawn: list[dict[str, Any]] = []
    place = folder_for(output, save, "filters")
    if place is not None:
        from onnxviz.plots import known_cmap, plot_filters, save_figure

        targets = _targets(place, chosen, picture)
        with counting(quiet, "drawing", len(chosen)) as bar:
            for layer, target in zip(chosen, targets, strict=True):
                shown = inputs
                if channels == "all":
                    shown = list(range(layer.weight_shape[1])) if layer.weight_shape else None
                elif style == "rgb" and shown is None and order == "BGR" and layer.index == 0:
                    shown = [2, 1, 0]  # the first layer's channels are in the order of the model's images
                figure = plot_filters(
                    layer,
                    filters=which,
                    first=None if numbers == "all" else wanted,
                    channels=shown,
                    style=style,
                    scale=scale,
                    cmap=known_cmap(cmap),
                    layout=layout,
                )
                if target != output:
                    make_folder(target.parent)  # not before something can be drawn
                written.append(save_figure(figure, target))
                drawn.append({"layer": layer.name, "file": str(target)})
                bar.advance()
    if save is not None:
        manifest = {
            **Provenance(opened).as_dict(),
            "layers": {layer.name: layer.row()["weight"] for layer in chosen},
        }
        written.extend(save_arrays({layer.name: layer.weight for layer in chosen}, save, manifest))
    report(as_json, {"model": opened.label, "filters": drawn}, written)


def _check_numbers(layer: Layer, filters: Sequence[int] | None, channels: Sequence[int] | None) -> None:
    """Refuses what a layer does not have before any picture of another layer is written."""
    if layer.weight_shape is None:
        raise SelectionError(f"layer '{layer.name}' ({layer.op}) has no constant weight to draw")
    for numbers, count, what in (
        (filters, layer.weight_shape[0], "filter"),
        (channels, layer.weight_shape[1], "channel"),
    ):
        beyond = [number for number in numbers or () if number >= count]
        if beyond:
            raise SelectionError(f"'{layer.name}' has no {what} {beyond[0]}; there are {count}, 0 to {count - 1}")


def _targets(place: Path, chosen: Sequence[Layer], picture: Picture) -> list[Path]:
    """A file for each layer: the one that was named, or `NNN-layer.png` in a folder."""
    if not is_picture(place):
        return [place / f"{safe_name(layer.index, layer.name)}.{picture}" for layer in chosen]
    if len(chosen) > 1:
        raise InputError(f"{len(chosen)} layers were chosen for the one file {place}; give a folder")
    return [place]
