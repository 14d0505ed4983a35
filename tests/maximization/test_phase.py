"""The phase at the magnitude of photos: closed forms, bounds, gradients."""

import numpy as np
import pytest
from adjoints import dot, noise

from onnxviz.maximization.half_spectrum import COLOURS, COVARIANCE_ROOT
from onnxviz.maximization.phase import Phase, PhotoSpectrum

SHAPES = [(3, 12, 9), (1, 10, 8), (2, 16), (1, 4, 6, 5)]


def unmixed(way, parameters):
    """The spectrum of the pictures, by numpy from the pixels alone: logit, mean and colours taken back."""
    pictures = way.images(parameters).astype(np.float64)
    planes = np.log(pictures / (1 - pictures)) - way.spectrum.mean.reshape(-1, *[1] * (len(way.shape) - 1))
    if way.shape[0] == 3:
        planes = np.einsum("cd,nd...->nc...", np.linalg.inv(COLOURS.astype(np.float64)), planes)
    return np.fft.rfftn(planes, axes=tuple(range(2, planes.ndim)), norm="ortho")


@pytest.mark.parametrize("shape", SHAPES)
def test_phase_alone_keeps_the_magnitude(shape):
    way = Phase(PhotoSpectrum.power_law(shape), shape)
    parameters = way.start([np.random.default_rng(seed) for seed in range(2)])
    found = np.abs(unmixed(way, parameters))
    np.testing.assert_allclose(found, np.broadcast_to(way.spectrum.magnitude, found.shape), rtol=1e-3, atol=2e-4)
    images = way.images(parameters)
    assert way.pull(parameters, images, noise(*images.shape), 0.49)[..., 1].any() == np.False_
    assert way.pull(parameters, images, noise(*images.shape), 0.5)[..., 1].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_magnitude_stays_within_its_bound(shape):
    way = Phase(PhotoSpectrum.power_law(shape), shape, bound=2.0)
    parameters = way.start([np.random.default_rng(0)])
    parameters[..., 1] = noise(*parameters.shape[:-1], seed=5) * 100
    ratio = np.abs(way.spectra(parameters))[0] / np.maximum(way.spectrum.magnitude, 1e-9)
    inside = way.spectrum.magnitude > 0
    assert ratio[inside].max() <= 2 * (1 + 1e-5)
    assert ratio[inside].min() >= 0.5 * (1 - 1e-5)
    assert ratio[inside].max() > 1.9


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_slopes(shape):
    way = Phase(PhotoSpectrum.power_law(shape), shape)
    parameters = way.start([np.random.default_rng(3)])
    parameters[..., 1] = 0.3 * noise(*parameters.shape[:-1], seed=4)
    toward = noise(1, *shape, seed=2)
    pulled = way.pull(parameters, way.images(parameters), toward, 0.9)
    step = noise(*parameters.shape, seed=3) * 3e-3
    slope = (dot(way.images(parameters + step), toward) - dot(way.images(parameters - step), toward)) / 2
    assert dot(pulled, step) == pytest.approx(slope, rel=5e-3, abs=1e-4)


def test_the_power_law_is_one_with_the_variance_of_photos():
    found = PhotoSpectrum.power_law((3, 64, 48), fall=1.5).magnitude
    assert found[0, 8, 0] / found[0, 4, 0] == pytest.approx(2**-1.5, rel=1e-5)  # an octave higher
    counts = np.full(25, 2.0)
    counts[[0, -1]] = 1
    variance = (found.astype(np.float64) ** 2 * counts).sum(axis=(1, 2)) / (64 * 48)
    # In red, green and blue, before a sigmoid of slope ¼: the covariance of ImageNet's photos times 16.
    covariance = COLOURS.astype(np.float64) @ np.diag(variance) @ COLOURS.T
    np.testing.assert_allclose(covariance, 16 * COVARIANCE_ROOT @ COVARIANCE_ROOT.T, rtol=1e-4)


def test_the_magnitude_of_photos_is_found_again():
    """Pictures of a known magnitude and random phase; the window smears it, so octaves are compared."""
    shape = (3, 64, 64)
    known = PhotoSpectrum.power_law(shape, fall=1.0)
    way = Phase(known, shape)
    photos = way.images(way.start([np.random.default_rng(seed) for seed in range(24)]))
    found = PhotoSpectrum.of_photos(list(photos))
    frequencies = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64))
    for low, high in ((0.06, 0.12), (0.12, 0.25), (0.25, 0.5)):
        ring = (frequencies >= low) & (frequencies < high)
        assert np.sqrt((found.magnitude[0][ring] ** 2).mean()) == pytest.approx(
            np.sqrt((known.magnitude[0][ring] ** 2).mean()), rel=0.15
        )
    np.testing.assert_allclose(found.mean, known.mean, atol=0.1)
