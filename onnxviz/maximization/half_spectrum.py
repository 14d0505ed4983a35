"""The half spectrum of real planes: its frequencies, and the transform to planes in the colours of photos."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Square root of the covariance of colours in photos, in units of the range of a pixel (columns: brightness,
# blue–yellow, green–magenta), from ImageNet. (lucid 0.3.10, 2021: `color_correlation_svd_sqrt`; Olah et al., Feature
# Visualization, Distill 2017)
COVARIANCE_ROOT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
COLOURS: NDArray[Any] = (COVARIANCE_ROOT / np.linalg.norm(COVARIANCE_ROOT, axis=0).max()).astype(np.float32)


@dataclass(frozen=True)
class HalfSpectrum:
    """Real planes (N, C, spatial…) as spectra (N, C, spatial…, last / 2 + 1), complex64; the transform is orthonormal.

    Where there are three channels, those of the spectrum are colours that photos vary independently, and `COLOURS`
    makes them red, green and blue.

    Attributes:
        shape: (C, spatial…) of a plane.
    """

    shape: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The spatial axes of planes and spectra."""
        return tuple(range(2, len(self.shape) + 1))

    @cached_property
    def frequencies(self) -> NDArray[Any]:
        """(spatial…, last / 2 + 1) cycles a pixel."""
        sizes = self.shape[1:]
        grids = [np.fft.fftfreq(size) for size in sizes[:-1]] + [np.fft.rfftfreq(sizes[-1])]
        squares = np.zeros(())
        for grid in grids:
            squares = squares[..., None] + grid**2
        found: NDArray[Any] = np.sqrt(squares)
        return found

    @cached_property
    def twice(self) -> NDArray[Any]:
        """(last / 2 + 1,) how often each column of the half spectrum stands in the whole one."""
        length = self.shape[-1]
        counts = np.full(length // 2 + 1, 2, np.float32)
        counts[0] = 1
        if length % 2 == 0:
            counts[-1] = 1
        return counts

    def planes(self, spectra: NDArray[Any]) -> NDArray[Any]:
        """The planes of spectra, float32."""
        planes = np.fft.irfftn(spectra, self.shape[1:], self.axes, norm="ortho").astype(np.float32, copy=False)
        return mixed(planes, COLOURS) if self.shape[0] == 3 else planes

    def adjoint(self, planes: NDArray[Any]) -> NDArray[Any]:
        """The adjoint of `planes`, where a complex number counts as its two parts."""
        if self.shape[0] == 3:
            planes = mixed(planes, COLOURS.T)
        spectra = np.fft.rfftn(planes, axes=self.axes, norm="ortho").astype(np.complex64, copy=False)
        doubled: NDArray[Any] = spectra * self.twice
        return doubled

    def odd(self, values: NDArray[Any]) -> NDArray[Any]:
        """Real values of half spectra, made odd in the frequency where both a frequency and its opposite stand there.

        These are the first column and, of an even length, the last. The map is its own adjoint.
        """
        return self._paired(values, -1)

    def even(self, values: NDArray[Any]) -> NDArray[Any]:
        """As `odd`, made even."""
        return self._paired(values, 1)

    def _paired(self, values: NDArray[Any], sign: int) -> NDArray[Any]:
        found = values.copy()
        for column in np.flatnonzero(self.twice == 1):
            opposite = values[..., column]
            for axis in self.axes[:-1]:
                opposite = np.roll(np.flip(opposite, axis), 1, axis)
            found[..., column] = (values[..., column] + sign * opposite) / 2
        return found


def mixed(planes: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """`matrix` applied to the channels: (N, 3, spatial…) to the same."""
    found: NDArray[Any] = matrix @ planes.reshape(len(planes), 3, -1)
    return found.reshape(planes.shape)
