"""A plot of an explanation: a heat map on a photo, or a row of them for views and frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.messages import one_of, refuse_unheeded
from onnxviz.plots.colour_bar import ColourBar
from onnxviz.plots.evidence import LEAST_ROOM, Evidence, HasEvidence
from onnxviz.plots.has_map import HasMap
from onnxviz.plots.lettering import broken, noun_of, shortened, width_of
from onnxviz.plots.mosaic import ValueRange, spread
from onnxviz.plots.options import known_cmap
from onnxviz.plots.page import DIVERGING, INK, MARGIN, PixelImage, page, write, write_on_plate
from onnxviz.plots.side_by_side import SideBySide
from onnxviz.plots.signals import plot_on_signal
from onnxviz.plots.sliced_volume import SlicedVolume

_GAP = 16
# Several maps: pixels along the longer side of a single one, across all of them, and between; the most in a row and
# in all.
_LONGEST, _ROOM, _LEAST_ROOM = 448, 912, 320
# Pixels along the longer side of a photo that stands with two maps in a row.
_THIRD = 352
_NARROW, _BETWEEN = 6, 30
_COLUMNS, _MOST = 6, 24
_HEAT = "inferno"
_NO_EVIDENCE = "evidence stands below a single map on its picture"
# Single pixels stand out so far that the rest would be black.
_PERCENTILE = 99
# How much of a heat map's colour covers the photo where the map is largest, and how far the photo fades below it.
_COVER, _FADE = 0.82, 0.45


@typed
def plot_explanation(
    explanation: HasMap | Sequence[HasMap],
    *,
    sanity: HasEvidence | None = None,
    smooth: Literal["none", "bilinear"] | None = None,
    cmap: str | None = None,
    title: str | None = None,
    bands: Sequence[int] | None = None,
) -> Figure:
    """Returns a figure of an explanation: the photo, the map laid on it, and the bare map with its colour bar.

    Views, frames or branches stand in a row, each map below its photo, on one scale; up to 24 of them, evenly spaced.
    Slices of a volume likewise. A map along a signal is the colour behind its lines. Several explanations of one photo,
    as of several classes, stand beside it, on one scale.
    Only here is the map scaled: unsigned ones from zero (or their least value, where that is more than half the
    greatest) to the greatest; signed ones about zero. Maps of single pixels are cut at the 99th percentile.

    Args:
        explanation: What `onnxviz.explain` gives, with a map of as many axes as the input has positions along; or
            several of one photo.
        sanity: What `onnxviz.explain_sanity` gives of it: its verdict, its curves, with those of a random order and of
            a centred blob, and its maps stand below.
        smooth: How a map of fewer cells than pixels is enlarged: "bilinear" (None), or "none", each cell as it is.
        cmap: matplotlib colour map; None: "inferno", for signed maps "RdBu_r".
        title: First line; None: the class.
        bands: Which of the input's channels are shown, counted from 0: one in grey, or three as red, green and blue;
            None: the first three of three or four, else the first.

    Returns:
        Figure: `figure.axes[0].images` are the photo, the map on the photo, the bare map, the colour bar, and maps of
        `sanity`; of several maps, all photos, all maps, and the bar. A map that is zero everywhere says so.

    Raises:
        InputError: The map has other axes than the input, or the colour map or the way to smooth does not exist.
        SelectionError: There is no such band.
        UnheededOptionError: `sanity` of several maps or a signal, `smooth` of a signal or volume, `bands` of a signal.
    """
    known_cmap(cmap)
    if smooth is not None:
        one_of("smooth", smooth, ("none", "bilinear"))
    several = isinstance(explanation, Sequence)
    if isinstance(explanation, Sequence):
        explanation = SideBySide(explanation)
    axes = explanation.map.ndim, explanation.given.ndim - 1
    if not explanation.labels and axes == (1, 1):
        refuse_unheeded({"bands": bands}, "a signal is drawn with all its channels")
        refuse_unheeded({"smooth": smooth}, "the input is no picture, so that no map is enlarged")
        refuse_unheeded({"sanity": sanity}, _NO_EVIDENCE)
        return _on_signal(explanation, cmap or (DIVERGING if explanation.signed else _HEAT), title)
    if not explanation.labels and axes == (3, 3):
        refuse_unheeded({"smooth": smooth}, "the input is no picture, and its map is interpolated along all axes")
        explanation = SlicedVolume(explanation)
    labels = explanation.labels
    if explanation.map.ndim != 2 and math.prod(explanation.map.shape[:-2]) != len(labels):
        raise InputError(f"a map of shape {explanation.map.shape} cannot be laid on a photo; draw it with plot_maps")
    if labels:
        refuse_unheeded({"sanity": sanity}, _NO_EVIDENCE)
    chosen = cmap or (DIVERGING if explanation.signed else _HEAT)
    facts = [fact for fact in (*explanation.facts, explanation.behind(bands)) if fact]
    window = _window(explanation)
    if explanation.of_pixels:
        facts = [*facts, f"colours up to the {_PERCENTILE}th percentile"]
    shown = spread(len(labels), _MOST)
    grid = _Strip.of(len(shown), one_photo=len(labels) > 1 and explanation.one_photo)
    photos = explanation.photos(grid.longest, bands)
    size = photos[0].shape[:2]
    heat, window = _heat(explanation, size, window, smooth=smooth != "none")
    rows, columns = explanation.map.shape[-2:]
    if not isinstance(explanation, SlicedVolume) and rows < size[0] and columns < size[1]:
        facts = [*facts, f"map of {rows}×{columns}, {'not smoothed' if smooth == 'none' else 'enlarged bilinearly'}"]
    title = title or explanation.title
    if not labels:
        words = _Words(title, facts, (explanation.source, explanation.method), explanation.warnings)
        figure = _draw_overlay(photos[0], heat, window, words, cmap=chosen, signed=explanation.signed, sanity=sanity)
        for corners, label in explanation.outlines:
            _outline(figure, photos[0].shape[:2], corners, label)
        return figure
    if len(labels) > 1:
        of = f"{len(shown)} of " if len(shown) < len(labels) else ""
        facts = [*facts, f"{of}{len(labels)} {'classes' if several else noun_of(labels)}, one scale"]
    words = _Words(title, facts, (explanation.source, explanation.method), explanation.warnings)
    heats = heat.reshape(-1, *heat.shape[-2:])
    chosen_photos = photos if len(photos) == 1 else [photos[number] for number in shown]
    tiles = _Tiles(chosen_photos, [heats[number] for number in shown], [labels[number] for number in shown])
    return _draw_strip(tiles, grid, window, words, cmap=chosen, signed=explanation.signed)


def _on_signal(explanation: HasMap, cmap: str, title: str | None) -> Figure:
    """The figure of a map along a signal."""
    signal, signed = explanation.given, explanation.signed
    facts = explanation.facts
    if explanation.of_pixels:
        facts = [*facts, f"colours up to the {_PERCENTILE}th percentile"]
    heat, window = _heat(explanation, signal.shape[1:], _window(explanation))
    placed = window.place(heat).filled(0.5 if signed else 0)
    colours = np.clip(_blended(np.ones((*placed.shape, 3)), placed, cmap, signed), 0, 1)

    def bar(axes: Axes, width: int, top: int) -> None:
        _bar(axes, 0, width, top, window, cmap, signed)

    return plot_on_signal(signal, colours, title or explanation.title, facts, explanation.warnings, bar)


def overlays(explanation: HasMap, longest: int = _LONGEST) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Returns the pixels of `plot_explanation` without words: of each map its photo, and the map laid on it.

    Args:
        explanation: As for `plot_explanation`.
        longest: Pixels along the longer side of a photo.

    Returns:
        Pairs of (H, W, 3) uint8: the photo, and the map on a grey copy of it. One for each map; up to 24, evenly
        spaced.

    Raises:
        InputError: The map does not have two axes.
    """
    if explanation.map.ndim != 2 and math.prod(explanation.map.shape[:-2]) != len(explanation.labels):
        raise InputError(f"a map of shape {explanation.map.shape} cannot be laid on a photo; draw it with plot_maps")
    photos = explanation.photos(longest)
    heat, window = _heat(explanation, photos[0].shape[:2], _window(explanation))
    heats = heat.reshape(-1, *heat.shape[-2:])
    signed = explanation.signed
    cmap = DIVERGING if signed else _HEAT
    found = []
    for number in spread(len(heats), _MOST):
        photo = photos[0 if len(photos) == 1 else number]
        blended = _blended(_grey(photo), window.place(heats[number]).filled(0.5 if signed else 0), cmap, signed)
        found.append((photo, np.rint(255 * blended).astype(np.uint8)))
    return found


