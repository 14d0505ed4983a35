"""`onnxviz maps`: pictures of feature maps, or of the image regions that excite each filter most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from onnxviz.cli.heeding import ALWAYS, DRAWN, Mode
from onnxviz.cli.options import (
    AtOption,
    AxesOption,
    BackgroundOption,
    CaptionsOption,
    CmapOption,
    DpiOption,
    FitOption,
    FormatOption,
    InputsArgument,
    JsonOption,
    LabelsOption,
    LayersOption,
    MemoryOption,
    ModelArgument,
    OpsOption,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SaveOption,
    SizeOption,
    TitleOption,
    folder_for,
    parse_bytes,
    parse_operators,
    parse_size,
    picture_options,
    where_to,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import Skipped, note, note_handed, report
from onnxviz.files import check_folder

if TYPE_CHECKING:
    from onnxviz.inputs.samples import ImageOptions
    from onnxviz.model.model import Model
    from onnxviz.output.picture_options import PictureOptions
    from onnxviz.runtime.session import RunOptions


# --top-patches takes convolutions, shows photos, and runs them by itself.
_MAPS = Mode(lambda given: given["patches"] is None, "{top_patches} shows image regions in the place of maps")
_SHOWN = Mode(lambda given: given["patches"] is not None or DRAWN.holds(given), DRAWN.otherwise)
_CHOSEN = Mode(
    lambda given: given["channels"] is None or given["sort"] == "weight-norm", "{channels} says which are shown"
)
_APART = Mode(lambda given: given["photos"] == "apart", "{photos} has a style of its own")
_SCALED = Mode(lambda given: given["photos"] != "contact", "a contact sheet draws each map on its own scale")
_HEEDS = {
    ALWAYS: "model inputs layers at patches preprocess size fit background provider output save as_json quiet",
    _MAPS: "ops sort style scale cmap photos labels answer axes memory verify",
    _SHOWN: "first channels",
    DRAWN: "sort style scale cmap photos labels answer picture dpi title captions",
    _APART: "style",
    _SCALED: "scale",
    _CHOSEN: "first",
}


@command(_HEEDS, epilog="Example: onnxviz maps model.onnx cat.jpg --layers block-ends -o maps")
def maps(
    context: typer.Context,
    model: ModelArgument,
    inputs: InputsArgument,
    layers: LayersOption = "all",
    ops: OpsOption = None,
    at: AtOption = "activation",
    first: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many maps of each layer.",
            min=1,
            show_default="64; together: 12, contact: 8, patches: 16",
        ),
    ] = None,
    channels: Annotated[str | None, typer.Option(metavar="0,3,5-9", help="Which maps.", show_default=False)] = None,
    sort: Annotated[
        Literal["mean", "variance", "norm", "weight-norm"] | None,
        typer.Option(
            metavar="BY", help="The largest first, by mean, variance, norm or weight-norm.", show_default=False
        ),
    ] = None,
    patches: Annotated[
        int | None,
        typer.Option(
            "--top-patches",
            metavar="N",
            min=1,
            help="Instead: the N regions that excite each filter.",
            show_default=False,
        ),
    ] = None,
    style: Annotated[
        Literal["grid", "strip", "lines"] | None,
        typer.Option(help="grid, strip (one row), lines (1-D).", show_default="grid"),
    ] = None,
    scale: Annotated[
        Literal["map", "channel", "layer", "symmetric", "standardize"] | None,
        typer.Option(
            metavar="WHAT",
            help="What shares a range: map, layer, symmetric, standardize, or of photos together channel.",
            show_default="map; strip: standardize; together: channel",
        ),
    ] = None,
    cmap: CmapOption = None,
    photos: Annotated[
        Literal["apart", "together", "contact"],
        typer.Option(help="Each input alone, all side by side, or a contact sheet: a row an input."),
    ] = "apart",
    labels: LabelsOption = None,
    answer: Annotated[
        bool,
        typer.Option(" /--no-answer", help="Do not run the model to its end for what it says.", show_default=False),
    ] = True,
    axes: AxesOption = None,
    preprocess: PreprocessOption = "auto",
    size: SizeOption = None,
    fit: FitOption = None,
    background: BackgroundOption = None,
    provider: ProviderOption = "cpu",
    memory: MemoryOption = "1GiB",
    verify: Annotated[bool, typer.Option("--verify", help="Also run untapped; say if the outputs moved.")] = False,
    output: Annotated[Path | None, where_to("DIR", "maps/")] = None,
    picture: FormatOption = "png",
    dpi: DpiOption = None,
    title: TitleOption = None,
    captions: CaptionsOption = True,
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw the feature maps of images, for chosen layers."""
    from onnxviz.cli.progress import counting
    from onnxviz.inputs.labels import read_labels
    from onnxviz.inputs.samples import ImageOptions
    from onnxviz.maps.finite import words
    from onnxviz.maps.tapped_model import LayerChoice
    from onnxviz.maps.tapped_run import TappedRun
    from onnxviz.model.axes.said_axes import read_axes
    from onnxviz.model.model import load
    from onnxviz.model.selection import numbers as parse_numbers
    from onnxviz.output.maps import Look
    from onnxviz.output.maps_together import WRITERS
    from onnxviz.output.shown_inputs import ShownInputs
    from onnxviz.plots import known_cmap
    from onnxviz.runtime.session import RunOptions

    pictures = picture_options(context, picture, dpi, title, captions)
    if patches is not None:
        sized = parse_size(size)
        opened = load(model)
        _top_patches(
            opened, inputs, ImageOptions.of(opened, preprocess, sized, fit, background), patches, layers=layers, at=at,
            channels=channels, first=first or 16, options=RunOptions(provider, parse_bytes(memory)),
            folder=folder_for(output, save, "patches"),
            pictures=pictures, save=save, as_json=as_json, quiet=quiet,
        )  # fmt: skip
        return
    look = Look(
        first=first or {"together": 12, "contact": 8}.get(photos, 64),
        channels=parse_numbers(channels, "channels") if channels is not None else None,
        sort=sort,
        style=style,
        scale=scale,
        cmap=known_cmap(cmap),
    )
    opened = load(model).with_axes(read_axes(axes or ()))
    images = ImageOptions.of(opened, preprocess, parse_size(size), fit, background)
    choice = LayerChoice(layers, parse_operators(ops), at)
    running = RunOptions(provider, parse_bytes(memory))
    run = TappedRun(opened, inputs, choice, images, running, verify=verify)
    check_folder(output, "maps are drawn into a folder, one picture a layer")
    folder = folder_for(output, save, "maps")
    names = read_labels(labels) if labels is not None else None
    shown = ShownInputs(run, names, answer=answer) if folder is not None else None
    skipped = Skipped()
    several = len(run.samples) > 1
    with WRITERS[photos](run, folder, look, pictures, save, shown) as album:
        with counting(quiet, "running", len(run.samples)) as bar:
            for batch in run.batches(on_error=skipped.add if several else None):
                album.add(batch)
                bar.advance(len(batch.labels))
        written = album.close(skipped.list)
    if run.reads_images and (said := images.expected.words(opened.label)):
        note(quiet, said)
    note_handed(quiet, running.assignment)
    if run.not_finite:
        note(quiet, words(run.not_finite, len(album.labels)))
    if run.observer_effect is not None:
        note(quiet, _observer_effect(run.observer_effect))
    report(as_json, album.document(skipped.list), written)
    skipped.end(len(run.samples))


