"""Captured maps, with what made them; saved as `.npz` with a manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from onnxviz.files import save_arrays
from onnxviz.provenance import Provenance
from onnxviz.weights import Array


@dataclass(frozen=True)
class Tapped:
    """Where one layer's maps come from.

    Attributes:
        tensor: the tensor's name in the model.
        scope: path of the graph it is in, "" for the main one.
        op: the layer's operator.
        dequantized: whether quantised values were turned into real ones.
        sometimes: whether it is in a branch that need not run; its maps are then empty.
        sample_axis: which axis of the maps counts samples: 0, or 1 for each Loop or Scan around it.
        rows: which sample each entry of that axis belongs to; None where they are the samples in order.
    """

    tensor: str
    scope: str
    op: str
    dequantized: bool
    sometimes: bool
    sample_axis: int = 0
    rows: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Origin:
    """What made some maps.

    Attributes:
        provenance: the model, software and image options.
        at: "activation" or "conv".
        layers: where each layer's maps come from, by layer name.
        samples: a label for each sample, in the order of the maps' sample axis (see `Tapped.rows`).
        failed: (label, error) of the inputs that could not be used.
        moved: by how much the taps moved the model's outputs, None if that was not asked for.
    """

    provenance: Provenance
    at: str
    layers: Mapping[str, Tapped]
    samples: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    moved: Mapping[str, float] | None

    def manifest(self) -> dict[str, Any]:
        """All of it as JSON types; reads the whole model file once for its hash."""
        return {
            **self.provenance.as_dict(),
            "at": self.at,
            "layers": {name: asdict(tapped) for name, tapped in self.layers.items()},
            "samples": list(self.samples),
            "failed": [{"sample": label, "error": error} for label, error in self.failed],
            "verification": None if self.moved is None else dict(self.moved),
        }


class FeatureMaps(Mapping[str, Array]):
    """A mapping from layer name to its maps, (N, C, spatial…), read-only; `origin` says what made them."""

    def __init__(self, arrays: Mapping[str, Array], origin: Origin) -> None:
        self._arrays = dict(arrays)
        for array in self._arrays.values():
            array.flags.writeable = False
        self.origin = origin

    def __getitem__(self, name: str) -> Array:
        """The maps of the layer called `name`."""
        try:
            return self._arrays[name]
        except KeyError:
            raise KeyError(f"no maps of '{name}'; there are {', '.join(self._arrays)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"FeatureMaps({len(self)} layers, {len(self.origin.samples)} samples, {self.provenance.model.label!r})"

    @property
    def provenance(self) -> Provenance:
        """The model, software and image options behind the maps."""
        return self.origin.provenance

    @property
    def samples(self) -> tuple[str, ...]:
        """The labels of what was fed."""
        return self.origin.samples

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """(label, error) of what could not be used."""
        return self.origin.failed

    @property
    def moved(self) -> Mapping[str, float] | None:
        """By how much the taps moved the final outputs (`verify=True`): max_abs_diff, max_rel_diff."""
        return self.origin.moved

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes one array per layer to `path` (`.npz`), and `NAME.manifest.json` beside it.

        Raises:
            OnnxvizError: it cannot be written; nothing is left half-written.
        """
        return self.write(Path(path))[0]

    def write(self, path: Path) -> list[Path]:
        """As `save`; gives the paths of both files."""
        return save_arrays(self._arrays, path, self.origin.manifest())
