"""Transparent pictures, laid on a background."""

import numpy as np
import pytest
from pictures import luma, saved
from PIL import Image

from onnxviz.errors import InputError
from onnxviz.inputs.image_files import read_image


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("background", "ground"),
    [("white", (255, 255, 255)), ("#0000ff", (0, 0, 255)), ("black", (0, 0, 0)), ("#12c832", (18, 200, 50))],
)
def test_alpha_is_laid_on_the_declared_background(tmp_path, kind, background, ground):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[:] = (200, 100, 0, 51)  # alpha 0.2
    pixels[0, 0, 3], pixels[0, 1, 3] = 0, 255
    path = saved(tmp_path / "a", pixels, format=kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    made = read_image(path, background=background).astype(float)
    alpha = pixels[..., 3:] / 255
    assert np.abs(made - (pixels[..., :3] * alpha + np.array(ground) * (1 - alpha))).max() <= 1
    grey = read_image(path, background=background, channels=1)[..., 0].astype(float)
    assert np.abs(grey - luma(made)).max() <= 1
    np.testing.assert_array_equal(read_image(path, background=background, channels=4), pixels)


def test_the_background_is_white_unless_told(tmp_path):
    path = saved(tmp_path / "a.png", np.zeros((2, 2, 4), np.uint8))
    assert (read_image(path) == 255).all()


def test_grey_with_alpha(tmp_path):
    pixels = np.array([[[100, 51], [100, 0]]], np.uint8)
    made = read_image(saved(tmp_path / "a.png", pixels))
    assert np.abs(made.astype(float) - [[[224] * 3, [255] * 3]]).max() <= 1  # 0.2 · 100 + 0.8 · 255


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_background(tmp_path, kind):
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    path = saved(tmp_path / "a", picture, format=kind, transparency=1)
    assert read_image(path, background="#010203").tolist() == [[[255, 0, 0], [1, 2, 3], [0, 0, 255]]]


@pytest.mark.parametrize(
    ("mode", "pixels", "transparent"), [("L", [50, 60], 60), ("RGB", [(9, 8, 7), (60, 60, 60)], (60, 60, 60))]
)
def test_a_transparent_colour_is_background(tmp_path, mode, pixels, transparent):
    picture = Image.new(mode, (2, 1))
    picture.putdata(pixels)
    made = read_image(saved(tmp_path / "a.png", picture, transparency=transparent), background="#ff0000")
    first = [pixels[0]] * 3 if mode == "L" else list(pixels[0])
    assert made.tolist() == [[first, [255, 0, 0]]]


def test_a_background_that_is_no_colour_is_named(tmp_path):
    path = saved(tmp_path / "a.png", np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(InputError, match="'octarine' is not a colour"):
        read_image(path, background="octarine")
