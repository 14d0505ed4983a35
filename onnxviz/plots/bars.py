"""Bar plots: one number a channel."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from onnxviz.plots.lettering import rounded, width_of
from onnxviz.plots.mosaic import ValueRange, count_flaws, flaw, label_step
from onnxviz.plots.page import BROKEN, GREY, LINE, MARGIN, page, write
from onnxviz.plots.photos import Panel, Photo


def draw_bars(
    values: NDArray[Any], chosen: list[int], title: str, facts: list[str], photo: Photo | None = None
) -> Figure:
    """Returns a figure of one number a channel, as bars from zero.

    Args:
        values: (C,) numbers; what is not finite gets a hatched bar of full height.
        chosen: Channels to show, one bar each.
        title: First line.
        facts: What the second line says.
        photo: Drawn to the left; None for none.
    """
    shown = values[chosen]
    height, pitch = 220, max(1, min(28, 1200 // len(chosen)))
    width = pitch * len(chosen)
    window = ValueRange.around(np.append(np.where(np.isfinite(shown), shown, 0), 0.0))
    flaws = [flaw(shown[place : place + 1]) for place in range(len(chosen))]
    ends = [rounded(end) for end in (window.high, window.low)]
    panel = Panel(photo)
    left = MARGIN + panel.width + max(width_of(end, 7) for end in ends) + 8
    figure, axes = page(
        (height, width),
        title,
        [*facts, f"values {ends[1]} to {ends[0]}, no unit", *count_flaws(flaws)],
        left=left,
        above=8,
        below=panel.below(height, 22),
        right=MARGIN,
    )
    panel.draw(axes, left)
    tops = (1 - window.place(shown).filled(1)) * height
    zero = float(1 - window.place(np.zeros(1))[0]) * height
    for place, top in enumerate(tops):
        bar = Rectangle((place * pitch, min(zero, top)), max(1, pitch - 2), abs(zero - top), facecolor=LINE)
        if flaws[place]:
            bar = Rectangle((place * pitch, 0), max(1, pitch - 2), height, facecolor=BROKEN, hatch="////")
            bar.set(edgecolor="white", linewidth=0)
        axes.add_patch(bar)
    axes.plot([0, width], [zero, zero], color=GREY, linewidth=0.8)
    for label, end in zip(ends, (0, height), strict=True):
        write(axes, -8, end, label, 7, ha="right", va="center_baseline")
    labels = [str(number) for number in chosen]
    for place in range(0, len(labels), label_step(labels, pitch, max(width_of(label, 7) for label in labels) + 5)):
        write(axes, place * pitch + pitch / 2 - 1, height + 15, labels[place], 7, ha="center")
    return figure
