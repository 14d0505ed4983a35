"""A plot of a layer's weights as a matrix: a row a filter, a column an input channel, a dot a kernel."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.messages import refuse_unheeded
from onnxviz.plots.colour_bar import ROOM_FOR_BAR, ColourBar
from onnxviz.plots.lettering import width_of
from onnxviz.plots.mosaic import label_step
from onnxviz.plots.options import known_cmap
from onnxviz.plots.page import BROKEN, DIVERGING, MARGIN, SEQUENTIAL, PixelImage, page, write
from onnxviz.plots.weight_scale import Kind, WeightScale

# Pixels along a dot at most, along the matrix unless dots would vanish, and along it in any case.
_DOT, _SIDE, _LARGEST = 14, 960, 4000
# How much longer one side of a dot may be than the other.
_OBLONG = 2
_NORMS = "viridis"


def draw_matrix(
    weight: NDArray[Any],
    filters: Sequence[int],
    channels: Sequence[int],
    *,
    scale: Kind | None,
    cut: float | None,
    cmap: str | None,
    heading: tuple[str, list[str]],
) -> Figure:
    """Returns a figure of the weights of single-weight kernels, or of the Euclidean norms of larger ones.

    Args:
        weight: (O, I, spatial...).
        filters: Rows, in this order.
        channels: Columns, in this order.
        scale: None: about zero for weights, from zero for norms.
        cut: Percentile where such a scale ends; None for the usual one.
        cmap: matplotlib colour map; None for the usual one.
        heading: The first line, and what the second says first.

    Raises:
        InputError: The matrix does not fit one figure, or the colour map does not exist.
        UnheededOptionError: Norms cannot be drawn about zero.
    """
    known_cmap(cmap)
    kernel = weight.shape[2:]
    single = math.prod(kernel) == 1
    values = weight.reshape(weight.shape[:2]) if single else norms_of(weight)
    if not single and scale == "symmetric":
        refuse_unheeded({"scale": scale}, "norms of kernels are never below zero")
    scaling = WeightScale.of(values, scale or ("symmetric" if single else "zero"), cut)
    part = values[np.ix_(filters, channels)]
    pixels = _pixels(part.shape)
    whole = (part.shape[0] * pixels[0], part.shape[1] * pixels[1])
    placed = np.ma.stack([scaling.placing(values[number])(row) for number, row in zip(filters, part, strict=True)])
    chosen = cmap or (DIVERGING if scaling.diverges else SEQUENTIAL if single else _NORMS)
    dot = "each dot a weight" if single else f"each dot the norm of a kernel of {'×'.join(map(str, kernel))} weights"
    rows, columns = [str(number) for number in filters], [str(number) for number in channels]
    figure, axes = page(
        whole,
        heading[0],
        [
            *heading[1],
            f"rows: {len(rows)} of {weight.shape[0]} filters",
            f"columns: {len(columns)} of {weight.shape[1]} input channels",
            dot,
            *scaling.words(chosen),
            *_flaws(part),
        ],
        left=MARGIN + max(width_of(label, 7) for label in rows) + 8,
        above=14,
        below=ROOM_FOR_BAR if scaling.window is not None else 0,
        right=MARGIN,
    )
    image = PixelImage(
        axes,
        cmap=colormaps[chosen].with_extremes(bad=BROKEN),
        extent=(0, whole[1], whole[0], 0),
        interpolation="none",
        origin="upper",
    )
    image.set(data=placed.repeat(pixels[0], axis=0).repeat(pixels[1], axis=1), clim=(0, 1))
    axes.add_image(image)
    for row in range(0, len(rows), label_step(rows, pixels[0], 11)):
        write(axes, -8, (row + 0.5) * pixels[0], rows[row], 7, ha="right", va="center_baseline")
    needed = max(width_of(label, 7) for label in columns) + 5
    for column in range(0, len(columns), label_step(columns, pixels[1], needed)):
        write(axes, (column + 0.5) * pixels[1], -4, columns[column], 7, ha="center")
    if scaling.window is not None:
        bar = ColourBar(scaling.window, chosen, beyond=scaling.beyond)
        bar.draw(axes, 0, whole[0] + 12, min(max(whole[1], 120), 260))
    return figure


def norms_of(weight: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the Euclidean norm of each kernel: (O, I, spatial...) to (O, I); not finite where a weight is not."""
    flat = weight.reshape(*weight.shape[:2], -1)
    with np.errstate(invalid="ignore", over="ignore"):
        numbers = flat.astype(np.float64) if flat.dtype.kind in "iu" else flat
        sizes = np.abs(numbers)
        largest = float(sizes.max(initial=0))
        if not math.isfinite(largest):
            largest = float(sizes[np.isfinite(sizes)].max(initial=0))
        # A power of two changes no digit, and keeps squares from overflowing and from vanishing.
        shift = math.frexp(largest)[1]
        scaled = np.ldexp(numbers, -shift)
        norms: NDArray[np.float64] = np.sqrt(np.einsum("oik,oik->oi", scaled, scaled, dtype=np.float64))
        return np.asarray(np.ldexp(norms, shift))


def _pixels(shape: tuple[int, ...]) -> tuple[int, int]:
    """(down, across): the pixels of a dot."""
    if max(shape) > _LARGEST:
        raise InputError(
            f"a matrix of {shape[0]}×{shape[1]} weights does not fit one figure of {_LARGEST} pixels a side: choose "
            "fewer filters and channels"
        )
    down, across = (max(1, min(_DOT, _SIDE // size)) for size in shape)
    least = _OBLONG * min(down, across)
    return min(down, least), min(across, least)


def _flaws(part: NDArray[Any]) -> list[str]:
    """What is wrong with rows, columns and dots, counted."""
    dead, unread = int((part == 0).all(axis=1).sum()), int((part == 0).all(axis=0).sum())
    broken = int((~np.isfinite(part)).sum())
    facts = [f"filters of zeros: {dead}"] if dead else []
    facts += [f"channels that none of them reads: {unread}"] if unread else []
    return [*facts, f"not finite, in pink: {broken}"] if broken else facts
