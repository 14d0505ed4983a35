"""The command line: each command parses, calls the verb of the same name, and prints."""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from onnxviz import __version__
from onnxviz.errors import InputError, OnnxvizError, SelectionError, UnsupportedGradientError
from onnxviz.supervise import INTERRUPTED, supervised
from onnxviz.text import printable

if TYPE_CHECKING:
    from onnxviz.layer import Layer

app = typer.Typer(
    name="onnxviz",
    help="See inside the CNN you ship: layers, filters and feature maps of any .onnx.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command that `sys.argv` names, in a process that may die, and exits with its code."""
    sys.exit(supervised(run))


def run(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command; errors that are the input's fault are one line on stderr."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries, about a stranger's file: not the user's to act on
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names in a file need not fit the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=arguments, standalone_mode=False)
        sys.stdout.flush()
    except OnnxvizError as error:
        return _fail(str(error), error.exit_code, lines=isinstance(error, UnsupportedGradientError))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the reader of a pipe has enough; Typer makes an exit of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a name too long, no permission
        return _fail(f"{error.filename or 'the output'} cannot be written or read: {error.strerror or error}", 2)
    except Exception as error:
        if not hasattr(error, "format_message"):  # how Typer says that the command line is wrong
            raise
        return _fail(error.format_message().replace("Value error, ", ""), 2)
    if code == INTERRUPTED:
        _stderr().print("interrupted")
    return code if isinstance(code, int) else 0


_MOST_LINES = 60


def _fail(message: str, code: int, *, lines: bool = False) -> int:
    # What lacks a gradient is a list, a line each; other messages are one line whatever strangers' names contain.
    said = message.splitlines()[:_MOST_LINES] if lines else [message]
    words = "\n".join(printable(line, 1000) for line in said)
    _stderr().print(Text.assemble(("error: ", "bold red"), words), soft_wrap=True)
    return code


Provider = Literal["cpu", "cuda"]
Picture = Literal["png", "svg", "pdf"]
PICTURES = (".png", ".svg", ".pdf")

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A .onnx file.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr.")]
CmapOption = Annotated[str | None, typer.Option(metavar="NAME", help="A matplotlib colour map.", show_default=False)]
OpsOption = Annotated[
    str | None,
    typer.Option(metavar="Conv,MaxPool", help="Operators that count as layers.", show_default="convolutions"),
]
SaveOption = Annotated[
    Path | None, typer.Option(metavar="FILE.npz", help="Write the arrays, one per layer.", show_default=False)
]
FormatOption = Annotated[Picture, typer.Option("--format", help="Format of pictures in a folder.")]
PreprocessOption = Annotated[
    str,
    typer.Option(
        metavar="P",
        help="auto, raw, unit, signed, torch, caffe, or scale=…,mean=0.5:0.4:0.4,std=…,order=BGR.",
    ),
]


SizeOption = Annotated[
    str | None, typer.Option(metavar="HxW", help="Image size, if the model leaves it open.", show_default=False)
]
FitOption = Annotated[Literal["stretch", "crop"], typer.Option(help="Stretch images to the size, or crop the middle.")]
BackgroundOption = Annotated[str, typer.Option(metavar="COLOUR", help="Behind transparent pixels.")]
ProviderOption = Annotated[Provider, typer.Option(help="Where the model runs; no fallback.")]
MemoryOption = Annotated[str, typer.Option(metavar="BYTES", help="Budget that batches follow from.")]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        print(f"onnxviz {__version__}")
        raise typer.Exit


@app.command(epilog="Example: onnxviz layers model.onnx --layout keras")
def layers(
    model: ModelArgument,
    all_layers: Annotated[bool, typer.Option("--all", help="Also poolings, activations, dense layers …")] = False,
    ops: OpsOption = None,
    layout: Annotated[Literal["onnx", "keras"], typer.Option(help="Order of axes in shapes.")] = "onnx",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the convolutions of a model: filters, geometry, output shapes, where the weights come from."""
    from onnxviz.model import load
    from onnxviz.tables import document, layer_table

    opened = load(model)
    operators = _operators(ops)
    rows = opened.layers_of(operators) if operators is not None else opened.all_layers if all_layers else opened.layers
    if as_json:
        _print_json(document(opened, rows, layout))
        return
    console = _stdout()
    console.print(layer_table(opened, rows, layout, console.width))
    if not rows and not all_layers:
        _note(quiet, f"{opened.label} has no convolution; --all lists its other layers")


@app.command(epilog="Example: onnxviz filters model.onnx block1_conv1 --first 6 -o filters.png")
def filters(
    model: ModelArgument,
    selection: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LAYER]...", help="Names, globs or positions; the first convolution.", show_default=False
        ),
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
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE|DIR", help="Where to.", show_default="filters/")
    ] = None,
    picture: FormatOption = "png",
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw the filters of one or more layers."""
    from onnxviz.featuremaps import save_arrays
    from onnxviz.files import make_folder
    from onnxviz.model import load
    from onnxviz.select import numbers as parse_numbers

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
    if output is not None or save is None:
        from onnxviz.plots import known_cmap, plot_filters, save_figure

        targets = _targets(output, "filters", chosen, picture)
        with _progress(quiet, "drawing", len(chosen)) as advance:
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
                advance()
    if save is not None:
        manifest = {
            "model": {"path": opened.label, "sha256": opened.sha256},
            "layers": {layer.name: layer.row()["weight"] for layer in chosen},
        }
        written.extend(save_arrays({layer.name: layer.weight for layer in chosen}, save, manifest))
    _report(as_json, {"model": opened.label, "filters": drawn}, written)


@app.command(epilog="Example: onnxviz maps model.onnx cat.jpg --layers block-ends -o maps")
def maps(
    model: ModelArgument,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Images, folders, .npy, .npz, or NAME=PATH.", show_default=False),
    ],
    layers: Annotated[
        str, typer.Option(metavar="SELECTION", help="Names, globs, 0,4,11, 0-3, all, first, last, block-ends, every:4.")
    ] = "all",
    ops: OpsOption = None,
    at: Annotated[
        Literal["activation", "conv"], typer.Option(help="The layer's output, or the operator's own.")
    ] = "activation",
    first: Annotated[
        int | None,
        typer.Option(metavar="N", help="How many maps of each layer.", min=1, show_default="64; patches: 16"),
    ] = None,
    channels: Annotated[str | None, typer.Option(metavar="0,3,5-9", help="Which maps.", show_default=False)] = None,
    sort: Annotated[
        Literal["mean", "variance", "norm", "weight-norm"] | None,
        typer.Option(help="Show the largest first.", show_default=False),
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
        Literal["grid", "strip", "lines"], typer.Option(help="grid, strip (one row), lines (1-D).")
    ] = "grid",
    scale: Annotated[
        Literal["map", "layer", "symmetric", "standardize"] | None,
        typer.Option(help="What shares a range.", show_default="map; strip: standardize"),
    ] = None,
    cmap: CmapOption = None,
    preprocess: PreprocessOption = "auto",
    size: SizeOption = None,
    fit: FitOption = "stretch",
    background: BackgroundOption = "white",
    provider: ProviderOption = "cpu",
    memory: MemoryOption = "1GiB",
    verify: Annotated[bool, typer.Option("--verify", help="Also run untapped; say if the outputs moved.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where to.", show_default="maps/")
    ] = None,
    picture: FormatOption = "png",
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw the feature maps of images, for chosen layers."""
    from onnxviz.album import Album, Look
    from onnxviz.inputs import reading
    from onnxviz.model import load
    from onnxviz.plots import known_cmap
    from onnxviz.run import Run
    from onnxviz.select import numbers as parse_numbers

    if patches is not None:
        _top_patches(
            model, inputs, layers, patches, first or 16, channels, at, preprocess, _parse_size(size), fit, background,
            provider, output, picture, save, as_json, quiet,
        )  # fmt: skip
        return
    look = Look(
        first=first or 64,
        channels=parse_numbers(channels, "channels") if channels is not None else None,
        sort=sort,
        style=style,
        scale=scale,
        cmap=known_cmap(cmap),
    )
    opened = load(model)
    how = reading(opened, preprocess, _parse_size(size), fit, background)
    operators = _operators(ops)
    run = Run(
        opened, inputs, layers, operators, at, how,
        provider=provider, memory=_parse_bytes(memory), verify=verify,
    )  # fmt: skip
    failed: list[tuple[str, str]] = []

    def note(label: str, error: OnnxvizError) -> None:
        failed.append((label, str(error)))
        _stderr().print(Text.assemble(("skipped ", "yellow"), printable(f"{label}: {error}", 1000)), soft_wrap=True)

    if output is not None and output.suffix.lower() in PICTURES:
        raise InputError(f"maps are drawn into a folder, one picture a layer: {output} looks like a file")
    folder = output if output is not None else None if save is not None else Path("maps")
    album = Album(run, folder, look, picture, save)
    several = len(run.samples) > 1
    with _progress(quiet, "running", len(run.samples)) as advance:
        for labels, captured in run.batches(on_error=note if several else None):
            album.add(labels, captured)
            advance(len(labels))
    written = album.close(failed)
    if how.assumed and run.reads_images:
        _note(quiet, _assumed(opened.label, how.preprocessing.name))
    if run.moved is not None:
        _note(quiet, _moved(run.moved))
    if preprocess != "auto" and not run.reads_images:
        _note(quiet, "arrays are fed as they are: --preprocess had nothing to do")
    _report(as_json, album.document(failed), written)
    if failed:
        _stderr().print(f"{len(failed)} of {len(run.samples)} inputs could not be used")
        raise typer.Exit(1)


@app.command(epilog="Example: onnxviz convert model.keras -o model.onnx")
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A .keras, .h5, .pt2 or TorchScript file, a SavedModel folder, or module:factory.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL.onnx", help="The file to write.", show_default=False)
    ],
    input_shape: Annotated[
        str | None,
        typer.Option(metavar="1x3x224x224", help="Batch first, ? for an open size; NAME=…,NAME=….", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keras weights or a state_dict to load.", show_default=False)
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(metavar="P", help="Kept in the model; as for maps, without auto.", show_default="known models"),
    ] = None,
    opset: Annotated[int, typer.Option(metavar="N", help="Version of ONNX' operators.")] = 18,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare filters, maps and outputs with the source.")
    ] = True,
    allow_code_execution: Annotated[
        bool, typer.Option("--allow-code-execution", help="Run code that the file brings along, if it must.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert a Keras or PyTorch model: the same filters, the same names, compared with the source."""
    from onnxviz.convert import conversion
    from onnxviz.tables import conversion_table

    if preprocess == "auto":
        raise InputError("convert keeps one preprocessing in the model; 'auto' is none: name raw, unit, torch …")
    if output.suffix.lower() != ".onnx":
        raise InputError(f"{output} does not end in .onnx, by which every tool knows an ONNX model")
    with _stages(quiet) as on_stage, _clean_stdout():
        done = conversion(
            source,
            output=output,
            input_shape=input_shape,
            weights=weights,
            preprocess=preprocess,
            opset=opset,
            verify=verify,
            allow_code_execution=allow_code_execution,
            on_stage=on_stage,
        )
    for note in done.notes:
        _note(quiet, note)
    if not as_json and not quiet:
        _stderr().print(conversion_table(done))
    _report(as_json, done.as_dict(), done.files)


def _top_patches(
    model: Path,
    inputs: list[str],
    layers: str,
    count: int,
    first: int,
    channels: str | None,
    at: Literal["activation", "conv"],
    preprocess: str,
    size: tuple[int, int] | None,
    fit: Literal["stretch", "crop"],
    background: str,
    provider: str,
    output: Path | None,
    picture: str,
    save: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """`maps --top-patches`: a sheet for each layer instead of its maps."""
    from onnxviz.gallery import write_patches
    from onnxviz.inputs import reading, samples
    from onnxviz.model import load
    from onnxviz.patches import Search
    from onnxviz.select import numbers as parse_numbers

    opened = load(model)
    how = reading(opened, preprocess, size, fit, background)
    given = samples(opened, inputs, how)
    search = Search(opened, given, how, opened.select(layers), count, at, provider)
    which = parse_numbers(channels, "filters") if channels is not None else None
    with _progress(quiet, "searching", len(given)) as advance:
        found = search.run(errors="skip" if len(given) > 1 else "raise", progress=lambda done, total: advance())
    for label, error in search.failed:
        _stderr().print(Text.assemble(("skipped ", "yellow"), printable(f"{label}: {error}", 1000)), soft_wrap=True)
    folder = output if output is not None else None if save is not None else Path("patches")
    document, written = write_patches(search, found, folder, save, picture, which, first)
    if how.assumed and any(sample.path for sample in given):
        _note(quiet, f"{opened.label} does not say how images are prepared; assumed '{how.preprocessing.name}'")
    _report(as_json, document, written)
    if search.failed:
        _stderr().print(f"{len(search.failed)} of {len(given)} inputs could not be used")
        raise typer.Exit(1)


@app.command(epilog="Example: onnxviz explain model.onnx cat.jpg --method grad-cam -o cat.png")
def explain(
    model: ModelArgument,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Images, folders, .npy, .npz, or NAME=PATH.", show_default=False),
    ],
    class_: Annotated[str, typer.Option("--class", metavar="N|top", help="Which class; the model's answer.")] = "top",
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="grad-cam, grad-cam++, layer-cam, hires-cam, xgrad-cam, eigen-cam, score-cam, saliency, "
            "input-x-gradient, integrated-gradients, smooth-grad, guided, occlusion, rise.",
        ),
    ] = "grad-cam",
    layer: Annotated[
        str | None, typer.Option(metavar="L", help="For CAMs: a layer or tensor.", show_default="last convolution")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="TENSOR", help="What is explained.", show_default="first output")
    ] = None,
    region: Annotated[
        str,
        typer.Option(
            metavar="R",
            help="Of a segmentation: all, argmax, TOP,LEFT,BOTTOM,RIGHT, or a mask as .npy.",
        ),
    ] = "auto",
    wrt: Annotated[
        str | None, typer.Option(metavar="NAME", help="The input to explain, of several.", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of the classes, one a line.", show_default=False)
    ] = None,
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
    baseline: Annotated[float, typer.Option(metavar="X", help="What stands for nothing, in the model's input.")] = 0.0,
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Also maps of random weights, deletion and insertion curves.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.", min=0)] = 0,
    cmap: CmapOption = None,
    preprocess: PreprocessOption = "auto",
    size: SizeOption = None,
    fit: FitOption = "stretch",
    background: BackgroundOption = "white",
    provider: ProviderOption = "cpu",
    memory: MemoryOption = "1GiB",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE|DIR", help="Where to.", show_default="explain/")
    ] = None,
    picture: FormatOption = "png",
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Write the raw maps.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw where a model looks: saliency, class activation maps, occlusion."""
    from onnxviz.explain import Explainer, Settings, explain_faithfulness, explain_sanity
    from onnxviz.explain.target import read_labels, read_region
    from onnxviz.gallery import Gallery
    from onnxviz.inputs import reading
    from onnxviz.plots import known_cmap

    if class_ != "top" and not re.fullmatch(r"-?[0-9]{1,9}", class_):
        raise InputError(f"'{class_}' is not a class; write its number, or top")
    explainer = Explainer(
        model,
        method,
        class_="top" if class_ == "top" else int(class_),
        layer=layer,
        target=target,
        region=read_region(region),
        wrt=wrt,
        labels=read_labels(labels) if labels is not None else None,
        settings=Settings(samples=samples, baseline=baseline, window=window, stride=stride, seed=seed),
        provider=provider,
        memory=_parse_bytes(memory),
    )
    opened = explainer.model
    how = reading(opened, preprocess, _parse_size(size), fit, background)
    given = explainer.samples(inputs, how)
    several = len(given) > 1
    folder = output if output is not None else None if save is not None else Path("explain")
    gallery = Gallery(folder, save, several=several, suffix=picture, cmap=known_cmap(cmap))
    failed: list[tuple[str, str]] = []

    def note(label: str, error: OnnxvizError) -> None:
        failed.append((label, str(error)))
        _stderr().print(Text.assemble(("skipped ", "yellow"), printable(f"{label}: {error}", 1000)), soft_wrap=True)

    with _bar(quiet, "explaining", len(given)) as (told, advance):
        for explanation in explainer.each(given, how, on_error=note if several else None, progress=told):
            checks = None
            if sanity and explanation.map.any():  # of a map of zeros the warnings tell
                checks = explain_sanity(explanation, seed=seed, progress=told), explain_faithfulness(explanation)
            gallery.add(explanation, checks)
            advance()
            where = f", {explanation.method} at {explanation.layer}" if explanation.layer else f", {explanation.method}"
            _note(quiet, f"{explanation.sample}: {explanation.what}, score {explanation.score:.4g}{where}")
            for warning in (*explanation.warnings, *explanation.approximations):
                _note(quiet, f"{explanation.sample}: {warning}")
            if checks is not None and not as_json:
                print(printable(f"{explanation.sample}: {checks[0].verdict}", 1000))
                print(printable(f"{explanation.sample}: {checks[1].verdict}", 1000))
    written = gallery.close(failed)
    if how.assumed and any(sample.path for sample in given):
        _note(quiet, _assumed(opened.label, how.preprocessing.name))
    document = {
        "model": opened.label,
        "explanations": gallery.entries,
        "failed": [{"input": label, "error": error} for label, error in failed],
    }
    _report(as_json, document, written)
    if failed:
        _stderr().print(f"{len(failed)} of {len(given)} inputs could not be used")
        raise typer.Exit(1)


@app.command(epilog="Example: onnxviz maximize model.onnx block1_conv2 --random 4 -o looks-for")
def maximize(
    model: ModelArgument,
    selection: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LAYER]...", help="Names, globs or positions.", show_default=False),
    ] = None,
    numbers: Annotated[
        str | None, typer.Option("--filters", metavar="0,3,5-9", help="Which filters.", show_default=False)
    ] = None,
    random: Annotated[int, typer.Option(metavar="N", help="How many filters to draw.", min=1)] = 6,
    class_: Annotated[
        str | None, typer.Option("--class", metavar="N", help="Which classes, before softmax.", show_default=False)
    ] = None,
    at: Annotated[
        Literal["activation", "conv"], typer.Option(help="The layer's output, or the operator's own.")
    ] = "activation",
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
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.", min=0)] = 0,
    preprocess: PreprocessOption = "auto",
    fixed: Annotated[
        list[str] | None,
        typer.Option("--fixed", metavar="NAME=PATH", help="The model's other inputs.", show_default=False),
    ] = None,
    provider: ProviderOption = "cpu",
    memory: MemoryOption = "1GiB",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where to.", show_default="maximize/")
    ] = None,
    picture: Annotated[Picture, typer.Option("--format", help="Format of the sheet.")] = "png",
    save: SaveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the inputs that filters or classes look for: activation maximisation."""
    from onnxviz.maximize import maximize as make
    from onnxviz.select import numbers as parse_numbers
    from onnxviz.showcase import write_showcase

    if output is not None and output.suffix.lower() in PICTURES:
        raise InputError(f"pictures are made into a folder: {output} looks like a file")
    others = dict(item.partition("=")[::2] for item in fixed or ())
    with _climbing(quiet) as told:
        found = make(
            model,
            selection or None,
            filters=parse_numbers(numbers, "filters") if numbers is not None else None,
            random=random,
            class_=parse_numbers(class_, "classes") if class_ is not None else None,
            at=at, steps=steps, size=_parse_size(size), param=param, jitter=jitter, transforms=transforms, rate=rate,
            seed=seed, preprocess=preprocess, fixed=others, memory=_parse_bytes(memory), provider=provider,
            progress=told,
        )  # fmt: skip
    folder = output if output is not None else None if save is not None else Path("maximize")
    written, document = write_showcase(found, folder, picture) if folder is not None else ([], found.manifest())
    if save is not None:
        written.extend(found.write(save))
    if found.made.canvas.assumed:
        _note(
            quiet,
            f"{model} does not say how inputs are prepared; assumed '{found.made.canvas.preprocessing.name}' "
            "(give --preprocess, or keep it in the model with onnxviz annotate)",
        )
    for warning in found.warnings:
        _note(quiet, warning)
    _report(as_json, {**document, "model": str(model), "folder": str(folder) if folder else None}, written)


