"""Parametrisations of a picture: its pixels, or its Fourier spectrum with decorrelated colours.

Pictures here are (N, C, spatial…) float32 in display space, 0…1, channels RGB where there are three. Each
parametrisation has the exact adjoint of what it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxviz.maximization.half_spectrum import COLOURS, HalfSpectrum
from onnxviz.maximization.objectives import TINY, means

# lucid's: spectra of this size make pictures near to grey, where a network's gradients are lively.
DEVIATION = 0.01
_SPECTRUM_DIVISOR = 4.0
# Chosen by `python tests/benchmarks quality`: with 1, early filters get ragged patches and late ones a fine grain;
# with 1.5, early ones get holes in their textures and late ones glaring colours.
DECAY = 1.3
# Waves that are longer than so many receptive fields are no easier than that: to the unit they are a flat colour. With
# 1 or 2, first filters' details are as small as can be and in no order; with more, the contrast goes into the waves.
FIELDS = 8


class Parametrisation(Protocol):
    """A smooth map from free parameters to pictures."""

    def start(self, sources: Sequence[np.random.Generator]) -> NDArray[Any]:
        """Random parameters for one near-grey picture per source, (N, …) float32."""

    def images(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The pictures, (N, C, spatial…) in 0…1."""

    def pull(self, parameters: NDArray[Any], images: NDArray[Any], gradient: NDArray[Any], done: float) -> NDArray[Any]:
        """The gradient with respect to the parameters.

        Args:
            parameters: the parameters.
            images: what `images` gave for them.
            gradient: with respect to the pictures, (N, C, spatial…).
            done: the share of the steps that are done, 0…1.
        """

    def held(self, parameters: NDArray[Any], contrast: NDArray[Any]) -> NDArray[Any]:
        """The parameters after a step, those of pictures with more than their contrast (N,) brought back to it."""

    def seen_by(self, field: int) -> Parametrisation:
        """The same, for what units look for that see `field` pixels along the longest axis."""


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
        return sigmoid(parameters)

    def pull(self, parameters: NDArray[Any], images: NDArray[Any], gradient: NDArray[Any], done: float) -> NDArray[Any]:
        """The gradient with respect to the pixels' parameters."""
        pulled: NDArray[Any] = gradient * images * (1 - images)
        return pulled

    def held(self, parameters: NDArray[Any], contrast: NDArray[Any]) -> NDArray[Any]:
        """The parameters, scaled down where their root mean square is above `contrast`."""
        return _scaled(parameters, np.sqrt(means(parameters.astype(np.float64) ** 2)), contrast)

    def seen_by(self, field: int) -> Pixels:
        """The same: no pixel is easier than another."""
        return self


