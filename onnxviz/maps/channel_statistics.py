"""Statistics of each channel over a data set: kept as `.npz`, merged with another run's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.files import save_arrays
from onnxviz.maps.moments import Moments
from onnxviz.messages import for_reader, printable

FORMAT_VERSION = 1
_HEAD = "onnxviz-statistics"
_QUANTITIES = ("count", "nonfinite", "mean", "deviations", "lowest", "highest", "zeros", "sample")


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """Statistics of one layer's channels; arrays are read-only and (channels,).

    Attributes:
        name: the layer.
        op: its operator.
        tensor: what was looked at.
        rectified: whether its values cannot be negative.
        complete: whether both minima and zeros were computed.
        moments: what was gathered.
        histogram: int64 (channels, bins), see `onnxviz.maps.histogram`; None where it was not asked for.
    """

    name: str
    op: str
    tensor: str
    rectified: bool
    complete: bool
    moments: Moments
    histogram: NDArray[Any] | None = None

    def __repr__(self) -> str:
        return f"LayerStatistics({self.name!r}, {len(self.count)} channels)"

    @property
    def count(self) -> NDArray[Any]:
        """int64, how many values each channel had, NaN and infinite ones too."""
        return self.moments.count

    @property
    def nonfinite(self) -> NDArray[Any]:
        """int64, how many of them were NaN or infinite; all else leaves those out."""
        return self.moments.nonfinite

    @property
    def mean(self) -> NDArray[Any]:
        """float64; NaN where there were no finite values."""
        return np.where(self.count > self.nonfinite, self.moments.mean, np.nan)

    @property
    def var(self) -> NDArray[Any]:
        """float64, the mean of (x - mean)²; NaN where there were no finite values."""
        return self.moments.variance

    @property
    def max(self) -> NDArray[Any]:
        """float64; NaN where there were no finite values."""
        return np.where(np.isfinite(self.moments.highest), self.moments.highest, np.nan)

    @property
    def min(self) -> NDArray[Any]:
        """float64; NaN where there were no finite values, or where the smallest of rectified ones was not computed."""
        lowest = np.where(np.isfinite(self.moments.lowest), self.moments.lowest, np.nan)
        if self.rectified and not self.complete:
            return np.where(self.moments.zeros > 0, 0.0, np.nan)
        return lowest

    @property
    def zeros(self) -> NDArray[Any] | None:
        """int64, how many were 0; None where they were not counted."""
        return self.moments.zeros if self.rectified or self.complete else None

    @property
    def constant(self) -> NDArray[Any]:
        """bool, whether the channel gave one value throughout."""
        constant: NDArray[Any] = (self.moments.deviations == 0) & (self.count > self.nonfinite)
        return constant

    @property
    def whole(self) -> dict[str, float]:
        """mean, deviation (the standard one), lowest and highest over all channels; NaN where there is none."""
        there = (self.count - self.nonfinite).astype(np.float64)
        total = there.sum()
        if not total:
            return dict.fromkeys(("mean", "deviation", "lowest", "highest"), math.nan)
        mean = float((self.moments.mean * there).sum() / total)
        apart = self.moments.deviations + there * (self.moments.mean - mean) ** 2
        known = self.min[np.isfinite(self.min)]
        lowest = float(known.min()) if known.size else math.nan
        highest = float(np.max(self.moments.highest))
        return {"mean": mean, "deviation": math.sqrt(apart.sum() / total), "lowest": lowest, "highest": highest}

    def as_dict(self) -> dict[str, Any]:
        """As JSON types; what is not known is null."""
        zeros = self.zeros
        return {
            "name": self.name, "op": self.op, "tensor": self.tensor, "channels": len(self.count),
            "count": int(self.count.max(initial=0)),
            "min": _listed(self.min), "max": _listed(self.max), "mean": _listed(self.mean), "var": _listed(self.var),
            "zeros": None if zeros is None else [int(one) for one in zeros],
            "nonfinite": [int(one) for one in self.nonfinite],
            **({} if self.histogram is None else {"histogram": self.histogram.tolist()}),
        }  # fmt: skip


def _listed(values: NDArray[Any]) -> list[float | None]:
    return [float(one) if np.isfinite(one) else None for one in values]


class Statistics(Mapping[str, LayerStatistics]):
    """A mapping from layer name to the statistics of its channels over a data set.

    Attributes:
        images: how many samples there were, but for those that failed.
        labels: what messages call the samples that gave a maximum, by number.
        failed: (label, error) of what could not be used.
        head: model, versions, provider and preprocessing, as in every manifest.
        at: "activation" or "conv".
    """

    def __init__(
        self,
        layers: Mapping[str, LayerStatistics],
        images: int,
        labels: Mapping[int, str],
        head: Mapping[str, Any],
        at: str,
        failed: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._layers = dict(layers)
        for layer in self._layers.values():
            for name in _QUANTITIES:
                getattr(layer.moments, name).flags.writeable = False
        self.images = images
        used = {int(one) for layer in self._layers.values() for one in layer.moments.sample}
        self.labels = {number: label for number, label in labels.items() if number in used}
        self.head = dict(head)
        self.at = at
        self.failed = failed

    def __getitem__(self, name: str) -> LayerStatistics:
        """The statistics of the layer called `name`."""
        try:
            return self._layers[name]
        except KeyError:
            raise KeyError(f"no statistics of '{name}'; there are {', '.join(self._layers)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return f"Statistics({len(self)} layers, {self.images} samples, {self.head['model']['path']!r})"

    def top_sample(self, layer: str, channel: int | None = None) -> str:
        """What the sample is called in which a channel, or any of the layer, was highest.

        The first of several, "" where there is none.
        """
        moments = self[layer].moments
        if channel is None:
            channel = int(moments.highest.argmax()) if len(moments.highest) else 0
        return self.labels.get(int(moments.sample[channel]), "") if len(moments.sample) else ""

    def merged(self, later: Statistics) -> Statistics:
        """The statistics over both data sets, `later`'s samples behind these.

        Raises:
            InputError: they are of another model or other layers, or gathered in another way.
        """
        for what, mine, theirs in (
            ("of other models", self.head["model"]["sha256"], later.head["model"]["sha256"]),
            ("of other layers", list(self), list(later)),
            ("at other tensors", [one.tensor for one in self.values()], [one.tensor for one in later.values()]),
            ("of images prepared in other ways", self.head["preprocessing"], later.head["preprocessing"]),
            ("not both complete", [one.complete for one in self.values()], [one.complete for one in later.values()]),
            ("not both with histograms", self._has_histograms, later._has_histograms),
        ):
            if mine != theirs:
                raise InputError(f"statistics {what} cannot be merged: {_short(mine)} and {_short(theirs)}")
        layers = {}
        for name, layer in self.items():
            other = later[name]
            if len(layer.count) != len(other.count):
                raise InputError(f"'{name}' has {len(layer.count)} channels in one and {len(other.count)} in the other")
            moments = layer.moments.part(slice(None))
            moments.add(_moved(other.moments, self.tried))
            counted = layer.histogram
            if counted is not None and other.histogram is not None:
                counted = counted + other.histogram
            layers[name] = LayerStatistics(
                name, layer.op, layer.tensor, layer.rectified, layer.complete, moments, counted
            )
        labels = {**self.labels, **{number + self.tried: label for number, label in later.labels.items()}}
        return Statistics(layers, self.images + later.images, labels, self.head, self.at, (*self.failed, *later.failed))

    @property
    def tried(self) -> int:
        """How many samples there were, those that could not be used too."""
        return self.images + len(self.failed)

    @property
    def _has_histograms(self) -> bool:
        return any(layer.histogram is not None for layer in self.values())

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "version": FORMAT_VERSION,
            "model": self.head["model"]["path"],
            **{key: self.head[key] for key in ("provider", "node_assignment") if key in self.head},
            "images": self.images,
            "at": self.at,
            "layers": [
                {**layer.as_dict(), "top_sample": [self.top_sample(name, c) or None for c in range(len(layer.count))]}
                for name, layer in self.items()
            ],
            "failed": [{"input": label, "error": error} for label, error in self.failed],
        }

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes `path` (`.npz`), which `load` reads, and `NAME.manifest.json` beside it.

        Raises:
            OnnxvizError: it cannot be written; nothing is left half-written.
        """
        return self.write(Path(path))[0]

    def write(self, path: Path) -> list[Path]:
        """As `save`; gives the paths of both files."""
        listed = [
            {"name": one.name, "op": one.op, "tensor": one.tensor, "rectified": one.rectified, "complete": one.complete}
            for one in self.values()
        ]
        manifest = {
            **self.head, "statistics": FORMAT_VERSION, "images": self.images, "at": self.at, "layers": listed,
            "labels": {str(number): label for number, label in sorted(self.labels.items())},
            "failed": [list(one) for one in self.failed],
        }  # fmt: skip
        text = json.dumps(manifest).encode()
        arrays: dict[str, NDArray[Any]] = {_HEAD: np.frombuffer(text, np.uint8)}
        for layer in self.values():
            for name in _QUANTITIES:
                arrays[f"{layer.name}/{name}"] = getattr(layer.moments, name)
            if layer.histogram is not None:
                arrays[f"{layer.name}/histogram"] = layer.histogram
        return save_arrays(arrays, path, manifest)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Statistics:
        """What `save` wrote.

        Raises:
            InputError: there is no such file, or it holds no statistics, broken ones, or those of a later version.
        """
        try:
            with Path(path).open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                if isinstance(archive, np.ndarray) or _HEAD not in archive.files:
                    raise InputError(
                        f"{path} holds no statistics: "
                        f"give a file of {for_reader('onnxviz stats --save', 'Statistics.save')}"
                    )
                manifest = json.loads(archive[_HEAD].tobytes())
                if manifest["statistics"] > FORMAT_VERSION:
                    raise InputError(
                        f"{path} holds statistics of version {manifest['statistics']}, written by a later onnxviz; "
                        f"this one reads version {FORMAT_VERSION}"
                    )
                layers = {entry["name"]: _layer(entry, archive) for entry in manifest["layers"]}
                labels = {int(number): label for number, label in manifest["labels"].items()}
                failed = tuple((str(label), str(error)) for label, error in manifest["failed"])
                head = {key: manifest[key] for key in ("version", "model", "versions", "preprocessing", "provider")}
                head |= {key: manifest[key] for key in ("node_assignment",) if key in manifest}
                return cls(layers, int(manifest["images"]), labels, head, manifest["at"], failed)
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(f"there is no file {path}") from None
        except Exception as error:  # damaged archives raise a dozen kinds
            raise InputError(f"{path} holds broken statistics: {printable(str(error), 200)}") from None


def _layer(entry: Mapping[str, Any], archive: Mapping[str, NDArray[Any]]) -> LayerStatistics:
    name = entry["name"]
    arrays = {quantity: archive[f"{name}/{quantity}"] for quantity in _QUANTITIES}
    channels = len(arrays["count"])
    if any(array.shape != (channels,) or array.dtype.kind not in "if" for array in arrays.values()):
        raise InputError(f"the statistics of '{printable(name)}' have no number for each channel")
    counted = archive.get(f"{name}/histogram")
    flags = bool(entry["rectified"]), bool(entry["complete"])
    return LayerStatistics(name, entry["op"], entry["tensor"], *flags, Moments(**arrays), counted)


def _moved(moments: Moments, by: int) -> Moments:
    """The same of samples that are numbered from `by`."""
    moved = moments.part(slice(None))
    moved.sample = np.where(moved.sample < 0, moved.sample, moved.sample + by)
    return moved


def _short(value: object) -> str:
    return printable(str(value), 80)
