"""Options and arguments that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from onnxviz.cli.heeding import flag_of
from onnxviz.errors import InputError
from onnxviz.output.picture_options import PictureFormat, PictureOptions, recorded

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A .onnx file.", show_default=False)]
InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Images or pages (photo.tif[3]), folders, lists of paths (.txt), .npy, .npz, or NAME=PATH.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr.")]
LayersOption = Annotated[
    str,
    typer.Option(
        metavar="SELECTION", help="Names, globs, positions from 0 (0,4,11, 0-3), all, first, last, block-ends, every:4."
    ),
]
LayersInsteadOption = Annotated[
    str | None, typer.Option(metavar="SELECTION", help="In place of LAYER, as for maps.", show_default=False)
]
CmapOption = Annotated[str | None, typer.Option(metavar="NAME", help="A matplotlib colour map.", show_default=False)]
OpsOption = Annotated[
    str | None,
    typer.Option(metavar="Conv,MaxPool", help="Operators that count as layers.", show_default="convolutions"),
]
AtOption = Annotated[Literal["activation", "conv"], typer.Option(help="The layer's output, or the operator's own.")]
SaveOption = Annotated[
    Path | None, typer.Option(metavar="FILE.npz", help="Write the arrays, one per layer.", show_default=False)
]
FormatOption = Annotated[PictureFormat, typer.Option("--format", help="Format of pictures in a folder.")]
DpiOption = Annotated[
    float | None, typer.Option(metavar="N", help="Dots per inch of png, jpg, webp.", min=10, show_default="100")
]
TitleOption = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="First line of pictures; {} stands for the usual one.", show_default=False),
]
CaptionsOption = Annotated[
    bool, typer.Option(" /--no-captions", help="Pictures without the lines below the title.", show_default=False)
]
PreprocessOption = Annotated[
    str,
    typer.Option(
        metavar="P",
        help="auto, raw, unit, signed, torch, caffe, or of scale=1, mean=0.5:0.4:0.4, std=…, order=BGR, with commas.",
    ),
]
SizeOption = Annotated[
    str | None, typer.Option(metavar="HxW", help="Image size, if the model leaves it open.", show_default=False)
]
FitOption = Annotated[
    Literal["stretch", "crop"] | None,
    typer.Option(help="Stretch images to the size, or crop the middle.", show_default="stretch"),
]
BackgroundOption = Annotated[
    str | None, typer.Option(metavar="COLOUR", help="Behind transparent pixels.", show_default="white")
]
ProviderOption = Annotated[
    str,
    typer.Option(metavar="NAME", help="Of onnxruntime: cpu, cuda, openvino:device_type=CPU … No fallback."),
]
ThreadsOption = Annotated[int, typer.Option(metavar="N", help="Of onnxruntime.", min=0, show_default="its own choice")]
MemoryOption = Annotated[str, typer.Option(metavar="BYTES", help="Budget that batches follow from.")]
AxesOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=N,V,C,H,W",
        help="What each axis of an input, layer or tensor counts, where the graph does not tell: N samples, V views, "
        "T frames, C channels, D H W positions; N*V in one axis; 1+H*W behind a class token.",
        show_default=False,
    ),
]
# What metavars call values that are, or may be, paths; and what changes no picture.
_PATHS = re.compile(r"PATH|FILE|DIR|INPUT|MODEL|^R$|^[AB]$")
_NO_RESULT = ("quiet", "as_json", "threads", "memory")
# Of `--class`.
CLASSES_HELP = "Which classes, by number or by a name of the labels."
LabelsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Names of the classes, one a line.", show_default=False)
]
AgainstOption = Annotated[
    str | None, typer.Option(metavar="MODEL", help="A .onnx that is taken as right.", show_default=False)
]
ClassesOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE.csv", help="Path and class of each image.", show_default="folders of classes"),
]
SelectOption = Annotated[
    str | None, typer.Option(metavar="CODES", help="Checks, or groups: W,A01.", show_default="those not asked for")
]
IgnoreOption = Annotated[
    str | None, typer.Option(metavar="CODES", help="Checks, or groups, to leave out.", show_default=False)
]
FailOnOption = Annotated[
    Literal["error", "warning", "note"] | None,
    typer.Option(help="From which severity on the exit code is 1.", show_default="error"),
]
ConfigOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings.", show_default="onnxviz.toml, pyproject.toml")
]
SeedOption = Annotated[int, typer.Option(metavar="N", help="Of everything random.", min=0)]


def where_to(metavar: str, usual: str) -> Any:
    """The option that says where pictures go: a `FILE|DIR` or `DIR`, `usual` unless told."""
    return typer.Option("--output", "-o", metavar=metavar, help="Where to.", show_default=usual)


def picture_options(
    context: typer.Context, picture: PictureFormat, dpi: float | None, title: str | None, captions: bool
) -> PictureOptions:
    """How the pictures of a command are written; their metadata say which, and with what options it was called.

    Args:
        context: of the command.
        picture: of pictures in a folder, the format.
        dpi: as for `onnxviz.save_figure`.
        title: likewise.
        captions: whether they are drawn.
    """
    record = recorded(str(context.command.name), _said(context))
    options = PictureOptions(format=picture, dpi=dpi, title=title, captions=captions, record=record)
    options.check(context.params["output"])
    return options


def _said(context: typer.Context) -> dict[str, Any]:
    """What was typed that changes a result, by the name of its flag or argument; no paths."""
    said = {}
    for one in context.command.params:
        value, source = context.params.get(one.name or ""), context.get_parameter_source(one.name or "")
        typed = source is not None and source.name == "COMMANDLINE" and one.name not in _NO_RESULT
        if typed and not isinstance(value, Path) and not (one.metavar and _PATHS.search(one.metavar)):
            option = one.param_type_name == "option"
            # What a flag turns off is noted as that: `captions` is false.
            name = flag_of(one).lstrip("-").removeprefix("no-") if option else str(one.metavar).lower()
            said[name] = value
    return said


def folder_for(output: Path | None, save: Path | None, usual: str) -> Path | None:
    """Where pictures go: where they are asked for, else to `usual` unless only arrays are to be saved."""
    return output if output is not None else Path(usual) if save is None else None


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of an `HxW`, or of a square's side.

    Raises:
        InputError: it is none.
    """
    sides = _sides(text) if text is not None else None
    if sides is None:
        return None
    sides = sides * 2 if len(sides) == 1 else sides
    if len(sides) != 2:
        raise InputError(f"'{text}' is not a size; write height x width, such as 224x224")
    return sides[0], sides[1]


