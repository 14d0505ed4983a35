"""Saving of figures and pictures."""

import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.files import PICTURES, replacing


@typed
def save_figure(figure: Figure, path: str | os.PathLike[str], dpi: float | None = None) -> Path:
    """Writes a figure to a PNG, SVG or PDF file and returns its path; the file appears whole or not at all.

    Args:
        figure: Any figure. The same figure gives the same bytes: no date is written.
        path: Ends in .png, .svg or .pdf; a file that is there is replaced.
        dpi: Dots per inch; None: the figure's own, at which one mosaic entry is one pixel.

    Raises:
        InputError: Another suffix.
        OnnxvizError: The folder does not exist, or the file cannot be written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in PICTURES:
        raise InputError(f"cannot write '{target}': its name must end in {', '.join(PICTURES)}")
    by_kind: dict[str, dict[str, Any]] = {
        # Level 2 takes a third of the time of zlib's usual level, for files of about the same size.
        ".png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 2}},
        ".svg": {"metadata": {"Date": None, "Creator": None}},
        ".pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
    }
    options: Any = by_kind[kind]
    with replacing(target) as unfinished, mpl.rc_context({"svg.hashsalt": "onnxviz", "savefig.bbox": None}):
        figure.savefig(unfinished, format=kind[1:], dpi=dpi or figure.dpi, facecolor=figure.get_facecolor(), **options)
    return target


def save_picture(image: ArrayLike, path: Path, alpha: ArrayLike | None = None) -> Path:
    """Writes one picture as a PNG of its own size, and returns its path; the file appears whole or not at all.

    Args:
        image: (H, W, C) in 0..1; C is 1 (grey) or 3 (RGB), of others the channels are put side by side in grey.
        path: Ends in .png.
        alpha: (H, W) in 0..1, how opaque it is; None for altogether.

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
    with replacing(path) as unfinished:
        imsave(unfinished, pixels, format="png", metadata={"Software": ""})
    return path


def _bytes(values: ArrayLike) -> NDArray[np.uint8]:
    """Values in 0..1 as 0..255."""
    return np.rint(np.clip(np.asarray(values, np.float64), 0, 1) * 255).astype(np.uint8)
