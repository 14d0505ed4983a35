"""`onnxviz explain`: where a model looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from onnxviz.cli.heeding import ALWAYS, DRAWN, IN_FOLDER
from onnxviz.cli.options import (
    CLASSES_HELP,
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
    MemoryOption,
    ModelArgument,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SizeOption,
    ThreadsOption,
    TitleOption,
    folder_for,
    parse_bands,
    parse_bytes,
    parse_size,
    picture_options,
    where_to,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import Skipped, note, note_handed, report, say

if TYPE_CHECKING:
    from onnxviz.cli.progress import Bar, Forecast
    from onnxviz.explanations.method import Method
    from onnxviz.explanations.methods import MethodOptions


_HEEDS = {
    ALWAYS: "model inputs class_ method layer target region box wrt axes labels samples window stride baseline noise "
    "cells keep sanity seed preprocess size fit background provider memory threads output save as_json quiet",
    DRAWN: "cmap smooth bands picture dpi title captions",
    IN_FOLDER: "picture",
}  # a method refuses the options that it has not


@command(_HEEDS, epilog="Example: onnxviz explain model.onnx cat.jpg --method grad-cam -o cat.png")
def explain(
    context: typer.Context,
    model: ModelArgument,
    inputs: InputsArgument,
    class_: Annotated[
        str, typer.Option("--class", metavar="0,3,5-9|all|NAME", help=CLASSES_HELP, show_default="top, the answer")
    ] = "top",
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD[,…]",
            help="grad-cam, grad-cam++, layer-cam, hires-cam, xgrad-cam, eigen-cam, score-cam, saliency, "
            "input-x-gradient, integrated-gradients, smooth-grad, guided, occlusion, rise. Several make a table.",
        ),
    ] = "grad-cam",
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", "--layers", metavar="L", help="For CAMs: a layer or tensor.", show_default="last convolution"
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TENSOR",
            help="The output that is explained, by its name (onnxviz layers lists them), or any other tensor.",
            show_default="the output with scores",
        ),
    ] = None,
    region: Annotated[
        str,
        typer.Option(
            metavar="R",
            help="Of a segmentation: all, argmax, TOP,LEFT,BOTTOM,RIGHT, a mask .npy or a label .npy=N. "
            "Of boxes: all, or where.",
        ),
    ] = "auto",
    box: Annotated[
        int | None, typer.Option(metavar="N", help="Of a detector: which box.", show_default="the best", min=0)
    ] = None,
    wrt: Annotated[
        str | None, typer.Option(metavar="NAME", help="The input to explain, of several.", show_default=False)
    ] = None,
    axes: AxesOption = None,
    labels: LabelsOption = None,
    samples: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of integrated-gradients, smooth-grad, rise.", show_default="50, 50, 1000"),
    ] = None,
    window: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Side of occlusion's square.", show_default="an eighth")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="Occlusion's step.", show_default="half a window")
    ] = None,
    baseline: Annotated[
        float | None,
        typer.Option(metavar="X", help="What stands for nothing, in the model's input.", show_default="0.0"),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Smooth-grad's deviation, as a share of the input's range.", show_default="0.15"
        ),
    ] = None,
    cells: Annotated[
        int | None, typer.Option(metavar="N", help="Cells along each side of rise's masks.", show_default="7")
    ] = None,
    keep: Annotated[
        float | None, typer.Option(metavar="X", help="The share of cells that rise keeps.", show_default="0.5")
    ] = None,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Also maps of random weights, deletion and insertion curves.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of everything random.", min=0, show_default="0")
    ] = None,
    cmap: CmapOption = None,
    bands: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B|N",
            help="Which channels of the input pictures show, from 0: as red, green, blue, or one in grey.",
            show_default="colours, or the first",
        ),
    ] = None,
    smooth: Annotated[
        Literal["none", "bilinear"] | None,
        typer.Option(
            help="How a coarse map is enlarged: each cell as it is, or between cells.", show_default="bilinear"
        ),
    ] = None,
    preprocess: PreprocessOption = "auto",
    size: SizeOption = None,
    fit: FitOption = None,
    background: BackgroundOption = None,
    provider: ProviderOption = "cpu",
    memory: MemoryOption = "1GiB",
    threads: ThreadsOption = 0,
    output: Annotated[Path | None, where_to("FILE|DIR", "explain/")] = None,
    picture: FormatOption = "png",
    dpi: DpiOption = None,
    title: TitleOption = None,
    captions: CaptionsOption = True,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Write the raw maps.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw where a model looks: saliency, class activation maps, occlusion."""
    from onnxviz.cli.progress import counting
    from onnxviz.explanations.explainer import Explainer, ScoreChoice
    from onnxviz.explanations.methods import choose_methods
    from onnxviz.explanations.sanity import explain_sanity
    from onnxviz.explanations.target import read_region
    from onnxviz.inputs.labels import read_labels
    from onnxviz.inputs.provenance import Provenance
    from onnxviz.inputs.samples import ImageOptions
    from onnxviz.model.axes.said_axes import read_axes
    from onnxviz.output.explanations import DrawingOptions, ExplanationsWriter
    from onnxviz.plots import known_cmap
    from onnxviz.runtime.session import RunOptions

    pictures = picture_options(context, picture, dpi, title, captions)
    options = {
        "layer": layer, "samples": samples, "noise": noise, "baseline": baseline, "window": window, "stride": stride,
        "cells": cells, "keep": keep, "seed": seed,
    }  # fmt: skip
    known = {name for one in choose_methods(method, {}) for name in one.options}
    if sanity:  # the checks use these, whether the method does or not
        options = {name: value for name, value in options.items() if name in known or name not in ("baseline", "seed")}
    score = ScoreChoice(
        class_,
        target,
        read_region(region),
        read_labels(labels) if labels is not None else None,
        box,
    )
    running = RunOptions(provider, parse_bytes(memory), threads)
    choice = cast("MethodOptions", options)
    explainer = Explainer(model, method, score, wrt=wrt, axes=read_axes(axes or ()), running=running, **choice)
    opened = explainer.model
    images = ImageOptions.of(opened, preprocess, parse_size(size), fit, background)
    fed = explainer.samples(inputs, images)
    several = len(fed) > 1
    each = len(explainer.aims) * len(explainer.methods)
    drawing = DrawingOptions(cmap=known_cmap(cmap), smooth=smooth, bands=parse_bands(bands))
    folder = folder_for(output, save, "explain")
    gallery = ExplanationsWriter(
        folder, save, several=several, each=each, checked=sanity, pictures=pictures, drawing=drawing
    )
    skipped = Skipped()
    verdicts: list[str] = []
    warned: set[str] = set()
    with counting(quiet, "explaining", len(fed) * each) as bar, gallery:
        forecasts = {one: _forecast(quiet, one, len(fed) * len(explainer.aims), bar) for one in explainer.methods}
        found = explainer.each(
            fed,
            images,
            on_error=skipped.add if several else None,
            progress=forecasts.get,
            done=None if sanity else bar.advance,
        )
        for explanation in found:
            checks = None
            if sanity and explanation.map.any():
                checks = explain_sanity(explanation, seed=seed or 0, baseline=baseline, progress=bar.part)
                verdicts += [f"{explanation.sample}: {one.verdict}" for one in (checks, checks.faithfulness)]
            elif sanity:
                note(quiet, f"{explanation.sample}: a map of zeros has nothing to check")
            gallery.add(explanation, checks)
            if sanity:
                bar.advance()
            where = f", {explanation.method} at {explanation.layer}" if explanation.layer else f", {explanation.method}"
            note(quiet, f"{explanation.sample}: {explanation.what}, score {explanation.score:.4g}{where}")
            for warning in (*explanation.warnings, *explanation.approximations):
                said = f"{explanation.sample}: {warning}"
                if said not in warned:  # of several classes and methods each once
                    note(quiet, said)
                warned.add(said)
        written = gallery.close(skipped.list)
    for verdict in verdicts if not as_json else ():  # not while the bar is shown, which takes stdout to stderr
        say(verdict)
    note_handed(quiet, running.assignment)
    photos = any(sample.photo for sample in fed)
    if photos and (said := images.expected.words(opened.label)):
        note(quiet, said)
    document = {
        "model": opened.label,
        "preprocessing": images.as_dict() if photos else None,
        **Provenance(opened, running).placement,
        "explanations": gallery.entries,
        "failed": [{"input": label, "error": error} for label, error in skipped.list],
    }
    report(as_json, document, written)
    skipped.end(len(fed))


def _forecast(quiet: bool, method: Method, count: int, bar: Bar) -> Forecast:
    """What says how long a method takes for so many maps."""
    from onnxviz.cli.progress import Forecast

    advice = {"samples": "fewer --samples shorten it", "stride": "a larger --stride shortens it"}
    fewer = next((text for name, text in advice.items() if name in method.options), "")
    return Forecast(quiet, method.name, count, fewer, bar.part)
