"""Stored tensors of a model file: read where they lie, without loading the file."""

from __future__ import annotations

import math
import mmap
import stat
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import SparseTensorProto, TensorProto, numpy_helper

from onnxviz.errors import ModelError
from onnxviz.messages import printable


class TensorFile:
    """Reads the tensors of one model: inline ones from the proto, the others as views into their files.

    Args:
        folder: where external data lie, None for a model in memory.
        keep: what must live as long as tensors may be read: the owner of a temporary folder.
    """

    def __init__(self, folder: Path | None, keep: object = None) -> None:
        self.folder = folder
        self._keep = keep
        self._maps: dict[str, mmap.mmap] = {}
        self._stamps: dict[str, Stamp] = {}

    def watch(self, location: str, stamp: Stamp) -> None:
        """Notes how a file was when the offsets into it were read."""
        self._stamps[location] = stamp

    def check_unchanged(self) -> None:
        """Refuses to go on with a file that is not the one whose offsets are known.

        Raises:
            ModelError: the model file or its external data were replaced or rewritten since.
        """
        for location, stamp in self._stamps.items():
            if self.folder is not None and file_stamp(self.folder / location) != stamp:
                raise ModelError(f"{location} changed since the model was opened: load it again")

    def read(self, tensor: TensorProto) -> NDArray[Any]:
        """The values of `tensor`, read-only; a view into the file where the type allows it.

        Returns:
            An array of shape `tensor.dims`. Types that numpy lacks (bfloat16, float8, int4) come as onnx reads
            them, from the `ml_dtypes` package.
        """
        if tensor.data_location != TensorProto.EXTERNAL:
            array = numpy_helper.to_array(tensor)
        else:
            raw = self.bytes_of(tensor)
            dtype = _plain_dtype(tensor.data_type)
            if dtype is not None:
                array = np.frombuffer(raw, dtype).reshape(tuple(tensor.dims))
            else:  # packed or exotic types: onnx knows how to unpack them
                inline = TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=bytes(raw))
                array = numpy_helper.to_array(inline)
        array.flags.writeable = False
        return array

    def read_sparse(self, sparse: SparseTensorProto) -> NDArray[Any]:
        """The dense values of a sparse initializer (its declared size was checked when the model was opened)."""
        values, indices = self.read(sparse.values), self.read(sparse.indices)
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        try:
            if len(indices) != values.size or (indices < 0).any():
                raise IndexError
            if indices.ndim == 1:
                dense.reshape(-1)[indices] = values
            else:
                dense[tuple(indices.T)] = values
        except (IndexError, ValueError, TypeError):
            raise ModelError(f"sparse tensor '{printable(sparse.values.name)}' has indices outside its shape") from None
        dense.flags.writeable = False
        return dense

    def bytes_of(self, tensor: TensorProto) -> memoryview:
        """The bytes of a tensor with external data, as a view into its file."""
        location = external_entry(tensor, "location")
        if self.folder is None:
            raise ModelError(f"tensor '{printable(tensor.name)}' has external data, but the model is in memory only")
        self.check_unchanged()
        if location not in self._maps:
            self._stamps.setdefault(location, file_stamp(self.folder / location))
            self._maps[location] = open_regular(self.folder / location, location)
        whole = memoryview(self._maps[location])
        offset = int(external_entry(tensor, "offset") or 0)
        length = external_entry(tensor, "length")
        dtype = _plain_dtype(tensor.data_type)
        size = int(length) if length else math.prod(tensor.dims) * (dtype.itemsize if dtype is not None else 1)
        return whole[offset : offset + size]


Stamp = tuple[int, int, int, int]


def file_stamp(path: Path) -> Stamp:
    """What tells one file, and one state of it, from another: device, inode, size, time of change in ns."""
    try:
        info = path.stat()
    except OSError:
        return (-1, -1, -1, -1)
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def _plain_dtype(data_type: int) -> np.dtype[Any] | None:
    """The numpy type whose bytes in memory are those in the file, None for packed and foreign types."""
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type))
    except (KeyError, TypeError):
        return None
    return dtype.newbyteorder("<") if dtype.kind in "biufc" and dtype.isbuiltin == 1 else None


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """`array`, or a view of it that cannot be written to."""
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def open_regular(path: Path, label: str) -> mmap.mmap:
    """A read-only memory map of the regular, non-empty file `path`, which messages call `label`.

    Raises:
        ModelError: the file is missing, unreadable, empty, or not a regular file (a FIFO would block for ever).
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ModelError(f"{label} is a folder, not a .onnx file")
        if not stat.S_ISREG(mode):
            raise ModelError(f"{label} is not a regular file")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ModelError(f"there is no file {label}") from None
    except ValueError:
        raise ModelError(f"{label} is empty") from None
    except OSError as error:
        raise ModelError(f"{label} cannot be read: {error.strerror or error}") from None


def external_entry(tensor: TensorProto, key: str) -> str:
    """The value of `key` in the tensor's external data, "" if it has none."""
    return next((str(entry.value) for entry in tensor.external_data if entry.key == key), "")
