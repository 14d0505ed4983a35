"""The page of a figure: title, facts, and axes whose unit is the pixel.

Figures are made without pyplot and leave no global state behind. Everything is placed in pixels: at the figure's own
resolution one entry of an image is one pixel of the file.
"""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.transforms import IdentityTransform

from onnxviz.plots.lettering import DPI, FONT, clean, shortened, wrapped

MARGIN = 16
_NARROWEST = 460

# The paper is darker than the white middle of a diverging colour map, so that tiles near zero keep their edges.
PAPER, INK, GREY = "#e9eae8", "#1d1f21", "#54585c"
BROKEN, LINE = "#d4007f", "#2f6690"
SEQUENTIAL, DIVERGING = "gray", "RdBu_r"


def page(
    size: tuple[int, int], title: str, facts: list[str], *, left: int, above: int, below: int, right: int
) -> tuple[Figure, Axes]:
    """Returns a figure with its two lines of text, and axes of `size` (height, width) pixels in pixel units."""
    height, width = size
    whole = max(left + width + right, _NARROWEST)
    room = whole - left - MARGIN
    # A subtitle may be several facts, which are then wrapped one by one.
    lines = wrapped([part for fact in facts for part in clean(fact).split(" · ")], room)
    top = MARGIN + 20 + 15 * len(lines) + 10 + above
    tall = top + height + below + MARGIN
    figure = Figure(figsize=(whole / DPI, tall / DPI), dpi=DPI, facecolor=PAPER, layout=None)
    figure.set_layout_engine("none")  # also where the user's settings ask for automatic margins
    axes = figure.add_axes((left / whole, 1 - (top + height) / tall, width / whole, height / tall))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    write(axes, 0, MARGIN + 12 - top, shortened(clean(title), 11, room, bold=True), 11, INK, weight="bold")
    for number, line in enumerate(lines):
        write(axes, 0, MARGIN + 32 + 15 * number - top, line, 8.5)
    return figure, axes


def write(axes: Axes, x: float, y: float, words: str, size: float, color: str = GREY, **options: Any) -> None:
    """Writes words as they are: no mathtext, no TeX, whatever a layer's name contains."""
    options = {"parse_math": False, "usetex": False, "family": FONT, "clip_on": False, **options}
    axes.text(x, y, words, fontsize=size, color=color, **options)


class PixelImage(AxesImage):
    """An image that is copied, not resampled, where one entry is one pixel of the canvas: a quarter of the time."""

    def make_image(self, renderer: Any, magnification: float = 1.0, unsampled: bool = False) -> Any:
        """Returns (colours, left, bottom, transform), as matplotlib's own method does."""
        values = self.get_array()
        box = self.get_window_extent(renderer)
        left, bottom, width, height = (round(side) for side in box.bounds)
        if values is None or unsampled or magnification != 1 or (height, width) != values.shape[:2]:
            return super().make_image(renderer, magnification, unsampled)
        return self.to_rgba(values, bytes=True)[::-1], left, bottom, IdentityTransform()
