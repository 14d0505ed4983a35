"""Baselines: what is kept of released models, so that a later version can be held against them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.filter_sketch import sketch_size
from onnxviz.auditing.image_properties import ImageProperties
from onnxviz.auditing.interface import Interface
from onnxviz.auditing.layer_record import LayerRecords
from onnxviz.auditing.since_baseline import KeptFindings
from onnxviz.errors import InputError
from onnxviz.files import replacing
from onnxviz.messages import for_reader, printable

FORMAT_VERSION = 1
_HEAD = "baseline.json"
_LARGEST = 2**30  # bytes that an archive may unpack to
_NAMED = 6


@dataclass(frozen=True)
class SilentChannels:
    """Channels of layers that were 0 throughout the data.

    Attributes:
        samples: how many there were.
        channels: by layer.
    """

    samples: int
    channels: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class ModelRecord:
    """What is kept of one model.

    Attributes:
        label: what it was called: its path as it was given.
        head: its provenance as JSON types, as every manifest begins: the model with its SHA-256, versions, provider.
        interface: what a caller relies on.
        layers: sketches of its convolutions and dense layers.
        findings: of its audit.
        silent: channels that the data did not wake; None without data.
        photos: properties of up to 256 photos of the data; None without photos.
    """

    label: str
    head: Mapping[str, Any]
    interface: Interface
    layers: LayerRecords
    findings: KeptFindings
    silent: SilentChannels | None = None
    photos: ImageProperties | None = None

    def __repr__(self) -> str:
        return f"ModelRecord({self.label!r}, {len(self.layers.layers)} layers)"

    @property
    def sha256(self) -> str:
        """Of the model file."""
        return str(self.head["model"]["sha256"])

    def as_dict(self) -> dict[str, Any]:
        """As JSON types, without the numbers of the sketches."""
        silent = self.silent
        return {
            "path": self.label, "head": self.head, "interface": self.interface.as_dict(),
            "layers": self.layers.as_dict(), "findings": [one.as_dict() for one in self.findings.findings],
            "ran": sorted(self.findings.ran),
            "silent": None if silent is None else {
                "samples": silent.samples, "channels": {name: list(ones) for name, ones in silent.channels.items()},
            },
            "photos": None if self.photos is None else self.photos.as_list(),
        }  # fmt: skip

    @classmethod
    def read(cls, entry: Mapping[str, Any], numbers: Sequence[NDArray[Any]]) -> ModelRecord:
        """The record of which `as_dict` made the entry; numbers of each layer as `Sketch.packed` gives them.

        Raises:
            InputError, LookupError, TypeError, ValueError: it is broken.
        """
        silent, photos = entry["silent"], entry["photos"]
        head = dict(entry["head"])
        if not isinstance(head["model"]["sha256"], str):
            raise TypeError("it does not say of which model it is")
        return cls(
            str(entry["path"]), head, Interface.read(entry["interface"]), LayerRecords.of(entry["layers"], numbers),
            KeptFindings.read(entry["findings"], entry["ran"]),
            None if silent is None else SilentChannels(
                int(silent["samples"]),
                {str(name): tuple(map(int, ones)) for name, ones in silent["channels"].items()},
            ),
            None if photos is None else ImageProperties.read(photos),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Baseline:
    """The records of one release: of one model, or of several, each by the path that it was given by.

    Attributes:
        models: at least one, no two of one path.
        path: of the file that it was read from; "" of a new one.
    """

    models: tuple[ModelRecord, ...]
    path: str = ""

    def __repr__(self) -> str:
        return f"Baseline({', '.join(repr(one.label) for one in self.models)})"

    @classmethod
    def of(cls, *records: ModelRecord | None) -> Baseline:
        """A baseline of the records that audits with `keep=True` have.

        Raises:
            InputError: an audit kept none, there is not one, or two are of one path.
        """
        there = tuple(one for one in records if one is not None)
        if len(there) < len(records) or not there:
            raise InputError("an audit keeps what a baseline is made of only with keep=True, and of a model it opened")
        labels = [one.label for one in there]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise InputError(f"a baseline holds a model once, and {printable(twice[0])} is there twice")
        return cls(there)

    def model(self, label: str) -> ModelRecord:
        """What a model is held against: the only one, or of several that which had its path.

        Raises:
            InputError: there are several, and none had it.
        """
        found = self.models if len(self.models) == 1 else [one for one in self.models if one.label == label]
        if not found:
            listed = ", ".join(printable(one.label) for one in self.models[:_NAMED])
            more = f" and {len(self.models) - _NAMED} more" if len(self.models) > _NAMED else ""
            where = self.path or "the baseline"
            raise InputError(f"{where} holds no baseline of {label}; it holds those of {listed}{more}")
        return found[0]

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes one file that `load` reads: an archive of a JSON document and the sketches' numbers.

        Raises:
            OnnxvizError: it cannot be written; what was there stays.
        """
        target = Path(path)
        with replacing(target) as temporary, temporary.open("wb") as file:
            self._write(file)
        return target

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        file = io.BytesIO()
        self._write(file)
        return file.getvalue()

    def _write(self, file: IO[bytes]) -> None:
        document = {"baseline": FORMAT_VERSION, "models": [one.as_dict() for one in self.models]}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, _HEAD, json.dumps(document).encode())
            for number, one in enumerate(self.models):
                numbers = [layer.sketch.packed() for layer in one.layers.layers] or [np.zeros(0, np.float32)]
                packed = io.BytesIO()
                np.lib.format.write_array(packed, np.concatenate(numbers), allow_pickle=False)
                _add(archive, f"{number}.npy", packed.getvalue())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Baseline:
        """What `save` wrote.

        Raises:
            InputError: there is no such file, or it is no baseline, broken, or of a later version.
        """
        try:
            with Path(path).open("rb") as file:
                return cls.read(file, str(path))
        except FileNotFoundError:
            raise InputError(f"there is no file {path}: {_how_made()} makes one") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None

    @classmethod
    def read(cls, file: IO[bytes], path: str) -> Baseline:
        """As `load`, from an open file; `path` is what messages call it.

        Raises:
            InputError: as in `load`.
        """
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if _HEAD not in names:
                    raise InputError(f"{path} is no baseline: {_how_made()} makes one")
                if sum(one.file_size for one in archive.infolist()) > _LARGEST:
                    raise InputError(f"{path} holds a broken baseline: it unpacks to more than 1 GiB")
                document = json.loads(archive.read(_HEAD))
                if document["baseline"] > FORMAT_VERSION:
                    raise InputError(
                        f"{path} holds a baseline of version {printable(str(document['baseline']), 20)}, written by a "
                        f"later onnxviz; this one reads version {FORMAT_VERSION}"
                    )
                models = [
                    ModelRecord.read(entry, _split(entry["layers"]["layers"], archive.read(f"{number}.npy")))
                    for number, entry in enumerate(document["models"])
                ]
            return cls(cls.of(*models).models, path)
        except zipfile.BadZipFile:
            raise InputError(f"{path} is no baseline, or was cut short: {_how_made()} makes one") from None
        except InputError as error:
            if path in str(error):
                raise
            raise InputError(f"{path} holds a broken baseline: {error}") from None
        except OSError:
            raise
        except Exception as error:  # damaged archives raise a dozen kinds
            what = printable(f"{type(error).__name__}: {error}", 200)
            raise InputError(f"{path} holds a broken baseline: {what}") from None


def _how_made() -> str:
    return for_reader("--write-baseline", "Baseline.of(audit(model, keep=True).record).save(path)")


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Dated 1980: the same baselines make the same bytes."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


def _split(layers: Iterable[Mapping[str, Any]], data: bytes) -> list[NDArray[Any]]:
    """The numbers of each layer."""
    numbers = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    ends = np.cumsum([sketch_size(layer["sketch"]["shape"]) for layer in layers])
    if numbers.ndim != 1 or numbers.size != (ends[-1] if len(ends) else 0):
        raise InputError(f"it has {numbers.size} numbers for sketches of other layers")
    return np.split(numbers, ends)[:-1]
