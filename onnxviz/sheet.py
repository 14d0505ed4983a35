"""One figure: pictures as tiles of a single image, with the words around them.

The only room that draws with matplotlib. Figures are made without pyplot and leave no global state behind.
Everything is placed in pixels: at the figure's own resolution one entry of the mosaic is one pixel of the file.
"""

import os
import unicodedata
from bisect import bisect
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import IdentityTransform

from onnxviz.errors import InputError
from onnxviz.files import PICTURES, replacing
from onnxviz.mosaic import Array, Grid, Picture, Window, flaw, label_step

_DPI = 100
_MARGIN = 16
_HEADER = 14
_NARROWEST = 460
_FONT = "DejaVu Sans"  # ships with matplotlib: the same picture on every machine

# The paper is darker than the white middle of a diverging colour map, so that tiles near zero keep their edges.
_PAPER, _INK, _GREY = "#e9eae8", "#1d1f21", "#54585c"
_CONSTANT, _BROKEN, _LINE = "#e8890c", "#d4007f", "#2f6690"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What goes on one figure.

    Attributes:
        pictures: One for each tile, row by row: (height, width) or (height, width, 3); for lines (1, length).
        shape: (height, width) of every picture.
        columns: Tiles in a row.
        marks: What is wrong with a map, "" where nothing is; one for every `tiles_a_mark` tiles.
        tiles_a_mark: Tiles that show the same map.
        largest: (height, width) in pixels that a tile should not pass by much.
        row_labels: One for each row of tiles, or none.
        column_labels: One for each column of tiles, or none.
        tile_labels: One for each tile, or none.
        facts: What the second line says.
        window: The range of values where one holds for the whole figure.
        cmap: Name of a matplotlib colour map.
        levels: The value that is drawn in the colour map's last colour: 1, or 255 for uint8.
        gap: Pixels between tiles.
        lines: Draw each picture as a line.
        rgb: The pictures are colours.
        positions: Length of the axis across, where it wants labels.
    """

    pictures: Iterable[Picture]
    shape: tuple[int, int]
    columns: int
    marks: list[str]
    largest: tuple[int, int]
    tiles_a_mark: int = 1
    row_labels: list[str] = field(default_factory=list)
    column_labels: list[str] = field(default_factory=list)
    tile_labels: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    window: Window | None = None
    cmap: str = "gray"
    levels: int = 1
    gap: int = 4
    lines: bool = False
    rgb: bool = False
    positions: int = 0


class _PixelImage(AxesImage):
    """An image that is copied, not resampled, where one entry is one pixel of the canvas: a quarter of the time."""

    def make_image(self, renderer: Any, magnification: float = 1.0, unsampled: bool = False) -> Any:
        """Returns (colours, left, bottom, transform), as matplotlib's own method does."""
        values = self.get_array()
        box = self.get_window_extent(renderer)
        left, bottom, width, height = (round(side) for side in box.bounds)
        if values is None or unsampled or magnification != 1 or (height, width) != values.shape[:2]:
            return super().make_image(renderer, magnification, unsampled)
        return self.to_rgba(values, bytes=True)[::-1], left, bottom, IdentityTransform()


