"""`onnxviz maximize`: what filters and classes look for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from onnxviz.cli.options import (
    AtOption,
    JsonOption,
    MemoryOption,
    ModelArgument,
    Picture,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SaveOption,
    SeedOption,
    folder_for,
    parse_bytes,
    parse_size,
    where_to,
)
from onnxviz.cli.program import app
from onnxviz.cli.terminal import note, note_assumed, report
from onnxviz.errors import InputError
from onnxviz.files import PICTURES


@app.command(epilog="Example: onnxviz maximize model.onnx block1_conv2 --random 4 -o looks-for")
def maximize(
    model: ModelArgument,
    selection: Annotated[
        list[str] | None,
        typer.Argument(metavar="LAYER", help="Names, globs or positions.", show_default=False),
    ] = None,
    numbers: Annotated[
        str | None, typer.Option("--filters", metavar="0,3,5-9", help="Which filters.", show_default=False)
    ] = None,
    random: Annotated[int, typer.Option(metavar="N", help="How many filters to draw.", min=1)] = 6,
    class_: Annotated[
        str | None, typer.Option("--class", metavar="N", help="Which classes, before softmax.", show_default=False)
    ] = None,
    at: AtOption = "activation",
    steps: Annotated[int, typer.Option(metavar="N", help="Gradient steps.", min=1)] = 256,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="If the model leaves it open.", show_default="128x128")
    ] = None,
    param: Annotated[Literal["fourier", "pixel"], typer.Option(help="What is varied.")] = "fourier",
    jitter: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Largest shift.", min=0, show_default="16, less for small inputs"),
    ] = None,
    transforms: Annotated[
        Literal["standard", "jitter", "none"], typer.Option(help="standard: jitter, scale ±10 %, rotation ±10°.")
    ] = "standard",
    rate: Annotated[float, typer.Option(metavar="X", help="Adam's step size at the start.")] = 0.05,
    seed: SeedOption = 0,
    preprocess: PreprocessOption = "auto",
    fixed: Annotated[
        list[str] | None,
        typer.Option("--fixed", metavar="NAME=PATH", help="The model's other inputs.", show_default=False),
    ] = None,
    provider: ProviderOption = "cpu",
    memory: MemoryOption = "1GiB",
    output: Annotated[Path | None, where_to("DIR", "maximize/")] = None,
    picture: Annotated[Picture, typer.Option("--format", help="Format of the sheet.")] = "png",
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the inputs that filters or classes look for: activation maximisation."""
    from onnxviz.cli.progress import climbing
    from onnxviz.maximize import maximize as make
    from onnxviz.select import numbers as parse_numbers
    from onnxviz.showcase import write_showcase

    if output is not None and output.suffix.lower() in PICTURES:
        raise InputError(f"pictures are made into a folder: {output} looks like a file")
    others = dict(item.partition("=")[::2] for item in fixed or ())
    with climbing(quiet) as told:
        found = make(
            model,
            selection or None,
            filters=parse_numbers(numbers, "filters") if numbers is not None else None,
            random=random,
            class_=parse_numbers(class_, "classes") if class_ is not None else None,
            at=at, steps=steps, size=parse_size(size), param=param, jitter=jitter, transforms=transforms, rate=rate,
            seed=seed, preprocess=preprocess, fixed=others, memory=parse_bytes(memory), provider=provider,
            progress=told,
        )  # fmt: skip
    folder = folder_for(output, save, "maximize")
    written, document = write_showcase(found, folder, picture) if folder is not None else ([], found.manifest())
    if save is not None:
        written.extend(found.write(save))
    if found.made.canvas.assumed:
        note_assumed(quiet, str(model), found.made.canvas.preprocessing.name, "inputs are")
    for warning in found.warnings:
        note(quiet, warning)
    report(as_json, {**document, "model": str(model), "folder": str(folder) if folder else None}, written)
