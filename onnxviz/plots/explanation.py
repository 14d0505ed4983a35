"""A plot of an explanation: a heat map on a photo."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.plots.lettering import broken, rounded, width_of
from onnxviz.plots.mosaic import ValueRange
from onnxviz.plots.options import known_cmap
from onnxviz.plots.page import DIVERGING, INK, MARGIN, PixelImage, page, write

_GAP = 16
_HEAT = "inferno"
# Single pixels stand out so far that the rest would be black.
_PERCENTILE = 99
_BAR = 10
# How much of a heat map's colour covers the photo where the map is largest, and how far the photo fades below it.
_COVER, _FADE = 0.82, 0.45


class HasMap(Protocol):
    """What `plot_explanation` needs of an explanation."""

    @property
    def map(self) -> NDArray[Any]:
        """(H, W)."""

    @property
    def signed(self) -> bool:
        """Whether negative values count against the class."""

    @property
    def of_pixels(self) -> bool:
        """Whether single pixels stand out so far that the range is cut at a percentile."""

    @property
    def title(self) -> str:
        """First line."""

    @property
    def method(self) -> str:
        """Written over the map."""

    @property
    def facts(self) -> list[str]:
        """Second line."""

    @property
    def outlines(self) -> Sequence[tuple[tuple[float, float, float, float], str]]:
        """Boxes to draw: (left, top, right, bottom) as shares of the photo, and a label."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes below."""

    def upsampled(self, size: tuple[int, ...] | None = None) -> NDArray[Any]:
        """The map at another size."""

    def photo(self) -> NDArray[Any]:
        """(H, W, 3) uint8."""


def plot_explanation(explanation: HasMap, *, cmap: str | None = None, title: str | None = None) -> Figure:
    """Returns a figure of an explanation: the photo, and the map laid on it, with a colour bar.

    Only here is the map scaled: unsigned ones from zero (or their least value, where that is more than half the
    greatest) to the greatest; signed ones about zero. Maps of single pixels are cut at the 99th percentile.

    Args:
        explanation: What `onnxviz.explain` gives, with a map of two axes.
        cmap: matplotlib colour map; None: "inferno", for signed maps "RdBu_r".
        title: First line; None: the class.

    Returns:
        Figure: `figure.axes[0].images` are the photo, the map on the photo, and the colour bar.

    Raises:
        InputError: The map does not have two axes, or the colour map does not exist.
    """
    known_cmap(cmap)
    if explanation.map.ndim != 2:
        raise InputError(f"a map of shape {explanation.map.shape} cannot be laid on a photo; draw it with plot_maps")
    chosen = cmap or (DIVERGING if explanation.signed else _HEAT)
    photo = explanation.photo()
    values = explanation.map.astype(np.float64)
    facts = explanation.facts
    if explanation.signed:
        limit = float(np.percentile(np.abs(values), _PERCENTILE if explanation.of_pixels else 100))
        window = ValueRange(-limit, limit)
    else:
        high = float(np.percentile(values, _PERCENTILE)) if explanation.of_pixels else float(values.max())
        least = float(values.min())
        window = ValueRange(least if least > high / 2 else 0.0, max(high, 0.0))
    if explanation.of_pixels:
        facts = [*facts, f"colours up to the {_PERCENTILE}th percentile"]
    heat = np.clip(explanation.upsampled(photo.shape[:2]).astype(np.float64), window.low, window.high)
    if window.low == window.high:  # nothing stands out: nothing is coloured
        window = ValueRange(window.low, window.low + 1)
        heat = np.full_like(heat, window.low)
    words = _Words(title or explanation.title, facts, ("photo", explanation.method), explanation.warnings)
    figure = _draw_overlay(photo, heat, window, words, cmap=chosen, signed=explanation.signed)
    for corners, label in explanation.outlines:
        _outline(figure, photo.shape[:2], corners, label)
    return figure


@dataclass(frozen=True)
class _Words:
    """Words around an overlay: its first line, its second, those over photo and map, and notes below."""

    title: str
    facts: Sequence[str]
    labels: tuple[str, str]
    notes: Sequence[str]