def parse_sides(text: str | None) -> int | tuple[int, ...] | None:
    """One number, for sides that are alike, or as many as the model has: `224x224`, `32x64x64` of a volume.

    Raises:
        InputError: it is none of these.
    """
    sides = _sides(text) if text is not None else None
    if sides is not None and not 1 <= len(sides) <= 3:
        raise InputError(f"'{text}' is not a size; write 256 for signals, 224x224 for pictures, 32x64x64 for volumes")
    return sides[0] if sides is not None and len(sides) == 1 else sides


def _sides(text: str) -> tuple[int, ...]:
    """The whole numbers above 0 that an `x` parts; none where it is anything else."""
    parts = re.split("[xX×]", text)
    whole = all(re.fullmatch(r"[0-9]{1,6}", part) and int(part) for part in parts)
    return tuple(int(part) for part in parts) if whole else ()


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """The numbers of `3,2,1`, in this order.

    Raises:
        InputError: it is another thing.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\s*[0-9]{1,6}\s*(,\s*[0-9]{1,6}\s*)*", text):
        raise InputError(f"'{text}' are no bands; write one number from 0, or three with commas between, such as 3,2,1")
    return tuple(int(part) for part in text.split(","))


def parse_bytes(text: str) -> int:
    """The number of bytes that `512MiB` and the like mean; `M` is `MiB`, `MB` a million.

    Raises:
        InputError: it means none.
    """
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([kmgt]?)(i?b)?", text.strip().lower())
    if match is None:
        raise InputError(f"'{text}' is not a number of bytes; write 512MiB, 2GiB …")
    step = 1024 if match[3] in ("ib", None) else 1000
    return int(float(match[1]) * step ** " kmgt".index(match[2] or " "))


def named_layers(argument: list[str] | None, option: str | None) -> list[str] | None:
    """The layers that `LAYER` or `--layers` names; None where neither does.

    Raises:
        InputError: both do.
    """
    if argument and option is not None:
        raise InputError(f"layers are named twice, as {argument[0]} and with --layers {option}: leave one of them out")
    return [option] if option is not None else argument or None


def parse_operators(text: str | None) -> list[str] | None:
    """The operators of `Conv,MaxPool`; None for the usual ones."""
    return [op.strip() for op in text.split(",") if op.strip()] if text is not None else None


def parse_codes(text: str | None) -> tuple[str, ...]:
    """The codes, or prefixes of codes, of `W,A01`."""
    return tuple(code.strip().upper() for code in (text or "").split(",") if code.strip())
