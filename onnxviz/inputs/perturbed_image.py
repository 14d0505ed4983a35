"""Perturbed images: what deployment does to a photo anyway: JPEG, a shift, brightness, another filter of resizing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxviz.inputs.image_bands import Fit, resized
from onnxviz.inputs.interpolate import resized as interpolated

Pixels = NDArray[Any]
"""(H, W, C), 0…255, uint8 or float32."""

USUAL_FILTER = "bilinear"
_FILTERS: Mapping[str, Image.Resampling] = MappingProxyType(
    {
        USUAL_FILTER: Image.Resampling.BILINEAR,
        "nearest": Image.Resampling.NEAREST,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
        "area": Image.Resampling.BOX,
    }
)
_WITHOUT_AVERAGING = "bilinear without averaging"
FILTERS = (*_FILTERS, _WITHOUT_AVERAGING)
"""The filters of `resized_by`. All but the last and nearest average over what falls together (antialiasing)."""


def recompressed(pixels: Pixels, quality: int = 75) -> Pixels:
    """The picture after it was kept as JPEG, uint8; its first three channels, or the first alone of one or two.

    Args:
        pixels: the picture.
        quality: of libjpeg, 1…95.
    """
    whole = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    colours = 3 if whole.shape[2] >= 3 else 1
    file = BytesIO()
    Image.fromarray(whole[..., 0] if colours == 1 else np.ascontiguousarray(whole[..., :3])).save(
        file, "JPEG", quality=quality
    )
    kept = np.asarray(Image.open(file))
    return np.concatenate([kept.reshape(*whole.shape[:2], colours), whole[..., colours:]], axis=2)


def shifted(pixels: Pixels) -> Pixels:
    """The picture one pixel farther right and down; the first row and column are repeated."""
    return np.pad(pixels, ((1, 0), (1, 0), (0, 0)), mode="edge")[:-1, :-1]


def brightened(pixels: Pixels, factor: float) -> Pixels:
    """The picture times a factor, cut off at 255; whole numbers stay whole."""
    made = np.clip(pixels.astype(np.float64) * factor, 0, 255)
    return (np.rint(made) if pixels.dtype == np.uint8 else made).astype(pixels.dtype)


SHIFT = "a shift by one pixel"
INPUT_PERTURBATIONS: Mapping[str, Callable[[Pixels], Pixels]] = MappingProxyType(
    {
        SHIFT: shifted,
        "5 % more brightness": lambda pixels: brightened(pixels, 1.05),
        "5 % less brightness": lambda pixels: brightened(pixels, 0.95),
    }
)
"""What happens to a picture of the model's own size."""


def resized_by(pixels: Pixels, size: tuple[int, int], fit: Fit, name: str = USUAL_FILTER) -> Pixels:
    """The picture in another size, with another filter than `onnxviz.inputs.image_bands.resized` takes.

    Args:
        pixels: the picture.
        size: (height, width).
        fit: "stretch" or "crop", as there.
        name: of `FILTERS`.

    Returns:
        (height, width, C), of the type of `pixels`.
    """
    if name == _WITHOUT_AVERAGING:
        planes = np.moveaxis(_cropped(pixels, size) if fit == "crop" else pixels, 2, 0).astype(np.float64)
        made = np.moveaxis(interpolated(planes, size), 0, 2)
        return (np.rint(made) if pixels.dtype == np.uint8 else made).astype(pixels.dtype)
    bands = [Image.fromarray(np.ascontiguousarray(pixels[..., place])) for place in range(pixels.shape[2])]
    return np.stack([np.asarray(resized(band, size, fit, _FILTERS[name])) for band in bands], axis=2)


def _cropped(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The largest middle part in the proportions of `size`, to whole pixels."""
    height, width = pixels.shape[:2]
    factor = min(height / size[0], width / size[1])
    rows, columns = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    top, left = (height - rows) // 2, (width - columns) // 2
    return pixels[top : top + rows, left : left + columns]