def _observer_effect(found: dict[str, float]) -> str:
    if found["max_abs_diff"] == 0:
        return "verified: the taps did not change the model's outputs (bit for bit)"
    return (
        f"verified: the taps moved the model's outputs by at most {found['max_abs_diff']:.3g} "
        f"({found['max_rel_diff']:.3g} of the largest)"
    )


def _top_patches(
    model: Model,
    inputs: Sequence[str],
    images: ImageOptions,
    count: int,
    *,
    layers: str,
    at: Literal["activation", "conv"],
    channels: str | None,
    first: int,
    options: RunOptions,
    folder: Path | None,
    pictures: PictureOptions,
    save: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """`maps --top-patches`: a sheet for each layer instead of its maps."""
    from onnxviz.cli.progress import counting
    from onnxviz.inputs.samples import samples
    from onnxviz.maps.finite import words
    from onnxviz.maps.top_patches import Search
    from onnxviz.model.selection import numbers as parse_numbers
    from onnxviz.output.patches import write_patches

    given = samples(model, inputs, images)
    search = Search(model, given, images, model.select(layers), count, at, options)
    which = parse_numbers(channels, "filters") if channels is not None else None
    with counting(quiet, "searching", len(given)) as bar:
        found = search.run(errors="skip" if len(given) > 1 else "raise", progress=lambda done, total: bar.advance())
    skipped = Skipped()
    for label, error in search.failed:
        skipped.add(label, error)
    document, written = write_patches(search, found, folder, save, pictures, which, first)
    note_handed(quiet, options.assignment)
    if search.not_finite:
        note(quiet, words(search.not_finite, len(given) - len(search.failed)))
    if any(sample.photo for sample in given) and (said := images.expected.words(model.label)):
        note(quiet, said)
    report(as_json, document, written)
    skipped.end(len(given))
