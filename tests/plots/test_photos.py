"""Photos in figures: how large they become, where they lie, and what is written below them."""

import numpy as np
import pytest
from figures import MAPS, assert_laid_out, boxes_of, facts, words

from onnxviz.errors import InputError
from onnxviz.plots import plot_maps
from onnxviz.plots.lettering import width_of
from onnxviz.plots.photos import SIZE, Photo, lines_of

RNG = np.random.default_rng(5)


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("shape", "box", "size"),
    [
        ((96, 96), (208, 208), (208, 208)),  # enlarged a little: the box is filled
        ((32, 32), (208, 208), (192, 192)),  # much: by whole pixels
        ((600, 300), (200, 200), (200, 100)),
        ((1, 900), (100, 100), (1, 100)),
        ((100, 100), (100, 100), (100, 100)),
    ],
)
def test_a_photo_fits_its_box_in_its_proportions(shape, box, size):
    photo = Photo.of(noise(*shape))
    assert photo.size(box) == size
    reduced = photo.reduced(box)
    assert reduced.pixels.shape[:2] == tuple(map(min, zip(shape, size, strict=True)))
    assert reduced.size(box) == size


def test_a_large_photo_is_drawn_as_area_means():
    pixels = noise(400, 600)
    means = pixels.reshape(100, 4, 150, 4, 3).mean(axis=(1, 3))
    shown = Photo.of(pixels).reduced((200, 150)).pixels.astype(float)
    assert shown.shape == (100, 150, 3)
    assert np.abs(shown - means).max() <= 0.51


def test_grey_photos_are_taken_and_others_refused():
    grey = noise(5, 6)[..., 0]
    np.testing.assert_array_equal(Photo.of(grey).pixels, np.stack([grey] * 3, -1))
    for bad in (noise(5, 6).astype(float), np.zeros((5, 6, 4), np.uint8), np.zeros((0, 6, 3), np.uint8)):
        with pytest.raises(InputError, match=r"a photo is \(height, width, 3\) in uint8, not \(\d, \d, \d\) of "):
            Photo.of(bad)
    with pytest.raises(InputError, match="a photo is"):
        plot_maps(MAPS, photo=noise(5, 6) / 255)


def test_words_below_a_photo_have_two_lines_and_stay_in_their_room():
    assert lines_of("", 100) == []
    assert lines_of("dog.jpg", 100) == ["dog.jpg"]
    long = lines_of("a golden retriever " * 20, 120)
    assert len(long) == 2
    assert all(width_of(line, SIZE) <= 120 for line in long)
    assert "…" in long[1]


@pytest.mark.parametrize(
    "maps",
    [MAPS, MAPS[:1], MAPS[:, :1, :1], RNG.normal(size=(17, 40)), RNG.normal(size=(2, 6, 5, 4))],
    ids=["grid", "one", "bars", "signals", "volumes"],
)
@pytest.mark.parametrize("shape", [(64, 64), (300, 100), (40, 400)])
def test_the_photo_lies_left_of_the_maps_and_nothing_is_clipped(maps, shape):
    spatial = maps.ndim - 1
    photo = noise(*shape)
    plain = plot_maps(maps, spatial=spatial, title="conv")
    figure = plot_maps(
        maps, spatial=spatial, title="conv", photo=photo, photo_name="n" * 200 + ".jpg", answer="German shepherd 87.9 %"
    )
    assert_laid_out(figure)
    assert "conv · German shepherd 87.9 %" in words(figure)
    assert any(word.endswith(".jpg") for word in words(figure))
    pictures = boxes_of(figure)
    at = 0 if maps.shape[1:] == (1, 1) else 1
    left, top, right, bottom = pictures[at]
    assert right < 0 <= top
    assert (bottom - top, right - left) == Photo.of(photo).size((208, 208))
    np.testing.assert_array_equal(figure.axes[0].images[at].get_array(), Photo.of(photo).reduced((208, 208)).pixels)
    if at:  # the maps are as they are without it
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), plain.axes[0].images[0].get_array())
    assert [*map(str.strip, facts(figure).split("·"))] == [*map(str.strip, facts(plain).split("·"))]
    titles = figure.axes[0].texts[: len(figure.captions) + 1]
    assert {round(text.get_position()[0]) for text in titles} == {round(left)}


def test_an_answer_without_a_photo_stands_in_the_title():
    figure = plot_maps(MAPS, answer="cat 90.3 %")
    assert words(figure)[0] == "Feature maps · cat 90.3 %"
    assert len(figure.axes[0].images) == 1
    named = plot_maps(MAPS, photo_name="sound.npy")
    assert facts(named).startswith("sound.npy")
    assert named.axes[0].get_position().bounds == plot_maps(MAPS).axes[0].get_position().bounds
