"""Cards: what a model says of one input as pictures side by side and rows of names, numbers and bars beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from onnxviz.plots.lettering import clean, shortened, width_of
from onnxviz.plots.page import GREY, INK, LINE, write
from onnxviz.plots.photos import Photo

# Of a single prediction, and of one among several: pixels of a photo's side, of the words beside it, and of a row.
LARGE, SMALL = (336, 340, 36), (150, 220, 25)
GAP = 24
"""Pixels between pictures, and between a picture and the rows."""

_TRACK = "#d3d4d2"


@dataclass(frozen=True)
class Row:
    """A name, a number, and a bar from one share of its track to another; `colour` is a field before the name."""

    name: str
    value: str
    bar: tuple[float, float] | None = None
    colour: str = ""


@dataclass(frozen=True)
class Card:
    """One prediction: pictures side by side, rows beside them.

    Attributes:
        photos: of the first to the last picture, with the words below each.
        outlines: on the last of them, the best first: corners in its own pixels, words, and a colour.
        rows: what is said.
    """

    photos: list[Photo]
    outlines: list[tuple[tuple[float, float, float, float], str, str]]
    rows: list[Row]

    def size(self, measures: tuple[int, int, int]) -> tuple[int, int]:
        """(height, width) in pixels."""
        side, room, row = measures
        sizes = [photo.size((side, side)) for photo in self.photos]
        words = max((photo.room(side) for photo in self.photos), default=0)
        height = max([one[0] for one in sizes], default=0) + (words + 4 if words else 0)
        width = sum(one[1] + GAP for one in sizes) + (room if self.rows else -GAP)
        return max(height, row * len(self.rows), 1), max(width, 1)

    def draw(self, axes: Axes, left: float, top: float, measures: tuple[int, int, int]) -> None:
        """Draws it with its upper left corner there."""
        side, room, pitch = measures
        for number, photo in enumerate(self.photos):
            height, width = photo.draw(axes, left, top, (side, side))
            photo.write(axes, left, top + height + 2, side)
            if number == len(self.photos) - 1 and photo.pixels is not None:
                self._draw_boxes(axes, (left, top, width, height), photo.pixels.shape, named=pitch == LARGE[2])
            left += width + GAP
        for number, row in enumerate(self.rows):
            _draw_row(axes, left, top + number * pitch, room, pitch, row)

    def _draw_boxes(
        self, axes: Axes, frame: tuple[float, float, float, float], fed: Sequence[int], *, named: bool
    ) -> None:
        """Draws the boxes on a photo of `fed` (height, width) pixels; the best lies over the others."""
        zoom = frame[3] / fed[0], frame[2] / fed[1]
        placed = [_outline(axes, frame, corners, zoom, colour) for corners, _, colour in reversed(self.outlines)]
        if named:
            words = [words for _, words, _ in self.outlines]
            _name_boxes(axes, frame, list(zip(reversed(placed), words, strict=True)))


def _draw_row(axes: Axes, left: float, top: float, room: int, pitch: int, row: Row) -> None:
    """A name with its number at the right, and below both a bar on its track."""
    size, thick = (10, 8) if pitch > 30 else (8, 5)
    start = left
    if row.colour:
        field = Rectangle((left, top + 2), 9, 9, facecolor=row.colour, edgecolor=GREY, linewidth=0.6, clip_on=False)
        axes.add_patch(field)
        start += 15
    value = width_of(row.value, size)
    name = shortened(clean(row.name), size, int(room - value - 12 - (start - left)))
    write(axes, start, top + 11, name, size, INK)
    write(axes, left + room, top + 11, row.value, size, GREY, ha="right")
    if row.bar is not None:
        track = Rectangle((left, top + 16), room, thick, facecolor=_TRACK, edgecolor="none", clip_on=False)
        axes.add_patch(track)
        begin, end = row.bar
        colour = row.colour if row.colour not in ("", "none") else GREY if row.colour else LINE
        bar = Rectangle((left + begin * room, top + 16), (end - begin) * room, thick, facecolor=colour)
        bar.set(edgecolor="none", clip_on=False)
        axes.add_patch(bar)


def _outline(
    axes: Axes, frame: tuple[float, float, float, float], corners: Sequence[float], zoom: Sequence[float], colour: str
) -> tuple[float, float, float, float]:
    """Draws a box on a photo that lies at `frame` (left, top, width, height); what reaches beyond is cut.

    Returns:
        Its corners on the page.
    """
    left, top, width, height = frame
    x0, x1 = (left + min(max(side * zoom[1], 1), width - 1) for side in (corners[0], corners[2]))
    y0, y1 = (top + min(max(side * zoom[0], 1), height - 1) for side in (corners[1], corners[3]))
    for ink, thick in (("black", 3.2), (colour, 1.8)):
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=ink, linewidth=thick))
    return x0, y0, x1, y1


def _name_boxes(
    axes: Axes, frame: tuple[float, float, float, float], named: Sequence[tuple[Sequence[float], str]]
) -> None:
    """Writes words above boxes on a photo, the best first; where they would cover others, below or inside, or not."""
    left, top, width, height = frame
    taken: list[tuple[float, float, float]] = []
    for (x0, y0, _, y1), words in named:
        said = shortened(clean(words), 8, int(width) - 8)
        room = width_of(said, 8) + 8
        start = min(max(x0 - 1, left), left + width - room)
        for above in (y0 - 15, y1, y0):
            free = all(abs(above - other) >= 15 or end <= start or begin >= start + room for other, begin, end in taken)
            if free and top <= above <= top + height - 15:
                taken.append((above, start, start + room))
                field = Rectangle((start, above), room, 15, facecolor="black", edgecolor="none", alpha=0.78)
                axes.add_patch(field)
                write(axes, start + 4, above + 11, said, 8, "white")
                break
