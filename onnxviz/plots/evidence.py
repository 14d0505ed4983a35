"""Evidence below an explanation: what became of its checks, the curves of faithfulness, and maps of random weights."""

from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from onnxviz.plots.faithfulness import CHARTS_HEIGHT, HasCurves, draw_charts
from onnxviz.plots.lettering import broken, shortened, width_of
from onnxviz.plots.mosaic import ValueRange, area_mean
from onnxviz.plots.page import INK, PixelImage, write
from onnxviz.plots.sanity import HasStages

LEAST_ROOM = 640
"""Pixels across that evidence needs."""

_LINE, _ABOVE, _GAP, _LABEL = 15, 18, 6, 14
# Pixels along a map of random weights at most.
_MAP = 120


class HasEvidence(HasStages, Protocol):
    """What `Evidence` needs of a sanity check."""

    @property
    def faithfulness(self) -> HasCurves:
        """The curves of the map."""


class Evidence:
    """What speaks for and against a map.

    Args:
        sanity: What `onnxviz.explain_sanity` gives.
        room: Pixels across.
        cmap: Name of a matplotlib colour map, of maps of sizes.
    """

    def __init__(self, sanity: HasEvidence, room: int, cmap: str) -> None:
        self._sanity, self._room, self._cmap = sanity, room, cmap
        self._said = [line for one in sanity.findings for line in broken(one[:1].upper() + one[1:], room)]
        self._maps = [sanity.true, *(stage.map for stage in sanity.stages)] if sanity.true.ndim == 2 else []
        count = max(len(self._maps), 1)
        self._side = min(_MAP, (room - _GAP * (count - 1)) // count)

    @property
    def height(self) -> int:
        """Pixels that it takes."""
        maps = _ABOVE + _LABEL + self._side if self._maps else 0
        return _ABOVE + _LINE * len(self._said) + 8 + CHARTS_HEIGHT + maps

    def draw(self, axes: Axes, top: int) -> None:
        """Draws it `top` pixels down on axes whose unit is the pixel."""
        place = top + _ABOVE
        for number, line in enumerate(self._said):
            write(axes, 0, place + _LINE * number, line, 8, INK)
        place += _LINE * len(self._said) + 8
        draw_charts(axes, self._sanity.faithfulness, place, self._room)
        if not self._maps:
            return
        place += CHARTS_HEIGHT + _ABOVE
        write(axes, 0, place, "the map with the weights of more and more layers random, each on its own scale", 8, INK)
        labels = [("the map itself", "")]
        labels += [(f"to {stage.layer}", f" ρ {stage.rank_correlation:.2f}") for stage in self._sanity.stages]
        for number, ((name, value), heat) in enumerate(zip(labels, self._maps, strict=True)):
            left = number * (self._side + _GAP)
            room = self._side - width_of(value, 6.5)
            write(axes, left, place + _LABEL, shortened(name, 6.5, room) + value.replace("-", "−"), 6.5)
            self._map(axes, np.abs(heat), left, place + _LABEL + 4)

    def _map(self, axes: Axes, heat: Any, left: int, top: int) -> None:
        placed = ValueRange(0.0, float(heat.max())).place(heat)
        small = area_mean(placed, min(self._side, heat.shape[0]), min(self._side, heat.shape[1])).filled(0)
        height = round(self._side * min(1.0, heat.shape[0] / heat.shape[1]))
        width = round(self._side * min(1.0, heat.shape[1] / heat.shape[0]))
        image = PixelImage(axes, extent=(left, left + width, top + height, top), interpolation="none", origin="upper")
        image.set(data=mpl.colormaps[self._cmap](small)[..., :3], clip_on=False)
        axes.add_image(image)
