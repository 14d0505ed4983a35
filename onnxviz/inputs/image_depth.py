"""Depth: 16 bits a channel and floats, whole out of files that Pillow reads; and what it would lose of others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile, ImageOps

from onnxviz.errors import InputError
from onnxviz.inputs.image_bands import Bands, Kind
from onnxviz.inputs.tiff_files import whole_range

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile  # late elsewhere too: few files are TIFFs

# Pillow's modes have 8 bits a colour: of 16 it keeps the first or the last byte, as the raw mode says where the high
# byte is ("B" big-endian, "L" little-endian, "N" as this machine). Read once each way, nothing is lost.
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
# Tags, and values of PhotometricInterpretation, Compression and ExtraSamples (TIFF 6.0, sections 3 to 8, 18, 22).
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _EXTRA, _FORMAT = 258, 259, 262, 277, 284, 338, 339
_WHITE_IS_ZERO, _PALETTE = 0, 3
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}
_JPEG = (6, 7)
_PREMULTIPLIED_ALPHA = 1


def needs_tifffile(picture: ImageFile.ImageFile) -> bool:
    """Whether Pillow would drop bands of a TIFF page, or take some for transparency that the file does not call so."""
    tags = _tags(picture)
    if not tags:
        return False
    photometric, compression = tags.get(_PHOTOMETRIC), tags.get(_COMPRESSION, 1)
    if photometric == _PALETTE:
        return False
    bits, extra, form = (_numbers(tags.get(tag)) for tag in (_BITS, _EXTRA, _FORMAT))
    colours = 3 if compression in _JPEG else _COLOURS.get(photometric or 0, 1)
    samples = max([*_numbers(tags.get(_SAMPLES)), len(bits), 1])
    known = samples <= colours or (samples == colours + 1 and len(extra) == 1 and extra[0] != 0)
    deep = max(bits, default=1) > 8
    signed = not deep and 2 in form
    # Of deep bands, of bands one after the other and of colours that transparency has dimmed, Pillow takes one at most.
    difficult = deep + (tags.get(_PLANAR) == 2 and samples > 1) + (_PREMULTIPLIED_ALPHA in extra)
    return not known or signed or difficult > 1


def _tags(picture: ImageFile.ImageFile) -> Mapping[int, Any]:
    """The tags of a TIFF page; of other files none."""
    return cast("TiffImageFile", picture).tag_v2 if picture.format == "TIFF" else {}


def _numbers(value: object) -> tuple[int, ...]:
    """A tag as integers; a stranger's may be anything."""
    return tuple(v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, int))


@dataclass(frozen=True)
class DeepForm:
    """How a picture of more than 8 bits lies in its file.

    Attributes:
        raw: Pillow's raw mode of 16-bit colours, "" for a single band.
        levels: 65,535, or what a PPM says of its colours; 0 where Pillow decodes them.
    """

    raw: str = ""
    levels: int = 0

    @classmethod
    def of(cls, picture: ImageFile.ImageFile, path: Path) -> DeepForm | None:
        """The form of a picture of this file that is opened but not decoded; None if it has 8 bits a channel.

        Raises:
            InputError: colours of 16 bits in a form that cannot be read whole.
        """
        if picture.mode.startswith("I") or picture.mode == "F":
            return cls()
        codec, _, _, args = picture.tile[0] if picture.tile else ("", None, 0, "")
        raw = args[0] if isinstance(args, tuple) else args
        if picture.format == "PPM" and isinstance(args, tuple) and isinstance(args[1], int) and args[1] > 255:
            if codec != "ppm":
                raise InputError(f"{path} is a PPM in text of more than 8 bits: save it as PNG or TIFF")
            return cls(levels=args[1])
        if not isinstance(raw, str) or ";16" not in raw:
            return None
        if picture.format == "PNG" and picture.tell():
            raise InputError(f"{path} is animated in 16 bits a channel, which is not read: save it with 8")
        return cls(raw)

    def bands(self, picture: ImageFile.ImageFile, path: Path, again: Callable[[], ImageFile.ImageFile]) -> Bands:
        """The picture, decoded, upright.

        Args:
            picture: opened.
            path: its file.
            again: opens it once more, not yet decoded.

        Raises:
            InputError: it holds values of no known range.
        """
        if self.levels:
            width, height = picture.size
            values = np.fromfile(path, ">u2", width * height * 3, offset=picture.tile[0][2])
            levels = values.reshape(height, width, 3).astype(np.uint16)
            return Bands(list(np.moveaxis(levels, -1, 0)), self.levels, Kind(3, False, 3))
        if not self.raw:
            return _single(picture, path)
        key = picture.info.get("transparency")
        if self.raw.startswith("LA"):
            both = _bytes(picture, "RGBA")  # high and low byte of grey, and of alpha
            high, low = both[..., 0::2], both[..., 1::2]
        else:
            high = _bytes(picture, self.raw)
            low = _bytes(again(), self.raw[:-1] + _OTHER_BYTE[self.raw[-1]])
        planes: list[NDArray[Any]] = [_joined(high[..., band], low[..., band]) for band in range(high.shape[2])]
        del high, low
        if picture.mode == "CMYK":
            ink = [plane / np.float32(65535) for plane in planes]
            planes = [(1 - colour) * (1 - ink[3]) for colour in ink[:3]]
            return Bands(planes, 1.0, Kind(3, False, 3))
        if isinstance(key, tuple) and len(key) == len(planes):
            planes.append(_opaque(np.all([plane == level for plane, level in zip(planes, key, strict=True)], axis=0)))
        alpha = len(planes) in (2, 4)
        return Bands(planes, 65535, Kind(len(planes) - alpha, alpha, len(planes)))


def _single(picture: ImageFile.ImageFile, path: Path) -> Bands:
    """One band of 16 or 32 bits, or of floats, as Pillow decodes it."""
    picture.load()
    key = picture.info.get("transparency")
    tags = _tags(picture)
    values: NDArray[Any] = np.asarray(ImageOps.exif_transpose(picture))
    bits = 16
    if picture.mode != "F":
        # Of a TIFF, as its tags say (Pillow widens to 32 bits what has a sign); a PPM becomes 0…65,535.
        bits = tags[_BITS][0] if tags else 16
        signed = tags.get(_FORMAT, (1,)) == (2,)
        values = values.astype(f"{'int' if signed else 'uint'}{32 if bits > 16 else 16}")
    white = whole_range(values, bits, path)
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    planes = [(white - values).astype(values.dtype) if inverted else values]
    if isinstance(key, int):
        planes.append(_opaque(values == key))
    return Bands(planes, white, Kind(1, len(planes) == 2, len(planes)))


def _bytes(picture: ImageFile.ImageFile, raw: str) -> NDArray[np.uint8]:
    """The picture with its bytes taken as another raw mode, (H, W, C)."""
    tiles = []
    for tile in picture.tile:
        args = tile.args
        tiles.append(tile._replace(args=raw if isinstance(args, str) else (raw, *args[1:]) if args else raw))
    picture.tile = tiles
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    return np.asarray(picture)


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """16 bits out of their bytes, in the memory of the result."""
    made = high.astype(np.uint16)
    made <<= 8
    made |= low
    return made


def _opaque(clear: NDArray[np.bool_]) -> NDArray[np.uint16]:
    return np.where(clear, np.uint16(0), np.uint16(65535))
