"""Properties of photos: those of Pillow and numpy; another choice of the same photos is none other, a darker one is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from samples import photo_crops

from onnxviz.auditing.image_properties import PROPERTIES, ImageProperties, shifts
from onnxviz.errors import InputError


def test_properties_are_those_of_pillow():
    pixels = photo_crops(4, 48, 3)
    found = ImageProperties.of(iter(pixels))
    for row, one in zip(found.values, pixels, strict=True):
        grey = np.asarray(Image.fromarray(one).convert("L"), np.float64)
        told = dict(zip(PROPERTIES, row, strict=True))
        assert told["brightness"] == pytest.approx(grey.mean(), abs=0.6)  # Pillow rounds each pixel
        assert told["contrast"] == pytest.approx(grey.std(), abs=0.6)
        assert (told["height"], told["width"]) == (48, 48)
        assert row[4:] == pytest.approx(one.mean((0, 1)))


def test_grey_photos_and_those_of_more_channels():
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (5, 7, 1), np.uint8)
    found = ImageProperties.of(iter([grey])).values[0]
    assert found == pytest.approx([grey.mean(), grey.std(), 5, 7, *[grey.mean()] * 3], rel=1e-6)
    four = rng.integers(0, 256, (5, 7, 4), np.uint8)
    assert ImageProperties.of(iter([four])).values[0][4:] == pytest.approx(four.mean((0, 1))[:3], rel=1e-6)


def named(before, after, limit=5.0, least=0.2):
    return {one.name for one in shifts(before, after) if abs(one.errors) > limit and abs(one.deviations) > least}


CROPS = ImageProperties.of(iter(photo_crops(200, 64, 11)))


@given(st.integers(0, 10**6))
def test_another_half_of_the_same_photos_is_silent(seed):
    order = np.random.default_rng(seed).permutation(200)
    assert not named(ImageProperties(CROPS.values[order[:100]]), ImageProperties(CROPS.values[order[100:]]))


@pytest.mark.parametrize("factor", [0.4, 0.55, 0.7])
def test_darker_photos_are_named(factor):
    """All that is proportional to light: brightness, contrast and the channels."""
    dark = ImageProperties.of(iter(photo_crops(200, 64, 12) * np.float32(factor)))
    assert named(CROPS, dark) == {*PROPERTIES} - {"height", "width"}


def test_what_hardly_differs_is_silent():
    assert not named(CROPS, ImageProperties.of(iter(photo_crops(200, 64, 12) * np.float32(0.97))))


def test_another_size_and_colour():
    assert named(CROPS, ImageProperties.of(iter(photo_crops(60, 48, 13)))) >= {"height", "width"}
    blue = photo_crops(200, 64, 14).astype(np.float32)
    blue[..., 2] = np.clip(blue[..., 2] + 60, 0, 255)
    assert "third channel" in named(CROPS, ImageProperties.of(iter(blue)))


def test_standard_errors_are_welchs():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 1, (40, 7)), rng.normal(0.3, 3, (15, 7))
    found = shifts(ImageProperties(a.astype(np.float32)), ImageProperties(b.astype(np.float32)))
    for place, one in enumerate(found):
        x, y = a[:, place], b[:, place]
        error = np.sqrt(x.var(ddof=1) / 40 + y.var(ddof=1) / 15)
        assert one.errors == pytest.approx((y.mean() - x.mean()) / error, rel=1e-4)
        assert one.deviations == pytest.approx((y.mean() - x.mean()) / x.std(ddof=1), rel=1e-4)


def test_read_again():
    assert np.array_equal(ImageProperties.read(CROPS.as_list()).values, CROPS.values)
    for rows in ([[1.0, 2.0]], [[float("nan")] * 7]):
        with pytest.raises(InputError, match="broken"):
            ImageProperties.read(rows)
