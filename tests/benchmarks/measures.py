"""Measures of a picture beside photos: the radial spectrum, the colours, and the share of values that are burnt."""

from __future__ import annotations

import numpy as np

# Edges of the rings of the spectrum in cycles a pixel, half an octave each.
RINGS = 0.5 * 2.0 ** np.arange(-5, 0.5, 0.5)
# Steps of each colour of a histogram.
COLOURS = 6
_GREY = np.array([0.299, 0.587, 0.114])


def radial_spectrum(picture: np.ndarray) -> np.ndarray:
    """Power of the brightness of a picture (H, W, 3) uint8, as log10 of its mean in each ring of frequencies (rings,).

    The mean is removed; through a Hann window of mean square 1, since the jump from one edge to the other is none of
    the picture's detail. The mean of the power over all frequencies is the variance of the brightness, 0…1 squared; no
    ring counts as less than rounding to 8 bits gives, (1 / 255)² / 12.
    """
    grey = picture / 255 @ _GREY
    height, width = grey.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    window = window / np.sqrt((window**2).mean())
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window, norm="ortho")) ** 2
    ring = np.digitize(np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)), RINGS).ravel()
    count = len(RINGS) - 1
    inside = (ring >= 1) & (ring <= count)
    total = np.bincount(ring[inside] - 1, power.ravel()[inside], count)
    mean = total / np.bincount(ring[inside] - 1, minlength=count)
    return np.log10(np.maximum(mean, (1 / 255) ** 2 / 12))


def spectrum_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square over rings of the difference of two radial spectra, in decades of power; 0 for the same."""
    return float(np.sqrt(((one - other) ** 2).mean()))


def colour_histogram(picture: np.ndarray) -> np.ndarray:
    """Share of the pixels of a picture (H, W, 3) uint8 in each of 6 x 6 x 6 cells of red, green and blue, (216,)."""
    cell = picture.reshape(-1, 3).astype(np.intp) * COLOURS // 256
    flat = (cell[:, 0] * COLOURS + cell[:, 1]) * COLOURS + cell[:, 2]
    return np.bincount(flat, minlength=COLOURS**3) / len(flat)


def histogram_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Half the sum of the differences of two histograms: 0 for the same, 1 for two without a colour in common."""
    return float(np.abs(one - other).sum() / 2)


def burnt_share(picture: np.ndarray) -> float:
    """Share of the values of a picture (H, W, 3) uint8, of each colour of each pixel, that are 0 or 255."""
    return float(((picture == 0) | (picture == 255)).mean())
