"""Random transforms of a picture (jitter, scale, rotation) with their adjoints, for robust maximisation.

Jitter, scale and rotation are affine; however many are chained, the picture is sampled once, linearly, and the
adjoint of that sampling takes the gradient back. Without them, gradient ascent finds noise that only fits one
position. (Mordvintsev et al., Inceptionism, 2015; Olah et al., Feature Visualization, Distill 2017)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError

Size = tuple[int, ...]


class Transform(Protocol):
    """A random affine movement."""

    def draw(self, random: np.random.Generator, size: Size) -> NDArray[Any]:
        """A matrix (rank + 1, rank + 1) that takes positions in the new picture, from its middle, to the old one."""


@dataclass(frozen=True)
class Jitter:
    """A shift by whole pixels, at most `pixels` along each axis, uniform."""

    pixels: int

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise InputError(f"a jitter of {self.pixels} pixels does not exist; give 0 or more")

    def draw(self, random: np.random.Generator, size: Size) -> NDArray[Any]:
        """A translation."""
        matrix = np.eye(len(size) + 1)
        matrix[:-1, -1] = random.integers(-self.pixels, self.pixels, len(size), endpoint=True)
        return matrix


@dataclass(frozen=True)
class Scale:
    """A factor between `low` and `high`, uniform; above 1 enlarges."""

    low: float = 0.9
    high: float = 1.1

    def __post_init__(self) -> None:
        if not 0.1 <= self.low <= self.high <= 10:
            raise InputError(f"scales from {self.low} to {self.high} do not exist; give 0.1 to 10, the lower first")

    def draw(self, random: np.random.Generator, size: Size) -> NDArray[Any]:
        """A scaling about the middle."""
        matrix = np.eye(len(size) + 1)
        matrix[:-1, :-1] /= random.uniform(self.low, self.high)
        return matrix


@dataclass(frozen=True)
class Rotate:
    """A turn by at most `degrees` either way, uniform, in the plane of the last two axes; none for signals."""

    degrees: float = 10.0

    def draw(self, random: np.random.Generator, size: Size) -> NDArray[Any]:
        """A rotation about the middle."""
        matrix = np.eye(len(size) + 1)
        angle = math.radians(random.uniform(-self.degrees, self.degrees))
        if len(size) >= 2:
            matrix[-3:-1, -3:-1] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        return matrix


@dataclass(frozen=True)
class Crop:
    """A part of the picture, of its form and anywhere in it, enlarged to its size; the share of the side is uniform.

    What is seen in parts of many sizes has to hold in each. (Fel et al., MAgnitude Constrained Optimization, 2023)
    """

    low: float = 0.5
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0.05 <= self.low <= self.high <= 1:
            raise InputError(
                f"crops of {self.low} to {self.high} of a side do not exist; give 0.05 to 1, the lower first"
            )

    def draw(self, random: np.random.Generator, size: Size) -> NDArray[Any]:
        """A scaling and a shift."""
        share = random.uniform(self.low, self.high)
        matrix = np.eye(len(size) + 1)
        matrix[:-1, :-1] *= share
        # Between the middles of the outermost pixels: beyond them begins the other edge.
        matrix[:-1, -1] = (1 - share) * (np.asarray(size) - 1) * random.uniform(-0.5, 0.5, len(size))
        return matrix


@dataclass(frozen=True)
class Pad:
    """Not a movement: what lies outside the picture is `value` (0…1), instead of the picture going on round."""

    value: float = 0.5

    def draw(self, random: np.random.Generator, size: Size) -> NDArray[Any]:
        """No movement."""
        return np.eye(len(size) + 1)


@dataclass(frozen=True)
class Warp:
    """One drawn movement: what of a picture is seen through a window; pictures and views are (N, C, spatial…).

    Attributes:
        source: size of the picture.
        size: of the window, whose middle is the picture's where nothing moves.
        matrix: (rank + 1, rank + 1), positions in the window, from its middle, to positions in the picture, from its.
        fill: what lies outside; None: the picture goes on round, as a tile does, so that there is no edge to learn.
    """

    source: Size
    size: Size
    matrix: NDArray[Any]
    fill: float | None = None

    @cached_property
    def _shift(self) -> tuple[int, ...] | None:
        """Where the window begins if the movement is one by whole pixels of a tile, which needs no sampling."""
        first = self.matrix[:-1, -1] + (np.asarray(self.source) - self.size) / 2
        whole = self.fill is None and np.array_equal(self.matrix[:-1, :-1], np.eye(len(self.size)))
        return tuple(int(step) for step in first) if whole and np.array_equal(first, np.rint(first)) else None

    @property
    def _window(self) -> tuple[slice, ...]:
        return (slice(None), slice(None), *(slice(length) for length in self.size))

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(2, 2 + len(self.size)))

    @cached_property
    def _taps(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """For each corner of the cells that positions fall in: flat indices and weights, (positions,) each."""
        grid = np.meshgrid(*(np.arange(length) - (length - 1) / 2 for length in self.size), indexing="ij")
        flat = np.stack([axis.ravel() for axis in grid])
        middle = (np.asarray(self.source) - 1) / 2
        places = self.matrix[:-1, :-1] @ flat + (self.matrix[:-1, -1] + middle)[:, None]
        sides = [self._sides(place, length) for place, length in zip(places, self.source, strict=True)]
        taps = []
        for corner in product(*sides):
            index, weight = corner[0]
            for (further, factor), length in zip(corner[1:], self.source[1:], strict=True):
                index, weight = index * length + further, weight * factor
            taps.append((index, weight))
        return taps

    def _sides(self, place: NDArray[Any], length: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Indices and weights of the two pixels that places along one axis lie between."""
        below = np.floor(place)
        ahead = (place - below).astype(np.float32)
        first = below.astype(np.intp)
        sides = [(first, 1 - ahead), (first + 1, ahead)]
        if self.fill is not None:
            sides = [(at, weight * ((at >= 0) & (at < length))) for at, weight in sides]
        inside = first.min() >= 0 and first.max() + 1 < length  # the usual case, and division is slow
        return sides if inside else [(at % length, weight) for at, weight in sides]

    def forward(self, images: NDArray[Any]) -> NDArray[Any]:
        """What is seen of pictures."""
        if self._shift is not None:
            return np.roll(images, [-step for step in self._shift], self._axes)[self._window]
        planes = images.reshape(-1, math.prod(self.source))
        seen = np.zeros((len(planes), math.prod(self.size)), images.dtype)
        for index, weight in self._taps:
            for target, plane in zip(seen, planes, strict=True):
                target += plane.take(index, mode="clip") * weight  # clip: indices are inside, and not checked again
        if self.fill is not None:
            seen += np.float32(self.fill) * (1 - sum(weight for _, weight in self._taps))
        return seen.reshape(*images.shape[:2], *self.size)

    def adjoint(self, gradient: NDArray[Any]) -> NDArray[Any]:
        """The gradient with respect to the pictures, from that with respect to what is seen."""
        shape = (*gradient.shape[:2], *self.source)
        if self._shift is not None:
            whole = np.zeros(shape, gradient.dtype)
            whole[self._window] = gradient
            return np.roll(whole, self._shift, self._axes)
        planes = gradient.reshape(-1, math.prod(self.size))
        pulled = np.zeros((len(planes), math.prod(self.source)), gradient.dtype)
        for target, plane in zip(pulled, planes, strict=True):
            for index, weight in self._taps:
                np.add.at(target, index, plane * weight)
        return pulled.reshape(shape)


