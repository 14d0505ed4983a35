"""Sheets: pictures as tiles of a single image, with words around them; what most figures are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from onnxviz.plots.colour_bar import ROOM_FOR_BAR, ColourBar
from onnxviz.plots.lettering import noun_of, rounded, width_of
from onnxviz.plots.mosaic import Grid, Picture, ValueRange, count_flaws, is_still, label_step, spread
from onnxviz.plots.options import known_cmap
from onnxviz.plots.page import BROKEN, GREY, LINE, MARGIN, PixelImage, page, write
from onnxviz.plots.photos import Heads, Panel, Photo

_HEADER = 14
# The field that a map of one value is: paler than most maps, darker than the paper, and grey in every colour map.
_STILL = "#cfd0ce"
# Of the letters in and above tiles, the larger where there is room.
_SIZES = (7, 6)
# Pixels across from which on each tile carries its number: on narrower ones there would be more digits than maps.
_LEAST_LABELLED = 32


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
        narrow_labels: Likewise, in the place of `tile_labels` where tiles are too narrow for those.
        column_labels: One for each column of tiles, or none.
        tile_labels: One for each tile, or none.
        row_notes: Said behind each row, or none.
        photo: Drawn to the left of everything; None for none.
        row_photos: Drawn before each row, or none.
        column_photos: Drawn above each column, or none.
        facts: What the second line says.
        window: The range of values where one holds for the whole figure.
        beyond: Whether there are values below and above it.
        cmap: Name of a matplotlib colour map.
        levels: The value that is drawn in the colour map's last colour: 1, or 255 for uint8.
        gap: Pixels between tiles.
        lines: Draw each picture as a line.
        rgb: The pictures are colours.
        framed: Frame maps that are not finite; no frame where pictures do not fill their tiles.
        positions: Length of the axis across, where it wants labels.
    """

    pictures: Iterable[Picture]
    shape: tuple[int, int]
    columns: int
    marks: list[str]
    largest: tuple[int, int]
    tiles_a_mark: int = 1
    row_labels: list[str] = field(default_factory=list)
    narrow_labels: list[str] = field(default_factory=list)
    column_labels: list[str] = field(default_factory=list)
    tile_labels: list[str] = field(default_factory=list)
    row_notes: list[str] = field(default_factory=list)
    photo: Photo | None = None
    row_photos: list[Photo] = field(default_factory=list)
    column_photos: list[Photo] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    window: ValueRange | None = None
    beyond: tuple[bool, bool] = (False, False)
    cmap: str = "gray"
    levels: int = 1
    gap: int = 4
    lines: bool = False
    rgb: bool = False
    framed: bool = True
    positions: int = 0


def slices(
    volumes: Iterable[Picture],
    shape: tuple[int, ...],
    marks: list[str],
    labels: list[str],
    noun: str,
    parts: Sequence[str] | None = None,
) -> Sheet:
    """Returns a sheet with a row for each volume of that shape (D, H, W), and a column for each of up to 8 slices.

    Args:
        volumes: one for each row.
        shape: of each.
        marks: what is wrong with each.
        labels: of the rows.
        noun: what the rows are.
        parts: what the slices are, one label each; None: positions along the first axis.
    """
    depth = shape[0]
    shown = spread(depth, 8)
    of = f"{len(shown)} of "
    across = "slices along the first axis" if parts is None else noun_of(parts)
    return Sheet(
        pictures=(volume[position] for volume in volumes for position in shown),
        shape=(shape[1], shape[2]),
        columns=len(shown),
        marks=marks,
        tiles_a_mark=len(shown),
        row_labels=labels,
        column_labels=[str(position) if parts is None else parts[position] for position in shown],
        largest=(140, 140),
        facts=[f"rows: {noun}", f"columns: {of if parts is None or len(shown) < depth else ''}{depth} {across}"],
    )


def draw(sheet: Sheet, title: str | None, name: str) -> Figure:
    """Returns the figure of a sheet, titled `title` or else `name`.

    Raises:
        InputError: The colour map does not exist, or the tiles do not fit one figure.
    """
    known_cmap(sheet.cmap)
    sheet, grid = _fitted(sheet)
    facts = [*sheet.facts, *count_flaws(sheet.marks)]
    legend = sheet.window is not None and not (sheet.lines or sheet.rgb)
    if sheet.window and not legend:
        facts.append(f"from {rounded(sheet.window.low)} to {rounded(sheet.window.high)}")
    height, width = grid.shape
    row_room = max((width_of(label, 7) for label in sheet.row_labels), default=0)
    panel, heads = Panel(sheet.photo), Heads(sheet.row_photos, sheet.column_photos, grid)
    left = MARGIN + panel.width + heads.left + (row_room + 8 if sheet.row_labels else 0)
    notes = [mark for mark in sheet.marks if mark] if sheet.positions else sheet.row_notes
    figure, axes = page(
        (height, width),
        title or name,
        facts,
        left=left,
        above=heads.above + (_HEADER if sheet.column_labels else 0),
        below=panel.below(height, (34 if sheet.positions else 0) + (ROOM_FOR_BAR if legend else 0), grid.header),
        right=MARGIN + max((width_of(note, 7) + 8 for note in notes), default=0),
    )
    if sheet.lines:
        _draw_lines(axes, sheet, grid)
    else:
        image: NDArray[Any] = (mosaic := grid.lay(sheet.pictures))
        if sheet.rgb:
            # Colour images take no mask; what is hidden becomes transparent.
            shown = ~np.ma.getmaskarray(mosaic).any(axis=2, keepdims=True)
            image = np.concatenate([mosaic.filled(0), shown.astype(mosaic.dtype)], axis=2)
        shown_image = PixelImage(
            axes, cmap=sheet.cmap, extent=(0, width, height, 0), interpolation="none", origin="upper"
        )
        shown_image.set(data=image, clim=(0, sheet.levels))
        axes.add_image(shown_image)
    _label(axes, sheet, grid)
    panel.draw(axes, left, grid.header)
    heads.draw(axes, left - MARGIN - panel.width)
    if sheet.window and legend:
        top = height + (34 if sheet.positions else 0) + 12
        ColourBar(sheet.window, sheet.cmap, beyond=sheet.beyond).draw(axes, 0, top, min(max(width, 120), 260))
    return figure


