"""A sample as a picture: the pixels that a model's input stands for, and which of its bands are shown as what."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, SelectionError
from onnxviz.inputs.image_bands import resized_picture
from onnxviz.inputs.image_files import Picture, read_image
from onnxviz.inputs.samples import ImageOptions
from onnxviz.messages import option

Bands = Sequence[int]


def sample_picture(
    array: NDArray[Any],
    channel_axis: int | None,
    photo: str | Picture = "",
    images: ImageOptions | None = None,
    longest: int = 0,
    bounds: tuple[float, float] | None = None,
    bands: Bands | None = None,
) -> NDArray[Any]:
    """The picture behind an input, (H, W, 3) uint8.

    Args:
        array: the values that were fed, without batch axis; NaN and infinite ones are shown as 0.
        channel_axis: which axis counts channels, None if there is none.
        photo: the path of the image file, with the page if it has several (`photo.tif[3]`), or the image in memory; ""
            if there is none.
        images: how it was read.
        longest: pixels along the longer side, in the proportions of the file (of the input, where it was cropped); 0
            for the size that was fed, pixel by pixel.
        bounds: the values that are drawn black and white; None for the least and greatest of the bands shown.
        bands: see `shown_bands`.

    Raises:
        InputError: the input is not a picture, or the file is gone.
        SelectionError: there is no such band.
    """
    planes = array[None] if channel_axis is None else np.moveaxis(array, channel_axis, 0)
    if planes.ndim != 3:
        raise InputError(f"an input of shape {array.shape} is not a picture")
    if photo and images is not None:
        return _of_photo(photo, planes.shape, images, longest, bands)
    shown = planes[shown_bands(len(planes), bands)]
    finite = np.where(np.isfinite(shown), shown, 0).astype(np.float64)
    low, high = bounds if bounds is not None else (float(finite.min()), float(finite.max()))
    scaled = (finite - low) / (high - low) * 255 if high > low else np.full(finite.shape, 128.0)
    if longest:
        # Late: that package draws explanations on these pictures.
        from onnxviz.inputs.interpolate import resized

        scaled = resized(scaled, _fitting(planes.shape[1:], longest))
    pixels = np.rint(scaled).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0))


def shown_bands(count: int, bands: Bands | None = None) -> list[int]:
    """Which of that many channels are shown: three as red, green and blue, or one in grey.

    Args:
        count: how many there are.
        bands: those that are asked for; None for the first three where there are three or four, else the first.

    Raises:
        SelectionError: there is no such band, or they are neither one nor three.
    """
    if bands is None:
        return [0, 1, 2] if count in (3, 4) else [0]
    if len(bands) not in (1, 3):
        raise SelectionError(
            f"a picture shows one band in grey, or three as red, green and blue, not {len(bands)}: "
            f"{option('bands', '3,2,1', '(3, 2, 1)')}"
        )
    if wrong := [band for band in bands if not 0 <= band < count]:
        raise SelectionError(f"there is no band {wrong[0]}; there are {count}, counted from 0")
    return list(bands)


def words_of_bands(count: int, bands: Bands | None = None) -> str:
    """What is shown of that many channels, where it is not what one expects: `band 0 of 8, grey`; else "".

    Raises:
        SelectionError: as for `shown_bands`.
    """
    shown = shown_bands(count, bands)
    if bands is None and count in (1, 3):
        return ""
    if len(shown) == 1:
        return f"band {shown[0]} of {count}, grey" if count > 1 else ""
    return f"bands {', '.join(map(str, shown))} of {count} as red, green, blue"


def _of_photo(
    photo: str | Picture, fed: tuple[int, ...], images: ImageOptions, longest: int, bands: Bands | None
) -> NDArray[Any]:
    """The picture of an image; `fed` is the input's (channels, height, width)."""
    reading = photo.read if isinstance(photo, Picture) else partial(read_image, photo)
    read = partial(reading, channels=1 if fed[0] == 1 else None, background=images.background)
    size = (fed[1], fed[2])
    if longest and images.fit != "crop":
        try:
            own = _shown(read(), bands)
        except InputError:  # too many pixels to be decoded at its own size
            size = _fitting(size, longest)
        else:
            return resized_picture(own, _fitting(own.shape[:2], longest))
    elif longest:
        size = _fitting(size, longest)
    return _shown(read(size=size, fit=images.fit), bands)


def _shown(pixels: NDArray[Any], bands: Bands | None) -> NDArray[np.uint8]:
    """The bands that are shown, (H, W, 3) uint8."""
    colours = pixels[..., shown_bands(pixels.shape[2], bands)]
    colours = colours if colours.shape[2] == 3 else np.repeat(colours, 3, axis=2)
    return np.ascontiguousarray(colours if colours.dtype == np.uint8 else np.rint(colours).astype(np.uint8))


def _fitting(size: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) of the same proportions with a longer side of `longest` pixels."""
    height, width = size
    factor = longest / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))
