"""Image files decoded to pixels: formats by content, orientation, transparency, size."""

from __future__ import annotations

import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from onnxviz.errors import InputError
from onnxviz.messages import printable

# By content, not by name; an allow-list, because others (EPS) run interpreters.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
# A 10 kB PNG can declare any size; 64 Mpx take some 0.4 GB to decode and convert.
MAX_PIXELS = 64 * 2**20
# A picture that the model takes at its own size also becomes maps, of many channels and four bytes a value.
MAX_OWN_PIXELS = 16 * 2**20
Fit = Literal["stretch", "crop"]


def read_image(
    path: Path,
    *,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    fit: Fit = "stretch",
    background: str = "white",
) -> NDArray[Any]:
    """One picture, decoded whole, upright and resized.

    EXIF rotation is applied, 16 bits are rounded to 8, transparency is laid on `background`.

    Args:
        path: an image file of one of `FORMATS`.
        channels: 1 (grey), 3 (RGB) or 4 (RGB and alpha).
        size: (height, width) in pixels; None for the picture's own.
        fit: "stretch" to the size whatever the proportions, or "crop" the middle after scaling the shorter side.
        background: a colour name or `#rrggbb`.

    Returns:
        (H, W, channels) uint8.

    Raises:
        InputError: it is not an image, is damaged, or is too large.
    """
    picture = _decode(path, bounded=size is not None)
    picture = _flatten(picture, path, channels, background)
    if size is not None and picture.size != (size[1], size[0]):
        height, width = size
        if fit == "crop":
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
        else:
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def parse_colour(text: str) -> tuple[int, int, int]:
    """The colour called `text`: a name or `#rrggbb`.

    Raises:
        InputError: there is no such colour.
    """
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError:
        raise InputError(f"'{printable(text)}' is not a colour; write a name or #rrggbb") from None
    return red, green, blue


def _decode(path: Path, *, bounded: bool) -> Image.Image:
    """The picture, upright; `bounded` says that it will be resized to a size that was checked."""
    limit = MAX_PIXELS if bounded else MAX_OWN_PIXELS
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):  # a FIFO would block for ever
            raise InputError(f"{path} is not a file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's bomb warning: the size is checked here, before decoding
            with Image.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > limit:
                    remedy = "make it smaller first" if bounded else "give --size HxW"
                    raise InputError(f"{path} has {width}x{height} pixels; the limit is {limit:,}: {remedy}")
                picture.load()
                if picture.format == "PNG" and not _png_is_complete(path):
                    raise InputError(f"{path} is damaged: rows of the PNG are missing")
                return ImageOps.exif_transpose(picture)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path} has far more than {MAX_PIXELS:,} pixels: make it smaller first") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image that onnxviz reads ({', '.join(FORMATS)})") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError) as error:
        raise InputError(f"{path} cannot be decoded: {printable(str(error))}") from None


def _flatten(picture: Image.Image, path: Path, channels: int, background: str) -> Image.Image:
    """Eight bits a channel, without transparency unless four channels are wanted."""
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bits(picture, path)
    if channels == 4:
        return picture.convert("RGBA")
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*parse_colour(background), 255))
        picture = Image.alpha_composite(ground, layer)
    return picture.convert("L" if channels == 1 else "RGB")


def _eight_bits(picture: Image.Image, path: Path) -> Image.Image:
    """Rounds 16-bit integers and 0…1 floats to 8 bits; Pillow would clip them."""
    values = np.asarray(picture)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if picture.mode == "I" and low >= 0 and high <= 255:  # 32 bits that hold 8; a 16-bit file has mode I;16
        pass
    elif picture.mode != "F" and low >= 0 and high <= 65535:
        values = np.rint(values.astype(np.float64) / 257)
    elif picture.mode == "F" and low >= 0 and high <= 1:
        values = np.rint(values.astype(np.float64) * 255)
    else:
        raise InputError(f"{path} holds values {low:g}…{high:g}, not 8 or 16 bits or 0…1: give them as a .npy array")
    return Image.fromarray(values.astype(np.uint8))


# Adam7: first column, first row, column step, row step of each pass (PNG specification, section 8.2).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _png_is_complete(path: Path) -> bool:
    """Whether a PNG's pixel data decompress to as many bytes as its header declares; Pillow does not look."""
    with path.open("rb") as file:
        file.seek(8)
        inflate = zlib.decompressobj()
        total, wanted = 0, 0
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            body = file.read(length)
            file.seek(4, 1)
            if kind == b"IHDR":
                width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
                bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
                passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
                for x, y, dx, dy in passes:
                    columns, rows = -(-(width - x) // dx), -(-(height - y) // dy)
                    wanted += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
            elif kind == b"IDAT":
                while body and total <= wanted:
                    total += len(inflate.decompress(body, 1 << 20))
                    body = inflate.unconsumed_tail
            elif kind == b"IEND":
                break
    return total >= wanted
