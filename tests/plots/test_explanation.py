"""Explanations of several pictures: a row of photos, below each its map, on one scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from figures import facts, rendered, words
from matplotlib import colormaps
from protos import normal

from onnxviz import plot_explanation
from onnxviz.errors import InputError
from onnxviz.inputs.interpolate import resized
from onnxviz.plots import overlays


@dataclass
class Shown:
    """What is drawn."""

    map: np.ndarray
    labels: tuple[str, ...]
    one_photo: bool = False
    signed: bool = False
    of_pixels: bool = False
    title: str = "cat"
    method: str = "grad-cam"
    warnings: tuple[str, ...] = ()
    outlines: tuple = ()
    source: str = "photo"
    sample: str = "clip.npy"
    answer: tuple = ()
    way: str = "grad-cam"
    common: tuple = ()
    region: np.ndarray | None = None
    given: np.ndarray = field(default_factory=lambda: np.zeros((3, 6, 8)))

    def behind(self, bands=None):
        return "" if bands is None else f"bands {bands}"

    @property
    def facts(self):
        return ["clip.npy"]

    def upsampled(self, size=None):
        return resized(self.map, size)

    def photos(self, longest=448, bands=None, slices=None):
        height = round(longest * 3 / 4)
        one = np.full((height, longest, 3), 90, np.uint8)
        return [one] * (1 if self.one_photo or not self.labels else len(self.labels))


def clip(count, **options):
    labels = tuple(f"frame {number}" for number in range(count))
    return Shown(np.abs(normal(count, 6, 8)), labels, **options)


@pytest.mark.parametrize("count", [1, 2, 5, 7, 16, 24])
def test_each_frame_has_its_photo_and_its_map(count):
    figure = plot_explanation(clip(count))
    images = figure.axes[0].images
    assert len(images) == 3 * count + 1
    names = {"photo", "grad-cam", "on the photo", "alone"}
    assert {f"frame {number}" for number in range(count)} | names <= set(words(figure))
    assert rendered(figure).shape[1] < 1100
    threes = [images[start : start + count] for start in (0, count, 2 * count)]
    for photo, heat, bare in zip(*threes, strict=True):
        left, right, bottom, top = photo.get_extent()
        assert tuple(heat.get_extent()[:2]) == tuple(bare.get_extent()[:2]) == (left, right)
        assert heat.get_extent()[3] == bottom + 6
        assert bare.get_extent()[3] == heat.get_extent()[2] + 6
        assert (right - left, bottom - top) == (photo.get_array().shape[1], photo.get_array().shape[0])
    spans = sorted((image.get_extent() for image in images[:-1]), key=lambda span: (span[3], span[0]))
    for one, other in pairwise(spans):
        assert one[1] < other[0] or one[2] < other[3], "two pictures overlap"


def test_all_maps_are_on_one_scale():
    shown = clip(3)
    shown.map[1] *= 0.01
    figure = plot_explanation(shown)
    grey, faint, strong = (figure.axes[0].images[place].get_array() for place in (0, 4, 3))
    assert np.ptp(faint, axis=2).max() < 0.05 < np.ptp(strong, axis=2).max()
    assert grey.shape == faint.shape
    assert "3 frames, one scale" in facts(figure)


def test_of_very_many_some_are_shown_and_that_is_said():
    figure = plot_explanation(clip(64))
    assert len(figure.axes[0].images) == 73
    assert "24 of 64 frames, one scale" in facts(figure)
    assert {"frame 0", "frame 63"} <= set(words(figure))


def test_one_photo_stands_before_all_maps():
    figure = plot_explanation(Shown(normal(2, 6, 8), ("before", "after"), one_photo=True, signed=True))
    images = figure.axes[0].images
    assert len(images) == 6
    assert [image.get_extent()[3] for image in images[:3]] == [0, 0, 0]
    assert [image.get_extent()[3] for image in images[3:5]] == [images[0].get_extent()[2] + 6] * 2
    assert {"photo", "before", "after"} <= set(words(figure))
    rendered(figure)


def test_a_single_map_is_drawn_as_ever_and_maps_of_nothing_are_refused():
    figure = plot_explanation(Shown(np.abs(normal(6, 8)), ()))
    assert [image.get_array().shape[:2] for image in figure.axes[0].images[:2]] == [(264, 352)] * 2
    with pytest.raises(InputError, match="cannot be laid on a photo"):
        plot_explanation(Shown(normal(3, 6, 8), ()))


@pytest.mark.parametrize("signed", [False, True])
def test_overlays_are_the_pixels_of_the_figure(signed):
    shown = Shown(normal(6, 8) if signed else np.abs(normal(6, 8)), (), signed=signed)
    figure = plot_explanation(shown)
    drawn = [np.asarray(image.get_array()) for image in figure.axes[0].images[:2]]
    ((photo, heat),) = overlays(shown, 352)
    assert np.array_equal(photo, np.rint(255 * drawn[0]))
    assert np.abs(heat / 255 - drawn[1]).max() <= 0.5 / 255 + 1e-6


def test_overlays_of_frames_are_one_each_and_of_a_volume_refused():
    pairs = overlays(clip(3), 32)
    assert [(photo.shape, heat.shape) for photo, heat in pairs] == [((24, 32, 3), (24, 32, 3))] * 3
    with pytest.raises(InputError, match="cannot be laid on a photo"):
        overlays(Shown(normal(3, 6, 8), ()))


def test_the_bare_map_stands_beside_with_its_colour_bar():
    shown = Shown(np.abs(normal(6, 8)), ())
    figure = plot_explanation(shown)
    photo, overlay, bare, bar = figure.axes[0].images
    lefts = [image.get_extent()[0] for image in (photo, overlay, bare)]
    assert lefts == [0, 368, 736]
    assert bar.get_extent()[0] >= 736
    assert bar.get_extent()[2] > 264
    limit = float(shown.map.max())
    wanted = colormaps["inferno"](np.clip(resized(shown.map, (264, 352)), 0, limit) / limit)[..., :3]
    np.testing.assert_allclose(bare.get_array(), wanted, atol=0.01)
    assert {"0", f"{limit:.3g}", "photo", "grad-cam on the photo", "grad-cam"} <= set(words(figure))
    assert "map of 6×8, enlarged bilinearly" in facts(figure)


def test_a_map_that_is_not_smoothed_shows_its_cells():
    shown = Shown(np.abs(normal(6, 8)), ())
    figure = plot_explanation(shown, smooth="none")
    bare = figure.axes[0].images[2].get_array()
    limit = float(shown.map.max())
    cells = colormaps["inferno"](shown.map / limit)[..., :3]
    np.testing.assert_allclose(bare, cells.repeat(44, 0).repeat(44, 1), atol=1e-6)
    assert "map of 6×8, not smoothed" in facts(figure)
    frames = plot_explanation(clip(2), smooth="none")
    assert "not smoothed" in facts(frames)
    with pytest.raises(InputError, match="no smooth 'cubic'; there are none, bilinear"):
        plot_explanation(shown, smooth="cubic")


@pytest.mark.parametrize("signed", [False, True])
def test_a_map_of_zeros_says_so_in_the_picture(signed):
    shown = Shown(np.zeros((6, 8)), (), signed=signed)
    assert words(plot_explanation(shown)).count("zero everywhere") == 2
    shown.map[2, 3] = 1
    assert "zero everywhere" not in words(plot_explanation(shown))


def test_bare_maps_of_frames_have_the_colours_of_the_bar():
    shown = clip(3)
    bare = plot_explanation(shown).axes[0].images[6:9]
    limit = float(shown.map.max())
    for image, one in zip(bare, shown.map, strict=True):
        size = image.get_array().shape[:2]
        wanted = colormaps["inferno"](np.clip(resized(one, size), 0, limit) / limit)[..., :3]
        np.testing.assert_allclose(image.get_array(), wanted, atol=0.01)
    shown.map[1] = 0
    assert words(plot_explanation(shown)).count("zero everywhere") == 1
    shown.map[:] = 0
    assert words(plot_explanation(shown)).count("zero everywhere") == 3
