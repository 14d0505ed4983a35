"""The page of a figure: title, facts, and axes whose unit is the pixel.

Figures are made without pyplot and leave no global state behind. Everything is placed in pixels: at the figure's own
resolution one entry of an image is one pixel of the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox, IdentityTransform

from onnxviz.plots.lettering import DPI, clean, families, shortened, spelt, weight_of, width_of, wrapped

MARGIN = 16
_NARROWEST = 460
# Pixels of the title and of each line below it, with what stands around both.
_TITLE, _LINE, _AROUND = 20, 15, 10

# The paper is darker than the white middle of a diverging colour map, so that tiles near zero keep their edges.
PAPER, INK, GREY = "#e9eae8", "#1d1f21", "#54585c"
BROKEN, LINE = "#6a00d4", "#2f6690"
SEQUENTIAL, DIVERGING = "gray", "RdBu_r"


class FigurePage(Figure):
    """A figure with a title and captions, which shows itself in notebooks; made by `page`.

    Attributes:
        title: The whole of the first line, also where it is shown shortened.
        heading: The first line as it is shown; None before there is one.
        captions: The lines below it.
        room: Pixels that a line may take.
    """

    title: str = ""
    heading: Text | None = None
    captions: tuple[Text, ...] = ()
    room: int = 0

    @contextmanager
    def reworded(self, title: str | None = None, *, captions: bool = True) -> Iterator[Bbox]:
        """Has another title, or no captions, meanwhile; gives what is left of the figure, in inches.

        Args:
            title: `{}` in it stands for the figure's own; "" for none; None for the figure's own.
            captions: Whether the lines below the title stay.
        """
        heading = self.heading
        if heading is None:
            raise TypeError("this page has no heading: page() makes those that have")
        shown, place = heading.get_text(), heading.get_position()
        lower = 0 if captions else _LINE * len(self.captions)
        alone = title == "" and not (captions and self.captions)
        cut = lower + (_TITLE if title == "" else 0) + (_AROUND if alone else 0)
        try:
            if title is not None:
                own = title.replace("{}", self.title)
                _say(heading, shortened(clean(own), 11, self.room, bold=True), bold=True)
            heading.set_y(place[1] + lower)
            for line in self.captions:
                line.set_visible(captions)
            width, height = self.get_size_inches()
            yield Bbox([[0, 0], [width, height - cut / DPI]])
        finally:
            _say(heading, shown, bold=True)
            heading.set_position(place)
            for line in self.captions:
                line.set_visible(True)

    def _repr_png_(self) -> bytes:
        """The figure as notebooks show it, at its own size."""
        return self._drawn(DPI)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, bytes], dict[str, Any]]:
        """As Jupyter asks for it: with twice the pixels, at the same size, for screens that have them."""
        width, height = (round(side * DPI) for side in self.get_size_inches())
        return {"image/png": self._drawn(2 * DPI)}, {"image/png": {"width": width, "height": height}}

    def _drawn(self, dpi: float) -> bytes:
        file = BytesIO()
        options: dict[str, Any] = {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 2}}
        with mpl.rc_context({"savefig.bbox": None}):
            self.savefig(file, format="png", dpi=dpi, facecolor=self.get_facecolor(), **options)
        return file.getvalue()


def page(
    size: tuple[int, int], title: str, facts: list[str], *, left: int, above: int, below: int, right: int
) -> tuple[FigurePage, Axes]:
    """Returns a figure with its title and facts, and axes of `size` (height, width) pixels in pixel units."""
    height, width = size
    whole = max(left + width + right, _NARROWEST)
    room = whole - 2 * MARGIN
    # A subtitle may be several facts, which are then wrapped one by one.
    parts = [part for fact in facts for part in clean(fact).split(" · ")]
    if any(spelt(words) != words for words in (clean(title), *parts)):
        parts.append("letters that no font here has are spelt out")
    lines = wrapped(parts, room)
    top = MARGIN + _TITLE + _LINE * len(lines) + _AROUND + above
    tall = top + height + below + MARGIN
    figure = FigurePage(figsize=(whole / DPI, tall / DPI), dpi=DPI, facecolor=PAPER, layout=None)
    figure.set_layout_engine("none")  # also where the user's settings ask for automatic margins
    axes = figure.add_axes((left / whole, 1 - (top + height) / tall, width / whole, height / tall))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    shown = shortened(clean(title), 11, room, bold=True)
    figure.title, figure.room = title, room
    figure.heading = write(axes, MARGIN - left, MARGIN + 12 - top, shown, 11, INK, weight="bold")
    figure.captions = tuple(
        write(axes, MARGIN - left, MARGIN + 32 + _LINE * number - top, line, 8.5) for number, line in enumerate(lines)
    )
    return figure, axes


def write(axes: Axes, x: float, y: float, words: str, size: float, color: str = GREY, **options: Any) -> Text:
    """Writes words as they are: no mathtext, no TeX, whatever a layer's name contains; returns what was written."""
    options = {"parse_math": False, "usetex": False, "clip_on": False, **options}
    text = axes.text(x, y, "", fontsize=size, color=color, **options)
    _say(text, words, bold=options.get("weight") == "bold")
    return text


def _say(text: Text, words: str, *, bold: bool) -> None:
    text.set_text(spelt(words))
    text.set(family=families(words), weight=weight_of(words, bold=bold))


class PixelImage(AxesImage):
    """An image that is copied, not resampled, where one entry is a whole number of pixels: a quarter of the time."""

    def make_image(self, renderer: Any, magnification: float = 1.0, unsampled: bool = False) -> Any:
        """Returns (colours, left, bottom, transform), as matplotlib's own method does."""
        values = self.get_array()
        box = self.get_window_extent(renderer)
        left, bottom, width, height = (round(side) for side in box.bounds)
        times = 0 if values is None else round(height / values.shape[0])
        if values is None or unsampled or magnification != 1 or times < 1:
            return super().make_image(renderer, magnification, unsampled)
        if (height, width) != (times * values.shape[0], times * values.shape[1]):
            return super().make_image(renderer, magnification, unsampled)
        colours = self.to_rgba(values, bytes=True)[::-1]
        if times > 1:
            colours = np.ascontiguousarray(colours.repeat(times, axis=0).repeat(times, axis=1))
        return colours, left, bottom, IdentityTransform()


def write_on_plate(axes: Axes, across: float, down: float, words: str) -> None:
    """Writes in white on a dark plate, which shows on any picture, with its middle at that place."""
    room = width_of(words, 9) + 12
    axes.add_patch(Rectangle((across - room / 2, down - 10), room, 20, facecolor="black", edgecolor="none", alpha=0.75))
    write(axes, across, down, words, 9, "white", ha="center", va="center_baseline")
