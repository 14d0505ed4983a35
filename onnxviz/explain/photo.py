"""The picture that a map is laid on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxviz.errors import InputError
from onnxviz.explain.resize import resized
from onnxviz.images import read_image
from onnxviz.inputs import ImageOptions
from onnxviz.weights import Array


def photo(array: Array, channel_axis: int | None, path: str, how: ImageOptions | None, longest: int) -> Array:
    """The picture behind an input, (H, W, 3) uint8.

    Args:
        array: what was fed, without batch axis.
        channel_axis: which axis counts channels, None if there is none.
        path: of the image file; "" if there is none.
        how: how it was read.
        longest: pixels along the longer side.

    Raises:
        InputError: the input is not a picture.
    """
    planes = array[None] if channel_axis is None else np.moveaxis(array, channel_axis, 0)
    if planes.ndim != 3:
        raise InputError(f"an input of shape {array.shape} is not a picture")
    fed = planes.shape[1:]
    if path and how is not None:
        grey = planes.shape[0] == 1
        try:
            whole = read_image(Path(path), channels=1 if grey else 3, background=how.background).shape[:2]
        except InputError:  # too many pixels to decode at its own size
            whole = fed
        proportions = fed if how.fit == "crop" else whole
        pixels = read_image(
            Path(path),
            channels=1 if grey else 3,
            size=_fitting(proportions, longest),
            fit=how.fit,
            background=how.background,
        )
        return np.repeat(pixels, 3, axis=2) if grey else pixels
    shown = planes[:3] if planes.shape[0] in (3, 4) else planes[:1]
    finite = np.where(np.isfinite(shown), shown, 0).astype(np.float64)
    low, high = float(finite.min()), float(finite.max())
    scaled = (finite - low) / (high - low) * 255 if high > low else np.full(finite.shape, 128.0)
    large = np.rint(resized(scaled, _fitting(fed, longest))).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(large, (3, *large.shape[1:])).transpose(1, 2, 0))


def _fitting(size: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) of the same proportions with a longer side of `longest` pixels."""
    height, width = size
    factor = longest / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))
