"""Image files decoded to pixels: formats by content, depth, orientation, transparency, size."""

from __future__ import annotations

import stat
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFile, ImageOps, UnidentifiedImageError

from onnxviz.errors import InputError
from onnxviz.inputs.image_bands import Bands, Fit, Kind, resized
from onnxviz.inputs.image_depth import DeepForm, needs_tifffile
from onnxviz.inputs.image_pages import one_page
from onnxviz.inputs.png_files import incomplete_pictures
from onnxviz.inputs.tiff_files import TiffReader
from onnxviz.messages import option, printable

# By content, not by name; an allow-list, because others (EPS) run interpreters.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
# A 10 kB PNG can declare any size; 64 Mpx take some 0.4 GB to decode and convert, three times that of 16 bits.
MAX_PIXELS = 64 * 2**20
# A picture that the model takes at its own size also becomes maps, of many channels and four bytes a value.
MAX_OWN_PIXELS = 16 * 2**20


def read_image(
    path: Path | str,
    *,
    channels: int | None = 3,
    size: tuple[int, int] | None = None,
    fit: Fit = "stretch",
    background: str = "white",
) -> NDArray[Any]:
    """One picture, decoded whole, upright and resized.

    EXIF rotation is applied; transparency is laid on `background` unless it is one of the channels. Nothing is rounded:
    16 bits and floats of 0…1 become float32 of 0…255.

    Args:
        path: an image file of one of `FORMATS`; `photo.tif[3]` is its fourth page or frame.
        channels: 1 is grey, 3 RGB, 4 RGB with alpha, if the file has it; or as many as the file has bands. None for RGB
            where the file has grey or colours, and else all its bands.
        size: (height, width) in pixels; None for the picture's own.
        fit: "stretch" to the size whatever the proportions, or "crop" the middle after scaling the shorter side.
        background: a colour name or `#rrggbb`.

    Returns:
        (H, W, channels), 0…255: uint8 where the file has 8 bits a channel, float32 where it has more.

    Raises:
        InputError: it is not an image, is damaged, too large, has other channels or values without a known range.
    """
    file, place = one_page(str(path))
    with ImageReader(file) as opened:
        return opened.read(place, channels=channels, size=size, fit=fit, background=background)


class ImageReader:
    """An image file whose pages are read one after the other: it stays open, and none is decoded twice on the way.

    Args:
        path: the file.
        last: the place of the page after which it is closed; None to close it after each.
    """

    def __init__(self, path: Path, last: int | None = None) -> None:
        self.path = path
        self.last = last
        self._picture: ImageFile.ImageFile | None = None
        self._file: IO[bytes] | None = None
        self._tiff: TiffReader | None = None
        self._next = 0
        self._broken: tuple[int, str] | None = None
        self._incomplete: frozenset[int] | None = None

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # where nobody went on to the last page

    def close(self) -> None:
        """Closes the file; the next `read` opens it again."""
        for opened in (self._picture, self._file, self._tiff):
            if opened is not None:
                opened.close()
        self._picture, self._file, self._tiff, self._next = None, None, None, 0

    def read(
        self,
        place: int = 0,
        *,
        channels: int | None = 3,
        size: tuple[int, int] | None = None,
        fit: Fit = "stretch",
        background: str = "white",
    ) -> NDArray[Any]:
        """The page at this place of the file; the rest as for `read_image`."""
        ground = parse_colour(background)
        try:
            with _in_one_line(self.path):
                made = self._decoded(place, bounded=size is not None)
        except InputError as error:
            if self._broken is None and not _is_tiff(self.path):  # of an animation, a frame needs those before it
                self._broken = place, str(error)
            raise
        finally:
            if self.last is None or place >= self.last:
                self.close()
        if isinstance(made, Bands):
            return made.pixels(made.kind.channels(channels, str(self.path)), size, fit, ground)
        return _pixels(made, self.path, channels, size, fit, ground)

    def _decoded(self, place: int, *, bounded: bool) -> Image.Image | Bands:
        """The page, upright: a picture of 8 bits a channel, or else its bands.

        Args:
            place: of the page.
            bounded: whether it will be resized to a size that was checked.
        """
        if self._broken is not None and place >= self._broken[0]:
            raise InputError(self._broken[1])
        limit = MAX_PIXELS if bounded else MAX_OWN_PIXELS
        try:
            picture = self._opened(place)
        except (SyntaxError, KeyError, TypeError, ValueError, UnidentifiedImageError):
            if not _is_tiff(self.path):
                raise
            return self._bands(place, limit)  # perhaps a kind that Pillow does not know
        width, height = picture.size
        if width * height > limit:
            remedy = "make it smaller first" if bounded else f"give {option('size', 'HxW')}"
            raise InputError(f"{self.path} has {width}x{height} pixels; the limit is {limit:,}: {remedy}")
        if needs_tifffile(picture):
            return self._bands(place, limit)
        deep = DeepForm.of(picture, self.path)
        if deep is not None:
            found: Image.Image | Bands = deep.bands(picture, self.path, lambda: self._opened(place, again=True))
        else:
            picture.load()
            found = ImageOps.exif_transpose(picture)
        if picture.format == "PNG":
            if self._incomplete is None:
                self._incomplete = incomplete_pictures(self.path)
            if place in self._incomplete:
                raise InputError(f"{self.path} is damaged: rows of the PNG are missing")
        return found

    def _bands(self, place: int, limit: int) -> Bands:
        self._tiff = self._tiff or TiffReader(self.path)
        return self._tiff.read(place, limit)

    def _opened(self, place: int, *, again: bool = False) -> ImageFile.ImageFile:
        """The file at a page that is not decoded yet."""
        if again and place and self._picture is not None:
            self._picture.seek(0)  # from there Pillow finds its way back without reading the pages between
        elif place < self._next or again:
            self.close()
        if self._picture is None:
            # Given a name, Pillow maps some files into memory, and then mixes up the sides of a TIFF that is turned.
            self._file = self._file or _regular(self.path).open("rb")
            self._picture = Image.open(self._file, formats=FORMATS)
        if place:
            self._picture.seek(place)
        self._next = place + 1
        return self._picture


