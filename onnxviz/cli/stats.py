"""`onnxviz stats`: minima, maxima, means, variances and zeros of each channel over a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxviz.cli.heeding import ALWAYS, WITH_OUTPUT, Mode
from onnxviz.cli.options import (
    AtOption,
    BackgroundOption,
    CaptionsOption,
    DpiOption,
    FitOption,
    FormatOption,
    InputsArgument,
    JsonOption,
    LayersOption,
    ModelArgument,
    OpsOption,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SaveOption,
    SizeOption,
    TitleOption,
    parse_bytes,
    parse_operators,
    parse_size,
    picture_options,
    where_to,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import Skipped, note, note_handed, print_json, say, stdout

_KEPT = Mode(
    lambda given: given["as_json"] or given["save"] is not None or given["output"] is not None,
    "the table shows no histogram, {save}, {json} and {output} keep it",
)
_TABLE = Mode(lambda given: not given["as_json"], "{json} names them anyway")
_HEEDS = {
    ALWAYS: "model inputs layers ops at complete preprocess size fit background provider threads memory output "
    "save as_json quiet",
    WITH_OUTPUT: "picture dpi title captions",
    _KEPT: "histogram",
    _TABLE: "extremes",
}


@command(_HEEDS, epilog="Example: onnxviz stats model.onnx photos --save stats.npz")
def stats(
    context: typer.Context,
    model: ModelArgument,
    inputs: InputsArgument,
    layers: LayersOption = "all",
    ops: OpsOption = None,
    at: AtOption = "activation",
    complete: Annotated[
        bool, typer.Option("--complete", help="Also zeros of linear layers, and minima of rectified ones; slower.")
    ] = False,
    histogram: Annotated[
        bool, typer.Option("--histogram", help="Also count values in fixed logarithmic bins; several times slower.")
    ] = False,
    extremes: Annotated[
        bool, typer.Option("--extremes", help="Also name the image that gave each layer its highest value.")
    ] = False,
    preprocess: PreprocessOption = "auto",
    size: SizeOption = None,
    fit: FitOption = None,
    background: BackgroundOption = None,
    provider: ProviderOption = "cpu",
    threads: Annotated[
        int, typer.Option(metavar="N", help="Images that run side by side.", min=0, show_default="a core each")
    ] = 0,
    memory: Annotated[
        str, typer.Option(metavar="BYTES", help="Budget for the maps of images that run side by side: fewer run then.")
    ] = "1GiB",
    output: Annotated[Path | None, where_to("DIR", "nowhere, a table is printed")] = None,
    picture: FormatOption = "png",
    dpi: DpiOption = None,
    title: TitleOption = None,
    captions: CaptionsOption = True,
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Gather statistics of each channel over images: ranges, means, spreads, zeros, NaN."""
    from onnxviz.cli.progress import reporting
    from onnxviz.cli.tables import statistics_table
    from onnxviz.inputs.samples import ImageOptions
    from onnxviz.maps.statistics import statistics
    from onnxviz.model.model import load
    from onnxviz.output.statistics import check_targets, write_statistics
    from onnxviz.runtime.providers import NodeAssignment

    pictures = picture_options(context, picture, dpi, title, captions)
    check_targets(output, save)
    opened = load(model)
    skipped = Skipped()
    with reporting(quiet, "gathering") as progress:
        found = statistics(
            opened, inputs, layers=layers, ops=parse_operators(ops), at=at, complete=complete, histogram=histogram,
            preprocess=preprocess, size=parse_size(size), fit=fit, background=background, provider=provider,
            threads=threads, memory=parse_bytes(memory), errors="skip", progress=progress,
        )  # fmt: skip
    for label, error in found.failed:
        skipped.add(label, error)
    written = write_statistics(found, output, save, pictures)
    images = ImageOptions.of(opened, preprocess, parse_size(size), fit, background)
    if found.head["preprocessing"] is not None and (said := images.expected.words(opened.label)):
        note(quiet, said)
    if "node_assignment" in found.head:
        note_handed(quiet, NodeAssignment(found.head["provider"], found.head["node_assignment"]))
    if as_json:
        print_json({**found.as_dict(), "files": [str(path) for path in written]})
    else:
        console = stdout()
        console.print(statistics_table(found, extremes=extremes))
        for path in written:
            say(str(path), 10_000)
    skipped.end(found.tried)
