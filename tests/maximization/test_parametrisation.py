"""Parametrisations of a picture, their adjoints and their starts."""

import numpy as np
import pytest
from adjoints import CHANNELS, SIZES, assert_adjoint, dot, noise
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxviz.maximization.half_spectrum import COLOURS
from onnxviz.maximization.parametrisation import Fourier, Pixels


@given(size=SIZES, channels=CHANNELS, decay=st.sampled_from([0.0, 1.0, 1.5]), seed=st.integers(0, 99))
@settings(max_examples=examples(20, 60), deadline=None)
def test_the_spectrum_has_its_adjoint(size, channels, decay, seed):
    way = Fourier((channels, *size), decay)
    x = noise(*way.start([np.random.default_rng(0)] * 2).shape, seed=seed)
    assert_adjoint(way.plane, way.plane_adjoint, x, noise(2, channels, *size, seed=seed + 1))


@pytest.mark.parametrize("way", [Fourier((3, 6, 5)), Fourier((1, 8)), Pixels((3, 6, 5)), Fourier((2, 4, 3, 4))])
def test_gradients_pass_the_sigmoid(way):
    z = way.start([np.random.default_rng(1)]) * 100
    toward = noise(1, *way.shape, seed=2)
    pulled = way.pull(z, way.images(z), toward, 0.5)
    step = noise(*z.shape, seed=3) * 1e-2
    slope = (dot(way.images(z + step), toward) - dot(way.images(z - step), toward)) / 2
    assert dot(pulled, step) == pytest.approx(slope, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 32, 24), (1, 33), (5, 7, 7)])
def test_starts_are_near_grey_reproducible_and_of_their_own(shape):
    for way in (Fourier(shape), Pixels(shape)):
        sources = [np.random.default_rng((4, i)) for i in range(2)]
        pictures = way.images(way.start(sources))
        assert pictures.dtype == np.float32
        assert pictures.shape == (2, *shape)
        assert np.abs(pictures - 0.5).max() < 0.1
        assert not np.array_equal(pictures[0], pictures[1])
        alone = way.images(way.start([np.random.default_rng((4, 1))]))
        np.testing.assert_allclose(alone[0], pictures[1], atol=1e-6)


def test_colours_are_lucids():
    """Columns of the square root of the covariance; the first is brightness, and none is longer than 1."""
    assert np.linalg.norm(COLOURS, axis=0).max() == pytest.approx(1)
    assert (COLOURS[:, 0] > 0).all()
    assert COLOURS[1, 1] == 0
    np.testing.assert_allclose(COLOURS[0] / COLOURS[0, 0], np.array([0.26, 0.09, 0.02]) / 0.26, rtol=1e-6)


def test_low_frequencies_are_scaled_by_the_longest_side():
    scale = Fourier((1, 8, 16), decay=1).scale
    assert scale[0, 1] == 16 / 4  # one cycle in 16 pixels
    assert scale[4, 0] == pytest.approx(2 / 4)  # half a cycle a pixel
    assert scale[1, 0] == pytest.approx(8 / 4)


def test_waves_of_many_fields_are_no_easier_than_those_of_eight():
    """To a unit that sees three pixels, what repeats after more than 24 is a flat colour."""
    whole = Fourier((3, 64, 48), decay=1)
    early = whole.seen_by(3)
    repeats = 1 / np.maximum(whole.half.frequencies, 1e-9)
    longer = (repeats > 24) & (whole.half.frequencies > 0)
    assert longer.sum() == 9
    assert (early.scale[longer] == 24 / 4).all()
    np.testing.assert_array_equal(early.scale[~longer], whole.scale[~longer])
    np.testing.assert_array_equal(whole.seen_by(8).scale, whole.scale)  # all of the picture
    photo = Fourier((3, 64, 48), about=np.zeros((3, 64, 48), np.float32))
    assert photo.seen_by(3) is photo
    x = noise(*early.start([np.random.default_rng(0)]).shape, seed=1)
    assert_adjoint(early.plane, early.plane_adjoint, x, noise(1, 3, 64, 48, seed=2))


def test_the_mean_moves_faster_than_lucids_and_slower_than_pixels_about_it():
    """Equal changes of every coefficient, in random directions: the mean lies between, as a geometric mean."""
    way = Fourier((1, 32, 24), decay=1)
    planes = way.plane(noise(300, *way.start([np.random.default_rng(0)]).shape[1:], seed=8))
    means = planes.mean(axis=(1, 2, 3))
    about = (planes - means[:, None, None, None]).std()
    lucids = (32 / 4) / np.sqrt(32 * 24)
    assert means.std() == pytest.approx(np.sqrt(lucids * about), rel=0.2)


def test_an_extreme_parameter_stays_in_range():
    images = Pixels((1, 2)).images(np.array([[[-1e4, 1e4]]], np.float32))
    np.testing.assert_array_equal(images, [[[0, 1]]])