@contextmanager
def _climbing(quiet: bool) -> Iterator[Any]:
    """A progress bar with the activation on stderr, if that is a terminal; gives what `maximize` reports to."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=_stderr(), transient=True) as shown:
        task = shown.add_task("preparing", total=None)

        def tell(now: Any) -> None:
            words = f"{printable(now.target, 40)}  activation {now.activation:.4g}"
            shown.update(task, completed=now.done, total=now.total, description=words)

        yield tell


@app.command(epilog="Example: onnxviz annotate model.onnx --preprocess torch -o annotated.onnx")
def annotate(
    model: ModelArgument,
    preprocess: Annotated[str, typer.Option(metavar="P", help="As for maps, without auto.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="The new .onnx file.", show_default=False)
    ],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Keep in a model how its images are prepared, so that no later command has to be told."""
    from onnxviz.images import Preprocessing
    from onnxviz.model import PREPROCESSING_KEY, load

    opened = load(model)
    if preprocess == "auto":
        raise InputError("annotate keeps one preprocessing in the model; 'auto' is none: name raw, unit, torch …")
    chosen = Preprocessing.parse(preprocess)
    written = opened.with_metadata({PREPROCESSING_KEY: chosen.to_json()}).save(output)
    _report(as_json, {"model": opened.label, "preprocessing": chosen.as_dict()}, [written])