def draw(transforms: Sequence[Transform], random: np.random.Generator, size: Size, source: Size | None = None) -> Warp:
    """One drawn chain of transforms, the first applied first, as a single sampling.

    Args:
        transforms: the chain.
        random: what is drawn from.
        size: of the window.
        source: of the picture; None for that of the window.
    """
    matrix = np.eye(len(size) + 1)
    for transform in transforms:
        matrix = matrix @ transform.draw(random, size)
    fills = [transform.value for transform in transforms if isinstance(transform, Pad)]
    return Warp(source or size, size, matrix, fills[-1] if fills else None)


def margin(transforms: Sequence[Transform]) -> int:
    """By how many pixels a picture has to be larger on each side, so that jitter leaves its edges out of sight.

    Edges are seen less often than the middle, and Adam makes much of a small difference: on flat colours, bright
    corners were the result.
    """
    return sum(transform.pixels for transform in transforms if isinstance(transform, Jitter))


def usual_jitter(size: Size) -> int:
    """16 pixels; of pictures smaller than 224, a fourteenth of the shorter side."""
    return min(16, max(1, round(min(size) / 14)))


def standard(jitter: int) -> tuple[Transform, ...]:
    """Jitter, ±10 % of scale and ±10° of rotation (after lucid's `standard_transforms`, 2017)."""
    return Jitter(jitter), Scale(), Rotate()


def standard_for_classes(jitter: int) -> tuple[Transform, ...]:
    """Jitter, crops of half to the whole side and ±10° of rotation.

    Chosen by measure, in docs/quality.md: other networks name more of the pictures than with the scale ±10 % of
    `standard`, and the score of the network that is climbed is lower.
    """
    return Jitter(jitter), Crop(), Rotate()
