"""Photos in figures: the picture that a model was given, at a size that fits, with its name and the model's answer."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from onnxviz.errors import InputError
from onnxviz.plots.lettering import broken, clean, shortened, width_of
from onnxviz.plots.mosaic import Grid, area_mean
from onnxviz.plots.page import GREY, INK, MARGIN, PixelImage, write

LINE_HEIGHT = 12
"""Pixels from one line below a photo to the next."""

SIZE = 8
"""Of the letters of a name and an answer."""

_NONE = "#dcdddb"
_LINES = 2
# Of a panel: the photo's longer side, the least room for words, the space behind.
_SIDE, _LEAST, _SPACE = 208, 130, 20
# The most room for words beside the photo of a row.
_BESIDE = 150
# From this enlargement on pixels are repeated, below it they are interpolated.
_WHOLE = 3


@dataclass(frozen=True)
class Photo:
    """What a model was given, and what it says of it.

    Attributes:
        pixels: (H, W, 3) uint8; None where the input is no picture.
        name: of the input.
        answer: of the model, in a few words; "" where there is none.
    """

    pixels: NDArray[Any] | None = None
    name: str = ""
    answer: str = ""

    @classmethod
    def of(cls, pixels: ArrayLike | None, name: str = "", answer: str = "") -> "Photo":
        """A photo whose pixels are checked.

        Raises:
            InputError: they are not (H, W, 3) or (H, W), uint8.
        """
        if pixels is None:
            return cls(None, name, answer)
        array = np.asarray(pixels)
        if array.ndim == 2:
            array = np.repeat(array[..., None], 3, axis=2)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
            raise InputError(f"a photo is (height, width, 3) in uint8, not {array.shape} of {array.dtype}")
        return cls(array, name, answer)

    def size(self, box: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in pixels that it takes in a box (height, width); the box's own where it has no pixels.

        It fills the box, but one that is enlarged three times or more a whole number of times, so that its pixels show.
        """
        if self.pixels is None:
            return box
        height, width = self.pixels.shape[:2]
        factor = min(box[0] / height, box[1] / width)
        factor = int(factor) if factor >= _WHOLE else factor
        return max(1, round(height * factor)), max(1, round(width * factor))

    def reduced(self, box: tuple[int, int]) -> "Photo":
        """The same, with no more pixels than a figure shows in such a box."""
        if self.pixels is None or all(own <= new for own, new in zip(self.pixels.shape, self.size(box), strict=False)):
            return self
        whole = np.ma.MaskedArray(self.pixels, mask=np.zeros(self.pixels.shape, bool))
        return replace(self, pixels=np.asarray(area_mean(whole, *self.size(box)).filled(0)))

    def draw(self, axes: Axes, left: float, top: float, box: tuple[int, int]) -> tuple[int, int]:
        """Draws it into a box (height, width) with its upper left corner there; an empty field where it has no pixels.

        Returns:
            (height, width) that it takes.
        """
        height, width = self.size(box)
        if self.pixels is None:
            field = Rectangle((left, top), width, height, facecolor=_NONE, edgecolor="none", clip_on=False)
            axes.add_patch(field)
            return height, width
        shown = self.reduced(box).pixels
        assert shown is not None
        smooth = "bilinear" if shown.shape[0] < height < _WHOLE * shown.shape[0] else "none"
        image = PixelImage(axes, extent=(left, left + width, top + height, top), interpolation=smooth, origin="upper")
        image.set(data=shown, clip_on=False)
        axes.add_image(image)
        return height, width

    def write(self, axes: Axes, left: float, top: float, room: int, **options: Any) -> int:
        """Writes name and answer below each other, each in at most two lines of `room` pixels; the pixels they take."""
        down = 0
        for words, colour in ((self.name, INK), (self.answer, GREY)):
            for line in lines_of(words, room):
                down += LINE_HEIGHT
                write(axes, left, top + down, line, SIZE, colour, **options)
        return down

    def room(self, room: int) -> int:
        """The pixels that `write` takes."""
        return LINE_HEIGHT * sum(len(lines_of(words, room)) for words in (self.name, self.answer))


