"""`onnxviz maximize`: what filters and classes look for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from onnxviz.cli.heeding import ALWAYS, DRAWN
from onnxviz.cli.options import (
    CLASSES_HELP,
    JsonOption,
    LayersInsteadOption,
    MemoryOption,
    ModelArgument,
    Picture,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SaveOption,
    SeedOption,
    ThreadsOption,
    folder_for,
    named_layers,
    parse_bytes,
    parse_sides,
    where_to,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import note, note_handed, report
from onnxviz.files import check_folder
from onnxviz.worker import INTERRUPTED

if TYPE_CHECKING:
    from onnxviz.maximization.objectives import Objective


_HEEDS = {
    ALWAYS: "model selection layers numbers random class_ at plus variants steps size param from_ magnitude_from alpha "
    "jitter transforms rate decay leak seed preprocess fixed provider memory threads output save as_json quiet",
    DRAWN: "picture",
}


@command(_HEEDS, epilog="Example: onnxviz maximize model.onnx block1_conv2 --random 4 -o looks-for")
def maximize(
    model: ModelArgument,
    selection: Annotated[
        list[str] | None,
        typer.Argument(metavar="LAYER", help="Names, globs or positions.", show_default=False),
    ] = None,
    layers: LayersInsteadOption = None,
    numbers: Annotated[
        str | None, typer.Option("--filters", metavar="0,3,5-9", help="Which filters.", show_default=False)
    ] = None,
    random: Annotated[
        int | None, typer.Option(metavar="N", help="How many filters to draw.", min=1, show_default="6")
    ] = None,
    class_: Annotated[
        str | None, typer.Option("--class", metavar="0,3,5-9|all|NAME", help=CLASSES_HELP, show_default=False)
    ] = None,
    at: Annotated[
        Literal["activation", "conv"] | None,
        typer.Option(help="The layer's output, or the operator's own.", show_default="activation"),
    ] = None,
    plus: Annotated[
        list[str] | None,
        typer.Option(
            "--plus",
            metavar="TERM=WEIGHT",
            help="Added to each: total-variation=-0.1, norm=-0.05, diversity:LAYER=0.1.",
            show_default=False,
        ),
    ] = None,
    variants: Annotated[int, typer.Option(metavar="N", help="Pictures of each, from different starts.", min=1)] = 1,
    steps: Annotated[int, typer.Option(metavar="N", help="Gradient steps.", min=1)] = 400,
    size: Annotated[
        str | None, typer.Option(metavar="[Dx][Hx]W", help="If the model leaves it open.", show_default="128x128")
    ] = None,
    param: Annotated[
        Literal["fourier", "pixel", "maco"],
        typer.Option(help="What is varied; maco: the phase of the spectrum, at the magnitude of photos."),
    ] = "fourier",
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="PHOTO", help="Start here: what would be added to it.", show_default=False),
    ] = None,
    magnitude_from: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Photos whose magnitude maco takes.", show_default="a power law"),
    ] = None,
    alpha: Annotated[bool, typer.Option("--alpha", help="Make what the climb has not looked at transparent.")] = False,
    jitter: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Largest shift.", min=0, show_default="16, less for small inputs"),
    ] = None,
    transforms: Annotated[
        Literal["standard", "jitter", "none"], typer.Option(help="standard: jitter, scale ±10 %, rotation ±10°.")
    ] = "standard",
    rate: Annotated[
        float | None,
        typer.Option(metavar="X", help="Adam's step size at the start.", show_default="0.03; pixel 0.05, maco 0.1"),
    ] = None,
    decay: Annotated[
        float | None,
        typer.Option(metavar="X", help="Of fourier and maco: how much harder fine detail is.", show_default="1.3; 1.5"),
    ] = None,
    leak: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Slope, 0 to 1, where the target's Relu gives nothing, at first.", show_default="0.1"
        ),
    ] = None,
    seed: SeedOption = 0,
    preprocess: PreprocessOption = "auto",
    fixed: Annotated[
        list[str] | None,
        typer.Option("--fixed", metavar="NAME=PATH", help="The model's other inputs.", show_default=False),
    ] = None,
    provider: ProviderOption = "cpu",
    memory: MemoryOption = "1GiB",
    threads: ThreadsOption = 0,
    output: Annotated[Path | None, where_to("DIR", "maximize/")] = None,
    picture: Annotated[Picture, typer.Option("--format", help="Format of the sheet.")] = "png",
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the inputs that filters or classes look for: activation maximisation."""
    from onnxviz.cli.progress import climbing
    from onnxviz.maximization.maximize import maximize as make
    from onnxviz.model.selection import numbers as parse_numbers
    from onnxviz.output.synthetic import write_synthetic

    check_folder(output, "pictures are made into a folder")
    others = dict(item.partition("=")[::2] for item in fixed or ())
    with climbing(quiet) as told:
        found = make(
            model,
            named_layers(selection, layers),
            filters=parse_numbers(numbers, "filters") if numbers is not None else None,
            random=random,
            class_=class_,
            at=at, plus=_penalties(plus), variants=variants, steps=steps, size=parse_sides(size), param=param,
            from_=from_, magnitude_from=magnitude_from, alpha=alpha,
            jitter=jitter, transforms=transforms, rate=rate, decay=decay, leak=leak, seed=seed, preprocess=preprocess,
            fixed=others, memory=parse_bytes(memory), provider=provider, threads=threads, progress=told,
        )  # fmt: skip
    folder = folder_for(output, save, "maximize")
    written, document = write_synthetic(found, folder, picture) if folder is not None else ([], found.manifest())
    if save is not None:
        written.extend(found.write(save))
    if said := found.made.canvas.expected.words(str(model), "inputs are"):
        note(quiet, said)
    note_handed(quiet, found.provenance.assignment)
    for warning in found.warnings:
        note(quiet, warning)
    report(as_json, {**document, "model": str(model), "folder": str(folder) if folder else None}, written)
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)


def _penalties(texts: list[str] | None) -> Objective | None:
    """What `--plus` adds to every objective."""
    from onnxviz.maximization.objectives import Sum, parts
    from onnxviz.maximization.penalties import read_penalty

    return Sum(tuple(part for text in texts for part in parts(read_penalty(text)))) if texts else None
