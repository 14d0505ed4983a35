"""`.keras` archives and HDF5 files of strangers: looked through before Keras opens them.

Both are containers that may unpack to far more than they weigh, and an HDF5 file may send its reader to other files.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from onnxviz.errors import ConversionError
from onnxviz.messages import printable
from onnxviz_converters.keras_config import MOST_BYTES, parsed

if TYPE_CHECKING:
    from typing_extensions import Buffer

CONFIG = "config.json"
_WEIGHTS = ("model.weights.h5", "model.weights.npz")
_MEMBERS = frozenset((CONFIG, "metadata.json", "assets/", *_WEIGHTS))
# Weights hardly compress: zeros and the like may make up this share of a file, and small files any.
_MOST_TIMES, _ALWAYS_BYTES = 20, 256 * 2**20
_MOST_OBJECTS = 1_000_000
# Before a member's name, its length at 26, and what else stands behind it, its length at 28.
_LOCAL_HEADER = 30


def check(path: Path) -> None:
    """Refuses a `.keras` or HDF5 file, of a model or of weights, that holds what no model needs.

    Args:
        path: the file; by its suffix, as Keras decides, it is read as one or the other.

    Raises:
        ConversionError: members that no one asked for, sizes far beyond what is stored, or parts in other files.
    """
    if path.suffix.lower() == ".keras" and zipfile.is_zipfile(path):
        _check_archive(path)
    elif path.suffix.lower() in (".h5", ".hdf5"):
        with path.open("rb") as file:
            _check_hdf5(file, str(path))
    elif path.suffix.lower() == ".json":
        raise ConversionError(
            f"{path} lists weights in several files, which is not supported: save them in one (save_weights without "
            "max_shard_size)"
        )


def configurations(path: Path) -> Iterator[tuple[str, Any]]:
    """Each configuration that Keras reads from the file: what messages call it, and its values.

    Raises:
        ConversionError: one cannot be read.
    """
    if path.suffix.lower() == ".keras" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if CONFIG in archive.namelist():
                yield CONFIG, parsed(_read(archive, CONFIG, path), f"{CONFIG} of {path}")
        return
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError:
        return  # no HDF5 file; what opens it says so
    with file:
        for name in ("model_config", "training_config"):
            text = file.attrs.get(name)
            if isinstance(text, str | bytes):
                yield name, parsed(text, f"{name} of {path}")
            elif text is not None:
                raise ConversionError(f"{name} of {path} is no text")


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        strange = [name for name in names if name not in _MEMBERS]
        if strange:
            raise ConversionError(
                f"{path} holds '{printable(strange[0], 60)}', which no .keras file of a network of numbers has "
                f"(there are {', '.join(sorted(_MEMBERS))}): save the model again with Keras"
            )
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ConversionError(f"{path} holds {double[0]} more than once: which one counts cannot be known")
        _check_size(sum(member.file_size for member in members), path.stat().st_size, str(path))
        for name in _WEIGHTS:
            if name in names:
                with _opened(archive, name, path) as file:
                    label = f"{name} of {path}"
                    _check_hdf5(file, label) if name.endswith(".h5") else _check_arrays(file, label)


def _opened(archive: zipfile.ZipFile, name: str, path: Path) -> IO[bytes]:
    """A member as a file in which seeking costs nothing; zipfile's own reads from the start to go back."""
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED:
        return io.BytesIO(_read(archive, name, path, member.file_size))
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
            raise ConversionError(f"{name} of {path} is not where the archive says")
        start = member.header_offset + _LOCAL_HEADER + sum(struct.unpack_from("<HH", header, 26))
        if start + member.file_size > path.stat().st_size:
            raise ConversionError(f"{name} of {path} is cut off")
    return io.BufferedReader(_Part(path, start, member.file_size))


class _Part(io.RawIOBase):
    """Bytes of a file from `start` on, as a file of `size` bytes."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._start, self._size, self._at = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._at)
        count = self._file.readinto(view[: max(0, min(len(view), self._size - self._at))])
        self._at += count or 0
        return count or 0

    def close(self) -> None:
        self._file.close()
        super().close()


def _read(archive: zipfile.ZipFile, name: str, path: Path, limit: int = MOST_BYTES) -> bytes:
    size = archive.getinfo(name).file_size
    if size > limit:
        raise ConversionError(f"{name} of {path} has {size:,} bytes; the limit is {limit:,}")
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise ConversionError(f"{name} of {path} cannot be read: {printable(str(error))}") from None


def _check_arrays(file: IO[bytes], label: str) -> None:
    try:
        with zipfile.ZipFile(file) as arrays:
            members = arrays.infolist()
            _check_size(
                sum(member.file_size for member in members), sum(member.compress_size for member in members), label
            )
    except zipfile.BadZipFile:
        raise ConversionError(f"{label} is no .npz archive") from None


def _check_size(declared: int, stored: int, label: str) -> None:
    if declared > _ALWAYS_BYTES and declared > _MOST_TIMES * stored:
        raise ConversionError(
            f"{label} holds {stored:,} bytes that would become {declared:,}: weights do not compress like that"
        )


def _check_hdf5(file: IO[bytes], label: str) -> None:
    """Refuses links other than to its own objects, data in other files, and sizes beyond what is stored."""
    import h5py

    try:
        opened = h5py.File(file, "r")
    except OSError:
        return  # no HDF5 file; what opens it says so
    with opened:
        declared = stored = 0
        seen = set()
        waiting = [("", opened["/"])]
        while waiting:
            place, group = waiting.pop()
            for name in group:
                inside = f"{place}/{printable(str(name), 60)}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ConversionError(f"'{inside}' of {label} is a link that leads elsewhere; no weights need one")
                one = group[name]
                address = h5py.h5o.get_info(one.id).addr
                if address in seen:
                    continue
                seen.add(address)
                if len(seen) > _MOST_OBJECTS:
                    raise ConversionError(f"{label} has more than {_MOST_OBJECTS:,} objects")
                if isinstance(one, h5py.Group):
                    waiting.append((inside, one))
                elif isinstance(one, h5py.Dataset):
                    if one.is_virtual or one.external:
                        raise ConversionError(f"the numbers of '{inside}' of {label} lie in another file")
                    if one.shape is not None:
                        declared += math.prod(one.shape) * one.dtype.itemsize
                    stored += one.id.get_storage_size()
        _check_size(declared, stored, label)
