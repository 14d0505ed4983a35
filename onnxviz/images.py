"""Photos: decoding, and the preprocessing that turns one into a model's input."""

from __future__ import annotations

import json
import math
import stat
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from onnxviz.errors import InputError
from onnxviz.text import printable
from onnxviz.weights import Array

# By content, not by name; an allow-list, because others (EPS) run interpreters.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
# A 10 kB PNG can declare any size; 64 Mpx take some 0.4 GB to decode and convert.
MAX_PIXELS = 64 * 2**20
# A picture that the model takes at its own size also becomes maps, of many channels and four bytes a value.
MAX_OWN_PIXELS = 16 * 2**20
Fit = Literal["stretch", "crop"]


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a model's input: input = (pixel · scale − mean) / std, per channel.

    Attributes:
        name: "raw", "unit", "signed", "torch", "caffe" or "custom".
        scale: factor on pixels, which are 0…255.
        mean: subtracted after scaling; one value, or one per channel in the order `order`.
        std: divided by; one value, or one per channel in the order `order`.
        order: "RGB" or "BGR".
    """

    name: str = "unit"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "RGB"

    @classmethod
    def parse(cls, text: str) -> Preprocessing:
        """The preprocessing that `text` names, or spells out: `scale=0.017,mean=a:b:c,std=a:b:c,order=BGR`.

        Raises:
            InputError: it is neither.
        """
        if text in NAMED:
            return NAMED[text]
        known = f"{', '.join(NAMED)} or scale=…,mean=a:b:c,std=a:b:c,order=BGR"
        fields: dict[str, Any] = {}
        for part in text.split(","):
            key, given, value = part.partition("=")
            if key not in ("scale", "mean", "std", "order") or not given or key in fields:
                raise InputError(f"'{printable(text)}' is not a preprocessing; there are {known}")
            fields[key] = value
        try:
            numbers = {key: [float(v) for v in fields[key].split(":")] for key in ("mean", "std") if key in fields}
            scale = float(fields.get("scale", 1))
        except ValueError:
            raise InputError(f"'{printable(text)}' has a value that is not a number; there are {known}") from None
        mean, std = numbers.get("mean", [0.0]), numbers.get("std", [1.0])
        return cls._checked("custom", scale, mean, std, fields.get("order", "RGB"))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The preprocessing kept in a model's metadata.

        Raises:
            InputError: the text is not what `to_json` writes.
        """
        try:
            data = json.loads(text)
            mean, std = ([float(v) for v in data[key]] for key in ("mean", "std"))
            return cls._checked(str(data["name"]), float(data["scale"]), mean, std, str(data.get("order", "RGB")))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise InputError(
                f"the model's note on preprocessing cannot be read: {printable(text, 80)}; give --preprocess"
            ) from None

    @classmethod
    def _checked(
        cls, name: str, scale: float, mean: Sequence[float], std: Sequence[float], order: str
    ) -> Preprocessing:
        values = [scale, *mean, *std]
        if not all(map(math.isfinite, values)) or scale == 0 or 0 in std or not mean or not std:
            raise InputError(f"a preprocessing needs finite numbers, scale and std not 0: got {scale}, {mean}, {std}")
        if order.upper() not in ("RGB", "BGR"):
            raise InputError(f"the channel order is RGB or BGR, not '{printable(order)}'")
        return cls(name, scale, tuple(mean), tuple(std), order.upper())

    def to_json(self) -> str:
        """The preprocessing as it is kept in a model's metadata."""
        return json.dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The preprocessing as JSON types."""
        data = asdict(self)
        return {**data, "mean": list(self.mean), "std": list(self.std)}

    def apply(self, pixels: Array) -> Array:
        """The model's input for one picture.

        Args:
            pixels: (H, W, C), 0…255; channels in the order RGB.

        Returns:
            (H, W, C) float32, channels in the order `self.order`.

        Raises:
            InputError: mean or std have another number of channels than the picture.
        """
        channels = pixels.shape[-1]
        for key, given in (("mean", self.mean), ("std", self.std)):
            if len(given) not in (1, channels):
                raise InputError(f"preprocessing '{self.name}' has {len(given)} {key} values for {channels} channels")
        if self.order == "BGR" and channels >= 3:  # a fourth channel is alpha, and stays last
            pixels = np.concatenate([pixels[..., 2::-1], pixels[..., 3:]], axis=-1)
        values: Array = pixels.astype(np.float32) * np.float32(self.scale)
        values = (values - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(values, np.float32)


NAMED: dict[str, Preprocessing] = {
    "raw": Preprocessing("raw", 1.0),
    "unit": Preprocessing("unit", 1 / 255),
    "signed": Preprocessing("signed", 1 / 127.5, (1.0,)),
    # torchvision's ImageNet constants, and those of the original Caffe VGG (in BGR).
    "torch": Preprocessing("torch", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": Preprocessing("caffe", 1.0, (103.939, 116.779, 123.68), (1.0,), "BGR"),
}


def read_image(
    path: Path,
    *,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    fit: Fit = "stretch",
    background: str = "white",
) -> Array:
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
