"""Figures of filters: the mosaic cut back into its tiles."""

import numpy as np
import pytest
from figures import LAYER, RNG, WEIGHT, assert_tiles, facts, image, tiles, unit, words

from onnxviz.errors import InputError, SelectionError
from onnxviz.plots import plot_filters


def test_rows_show_six_filters_by_input_channel_over_the_whole_layer():
    figure = plot_filters(LAYER)
    assert_tiles(figure, [unit(WEIGHT[o, i], WEIGHT.min(), WEIGHT.max()) for o in range(6) for i in range(3)])
    assert image(figure).get_clim() == (0, 1)
    assert image(figure).get_cmap().name == "gray"
    assert "block1_conv1" in words(figure)
    assert "OIHW 10×3×3×3" in facts(figure)
    assert "6 of 10 filters" in facts(figure)
    assert {f"{float(WEIGHT.min()):.3g}".replace("-", "−"), f"{float(WEIGHT.max()):.3g}"} <= set(words(figure))


def test_rows_label_chosen_filters_and_channels():
    figure = plot_filters(WEIGHT, filters=[7, 2], channels=[2, 0], scale="filter")
    expected = [unit(WEIGHT[o, i], WEIGHT[o].min(), WEIGHT[o].max()) for o in (7, 2) for i in (2, 0)]
    assert_tiles(figure, expected)
    numbers = [word for word in words(figure) if word.isdigit()]
    assert numbers == ["7", "2", "2", "0"]


def test_symmetric_filters_have_zero_in_the_middle_of_a_diverging_map():
    weight = WEIGHT.copy()
    weight[0, 0, 1, 1] = 0
    figure = plot_filters(weight, scale="symmetric", first=1)
    limit = np.abs(weight).max()
    assert_tiles(figure, [unit(weight[0, i], -limit, limit) for i in range(3)])
    assert tiles(figure, (3, 3))[0][1, 1] == 0.5
    assert image(figure).get_cmap().name == "RdBu_r"
    assert image(plot_filters(weight, scale="symmetric", cmap="viridis")).get_cmap().name == "viridis"


def test_a_grid_says_whether_it_shows_one_channel_or_a_mean():
    one = plot_filters(LAYER, style="grid", channels=[1])
    assert_tiles(one, [unit(WEIGHT[o, 1], WEIGHT.min(), WEIGHT.max()) for o in range(6)])
    assert "channel 1" in facts(one)
    means = WEIGHT.mean(axis=1, dtype=np.float64)
    mean = plot_filters(LAYER, style="grid", first=None)
    assert_tiles(mean, [unit(picture, means.min(), means.max()) for picture in means])
    assert "mean over 3 input channels" in facts(mean)


def test_rgb_filters_are_colours():
    figure = plot_filters(LAYER, style="rgb", channels=[2, 1, 0], filters=[4])
    expected = unit(WEIGHT[4][[2, 1, 0]].transpose(1, 2, 0), WEIGHT.min(), WEIGHT.max())
    np.testing.assert_array_equal(tiles(figure, (3, 3))[0][..., :3], expected)
    assert "channels 2, 1, 0" in facts(figure)
    assert "from −" in facts(figure)
    with pytest.raises(InputError, match="not 2 of shape"):
        plot_filters(LAYER, style="rgb", channels=[0, 1])


def test_the_layout_only_changes_how_the_shape_is_written():
    assert "HWIO 3×3×3×10" in facts(plot_filters(LAYER, layout="keras"))
    weight = np.zeros((4, 2, 1, 2, 3))
    assert "DHWIO 1×2×3×2×4" in facts(plot_filters(weight, layout="keras"))


def test_filters_without_or_with_one_spatial_axis():
    dense = RNG.normal(size=(5, 4))
    assert_tiles(plot_filters(dense, first=None), list(unit(dense, dense.min(), dense.max()).reshape(20, 1, 1)))
    kernels = RNG.normal(size=(5, 2, 11)).astype(np.float32)
    expected = unit(kernels[:2], kernels.min(), kernels.max()).reshape(4, 1, 11)
    assert_tiles(plot_filters(kernels, first=2), list(expected))


def test_filters_with_three_spatial_axes_are_slices_of_the_mean():
    kernels = RNG.normal(size=(3, 2, 4, 5, 6))
    means = kernels.mean(axis=1)
    figure = plot_filters(kernels)
    assert_tiles(figure, list(unit(means, means.min(), means.max()).reshape(12, 5, 6)))
    assert "4 of 4 slices" in facts(figure)
    one = plot_filters(kernels, channels=[1], filters=[2])
    assert_tiles(one, list(unit(kernels[2, 1], kernels.min(), kernels.max())))


def test_wide_layers_show_64_channels_unless_asked_and_say_so():
    wide = RNG.normal(size=(2, 200, 3, 3)).astype(np.float32)
    assert "64 of 200 input channels" in facts(plot_filters(wide))
    assert len(tiles(plot_filters(wide, channels=range(200)), (3, 3))) == 400


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": [3, 10]}, "no filter 10; there are 10, 0 to 9"),
        ({"filters": [-1]}, "no filter -1"),
        ({"channels": [3]}, "no channel 3; there are 3, 0 to 2"),
        ({"filters": []}, "no filter is chosen; there are 10"),
    ],
)
def test_filters_that_do_not_exist(options, message):
    with pytest.raises(SelectionError, match=message):
        plot_filters(LAYER, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "row"}, "there is no style 'row'; did you mean rows. there are rows, grid"),
        ({"scale": "map"}, "scale 'map'"),
        ({"layout": "HWIO"}, "layout 'HWIO'"),
        ({"cmap": "greyish"}, "'greyish'"),
        ({"first": 0}, "first 0 filters"),
        ({"style": "lines"}, "lines need filters with one spatial axis"),
    ],
)
def test_options_that_do_not_exist(options, message):
    with pytest.raises(InputError, match=message):
        plot_filters(LAYER, **options)


def test_arrays_that_are_no_filters():
    with pytest.raises(InputError, match=r"\(3,\)"):
        plot_filters(np.zeros(3))
    with pytest.raises(InputError, match="rgb"):
        plot_filters(np.zeros((2, 3, 2, 2, 2)), style="rgb")


def test_single_weights_are_not_called_constant():
    assert "marked" not in facts(plot_filters(RNG.normal(size=(3, 4, 1, 1))))
