"""A plot of the sanity check: maps of models with randomised weights."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.plots.lettering import shortened, width_of
from onnxviz.plots.mosaic import ValueRange
from onnxviz.plots.sheet import Sheet, draw

# Pixels over a map that its label must do with.
_ROOM = 180


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
    def map(self) -> NDArray[Any]:
        """(H, W)."""


class HasStages(Protocol):
    """What `plot_sanity` needs of a sanity check."""

    @property
    def true(self) -> NDArray[Any]:
        """(H, W), the map of the model as it is."""

    @property
    def stages(self) -> Sequence[HasStage]:
        """From the top layer down."""

    @property
    def findings(self) -> Sequence[str]:
        """In words."""


@typed
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
        labels.append(shortened(f"to {stage.layer}", 7, _ROOM - width_of(value, 7)) + value)
    sheet = Sheet(
        pictures=(ValueRange(0.0, float(heat.max())).place(heat) for heat in maps),
        shape=(maps[0].shape[0], maps[0].shape[1]),
        columns=min(len(maps), 5),
        marks=[""] * len(maps),
        tile_labels=labels,
        largest=(220, 220),
        facts=[
            *([subtitle] if subtitle else []),
            *sanity.findings,
            "each map on its own scale",
            "ρ: rank correlation with the model's own map",
        ],
        cmap=cmap,
    )
    return draw(sheet, title, "Random weights from the top down")
