"""Bands of a picture at full depth, made the channels that a model takes: colours, alpha, others as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from onnxviz.errors import InputError

Fit = Literal["stretch", "crop"]

# ITU-R BT.601, as Pillow turns colours into grey.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Kind:
    """What the bands of a picture are.

    Attributes:
        colours: 3 if the first are red, green and blue, 1 if the first is grey; 0 where the file does not say.
        alpha: whether the last is transparency.
        bands: how many there are in all.
    """

    colours: int
    alpha: bool
    bands: int

    def __str__(self) -> str:
        names = [name for name, there in (("RGB", self.colours == 3), ("grey", self.colours == 1)) if there]
        names += ["alpha"] if self.alpha else []
        names += [f"{self.others} more"] if self.others and names else []
        what = f" ({' and '.join(names)})" if names else ""
        return counted(self.bands) + what

    @property
    def others(self) -> int:
        """How many bands are neither colours nor transparency."""
        return self.bands - self.colours - self.alpha

    def channels(self, wanted: int | None, what: str) -> int:
        """How many channels are made of the picture: `wanted`, if that can be.

        Grey is repeated for red, green and blue, colours become grey, and transparency is laid on a background where it
        is not wanted. No other band is made up or left out.

        Args:
            wanted: None for RGB where there are colours or grey, and else for all bands.
            what: the file, in messages.

        Raises:
            InputError: the picture has not as many; the message says both numbers.
        """
        if wanted is None:
            return self.bands if self.others else 3
        if wanted == self.bands or (not self.others and (wanted in (1, 3) or (wanted == 4 and self.alpha))):
            return wanted
        raise InputError(
            f"{what} has {self}, and the input takes {counted(wanted)}: give a .npy array, or a picture with as many"
        )


def counted(channels: int) -> str:
    """`1 channel`, `3 channels`."""
    return f"{channels} channel" + ("s" if channels != 1 else "")


@dataclass(frozen=True)
class Bands:
    """A picture of which Pillow has no mode: more than 8 bits, or other bands than colours and alpha.

    Attributes:
        planes: each (H, W): uint8, uint16 or float32.
        white: the value of full intensity.
        kind: what they are.
    """

    planes: list[NDArray[Any]]
    white: float
    kind: Kind

    def pixels(
        self, channels: int, size: tuple[int, int] | None, fit: Fit, ground: tuple[int, int, int]
    ) -> NDArray[Any]:
        """The channels that a model takes.

        Args:
            channels: as `Kind.channels` allows.
            size: (height, width); None for the picture's own.
            fit: as for `resized`.
            ground: red, green and blue behind transparent pixels, 0…255.

        Returns:
            (H, W, channels), 0…255: uint8 where the file has 8 bits and nothing was mixed, else float32.
        """
        kind = self.kind
        colours, alpha = (self.planes[:-1], self.planes[-1]) if kind.alpha else (self.planes, None)
        levels: tuple[int | None, ...] = (None,) * len(colours)
        share = None
        if alpha is not None and channels < 4 and channels != kind.bands:
            share, alpha = self._scaled(alpha) / np.float32(255), None
            levels = ground if len(colours) == 3 or len(set(ground)) > 1 else ground[:1]

        def fitted(plane: NDArray[Any], level: int | None = None) -> NDArray[Any]:
            band = self._scaled(plane)
            if share is not None and level is not None:
                band = band * share + level * (1 - share)
            return np.asarray(resized(Image.fromarray(band), size, fit))

        found = [fitted(colours[place % len(colours)], level) for place, level in enumerate(levels)]
        if channels == 1 and len(found) == 3:
            found = [np.tensordot(np.array(_LUMA, np.float32), np.stack(found), 1)]
        elif channels >= 3 and len(found) == 1:
            found = found * 3
        return np.stack([*found, *([fitted(alpha)] if alpha is not None else [])], axis=-1)

    def _scaled(self, plane: NDArray[Any]) -> NDArray[Any]:
        """A band as 0…255; exact where it can be, since 65,535 · 255 is below 2²⁴."""
        if plane.dtype == np.uint8 and self.white == 255:
            return plane
        values: NDArray[Any] = plane.astype(np.float32) * np.float32(255) / np.float32(self.white)
        return values


def resized(
    picture: Image.Image,
    size: tuple[int, int] | None,
    fit: Fit,
    method: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """The picture in another size, interpolated linearly and, where it shrinks, averaged, unless told otherwise.

    Args:
        picture: of any mode that Pillow resizes.
        size: (height, width); None leaves it as it is.
        fit: "stretch" whatever the proportions, or "crop" the middle after scaling the shorter side.
        method: Pillow's filter.
    """
    if size is None or picture.size == (size[1], size[0]):
        return picture
    height, width = size
    if fit == "crop":
        return ImageOps.fit(picture, (width, height), method)
    return picture.resize((width, height), method)


def resized_picture(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 stretched to (height, width), as `resized`."""
    return np.asarray(resized(Image.fromarray(pixels), size, "stretch"))
