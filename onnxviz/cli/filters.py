"""`onnxviz filters`: pictures of filters, and their weights as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from onnxviz.cli.heeding import ALWAYS
from onnxviz.cli.options import (
    CaptionsOption,
    CmapOption,
    DpiOption,
    JsonOption,
    LayersInsteadOption,
    ModelArgument,
    QuietOption,
    SaveOption,
    TitleOption,
    named_layers,
    where_to,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import report
from onnxviz.output.picture_options import PictureFormat

_HEEDS = {
    ALWAYS: "model selection layers first numbers channels feeds style scale cut sort cmap layout output picture "
    "dpi title captions save as_json quiet",
}  # `onnxviz.filters` refuses what it would not heed


@command(_HEEDS, epilog="Example: onnxviz filters model.onnx block1_conv1 --first 6 -o filters.png")
def filters(
    model: ModelArgument,
    selection: Annotated[
        list[str] | None,
        typer.Argument(metavar="LAYER", help="Names, globs or positions; the first convolution.", show_default=False),
    ] = None,
    layers: LayersInsteadOption = None,
    first: Annotated[
        int | None, typer.Option(metavar="N", help="How many filters.", min=1, show_default="what fits")
    ] = None,
    numbers: Annotated[
        str | None, typer.Option("--filters", metavar="0,3,5-9|all", help="Which filters.", show_default=False)
    ] = None,
    channels: Annotated[
        str | None, typer.Option(metavar="0-2|all", help="Which input channels; rows: 64 at most.", show_default=False)
    ] = None,
    feeds: Annotated[
        int | None,
        typer.Option(
            metavar="FILTER", help="Which filters of the layers before feed this one most.", show_default=False
        ),
    ] = None,
    style: Annotated[
        Literal["rows", "grid", "rgb", "lines", "matrix"] | None,
        typer.Option(
            help="rows: a filter a row; grid; rgb; lines (1-D); matrix: a kernel a dot.", show_default="what fits"
        ),
    ] = None,
    scale: Annotated[
        Literal["layer", "filter", "symmetric"] | None,
        typer.Option(help="What shares a range, and whether it is about zero.", show_default="symmetric"),
    ] = None,
    cut: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENTILE", help="Of the magnitude, where a range about zero ends.", show_default="99.5"
        ),
    ] = None,
    sort: Annotated[
        Literal["norm", "cluster"] | None,
        typer.Option(help="The largest norm first, or alike ones side by side.", show_default="as they are"),
    ] = None,
    cmap: CmapOption = None,
    layout: Annotated[
        Literal["onnx", "keras"] | None, typer.Option(help="Order of axes in titles.", show_default="onnx")
    ] = None,
    output: Annotated[Path | None, where_to("FILE|DIR", "filters/")] = None,
    picture: Annotated[
        PictureFormat | None, typer.Option("--format", help="Format of pictures in a folder.", show_default="png")
    ] = None,
    dpi: DpiOption = None,
    title: TitleOption = None,
    captions: CaptionsOption = True,
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw the filters of one or more layers."""
    from onnxviz.cli.progress import reporting
    from onnxviz.output.filters import filters as write_filters

    with reporting(quiet, "drawing") as progress:
        files = write_filters(
            model,
            named_layers(selection, layers) or "first",
            first=first,
            filters=numbers,
            channels=channels,
            feeds=feeds,
            style=style,
            scale=scale,
            cut=cut,
            sort=sort,
            cmap=cmap,
            layout=layout,
            output=output,
            format=picture,
            dpi=dpi,
            title=title,
            captions=captions,
            save=save,
            progress=progress,
        )
    drawn: list[dict[str, Any]] = []
    for layer, file in files.pictures.items():
        found = files.connections.get(layer)
        feeding = {} if found is None else {"filter": feeds, "feeds": [one.as_dict() for one in found]}
        drawn.append({"layer": layer, "file": file, **feeding})
    report(as_json, {"model": files.model, "filters": drawn}, files.written)