def _draw_overlay(
    photo: NDArray[Any], heat: NDArray[Any], window: ValueRange, words: _Words, *, cmap: str, signed: bool
) -> Figure:
    """Returns a figure: the photo, beside it the heat map laid on a grey copy of it, and a colour bar.

    Args:
        photo: (H, W, 3) uint8.
        heat: (H, W), the map at the photo's size.
        window: The range of values that the colours cover.
        words: Around it.
        cmap: matplotlib colour map.
        signed: Whether the middle of the window, not its low end, is "nothing" and so transparent.
    """
    height, width = photo.shape[:2]
    right = width + _GAP
    room = right + width
    said = [line for note in words.notes for line in broken(f"Note: {note}", room)]
    figure, axes = page(
        (height, room),
        words.title,
        list(words.facts),
        left=MARGIN,
        above=14,
        below=34 + 15 * len(said),
        right=MARGIN,
    )
    placed = window.place(heat)
    colours = _blended(_grey(photo), placed.filled(0.5 if signed else 0), cmap, signed)
    for left, picture, label in ((0, photo / 255, words.labels[0]), (right, colours, words.labels[1])):
        image = PixelImage(axes, extent=(left, left + width, height, 0), interpolation="none", origin="upper")
        image.set(data=picture)
        axes.add_image(image)
        write(axes, left, -5, label, 8, INK)
    _bar(figure, right, width, height, window, cmap, signed)
    for number, line in enumerate(said):
        write(axes, 0, height + 44 + 15 * number, line, 8)
    return figure


def _outline(figure: Figure, size: Sequence[int], corners: tuple[float, float, float, float], label: str) -> None:
    """Draws a box on the photo, with its label, and on the map; of a box that reaches further, the part inside."""
    height, width = size
    left, right = (min(max(side * width, 1), width - 1) for side in (corners[0], corners[2]))
    top, bottom = (min(max(side * height, 1), height - 1) for side in (corners[1], corners[3]))
    axes = figure.axes[0]
    for first in (0, width + _GAP):
        for colour, thick in (("black", 3.0), ("white", 1.4)):
            axes.add_patch(
                Rectangle(
                    (first + left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=thick
                )
            )
    room = width_of(label, 8) + 8
    start = min(left, max(width - room, 0))
    above = top - 15 if top >= 15 else top
    axes.add_patch(Rectangle((start, above), room, 15, facecolor="black", edgecolor="none", alpha=0.75))
    write(axes, start + 4, above + 11, label, 8, "white")


def _grey(photo: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3) uint8 as pale grey, 0…1: colour is left to the map (luma of ITU-R BT.601)."""
    luma = photo @ np.array([0.299, 0.587, 0.114]) / 255
    pale: NDArray[Any] = np.clip(1 - (1 - _FADE) * (1 - luma[..., None]) - _FADE * 0.25, 0, 1)
    return pale.repeat(3, axis=2)


def _blended(ground: NDArray[Any], placed: NDArray[Any], cmap: str, signed: bool) -> NDArray[Any]:
    """Colours over a ground (…, 3), the more opaque the further a value (0…1) is from nothing."""
    strength = np.abs(2 * placed - 1) if signed else placed
    cover = (_COVER * strength)[..., None]
    colours = mpl.colormaps[cmap](placed)[..., :3]
    blended: NDArray[Any] = ground * (1 - cover) + colours * cover
    return blended


def _bar(figure: Figure, left: int, width: int, height: int, window: ValueRange, cmap: str, signed: bool) -> None:
    """Draws the colour bar below the map, as the colours look on a middle grey."""
    axes = figure.axes[0]
    low, high = rounded(window.low), rounded(window.high)
    top = height + 10
    start = left + width_of(low, 7.5) + 6
    end = left + width - width_of(high, 7.5) - 6
    ramp = np.linspace(0, 1, max(end - start, 2))[None].repeat(_BAR, 0)
    image = PixelImage(axes, extent=(start, end, top + _BAR, top), interpolation="none", origin="upper")
    image.set(data=_blended(np.full((*ramp.shape, 3), 0.72), ramp, cmap, signed), clip_on=False)
    axes.add_image(image)
    write(axes, left, top + _BAR - 1, low, 7.5)
    write(axes, left + width, top + _BAR - 1, high, 7.5, ha="right")
