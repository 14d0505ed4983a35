"""The input above its maps: at the maps' positions, above those slices that it lies behind."""

import numpy as np
import pytest
from figures import rendered, words
from protos import normal

from onnxviz import InputError, UnheededOptionError, plot_maps
from onnxviz.plots.input_above import slices_behind


def test_a_signal_is_as_wide_as_its_heat_map_and_the_heat_map_is_what_it_is_without():
    maps, signal = normal(6, 20), normal(2, 40)
    plain, both = plot_maps(maps), plot_maps(maps, behind=signal)
    np.testing.assert_array_equal(plain.axes[0].images[0].get_array(), both.axes[0].images[0].get_array())
    axes = both.axes[0]
    width = axes.images[0].get_extent()[1]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 40]
    assert len(lines) == 2
    for line in lines:
        np.testing.assert_allclose(line.get_xdata(), (np.arange(40) + 0.5) * width / 40)
        assert max(line.get_ydata()) < 0  # above the maps
    before, after = rendered(plain), rendered(both)
    assert after.shape[0] > before.shape[0]
    assert after.shape[1] == before.shape[1]
    np.testing.assert_array_equal(after[:40], before[:40])  # the title
    np.testing.assert_array_equal(after[-60:], before[-60:])  # the axis and the colour bar


@pytest.mark.parametrize(("depth", "deep"), [(3, 3), (12, 24), (10, 40), (24, 24), (5, 4)])
def test_slices_of_a_volume_stand_above_those_of_the_maps_at_the_same_depth(depth, deep):
    volume, maps = np.abs(normal(1, deep, 6, 9)), normal(2, depth, 6, 9)
    figure = plot_maps(maps, spatial=3, behind=volume)
    axes = figure.axes[0]
    pictures = axes.images[1:]
    assert len(pictures) == min(depth, 8)
    places = slices_behind([*np.linspace(0, depth - 1, len(pictures)).round().astype(int)], depth, deep)
    scaled = (volume[0] - volume.min()) / np.ptp(volume)
    columns = np.linspace(0, axes.images[0].get_extent()[1] + 4, len(pictures) + 1)
    for picture, left in zip(pictures, columns[:-1], strict=True):
        shown = picture.get_array()[..., 0]
        nearest = int(np.abs(scaled - shown).max(axis=(1, 2)).argmin())
        np.testing.assert_allclose(scaled[nearest], shown, atol=1e-6)
        assert nearest in places
        assert str(nearest) in words(figure)
        assert picture.get_extent()[0] == pytest.approx(left, abs=1e-6)
        assert picture.get_extent()[2] < 0
    assert f"input: {len(pictures)} of {deep} slices along the first axis" in " ".join(words(figure))
    rendered(figure)


def test_the_middle_of_a_slice_lies_in_the_one_behind_it():
    for depth in range(1, 30):
        for deep in range(1, 40):
            for place, behind in enumerate(slices_behind(range(depth), depth, deep)):
                assert behind / deep <= (place + 0.5) / depth <= (behind + 1) / deep


def test_channels_of_a_volume_are_said():
    maps = normal(2, 3, 6, 9)
    assert "channel 0 of 2" in " ".join(words(plot_maps(maps, spatial=3, behind=normal(2, 3, 6, 9))))
    assert "channels 0 to 2 of 4" in " ".join(words(plot_maps(maps, spatial=3, behind=normal(4, 3, 6, 9))))
    assert (
        "channel" not in " ".join(words(plot_maps(maps, spatial=3, behind=normal(1, 3, 6, 9)))).partition("input:")[2]
    )


@pytest.mark.parametrize("shape", [(40,), (1, 3, 40), (1, 3, 6, 9)])
def test_what_has_other_axes_is_refused(shape):
    with pytest.raises(InputError, match="with as many axes"):
        plot_maps(normal(6, 20), behind=np.zeros(shape))
    with pytest.raises(InputError, match="with as many axes"):
        plot_maps(normal(6, 2, 20, 20), behind=np.zeros(shape))
    with pytest.raises(UnheededOptionError, match="leave out behind="):
        plot_maps(normal(6), behind=np.zeros(shape))