@dataclass(frozen=True)
class Fourier:
    """The spectrum, low frequencies made easy and high ones hard, in colours that photos vary independently.

    x = sigmoid(a + M · irfftn(s · z) / 4), s = 1 / max(f, 1 / longest side, 1 / longest wave)^decay, f in cycles per
    pixel, irfftn orthonormal; M the colour matrix where there are three channels. Gradient steps in z prefer what
    photos have much of, without any penalty. (Olah et al., Feature Visualization, Distill 2017; lucid's `param.image`,
    which has no longest wave)

    Unlike there, s of the mean (f = 0) is larger: the geometric mean of lucid's and of the one with which a step of
    Adam would move the mean as far as it moves a pixel about the mean, the root of the sum of all other (n s)², n = 2
    for what stands twice in a whole spectrum. With lucid's, some seven times slower, filters that look for a flat
    colour get it in the middle and its opposite at the edges; with the other, late filters get one tint all over.

    Attributes:
        shape: (C, spatial…).
        decay: power of the frequency. Photos and lucid have 1; steeper gives as much activation with less noise.
        deviation: standard deviation of the start.
        about: (C, spatial…) what is added before the sigmoid, so that z = 0 is another picture than grey; None for 0.
        longest: pixels of the longest wave that is easier than shorter ones.
    """

    shape: tuple[int, ...]
    decay: float = DECAY
    deviation: float = DEVIATION
    longest: float = math.inf
    about: NDArray[Any] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def half(self) -> HalfSpectrum:
        """The half spectrum of the pictures."""
        return HalfSpectrum(self.shape)

    @cached_property
    def scale(self) -> NDArray[Any]:
        """Factor of each frequency, in the shape of a real spectrum of one channel."""
        lowest = 1 / max(self.shape[1:])
        factors: NDArray[Any] = np.maximum(self.half.frequencies, lowest) ** -self.decay / _SPECTRUM_DIVISOR
        mean = (0,) * (len(self.shape) - 1)
        others = ((factors * self.half.twice) ** 2).sum() - factors[mean] ** 2
        flat = np.sqrt(factors[mean] * max(factors[mean], np.sqrt(others)))
        factors = np.minimum(factors, self.longest**self.decay / _SPECTRUM_DIVISOR)
        factors[mean] = flat
        return factors.astype(np.float32)

    def start(self, sources: Sequence[np.random.Generator]) -> NDArray[Any]:
        """A normal spectrum, (N, C, spatial…, last / 2 + 1, 2): real and imaginary parts."""
        return _noise(sources, (self.shape[0], *self.scale.shape, 2), self.deviation)

    def plane(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The pictures before the sigmoid: the linear part, (N, C, spatial…)."""
        return self.half.planes(np.ascontiguousarray(parameters).view(np.complex64)[..., 0] * self.scale)

    def plane_adjoint(self, gradient: NDArray[Any]) -> NDArray[Any]:
        """The adjoint of `plane`."""
        return np.ascontiguousarray(self.half.adjoint(gradient) * self.scale)[..., None].view(np.float32)

    def images(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The pictures."""
        plane = self.plane(parameters)
        return sigmoid(plane if self.about is None else plane + self.about)

    def pull(self, parameters: NDArray[Any], images: NDArray[Any], gradient: NDArray[Any], done: float) -> NDArray[Any]:
        """The gradient with respect to the spectrum."""
        return self.plane_adjoint(gradient * images * (1 - images))

    def held(self, parameters: NDArray[Any], contrast: NDArray[Any]) -> NDArray[Any]:
        """The parameters, scaled down where the plane's root mean square is above `contrast`."""
        return _scaled(parameters, self.contrast(parameters), contrast)

    def seen_by(self, field: int) -> Fourier:
        """With no wave easier than one of some receptive fields; a photo that it starts from has waves of its own."""
        return self if self.about is not None else replace(self, longest=FIELDS * field)

    def contrast(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The root mean square (N,) of the planes over channels and positions, by Parseval's theorem."""
        weights = self.scale * np.sqrt(self.half.twice)
        values = (parameters * weights[..., None]).reshape(*parameters.shape[:2], -1)
        if self.shape[0] == 3:
            values = COLOURS @ values
        pixels = math.prod(self.shape)
        root: NDArray[Any] = np.sqrt(np.einsum("nck,nck->n", values, values, dtype=np.float64) / pixels)
        return root


def _scaled(parameters: NDArray[Any], found: NDArray[Any], most: NDArray[Any]) -> NDArray[Any]:
    """Each picture's parameters, of which `found` is the contrast, so that it is `most` at most; both (N,)."""
    factor = np.minimum(1, most / np.maximum(found, TINY)).astype(np.float32)
    scaled: NDArray[Any] = parameters * factor.reshape(-1, *[1] * (parameters.ndim - 1))
    return scaled


def _noise(sources: Sequence[np.random.Generator], shape: tuple[int, ...], deviation: float) -> NDArray[Any]:
    return np.stack([source.standard_normal(shape, np.float32) * np.float32(deviation) for source in sources])


def sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + e^−x)."""
    with np.errstate(over="ignore"):  # e^−x of a large negative x is infinite, and 1 / ∞ the right answer
        value: NDArray[Any] = 1 / (1 + np.exp(-x))
    return value


def logit(x: NDArray[Any]) -> NDArray[Any]:
    """The inverse of `sigmoid`; black and white count as half a step of 8 bits from it."""
    inside = np.clip(x, 1 / 510, 1 - 1 / 510)
    found: NDArray[Any] = np.log(inside / (1 - inside))
    return found