def _operators(ops: str | None) -> list[str] | None:
    return [op.strip() for op in ops.split(",") if op.strip()] if ops is not None else None


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


def _targets(output: Path | None, default: str, chosen: Sequence[Layer], picture: Picture) -> list[Path]:
    """A file for each layer: the one that was named, or `NNN-layer.png` in a folder."""
    from onnxviz.files import safe_name

    if output is not None and output.suffix.lower() in PICTURES and not output.is_dir():
        if len(chosen) > 1:
            raise InputError(f"{len(chosen)} layers were chosen for the one file {output}; give a folder")
        return [output]
    if output is not None and output.suffix and not output.is_dir():
        raise InputError(f"{output} is no folder, and pictures are {', '.join(PICTURES)}")
    folder = output if output is not None else Path(default)
    return [folder / f"{safe_name(layer.index, layer.name)}.{picture}" for layer in chosen]


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})[xX×](\d{1,6})", text)
    if match is None or 0 in (height := int(match[1]), width := int(match[2])):
        raise InputError(f"'{text}' is not a size; write height x width, such as 224x224")
    return height, width


def _parse_bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([kmgt]?)(i?b)?", text.strip().lower())
    if match is None:
        raise InputError(f"'{text}' is not a number of bytes; write 512MiB, 2GiB …")
    step = 1024 if match[3] in ("ib", None) else 1000
    return int(float(match[1]) * step ** " kmgt".index(match[2] or " "))


