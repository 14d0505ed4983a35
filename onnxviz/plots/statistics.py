"""A plot of statistics: each layer a row, its channels side by side, the smallest mean first."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.messages import printable
from onnxviz.plots.lettering import rounded, shortened, width_of
from onnxviz.plots.mosaic import ValueRange
from onnxviz.plots.page import BROKEN, GREY, INK, LINE, MARGIN, page, write

_WIDTH, _ROW, _BAND = 520, 58, 40
_SPREAD = "#a9c3d6"
_DEAD = "#b5442e"


class HasChannels(Protocol):
    """What `plot_statistics` needs of a layer's statistics; arrays are (channels,)."""

    @property
    def mean(self) -> NDArray[Any]:
        """Of each channel."""

    @property
    def var(self) -> NDArray[Any]:
        """Of each channel."""

    @property
    def zeros(self) -> NDArray[Any] | None:
        """How many values were 0; None where they were not counted."""

    @property
    def count(self) -> NDArray[Any]:
        """How many values there were."""

    @property
    def nonfinite(self) -> NDArray[Any]:
        """How many were NaN or infinite."""

    @property
    def constant(self) -> NDArray[Any]:
        """bool, whether all values were the same."""


@typed
def plot_statistics(
    layers: Mapping[str, HasChannels], *, title: str | None = None, subtitle: str | None = None
) -> Figure:
    """Returns a figure of means and spreads of all channels.

    Args:
        layers: What `onnxviz.statistics` gives.
        title: First line; None: "Channels".
        subtitle: Words put before what the second line says.

    Returns:
        Figure: For each layer a line of the means, in ascending order, over a band of one standard deviation on either
            side; channels that gave one value throughout are marked below, those with NaN or infinity hatched.
    """
    names = {name: shortened(printable(name), 8, 170) for name in layers}
    left = MARGIN + max((width_of(name, 8) for name in names.values()), default=0) + 62
    facts = {name: _facts(layer) for name, layer in layers.items()}
    right = max((width_of(fact, 7.5) for pair in facts.values() for fact in pair), default=0) + 14 + MARGIN
    key = "line: mean of each channel, smallest first; band: one standard deviation; red: one value throughout"
    figure, axes = page(
        (max(1, len(layers)) * _ROW - (_ROW - _BAND), _WIDTH),
        title or "Channels",
        [*([subtitle] if subtitle else []), key],
        left=left,
        above=4,
        below=10,
        right=right,
    )
    axes.patch.set_visible(False)
    for row, (name, layer) in enumerate(layers.items()):
        top = row * _ROW
        order = np.argsort(layer.mean, kind="stable")  # NaN last
        mean, spread = layer.mean[order], np.sqrt(layer.var[order])
        edges = np.concatenate([mean - spread, mean + spread])
        window = ValueRange.around(np.append(edges[np.isfinite(edges)], 0.0))

        def height(values: NDArray[Any], window: ValueRange = window, top: int = top) -> NDArray[Any]:
            placed: NDArray[Any] = top + (1 - window.place(values).filled(0)) * _BAND
            return placed

        steps = np.linspace(0, _WIDTH, len(mean) + 1)
        zero = float(height(np.zeros(1))[0])
        axes.plot([0, _WIDTH], [zero, zero], color="white", linewidth=1, zorder=0)
        low, high, middle = height(mean - spread), height(mean + spread), height(mean)
        axes.fill_between(steps, _held(low), _held(high), step="post", color=_SPREAD, linewidth=0, zorder=1)
        axes.plot(steps, _held(middle), drawstyle="steps-post", color=LINE, linewidth=1.3, zorder=2)
        for flags, colour in ((layer.constant[order], _DEAD), (layer.nonfinite[order] > 0, BROKEN)):
            first = steps[:-1][flags]
            last = np.maximum(steps[1:][flags], first + 1)
            axes.hlines(np.full(len(first), top + _BAND + 4), first, last, colour, linewidth=3, zorder=3)
        write(axes, -62, top + _BAND / 2, names[name], 8, INK, ha="right", va="center_baseline")
        for value, end in ((window.high, top), (window.low, top + _BAND)):
            write(axes, -8, end, rounded(value), 7, GREY, ha="right", va="center_baseline")
        for line, fact in enumerate(facts[name]):
            write(axes, _WIDTH + 10, top + 12 + 15 * line, fact, 7.5, GREY, va="center_baseline")
    return figure


def _held(values: NDArray[Any]) -> NDArray[Any]:
    """With the last one again, so that its step is as wide as the others."""
    return np.append(values, values[-1:])


def _facts(layer: HasChannels) -> tuple[str, str]:
    """What stands beside a row: how many channels, how many gave one value, how many values were zero."""
    constant, broken = int(layer.constant.sum()), int((layer.nonfinite > 0).sum())
    first = f"{len(layer.count):,} channels"
    if constant:
        first += f", {constant:,} of one value"
    second = []
    if layer.zeros is not None:
        second.append(f"{layer.zeros.sum() / max(1, layer.count.sum()):.0%} zeros")
    if broken:
        second.append(f"{broken:,} with NaN or infinity")
    return first, ", ".join(second)