def _window(explanation: HasMap) -> ValueRange:
    """The range of values that the colours cover."""
    values = explanation.map.astype(np.float64)
    if explanation.signed:
        limit = float(np.percentile(np.abs(values), _PERCENTILE if explanation.of_pixels else 100))
        return ValueRange(-limit, limit)
    high = float(np.percentile(values, _PERCENTILE)) if explanation.of_pixels else float(values.max())
    least = float(values.min())
    return ValueRange(least if least > high / 2 else 0.0, max(high, 0.0))


def _heat(
    explanation: HasMap, size: tuple[int, ...], window: ValueRange, *, smooth: bool = True
) -> tuple[NDArray[np.float64], ValueRange]:
    """The map, or maps, at the size of a photo, cut to the window; and the window, which is not empty."""
    if smooth:
        large = explanation.upsampled(size)
    else:  # each pixel is of the cell that its centre lies in
        rows, columns = (
            (np.arange(pixels) * 2 + 1) * cells // (2 * pixels)
            for pixels, cells in zip(size, explanation.map.shape[-2:], strict=True)
        )
        large = explanation.map[..., rows, :][..., columns]
    heat = np.clip(large.astype(np.float64), window.low, window.high)
    if window.low == window.high:  # nothing stands out: nothing is coloured
        return np.full_like(heat, window.low), ValueRange(window.low, window.low + 1)
    return heat, window


