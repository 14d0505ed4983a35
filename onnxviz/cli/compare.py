"""`onnxviz compare`: two models side by side, layer by layer, on the same data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxviz.cli.heeding import ALWAYS, WITH_OUTPUT
from onnxviz.cli.options import (
    AtOption,
    BackgroundOption,
    CaptionsOption,
    DpiOption,
    FitOption,
    FormatOption,
    JsonOption,
    MemoryOption,
    OpsOption,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SizeOption,
    ThreadsOption,
    TitleOption,
    parse_bytes,
    parse_operators,
    parse_size,
    picture_options,
    where_to,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import Skipped, note, note_handed, print_json, say, stdout
from onnxviz.files import check_folder

_HEEDS = {
    ALWAYS: "a b data layers ops at below preprocess size fit background provider threads memory output as_json quiet",
    WITH_OUTPUT: "picture dpi title captions",
}


@command(_HEEDS, epilog="Example: onnxviz compare model.onnx model-int8.onnx --data photos")
def compare(
    context: typer.Context,
    a: Annotated[
        str, typer.Argument(metavar="A", help="The .onnx that is taken as right; A@noopt, A@cuda: how it is run.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The one to compare with it; B@noopt, B@cuda likewise.")],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT",
            help="Images, folders, lists of paths (.txt), .npy, .npz, or NAME=PATH; may be repeated.",
            show_default="8 samples of noise",
        ),
    ] = None,
    layers: Annotated[
        str, typer.Option(metavar="SELECTION", help="Of A: names, globs, 0,4,11, 0-3, all, first, last, every:4.")
    ] = "all",
    ops: OpsOption = None,
    at: AtOption = "activation",
    below: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="A layer whose signal-to-noise ratio is lower counts as divergent.",
            show_default="60; half precision 40; one quantised 20",
        ),
    ] = None,
    preprocess: PreprocessOption = "auto",
    size: SizeOption = None,
    fit: FitOption = None,
    background: BackgroundOption = None,
    provider: ProviderOption = "cpu",
    threads: ThreadsOption = 0,
    memory: MemoryOption = "1GiB",
    output: Annotated[Path | None, where_to("DIR", "nowhere, a table is printed")] = None,
    picture: FormatOption = "png",
    dpi: DpiOption = None,
    title: TitleOption = None,
    captions: CaptionsOption = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare two models: where their layers part, what that does to the answer, what to leave unquantised."""
    from onnxviz.cli.comparison_table import comparison_table
    from onnxviz.cli.progress import reporting
    from onnxviz.comparison.compare import compare as verb
    from onnxviz.output.comparisons import write_comparison

    pictures = picture_options(context, picture, dpi, title, captions)
    check_folder(output, "a comparison is drawn into a folder")
    with reporting(quiet, "comparing") as progress:
        found = verb(
            a, b, data or None, layers=layers, ops=parse_operators(ops), at=at, below=below, preprocess=preprocess,
            size=parse_size(size), fit=fit, background=background, provider=provider, threads=threads,
            memory=parse_bytes(memory), errors="skip", progress=progress,
        )  # fmt: skip
    skipped = Skipped()
    for label, error in found.failed:
        skipped.add(label, error)
    written = write_comparison(found, output, pictures) if output is not None else []
    for side in (found.a, found.b):
        note_handed(quiet, side.assignment)
    for text in found.notes:
        note(quiet, text)
    if as_json:
        print_json({**found.as_dict(), "files": [str(path) for path in written]})
    else:
        console = stdout()
        console.print(comparison_table(found, console.width))
        for path in written:
            say(str(path), 10_000)
    skipped.end(found.samples + len(found.failed))
