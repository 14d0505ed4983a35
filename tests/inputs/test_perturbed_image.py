"""Perturbed images beside Pillow, and closed forms."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from samples import CAT, photo_crops

from onnxviz.inputs.image_bands import resized
from onnxviz.inputs.image_files import read_image
from onnxviz.inputs.perturbed_image import FILTERS, INPUT_PERTURBATIONS, brightened, recompressed, resized_by, shifted

(PHOTO,) = photo_crops(1, 64, 2)


def test_jpeg_is_what_a_file_of_that_quality_holds(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "kept.jpg", quality=75)
    assert np.array_equal(recompressed(PHOTO), read_image(tmp_path / "kept.jpg"))
    assert not np.array_equal(recompressed(PHOTO, 30), recompressed(PHOTO))
    file = BytesIO()
    Image.fromarray(PHOTO[..., 0]).save(file, "JPEG", quality=75)
    assert np.array_equal(recompressed(PHOTO[..., :1])[..., 0], np.asarray(Image.open(file)))
    alpha = np.concatenate([PHOTO, PHOTO[..., :1]], axis=2)
    assert np.array_equal(recompressed(alpha), np.concatenate([recompressed(PHOTO), PHOTO[..., :1]], axis=2))
    assert np.array_equal(recompressed(PHOTO.astype(np.float32) + np.float32(0.4)), recompressed(PHOTO))


def test_shift_and_brightness():
    moved = shifted(PHOTO)
    assert np.array_equal(moved[1:, 1:], PHOTO[:-1, :-1])
    assert np.array_equal(moved[0, 1:], PHOTO[0, :-1])
    assert moved.shape == PHOTO.shape
    levels = np.array([0, 10, 100, 250], np.uint8).reshape(2, 2, 1)
    assert brightened(levels, 1.05).ravel().tolist() == [0, 10, 105, 255]
    assert brightened(levels, 0.95).ravel().tolist() == [0, 10, 95, 238]
    assert brightened(levels.astype(np.float32), 1.05).ravel().tolist() == pytest.approx([0, 10.5, 105, 255])
    assert len(INPUT_PERTURBATIONS) == 3


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_the_usual_filter_is_the_one_of_reading(fit):
    own = read_image(CAT)
    usual = np.asarray(resized(Image.fromarray(own), (40, 50), fit))
    assert np.array_equal(resized_by(own, (40, 50), fit), usual)
    assert np.array_equal(usual, read_image(CAT, size=(40, 50), fit=fit))
    for name in FILTERS:
        made = resized_by(own, (40, 50), fit, name)
        assert (made.shape, made.dtype) == ((40, 50, 3), np.uint8)
        assert np.array_equal(made, usual) is (name == FILTERS[0])
        # All show the same picture.
        assert np.abs(made.astype(float).mean(axis=(0, 1)) - usual.mean(axis=(0, 1))).max() < 3


def test_linear_without_averaging_takes_the_two_neighbours():
    """As OpenCV does: of 12 columns made 3, the middle of each four lies between the second and the third."""
    ramp = np.zeros((12, 12, 1), np.float32)
    ramp[...] = (np.arange(12) ** 2)[None, :, None]
    made = resized_by(ramp, (3, 3), "stretch", "bilinear without averaging")
    expected = [(1 + 4) / 2, (25 + 36) / 2, (81 + 100) / 2]
    np.testing.assert_allclose(made[0, :, 0], expected)
    averaged = resized_by(ramp, (3, 3), "stretch", "area")
    np.testing.assert_allclose(averaged[0, :, 0], (np.arange(12.0) ** 2).reshape(3, 4).mean(axis=1), rtol=1e-5)