def _assumed(label: str, preprocessing: str) -> str:
    return (
        f"{label} does not say how images are prepared; assumed '{preprocessing}' "
        "(give --preprocess, or keep it in the model with onnxviz annotate)"
    )


def _moved(moved: dict[str, float]) -> str:
    if moved["max_abs_diff"] == 0:
        return "verified: the taps did not change the model's outputs (bit for bit)"
    return (
        f"verified: the taps moved the model's outputs by at most {moved['max_abs_diff']:.3g} "
        f"({moved['max_rel_diff']:.3g} of the largest)"
    )


def _report(as_json: bool, document: dict[str, Any], written: Sequence[Path]) -> None:
    """The one JSON document, or the paths of the files that were written, a line each."""
    if as_json:
        _print_json({**document, "files": [str(path) for path in written]})
    else:
        for path in written:
            print(printable(str(path), 10_000))


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(_finite(document), indent=1, allow_nan=False))


def _finite(value: Any) -> Any:
    """`value` with null for what JSON has no number for: NaN and infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _note(quiet: bool, text: str) -> None:
    if not quiet:
        _stderr().print(Text(printable(text, 1000), style="dim"), soft_wrap=True)


def _stdout() -> Console:
    # A pipe or file gets the whole table, however wide.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 220)


def _stderr() -> Console:
    return Console(stderr=True, highlight=False)


@contextmanager
def _clean_stdout() -> Iterator[None]:
    """Keeps stdout for the result: what frameworks and code that a user names print meanwhile goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)  # native code and child processes
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _stages(quiet: bool) -> Iterator[Any]:
    """What is being done and for how long, on stderr, if that is a terminal; gives a function that names the stage."""
    if quiet or not sys.stderr.isatty():
        yield lambda stage: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=_stderr(), transient=True
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda stage: bar.update(task, description=stage)


@contextmanager
def _progress(quiet: bool, what: str, total: int) -> Iterator[Any]:
    """A progress bar on stderr, if that is a terminal; gives a function that advances it."""
    if quiet or not sys.stderr.isatty():
        yield lambda count=1: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=_stderr(), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda count=1: bar.advance(task, count)


@contextmanager
def _bar(quiet: bool, what: str, total: int) -> Iterator[Any]:
    """A progress bar on stderr, if that is a terminal; gives (tell, advance).

    `tell(done, of)` says how far the input that is worked on is, `advance()` that it is done.
    """
    if quiet or not sys.stderr.isatty():
        yield None, lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=_stderr(), transient=True) as shown:
        whole = shown.add_task(what, total=total)
        part = shown.add_task("this one", total=None, visible=False)

        def tell(done: int, of: int) -> None:
            shown.update(part, completed=done, total=of, visible=True)

        yield tell, lambda: shown.advance(whole)
