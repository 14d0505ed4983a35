"""Encoded pictures: the same bytes for the same pixels, and nothing but pixels in them."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from onnxviz.plots import encode_picture

GRADIENT = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)[..., None].repeat(3, axis=2)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_the_same_pixels_give_the_same_bytes_without_metadata(kind):
    data = encode_picture(GRADIENT, kind)
    assert data == encode_picture(GRADIENT.copy(), kind)
    with Image.open(BytesIO(data)) as picture:
        assert picture.format == kind.upper()
        assert set(picture.info) <= {"loop", "background"}


def test_a_photo_is_close_and_small():
    data = encode_picture(GRADIENT, "webp")
    with Image.open(BytesIO(data)) as picture:
        far = np.abs(np.asarray(picture.convert("RGB"), int) - GRADIENT)
    assert far.mean() < 3
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(encode_picture(noise, "webp")) < len(encode_picture(noise)) / 1.5
