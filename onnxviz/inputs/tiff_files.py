"""TIFF files that Pillow cannot read without loss: more bands than colours and alpha, deep bands; read by tifffile."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.inputs.image_bands import Bands, Kind
from onnxviz.messages import printable

if TYPE_CHECKING:
    import tifffile

# PhotometricInterpretation and ExtraSamples (TIFF 6.0, sections 3, 4 and 18).
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PREMULTIPLIED_ALPHA, _ALPHA = 1, 2
# Compressions of which no more can come than is asked for (none, LZW, PackBits), and Deflate, which is looked into.
_BOUNDED = (1, 5, 32773)
_DEFLATE = (8, 32946)


class TiffReader:
    """A TIFF file whose pages are read with every band that they have; it stays open until it is closed.

    Args:
        path: the file.

    Raises:
        InputError: tifffile is not installed, or this is no TIFF.
    """

    def __init__(self, path: Path) -> None:
        try:
            import tifffile
        except ImportError:
            raise InputError(
                f"{path} is damaged, or has bits or bands that need tifffile: pip install 'onnxviz[tiff]', "
                "or give a .npy"
            ) from None
        self.path = path
        with _quiet(path):
            self._file = tifffile.TiffFile(path)

    def read(self, place: int, max_pixels: int) -> Bands:
        """One page, upright.

        Args:
            place: of the page, among all directories of the file.
            max_pixels: how many it may have; of more than four bands, less.

        Raises:
            InputError: the page is damaged or too large, or its values have no known range.
        """
        with _quiet(self.path):
            page: Any = self._file.pages[place]
            return _bands(page, self.path, max_pixels, self._file.filehandle.size)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def whole_range(values: NDArray[Any], bits: int, path: Path) -> float:
    """The value of full intensity: 2ⁿ − 1 for unsigned integers of up to 16 bits, 1 for floats from 0 to 1.

    Raises:
        InputError: no convention says what is black and what is white.
    """
    kind = values.dtype.kind
    if kind == "u" and bits <= 16:
        return float(2**bits - 1)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if kind == "f" and low >= 0 and high <= 1:
        return 1.0
    raise InputError(
        f"{path} holds values {low:g}…{high:g} ({values.dtype}), not 8 or 16 bits or 0…1: give them as a .npy array"
    )


def _bands(page: tifffile.TiffPage, path: Path, max_pixels: int, file_bytes: int) -> Bands:
    samples = int(page.samplesperpixel)
    width, height = int(page.imagewidth), int(page.imagelength)
    if width * height * max(samples, 4) > 4 * max_pixels:
        raise InputError(
            f"{path} has {width}x{height} pixels of {samples} bands; the limit is {max_pixels:,} of 4: make it smaller"
        )
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) or page.imagedepth != 1:
        raise InputError(f"{path} is a TIFF of a kind that is not read ({page.photometric!s}): give a .npy array")
    _check_segments(page, path, max_pixels, file_bytes)
    values = page.asarray()
    # tifffile gives rows, columns and bands in the order of the file.
    planes = [values] if samples == 1 else list(np.moveaxis(values, page.axes.index("S"), 0))
    if any(plane.shape != (height, width) for plane in planes):
        raise InputError(f"{path} is damaged: its bands are not of {width}x{height} pixels")
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    white = whole_range(values, bits, path)
    if values.dtype.kind == "f":
        planes = [plane.astype(np.float32) for plane in planes]
    if page.photometric == _WHITE_IS_ZERO:
        planes = [(white - plane).astype(plane.dtype) for plane in planes]
    extra = tuple(int(value) for value in page.extrasamples)
    alpha = len(extra) == 1 and extra[0] in (_PREMULTIPLIED_ALPHA, _ALPHA)
    if alpha and extra[0] == _PREMULTIPLIED_ALPHA:
        share = np.maximum(planes[-1] / np.float32(white), np.finfo(np.float32).tiny)
        planes[:-1] = [np.minimum(plane / share, np.float32(white)) for plane in planes[:-1]]
    colours = 3 if page.photometric == _RGB and samples >= 3 else int(samples - alpha == 1)
    tag = page.tags.get("Orientation")
    planes = [np.ascontiguousarray(_upright(plane, tag.value if tag is not None else 1)) for plane in planes]
    return Bands(planes, white, Kind(colours, alpha, samples))


def _check_segments(page: tifffile.TiffPage, path: Path, max_pixels: int, file_bytes: int) -> None:
    """Refuses a page whose strips or tiles are missing, too large, or unpack to more than they declare."""
    if int(page.compression) not in (*_BOUNDED, *_DEFLATE):
        way = getattr(page.compression, "name", page.compression)
        raise InputError(f"{path} is compressed in a way that is not read ({way}): save it with LZW, Deflate or none")
    if math.prod(page.chunks) > 4 * max_pixels:
        raise InputError(f"{path} has tiles of {page.tilewidth}x{page.tilelength} pixels; the limit is {max_pixels:,}")
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if not segments or not all(size and start + size <= file_bytes for start, size in segments):
        raise InputError(f"{path} is damaged: parts of the TIFF are missing")
    if int(page.compression) in _DEFLATE:
        most = math.prod(page.chunks) * max(page.bitspersample, 8) // 8
        with path.open("rb") as file:
            for start, size in segments:
                file.seek(start)
                if _unpacks_to_more(file.read(size), most):
                    raise InputError(f"{path} is damaged: a part unpacks to more than its {most:,} bytes")


def _unpacks_to_more(data: bytes, most: int) -> bool:
    """Whether Deflate makes more than so many bytes of the data; tifffile would make them all at once."""
    inflate = zlib.decompressobj()
    total = 0
    while data and total <= most:
        total += len(inflate.decompress(data, 1 << 20))
        data = inflate.unconsumed_tail
    return total > most


def _upright(plane: NDArray[Any], orientation: int) -> NDArray[Any]:
    """A band turned as TIFF 6.0 says (tag 274): where row 0 and column 0 of the file are in the picture."""
    if orientation in (5, 6, 7, 8):
        plane = plane.T
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    return plane


@contextmanager
def _quiet(path: Path) -> Iterator[None]:
    """What tifffile logs of a strange file would come between an error's one line and the reader."""
    log = logging.getLogger("tifffile")
    before, log.disabled = log.disabled, True
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # damaged files raise a dozen kinds
        remedy = ": pip install 'onnxviz[tiff]'" if "imagecodecs" in str(error) else ""
        raise InputError(f"{path} cannot be decoded: {printable(str(error))}{remedy}") from None
    finally:
        log.disabled = before