@dataclass(frozen=True, eq=False)
class Picture:
    """An image in memory, read as an image file is.

    Attributes:
        image: of 8 bits a channel.
        path: what messages and labels call it: the name of the file that it was opened from, or `image`.
    """

    image: Image.Image
    path: Path

    def read(
        self,
        place: int = 0,
        *,
        channels: int | None = 3,
        size: tuple[int, int] | None = None,
        fit: Fit = "stretch",
        background: str = "white",
    ) -> NDArray[Any]:
        """Its pixels, upright; as for `read_image`.

        Raises:
            InputError: its channels have more than 8 bits, or the file that it was opened from cannot be decoded.
        """
        ground = parse_colour(background)
        if self.image.mode.startswith(("I", "F")):
            raise InputError(
                f"an image of mode {self.image.mode} has values without a known range: give its file, or an array"
            )
        with _in_one_line(self.path):
            upright = ImageOps.exif_transpose(self.image)
        return _pixels(upright, self.path, channels, size, fit, ground)


def _pixels(
    upright: Image.Image,
    path: Path,
    channels: int | None,
    size: tuple[int, int] | None,
    fit: Fit,
    ground: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """The pixels of a picture of 8 bits a channel, (H, W, channels); arguments as for `read_image`."""
    flat = _flatten(upright, _kind(upright).channels(channels, str(path)), ground)
    pixels = np.asarray(resized(flat, size, fit))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def held_picture(given: object, layout: str, shape: Sequence[int | str | None] | None) -> Picture | None:
    """`given`, if it is an image in memory and the input takes pictures: one of Pillow's, or (H, W, 3) uint8, RGB.

    Args:
        given: what a caller gave.
        layout: of the input, "NCHW" or "NHWC" where it takes pictures.
        shape: of the input. An array that is (C, H, W) of it already is no image.
    """
    if isinstance(given, Image.Image):
        return Picture(given, Path(Path(getattr(given, "filename", "") or "image").name))
    if layout not in ("NCHW", "NHWC") or not hasattr(given, "__array__") or not hasattr(given, "shape"):
        return None
    if str(getattr(given, "dtype", "")).rpartition(".")[2] != "uint8" or len(given.shape) != 3 or given.shape[2] != 3:
        return None
    if layout == "NCHW" and shape is not None and given.shape[0] == shape[1] and shape[3] == 3:
        return None
    return Picture(Image.fromarray(np.ascontiguousarray(given)), Path("image"))


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


def _regular(path: Path) -> Path:
    """The path, if a file is there; a FIFO would block for ever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path} is not a file")
    return path


def _is_tiff(path: Path) -> bool:
    try:
        with _regular(path).open("rb") as file:
            return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    except (OSError, InputError):
        return False


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Turns what Pillow raises on files that are missing, damaged or not images into one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's bomb warning: sizes are checked before anything is decoded
            yield
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path} has far more than {MAX_PIXELS:,} pixels: make it smaller first") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image that onnxviz reads ({', '.join(FORMATS)})") from None
    except (ArithmeticError, EOFError, LookupError, MemoryError, OSError, SyntaxError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be decoded: {printable(str(error))}") from None
    except (struct.error, zlib.error) as error:
        raise InputError(f"{path} cannot be decoded: {printable(str(error))}") from None


def _kind(picture: Image.Image) -> Kind:
    """What the bands of a picture of 8 bits a channel are, once its palette is looked up."""
    alpha = picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info
    colours = 1 if picture.mode in ("1", "L", "LA", "La") else 3
    return Kind(colours, alpha, colours + alpha)


def _flatten(picture: Image.Image, channels: int, ground: tuple[int, int, int]) -> Image.Image:
    """Eight bits a channel, without transparency unless it is among the channels; of so many as `Kind.channels` allows.

    Args:
        picture: any mode of 8 bits a channel.
        channels: 1 to 4.
        ground: colour behind transparent pixels.
    """
    kind = _kind(picture)
    if channels == 4:
        return picture.convert("RGBA")
    if channels == 2:
        return picture.convert("RGBA").convert("LA")
    if kind.alpha:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, (*ground, 255)), layer)
    if picture.mode == "LAB":  # which Pillow makes no grey of
        picture = picture.convert("RGB")
    return picture.convert("L" if channels == 1 else "RGB")
