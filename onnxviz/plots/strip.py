"""A strip of maps: photos of views, frames or slices, below each its map on it, and the bare map, on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.plots.heat import Heat
from onnxviz.plots.lettering import broken, shortened, width_of
from onnxviz.plots.page import INK, MARGIN, PixelImage, page, write, write_on_plate

MOST_IN_STRIP = 24
"""How many maps a strip shows; of more, so many, evenly spaced."""

WIDE = 448
"""Pixels along a colour bar, and along the longer side of a picture, at most."""

ZERO = "zero everywhere"
"""What a map of nothing but zeros says of itself."""

_COLUMNS, _ROOM, _LEAST_ROOM = 6, 912, 320
_NARROW, _BETWEEN = 6, 30


@dataclass(frozen=True)
class Layout:
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
    def of(cls, count: int, *, one_photo: bool) -> "Layout":
        """A layout of `count` maps."""
        count += one_photo
        rows = -(-count // _COLUMNS)
        columns = -(-count // rows)
        return cls(columns, min((_ROOM - _NARROW * (columns - 1)) // max(columns, 2), WIDE), one_photo)


@dataclass(frozen=True)
class Tiles:
    """Photos (H, W, 3) uint8, one or as many as maps; maps (H, W); labels of the maps."""

    photos: Sequence[NDArray[Any]]
    heats: Sequence[NDArray[Any]]
    labels: Sequence[str]


@dataclass(frozen=True)
class Words:
    """Words around maps: the first line, the second, what photo and map are, and notes below."""

    title: str
    facts: Sequence[str]
    labels: tuple[str, str]
    notes: Sequence[str]

    def said(self, room: int) -> list[str]:
        """The notes in lines of at most `room` pixels."""
        return [line for note in self.notes for line in broken(f"Note: {note}", room)]


def add_picture(axes: Axes, colours: NDArray[Any], corner: tuple[float, float]) -> None:
    """Draws colours (H, W, 3) of 0…1, an entry a pixel, with their upper left corner at (left, top)."""
    left, top = corner
    height, width = colours.shape[:2]
    image = PixelImage(axes, extent=(left, left + width, top + height, top), interpolation="none", origin="upper")
    image.set(data=colours)
    axes.add_image(image)


def draw_strip(tiles: Tiles, layout: Layout, heat: Heat, words: Words) -> Figure:
    """Returns a figure: of each map its photo, the map on it and the bare map; or one photo, and the maps beside it."""
    height, width = tiles.photos[0].shape[:2]
    count = len(tiles.heats) + layout.one_photo
    rows = -(-count // layout.columns)
    lines = 2 if layout.one_photo else 3
    step = height + _NARROW
    pitch = lines * step - _NARROW + _BETWEEN
    whole = (rows * pitch - _BETWEEN, layout.columns * (width + _NARROW) - _NARROW)
    room = max(whole[1], _LEAST_ROOM)
    said = words.said(room)
    source, method = words.labels
    names = [] if layout.one_photo else [(source,), (method, f"on the {source}"), (method, "alone")]
    left = MARGIN + (max(width_of(part, 8) for name in names for part in name) + 8 if names else 0)
    figure, axes = page(
        whole, words.title, list(words.facts), left=left, above=14, below=34 + 15 * len(said), right=MARGIN
    )

    def corner(number: int, line: int) -> tuple[int, int]:
        row, column = divmod(number, layout.columns)
        return column * (width + _NARROW), row * pitch + line * step

    for number, photo in enumerate(tiles.photos):
        add_picture(axes, photo / 255, corner(number, 0))
    for number, values in enumerate(tiles.heats):
        photo = tiles.photos[0 if layout.one_photo else number]
        place = number + layout.one_photo
        add_picture(axes, heat.on_photo(photo, values), corner(place, lines - 2))
    for number, values in enumerate(tiles.heats):
        across, down = corner(number + layout.one_photo, lines - 1)
        add_picture(axes, heat.alone(values), (across, down))
        if not values.any() and width_of(ZERO, 9) + 12 <= width:
            write_on_plate(axes, across + width / 2, down + height / 2, ZERO)
    for number, label in enumerate([source, *tiles.labels] if layout.one_photo else tiles.labels):
        across, down = corner(number, 0)
        write(axes, across, down - 5, shortened(label, 8, width), 8, INK)
    for row in range(rows):
        for line, name in enumerate(names):
            middle = row * pitch + line * step + height / 2 - 6 * (len(name) - 1)
            for number, part in enumerate(name):
                write(axes, -8, middle + 12 * number, part, 8, ha="right", va="center_baseline")
    bar = min(whole[1], WIDE)
    heat.draw_bar(axes, whole[1] - bar, whole[0] + 10, bar)
    for number, text in enumerate(said):
        write(axes, 0, whole[0] + 44 + 15 * number, text, 8)
    return figure