@dataclass(frozen=True)
class Panel:
    """A photo to the left of everything else, with its name below it.

    Attributes:
        photo: what is drawn; None for no panel.
    """

    photo: Photo | None

    @property
    def width(self) -> int:
        """Pixels that it takes, with the space behind it."""
        return 0 if self.photo is None else self._size[1] + _SPACE

    @property
    def _size(self) -> tuple[int, int]:
        """(height, width) of the picture and the words below it."""
        assert self.photo is not None
        height, width = (0, 0) if self.photo.pixels is None else self.photo.size((_SIDE, _SIDE))
        width = max(width, _LEAST)
        return height + self.photo.room(width) + (4 if height else 0), width

    def below(self, height: int, below: int, top: int = 0) -> int:
        """Pixels below the axes of that height, where there are to be `below`: more, where the panel is higher.

        Args:
            height: of the axes.
            below: what else is below them.
            top: where the panel begins, down from the top of the axes.
        """
        return below if self.photo is None else max(below, self._size[0] + top - height)

    def draw(self, axes: Axes, left: int, top: int = 0) -> None:
        """Draws it on a page whose axes begin `left` pixels behind its left edge."""
        if self.photo is None:
            return
        start = MARGIN - left
        down = 0 if self.photo.pixels is None else self.photo.draw(axes, start, top, (_SIDE, _SIDE))[0] + 2
        self.photo.write(axes, start, top + down, self._size[1])


@dataclass(frozen=True)
class Heads:
    """Photos at the beginning of each row, or above each column, of the tiles of a grid.

    Attributes:
        rows: one before each row, its words beside it; or none.
        columns: one above each column, its words above it; or none.
        grid: where the tiles lie.
    """

    rows: list[Photo]
    columns: list[Photo]
    grid: Grid

    @property
    def left(self) -> int:
        """Pixels before the rows."""
        return 0 if not self.rows else self.grid.tile[0] + 8 + self._beside + 12

    @property
    def _beside(self) -> int:
        """Pixels of the words beside a photo."""
        return narrowest(self.rows, _BESIDE)

    @property
    def above(self) -> int:
        """Pixels above the columns."""
        if not self.columns:
            return 0
        return self._side + 8 + max(photo.room(self.grid.tile[1]) for photo in self.columns)

    @property
    def _side(self) -> int:
        """Pixels of the longer side of a photo above a column."""
        return self.grid.tile[1] if any(photo.pixels is not None for photo in self.columns) else 0

    def draw(self, axes: Axes, left: int) -> None:
        """Draws them beside and above axes; those of rows begin `left` pixels before them."""
        height, width = self.grid.tile
        for number, photo in enumerate(self.rows):
            top = self.grid.corner(number * self.grid.columns)[0]
            photo.draw(axes, -left, top, (height, height))
            photo.write(axes, height + 8 - left, top, self._beside)
        for number, photo in enumerate(self.columns):
            across = self.grid.corner(number)[1]
            if self._side:
                photo.draw(axes, across, -self.above, (self._side, width))
            photo.write(axes, across, self._side - self.above, width)


def lines_of(words: str, room: int, most: int = _LINES) -> list[str]:
    """Words in at most that many lines of `room` pixels; of what does not fit the middle is left out."""
    if not words:
        return []
    lines = broken(clean(words), room)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [shortened(line, SIZE, room) for line in lines]


def narrowest(photos: list[Photo], most: int) -> int:
    """The pixels that the widest words of these photos take, 60 or more, but at most that many."""
    widest = max((width_of(clean(words), SIZE) for photo in photos for words in (photo.name, photo.answer)), default=0)
    return min(max(widest + 2, 60), most)
