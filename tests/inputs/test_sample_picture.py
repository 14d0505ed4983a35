"""A sample as a picture: what explanations are laid on and patches are cut from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxviz import Preprocessing
from onnxviz.errors import InputError, SelectionError
from onnxviz.inputs.expectation import Expectation
from onnxviz.inputs.image_files import read_image
from onnxviz.inputs.sample_picture import sample_picture, shown_bands, words_of_bands
from onnxviz.inputs.samples import ImageOptions

OPTIONS = ImageOptions(Expectation(Preprocessing()))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 40, 3), np.uint8)).save(path)
    return str(path)


def test_values_are_stretched_to_the_whole_range():
    x = np.array([[[-1.0, 0.0], [1.0, 3.0]]] * 3, np.float32)
    expected = np.array([[0, 64], [128, 255]], np.uint8)
    assert np.array_equal(sample_picture(x, 0), np.repeat(expected[..., None], 3, axis=2))
    assert np.array_equal(sample_picture(x.transpose(1, 2, 0), 2), sample_picture(x, 0))
    assert np.array_equal(sample_picture(x[0], None), sample_picture(x, 0))


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (4, [0, 1, 2])])
def test_three_or_four_channels_are_colours_and_else_the_first_is_grey(channels, shown):
    x = np.random.default_rng(channels).uniform(size=(channels, 5, 6))
    x[shown[0], 0, 0], x[shown[-1], 0, 1] = -1, 2
    found = sample_picture(x, 0)
    assert found.shape == (5, 6, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.rint((x[shown] - x[shown].min()) / np.ptp(x[shown]) * 255).transpose(1, 2, 0))


def test_a_constant_is_grey():
    assert (sample_picture(np.full((3, 4, 4), 7.0), 0) == 128).all()


def test_values_that_are_not_finite_are_shown_as_zero():
    x = np.array([[[np.nan, 0.0], [np.inf, 2.0]]])
    assert sample_picture(x, 0)[..., 0].tolist() == [[0, 0], [0, 255]]


def test_a_file_is_read_at_the_size_that_was_fed_or_in_its_own_proportions(photo):
    fed = np.zeros((3, 16, 16), np.float32)
    assert np.array_equal(sample_picture(fed, 0, photo, OPTIONS), read_image(Path(photo), channels=3, size=(16, 16)))
    assert sample_picture(fed, 0, photo, OPTIONS, longest=80).shape == (40, 80, 3)
    cropped = ImageOptions(Expectation(Preprocessing()), fit="crop")
    assert sample_picture(fed, 0, photo, cropped, longest=80).shape == (80, 80, 3)
    assert sample_picture(np.zeros((3, 10, 40), np.float32), 0, longest=80).shape == (20, 80, 3)


def test_a_file_fed_as_one_channel_is_grey(photo):
    found = sample_picture(np.zeros((1, 20, 40), np.float32), 0, photo, OPTIONS)
    assert np.array_equal(found, np.repeat(read_image(Path(photo), channels=1, size=(20, 40)), 3, axis=2))


def test_what_is_no_picture_is_refused():
    with pytest.raises(InputError, match=r"shape \(7,\) is not a picture"):
        sample_picture(np.zeros(7), None)
    with pytest.raises(InputError, match=r"shape \(3, 4, 4, 4\) is not a picture"):
        sample_picture(np.zeros((3, 4, 4, 4)), 0)


# ---------------------------------------------------------------- bands


@pytest.mark.parametrize(
    ("count", "bands", "shown", "said"),
    [
        (1, None, [0], ""),
        (3, None, [0, 1, 2], ""),
        (4, None, [0, 1, 2], "bands 0, 1, 2 of 4 as red, green, blue"),
        (2, None, [0], "band 0 of 2, grey"),
        (8, None, [0], "band 0 of 8, grey"),
        (8, (3, 2, 1), [3, 2, 1], "bands 3, 2, 1 of 8 as red, green, blue"),
        (8, (7,), [7], "band 7 of 8, grey"),
        (3, (2, 2, 2), [2, 2, 2], "bands 2, 2, 2 of 3 as red, green, blue"),
        (1, (0,), [0], ""),
    ],
)
def test_which_bands_are_shown_as_what_is_said(count, bands, shown, said):
    assert shown_bands(count, bands) == shown
    assert words_of_bands(count, bands) == said


@pytest.mark.parametrize(
    ("bands", "said"),
    [((8,), "no band 8; there are 8, counted from 0"), ((0, 1), "not 2: bands="), ((), "not 0"), ((-1,), "no band -1")],
)
def test_bands_that_there_are_not(bands, said):
    with pytest.raises(SelectionError, match=said):
        shown_bands(8, bands)


@pytest.mark.parametrize("bands", [None, (5,), (4, 0, 2)])
def test_the_pixels_are_those_of_the_bands(bands):
    array = np.random.default_rng(2).random((8, 4, 5)).astype(np.float32)
    places = [0] * 3 if bands is None else [*bands] * (3 // len(bands))
    shown = array[places]
    expected = np.rint((shown - shown.min()) / np.ptp(shown) * 255)
    np.testing.assert_allclose(sample_picture(array, 0, bands=bands).transpose(2, 0, 1), expected, atol=1)
