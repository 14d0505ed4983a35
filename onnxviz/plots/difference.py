"""A plot of the difference of two models' maps: A's, B's, and what is between them, side by side."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.plots.bars import draw_bars
from onnxviz.plots.lettering import rounded
from onnxviz.plots.mosaic import Picture, ValueRange, as_numbers, flaw
from onnxviz.plots.page import DIVERGING, SEQUENTIAL
from onnxviz.plots.sheet import Sheet, draw

_HEAT = 24  # pixels that a signal's row is high


@typed
def plot_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    channels: Sequence[int] | None = None,
    first: int = 8,
    names: tuple[str, str] = ("A", "B"),
    title: str | None = None,
    subtitle: str | None = None,
) -> Figure:
    """Returns a figure of two models' maps of one sample, and their difference.

    Args:
        a: (C, spatial...) maps of one layer and sample.
        b: The other model's, of the same shape.
        channels: Which, in order; None for those with the largest squared difference.
        first: How many, where `channels` is None.
        names: What the columns of maps are headed with.
        title: First line; None: "Difference".
        subtitle: Words put before what the second line says.

    Returns:
        Figure: A row a channel. A and B in greys on one scale a row; B − A in blue (less) and red (more) on one scale
            about zero for the whole figure. Of volumes the middle slice is shown; of layers without positions a bar a
            channel, B − A.

    Raises:
        InputError: The shapes differ, or there is no such channel.
    """
    one, other = as_numbers(a).astype(np.float64), as_numbers(b).astype(np.float64)
    if one.shape != other.shape or one.ndim < 1:
        raise InputError(f"maps of one shape (C, spatial...) are compared, not {one.shape} and {other.shape}")
    with np.errstate(invalid="ignore"):  # infinity in both
        apart = other - one
    chosen = _largest(one, other, apart)[:first] if channels is None else list(channels)
    if not chosen or not all(0 <= channel < len(one) for channel in chosen):
        raise InputError(f"there are channels 0 to {len(one) - 1}, not {chosen}")
    order = ", the largest difference first" if channels is None else ""
    facts = [*([subtitle] if subtitle else []), f"{len(chosen)} of {len(one)} channels{order}"]
    if one.size == len(one):
        return draw_bars(apart.reshape(-1), chosen, title or "Difference", [*facts, f"{names[1]} − {names[0]}"])
    if one.ndim > 3:
        middle = [size // 2 for size in one.shape[1:-2]]
        one, other, apart = (array[(slice(None), *middle)] for array in (one, other, apart))
        facts.append("the middle slice of each volume")
    if one.ndim == 2:
        one, other, apart = (np.repeat(array[:, None], _HEAT, axis=1) for array in (one, other, apart))
    window = ValueRange.around(apart[chosen], symmetric=True)
    pictures: list[Picture] = []
    for channel in chosen:
        shared = ValueRange.around(np.stack([one[channel], other[channel]]))
        pictures += [_coloured(shared.place(array[channel]), SEQUENTIAL) for array in (one, other)]
        pictures.append(_coloured(window.place(apart[channel]), DIVERGING))
    largest = rounded(window.high)
    span = f"difference from −{largest} (blue) to {largest} (red)" if window.high > 0 else "no difference"
    sheet = Sheet(
        pictures=pictures,
        shape=(one.shape[1], one.shape[2]),
        columns=3,
        marks=[mark for channel in chosen for mark in (flaw(one[channel]), flaw(other[channel]), "")],
        row_labels=[str(channel) for channel in chosen],
        column_labels=[names[0], names[1], f"{names[1]} − {names[0]}"],
        largest=(170, 260),
        facts=[
            *facts,
            f"{names[0]} and {names[1]} on one scale a row",
            span,
        ],
        rgb=True,
    )
    return draw(sheet, title, "Difference")


def _largest(a: NDArray[Any], b: NDArray[Any], apart: NDArray[Any]) -> list[int]:
    """Channels by squared difference; those first that are NaN or infinite in one and something else in the other."""
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    squares = np.where(alike, 0, np.where(np.isfinite(apart), apart, np.inf)) ** 2
    return [int(channel) for channel in np.argsort(-squares.reshape(len(a), -1).sum(1), kind="stable")]


def _coloured(picture: Picture, cmap: str) -> Picture:
    """The picture (H, W) in colours, (H, W, 3) in 0..1, masked where it is masked."""
    colours: NDArray[Any] = matplotlib.colormaps[cmap](picture.filled(0))[..., :3].astype(np.float32)
    hidden = np.ma.getmaskarray(picture)[..., None]
    return np.ma.MaskedArray(colours, mask=np.broadcast_to(hidden, colours.shape))