def draw(sheet: Sheet, title: str | None, name: str) -> Figure:
    """Returns the figure of a sheet, titled `title` or else `name`.

    Raises:
        InputError: The colour map does not exist, or the tiles do not fit one figure.
    """
    if sheet.cmap not in mpl.colormaps:
        raise InputError(f"matplotlib has no colour map {sheet.cmap!r}; try gray, viridis, magma or RdBu_r")
    count = len(sheet.marks) * sheet.tiles_a_mark
    headed = bool(sheet.tile_labels) or (any(sheet.marks) and not sheet.positions)
    cell = (64, 160) if sheet.lines else sheet.shape
    facts = [*sheet.facts, *_flaws(sheet.marks)]
    legend = sheet.window is not None and not (sheet.lines or sheet.rgb)
    if sheet.window and not legend:
        facts.append(f"from {_number(sheet.window.low)} to {_number(sheet.window.high)}")
    grid = Grid.fit(count, sheet.columns, cell, largest=sheet.largest, gap=sheet.gap, header=_HEADER if headed else 0)
    height, width = grid.shape
    row_room = max((_width(label, 7) for label in sheet.row_labels), default=0)
    figure, axes = _page(
        (height, width),
        title or name,
        facts,
        left=_MARGIN + (row_room + 8 if sheet.row_labels else 0),
        above=_HEADER if sheet.column_labels else 0,
        below=(34 if sheet.positions else 0) + (26 if legend else 0),
        right=_MARGIN + (60 if sheet.positions and any(sheet.marks) else 0),
    )
    if sheet.lines:
        _draw_lines(axes, sheet, grid)
    else:
        image: Array = (mosaic := grid.lay(sheet.pictures))
        if sheet.rgb:
            # Colour images take no mask; what is hidden becomes transparent.
            shown = ~np.ma.getmaskarray(mosaic).any(axis=2, keepdims=True)
            image = np.concatenate([mosaic.filled(0), shown.astype(mosaic.dtype)], axis=2)
        shown_image = _PixelImage(
            axes, cmap=sheet.cmap, extent=(0, width, height, 0), interpolation="none", origin="upper"
        )
        shown_image.set(data=image, clim=(0, sheet.levels))
        axes.add_image(shown_image)
    _label(axes, sheet, grid)
    if sheet.window and legend:
        _legend(figure, axes, sheet.window, sheet.cmap, height + (34 if sheet.positions else 0) + 12)
    return figure


def _flaws(marks: list[str]) -> list[str]:
    """Returns one fact that counts the marked maps."""
    kinds = Counter("constant" if "const" in mark else "not finite" for mark in marks if mark)
    return [f"marked: {', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))}"] if kinds else []


def _draw_lines(axes: Axes, sheet: Sheet, grid: Grid) -> None:
    """Draws each picture (1, length) as a line in its tile, on a white ground."""
    height, width = grid.tile
    lines = []
    for number, picture in enumerate(sheet.pictures):
        top, left = grid.corner(number)
        axes.add_patch(Rectangle((left, top), width, height, facecolor="white", edgecolor="none"))
        across, up = _outline(_with_nan(picture) / sheet.levels, 2 * width)
        lines.append(np.column_stack([left + 2 + across * (width - 4), top + height - 3 - up * (height - 6)]))
    axes.add_collection(LineCollection(lines, colors=_LINE, linewidths=0.9), autolim=False)


def _with_nan(picture: Picture) -> Array:
    return np.where(np.ma.getmaskarray(picture), np.nan, picture.filled(0)).ravel()


def _outline(values: Array, most: int) -> tuple[Array, Array]:
    """Returns (across, up) of a line with at most `most` points: long ones as least and greatest of each stretch."""
    length = len(values)
    if length <= most:
        return (np.arange(length) + 0.5) / length, values
    starts = np.linspace(0, length, most // 2 + 1).astype(np.intp)[:-1]
    ends = [np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)]
    return np.repeat((starts + 0.5) / length, 2), np.column_stack(ends).ravel()


