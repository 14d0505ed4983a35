"""The phase of a picture, at the magnitude that photos have: what is varied by `--param maco`.

(Fel et al., Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization, NeurIPS 2023.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.maximization.half_spectrum import COLOURS, COVARIANCE_ROOT, HalfSpectrum, mixed
from onnxviz.maximization.parametrisation import logit, sigmoid

# The amplitude of photos falls as frequency^-1.2, of single ones as ^-0.8 to ^-1.5. (Tolhurst, Tadmor & Chao, Amplitude
# spectra of natural images, 1992) Here it is that before the sigmoid, of crops at the size that a network sees: 1.5
# between 0.02 and 0.25 cycles a pixel, over 40 crops of eight photos. With 1.2, class pictures had a coarse grain.
FALL = 1.5
# Mean of the pixels of ImageNet, and standard deviation of a grey one.
_MEAN = (0.485, 0.456, 0.406)
_GREY = float(np.linalg.norm(COVARIANCE_ROOT.mean(axis=0)))
# The slope of the sigmoid at its middle: by so much a plane has to vary more than the picture.
_SLOPE = 0.25
# How much the magnitude may rise or fall, and the share of the steps after which it may.
BOUND, PHASE_ONLY = 2.0, 0.5


@dataclass(frozen=True, eq=False)
class PhotoSpectrum:
    """The magnitude of the spectrum of photos, before the sigmoid and in colours that photos vary independently.

    Attributes:
        magnitude: (C, spatial…, last / 2 + 1) float32, orthonormal, 0 at the mean.
        mean: (C,) of the plane, float32.
    """

    magnitude: NDArray[Any]
    mean: NDArray[Any]

    @classmethod
    def power_law(cls, shape: tuple[int, ...], fall: float = FALL) -> PhotoSpectrum:
        """The closed form: frequency^-fall, with the mean and the variance of each colour that ImageNet's photos have.

        Args:
            shape: (C, spatial…).
            fall: power of the frequency.
        """
        half = HalfSpectrum(shape)
        lowest = 1 / max(shape[1:])
        law = np.maximum(half.frequencies, lowest) ** -fall
        law[(0,) * law.ndim] = 0
        # Parseval: the variance of a plane is the mean over all frequencies of the squared magnitude.
        law *= math.sqrt(math.prod(shape[1:]) / max(((law**2) * half.twice).sum(), 1e-30))
        colours = shape[0] == 3
        spread = np.linalg.norm(COVARIANCE_ROOT, axis=0).max() if colours else _GREY
        mean = np.asarray(_MEAN if colours else [float(np.mean(_MEAN))] * shape[0])
        magnitude = np.broadcast_to(law * spread / _SLOPE, (shape[0], *law.shape))
        return cls(magnitude.astype(np.float32), logit(mean).astype(np.float32))

    @classmethod
    def of_photos(cls, photos: Sequence[NDArray[Any]]) -> PhotoSpectrum:
        """The root of the mean power of photos.

        Their edges, which a spectrum sees as jumps, are faded out by a Hann window, and the power that it takes is put
        back.

        Args:
            photos: (C, spatial…) each, 0…1, all of one shape.
        """
        shape = photos[0].shape
        half = HalfSpectrum(shape)
        window = np.ones(())
        for length in shape[1:]:
            window = window[..., None] * np.hanning(length + 2)[1:-1]
        window = window / math.sqrt((window**2).mean())
        power, means = np.zeros((shape[0], *half.frequencies.shape)), np.zeros(shape[0])
        axes = tuple(range(1, len(shape)))
        for photo in photos:
            plane = logit(photo.astype(np.float64))
            mean = plane.mean(axis=axes, keepdims=True)
            about = (plane - mean)[None]
            about = mixed(about, np.linalg.inv(COLOURS.astype(np.float64))) if shape[0] == 3 else about
            power += np.abs(np.fft.rfftn(about[0] * window, axes=axes, norm="ortho")) ** 2
            means += mean.ravel()
        power.reshape(len(power), -1)[:, 0] = 0  # the mean
        power = half.even(power[None])[0]
        return cls(np.sqrt(power / len(photos)).astype(np.float32), (means / len(photos)).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Phase:
    """The phase of each frequency, then also its magnitude within bounds.

    x = sigmoid(μ + M · irfftn(A · B^tanh(m) · exp(i φ))), A and μ the photos' magnitude and mean, M the colour matrix
    where there are three channels, B the bound; in the first share of the steps m rests at 0, so that the magnitude is
    the photos' exactly. (Fel et al. 2023 have φ alone.) φ is odd and m even in the frequency, as of what is real.

    Attributes:
        spectrum: of photos.
        shape: (C, spatial…).
        bound: the factor by which a magnitude may rise or fall; 1 for φ alone.
    """

    spectrum: PhotoSpectrum
    shape: tuple[int, ...]
    bound: float = BOUND

    @cached_property
    def _half(self) -> HalfSpectrum:
        return HalfSpectrum(self.shape)

    def start(self, sources: Sequence[np.random.Generator]) -> NDArray[Any]:
        """Uniform phases and the photos' magnitude, (N, C, spatial…, last / 2 + 1, 2): φ and m."""
        shape = (*self.spectrum.magnitude.shape, 2)
        found = np.zeros((len(sources), *shape), np.float32)
        for row, source in zip(found, sources, strict=True):
            row[..., 0] = source.uniform(-math.pi, math.pi, shape[:-1])
        return found

    def spectra(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The spectra of planes about the mean, (N, C, spatial…, last / 2 + 1) complex64."""
        phase, climb = self._half.odd(parameters[..., 0]), self._half.even(parameters[..., 1])
        magnitude = self.spectrum.magnitude * np.exp(np.float32(math.log(self.bound)) * np.tanh(climb))
        found = np.empty(phase.shape, np.complex64)
        found.real, found.imag = magnitude * np.cos(phase), magnitude * np.sin(phase)
        return found

    def images(self, parameters: NDArray[Any]) -> NDArray[Any]:
        """The pictures."""
        mean = self.spectrum.mean.reshape(-1, *[1] * (len(self.shape) - 1))
        return sigmoid(self._half.planes(self.spectra(parameters)) + mean)

    def pull(self, parameters: NDArray[Any], images: NDArray[Any], gradient: NDArray[Any], done: float) -> NDArray[Any]:
        """The gradient with respect to φ and m; 0 for m in the first share of the steps."""
        pulled = self._half.adjoint(gradient * images * (1 - images))
        spectra = self.spectra(parameters)
        found = np.zeros(parameters.shape, np.float32)
        found[..., 0] = self._half.odd(spectra.real * pulled.imag - spectra.imag * pulled.real)
        if done >= PHASE_ONLY and self.bound > 1:
            along = self._half.even(spectra.real * pulled.real + spectra.imag * pulled.imag)
            slope = 1 - np.tanh(self._half.even(parameters[..., 1])) ** 2
            found[..., 1] = self._half.even(along * slope) * np.float32(math.log(self.bound))
        return found

    def held(self, parameters: NDArray[Any], contrast: NDArray[Any]) -> NDArray[Any]:
        """The parameters as they are: the bound on each magnitude holds whatever they are."""
        return parameters

    def seen_by(self, field: int) -> Phase:
        """The same: the magnitude is that of photos."""
        return self
