"""Feature maps of several layers, with their provenance; saved as `.npz` with a manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from onnxviz.errors import SelectionError
from onnxviz.files import save_arrays
from onnxviz.inputs.given import Given
from onnxviz.inputs.provenance import Provenance
from onnxviz.maps.finite import NotFinite
from onnxviz.maps.origin import MapsOrigin


class FeatureMaps(Mapping[str, NDArray[Any]]):
    """A mapping from layer name to its maps, (N, C, spatial…), read-only; `origin` says what made them."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], origin: MapsOrigin, given: Sequence[Given] = ()) -> None:
        self._arrays = dict(arrays)
        for array in self._arrays.values():
            array.flags.writeable = False
        self.origin = origin
        self._given = tuple(given)

    def __getitem__(self, name: str) -> NDArray[Any]:
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

    def photo(self, sample: int = 0) -> NDArray[Any] | None:
        """What the model was given, (H, W, 3) uint8, after it was fitted and cropped; None where it is no picture.

        Args:
            sample: which of `samples`, from 0.

        Raises:
            SelectionError: there is no such sample.
        """
        if not 0 <= sample < len(self.samples):
            raise SelectionError(f"there is no input {sample}; there are {len(self.samples)}, counted from 0")
        return self._given[sample].picture() if sample < len(self._given) else None

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """(label, error) of what could not be used."""
        return self.origin.failed

    @property
    def observer_effect(self) -> Mapping[str, float] | None:
        """By how much the taps moved the final outputs (`verify=True`): max_abs_diff, max_rel_diff."""
        return self.origin.observer_effect

    @property
    def not_finite(self) -> tuple[NotFinite, ...]:
        """Where they, or what was fed, hold NaN or infinity, in the order of the graph: it begins in the first."""
        return self.origin.not_finite

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes one array per layer to `path` (`.npz`), and `NAME.manifest.json` beside it.

        Raises:
            OnnxvizError: it cannot be written; nothing is left half-written.
        """
        return self.write(Path(path))[0]

    def write(self, path: Path) -> list[Path]:
        """As `save`; gives the paths of both files."""
        return save_arrays(self._arrays, path, self.origin.manifest())