def _fitted(sheet: Sheet) -> tuple[Sheet, Grid]:
    """The sheet with tile labels, or else row labels, as its tiles have room for; and its grid."""
    count = len(sheet.marks) * sheet.tiles_a_mark
    cell = (64, 160) if sheet.lines else sheet.shape
    named_above = not sheet.positions and any(mark and (sheet.lines or not is_still(mark)) for mark in sheet.marks)

    def grid(headed: bool) -> Grid:
        header = _HEADER if headed else 0
        return Grid.fit(count, sheet.columns, cell, largest=sheet.largest, gap=sheet.gap, header=header)

    if sheet.tile_labels and sheet.narrow_labels:
        labelled = grid(headed=True)
        widest = width_of(max(sheet.tile_labels, key=len), _SIZES[-1])
        if labelled.tile[1] >= max(_LEAST_LABELLED, widest):
            return sheet, labelled
        sheet = replace(sheet, tile_labels=[], row_labels=sheet.narrow_labels)
    return sheet, grid(bool(sheet.tile_labels) or named_above)


def _draw_lines(axes: Axes, sheet: Sheet, grid: Grid) -> None:
    """Draws each picture (1, length) as a line in its tile, on a white ground."""
    height, width = grid.tile
    lines = []
    for number, picture in enumerate(sheet.pictures):
        top, left = grid.corner(number)
        axes.add_patch(Rectangle((left, top), width, height, facecolor="white", edgecolor="none"))
        across, up = _outline(_with_nan(picture) / sheet.levels, 2 * width)
        lines.append(np.column_stack([left + 2 + across * (width - 4), top + height - 3 - up * (height - 6)]))
    axes.add_collection(LineCollection(lines, colors=LINE, linewidths=0.9), autolim=False)


def _with_nan(picture: Picture) -> NDArray[Any]:
    return np.where(np.ma.getmaskarray(picture), np.nan, picture.filled(0)).ravel()


def _outline(values: NDArray[Any], most: int) -> tuple[NDArray[Any], NDArray[Any]]:
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
        write(axes, -8, middle, sheet.row_labels[row], 7, ha="right", va="center_baseline")
    needed = max((width_of(label, 7) for label in sheet.column_labels), default=0) + 5
    for column in range(0, len(sheet.column_labels), label_step(sheet.column_labels, across + grid.gap, needed)):
        left = grid.corner(column)[1]
        write(axes, left + across / 2, -4, sheet.column_labels[column], 7, ha="center")
    for row, note in enumerate(sheet.row_notes):
        middle = grid.corner(row * grid.columns)[0] + down / 2
        write(axes, width + 8, middle, note, 7, va="center_baseline")
    room = across + grid.gap - 2
    size = next((one for one in _SIZES if all(width_of(label, one) <= room for label in sheet.tile_labels)), _SIZES[0])
    for number in range(grid.count):
        top, left = grid.corner(number)
        mark = sheet.marks[number // sheet.tiles_a_mark]
        words = [sheet.tile_labels[number]] if sheet.tile_labels else []
        colour = GREY if is_still(mark) else BROKEN
        if mark and is_still(mark) and not (sheet.lines or sheet.positions):
            axes.add_patch(Rectangle((left, top), across, down, facecolor=_STILL, edgecolor="none"))
            if width_of(mark, 7) <= across - 4 and down >= 12 and number % sheet.tiles_a_mark == 0:
                write(axes, left + across / 2, top + down / 2, mark, 7, ha="center", va="center_baseline")
        elif mark and sheet.framed and not is_still(mark):
            # Below the image: it frames the tile and shows through where there is no finite value.
            frame = Rectangle((left - 2, top - 2), across + 4, down + 4, facecolor=colour, zorder=-1, clip_on=False)
            frame.set(hatch="////", edgecolor="white", linewidth=0)
            axes.add_patch(frame)
        if sheet.positions:
            if mark and pitch >= 10:
                write(axes, width + 6, top + down / 2, mark, 7, colour, va="center_baseline")
        elif grid.header:
            if mark and (sheet.lines or not is_still(mark)):
                words.append(mark)
            if width_of(" ".join(words), size) > room:
                words = words[:1]
            if words and width_of(words[0], size) <= room:
                write(axes, left, top - 4, " ".join(words), size, colour if mark else GREY)
    if sheet.positions:
        for tick in MaxNLocator(8, integer=True).tick_values(0, sheet.positions - 1):
            if 0 <= tick < sheet.positions:
                place = (tick + 0.5) / sheet.positions * width
                axes.plot([place, place], [height, height + 4], color=GREY, linewidth=0.8, clip_on=False)
                write(axes, place, height + 15, f"{tick:.0f}", 7, ha="center")
        write(axes, width / 2, height + 29, "position", 7, ha="center")