@dataclass(frozen=True)
class _Strip:
    """How several maps are laid out.

    Attributes:
        columns: in a row.
        longest: pixels along the longer side of a picture.
        one_photo: whether one photo stands before all maps, in the place of one above each.
    """

    columns: int
    longest: int
    one_photo: bool

    @classmethod
    def of(cls, count: int, *, one_photo: bool) -> "_Strip":
        """A layout of `count` maps, 0 for a single one of full size."""
        if count == 0:
            return cls(1, _THIRD, False)
        count += one_photo
        rows = -(-count // _COLUMNS)
        columns = -(-count // rows)
        return cls(columns, min((_ROOM - _NARROW * (columns - 1)) // max(columns, 2), _LONGEST), one_photo)


@dataclass(frozen=True)
class _Tiles:
    """Photos (H, W, 3) uint8, one or as many as maps; maps (H, W); labels of the maps."""

    photos: Sequence[NDArray[Any]]
    heats: Sequence[NDArray[Any]]
    labels: Sequence[str]


@dataclass(frozen=True)
class _Words:
    """Words around an overlay: its first line, its second, those over photo and map, and notes below."""

    title: str
    facts: Sequence[str]
    labels: tuple[str, str]
    notes: Sequence[str]


def _draw_overlay(
    photo: NDArray[Any],
    heat: NDArray[Any],
    window: ValueRange,
    words: _Words,
    *,
    cmap: str,
    signed: bool,
    sanity: HasEvidence | None,
) -> Figure:
    """Returns a figure: the photo, the heat map laid on a grey copy of it, and the bare map with a colour bar.

    Args:
        photo: (H, W, 3) uint8.
        heat: (H, W), the map at the photo's size.
        window: The range of values that the colours cover.
        words: Around it.
        cmap: matplotlib colour map.
        signed: Whether the middle of the window, not its low end, is "nothing" and so transparent.
        sanity: What is drawn below; None: nothing.
    """
    height, width = photo.shape[:2]
    lefts = [place * (width + _GAP) for place in range(3)]
    room = max(lefts[-1] + width, 0 if sanity is None else LEAST_ROOM)
    said = [line for note in words.notes for line in broken(f"Note: {note}", room)]
    evidence = None if sanity is None else Evidence(sanity, room, _HEAT)
    figure, axes = page(
        (height, room),
        words.title,
        list(words.facts),
        left=MARGIN,
        above=14,
        below=34 + 15 * len(said) + (0 if evidence is None else evidence.height),
        right=MARGIN,
    )
    placed = window.place(heat).filled(0.5 if signed else 0)
    bare = mpl.colormaps[cmap](placed)[..., :3]
    pictures = (photo / 255, _blended(_grey(photo), placed, cmap, signed), bare)
    labels = (words.labels[0], f"{words.labels[1]} on the {words.labels[0]}", words.labels[1])
    for left, picture, label in zip(lefts, pictures, labels, strict=True):
        image = PixelImage(axes, extent=(left, left + width, height, 0), interpolation="none", origin="upper")
        image.set(data=picture)
        axes.add_image(image)
        write(axes, left, -5, shortened(label, 8, width), 8, INK)
    if not heat.any():
        for left in lefts[1:]:
            write_on_plate(axes, left + width / 2, height / 2, "zero everywhere")
    ColourBar(window, cmap).draw(axes, lefts[-1], height + 10, width)
    for number, line in enumerate(said):
        write(axes, 0, height + 44 + 15 * number, line, 8)
    if evidence is not None:
        evidence.draw(axes, height + 34 + 15 * len(said))
    return figure


def _outline(figure: Figure, size: Sequence[int], corners: tuple[float, float, float, float], label: str) -> None:
    """Draws a box on the photo, with its label, and on the map; of a box that reaches further, the part inside."""
    height, width = size
    left, right = (min(max(side * width, 1), width - 1) for side in (corners[0], corners[2]))
    top, bottom = (min(max(side * height, 1), height - 1) for side in (corners[1], corners[3]))
    axes = figure.axes[0]
    for first in (0, width + _GAP, 2 * (width + _GAP)):
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


def _draw_strip(tiles: _Tiles, grid: _Strip, window: ValueRange, words: _Words, *, cmap: str, signed: bool) -> Figure:
    """Returns a figure: photos in rows, below each its map, and one colour bar; or one photo and the maps beside it."""
    height, width = tiles.photos[0].shape[:2]
    count = len(tiles.heats) + grid.one_photo
    rows = -(-count // grid.columns)
    band = height if grid.one_photo else 2 * height + _NARROW
    pitch = band + _BETWEEN
    whole = (rows * pitch - _BETWEEN, grid.columns * (width + _NARROW) - _NARROW)
    room = max(whole[1], _LEAST_ROOM)
    said = [line for note in words.notes for line in broken(f"Note: {note}", room)]
    names = [] if grid.one_photo else [*words.labels]
    left = MARGIN + (max(width_of(name, 8) for name in names) + 8 if names else 0)
    figure, axes = page(
        whole, words.title, list(words.facts), left=left, above=14, below=34 + 15 * len(said), right=MARGIN
    )

    def place(number: int, down: int) -> tuple[int, int]:
        row, column = divmod(number, grid.columns)
        return row * pitch + down, column * (width + _NARROW)

    def add(picture: NDArray[Any], corner: tuple[int, int]) -> None:
        top, across = corner
        extent = (across, across + width, top + height, top)
        image = PixelImage(axes, extent=extent, interpolation="none", origin="upper")
        image.set(data=picture)
        axes.add_image(image)

    for number, photo in enumerate(tiles.photos):
        add(photo / 255, place(number, 0))
    for number, heat in enumerate(tiles.heats):
        photo = tiles.photos[0 if grid.one_photo else number]
        placed = window.place(heat).filled(0.5 if signed else 0)
        colours = _blended(_grey(photo), placed, cmap, signed)
        add(colours, place(number + grid.one_photo, 0 if grid.one_photo else height + _NARROW))
    for number, label in enumerate([words.labels[0], *tiles.labels] if grid.one_photo else tiles.labels):
        top, across = place(number, 0)
        write(axes, across, top - 5, shortened(label, 8, width), 8, INK)
    for row in range(rows):
        for below, name in enumerate(names):
            middle = row * pitch + below * (height + _NARROW) + height / 2
            write(axes, -8, middle, name, 8, ha="right", va="center_baseline")
    bar = min(whole[1], _LONGEST)
    _bar(axes, whole[1] - bar, bar, whole[0], window, cmap, signed)
    for number, line in enumerate(said):
        write(axes, 0, whole[0] + 44 + 15 * number, line, 8)
    return figure


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


def _bar(axes: Axes, left: int, width: int, height: int, window: ValueRange, cmap: str, signed: bool) -> None:
    """Draws the colour bar below the map, as the colours look on a middle grey."""

    def paint(ramp: NDArray[Any]) -> NDArray[Any]:
        return _blended(np.full((*ramp.shape, 3), 0.72), ramp, cmap, signed)

    ColourBar(window, cmap, paint=paint).draw(axes, left, height + 10, width)
