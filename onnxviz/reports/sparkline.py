"""Sparklines: the statistics of a layer's channels as two small SVG paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.maps.channel_statistics import LayerStatistics

WIDTH, HEIGHT = 120, 26
"""Of the view box."""
_POINTS = 48


@dataclass(frozen=True)
class Sparkline:
    """A line, and the band around it, as SVG paths in a view box of `WIDTH` by `HEIGHT`.

    Attributes:
        line: the means of the channels, the smallest first.
        band: from the mean less a standard deviation to the mean and one more.
        bars: an x for each channel that is constant, where it is drawn in another colour.
    """

    line: str
    band: str
    bars: tuple[float, ...]


def sparkline(layer: LayerStatistics) -> Sparkline | None:
    """The channels of a layer side by side, the smallest mean first, on the layer's own scale; None without numbers.

    Of more than 48 channels as many are drawn, evenly spaced.
    """
    mean, deviation = layer.mean, np.sqrt(layer.var)
    there = np.flatnonzero(np.isfinite(mean) & np.isfinite(deviation))
    if not there.size:
        return None
    order = there[np.argsort(mean[there], kind="stable")]
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), _POINTS)).round().astype(int))]
    low, high = mean[shown] - deviation[shown], mean[shown] + deviation[shown]
    least, most = float(low.min()), float(high.max())
    x = np.linspace(1, WIDTH - 1, len(shown)) if len(shown) > 1 else np.array([1.0, WIDTH - 1.0])
    if len(shown) == 1:
        shown, low, high = (np.repeat(one, 2) for one in (shown, low, high))

    def heights(values: NDArray[Any]) -> NDArray[Any]:
        placed = (values - least) / (most - least) if most > least else np.full(len(values), 0.5)
        return np.asarray(HEIGHT - 2 - placed * (HEIGHT - 4))

    line = _path(x, heights(mean[shown]))
    band = f"{_path(x, heights(high))}L{_path(x[::-1], heights(low)[::-1])[1:]}Z"
    constant = layer.constant
    bars = tuple(round(float(at), 1) for at, channel in zip(x, shown, strict=True) if constant[channel])
    return Sparkline(line, band, bars)


def _path(x: Sequence[float] | NDArray[Any], y: NDArray[Any]) -> str:
    return "M" + "L".join(f"{across:.1f} {down:.1f}" for across, down in zip(x, y, strict=True))
