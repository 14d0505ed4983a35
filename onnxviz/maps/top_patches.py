"""Top patches: for each filter of a layer, the image regions that excite it most.

(Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, 2014, section 4.) The largest value of each
channel, and where it is, are found inside the model; of each filter only the best few are kept, so memory does not
grow with the number of images. One region an image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError, OnnxvizError, SelectionError
from onnxviz.inputs.failures import Progress, nothing_usable
from onnxviz.inputs.image_bands import Fit, resized_picture
from onnxviz.inputs.picture_ports import is_picture
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.sample_picture import sample_picture
from onnxviz.inputs.samples import Feeds, ImageOptions, InputLike, Sample, Size, samples
from onnxviz.maps.finite import FiniteWatch, NotFinite
from onnxviz.maps.receptive.field import ReceptiveField
from onnxviz.messages import for_reader
from onnxviz.model.layer import Layer, TapKind
from onnxviz.model.model import Model, Source, load
from onnxviz.passes.peaks import with_peaks
from onnxviz.runtime.batching import DEFAULT_MEMORY, Batching
from onnxviz.runtime.session import RunOptions, Session

# Of a crop where it reaches beyond the picture.
_GREY = 214


@dataclass(frozen=True, eq=False)
class PatchPictures:
    """The pictures of top patches.

    Attributes:
        crops: (filters, N, height, width, 3) uint8: the regions.
        photos: by sample, an index into `TopPatches.labels`: the picture that a region is from, (H, W, 3) uint8.
    """

    crops: NDArray[Any]
    photos: dict[int, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class TopPatches:
    """What excites the filters of one layer most; arrays are read-only, the best first.

    Attributes:
        layer: the layer's name.
        tensor: its tensor.
        values: (C, N) float32: the activations; -inf where there were fewer than N images.
        samples: (C, N): which sample each is in, an index into `labels`; -1 where there is none.
        positions: (C, N, spatial): where in the layer.
        labels: of all samples.
        size: how many pixels a unit of the layer sees, (height, width).
        provenance: the model, software and image options.
    """

    layer: str
    tensor: str
    values: NDArray[Any]
    samples: NDArray[Any]
    positions: NDArray[Any]
    labels: tuple[str, ...]
    size: tuple[int, ...]
    provenance: Provenance
    _pictures: Callable[[int], NDArray[Any]] = field(repr=False)
    _fields: Callable[[int], ReceptiveField] = field(repr=False)

    def __post_init__(self) -> None:
        for array in (self.values, self.samples, self.positions):
            array.flags.writeable = False

    def __repr__(self) -> str:
        filters, count = self.values.shape
        return f"TopPatches({self.layer!r}, {filters} filters, {count} of {len(self.labels)} images each)"

    def box(self, channel: int, rank: int) -> tuple[tuple[int, int], ...]:
        """First and last pixel, along each axis, of what the unit sees; it may reach beyond the picture."""
        found = self._fields(int(self.samples[channel, rank]))
        return found.at(self.positions[channel, rank], beyond=True)

    def framed(self, channel: int, rank: int) -> tuple[float, float, float, float]:
        """What the unit sees, as shares of the picture: (left, top, right, bottom); beyond it below 0 or above 1."""
        height, width = self._fields(int(self.samples[channel, rank])).picture
        (top, bottom), (left, right) = self.box(channel, rank)
        return left / width, top / height, (right + 1) / width, (bottom + 1) / height

    def crops(self, channels: Sequence[int] | None = None) -> NDArray[Any]:
        """The regions as pictures, (filters, N, height, width, 3) uint8; see `pictures`."""
        return self.pictures(channels).crops

    def pictures(self, channels: Sequence[int] | None = None, longest: int = 0) -> PatchPictures:
        """The regions, and the pictures that they are from, as the model is given them.

        Images are read again, each once. What lies beyond a picture, where the model sees padding, is grey, and so
        is a region that there is not: there were too few images, or nothing excited the filter.

        Args:
            channels: which filters; None for all.
            longest: pixels that a picture has at most along its longer side; 0 for all of them.

        Raises:
            SelectionError: there is no such filter.
            InputError: an image is gone.
        """
        chosen = list(range(len(self.values)) if channels is None else channels)
        for channel in chosen:
            if not 0 <= channel < len(self.values):
                raise SelectionError(
                    f"'{self.layer}' has no filter {channel}; there are {len(self.values)}, 0 to {len(self.values) - 1}"
                )
        wanted = self.samples[chosen]
        found = np.full((*wanted.shape, *self.canvas, 3), _GREY, np.uint8)
        photos = {}
        for sample in sorted(set(wanted[wanted >= 0].tolist())):
            picture = self._pictures(sample)
            for row, rank in np.argwhere(wanted == sample):
                if self.excited(chosen[row], rank):
                    _cut(picture, self.box(chosen[row], rank), found[row, rank])
            factor = longest / max(picture.shape[:2]) if longest else 1
            if factor < 1:
                height, width = (max(1, round(factor * side)) for side in picture.shape[:2])
                picture = resized_picture(picture, (height, width))
            photos[sample] = picture
        return PatchPictures(found, photos)

    def excited(self, channel: int, rank: int) -> bool:
        """Whether there is a region, and it excites the filter: a Relu that stays 0 everywhere was not excited."""
        return bool(self.samples[channel, rank] >= 0 and self.values[channel, rank] != 0)

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the crops: what a unit sees, but no more than the picture."""
        picture = self._fields(_any(self.samples)).picture
        height, width = (min(seen, side) for seen, side in zip(self.size, picture, strict=True))
        return height, width

    def as_dict(self, channels: Sequence[int] | None = None) -> dict[str, Any]:
        """What is known of these filters, or of all, as JSON types."""
        return {
            "layer": self.layer,
            "tensor": self.tensor,
            "receptive_field": list(self.size),
            "filters": {
                str(channel): [
                    {
                        "input": self.labels[sample],
                        "activation": float(value),
                        "position": position.tolist(),
                        "pixels": [list(span) for span in self.box(channel, rank)],
                    }
                    for rank, (value, sample, position) in enumerate(
                        zip(self.values[channel], self.samples[channel], self.positions[channel], strict=True)
                    )
                    if sample >= 0
                ]
                for channel in (range(len(self.values)) if channels is None else channels)
            },
        }


