"""A plot of a comparison: the signal-to-noise ratio of each layer, in the order in which they run."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.messages import printable
from onnxviz.plots.lettering import shortened, width_of
from onnxviz.plots.page import BROKEN, GREY, INK, LINE, MARGIN, PAPER, page, write

_WIDTH, _ROW = 520, 20
_TALLEST = 30_000  # pixels; rows are thinner where there are more layers, and have no names below the height of a line
_LINE = 11
_FEWEST_DECIBELS = 10.0
_BELOW = "#b5442e"
_SAME = "#a9c3d6"


class HasRatio(Protocol):
    """What `plot_comparison` needs of a layer."""

    @property
    def a(self) -> str:
        """Its name."""

    @property
    def sqnr(self) -> float:
        """In dB; infinite where nothing differs, NaN where values are not finite in one model alone."""


class HasRatios(Protocol):
    """What `plot_comparison` needs of a comparison."""

    @property
    def layers(self) -> Sequence[HasRatio]:
        """In the order in which they run."""

    @property
    def below(self) -> float:
        """The ratio in dB below which a layer is marked."""


@typed
def plot_comparison(comparison: HasRatios, *, title: str | None = None, subtitle: str | None = None) -> Figure:
    """Returns a figure of how far each layer of model B is from A's.

    Args:
        comparison: What `onnxviz.compare` gives.
        title: First line; None: "Layers compared".
        subtitle: Words put before what the second line says.

    Returns:
        Figure: A bar a layer, as long as its signal-to-quantisation-noise ratio in dB, red below the threshold; a pale
            bar of full length where nothing differs, a hatched one where values are not finite in one model alone. Of
            more layers than 2,700 the names are left out.

    Raises:
        InputError: There are no layers.
    """
    layers = comparison.layers
    if not layers:
        raise InputError("there are no layers to draw")
    ratios = np.array([one.sqnr for one in layers], np.float64)
    finite = ratios[np.isfinite(ratios)]
    top = max(float(finite.max(initial=0)), comparison.below, _FEWEST_DECIBELS) * 1.05
    pitch = max(1, min(_ROW, _TALLEST // len(layers)))
    height, thick = len(layers) * pitch, max(1, pitch * 13 // 20)
    named = pitch >= _LINE
    names = [shortened(printable(one.a), 8, 260) if named else "" for one in layers]
    words = [_in_words(ratio) if named else "" for ratio in ratios]
    figure, axes = page(
        (height, _WIDTH),
        title or "Layers compared",
        [
            *([subtitle] if subtitle else []),
            "signal-to-noise ratio of each layer in dB",
            f"dashed: {comparison.below:g} dB, red: below it",
        ],
        left=MARGIN + max(width_of(name, 8) for name in names) + 10,
        above=6,
        below=22,
        right=max(width_of(word, 7.5) for word in words) + 8 + MARGIN,
    )
    for row, (ratio, name, word) in enumerate(zip(ratios, names, words, strict=True)):
        middle = row * pitch + pitch / 2
        corner = (0.0, middle - thick / 2)
        if np.isnan(ratio):
            bar = Rectangle(corner, _WIDTH, thick, facecolor=BROKEN, hatch="////", edgecolor="white", linewidth=0)
        else:
            colour = _SAME if ratio == np.inf else _BELOW if ratio < comparison.below else LINE
            bar = Rectangle(corner, min(_WIDTH, max(1.0, ratio / top * _WIDTH)), thick, facecolor=colour, linewidth=0)
        axes.add_patch(bar)
        write(axes, -8, middle, name, 8, INK, ha="right", va="center_baseline")
        patch = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}  # the dashed line does not go through words
        write(axes, bar.get_width() + 6, middle, word, 7.5, GREY, va="center_baseline", bbox=patch, zorder=4)
    threshold = comparison.below / top * _WIDTH
    if threshold > 0:
        axes.plot([threshold] * 2, [0, height], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=3)
    axes.plot([0, 0], [0, height], color=GREY, linewidth=0.8)
    write(axes, 0, height + 15, "0 dB", 7, ha="center")
    return figure


def _in_words(ratio: float) -> str:
    if np.isnan(ratio):
        return "NaN or infinity in one"
    if np.isinf(ratio):
        return "equal" if ratio > 0 else "zero in A"
    return f"{ratio:.1f}".replace("-", "−")
