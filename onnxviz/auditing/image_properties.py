"""Properties of photos: brightness, contrast, size and colours, by which one set of photos is told from another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError

PROPERTIES = ("brightness", "contrast", "height", "width", "first channel", "second channel", "third channel")
"""Of a photo: mean and standard deviation of its luminance and means of its channels, all 0…255, and its size in
pixels. Of grey photos the channels are the luminance."""
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Shift(NamedTuple):
    """A property that another set of photos has otherwise.

    Attributes:
        name: of the property.
        before, after: means over the photos of the baseline, and of now.
        errors: the difference in standard errors of it.
        deviations: the difference in standard deviations over the photos of the baseline.
    """

    name: str
    before: float
    after: float
    errors: float
    deviations: float


@dataclass(frozen=True, eq=False)
class ImageProperties:
    """The properties of a set of photos: (photos, PROPERTIES) float32."""

    values: NDArray[np.float32]

    def __len__(self) -> int:
        """How many photos."""
        return len(self.values)

    @classmethod
    def of(cls, pictures: Iterator[NDArray[Any]]) -> ImageProperties:
        """Those of pictures (H, W, C) of 0…255."""
        rows = [_row(pixels) for pixels in pictures]
        return cls(np.asarray(rows, np.float32).reshape(len(rows), len(PROPERTIES)))

    def as_list(self) -> list[list[float]]:
        """As JSON types: a list for each photo."""
        return [[float(value) for value in row] for row in self.values]

    @classmethod
    def read(cls, rows: Sequence[Sequence[float]]) -> ImageProperties:
        """Those of which `as_list` made the rows.

        Raises:
            InputError: they are broken.
        """
        values = np.asarray(rows, np.float32)
        if values.ndim != 2 or values.shape[1] != len(PROPERTIES) or not np.isfinite(values).all():
            raise InputError("the properties of its photos are broken")
        return cls(values)

    def summary(self) -> Mapping[str, float]:
        """The mean of each property."""
        return {name: float(mean) for name, mean in zip(PROPERTIES, self.values.mean(0), strict=True)}


def shifts(before: ImageProperties, after: ImageProperties) -> list[Shift]:
    """The difference of each property's mean between two sets of photos that have two or more each.

    Its standard error is that of two independent samples of unequal variance, √(s₁²/n₁ + s₂²/n₂) (Welch, 1947).
    """
    found = []
    for place, name in enumerate(PROPERTIES):
        old, new = (one.values[:, place].astype(np.float64) for one in (before, after))
        apart = float(new.mean() - old.mean())
        error = math.sqrt(old.var(ddof=1) / len(old) + new.var(ddof=1) / len(new))
        deviation = float(old.std(ddof=1))
        found.append(Shift(name, float(old.mean()), float(new.mean()), _over(apart, error), _over(apart, deviation)))
    return found


def _over(value: float, scale: float) -> float:
    return value / scale if scale else math.copysign(math.inf, value) if value else 0.0


def _row(pixels: NDArray[Any]) -> list[float]:
    height, width, count = pixels.shape
    channels = [pixels[..., place if count >= 3 else 0].astype(np.float64) for place in range(3)]
    luminance = channels[0] if count < 3 else sum(
        weight * one for weight, one in zip(_LUMINANCE, channels, strict=True)
    )  # fmt: skip
    means = [float(one.mean()) for one in channels]
    return [float(np.mean(luminance)), float(np.std(luminance)), float(height), float(width), *means]