@typed
def top_patches(
    model: Source,
    x: InputLike,
    *,
    layers: str | int | Sequence[str | int] = "last",
    count: int = 9,
    at: TapKind = "activation",
    preprocess: str | Preprocessing = "auto",
    size: Size | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    memory: int = DEFAULT_MEMORY,
    threads: int = 0,
    errors: Literal["raise", "skip"] = "raise",
    progress: Progress | None = None,
) -> dict[str, TopPatches]:
    """For each filter of each layer, the `count` image regions that excite it most.

    Args:
        model: an opened model, or what `load` opens.
        x: images; see `onnxviz.inputs.samples.samples`.
        layers: a selection of convolutions; see `onnxviz.model.selection.select`.
        count: regions a filter; no more than one of each image.
        at: "activation" or "conv"; see `onnxviz.capture`.
        preprocess: what is done to images.
        size: (height, width) of images where the model leaves it open.
        fit: "stretch" (None) or "crop".
        background: colour behind transparent pixels; None for white.
        provider: an execution provider of onnxruntime by its short name, as "cpu", "cuda",
            "openvino:device_type=CPU"; there is no fallback from one that cannot start.
        memory: bytes that the batch may take where the model insists on one, about.
        threads: of onnxruntime; 0 for its own choice.
        errors: "raise" at the first input that fails, or "skip" it.
        progress: called with (samples done, samples in all).

    Returns:
        By layer name.

    Raises:
        OnnxvizError: model, selection or input cannot be used.
    """
    opened = load(model)
    images = ImageOptions.of(opened, preprocess, size, fit, background)
    given = samples(opened, x, images)
    options = RunOptions(provider, memory, threads)
    search = Search(opened, given, images, opened.select(layers), count, at, options)
    return search.run(errors=errors, progress=progress)


