"""Signals: channels of an input with one spatial axis as lines over their positions, alone or on a map's colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from onnxviz.messages import refuse_unheeded
from onnxviz.plots.heat import Heat
from onnxviz.plots.lettering import broken, rounded, shortened
from onnxviz.plots.page import GREY, INK, MARGIN, PixelImage, page, write, write_on_plate

MOST_CHANNELS = 8
CAPTION, ROOM_FOR_POSITIONS = 13, 34
"""Pixels above each channel, for what it is; and below the last, for its axis."""
_PAD = 4
# Of a signal with a map on it.
_WIDTH, _TALLEST, _LEAST = 720, 200, 56
_ROOM_FOR_BAR = 34
_RIBBON = 22
# Bars of several scales in a row, pixels between them, and along one at most.
_BARS, _BESIDE, _WIDE = 4, 20, 448


@dataclass(frozen=True)
class Ribbon:
    """A bare map along a signal: what it is, its colours (L, 3) of 0…1, and what is written on it."""

    label: str
    colours: NDArray[Any]
    mark: str = ""


@dataclass(frozen=True)
class SignalWords:
    """Words around a signal: the first line, the second, and notes below."""

    title: str
    facts: Sequence[str]
    notes: Sequence[str]


def plot_on_signal(
    signal: NDArray[Any],
    colours: NDArray[Any] | None,
    ribbons: Sequence[Ribbon],
    words: SignalWords,
    scales: Sequence[tuple[str, Heat]],
) -> Figure:
    """Returns a figure: the channels of a signal as lines, and bare maps as ribbons below, over the same positions.

    Args:
        signal: (C, L).
        colours: (L, 3), 0…1, of a map behind every channel; None for white.
        ribbons: One below the other.
        words: Around it.
        scales: What the colours mean, and of what: a bar each.
    """
    each = max(_LEAST, _TALLEST // min(len(signal), MOST_CHANNELS))
    height = panel_height(len(signal), each) + len(ribbons) * (CAPTION + _RIBBON)
    said = [line for note in words.notes for line in broken(f"Note: {note}", _WIDTH)]
    in_row = min(len(scales), _BARS)
    lines = -(-len(scales) // in_row)
    bars = lines * _ROOM_FOR_BAR + (CAPTION * lines if len(scales) > 1 else 0)
    below = ROOM_FOR_POSITIONS + bars + 15 * len(said)
    figure, axes = page((height, _WIDTH), words.title, [*words.facts], left=MARGIN, above=6, below=below, right=MARGIN)
    draw_signal(axes, signal, top=0, width=_WIDTH, each=each, ground=colours, ribbons=ribbons)
    room = min((_WIDTH + _BESIDE) // in_row - _BESIDE, _WIDE)
    for number, (label, heat) in enumerate(scales):
        line, place = divmod(number, in_row)
        left, top = place * (room + _BESIDE), height + ROOM_FOR_POSITIONS + line * bars // lines + 10
        if label:
            write(axes, left, top + CAPTION - 5, shortened(label, 7, room), 7, INK)
            top += CAPTION
        heat.draw_bar(axes, left, top, room)
    for number, text in enumerate(said):
        write(axes, 0, height + ROOM_FOR_POSITIONS + bars + 10 + 15 * number, text, 8)
    return figure


def panel_height(channels: int, each: int) -> int:
    """Pixels that `draw_signal` takes for that many channels, without its axis."""
    return min(channels, MOST_CHANNELS) * (CAPTION + each)


def draw_signal(
    axes: Axes,
    signal: NDArray[Any],
    *,
    top: int,
    width: int,
    each: int,
    ground: NDArray[Any] | None,
    ribbons: Sequence[Ribbon] = (),
) -> None:
    """Draws the first channels of a signal one below the other, with one axis of positions below them.

    Args:
        axes: whose unit is the pixel.
        signal: (C, L).
        top: where it begins, in pixels.
        width: pixels that L positions take.
        each: pixels of a channel's height.
        ground: (L, 3) colours behind each channel, 0…1; None for white.
        ribbons: below the channels, above the axis.
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
    for ribbon in ribbons:
        strip = PixelImage(
            axes, extent=(0, width, bottom + CAPTION + _RIBBON, bottom + CAPTION), interpolation="none", origin="upper"
        )
        strip.set(data=ribbon.colours[None], clip_on=False)
        axes.add_image(strip)
        write(axes, 0, bottom + CAPTION - 3, shortened(ribbon.label, 7, width), 7, INK)
        if ribbon.mark:
            write_on_plate(axes, width / 2, bottom + CAPTION + _RIBBON / 2, ribbon.mark)
        bottom += CAPTION + _RIBBON
    draw_positions(axes, length, bottom, width)
    if len(signal) > MOST_CHANNELS:
        more = f"the first {MOST_CHANNELS} of {len(signal)} channels"
        write(axes, width, bottom + 29, more, 7, ha="right")


def refuse_look_of_signal(smooth: object, bands: object) -> None:
    """Refuses how a picture would be drawn, asked for of a signal; None is not asked for."""
    refuse_unheeded({"bands": bands}, "a signal is drawn with all its channels")
    refuse_unheeded({"smooth": smooth}, "the input is no picture, so that no map is enlarged")


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
