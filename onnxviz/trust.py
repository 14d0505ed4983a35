"""How far an explanation can be trusted, as matplotlib figures: curves, and maps of a model that forgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from onnxviz.mosaic import Array, Window
from onnxviz.sheet import _MARGIN, Sheet, _number, _page, _shortened, _text, _width, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Pixels over a map that its label must do with.
_ROOM = 180
_LINES = ("#2f6690", "#b5442e", "#8a8d90")


class HasCurves(Protocol):
    """What `plot_faithfulness` needs."""

    @property
    def shares(self) -> Array:
        """(n,), 0..1."""

    @property
    def deletion(self) -> Array:
        """(n,)."""

    @property
    def insertion(self) -> Array:
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
        f"deletion: area {_number(curves.deletion_auc)}, random order {_number(curves.random_deletion_auc)}",
        f"insertion: area {_number(curves.insertion_auc)}, random order {_number(curves.random_insertion_auc)}",
    )
    return draw_curves(
        [("deletion", curves.shares, curves.deletion), ("insertion", curves.shares, curves.insertion)],
        title=title or "Deletion and insertion",
        facts=[*([subtitle] if subtitle else []), *areas],
        across="share of the pixels, in the order of the map",
        up=curves.unit,
        top=1.0 if curves.unit == "probability" else None,
    )


class HasStage(Protocol):
    """One stage of a cascade of random weights."""

    @property
    def layer(self) -> str:
        """The last layer that was randomised."""

    @property
    def rank_correlation(self) -> float:
        """With the true map."""

    @property
    def ssim(self) -> float:
        """With the true map."""

    @property
    def map(self) -> Array:
        """(H, W)."""


class HasStages(Protocol):
    """What `plot_sanity` needs."""

    @property
    def true(self) -> Array:
        """(H, W), the map of the model as it is."""

    @property
    def stages(self) -> Sequence[HasStage]:
        """From the top layer down."""

    @property
    def verdict(self) -> str:
        """In words."""


def plot_sanity(
    sanity: HasStages, *, title: str | None = None, subtitle: str | None = None, cmap: str = "inferno"
) -> Figure:
    """Returns a figure of the map of a model, and of the same model with more and more of its weights random.

    Args:
        sanity: What `onnxviz.explain_sanity` gives.
        title: First line; None: "Random weights from the top down".
        subtitle: Words put before the facts that the second line states.
        cmap: matplotlib colour map.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic; each map, of absolute values, has its own range.
    """
    maps = [np.abs(sanity.true), *(np.abs(stage.map) for stage in sanity.stages)]
    labels = ["the model"]
    for stage in sanity.stages:
        value = f": ρ {stage.rank_correlation:.2f}"
        labels.append(_shortened(f"to {stage.layer}", 7, _ROOM - _width(value, 7)) + value)
    sheet = Sheet(
        pictures=(Window(0.0, float(heat.max())).place(heat) for heat in maps),
        shape=(maps[0].shape[0], maps[0].shape[1]),
        columns=min(len(maps), 5),
        marks=[""] * len(maps),
        tile_labels=labels,
        largest=(220, 220),
        facts=[
            *([subtitle] if subtitle else []),
            sanity.verdict,
            "each map on its own scale",
            "ρ: rank correlation with the model's own map",
        ],
        cmap=cmap,
    )
    return draw(sheet, title, "Random weights from the top down")


def draw_curves(
    curves: Sequence[tuple[str, Array, Array]],
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
    window = Window.around(np.append(values[np.isfinite(values)], [0.0, *([top] if top else [])]))
    ticks = np.linspace(window.low, window.high, 5)
    margin = max(_width(_number(float(tick)), 7.5) for tick in ticks)
    side = max(_width(label, 8) for label, _, _ in curves)
    figure, axes = _page(
        (height, width), title, list(facts), left=_MARGIN + margin + 10, above=22, below=40, right=side + 14 + _MARGIN
    )
    axes.patch.set_visible(False)
    for tick in ticks:
        place = float(1 - window.place(np.array([tick]))[0]) * height
        axes.plot([0, width], [place, place], color="white", linewidth=1, zorder=0)
        _text(axes, -8, place, _number(float(tick)), 7.5, ha="right", va="center_baseline")
    for share in (0, 0.25, 0.5, 0.75, 1):
        _text(axes, share * width, height + 16, f"{share:.0%}", 7.5, ha="center")
    _text(axes, width / 2, height + 33, across, 8, ha="center")
    _text(axes, -margin - 8, -10, up, 8)
    ends: list[tuple[float, str, str]] = []
    for (label, where, line), colour in zip(curves, _LINES, strict=False):
        places = (1 - window.place(line).filled(0)) * height
        axes.plot(where * width, places, color=colour, linewidth=1.8, clip_on=False)
        ends.append((float(places[-1]), label, colour))
    last = -np.inf
    for place, label, colour in sorted(ends):
        last = max(place, last + 13)  # labels do not overlap
        _text(axes, width + 8, last, label, 8, colour, va="center_baseline")
    return figure
