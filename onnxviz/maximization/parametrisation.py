"""Parametrisations of a picture: its pixels, or its Fourier spectrum with decorrelated colours.

Pictures here are (N, C, spatial…) float32 in display space, 0…1, channels RGB where there are three. Each
parametrisation has the exact adjoint of what it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Square root of the colours' covariance in photos (columns: brightness, blue–yellow, green–magenta), from ImageNet.
# (lucid 0.3.10, 2021: `color_correlation_svd_sqrt`; Olah et al., Feature Visualization, Distill 2017)
_COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COLOURS: NDArray[Any] = (_COLOURS / np.linalg.norm(_COLOURS, axis=0).max()).astype(np.float32)
# lucid's: spectra of this size make pictures near to grey, where a network's gradients are lively.
DEVIATION = 0.01
_SPECTRUM_DIVISOR = 4.0
# Chosen by `python tests/benchmarks quality`: with 1, early filters get ragged patches and late ones a fine grain;
# with 1.5, early ones get holes in their textures and late ones glaring colours.
DECAY = 1.3


class Parametrisation(Protocol):
    """A smooth map from free parameters to pictures."""

    def start(self, sources: Sequence[np.random.Generator]) -> NDArray[Any]:
        """Random parameters for one near-grey picture per source, (N, …) float32."""

    def images(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The pictures, (N, C, spatial…) in 0…1."""

    def pull(self, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """The gradient with respect to the parameters.

        Args:
            images: what `images` gave for them.
            gradient: with respect to the pictures, (N, C, spatial…).
        """


@dataclass(frozen=True)
class Pixels:
    """Each pixel on its own: x = sigmoid(parameter).

    Attributes:
        shape: (C, spatial…).
        deviation: standard deviation of the start.
    """

    shape: tuple[int, ...]
    deviation: float = DEVIATION

    def start(self, sources: Sequence[np.random.Generator]) -> NDArray[Any]:
        """Normal noise about grey."""
        return _noise(sources, self.shape, self.deviation)

    def images(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The pictures."""
        return _sigmoid(parameters)

    def pull(self, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """The gradient with respect to the pixels' parameters."""
        pulled: NDArray[Any] = gradient * images * (1 - images)
        return pulled


@dataclass(frozen=True)
class Fourier:
    """The spectrum, low frequencies made easy and high ones hard, in colours that photos vary independently.

    x = sigmoid(M · irfftn(s · z) / 4), s = 1 / max(f, 1 / longest side)^decay, f in cycles per pixel, irfftn
    orthonormal; M the colour matrix where there are three channels. Gradient steps in z prefer what photos have much
    of, without any penalty. (Olah et al., Feature Visualization, Distill 2017; lucid's `param.image`)

    Unlike there, s of the mean (f = 0) is larger: the geometric mean of lucid's and of the one with which a step of
    Adam would move the mean as far as it moves a pixel about the mean, the root of the sum of all other (n s)², n = 2
    for what stands twice in a whole spectrum. With lucid's, some seven times slower, filters that look for a flat
    colour get it in the middle and its opposite at the edges; with the other, late filters get one tint all over.

    Attributes:
        shape: (C, spatial…).
        decay: power of the frequency. Photos and lucid have 1; steeper gives as much activation with less noise.
        deviation: standard deviation of the start.
    """

    shape: tuple[int, ...]
    decay: float = DECAY
    deviation: float = DEVIATION

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(2, len(self.shape) + 1))

    @cached_property
    def scale(self) -> NDArray[Any]:
        """Factor of each frequency, in the shape of a real spectrum of one channel."""
        sizes = self.shape[1:]
        grids = [np.fft.fftfreq(size) for size in sizes[:-1]] + [np.fft.rfftfreq(sizes[-1])]
        squares = np.zeros(())
        for grid in grids:
            squares = squares[..., None] + grid**2
        lowest = 1 / max(sizes)
        factors: NDArray[Any] = np.maximum(np.sqrt(squares), lowest) ** -self.decay / _SPECTRUM_DIVISOR
        mean = (0,) * len(sizes)
        others = ((factors * self._twice) ** 2).sum() - factors[mean] ** 2
        factors[mean] = np.sqrt(factors[mean] * max(factors[mean], np.sqrt(others)))
        return factors.astype(np.float32)

    @cached_property
    def _twice(self) -> NDArray[Any]:
        """How often each column of the half spectrum stands in the whole one."""
        length = self.shape[-1]
        counts = np.full(length // 2 + 1, 2, np.float32)
        counts[0] = 1
        if length % 2 == 0:
            counts[-1] = 1
        return counts

    def start(self, sources: Sequence[np.random.Generator]) -> NDArray[Any]:
        """A normal spectrum, (N, C, spatial…, last / 2 + 1, 2): real and imaginary parts."""
        return _noise(sources, (self.shape[0], *self.scale.shape, 2), self.deviation)

    def plane(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The pictures before the sigmoid: the linear part, (N, C, spatial…)."""
        spectrum = np.ascontiguousarray(parameters).view(np.complex64)[..., 0] * self.scale
        plane: NDArray[Any] = np.fft.irfftn(spectrum, self.shape[1:], self._axes, norm="ortho").astype(
            np.float32, copy=False
        )
        return _mixed(plane, COLOURS) if self.shape[0] == 3 else plane

    def plane_adjoint(self, gradient: NDArray[Any]) -> NDArray[Any]:
        """The adjoint of `plane`."""
        if self.shape[0] == 3:
            gradient = _mixed(gradient, COLOURS.T)
        spectrum = np.fft.rfftn(gradient, axes=self._axes, norm="ortho").astype(np.complex64, copy=False)
        spectrum *= self.scale * self._twice
        return np.ascontiguousarray(spectrum)[..., None].view(np.float32)

    def images(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The pictures."""
        return _sigmoid(self.plane(parameters))

    def pull(self, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """The gradient with respect to the spectrum."""
        return self.plane_adjoint(gradient * images * (1 - images))


def _noise(sources: Sequence[np.random.Generator], shape: tuple[int, ...], deviation: float) -> NDArray[Any]:
    return np.stack([source.standard_normal(shape, np.float32) * np.float32(deviation) for source in sources])


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # e^−x of a large negative x is infinite, and 1 / ∞ the right answer
        value: NDArray[Any] = 1 / (1 + np.exp(-x))
    return value


def _mixed(planes: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """`matrix` applied to the channels: (N, 3, spatial…) to the same."""
    mixed: NDArray[Any] = matrix @ planes.reshape(len(planes), 3, -1)
    return mixed.reshape(planes.shape)
