"""Colour bars: which value has which colour, as a strip with its least and its greatest value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from onnxviz.plots.lettering import rounded, width_of
from onnxviz.plots.mosaic import ValueRange
from onnxviz.plots.page import GREY, PixelImage, write

BAR_HEIGHT = 10
"""Pixels from the top of a colour bar to its lower edge."""

ROOM_FOR_BAR = 26
"""Pixels that a page keeps below its pictures for a colour bar and the space above it."""

_SIZE, _SPACE = 7.5, 6


@dataclass(frozen=True)
class ColourBar:
    """Which values have which colours.

    Attributes:
        window: the values of the two ends.
        cmap: name of a matplotlib colour map.
        unit: written behind the greatest value.
        beyond: whether there are values below the least and above the greatest, which have the colours of the ends.
        paint: makes of values 0…1, (H, W), the colours (H, W, 3) that the picture has there, where they are not the
            colour map's own, as those of a map laid on a photo.
    """

    window: ValueRange
    cmap: str
    unit: str = ""
    beyond: tuple[bool, bool] = (False, False)
    paint: Callable[[NDArray[Any]], NDArray[Any]] | None = None

    def draw(self, axes: Axes, left: float, top: float, width: float) -> PixelImage:
        """Draws the bar between its two numbers, with a tick at zero where zero lies inside, and returns the strip.

        Args:
            axes: whose unit is the pixel, as those of `onnxviz.plots.page.page`.
            left: where it begins.
            top: where it begins.
            width: pixels that it takes, numbers and unit included.

        Returns:
            PixelImage: `get_extent()` is where it lies; the colours of `paint`, or (10, pixels) of 0…1.
        """
        low = ("≤ " if self.beyond[0] else "") + rounded(self.window.low)
        high = ("≥ " if self.beyond[1] else "") + rounded(self.window.high) + (f" {self.unit}" if self.unit else "")
        start = left + width_of(low, _SIZE) + _SPACE
        length = max(round(left + width - width_of(high, _SIZE) - _SPACE - start), 2)
        ramp = np.linspace(0, 1, length)[None].repeat(BAR_HEIGHT, 0)
        extent = (start, start + length, top + BAR_HEIGHT, top)
        strip = PixelImage(axes, cmap=self.cmap, extent=extent, interpolation="none", origin="upper")
        strip.set(data=ramp if self.paint is None else self.paint(ramp), clim=(0, 1), clip_on=False)
        axes.add_image(strip)
        write(axes, left, top + BAR_HEIGHT - 1, low, _SIZE)
        write(axes, start + length + _SPACE, top + BAR_HEIGHT - 1, high, _SIZE)
        if self.window.low < 0 < self.window.high:
            zero = start + length * float(self.window.place(np.zeros(1))[0])
            tick = (top + BAR_HEIGHT, top + BAR_HEIGHT + 3)
            axes.plot([zero, zero], tick, color=GREY, linewidth=0.8, clip_on=False)
            write(axes, zero, top + BAR_HEIGHT + 12, "0", _SIZE - 1, ha="center")
        return strip
