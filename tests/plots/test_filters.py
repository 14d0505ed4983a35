"""Figures of filters: the mosaic cut back into its tiles."""

import numpy as np
import pytest
from figures import LAYER, RNG, WEIGHT, assert_tiles, facts, image, numbers, rendered, tiles, unit, words
from samples import CLASSIFIER

from onnxviz import load
from onnxviz.errors import InputError, SelectionError
from onnxviz.plots import plot_filters


def test_rows_show_six_filters_by_input_channel_over_the_whole_layer():
    """As the first and the third of the seed systems have it: normalised over the layer, grey, rows by channels."""
    figure = plot_filters(LAYER, style="rows", scale="layer")
    assert_tiles(figure, [unit(WEIGHT[o, i], WEIGHT.min(), WEIGHT.max()) for o in range(6) for i in range(3)])
    assert image(figure).get_clim() == (0, 1)
    assert image(figure).get_cmap().name == "gray"
    assert "block1_conv1" in words(figure)
    assert "OIHW 10×3×3×3" in facts(figure)
    assert "6 of 10 filters" in facts(figure)
    assert {f"{float(WEIGHT.min()):.3g}".replace("-", "−"), f"{float(WEIGHT.max()):.3g}"} <= set(words(figure))
    assert f"black: {WEIGHT.min():.3g} · ".replace("-", "−") in facts(figure).replace("  ·  ", " · ")


def test_rows_label_chosen_filters_and_channels():
    figure = plot_filters(WEIGHT, filters=[7, 2], channels=[2, 0], scale="filter")
    expected = [unit(WEIGHT[o, i], WEIGHT[o].min(), WEIGHT[o].max()) for o in (7, 2) for i in (2, 0)]
    assert_tiles(figure, expected)
    numbers = [word for word in words(figure) if word.isdigit()]
    assert numbers == ["7", "2", "2", "0"]


def test_symmetric_filters_have_zero_in_the_middle_of_a_diverging_map():
    weight = WEIGHT.copy()
    weight[0, 0, 1, 1] = 0
    figure = plot_filters(weight, style="rows", cut=100, first=1)
    limit = np.abs(weight).max()
    assert_tiles(figure, [unit(weight[0, i], -limit, limit) for i in range(3)])
    assert tiles(figure, (3, 3))[0][1, 1] == 0.5
    assert image(figure).get_cmap().name == "RdBu_r"
    assert "cut" not in facts(figure)
    coloured = plot_filters(weight, style="rows", scale="symmetric", cmap="viridis")
    assert image(coloured).get_cmap().name == "viridis"


@pytest.mark.parametrize("cut", [None, 90.0])
def test_a_scale_about_zero_is_cut_at_a_percentile_of_the_magnitude_and_says_so(cut):
    figure = plot_filters(LAYER, style="rows", cut=cut)
    limit = np.percentile(np.abs(WEIGHT.astype(np.float64)), cut or 99.5)
    expected = [np.clip(unit(WEIGHT[o, i], -limit, limit), 0, 1) for o in range(6) for i in range(3)]
    for tile, wanted in zip(tiles(figure, (3, 3)), expected, strict=True):
        np.testing.assert_allclose(tile, wanted, atol=1e-6)
    shown = f"{limit:.3g}"
    for word in (f"darkest red: {shown} or more", f"darkest blue: −{shown} or less", f"percentile {cut or 99.5:g}"):
        assert word in facts(figure)
    assert {f"≤ −{shown}", f"≥ {shown}"} <= set(words(figure))


def test_nine_tenths_of_the_weights_have_twice_the_shades_that_they_had():
    spans = []
    for scale in ("layer", None):
        figure = plot_filters(load(CLASSIFIER).layer("conv1"), filters="all", style="rows", scale=scale)
        low, high = np.percentile([255 * np.asarray(tile) for tile in tiles(figure, (7, 7))], [5, 95])
        spans.append(high - low)
    assert spans[1] > 1.8 * spans[0]


def test_a_grid_says_whether_it_shows_one_channel_or_a_mean():
    one = plot_filters(LAYER, style="grid", scale="layer", channels=[1], first=6)
    assert_tiles(one, [unit(WEIGHT[o, 1], WEIGHT.min(), WEIGHT.max()) for o in range(6)])
    assert "channel 1" in facts(one)
    means = WEIGHT.mean(axis=1, dtype=np.float64)
    mean = plot_filters(LAYER, style="grid", scale="layer")
    assert_tiles(mean, [unit(picture, means.min(), means.max()) for picture in means])
    assert "mean over 3 input channels" in facts(mean)


def test_rgb_filters_are_colours():
    figure = plot_filters(LAYER, style="rgb", scale="layer", channels=[2, 1, 0], filters=[4])
    expected = unit(WEIGHT[4][[2, 1, 0]].transpose(1, 2, 0), WEIGHT.min(), WEIGHT.max())
    np.testing.assert_array_equal(tiles(figure, (3, 3))[0][..., :3], expected)
    assert "channels 2, 1, 0" in facts(figure)
    assert "black: −" in facts(figure)
    with pytest.raises(InputError, match="not 2 of shape"):
        plot_filters(LAYER, style="rgb", channels=[0, 1])