def _label(axes: Axes, sheet: Sheet, grid: Grid) -> None:
    """Writes the labels of rows, columns and tiles, and frames what is marked."""
    (height, width), (down, across) = grid.shape, grid.tile
    pitch = grid.header + down + grid.gap
    for row in range(0, len(sheet.row_labels), label_step(sheet.row_labels, pitch, 11)):
        middle = grid.corner(row * grid.columns)[0] + down / 2
        _text(axes, -8, middle, sheet.row_labels[row], 7, ha="right", va="center_baseline")
    needed = max((_width(label, 7) for label in sheet.column_labels), default=0) + 5
    for column in range(0, len(sheet.column_labels), label_step(sheet.column_labels, across + grid.gap, needed)):
        left = grid.corner(column)[1]
        _text(axes, left + across / 2, -4, sheet.column_labels[column], 7, ha="center")
    for number in range(grid.count):
        top, left = grid.corner(number)
        mark = sheet.marks[number // sheet.tiles_a_mark]
        name = sheet.tile_labels[number] if sheet.tile_labels else ""
        colour = _CONSTANT if "const" in mark else _BROKEN
        if mark:
            # Below the image: it frames the tile and shows through where there is no finite value.
            frame = Rectangle((left - 2, top - 2), across + 4, down + 4, facecolor=colour, zorder=-1, clip_on=False)
            frame.set(hatch="" if "const" in mark else "////", edgecolor="white", linewidth=0)
            axes.add_patch(frame)
        if sheet.positions:
            if mark and pitch >= 10:
                _text(axes, width + 6, top + down / 2, mark, 7, colour, va="center_baseline")
        elif grid.header:
            room = across + grid.gap - 2
            words = [word for word in (name, mark) if word]
            if _width(" ".join(words), 7) > room:
                words = words[:1]
            if words and _width(words[0], 7) <= room:
                _text(axes, left, top - 4, " ".join(words), 7, colour if mark else _GREY)
    if sheet.positions:
        for tick in MaxNLocator(8, integer=True).tick_values(0, sheet.positions - 1):
            if 0 <= tick < sheet.positions:
                place = (tick + 0.5) / sheet.positions * width
                axes.plot([place, place], [height, height + 4], color=_GREY, linewidth=0.8, clip_on=False)
                _text(axes, place, height + 15, f"{tick:.0f}", 7, ha="center")
        _text(axes, width / 2, height + 29, "position", 7, ha="center")


def _legend(figure: Figure, axes: Axes, window: Window, cmap: str, top: int) -> None:
    """Draws a colour bar with the least and the greatest value below the axes, `top` pixels down."""
    low, high = _number(window.low), _number(window.high)
    _text(axes, 0, top + 9, low, 7)
    start = _width(low, 7) + 6
    box = axes.get_position()
    across, down = box.width / axes.get_xlim()[1], box.height / axes.get_ylim()[0]
    bar = figure.add_axes((box.x0 + start * across, box.y1 - (top + 10) * down, 140 * across, 10 * down))
    bar.imshow(np.linspace(0, 1, 140)[None], cmap=cmap, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    bar.set_axis_off()
    _text(axes, start + 146, top + 9, high, 7)


def draw_bars(values: Array, chosen: list[int], title: str | None, facts: list[str]) -> Figure:
    """Returns a figure of one number a channel, as bars from zero.

    Args:
        values: (C,) numbers; what is not finite gets a hatched bar of full height.
        chosen: Channels to show, one bar each.
        title: First line; None: "Feature maps".
        facts: What the second line says.
    """
    shown = values[chosen]
    height, pitch = 220, max(1, min(28, 1200 // len(chosen)))
    width = pitch * len(chosen)
    window = Window.around(np.append(np.where(np.isfinite(shown), shown, 0), 0.0))
    flaws = [flaw(shown[place : place + 1]) for place in range(len(chosen))]
    ends = [_number(end) for end in (window.high, window.low)]
    figure, axes = _page(
        (height, width),
        title or "Feature maps",
        [*facts, *_flaws(flaws)],
        left=_MARGIN + max(_width(end, 7) for end in ends) + 8,
        above=8,
        below=22,
        right=_MARGIN,
    )
    tops = (1 - window.place(shown).filled(1)) * height
    zero = float(1 - window.place(np.zeros(1))[0]) * height
    for place, top in enumerate(tops):
        bar = Rectangle((place * pitch, min(zero, top)), max(1, pitch - 2), abs(zero - top), facecolor=_LINE)
        if flaws[place]:
            bar = Rectangle((place * pitch, 0), max(1, pitch - 2), height, facecolor=_BROKEN, hatch="////")
            bar.set(edgecolor="white", linewidth=0)
        axes.add_patch(bar)
    axes.plot([0, width], [zero, zero], color=_GREY, linewidth=0.8)
    for label, end in zip(ends, (0, height), strict=True):
        _text(axes, -8, end, label, 7, ha="right", va="center_baseline")
    labels = [str(number) for number in chosen]
    for place in range(0, len(labels), label_step(labels, pitch, max(_width(label, 7) for label in labels) + 5)):
        _text(axes, place * pitch + pitch / 2 - 1, height + 15, labels[place], 7, ha="center")
    return figure


def _page(
    size: tuple[int, int], title: str, facts: list[str], *, left: int, above: int, below: int, right: int
) -> tuple[Figure, Axes]:
    """Returns a figure with its two lines of text, and axes of `size` (height, width) pixels in pixel units."""
    height, width = size
    whole = max(left + width + right, _NARROWEST)
    room = whole - left - _MARGIN
    lines = _wrapped([_clean(fact) for fact in facts], room)
    top = _MARGIN + 20 + 15 * len(lines) + 10 + above
    tall = top + height + below + _MARGIN
    figure = Figure(figsize=(whole / _DPI, tall / _DPI), dpi=_DPI, facecolor=_PAPER, layout=None)
    figure.set_layout_engine("none")  # also where the user's settings ask for automatic margins
    axes = figure.add_axes((left / whole, 1 - (top + height) / tall, width / whole, height / tall))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _text(axes, 0, _MARGIN + 12 - top, _shortened(_clean(title), 11, room, bold=True), 11, _INK, weight="bold")
    for number, line in enumerate(lines):
        _text(axes, 0, _MARGIN + 32 + 15 * number - top, line, 8.5)
    return figure, axes


def _text(axes: Axes, x: float, y: float, words: str, size: float, color: str = _GREY, **options: Any) -> None:
    """Writes words as they are: no mathtext, no TeX, whatever a layer's name contains."""
    options = {"parse_math": False, "usetex": False, "family": _FONT, "clip_on": False, **options}
    axes.text(x, y, words, fontsize=size, color=color, **options)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _font(bold: bool) -> Any:
    return get_font(findfont(FontProperties(family=_FONT, weight="bold" if bold else "normal")))


def _clean(words: str) -> str:
    """Returns words on one line without control and direction characters; a box for what the font lacks."""
    font = _font(False)
    kept = []
    for sign in words[:2000]:
        if sign.isspace():
            kept.append(" ")
        elif not unicodedata.category(sign).startswith("C"):
            kept.append(sign if font.get_char_index(ord(sign)) else "□")
    return "".join(kept)


def _width(words: str, size: float, *, bold: bool = False) -> int:
    """Returns how many pixels words take."""
    font = _font(bold)
    font.set_size(size, _DPI)
    font.set_text(words)
    return -(-int(font.get_width_height()[0]) // 64)


def _shortened(words: str, size: float, room: int, *, bold: bool = False) -> str:
    """Returns words with their middle left out as far as `room` pixels demand."""
    if _width(words, size, bold=bold) <= room:
        return words

    def keeping(count: int) -> str:
        return words[: -(-count // 2)] + "…" + words[len(words) - count // 2 :]

    # Bisection: a name may be thousands of characters long.
    return keeping(
        max(bisect(range(len(words)), room, key=lambda count: _width(keeping(count), size, bold=bold)) - 1, 0)
    )


def _wrapped(facts: list[str], room: int) -> list[str]:
    """Returns facts joined into lines of at most `room` pixels."""
    lines: list[str] = []
    for fact in facts:
        longer = f"{lines[-1]}  ·  {fact}" if lines else fact
        if lines and _width(longer, 8.5) <= room:
            lines[-1] = longer
        else:
            lines.append(_shortened(fact, 8.5, room))
    return lines


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
