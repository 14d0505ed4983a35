"""Views of samples: each input's picture, its feature maps, and where the model looks on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, OnnxvizError, SelectionError
from onnxviz.explanations.explainer import Explainer, ScoreChoice
from onnxviz.explanations.explanation import Explanation
from onnxviz.inputs.picture_ports import is_picture
from onnxviz.inputs.sample_picture import sample_picture
from onnxviz.inputs.samples import ImageOptions, Sample
from onnxviz.maps.capture import capture
from onnxviz.maps.channel_statistics import Statistics
from onnxviz.maps.feature_maps import FeatureMaps
from onnxviz.model.model import Model
from onnxviz.plots import overlays
from onnxviz.plots.mosaic import spread
from onnxviz.reports.picture_budget import PageImage, PictureBudget
from onnxviz.reports.tiles import map_tiles
from onnxviz.reports.time_budget import TimeBudget
from onnxviz.runtime.session import RunOptions

LAYERS, CHANNELS = 5, 16
"""How many layers a page shows maps of, and of how many channels."""
_TILE = 56  # pixels of a map's longer side
_PHOTO = 280  # of a photo's
_METHOD = "grad-cam"


@dataclass(frozen=True)
class MapTiles:
    """Maps of one layer: its name, the channels that are shown, all there are, and the picture."""

    layer: str
    channels: tuple[int, ...]
    count: int
    picture: PageImage


@dataclass(frozen=True)
class ExplainedView:
    """An explanation on a page: what it is of, the facts, the map on its photo, and what is to be said against it."""

    explanation: Explanation
    pictures: Sequence[tuple[PageImage, PageImage]]

    @property
    def outlines(self) -> list[tuple[float, float, float, float]]:
        """The boxes to draw: (left, top, right, bottom) as shares of the picture."""
        return [corners for corners, _ in self.explanation.outlines]


@dataclass
class SampleView:
    """One input.

    Attributes:
        label: what it is called.
        explained: where the model looks; None where there is no explanation.
        maps: of some layers.
    """

    label: str
    explained: ExplainedView | None = None
    maps: list[MapTiles] = field(default_factory=list)


@dataclass(frozen=True)
class Viewed:
    """A model whose samples are shown.

    Attributes:
        model: the model.
        images: how image files are prepared.
        options: where it runs.
        labels: names of its classes, in place of its own.
        pictures: the room for pictures.
        time: the room for everything.
    """

    model: Model
    images: ImageOptions
    options: RunOptions
    labels: Sequence[str] | None
    pictures: PictureBudget
    time: TimeBudget

    def photo(self, sample: Sample, longest: int) -> NDArray[Any] | None:
        """The picture of a sample, (H, W, 3) uint8; None where its input is none."""
        ports = [port for port in self.model.inputs if is_picture(port)]
        if not ports:
            return None
        try:
            array = sample.read()[ports[0].name][0]
            path = sample.path if len(self.model.inputs) == 1 else ""
            return sample_picture(array, ports[0].channel_axis, path, self.images, longest)
        except (OnnxvizError, KeyError):
            return None

    def explained(self, samples: Sequence[Sample]) -> Iterator[ExplainedView]:
        """The explanation of each sample, by grad-cam.

        Raises:
            OnnxvizError: the model has no scores of classes or no gradient, or the time is spent.
        """
        explainer = Explainer(
            self.model, _METHOD, ScoreChoice(labels=self.labels),
            running=RunOptions(self.options.provider, self.options.memory, self.options.threads),
        )  # fmt: skip
        for sample in self._in_time("explanations", samples):
            for one in explainer.each([sample], self.images):
                pairs = []
                for photo, heat in overlays(one, _PHOTO):
                    what = f"{one.sample}, {one.title}"
                    before = self.pictures.add(photo, f"photo {one.sample}", "webp")
                    behind = self.pictures.add(heat, f"{_METHOD} on {what}", "webp")
                    if before is not None and behind is not None:
                        pairs.append((before, behind))
                yield ExplainedView(one, pairs)
                break  # of a sample of several rows the first

    def maps(self, samples: Sequence[Sample], statistics: Statistics | None) -> Iterator[list[MapTiles]]:
        """Maps of some layers for each sample: the channels that vary most over the data, the same for all samples.

        Raises:
            OnnxvizError: there is no layer with maps, the model does not run, or the time is spent.
        """
        names = self._layers()
        chosen: dict[str, tuple[int, ...]] = {}
        for sample in self._in_time("maps", samples):
            found = self._captured(names, sample)
            made = []
            for name, arrays in found.items():
                if arrays.ndim != 4 or not len(arrays):
                    continue
                maps = arrays[0]
                channels = chosen.setdefault(name, _varying(maps, name, statistics))
                what = f"maps of {name} for {sample.label}"
                tiles = map_tiles(maps, channels, _TILE)
                picture = self.pictures.add(tiles, what, zoom=max(1, round(_TILE / max(maps.shape[1:]))))
                if picture is not None:
                    made.append(MapTiles(name, channels, len(maps), picture))
            yield made

    def _in_time(self, part: str, samples: Sequence[Sample]) -> Iterator[Sample]:
        """The samples, as long as another is likely to fit, as the last did.

        Raises:
            OutOfTimeError: the next does not.
        """
        last = 0.0
        for sample in samples:
            self.time.check(part, last)
            begun = self.time.clock()
            yield sample
            last = self.time.clock() - begun

    def maps_of(self, layer: str, sample: Sample) -> NDArray[Any] | None:
        """The maps of one layer, (C, spatial…), of a sample's first row; None where it has none.

        Raises:
            OnnxvizError: the model does not run.
        """
        found = self._captured([layer], sample)[layer]
        return found[0] if len(found) else None

    def _captured(self, layers: Sequence[str], sample: Sample) -> FeatureMaps:
        asked = self.images.asked if self._by_path(sample) else {}
        given: Any = sample.path if self._by_path(sample) else sample.read()
        return capture(
            self.model, given, layers=layers, provider=self.options.provider, threads=self.options.threads,
            memory=self.options.memory, **asked,
        )  # fmt: skip

    def _by_path(self, sample: Sample) -> bool:
        return bool(sample.path) and len(self.model.inputs) == 1

    def _layers(self) -> list[str]:
        """The layers before each change of size, at most five; where sizes are open, some evenly spaced."""
        there = [layer for layer in self.model.layers if not layer.scope and len(layer.kernel or ()) == 2]
        if not there:
            raise InputError("the model has no two-dimensional convolution in its main graph")
        try:
            names = [layer.name for layer in self.model.select("block-ends")]
        except SelectionError:
            names = [layer.name for layer in there]
        inside = {layer.name for layer in there}
        names = [name for name in names if name in inside] or [there[0].name]
        return [names[place] for place in spread(len(names), LAYERS)]


def _varying(maps: NDArray[Any], name: str, statistics: Statistics | None) -> tuple[int, ...]:
    """The channels with the largest variance, in their order: over the data, or else in these maps (C, H, W)."""
    known: Mapping[str, Any] = statistics or {}
    if name in known and len(known[name].var) == len(maps):
        spreads = known[name].var
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            spreads = maps.reshape(len(maps), -1).astype(np.float64).var(axis=1)
    ranked = np.argsort(-np.where(np.isfinite(spreads), spreads, -math.inf), kind="stable")[:CHANNELS]
    return tuple(sorted(int(one) for one in ranked))