def test_three_channels_are_colours_unless_told_and_it_is_said_whether_they_are_known_to_be():
    unknown, known, turned = (plot_filters(LAYER, colours=colours) for colours in (None, "RGB", "BGR"))
    assert "red, green, blue: channels 0, 1, 2, though nothing says that they are colours" in facts(unknown)
    assert "nothing says" not in facts(known) + facts(turned)
    assert "red, green, blue: channels 2, 1, 0" in facts(turned)
    limit = np.percentile(np.abs(WEIGHT), 99.5)
    wanted = np.clip(unit(WEIGHT[3].transpose(1, 2, 0), -limit, limit), 0, 1)
    np.testing.assert_allclose(tiles(known, (3, 3))[3][..., :3], wanted, atol=1e-6)
    np.testing.assert_allclose(tiles(turned, (3, 3))[3][..., 2::-1], wanted, atol=1e-6)
    assert "mid-grey: 0" in facts(known)


@pytest.mark.parametrize(
    ("shape", "options", "style"),
    [
        ((8, 3, 3, 3), {}, "rgb"),
        ((8, 3, 3, 3), {"cmap": "viridis"}, "rows"),
        ((8, 3, 1, 1), {}, "matrix"),
        ((8, 17, 3, 3), {}, "rows"),
        ((8, 33, 3, 3), {}, "matrix"),
        ((8, 33, 3, 3), {"filters": [1]}, "rows"),
        ((8, 33, 3, 3), {"channels": [1, 2]}, "rows"),
        ((8, 33, 3, 3), {"channels": [4]}, "grid"),
        ((8, 1, 3, 3), {}, "grid"),
        ((8, 33, 3), {}, "matrix"),
        ((8, 3, 3), {}, "rows"),
        ((8, 33, 3, 3, 3), {}, "rows"),
        ((8, 4), {}, "matrix"),
    ],
)
def test_the_usual_style_follows_from_the_shape(shape, options, style):
    weight = RNG.normal(size=shape)
    usual, asked = plot_filters(weight, **options), plot_filters(weight, style=style, **options)
    np.testing.assert_array_equal(image(usual).get_array(), image(asked).get_array())
    assert words(usual) == words(asked)
    rendered(usual)


def test_filters_are_sorted_by_their_norm():
    norms = np.linalg.norm(WEIGHT.reshape(10, -1), axis=1)
    first = np.argsort(-norms)[:4]
    figure = plot_filters(LAYER, style="grid", sort="norm", first=4)
    assert numbers(figure) == first.tolist()
    assert "largest norm first" in facts(figure)
    named = plot_filters(LAYER, style="grid", sort="norm", filters=[1, 8, 5])
    assert numbers(named) == sorted([1, 8, 5], key=lambda o: -norms[o])


def test_filters_that_are_alike_are_put_side_by_side():
    kinds = RNG.normal(size=(3, 2, 3, 3))
    planted = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    weight = kinds[planted] + 0.05 * RNG.normal(size=(9, 2, 3, 3))
    figure = plot_filters(weight, style="grid", sort="cluster")
    order = numbers(figure)
    assert sorted(order) == list(range(9))
    assert (np.diff(planted[order]) != 0).sum() == 2
    assert "alike ones side by side" in facts(figure)


def test_the_layout_only_changes_how_the_shape_is_written():
    assert "HWIO 3×3×3×10" in facts(plot_filters(LAYER, layout="keras"))
    weight = np.zeros((4, 2, 1, 2, 3))
    assert "DHWIO 1×2×3×2×4" in facts(plot_filters(weight, layout="keras"))


def test_filters_without_or_with_one_spatial_axis():
    dense = RNG.normal(size=(5, 4))
    figure = plot_filters(dense, style="rows", scale="layer")
    assert_tiles(figure, list(unit(dense, dense.min(), dense.max()).reshape(20, 1, 1)))
    kernels = RNG.normal(size=(5, 2, 11)).astype(np.float32)
    expected = unit(kernels[:2], kernels.min(), kernels.max()).reshape(4, 1, 11)
    assert_tiles(plot_filters(kernels, first=2, scale="layer"), list(expected))


def test_filters_with_three_spatial_axes_are_slices_of_the_mean():
    kernels = RNG.normal(size=(3, 2, 4, 5, 6))
    means = kernels.mean(axis=1)
    figure = plot_filters(kernels, scale="layer")
    assert_tiles(figure, list(unit(means, means.min(), means.max()).reshape(12, 5, 6)))
    assert "4 of 4 slices" in facts(figure)
    one = plot_filters(kernels, scale="layer", channels=[1], filters=[2])
    assert_tiles(one, list(unit(kernels[2, 1], kernels.min(), kernels.max())))


def test_wide_layers_show_64_channels_unless_asked_and_say_so():
    wide = RNG.normal(size=(2, 200, 3, 3)).astype(np.float32)
    assert "64 of 200 input channels" in facts(plot_filters(wide, style="rows"))
    assert len(tiles(plot_filters(wide, style="rows", channels="all"), (3, 3))) == 400


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
        ({"cut": 0}, "cut is 0; it must be a percentile above 0 to 100"),
        ({"cut": 101}, "cut is 101"),
        ({"cut": float("nan")}, "cut is nan"),
        ({"cut": 90, "scale": "layer"}, "scale= layer goes from the least weight to the greatest: leave out cut="),
        ({"filters": [1], "first": 2}, "leave out first"),
        ({"sources": ["a"] * 3}, "with feeds= only: leave out sources="),
        ({"feeds": 1, "style": "grid"}, "leave out style"),
        ({"sort": "size"}, "no sort 'size'; there are norm, cluster"),
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
