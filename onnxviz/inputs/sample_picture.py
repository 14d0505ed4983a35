"""A sample as a picture: the pixels that a model's input stands for."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.inputs.image_bands import resized_picture
from onnxviz.inputs.image_files import Picture, read_image
from onnxviz.inputs.samples import ImageOptions


def sample_picture(
    array: NDArray[Any],
    channel_axis: int | None,
    photo: str | Picture = "",
    images: ImageOptions | None = None,
    longest: int = 0,
    bounds: tuple[float, float] | None = None,
) -> NDArray[Any]:
    """The picture behind an input, (H, W, 3) uint8.

    Args:
        array: the values that were fed, without batch axis; NaN and infinite ones are shown as 0.
        channel_axis: which axis counts channels, None if there is none. Of one, three or four channels the first three
            are red, green and blue; of any other number the first is shown, in grey.
        photo: the path of the image file, with the page if it has several (`photo.tif[3]`), or the image in memory; ""
            if there is none.
        images: how it was read.
        longest: pixels along the longer side, in the proportions of the file (of the input, where it was cropped); 0
            for the size that was fed, pixel by pixel.
        bounds: the values that are drawn black and white; None for the array's least and greatest.

    Raises:
        InputError: the input is not a picture, or the file is gone.
    """
    planes = array[None] if channel_axis is None else np.moveaxis(array, channel_axis, 0)
    if planes.ndim != 3:
        raise InputError(f"an input of shape {array.shape} is not a picture")
    if photo and images is not None:
        return _of_photo(photo, planes.shape, images, longest)
    shown = planes[:3] if planes.shape[0] in (3, 4) else planes[:1]
    finite = np.where(np.isfinite(shown), shown, 0).astype(np.float64)
    low, high = bounds if bounds is not None else (float(finite.min()), float(finite.max()))
    scaled = (finite - low) / (high - low) * 255 if high > low else np.full(finite.shape, 128.0)
    if longest:
        # Late: that package draws explanations on these pictures.
        from onnxviz.inputs.interpolate import resized

        scaled = resized(scaled, _fitting(planes.shape[1:], longest))
    pixels = np.rint(scaled).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0))


def _of_photo(photo: str | Picture, fed: tuple[int, ...], images: ImageOptions, longest: int) -> NDArray[Any]:
    """The picture of an image; `fed` is the input's (channels, height, width)."""
    reading = photo.read if isinstance(photo, Picture) else partial(read_image, photo)
    read = partial(reading, channels=1 if fed[0] == 1 else None, background=images.background)
    size = (fed[1], fed[2])
    if longest and images.fit != "crop":
        try:
            own = _shown(read())
        except InputError:  # too many pixels to be decoded at its own size
            size = _fitting(size, longest)
        else:
            return resized_picture(own, _fitting(own.shape[:2], longest))
    elif longest:
        size = _fitting(size, longest)
    return _shown(read(size=size, fit=images.fit))


def _shown(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Three or four bands as red, green and blue, of others the first in grey; (H, W, 3) uint8."""
    colours = pixels[..., :3] if pixels.shape[2] in (3, 4) else np.repeat(pixels[..., :1], 3, axis=2)
    return np.ascontiguousarray(colours if colours.dtype == np.uint8 else np.rint(colours).astype(np.uint8))


def _fitting(size: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) of the same proportions with a longer side of `longest` pixels."""
    height, width = size
    factor = longest / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))
