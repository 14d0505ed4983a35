"""What a model was given, as a picture: pixel by pixel what was fed, of files and of arrays."""

import numpy as np
import pytest
from PIL import Image
from protos import classifier_proto, normal, parsed

import onnxviz
from onnxviz.inputs.given import Given
from onnxviz.inputs.samples import ImageOptions, samples


@pytest.fixture
def model():
    return onnxviz.load(classifier_proto())  # of 16x12


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_a_photo_is_shown_as_it_was_fed(model, tmp_path, fit):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)).save(tmp_path / "a.png")
    images = ImageOptions.of(model, "unit", None, fit)
    (sample,) = samples(model, str(tmp_path / "a.png"), images)
    given = Given.of(model, sample, images)
    (fed,) = sample.read().values()
    np.testing.assert_array_equal(given.picture(), np.rint(255 * fed[0].transpose(1, 2, 0)))
    assert given.picture(200).shape[:2] == ((200, 150) if fit == "crop" else (89, 200))
    assert given.name == given.label == "a.png"
    (tmp_path / "a.png").unlink()
    assert given.picture() is None


def test_a_row_of_an_array_is_stretched_to_its_own_range(model):
    array = normal(3, 3, 16, 12)
    images = ImageOptions.of(model)
    (sample, *_) = samples(model, array, images)
    low, high = array[0].min(), array[0].max()
    expected = np.rint((array[0] - low) / (high - low) * 255).transpose(1, 2, 0)
    assert np.abs(Given.of(model, sample, images).picture() - expected).max() <= 1
    shown = Given.of(model, sample, images, "row 2", 2).picture(feeds={model.inputs[0].name: array})
    again = Given.of(model, sample, images).picture(feeds={model.inputs[0].name: array[2:]})
    np.testing.assert_array_equal(shown, again)


def test_of_seventeen_channels_the_first_is_shown_and_that_is_said():
    model = onnxviz.load(
        parsed("g (float[1,17,9,8] x) => (float[n,c,h,w] y) { y = Conv (x, w) }", w=normal(2, 17, 3, 3))
    )
    images = ImageOptions.of(model)
    array = normal(1, 17, 9, 8)
    (sample,) = samples(model, array, images)
    given = Given.of(model, sample, images)
    picture = given.picture()
    np.testing.assert_array_equal(picture[..., 0], picture[..., 2])
    assert np.unravel_index(picture[..., 0].argmax(), (9, 8)) == np.unravel_index(array[0, 0].argmax(), (9, 8))
    assert given.name.endswith(", channel 0 of 17")


def test_what_is_no_picture_has_none():
    model = onnxviz.load(parsed("g (float[n,3,20] x) => (float[n,c,l] y) { y = Conv (x, w) }", w=normal(2, 3, 3)))
    images = ImageOptions.of(model)
    (sample,) = samples(model, normal(1, 3, 20), images)
    assert Given.of(model, sample, images).picture() is None


def test_captured_maps_and_predictions_know_their_photos(model, tmp_path):
    for name in "ab":
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 256, (16, 12, 3), np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    pixels = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "ab"]
    maps = onnxviz.capture(model, tmp_path, layers="first")
    (batch,) = onnxviz.stream(model, tmp_path / "b.png", layers="first")
    said = onnxviz.predict(model, tmp_path)
    for number in (0, 1):
        np.testing.assert_array_equal(maps.photo(number), pixels[number])
        np.testing.assert_array_equal(said[number].photo(), pixels[number])
    np.testing.assert_array_equal(batch.photo(), pixels[1])
    with pytest.raises(onnxviz.SelectionError, match="no input 2; there are 2"):
        maps.photo(2)
    rows = onnxviz.predict(model, normal(2, 3, 16, 12))
    assert rows[1].photo().shape == (16, 12, 3)
    assert not np.array_equal(rows[0].photo(), rows[1].photo())
