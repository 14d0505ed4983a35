"""Arrays for a model's inputs: shape, element type and range checked; read from `.npy` and `.npz`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.inputs.picture_ports import is_picture
from onnxviz.messages import dims, option, printable
from onnxviz.model.ports import Port

# Archives are unpacked in memory; a `.npy` is mapped, and may be of any size.
MAX_ARCHIVE_BYTES = 2**31


def as_array(given: object, taken: str) -> NDArray[Any]:
    """What a caller gave in place of an array, as one; a tensor of a framework, or nested sequences of numbers.

    Args:
        given: it.
        taken: what is taken, in words.

    Raises:
        InputError: it is none.
    """
    try:
        array = np.asarray(given)
    except Exception as error:  # a framework's own, of tensors that are on another device or have a gradient
        raise InputError(f"a {type(given).__name__} is no array: {printable(str(error))}") from None
    if array.dtype.kind not in "biufcSU" and not hasattr(given, "__array__"):
        raise InputError(f"an input is {taken}, not {type(given).__name__}")
    return array


def fitted(array: NDArray[Any], port: Port, what: str) -> NDArray[Any]:
    """`array` with the batch axis and element type that `port` wants, not copied where it fits already.

    Raises:
        InputError: its shape or type cannot fit; the message says both.
    """
    _check_shape(array.shape, port, what)
    if port.shape is not None and array.ndim == len(port.shape) - 1:
        array = array[None]
    if array.size == 0:
        raise InputError(f"{what} is empty")
    if port.dtype and array.dtype != port.dtype:
        if port.dtype == "string" or not _convertible(array.dtype, np.dtype(port.dtype)):
            raise InputError(f"{what} has type {array.dtype}; input '{printable(port.name)}' takes {port.dtype}")
        if not isinstance(array, np.memmap):  # a mapped file is converted row by row, when it is fed
            array = converted(array, port, what)
    return array


def converted(array: NDArray[Any], port: Port, what: str) -> NDArray[Any]:
    """`array` in the element type that `port` wants, not copied where it has it already.

    Raises:
        InputError: integers would wrap around, or numbers become infinite; the message says both ranges.
    """
    if not port.dtype or array.dtype == port.dtype:
        return np.asarray(array)
    target = np.dtype(port.dtype)
    if array.dtype.kind in "iuf" and target.kind in "iuf" and not np.can_cast(array.dtype, target, "safe"):
        numbers = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        low, high = (numbers.min().item(), numbers.max().item()) if numbers.size else (0, 0)
        least, most = value_range(target)
        if not least <= low <= high <= most:
            raise InputError(
                f"{what} has values {written(low)}…{written(high)} ({array.dtype}); "
                f"input '{printable(port.name)}' takes {port.dtype}, {written(least)}…{written(most)}"
            )
    return np.asarray(array).astype(target)


def value_range(dtype: np.dtype[Any]) -> tuple[int | float, int | float]:
    """The least and the largest number of an element type."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def written(value: float) -> str:
    """A number in a message: integers whole, others with six digits."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def _convertible(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether values of one type can be those of another: kinds that hold them, and integers of every sort."""
    return np.can_cast(given, wanted, "same_kind") or (given.kind in "iu" and wanted.kind in "iu")


def _check_shape(shape: tuple[int, ...], port: Port, what: str) -> None:
    """Refuses a shape that cannot fit; the batch axis may be missing."""
    if port.shape is None:
        return
    wanted = port.shape
    padded = (1, *shape) if len(shape) == len(wanted) - 1 else shape
    # The first axis may be any multiple: fixed batches are filled sample by sample.
    fits = len(padded) == len(wanted) and all(
        not isinstance(dim, int) or dim == size or (axis == 0 and len(padded) > 1)
        for axis, (dim, size) in enumerate(zip(wanted, padded, strict=True))
    )
    if not fits:
        pixels = "; pixels HxWx3 are taken as uint8" if len(shape) == 3 and shape[-1] == 3 and is_picture(port) else ""
        raise InputError(f"{what} has shape {dims(shape)}; input '{printable(port.name)}' takes {dims(wanted)}{pixels}")


def read_array(path: Path) -> NDArray[Any]:
    """The array of a `.npy`, mapped, not read.

    Raises:
        InputError: it is none.
    """
    with _readable(path, "a .npy array"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        array.close()
    raise InputError(f"{path} is an archive, not a .npy array: name it .npz")


def read_archive(path: Path, ports: Mapping[str, Port]) -> dict[str, NDArray[Any]]:
    """The arrays of a `.npz`; their shapes are checked before anything is unpacked.

    Raises:
        InputError: it is none, is too large, or an array fits no input.
    """
    with _readable(path, "a .npz archive"), path.open("rb") as file:
        if zipfile.is_zipfile(file):
            file.seek(0)
            with zipfile.ZipFile(file) as packed:
                for member in packed.infolist():
                    name = member.filename.removesuffix(".npy")
                    if name in ports:
                        with packed.open(member) as entry:
                            _check_shape(_npy_shape(entry), ports[name], f"'{printable(name)}' in {path}")
                size = sum(member.file_size for member in packed.infolist())
            if size > MAX_ARCHIVE_BYTES:
                raise InputError(f"{path} unpacks to {size:,} bytes; the limit is {MAX_ARCHIVE_BYTES:,}: give .npy")
        file.seek(0)
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.ndarray):
            with archive:
                return {name: archive[name] for name in archive.files}
    raise InputError(f"{path} is a single array: name it .npy")


def _npy_shape(file: IO[bytes]) -> tuple[int, ...]:
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    major, _ = np.lib.format.read_magic(file)
    shape, _, _ = read[min(major, 2)](file)
    return shape


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    """Turns what numpy raises on a file that is not there, damaged or full of pickles into one line."""
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a file")
        yield
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except InputError:
        raise
    except Exception as error:  # damaged headers and archives raise a dozen kinds
        raise InputError(f"{path} is not {what}: {printable(str(error))}") from None


def whole_numbers(values: NDArray[Any], port: Port, name: str, path: Path, *, deep: bool) -> NDArray[Any]:
    """`values` as whole numbers for an integer input, if that is what they are but for the rounding of float32.

    Args:
        values: float32, preprocessed.
        port: the input.
        name: of the preprocessing.
        path: of the image.
        deep: whether the image has more than 8 bits a channel.

    Raises:
        InputError: they would be rounded, or are beyond the range of the input's type; the message says both ranges.
    """
    whole = np.rint(values.astype(np.float64))
    low, high = values.min(), values.max()
    least, most = value_range(np.dtype(port.dtype))
    # Three float32 operations, each off by half a unit in the last place of what it handles.
    if np.abs(whole - values).max() > 4 * np.finfo(np.float32).eps * max(abs(low), abs(high), 255):
        how, remedy = (
            f"gives fractions, {low:g}…{high:g}",
            f"give {option('preprocess', 'raw', repr('raw'))}, or another that gives whole numbers",
        )
        if deep and name == "raw":
            remedy = f"{path} has more than 8 bits a channel, or is none of 8: save it with 8, or give a .npy"
    elif low < least or high > most:
        how, remedy = f"gives {low:g}…{high:g}", f"give {option('preprocess')}, such as scale=1,mean=128"
    else:
        return whole
    raise InputError(
        f"preprocessing '{name}' {how}; input '{printable(port.name)}' takes {port.dtype}, whole numbers "
        f"{written(least)}…{written(most)}: {remedy}"
    )
