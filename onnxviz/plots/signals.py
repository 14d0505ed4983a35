"""Signals: channels of an input with one spatial axis as lines over their positions, alone or on a map's colours."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from onnxviz.plots.lettering import broken, rounded
from onnxviz.plots.page import GREY, INK, MARGIN, PixelImage, page, write

MOST_CHANNELS = 8
CAPTION, ROOM_FOR_POSITIONS = 13, 34
"""Pixels above each channel, for what it is; and below the last, for its axis."""
_PAD = 4
# Of a signal with a map on it.
_WIDTH, _TALLEST, _LEAST = 720, 200, 56
_ROOM_FOR_BAR = 34


def plot_on_signal(
    signal: NDArray[Any],
    colours: NDArray[Any],
    title: str,
    facts: Sequence[str],
    notes: Sequence[str],
    bar: Callable[[Axes, int, int], None],
) -> Figure:
    """Returns a figure: the channels of a signal as lines, a map behind them as the colour of each position.

    Args:
        signal: (C, L).
        colours: (L, 3), 0…1, for every channel.
        title: First line.
        facts: Second line.
        notes: Below.
        bar: Draws the colour bar: onto axes, as wide as so many pixels, so many pixels down.
    """
    each = max(_LEAST, _TALLEST // min(len(signal), MOST_CHANNELS))
    height = panel_height(len(signal), each)
    said = [line for note in notes for line in broken(f"Note: {note}", _WIDTH)]
    below = ROOM_FOR_POSITIONS + _ROOM_FOR_BAR + 15 * len(said)
    figure, axes = page((height, _WIDTH), title, [*facts], left=MARGIN, above=6, below=below, right=MARGIN)
    draw_signal(axes, signal, top=0, width=_WIDTH, each=each, ground=colours)
    bar(axes, 448, height + ROOM_FOR_POSITIONS)
    for number, line in enumerate(said):
        write(axes, 0, height + ROOM_FOR_POSITIONS + _ROOM_FOR_BAR + 10 + 15 * number, line, 8)
    return figure


def panel_height(channels: int, each: int) -> int:
    """Pixels that `draw_signal` takes for that many channels, without its axis."""
    return min(channels, MOST_CHANNELS) * (CAPTION + each)


def draw_signal(
    axes: Axes, signal: NDArray[Any], *, top: int, width: int, each: int, ground: NDArray[Any] | None
) -> None:
    """Draws the first channels of a signal one below the other, with one axis of positions below them.

    Args:
        axes: whose unit is the pixel.
        signal: (C, L).
        top: where it begins, in pixels.
        width: pixels that L positions take.
        each: pixels of a channel's height.
        ground: (L, 3) colours behind each channel, 0…1; None for white.
    """
    length = signal.shape[1]
    shown = signal[:MOST_CHANNELS].astype(np.float64)
    for number, values in enumerate(shown):
        above = top + number * (CAPTION + each) + CAPTION
        if ground is None:
            axes.add_patch(Rectangle((0, above), width, each, facecolor="white", edgecolor="none", clip_on=False))
        else:
            image = PixelImage(axes, extent=(0, width, above + each, above), interpolation="none", origin="upper")
            image.set(data=ground[None], clip_on=False)
            axes.add_image(image)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        what = "input" if len(signal) == 1 else f"input, channel {number} of {len(signal)}"
        span = f"{rounded(low)} to {rounded(high)}" if finite.size else "no finite value"
        lost = f", {values.size - finite.size:,} not finite" if 0 < finite.size < values.size else ""
        write(axes, 0, above - 3, f"{what}: {span}{lost}", 7, INK)
        places, heights = thinned(values, width)
        share = (heights - low) / (high - low) if high > low else np.where(np.isfinite(heights), 0.5, np.nan)
        across = (places + 0.5) * width / length
        axes.plot(across, above + _PAD + (1 - share) * (each - 2 * _PAD), color=INK, linewidth=0.9, clip_on=False)
    bottom = top + panel_height(len(signal), each)
    draw_positions(axes, length, bottom, width)
    if len(signal) > MOST_CHANNELS:
        more = f"the first {MOST_CHANNELS} of {len(signal)} channels"
        write(axes, width, bottom + 29, more, 7, ha="right")


def draw_positions(axes: Axes, length: int, top: int, width: int) -> None:
    """Draws ticks with the numbers of positions below a row of `length` of them."""
    for tick in MaxNLocator(8, integer=True).tick_values(0, length - 1):
        if 0 <= tick < length:
            place = (tick + 0.5) * width / length
            axes.plot([place, place], [top, top + 4], color=GREY, linewidth=0.8, clip_on=False)
            write(axes, place, top + 15, f"{tick:.0f}", 7, ha="center")
    write(axes, width / 2, top + 29, "position", 7, ha="center")


def thinned(values: NDArray[Any], width: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positions and values of a line that looks the same on that many pixels: of each pixel the least and the greatest.

    Args:
        values: (L,).
        width: pixels.
    """
    length = len(values)
    if length <= 4 * width:
        return np.arange(length, dtype=np.float64), values
    edges = np.linspace(0, length, width + 1).astype(int)
    places: list[int] = []
    heights: list[float] = []
    for start, end in pairwise(edges.tolist()):
        part = values[start:end]
        if not np.isfinite(part).any():
            places.append(start)
            heights.append(np.nan)
            continue
        for place in sorted({int(np.nanargmin(_finite(part))), int(np.nanargmax(_finite(part)))}):
            places.append(start + place)
            heights.append(float(part[place]))
    return np.array(places, np.float64), np.array(heights, np.float64)


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.isfinite(values), values, np.nan)
