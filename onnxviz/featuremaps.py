"""Captured maps, with what made them; kept in memory or on disk, saved as `.npz` with a manifest."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np

from onnxviz.errors import InputError
from onnxviz.files import replacing
from onnxviz.provenance import Provenance
from onnxviz.weights import Array

# Maps of several batches are kept in memory up to this; beyond, a file costs little and memory stays flat.
KEPT_BYTES = 64 * 2**20


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


def save_arrays(arrays: Mapping[str, Array], path: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Writes `arrays` to an uncompressed `.npz`, piece by piece, and `manifest` as JSON beside it; their paths."""
    if path.suffix.lower() != ".npz":
        raise InputError(f"maps are saved as .npz, not as {path.name}")
    beside = path.with_name(path.name + ".manifest.json")
    with replacing(path) as temporary, replacing(beside) as note:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    _write_npy(file, array)
        note.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return [path, beside]


class MapStore:
    """Collects batches of maps; past a budget they go to files that vanish with the arrays.

    Args:
        memory: bytes that the whole run may take; a quarter of them, but no more than `KEPT_BYTES`, are kept.
        axes: which axis counts the samples, by layer.
    """

    def __init__(self, memory: int, axes: Mapping[str, int]) -> None:
        self.budget = min(memory // 4, KEPT_BYTES)
        self.axes = axes
        self.rows: dict[str, list[int]] = {}
        self._parts: dict[str, list[Array]] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._forms: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._lengths: dict[str, int] = {}
        self._held = 0

    def add(self, maps: Mapping[str, Array], first: int, samples: int) -> None:
        """Appends a batch along the layers' sample axes.

        Args:
            maps: the batch's arrays.
            first: number of its first sample.
            samples: how many samples it has.

        Raises:
            InputError: its maps have another size than those before.
        """
        if self._held > self.budget:  # before the next batch, so that a single one is never copied
            self._spill()
        for name, array in maps.items():
            array = np.atleast_1d(array)
            axis = self.axes[name] if array.ndim > self.axes[name] else 0
            array = np.moveaxis(array, axis, 0)
            mine = self.rows.setdefault(name, [])
            if array.size == 0 and name in self._forms:
                continue  # a branch that this sample did not take
            count = array.shape[0] if array.size else 0
            mine.extend(range(first, first + samples) if count == samples else [first] * count)
            form = (array.shape[1:], array.dtype)
            if self._lengths.get(name) == 0:
                self._forms[name] = form
                self._parts[name].clear()
            before = self._forms.setdefault(name, form)
            if before[0] != form[0]:
                sizes = " and ".join("x".join(map(str, shape)) for shape, _ in (before, form))
                raise InputError(f"inputs of different sizes give '{name}' maps of {sizes}: give --size HxW")
            self._lengths[name] = self._lengths.get(name, 0) + array.shape[0]
            self._parts.setdefault(name, []).append(array)
            self._held += array.nbytes

    def _spill(self) -> None:
        for name, parts in self._parts.items():
            try:
                if parts and name not in self._files:
                    self._files[name] = tempfile.TemporaryFile(prefix="onnxviz-")  # noqa: SIM115 - closed when mapped
                for part in parts:
                    self._files[name].write(np.ascontiguousarray(part).data)
            except OSError as error:
                raise InputError(
                    f"the maps do not fit into memory, and cannot be kept in {tempfile.gettempdir()}: {error.strerror}"
                ) from None
            parts.clear()
        self._held = 0

    def arrays(self) -> dict[str, Array]:
        """All that was added, by layer: (N, C, spatial…)."""
        if self._files:
            self._spill()
        found: dict[str, Array] = {}
        for name, parts in self._parts.items():
            shape, dtype = self._forms[name]
            file = self._files.get(name)
            if not self._lengths[name]:
                found[name] = np.empty((0, *shape), dtype)
            elif file is None:
                found[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
            else:
                with file:  # the map keeps the nameless file alive
                    file.flush()
                    found[name] = np.memmap(file, dtype, "r", shape=(self._lengths[name], *shape))
            if found[name].ndim > self.axes[name]:
                found[name] = np.moveaxis(found[name], 0, self.axes[name])
        return found


def _write_npy(file: IO[bytes], array: Array) -> None:
    """`numpy.save` that copies no more than a piece of the array at a time."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in array if array.ndim else [array]:
        file.write(np.ascontiguousarray(piece).tobytes())
