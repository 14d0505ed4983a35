"""`onnxviz maximize`: what filters and classes look for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from onnxviz.cli.heeding import ALWAYS, DRAWN, Mode
from onnxviz.cli.options import (
    CLASSES_HELP,
    CaptionsOption,
    DpiOption,
    FormatOption,
    JsonOption,
    LayersInsteadOption,
    MemoryOption,
    ModelArgument,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SaveOption,
    SeedOption,
    ThreadsOption,
    TitleOption,
    folder_for,
    named_layers,
    parse_bytes,
    parse_sides,
    picture_options,
    where_to,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import Skipped, note, note_handed, report
from onnxviz.errors import InputError
from onnxviz.files import check_folder
from onnxviz.messages import refuse_unheeded
from onnxviz.worker import INTERRUPTED

if TYPE_CHECKING:
    from onnxviz.inputs.samples import ImageOptions, Sample
    from onnxviz.maps.top_patches import Search
    from onnxviz.maximization.objectives import Objective
    from onnxviz.maximization.synthetic import SyntheticInputs
    from onnxviz.model.layer import TapKind
    from onnxviz.model.model import Model
    from onnxviz.runtime.session import RunOptions

_REGIONS = 9


_OF_FILTERS = Mode(
    lambda given: bool(given["selection"]) or given["layers"] is not None or given["class_"] is None,
    "photos are searched for filters, and {class} alone asks for none",
)
_HEEDS = {
    ALWAYS: "model selection layers numbers random class_ at plus variants steps size param from_ magnitude_from alpha "
    "jitter transforms rate decay leak seed preprocess fixed provider memory threads output save as_json quiet",
    DRAWN: "with_patches picture dpi title captions",
    _OF_FILTERS: "with_patches",
}


@command(_HEEDS, epilog="Example: onnxviz maximize model.onnx block1_conv2 --random 4 -o looks-for")
def maximize(
    context: typer.Context,
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
        str | None,
        typer.Option(
            metavar="[Dx][Hx]W", help="If the model leaves it open; one number is each side.", show_default="128x128"
        ),
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
        Literal["standard", "jitter", "none"],
        typer.Option(help="standard: jitter, rotation ±10°, scale ±10 %; of classes crops."),
    ] = "standard",
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Adam's step size at the start.", show_default="0.03; classes 0.02, pixel 0.05, maco 0.1"
        ),
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
    with_patches: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT",
            help="Photos: beside each filter the nine regions that excite it most; may be repeated.",
            show_default=False,
        ),
    ] = None,
    provider: ProviderOption = "cpu",
    memory: MemoryOption = "1GiB",
    threads: ThreadsOption = 0,
    output: Annotated[Path | None, where_to("DIR", "maximize/")] = None,
    picture: FormatOption = "png",
    dpi: DpiOption = None,
    title: TitleOption = None,
    captions: CaptionsOption = True,
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the inputs that filters or classes look for: activation maximisation."""
    from onnxviz.cli.progress import climbing
    from onnxviz.maximization.maximize import maximize as make
    from onnxviz.model.model import load
    from onnxviz.model.selection import numbers as parse_numbers
    from onnxviz.output.synthetic import write_synthetic
    from onnxviz.runtime.session import RunOptions

    pictures = picture_options(context, picture, dpi, title, captions)
    if alpha and pictures.format == "jpg":
        raise InputError("a .jpg has no transparency, which --alpha makes: take --format png or webp")
    check_folder(output, "pictures are made into a folder")
    opened = load(model)
    running = RunOptions(provider, parse_bytes(memory), threads)
    # Photos that cannot be read are said before the climb, which takes minutes.
    photos = _Photos.of(opened, with_patches, preprocess) if with_patches else None
    others = dict(item.partition("=")[::2] for item in fixed or ())
    with climbing(quiet) as told:
        found = make(
            opened,
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
    skipped = Skipped()
    search = photos.searched(found, at or "activation", running, quiet) if photos is not None else None
    for label, error in search.failed if search is not None else ():
        skipped.add(label, error)
    written, document = (
        write_synthetic(found, folder, pictures, search) if folder is not None else ([], found.manifest())
    )
    if save is not None:
        written.extend(found.write(save))
    if said := found.made.canvas.expected.words(str(model), "inputs are"):
        note(quiet, said)
    note_handed(quiet, found.provenance.assignment)
    for warning in found.warnings:
        note(quiet, warning)
    report(as_json, {**document, "model": str(model), "folder": str(folder) if folder else None}, written)
    if photos is not None:
        skipped.end(len(photos.given))
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)


@dataclass(frozen=True)
class _Photos:
    """Photos that filters are shown beside.

    Attributes:
        model: the model.
        images: how they are read.
        given: the photos.
    """

    model: Model
    images: ImageOptions
    given: list[Sample]

    @classmethod
    def of(cls, model: Model, paths: list[str], preprocess: str) -> _Photos:
        """Those that paths name.

        Raises:
            UnheededOptionError: the model takes no pictures.
            InputError: there are none.
        """
        from onnxviz.inputs.samples import ImageOptions, samples
        from onnxviz.maps.top_patches import takes_pictures

        if not takes_pictures(model):
            refuse_unheeded({"with_patches": paths}, f"{model.label} takes no pictures to cut patches from")
        images = ImageOptions.of(model, preprocess)
        return cls(model, images, samples(model, paths, images))

    def searched(self, made: SyntheticInputs, at: TapKind, running: RunOptions, quiet: bool) -> Search:
        """What excites the filters that there are pictures of, nine regions each."""
        from onnxviz.cli.progress import counting
        from onnxviz.maps.top_patches import Search

        names = dict.fromkeys(one.layer for one in made.targets if one.filter is not None)
        layers = [self.model.layer(name) for name in names]
        search = Search(self.model, self.given, self.images, layers, _REGIONS, at, running)
        with counting(quiet, "searching", len(self.given)) as bar:
            several = len(self.given) > 1
            search.run(errors="skip" if several else "raise", progress=lambda done, total: bar.advance())
        return search


def _penalties(texts: list[str] | None) -> Objective | None:
    """What `--plus` adds to every objective."""
    from onnxviz.maximization.objectives import Sum, parts
    from onnxviz.maximization.penalties import read_penalty

    return Sum(tuple(part for text in texts for part in parts(read_penalty(text)))) if texts else None
