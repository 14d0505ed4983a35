"""Pictures of findings: the filters of a layer by their norm, dead ones marked, or the maps of its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.finding import Finding
from onnxviz.auditing.trained_weights import TrainedWeight
from onnxviz.errors import OnnxvizError
from onnxviz.inputs.samples import Sample
from onnxviz.maps.channel_statistics import Statistics
from onnxviz.model.layer import Layer
from onnxviz.reports.picture_budget import PageImage
from onnxviz.reports.sample_views import CHANNELS, Viewed
from onnxviz.reports.tiles import filter_tiles, map_tiles

MOST = 6
"""Findings that are illustrated."""
BARS = 256
"""Filters whose norms are drawn."""
_SIDE = 44  # pixels of a tile


@dataclass(frozen=True)
class FilterBar:
    """A filter's norm: its place, its height 0…1, and whether it is marked."""

    filter: int
    height: float
    marked: bool


@dataclass(frozen=True)
class FindingPicture:
    """What illustrates a finding.

    Attributes:
        caption: what is shown.
        bars: norms of filters; none where maps are shown.
        tiles: maps or filters; None where they are too small to be seen, or did not fit.
    """

    caption: str
    bars: tuple[FilterBar, ...] = ()
    tiles: PageImage | None = None


@dataclass
class Illustrator:
    """Draws findings, the first six whose layer can be shown.

    Attributes:
        viewed: the model.
        samples: what was fed; maps are those of the first.
        statistics: over the data; None where there are none.
        weights: of its convolutions and dense layers, as the checks measure them.
    """

    viewed: Viewed
    samples: Sequence[Sample]
    statistics: Statistics | None
    weights: Sequence[TrainedWeight] = ()
    _drawn: int = 0

    def __call__(self, code: str, findings: Sequence[Finding]) -> FindingPicture | None:
        """The picture for the first of a check's findings that names a convolution; None where none does."""
        if self._drawn == MOST or code[0] not in "WA":
            return None
        layers = {layer.name: layer for layer in self.viewed.model.layers if not layer.scope}
        found = next((one for one in findings if (one.layer or one.where) in layers), None)
        if found is None:
            return None
        layer = layers[found.layer or found.where]
        named = {one.channel for one in findings if one.layer == layer.name and one.channel is not None}
        try:
            if code[0] == "A":
                made = self._maps(layer, named)
            else:
                made = self._filters(layer, named | self._dead(layer.name, found))
        except OnnxvizError:
            return None
        self._drawn += made is not None
        return made

    def _dead(self, layer: str, found: Finding) -> set[int]:
        """The filters that the check of dead ones, which names the worst, means by its finding."""
        if found.code != "W02" or found.channel is None or found.threshold is None:
            return set()
        reach = next((one.relative_reach for one in self.weights if one.name == layer), np.empty(0))
        if found.channel >= len(reach) or float(reach[found.channel]) != found.value:
            return set()  # it is about filters of equal weights
        return {int(one) for one in np.flatnonzero(reach < found.threshold)}

    def _filters(self, layer: Layer, named: set[int]) -> FindingPicture | None:
        weight = layer.weight.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.sqrt((weight.reshape(len(weight), -1) ** 2).sum(axis=1))
        finite = np.isfinite(norms)
        most = float(norms[finite].max(initial=0.0)) or 1.0
        marked = ({int(one) for one in np.flatnonzero(~finite)} | named) & set(range(len(norms)))
        bars = tuple(
            FilterBar(number, float(norms[number] / most) if finite[number] else 1.0, number in marked)
            for number in range(min(len(norms), BARS))
        )
        tiles = None
        if weight.ndim == 4 and min(weight.shape[2:]) > 2:
            shown = _shown(marked, np.arange(len(norms)))
            tiles = self.viewed.pictures.add(filter_tiles(weight, shown, _SIDE), f"filters of {layer.name}")
        few = f"the first {len(bars):,} of " if len(bars) < len(norms) else ""
        said = f"; marked: {_listed(marked)}" if marked else ""
        caption = f"{layer.name}, the norms of {few}{len(norms):,} filters{said}"
        return FindingPicture(f"{caption}; below, the marked ones first" if tiles and marked else caption, bars, tiles)

    def _maps(self, layer: Layer, named: set[int]) -> FindingPicture | None:
        known: Mapping[str, Any] = self.statistics or {}
        numbers = known.get(layer.name) if layer.name in known else None
        flagged = set(named)
        order = np.arange(layer.filters or 0)
        if numbers is not None:
            flagged |= {int(one) for one in np.flatnonzero(numbers.constant | (numbers.nonfinite > 0))}
            order = np.argsort(-np.nan_to_num(numbers.var, nan=0.0, posinf=0.0), kind="stable")
        maps = self.viewed.maps_of(layer.name, self.samples[0]) if self.samples else None
        if maps is None or maps.ndim != 3:
            return None
        marked = {one for one in flagged if one < len(maps)}
        shown = _shown(marked, order[order < len(maps)])
        tiles = self.viewed.pictures.add(map_tiles(maps, shown, _SIDE), f"maps of {layer.name}")
        if tiles is None:
            return None
        first = f"first {_listed(marked)}, one value or not finite; then " if marked else ""
        return FindingPicture(f"{layer.name} on {self.samples[0].label}: {first}channels that vary most", (), tiles)


def _shown(marked: set[int], order: NDArray[Any]) -> list[int]:
    """Which tiles are shown: at most eight of those that are marked, then others in order."""
    first = sorted(marked)[: CHANNELS // 2]
    return [*first, *(int(one) for one in order if int(one) not in marked)][:CHANNELS]


def _listed(numbers: set[int]) -> str:
    shown = sorted(numbers)[:12]
    return ", ".join(map(str, shown)) + (" …" if len(numbers) > len(shown) else "")
