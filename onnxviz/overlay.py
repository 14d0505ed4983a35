"""A heat map on a photo, and curves: what explanations are drawn as. Numbers and words come from outside."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from onnxviz.mosaic import Array, Window
from onnxviz.sheet import (
    _INK,
    _MARGIN,
    _number,
    _page,
    _PixelImage,
    _text,
    _width,
)

_GAP = 16
_BAR = 10
# How much of a heat map's colour covers the photo where the map is largest, and how far the photo fades below it.
_COVER, _FADE = 0.82, 0.45
_LINES = ("#2f6690", "#b5442e", "#8a8d90")


def draw_overlay(
    photo: Array,
    heat: Array,
    window: Window,
    *,
    cmap: str,
    signed: bool,
    title: str,
    facts: Sequence[str],
    labels: tuple[str, str],
    notes: Sequence[str] = (),
) -> Figure:
    """Returns a figure: the photo, beside it the heat map laid on a grey copy of it, and a colour bar.

    Args:
        photo: (H, W, 3) uint8.
        heat: (H, W), the map at the photo's size.
        window: The range of values that the colours cover.
        cmap: matplotlib colour map.
        signed: Whether the middle of the window, not its low end, is "nothing" and so transparent.
        title: First line.
        facts: What the second line says.
        labels: Over the photo and over the map.
        notes: Said below, in words.
    """
    height, width = photo.shape[:2]
    right = width + _GAP
    room = right + width
    said = [line for note in notes for line in _broken(f"Note: {note}", room)]
    figure, axes = _page(
        (height, room),
        title,
        list(facts),
        left=_MARGIN,
        above=14,
        below=34 + 15 * len(said),
        right=_MARGIN,
    )
    placed = window.place(heat)
    colours = _blended(_grey(photo), placed.filled(0.5 if signed else 0), cmap, signed)
    for left, picture, label in ((0, photo / 255, labels[0]), (right, colours, labels[1])):
        image = _PixelImage(axes, extent=(left, left + width, height, 0), interpolation="none", origin="upper")
        image.set(data=picture)
        axes.add_image(image)
        _text(axes, left, -5, label, 8, _INK)
    _bar(figure, right, width, height, window, cmap, signed)
    for number, line in enumerate(said):
        _text(axes, 0, height + 44 + 15 * number, line, 8)
    return figure


def _grey(photo: Array) -> Array:
    """(H, W, 3) uint8 as pale grey, 0…1: colour is left to the map (luma of ITU-R BT.601)."""
    luma = photo @ np.array([0.299, 0.587, 0.114]) / 255
    pale: Array = np.clip(1 - (1 - _FADE) * (1 - luma[..., None]) - _FADE * 0.25, 0, 1)
    return pale.repeat(3, axis=2)


def _blended(ground: Array, placed: Array, cmap: str, signed: bool) -> Array:
    """Colours over a ground (…, 3), the more opaque the further a value (0…1) is from nothing."""
    strength = np.abs(2 * placed - 1) if signed else placed
    cover = (_COVER * strength)[..., None]
    colours = mpl.colormaps[cmap](placed)[..., :3]
    blended: Array = ground * (1 - cover) + colours * cover
    return blended


def _bar(figure: Figure, left: int, width: int, height: int, window: Window, cmap: str, signed: bool) -> None:
    """Draws the colour bar below the map, as the colours look on a middle grey."""
    axes = figure.axes[0]
    low, high = _number(window.low), _number(window.high)
    top = height + 10
    start = left + _width(low, 7.5) + 6
    end = left + width - _width(high, 7.5) - 6
    ramp = np.linspace(0, 1, max(end - start, 2))[None].repeat(_BAR, 0)
    image = _PixelImage(axes, extent=(start, end, top + _BAR, top), interpolation="none", origin="upper")
    image.set(data=_blended(np.full((*ramp.shape, 3), 0.72), ramp, cmap, signed), clip_on=False)
    axes.add_image(image)
    _text(axes, left, top + _BAR - 1, low, 7.5)
    _text(axes, left + width, top + _BAR - 1, high, 7.5, ha="right")


def draw_curves(
    curves: Sequence[tuple[str, Array, Array]], *, title: str, facts: Sequence[str], across: str, up: str
) -> Figure:
    """Returns a figure of lines, each labelled at its end.

    Args:
        curves: (label, (n,) across 0…1, (n,) up).
        title: First line.
        facts: What the second line says.
        across: What the axis across is.
        up: What the other is.
    """
    height, width = 260, 460
    values = np.concatenate([line for _, _, line in curves])
    window = Window.around(np.append(values[np.isfinite(values)], [0.0]))
    ticks = np.linspace(window.low, window.high, 5)
    margin = max(_width(_number(float(tick)), 7.5) for tick in ticks)
    side = max(_width(label, 8) for label, _, _ in curves)
    figure, axes = _page(
        (height, width), title, list(facts), left=_MARGIN + margin + 10, above=22, below=40, right=side + 14 + _MARGIN
    )
    axes.patch.set_visible(False)
    for tick in ticks:
        place = float(1 - window.place(np.array([tick]))[0]) * height
        axes.plot([0, width], [place, place], color="white", linewidth=1, zorder=0)
        _text(axes, -8, place, _number(float(tick)), 7.5, ha="right", va="center_baseline")
    for share in (0, 0.25, 0.5, 0.75, 1):
        _text(axes, share * width, height + 16, f"{share:.0%}", 7.5, ha="center")
    _text(axes, width / 2, height + 33, across, 8, ha="center")
    _text(axes, -margin - 8, -10, up, 8)
    ends: list[tuple[float, str, str]] = []
    for (label, where, line), colour in zip(curves, _LINES, strict=False):
        places = (1 - window.place(line).filled(0)) * height
        axes.plot(where * width, places, color=colour, linewidth=1.8, clip_on=False)
        ends.append((float(places[-1]), label, colour))
    last = -np.inf
    for place, label, colour in sorted(ends):
        last = max(place, last + 13)  # labels do not overlap
        _text(axes, width + 8, last, label, 8, colour, va="center_baseline")
    return figure


def _broken(words: str, room: int) -> list[str]:
    """Returns words in lines of at most `room` pixels."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer, 8) > room and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
