"""A table of explanations of one input: a row a class, a column a method, the photo first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.plots.compared import MOST_PARTS, Compared
from onnxviz.plots.has_map import HasMap
from onnxviz.plots.heat import Heat, Smooth
from onnxviz.plots.lettering import shortened, width_of
from onnxviz.plots.mosaic import spread
from onnxviz.plots.outlines import draw_outlines
from onnxviz.plots.page import GREY, INK, MARGIN, page, write, write_on_plate
from onnxviz.plots.signals import Ribbon, SignalWords, plot_on_signal, refuse_look_of_signal
from onnxviz.plots.sliced_volume import SlicedVolume, refuse_look_of_volume
from onnxviz.plots.strip import ZERO, Words, add_picture

# Pixels across all pictures, about; along the longer side of one at most; of a column at least, for its words and bar.
_ROOM, _LONGEST, _LEAST = 960, 320, 150
_NARROWEST = 480
_GAP, _BETWEEN = 8, 10
# Pixels of a line of words; of the two above a column; of a bar with the space above it.
_LINE, _HEAD, _BAR = 16, 30, 36
# Pictures in a row, where they follow one another.
_IN_ROW = 5


def plot_table(
    explanations: Sequence[HasMap],
    smooth: Smooth | None,
    cmap: str | None,
    title: str | None,
    bands: Sequence[int] | None,
) -> Figure:
    """Returns the figure of several explanations; arguments as for `plot_explanation`.

    Raises:
        InputError: as `Compared`.
        SelectionError: there is no such band.
        UnheededOptionError: `smooth` of a signal or volume, `bands` of a signal.
    """
    compared = Compared(explanations)
    if compared.signal:
        refuse_look_of_signal(smooth, bands)
        return _signal_table(compared, cmap, title)
    if isinstance(compared.first, SlicedVolume):
        refuse_look_of_volume(smooth)
    facts = compared.facts(compared.first.behind(bands))
    if smooth == "none":
        facts.append("not smoothed")
    first = compared.first
    words = Words(title or compared.title, facts, (first.source, first.method), compared.notes)
    many = min(len(compared.rows), len(compared.columns)) > 1
    lay = _film if first.labels else _grid if many else _flow
    heats = compared.heats(cmap)
    return _draw(lay(compared, heats, smooth, bands), words, heats)


@dataclass(frozen=True)
class _Cell:
    """A picture (H, W, 3) of 0…1, at (left, top); whose outlines it has; whether it is the photo; what it says."""

    picture: NDArray[Any]
    corner: tuple[int, int]
    outlined: Sequence[HasMap] = ()
    labelled: bool = False
    mark: str = ""


@dataclass(frozen=True)
class _Laid:
    """A table that is laid out.

    Attributes:
        size: (height, width) of it.
        cells: the pictures.
        texts: (left, baseline, room, words, quiet words) above pictures: the quiet ones on a line of their own.
        lines: likewise, the quiet words behind the others.
        bars: (number of the scale, left, top, width).
        names: of the scales, where bars need them.
    """

    size: tuple[int, int]
    cells: list[_Cell]
    texts: list[tuple[int, int, int, str, str]]
    lines: list[tuple[int, int, int, str, str]]
    bars: list[tuple[int, int, int, int]]
    names: Sequence[str] = ()


def _photos(one: HasMap, room: int, bands: Sequence[int] | None) -> list[NDArray[Any]]:
    """The photos, not wider than the room, and not longer than pictures may be."""
    height, width = one.photos(64, bands)[0].shape[:2]
    longest = room if width >= height else min(round(room * height / width), _LONGEST)
    return one.photos(max(min(longest, _LONGEST), 1), bands)


def _room(columns: int) -> int:
    """Pixels across of each of so many columns."""
    return max((_ROOM + _GAP) // columns - _GAP, _LEAST)


def _cell(heat: Heat, photo: NDArray[Any], values: NDArray[Any], corner: tuple[int, int], one: HasMap) -> _Cell:
    return _Cell(heat.on_photo(photo, values), corner, [one], mark="" if values.any() else ZERO)


def _grid(compared: Compared, heats: Sequence[Heat], smooth: Smooth | None, bands: Sequence[int] | None) -> _Laid:
    """Several classes by several methods: rows and columns."""
    count = len(compared.columns) + 1
    room = min(_room(count), _LONGEST)
    (photo,) = _photos(compared.first, room, bands)
    height, width = photo.shape[:2]
    step, pitch = max(width, _LEAST) + _GAP, _LINE + height + _BETWEEN
    head = _HEAD + 6
    whole = (head + len(compared.rows) * pitch, count * step - _GAP)
    lefts = [number * step for number in range(count)]
    texts = [(lefts[0], 11, step - _GAP, compared.first.source, "")]
    for number, column in enumerate(compared.columns):
        texts.append((lefts[number + 1], 11, step - _GAP, column[0].method, compared.detail(number)))
    cells, lines = [], []
    for number, row in enumerate(compared.rows):
        top = head + number * pitch + _LINE
        lines.append((0, top - 4, whole[1], row[0].title, " · ".join(row[0].answer)))
        cells.append(_Cell(photo / 255, (0, top), row[:1], labelled=True))
        for heat, one, left in zip(heats, row, lefts[1:], strict=True):
            cells.append(_cell(heat, photo, heat.at(one, (height, width), smooth), (left, top), one))
    bars = [(number, left, whole[0] - _BETWEEN + 10, step - _GAP) for number, left in enumerate(lefts[1:])]
    return _Laid((whole[0] - _BETWEEN + _BAR, whole[1]), cells, texts, lines, bars)


def _flow(compared: Compared, heats: Sequence[Heat], smooth: Smooth | None, bands: Sequence[int] | None) -> _Laid:
    """Several classes by one method, or one class by several methods: pictures one after the other, in rows."""
    by_class = len(compared.rows) > 1
    shown = compared.each
    rows = -(-(len(shown) + 1) // _IN_ROW)
    columns = -(-(len(shown) + 1) // rows)
    (photo,) = _photos(compared.first, min(_room(columns), _LONGEST), bands)
    height, width = photo.shape[:2]
    step = max(width, _LEAST) + _GAP
    pitch = _HEAD + height + (_BETWEEN if by_class else _BAR)
    outlined = [] if by_class else shown[:1]  # boxes of several classes would lie one on the other
    cells = [_Cell(photo / 255, (0, _HEAD), outlined, labelled=True)]
    texts, bars = [(0, 11, step - _GAP, compared.first.source, "")], []
    for number, one in enumerate(shown):
        row, column = divmod(number + 1, columns)
        left, top = column * step, row * pitch + _HEAD
        heat = heats[0 if by_class else number]
        cells.append(_cell(heat, photo, heat.at(one, (height, width), smooth), (left, top), one))
        said = (one.title, _last(one.answer, step - _GAP)) if by_class else (one.method, compared.detail(number))
        texts.append((left, top - _HEAD + 11, step - _GAP, *said))
        if not by_class:
            bars.append((number, left, top + height + 10, step - _GAP))
    whole = (rows * pitch - (_BETWEEN if by_class else 0), columns * step - _GAP)
    if by_class:
        wide = min(whole[1], 448)
        bars.append((0, whole[1] - wide, whole[0] + 10, wide))
        whole = (whole[0] + _BAR, whole[1])
    return _Laid(whole, cells, texts, [], bars)


def _last(facts: Sequence[str], room: int) -> str:
    """As many of the last facts, of which the score is one, as there is room for."""
    every = [" · ".join(facts[start:]) for start in range(len(facts))]
    return next((words for words in every if width_of(words, 7) <= room), every[-1])


def _film(compared: Compared, heats: Sequence[Heat], smooth: Smooth | None, bands: Sequence[int] | None) -> _Laid:
    """Views, frames or slices: a column each, the photos first, then a row for each class and method."""
    first = compared.first
    shown = spread(len(first.labels), MOST_PARTS)
    count = max(len(shown), 2)
    photos = _photos(first, min(_room(count), _LONGEST), bands)
    height, width = photos[0].shape[:2]
    step, pitch = max(width, _LEAST) + _GAP, _LINE + height + _BETWEEN
    wide = len(shown) * step - _GAP
    texts, lines, cells = [], [], []
    for place, number in enumerate(shown):
        texts.append((place * step, 11, step - _GAP, first.labels[number], ""))
        if place == 0 or len(photos) > 1:
            picture = photos[0 if len(photos) == 1 else number]
            cells.append(_Cell(picture / 255, (place * step, _LINE)))
    top = pitch + _LINE
    for row in compared.rows:
        for heat, one in zip(heats, row, strict=True):
            said = one.title if len(compared.columns) == 1 else f"{one.title}, {one.way}"
            lines.append((0, top - 4, max(wide, _NARROWEST), said, " · ".join(one.answer)))
            values = heat.at(one, (height, width), smooth)
            values = values.reshape(-1, *values.shape[-2:])
            for place, number in enumerate(shown):
                photo = photos[0 if len(photos) == 1 else number]
                cells.append(_cell(heat, photo, values[number], (place * step, top), one))
            top += pitch
    top += _BETWEEN - _LINE
    room = max(wide, _NARROWEST)
    in_row = min(len(heats), max((room + _GAP) // (_LEAST + _GAP), 1))
    each = (room + _GAP) // in_row - _GAP
    bars = [
        (number, number % in_row * (each + _GAP), top + number // in_row * (_BAR + _LINE) + _LINE, min(each, 448))
        for number in range(len(heats))
    ]
    names = [compared.named(number) for number in range(len(heats))] if len(heats) > 1 else []
    low = top + -(-len(heats) // in_row) * (_BAR + _LINE)
    return _Laid((low, wide), cells, texts, lines, bars, names)


def _draw(laid: _Laid, words: Words, heats: Sequence[Heat]) -> Figure:
    """The figure of what is laid out."""
    height, wide = laid.size
    room = max(wide, _NARROWEST)
    said = words.said(room)
    figure, axes = page(
        (height, room), words.title, [*words.facts], left=MARGIN, above=4, below=15 * len(said), right=MARGIN
    )
    for cell in laid.cells:
        add_picture(axes, cell.picture, cell.corner)
    for cell in laid.cells:
        size = cell.picture.shape[0], cell.picture.shape[1]
        for one in cell.outlined:
            draw_outlines(axes, one, cell.corner, size, labelled=cell.labelled)
        if cell.mark:
            left, top = cell.corner
            across = max(left + size[1] / 2, width_of(cell.mark, 9) / 2 + 6)
            write_on_plate(axes, across, top + size[0] / 2, cell.mark)
    for left, down, space, loud, quiet in laid.texts:
        write(axes, left, down, shortened(loud, 8, space), 8, INK)
        write(axes, left, down + 13, shortened(quiet, 7, space), 7, GREY)
    for left, down, space, loud, quiet in laid.lines:
        name = shortened(loud, 8.5, space * 3 // 5 if quiet else space)
        write(axes, left, down, name, 8.5, INK)
        start = width_of(name, 8.5) + 12
        write(axes, left + start, down, shortened(quiet, 8, space - start), 8, GREY)
    _draw_bars(axes, laid, heats)
    for number, text in enumerate(said):
        write(axes, 0, height + 10 + 15 * number, text, 8)
    return figure


def _draw_bars(axes: Axes, laid: _Laid, heats: Sequence[Heat]) -> None:
    for number, left, top, width in laid.bars:
        if laid.names:
            write(axes, left, top - 5, shortened(laid.names[number], 7, width), 7, INK)
        heats[number].draw_bar(axes, left, top, width)


def _signal_table(compared: Compared, cmap: str | None, title: str | None) -> Figure:
    """Of a signal: its lines, and a ribbon for each class and method."""
    heats = compared.heats(cmap)
    signal = compared.first.given
    ribbons, ways = [], [column[0].way for column in compared.columns]
    for row in compared.rows:
        for heat, one in zip(heats, row, strict=True):
            said = [one.title, *([one.way] if len(ways) > 1 else []), *(one.answer if len(compared.rows) > 1 else [])]
            values = heat.at(one, signal.shape[1:])
            ribbons.append(Ribbon(" · ".join(said), heat.alone(values), "" if np.any(one.map) else ZERO))
    words = SignalWords(title or compared.title, compared.facts(""), compared.notes)
    scales = [(compared.named(number) if len(ways) > 1 else "", heat) for number, heat in enumerate(heats)]
    return plot_on_signal(signal, None, ribbons, words, scales)
