"""The picture budget: pictures are whole, and no more than fit."""

import base64
from io import BytesIO

import numpy as np
from PIL import Image

from onnxviz.reports.picture_budget import PictureBudget


def pixels_of(picture):
    head, _, data = picture.uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))))


def test_every_pixel_is_kept():
    rng = np.random.default_rng(0)
    budget = PictureBudget()
    for shape in ((5, 7), (5, 7, 2), (5, 7, 3), (5, 7, 4)):
        pixels = rng.integers(0, 256, shape, np.uint8)
        picture = budget.add(pixels, "noise")
        assert np.array_equal(pixels_of(picture), pixels)
        assert (picture.size, picture.alt) == ((7, 5), "noise")
    assert (budget.kept, budget.left_out) == (4, 0)


def test_what_does_not_fit_is_counted():
    pixels = np.zeros((4, 4), np.uint8)
    size = len(PictureBudget().add(pixels, "").uri)
    budget = PictureBudget(room=2 * size + size // 2)
    assert [budget.add(pixels, "") is not None for _ in range(4)] == [True, True, False, False]
    assert (budget.kept, budget.left_out, budget.room) == (2, 2, size // 2)