def takes_pictures(model: Model) -> bool:
    """Whether patches can be cut from what a model is given."""
    return any(len(port.layout) == 4 for port in model.inputs)


class Search:
    """Runs samples one after the other and keeps the best.

    Args:
        model: the model.
        given: the samples.
        images: how image files are read.
        layers: whose filters.
        count, at: as for `top_patches`.
        options: how the model is run.

    Attributes:
        failed: (label, error) of the samples that were skipped.
        found: what `run` found, by layer; nothing before.
        provenance: the model, software and image options.
    """

    def __init__(
        self,
        model: Model,
        given: Sequence[Sample],
        images: ImageOptions,
        layers: Sequence[Layer],
        count: int,
        at: TapKind,
        options: RunOptions,
    ) -> None:
        if count < 1:
            raise InputError(f"{count} patches a filter cannot be shown; give 1 or more")
        if not takes_pictures(model):
            maps = for_reader("leave out --top-patches, which draws its maps", "capture gives its maps")
            raise InputError(f"{model.label} takes no pictures, of which patches are parts; {maps}")
        for layer in layers:
            if layer.graph_scope.name:
                raise SelectionError(f"layer '{layer.name}' is inside {layer.scope}; patches need the main graph")
        images.check_heeded(model, given)
        self.model = model
        self.given = given
        self.images = images
        self.layers = layers
        self.count = count
        self.at: TapKind = at
        self.provenance = Provenance(model, options, images if any(sample.photo for sample in given) else None)
        self.failed: list[tuple[str, str]] = []
        self.found: dict[str, TopPatches] = {}
        self.watch = FiniteWatch()
        self._tensors = [layer.taps[at] for layer in layers]
        proto, self._outputs = with_peaks(model, self._tensors)
        self._session = Session.of(model, proto, options)
        self.batching = Batching.of(model, options.memory, needed=self._session.inputs)
        self._sizes: dict[int, dict[str, tuple[int, ...]]] = {}
        self._fields: dict[tuple[object, ...], ReceptiveField] = {}

    def run(self, *, errors: str = "raise", progress: Progress | None = None) -> dict[str, TopPatches]:
        """The best of all samples, by layer; arguments as for `top_patches`."""
        best: dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}
        labels = [sample.label for sample in self.given]
        done, last = 0, dict[str, tuple[int, ...]]()
        for number, sample in enumerate(self.given):
            try:
                feeds = self._feeds(sample.read())
                values = self._session.run(self._outputs, feeds)
                sizes = {name: array.shape for name, array in feeds.items()}
                self._sizes[number] = last = sizes if sizes != last else last
                for place, layer in enumerate(self.layers):
                    peaks, places, shape, marks = values[4 * place : 4 * place + 4]
                    if len(peaks) != self.batching.count(feeds):
                        raise InputError(
                            f"layer '{layer.name}' has {len(peaks)} entries for a sample, as the model puts views, "
                            "frames or several inputs into one batch: patches are cut from one picture; draw maps"
                        )
                    self.watch.see("layer", layer.name, marks, [sample.label])
                    # The largest of NaN and other values is whatever comes of the order in which they are compared.
                    peaks = np.where(np.isnan(marks), np.nan, peaks)
                    best[layer.name] = self._merged(best.get(layer.name), number, peaks, places, shape, layer.name)
                done += 1
            except OnnxvizError as error:
                if errors == "raise":
                    raise
                self.failed.append((sample.label, str(error)))
            if progress is not None:
                progress(number + 1, len(self.given))
        if not done:
            raise nothing_usable(self.failed)
        self.found = {
            layer.name: self._result(layer.name, tensor, labels, *best[layer.name])
            for layer, tensor in zip(self.layers, self._tensors, strict=True)
        }
        return self.found

    @property
    def not_finite(self) -> tuple[NotFinite, ...]:
        """Of which layers a channel's largest value was NaN or infinite, in the order of the graph."""
        return self.watch.found([layer.name for layer in self.layers])

    def _result(
        self, name: str, tensor: str, labels: list[str], values: NDArray[Any], which: NDArray[Any], at: NDArray[Any]
    ) -> TopPatches:
        def seen(sample: int) -> ReceptiveField:
            sizes = self._sizes.get(sample) or next(iter(self._sizes.values()))  # where no sample has a finite value
            key = (tensor, tuple(sorted(sizes.items())))
            if key not in self._fields:
                self._fields[key] = ReceptiveField(self.model, tensor, sizes)
            return self._fields[key]

        size = seen(_any(which)).size
        return TopPatches(name, tensor, values, which, at, tuple(labels), size, self.provenance, self._picture, seen)

    def _feeds(self, feeds: Feeds) -> Feeds:
        """What is run of a sample, as often as the model insists on."""
        return self.batching.padded(self._session.own(feeds))

    def _merged(
        self,
        before: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None,
        sample: int,
        peaks: NDArray[Any],
        places: NDArray[Any],
        shape: NDArray[Any],
        name: str,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The best so far and one more sample's peaks, (rows, C), of which the best row counts."""
        spatial = tuple(int(side) for side in shape[2:])
        if not spatial:
            raise SelectionError(f"layer '{name}' has no positions; choose a convolution")
        peaks = np.where(np.isfinite(peaks), peaks, -np.inf)
        row = peaks.argmax(axis=0)
        value = peaks.max(axis=0).astype(np.float32)
        flat = np.take_along_axis(places, row[None], 0)[0]
        position = np.stack(np.unravel_index(flat, spatial), axis=-1)
        if before is None:
            channels = len(value)
            before = (
                np.full((channels, self.count), -np.inf, np.float32),
                np.full((channels, self.count), -1),
                np.zeros((channels, self.count, len(spatial)), np.int64),
            )
        fresh = value[:, None], np.where(np.isfinite(value), sample, -1)[:, None], position[:, None]
        values, which, at = (np.concatenate(pair, axis=1) for pair in zip(before, fresh, strict=True))
        order = np.argsort(-values, axis=1, kind="stable")[:, : self.count]
        return (
            np.take_along_axis(values, order, 1),
            np.take_along_axis(which, order, 1),
            np.take_along_axis(at, order[..., None], 1),
        )

    def _picture(self, sample: int) -> NDArray[Any]:
        """One sample as the model sees it, before preprocessing: (H, W, 3) uint8."""
        given = self.given[sample]
        port = next(filter(is_picture, self.model.inputs), None)
        if port is None or port.channel_axis is None:
            raise InputError(f"{self.model.label} takes no images: patches cannot be cut")
        return sample_picture(given.read()[port.name][0], port.channel_axis, given.photo, self.images)


def _any(samples: NDArray[Any]) -> int:
    """One of the samples that there are; -1 where there is none."""
    there = samples[samples >= 0]
    return int(there.flat[0]) if there.size else -1


def _cut(picture: NDArray[Any], box: Sequence[tuple[int, int]], canvas: NDArray[Any]) -> None:
    """Lays what of the picture is in the box on the canvas, centred where one is larger than the other."""
    own, there = [], []
    for (first, last), side, room in zip(box, picture.shape, canvas.shape, strict=False):
        if room == side:  # a unit sees more than the picture: the picture is shown
            first = 0
        else:
            first += (last - first + 1 - room) // 2
        start, stop = max(first, 0), min(first + room, side)
        own.append(slice(start, stop))
        there.append(slice(start - first, stop - first))
    canvas[tuple(there)] = picture[tuple(own)]
