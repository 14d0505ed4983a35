"""A plot of faithfulness: curves of deletion and insertion."""

from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.plots.lettering import rounded, width_of
from onnxviz.plots.mosaic import ValueRange
from onnxviz.plots.page import INK, MARGIN, page, write

CHARTS_HEIGHT = 204
"""Pixels from the top of the charts to their lower edge."""

_WIDTH, _BETWEEN, _HEADER, _HEIGHT = 900, 36, 26, 140
_KINDS = {
    "deletion": "deletion: the map's pixels go first, less is better",
    "insertion": "insertion: the map's pixels come first, more is better",
}
# How a curve is named in the result, and on paper; colour and dashes tell it without the other.
_ORDERS = (
    ("", "this map", "#2f6690", "-"),
    ("random_", "random order", "#6f7377", (0, (4, 2))),
    ("blob_", "centred blob", "#9a5b00", (0, (1, 1.5))),
)


class HasCurves(Protocol):
    """What `plot_faithfulness` needs of a faithfulness."""

    @property
    def shares(self) -> NDArray[Any]:
        """(n,), 0..1."""

    @property
    def deletion(self) -> NDArray[Any]:
        """(n,)."""

    @property
    def insertion(self) -> NDArray[Any]:
        """(n,)."""

    @property
    def random_deletion(self) -> NDArray[Any]:
        """(n,), for pixels in a random order."""

    @property
    def random_insertion(self) -> NDArray[Any]:
        """(n,), for pixels in a random order."""

    @property
    def blob_deletion(self) -> NDArray[Any]:
        """(n,), for pixels from the centre outwards."""

    @property
    def blob_insertion(self) -> NDArray[Any]:
        """(n,), for pixels from the centre outwards."""

    @property
    def deletion_auc(self) -> float:
        """Area under the curve."""

    @property
    def insertion_auc(self) -> float:
        """Area under the curve."""

    @property
    def random_deletion_auc(self) -> float:
        """Area under the curve."""

    @property
    def random_insertion_auc(self) -> float:
        """Area under the curve."""

    @property
    def blob_deletion_auc(self) -> float:
        """Area under the curve."""

    @property
    def blob_insertion_auc(self) -> float:
        """Area under the curve."""

    @property
    def unit(self) -> str:
        """What the curves are of."""


@typed
def plot_faithfulness(curves: HasCurves, *, title: str | None = None, subtitle: str | None = None) -> Figure:
    """Returns a figure of the deletion and the insertion curve (Petsiuk et al. 2018, RISE), and of their baselines.

    Args:
        curves: What `onnxviz.explain_faithfulness` gives.
        title: First line; None: "Deletion and insertion".
        subtitle: Words put before the facts that the second line states.

    Returns:
        Figure: In `figure.axes[0].lines`, after those of the grid of each chart, the map's curve, that of pixels in a
        random order, and that from the centre outwards.
    """
    facts = [*([subtitle] if subtitle else []), f"{curves.unit} of the class, and the area below each curve"]
    figure, axes = page(
        (CHARTS_HEIGHT, _WIDTH), title or "Deletion and insertion", facts, left=MARGIN, above=8, below=0, right=MARGIN
    )
    axes.patch.set_visible(False)
    draw_charts(axes, curves, 0, _WIDTH)
    return figure


def draw_charts(axes: Axes, curves: HasCurves, top: float, width: float) -> None:
    """Draws both charts side by side, `CHARTS_HEIGHT` pixels high.

    Args:
        axes: Whose unit is the pixel.
        curves: What is drawn.
        top: Where the charts begin.
        width: Of both.
    """
    lines = np.concatenate([getattr(curves, f"{which}{kind}") for kind in _KINDS for which, *_ in _ORDERS])
    ends = [0.0, *([1.0] if curves.unit == "probability" else [])]
    window = ValueRange.around(np.append(lines[np.isfinite(lines)], ends))
    half = (width - _BETWEEN) / 2
    for left, kind in zip((0.0, half + _BETWEEN), _KINDS, strict=True):
        _chart(axes, curves, kind, window, left, top, half)


def _chart(axes: Axes, curves: HasCurves, kind: str, window: ValueRange, left: float, top: float, width: float) -> None:
    """Draws the three curves of deletion or insertion, each with its area at its end."""
    ticks = np.linspace(window.low, window.high, 3)
    start = left + max(width_of(rounded(float(tick)), 7.5) for tick in ticks) + 8
    said = {which: f"{name} {rounded(getattr(curves, f'{which}{kind}_auc'))}" for which, name, _, _ in _ORDERS}
    length = left + width - max(width_of(words, 8) for words in said.values()) - 8 - start
    above = top + _HEADER
    write(axes, left, top + 11, _KINDS[kind], 8, INK)
    for tick in ticks:
        place = above + float(1 - window.place(np.array([tick]))[0]) * _HEIGHT
        axes.plot([start, start + length], [place, place], color="white", linewidth=1, zorder=0, clip_on=False)
        write(axes, start - 6, place, rounded(float(tick)), 7.5, ha="right", va="center_baseline")
    for share in (0, 0.5, 1):
        write(axes, start + share * length, above + _HEIGHT + 14, f"{share:.0%}", 7.5, ha="center")
    write(axes, start + length / 2, above + _HEIGHT + 28, "of the pixels", 7.5, ha="center")
    ends: list[tuple[float, str, str]] = []
    for which, _, colour, dashes in _ORDERS:
        line = getattr(curves, f"{which}{kind}")
        places = above + (1 - window.place(line).filled(0)) * _HEIGHT
        axes.plot(
            start + curves.shares * length, places, color=colour, linewidth=1.8 if not which else 1.3,
            linestyle=dashes, clip_on=False, zorder=2 if which else 3,
        )  # fmt: skip
        ends.append((float(places[-1]), said[which], colour))
    last = -np.inf
    lowest = above + _HEIGHT - 13 * (len(ends) - 1)
    for number, (place, words, colour) in enumerate(sorted(ends)):
        last = max(min(place, lowest + 13 * number), last + 13)  # labels neither overlap nor leave the chart
        write(axes, start + length + 8, last, words, 8, colour, va="center_baseline")
