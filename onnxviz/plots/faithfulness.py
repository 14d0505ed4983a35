"""A plot of faithfulness: curves of deletion and insertion."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.plots.lettering import rounded, width_of
from onnxviz.plots.mosaic import ValueRange
from onnxviz.plots.page import MARGIN, page, write

_LINES = ("#2f6690", "#b5442e", "#8a8d90")


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
    def deletion_auc(self) -> float:
        """Area under the curve."""

    @property
    def insertion_auc(self) -> float:
        """Area under the curve."""

    @property
    def random_deletion_auc(self) -> float:
        """The same for pixels in a random order."""

    @property
    def random_insertion_auc(self) -> float:
        """The same for pixels in a random order."""

    @property
    def unit(self) -> str:
        """What the curves are of."""


@typed
def plot_faithfulness(curves: HasCurves, *, title: str | None = None, subtitle: str | None = None) -> Figure:
    """Returns a figure of the deletion and the insertion curve (Petsiuk et al. 2018, RISE).

    Args:
        curves: What `onnxviz.explain_faithfulness` gives.
        title: First line; None: "Deletion and insertion".
        subtitle: Words put before the facts that the second line states.

    Returns:
        Figure: One line each in `figure.axes[0].lines`, after those of the grid.
    """
    areas = (
        f"deletion: area {rounded(curves.deletion_auc)}, random order {rounded(curves.random_deletion_auc)}",
        f"insertion: area {rounded(curves.insertion_auc)}, random order {rounded(curves.random_insertion_auc)}",
    )
    return draw_curves(
        [("deletion", curves.shares, curves.deletion), ("insertion", curves.shares, curves.insertion)],
        title=title or "Deletion and insertion",
        facts=[*([subtitle] if subtitle else []), *areas],
        across="share of the pixels, in the order of the map",
        up=curves.unit,
        top=1.0 if curves.unit == "probability" else None,
    )


def draw_curves(
    curves: Sequence[tuple[str, NDArray[Any], NDArray[Any]]],
    *,
    title: str,
    facts: Sequence[str],
    across: str,
    up: str,
    top: float | None = None,
) -> Figure:
    """Returns a figure of lines, each labelled at its end.

    Args:
        curves: (label, (n,) across 0…1, (n,) up).
        title: First line.
        facts: What the second line says.
        across: What the axis across is.
        up: What the other is.
        top: The other's upper end; None: the largest value.
    """
    height, width = 260, 460
    values = np.concatenate([line for _, _, line in curves])
    window = ValueRange.around(np.append(values[np.isfinite(values)], [0.0, *([top] if top else [])]))
    ticks = np.linspace(window.low, window.high, 5)
    margin = max(width_of(rounded(float(tick)), 7.5) for tick in ticks)
    side = max(width_of(label, 8) for label, _, _ in curves)
    figure, axes = page(
        (height, width), title, list(facts), left=MARGIN + margin + 10, above=22, below=40, right=side + 14 + MARGIN
    )
    axes.patch.set_visible(False)
    for tick in ticks:
        place = float(1 - window.place(np.array([tick]))[0]) * height
        axes.plot([0, width], [place, place], color="white", linewidth=1, zorder=0)
        write(axes, -8, place, rounded(float(tick)), 7.5, ha="right", va="center_baseline")
    for share in (0, 0.25, 0.5, 0.75, 1):
        write(axes, share * width, height + 16, f"{share:.0%}", 7.5, ha="center")
    write(axes, width / 2, height + 33, across, 8, ha="center")
    write(axes, -margin - 8, -10, up, 8)
    ends: list[tuple[float, str, str]] = []
    for (label, where, line), colour in zip(curves, _LINES, strict=False):
        places = (1 - window.place(line).filled(0)) * height
        axes.plot(where * width, places, color=colour, linewidth=1.8, clip_on=False)
        ends.append((float(places[-1]), label, colour))
    last = -np.inf
    for place, label, colour in sorted(ends):
        last = max(place, last + 13)  # labels do not overlap
        write(axes, width + 8, last, label, 8, colour, va="center_baseline")
    return figure
