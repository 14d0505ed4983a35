"""Saving of figures and pictures: formats, pixel density, title and captions, and what files say of themselves."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.files import PICTURES, PIXEL_PICTURES, check_dpi, replacing
from onnxviz.messages import refuse_unheeded
from onnxviz.plots.encoding import QUALITY, encode_picture, exif_of, record_text
from onnxviz.plots.page import FigurePage

# Pixels that a side may have at most: of WebP by its format, of the others by what programs can open.
_LONGEST = {"webp": 16_383}
_LONGEST_USUAL = 65_535
_MOST_PIXELS = 2**28
# Words stay words: in SVG those of the reader's font, in PDF with the letters they need.
# Where a reader has not the font: one of the same widths, which Windows and macOS bring along, or any without serifs.
_FAMILIES, _ELSEWHERE = re.compile(rb"(font-family: [^;\"]+)"), b", Verdana, sans-serif"
_SETTINGS: Any = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "onnxviz", "savefig.bbox": None}


@typed
def save_figure(
    figure: Figure,
    path: str | os.PathLike[str],
    dpi: float | None = None,
    *,
    title: str | None = None,
    captions: bool = True,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a figure to a file and returns its path; the file appears whole or not at all.

    In SVG and PDF words are words, which programs find and edit, and a sheet of maps is one picture.

    Args:
        figure: Any figure. The same figure gives the same bytes: no date is written.
        path: Ends in .png, .jpg, .webp, .svg or .pdf; a file that is there is replaced. JPEG is lossy, the others keep
            every pixel.
        dpi: Dots per inch of .png, .jpg and .webp; None: the figure's own, at which one mosaic entry is one pixel.
        title: First line, in the place of the figure's own, for which `{}` in it stands; "" for none.
        captions: Whether the lines below the title are kept.
        record: What the file's metadata say of how it was made, as JSON types: in PNG the text `onnxviz`, in JPEG and
            WebP the Exif ImageDescription, in SVG the description, in PDF the subject.

    Raises:
        InputError: Another suffix, or more pixels than such a file can have.
        UnheededOptionError: `dpi` of SVG or PDF; `title` or `captions` of a figure that onnxviz did not make.
        OnnxvizError: The folder does not exist, or the file cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in PICTURES:
        raise InputError(f"cannot write '{target}': its name must end in {', '.join(PICTURES)}")
    kind = {".jpeg": "jpg"}.get(suffix, suffix[1:])
    check_dpi(suffix, dpi)
    if not isinstance(figure, FigurePage):
        asked = {"title": title, "no_captions": None if captions else True}
        refuse_unheeded(asked, "onnxviz did not make this figure")
    _check_pixels(figure, kind, dpi or figure.dpi)
    options: dict[str, Any] = {"facecolor": figure.get_facecolor(), "dpi": dpi or figure.dpi}
    options |= _metadata(kind, record)
    with ExitStack() as stack:
        if isinstance(figure, FigurePage):
            options["bbox_inches"] = stack.enter_context(figure.reworded(title, captions=captions))
        unfinished = stack.enter_context(replacing(target))
        stack.enter_context(mpl.rc_context(_SETTINGS))
        figure.savefig(unfinished, format=kind, **options)
        if kind == "svg":
            unfinished.write_bytes(_FAMILIES.sub(rb"\1" + _ELSEWHERE, unfinished.read_bytes()))
    return target


@contextmanager
def pdf_pages(
    path: Path, *, title: str | None = None, captions: bool = True, record: Mapping[str, Any] | None = None
) -> Iterator[Callable[[FigurePage], None]]:
    """Gives a function that adds a page to a PDF, which appears whole when the block ends well, or not at all.

    Args:
        path: Ends in .pdf; a file that is there is replaced.
        title: As for `save_figure`; of all pages.
        captions: Likewise.
        record: Likewise.

    Raises:
        OnnxvizError: The folder does not exist, or the file cannot be written.
    """
    with replacing(path) as unfinished:
        pages: Any = PdfPages(unfinished, **_metadata("pdf", record))

        def add(figure: FigurePage) -> None:
            with figure.reworded(title, captions=captions) as box, mpl.rc_context(_SETTINGS):
                pages.savefig(figure, facecolor=figure.get_facecolor(), bbox_inches=box)

        try:
            yield add
        finally:
            with mpl.rc_context(_SETTINGS):
                pages.close()


def _check_pixels(figure: Figure, kind: str, dpi: float) -> None:
    """Refuses more pixels than a file can have, or a program would open."""
    if f".{kind}" not in PIXEL_PICTURES:
        return
    width, height = (round(float(side) * dpi) for side in figure.get_size_inches())
    most = _LONGEST.get(kind, _LONGEST_USUAL)
    share = min(most / max(width, height), (_MOST_PIXELS / max(width * height, 1)) ** 0.5)
    if share < 1:
        fits = int(dpi * share)
        raise InputError(
            f"a picture of {width:,} x {height:,} pixels is too large for {kind}: at {fits} dpi or less it fits, and "
            "svg and pdf have no limit"
        )


def _metadata(kind: str, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of `savefig` that say what the metadata hold: the record, and neither date nor software."""
    told = record_text(record) if record else None
    if kind == "png":
        # Level 2 takes a third of the time of zlib's usual level, for files of about the same size.
        return {"metadata": {"Software": None, "onnxviz": told}, "pil_kwargs": {"compress_level": 2}}
    if kind == "svg":
        return {"metadata": {"Date": None, "Creator": None, **({"Description": told} if told else {})}}
    if kind == "pdf":
        return {"metadata": {"CreationDate": None, "Creator": None, "Producer": None, "Subject": told}}
    usual = QUALITY if kind == "jpg" else {"lossless": True}
    return {"pil_kwargs": {**usual, **({"exif": exif_of(record)} if record else {})}}


def save_picture(
    image: ArrayLike, path: Path, record: Mapping[str, Any] | None = None, alpha: ArrayLike | None = None
) -> Path:
    """Writes one picture at its own size, and returns its path; the file appears whole or not at all.

    Args:
        image: (H, W, C) in 0..1; C is 1 (grey) or 3 (RGB), of others the channels are put side by side in grey.
        path: Ends in .png, .jpg or .webp.
        record: As for `save_figure`.
        alpha: (H, W) in 0..1, how opaque it is, which .jpg has no room for; None for altogether.

    Raises:
        OnnxvizError: The folder does not exist, or the file cannot be written.
    """
    pixels = _bytes(image)
    if pixels.shape[2] != 3:
        times = pixels.shape[2]
        pixels = np.concatenate(np.moveaxis(pixels, 2, 0), axis=1)[..., None].repeat(3, axis=2)
        alpha = None if alpha is None else np.tile(np.asarray(alpha), times)
    if alpha is not None:
        pixels = np.concatenate([pixels, _bytes(alpha)[..., None]], axis=2)
    kind: Any = path.suffix[1:]
    with replacing(path) as unfinished:
        unfinished.write_bytes(encode_picture(pixels, kind, record))
    return path


def _bytes(values: ArrayLike) -> NDArray[np.uint8]:
    """Values in 0..1 as 0..255."""
    return np.rint(np.clip(np.asarray(values, np.float64), 0, 1) * 255).astype(np.uint8)
