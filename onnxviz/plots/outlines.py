"""Outlines: boxes, and the part of a picture that a score is of, as thin frames that show on light and on dark."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from onnxviz.plots.has_map import HasMap
from onnxviz.plots.lettering import shortened, width_of
from onnxviz.plots.page import write

# Points of the dark line and of the light one on it: on any ground one of them is seen.
_LINES = (("black", 2.4), ("white", 1.0))
# Pixels from a picture's edge to the middle of a line at least, so that all of it lies on the picture.
_INSIDE = 2
_LABEL = 15


def draw_outlines(
    axes: Axes, explanation: HasMap, corner: tuple[float, float], size: tuple[int, int], *, labelled: bool = False
) -> None:
    """Draws the boxes and the region of an explanation on a picture; of what reaches further, the part inside.

    Args:
        axes: whose unit is the pixel.
        explanation: whose they are.
        corner: (left, top) of the picture.
        size: (height, width) of the picture.
        labelled: whether boxes carry their labels.
    """
    height, width = size
    left, top = corner
    if explanation.region is not None:
        rows, columns = explanation.region.shape
        sides = np.array([list(line) for line in edges_of(explanation.region)]) * [width / columns, height / rows]
        lines = np.array([left, top]) + np.clip(sides, _INSIDE, [width - _INSIDE, height - _INSIDE])
        for colour, thick in _LINES:
            axes.add_collection(LineCollection(list(lines), colors=colour, linewidths=thick, capstyle="projecting"))
    for corners, label in explanation.outlines:
        one, other = (min(max(side * width, _INSIDE), width - _INSIDE) for side in (corners[0], corners[2]))
        high, low = (min(max(side * height, _INSIDE), height - _INSIDE) for side in (corners[1], corners[3]))
        for colour, thick in _LINES:
            box = Rectangle((left + one, top + high), other - one, low - high, fill=False)
            box.set(edgecolor=colour, linewidth=thick)
            axes.add_patch(box)
        if labelled:
            shown = shortened(label, 8, width - 8)
            room = width_of(shown, 8) + 8
            start = left + min(one, max(width - room, 0))
            above = top + (high - _LABEL if high >= _LABEL else high)
            axes.add_patch(Rectangle((start, above), room, _LABEL, facecolor="black", edgecolor="none", alpha=0.75))
            write(axes, start + 4, above + 11, shown, 8, "white")


def edges_of(region: NDArray[Any]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The lines between the cells of a region and others, each as long as it is straight: (x, y) of both ends.

    Args:
        region: (rows, columns) booleans; around them nothing is of the region.
    """
    padded = np.pad(region, 1).astype(np.int8)
    for turned, cells in ((False, padded), (True, padded.T)):
        for place, (before, behind) in enumerate(pairwise(cells)):
            # 1 where the region begins below the line, -1 where it ends there: a line is of one of them
            steps = (behind - before)[1:-1]
            if not steps.any():
                continue
            turns = np.flatnonzero(np.diff(np.concatenate([[0], steps, [0]]))).tolist()
            for start, end in pairwise(turns):
                if steps[start]:
                    ends = ((start, place), (end, place))
                    yield ((place, start), (place, end)) if turned else ends
