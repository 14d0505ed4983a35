"""Figures: what is in their one image, what is written around it, and what lands on disk."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from onnxviz.errors import InputError, OnnxvizError, SelectionError
from onnxviz.plots import plot_filters, plot_maps, save_figure
from onnxviz.plots.mosaic import Grid, ValueRange, sort_channels, standardize

RNG = np.random.default_rng(1)
WEIGHT = RNG.normal(size=(10, 3, 3, 3)).astype(np.float32)
LAYER = SimpleNamespace(name="block1_conv1", weight=WEIGHT)
MAPS = RNG.normal(size=(20, 6, 9)).astype(np.float32)


def image(figure):
    return figure.axes[0].images[0]


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def facts(figure):
    """The second line, however it was wrapped."""
    return " · ".join(text.get_text() for text in figure.axes[0].texts if text.get_fontsize() == 8.5)


def rendered(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def tiles(figure, shape):
    """Cuts the mosaic along its fully masked rows and columns, and takes repeated entries once: needs no Grid."""
    mosaic = image(figure).get_array()
    seen = ~np.ma.getmaskarray(mosaic) if mosaic.ndim == 2 else mosaic[..., 3] > 0

    def runs(filled):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], filled.astype(int), [0]])))
        return list(zip(edges[::2], edges[1::2], strict=True))

    cut = []
    for top, bottom in runs(seen.any(axis=1)):
        for left, right in runs(seen[top:bottom].any(axis=0)):
            tile = mosaic[top:bottom, left:right]
            down, across = (bottom - top) // shape[0], (right - left) // shape[1]
            assert tile.shape[:2] == (shape[0] * down, shape[1] * across)
            small = np.asarray(tile[::down, ::across])
            np.testing.assert_array_equal(np.asarray(tile), small.repeat(down, 0).repeat(across, 1))
            cut.append(small)
    return cut


def unit(values, low, high):
    low, high = float(low), float(high)
    return ((np.asarray(values, np.float64) - low) / (high - low)).astype(np.float32)


def assert_tiles(figure, expected):
    found = tiles(figure, expected[0].shape[:2])
    assert len(found) == len(expected)
    for tile, picture in zip(found, expected, strict=True):
        np.testing.assert_array_equal(tile, picture)


# Filters


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
        ({"style": "row"}, "there is no style 'row'; there are rows, grid"),
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


# Maps


def test_a_grid_scales_each_map_on_its_own():
    figure = plot_maps(MAPS, title="conv")
    assert_tiles(figure, [unit(picture, picture.min(), picture.max()) for picture in MAPS])
    assert image(figure).get_cmap().name == "gray"
    assert image(figure).get_interpolation() == "none"
    assert [word for word in words(figure) if word.isdigit()] == ["0", "8", "16"]
    assert facts(figure) == "20 of 20 maps  ·  6×9  ·  each on its own scale"


@pytest.mark.parametrize("style", ["grid", "strip"])
@pytest.mark.parametrize("scale", ["map", "layer", "symmetric", "standardize"])
def test_every_style_and_scale_holds_the_scaled_maps_bit_for_bit(style, scale):
    figure = plot_maps(MAPS, style=style, scale=scale, first=16)
    if scale == "standardize":
        expected = [standardize(picture).filled(0) for picture in MAPS[:16]]
    else:
        windows = {
            "map": ValueRange.around,
            "layer": lambda _: ValueRange.around(MAPS),
            "symmetric": lambda _: ValueRange.around(MAPS, symmetric=True),
        }
        expected = [windows[scale](picture).place(picture).filled(0) for picture in MAPS[:16]]
    assert_tiles(figure, expected)
    assert image(figure).get_array().dtype == expected[0].dtype
    assert image(figure).get_clim() == (0, 255 if scale == "standardize" else 1)


def test_a_strip_is_one_standardized_row():
    figure = plot_maps(MAPS, style="strip")
    naive = MAPS[5].astype(np.float64)
    naive = np.clip((naive - naive.mean()) / naive.std() * 64 + 128, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(tiles(figure, (6, 9))[5], naive)
    assert image(figure).get_cmap().name == "viridis"
    mask = np.ma.getmaskarray(image(figure).get_array())
    assert not mask.all(axis=1).any()


def test_sorted_maps_are_the_largest_of_all_and_numbered():
    figure = plot_maps(MAPS, sort="variance", first=4)
    order = sort_channels(MAPS, "variance")[:4]
    assert_tiles(figure, [unit(MAPS[c], MAPS[c].min(), MAPS[c].max()) for c in order])
    assert [word for word in words(figure) if word.isdigit()] == [str(c) for c in order]
    assert "4 of 20 maps  ·  largest variance first" in facts(figure)


def test_chosen_channels_are_sorted_among_themselves_and_not_capped():
    channels = [9, 3, 12]
    figure = plot_maps(MAPS, channels=channels, sort="mean", first=1)
    expected = sorted(channels, key=lambda c: -MAPS[c].mean(dtype=np.float64))
    assert [word for word in words(figure) if word.isdigit()] == [str(c) for c in expected]


def test_columns():
    assert [word for word in words(plot_maps(MAPS, columns=5)) if word.isdigit()] == ["0", "5", "10", "15"]
    with pytest.raises(InputError, match="0 columns"):
        plot_maps(MAPS, columns=0)


def test_maps_of_one_spatial_axis_are_a_heat_map_on_one_scale():
    sound = RNG.normal(size=(5, 40)).astype(np.float32)
    figure = plot_maps(sound)
    mosaic = image(figure).get_array()
    rows, columns = mosaic.shape[0] // 5, mosaic.shape[1] // 40
    np.testing.assert_array_equal(mosaic[::rows, ::columns], unit(sound, sound.min(), sound.max()))
    assert {"position", "0", "4", "35"} <= set(words(figure))


def test_long_sound_is_reduced_to_what_the_figure_shows():
    sound = np.repeat(RNG.normal(size=(3, 600)).astype(np.float32), 100, axis=1)
    mosaic = image(plot_maps(sound)).get_array()
    assert mosaic.shape[1] == 1200
    expected = unit(sound[:, ::100], sound.min(), sound.max())
    np.testing.assert_allclose(mosaic[:: mosaic.shape[0] // 3, ::2], expected, atol=1e-6)


def test_lines_follow_their_values_and_break_where_there_are_none():
    sound = np.array([[0.0, 1.0, np.nan, 0.5], [3.0, 3.0, 3.0, 3.0]])
    figure = plot_maps(sound, style="lines")
    (lines,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    first, constant = (path.vertices for path in lines.get_paths())
    heights = first[:, 1]
    assert heights[0] > heights[3] > heights[1]
    assert heights[3] == pytest.approx((heights[0] + heights[1]) / 2)
    assert np.isnan(heights[2])
    assert np.ptp(constant[:, 1]) == 0
    rendered(figure)


def test_long_lines_keep_their_peaks():
    sound = np.zeros((1, 100_000))
    sound[0, 77_777] = 1
    figure = plot_maps(sound, style="lines")
    (lines,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    points = lines.get_paths()[0].vertices
    assert len(points) < 1000
    assert (points[:, 1] == points[:, 1].min()).sum() == 1
    assert points[points[:, 1].argmin(), 0] / figure.axes[0].get_xlim()[1] == pytest.approx(0.778, abs=0.02)


def test_maps_of_three_spatial_axes_are_slices_on_the_volumes_scale():
    volumes = RNG.normal(size=(2, 16, 5, 6)).astype(np.float32)
    figure = plot_maps(volumes, spatial=3)
    depths = [0, 2, 4, 6, 9, 11, 13, 15]
    assert_tiles(figure, [unit(v[d], v.min(), v.max()) for v in volumes for d in depths])
    assert {str(d) for d in depths} <= set(words(figure))
    assert "8 of 16 slices" in facts(figure)


def test_a_batch_shows_one_input_and_says_which():
    batch = RNG.normal(size=(3, 4, 5, 6)).astype(np.float32)
    for options, index in (({}, 0), ({"sample": 2}, 2)):
        figure = plot_maps(batch, **options)
        assert_tiles(figure, [unit(m, m.min(), m.max()) for m in batch[index]])
        assert f"input {index} of 3" in facts(figure)
    sound = RNG.normal(size=(1, 4, 30)).astype(np.float32)
    np.testing.assert_array_equal(
        image(plot_maps(sound, spatial=1)).get_array(), image(plot_maps(sound[0])).get_array()
    )


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1)])
def test_single_numbers_are_bars_from_zero(shape):
    figure = plot_maps(np.array([2.0, -1.0, np.nan, 1.0]).reshape(shape))
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[0] == pytest.approx(2 * heights[1])
    assert heights[3] == pytest.approx(heights[1])
    assert heights[2] == pytest.approx(heights[0] + heights[1])
    assert "1 not finite" in facts(figure)
    rendered(figure)


def test_maps_that_cannot_be_drawn():
    with pytest.raises(InputError, match=r"\(1, 2, 3, 4, 5, 6\)"):
        plot_maps(np.zeros((1, 2, 3, 4, 5, 6)))
    with pytest.raises(InputError, match=r"\(2, 3, 4\) with 3 of them"):
        plot_maps(np.zeros((2, 3, 4)), spatial=3)
    with pytest.raises(SelectionError, match="no input 2; there are 2"):
        plot_maps(np.zeros((2, 3, 4, 5)), sample=2)
    with pytest.raises(InputError, match="one spatial axis"):
        plot_maps(MAPS, style="lines")
    with pytest.raises(SelectionError, match="no channel 20; there are 20, 0 to 19"):
        plot_maps(MAPS, channels=[20])
    with pytest.raises(InputError, match="no order of channels 'std'; there are mean"):
        plot_maps(MAPS, sort="std")
    with pytest.raises(InputError, match="'cubes'"):
        plot_maps(MAPS, style="cubes")
    with pytest.raises(InputError, match="holds no values"):
        plot_maps(np.zeros((0, 3, 3)))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint16, np.int64, bool])
def test_types(dtype):
    values = (RNG.random((3, 4, 5)) * 4 - 1).clip(0).astype(dtype)
    assert_tiles(plot_maps(values), [unit(m.astype(float), m.min(), m.max()) for m in values])


def test_nothing_given_is_changed():
    before = MAPS.copy()
    before.flags.writeable = False
    for options in ({}, {"style": "strip"}, {"sort": "norm"}, {"scale": "symmetric"}):
        plot_maps(before, **options)
    np.testing.assert_array_equal(before, MAPS)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 70),
    st.lists(st.integers(1, 40), max_size=3),
    st.sampled_from(["grid", "strip"]),
    st.sampled_from(["map", "layer", "symmetric", "standardize"]),
    st.integers(0, 999),
)
def test_any_shape_draws_at_a_bounded_size(channels, spatial, style, scale, seed):
    values = np.random.default_rng(seed).normal(size=(channels, *spatial))
    values.flat[seed % values.size] = (np.nan, np.inf, 1e308, 0)[seed % 4]
    height, width = rendered(plot_maps(values, style=style, scale=scale)).shape[:2]
    assert 100 <= height < 4800
    assert 450 <= width < 4800


# What is wrong is marked


def flawed():
    maps = MAPS[:5].copy()
    maps[1] = 7
    maps[2, 0, :5] = np.nan
    maps[3, 2, 3] = -np.inf
    maps[4] = np.nan
    return maps


@pytest.mark.parametrize("options", [{}, {"style": "strip"}, {"scale": "layer"}, {"scale": "symmetric"}])
def test_flawed_maps_are_marked_named_and_counted(options):
    figure = plot_maps(flawed(), **options)
    assert {"const", "NaN 9%", "inf", "NaN 100%"} <= {word.split(" ", 0)[0] for word in words(figure)}
    assert "marked: 1 constant, 3 not finite" in facts(figure)
    assert len(figure.axes[0].patches) == 4
    rendered(figure)


def test_a_constant_map_is_mid_grey_and_finite_pixels_keep_their_range():
    maps = flawed()
    figure = plot_maps(maps)
    grid = Grid.fit(5, 5, (6, 9), largest=(300, 300), header=14)
    mosaic = image(figure).get_array()
    assert (grid.cut(mosaic, 1) == 0.5).all()
    holed = grid.cut(mosaic, 2)
    np.testing.assert_array_equal(holed.mask, np.isnan(maps[2]))
    assert (holed.min(), holed.max()) == (0, 1)
    assert grid.cut(mosaic, 4).mask.all()


def test_single_weights_are_not_called_constant():
    assert "marked" not in facts(plot_filters(RNG.normal(size=(3, 4, 1, 1))))


def test_flawed_filters_and_sounds_draw():
    weight = WEIGHT.copy()
    weight[0] = 0
    weight[1, 1, 1, 1] = np.nan
    for style in ("rows", "grid", "rgb"):
        figure = plot_filters(weight, style=style)
        assert "marked" in facts(figure)
        rendered(figure)
    sound = RNG.normal(size=(4, 50))
    sound[2, :10] = np.inf
    for style in ("grid", "lines"):
        figure = plot_maps(sound, style=style)
        assert "inf" in words(figure)
        rendered(figure)


def test_a_frame_lies_around_its_tile_not_on_it():
    figure = plot_maps(flawed()[:2])
    pixels = rendered(figure)
    box = figure.axes[0].get_window_extent()
    row = pixels.shape[0] - round(box.y0) - 20
    assert pixels[row, round(box.x1) - 50, :3].tolist() == [128, 128, 128]
    assert pixels[row, round(box.x1) + 1, :3].tolist() == [0xE8, 0x89, 0x0C]


def test_a_flawed_volume_is_marked_in_its_own_row_and_counted_once():
    volumes = RNG.normal(size=(3, 4, 5, 6))
    volumes[1, 2, 0, 0] = np.nan
    figure = plot_maps(volumes, spatial=3)
    assert "marked: 1 not finite" in facts(figure)
    grid = Grid.fit(12, 4, (5, 6), largest=(140, 140), header=14)
    frames = [frame.get_xy() for frame in figure.axes[0].patches]
    assert frames == [(left - 2, top - 2) for top, left in map(grid.corner, range(4, 8))]


def test_what_is_not_finite_is_seen_in_colour():
    maps = np.zeros((1, 4, 4))
    maps[0, 1:3, 1:3] = np.nan
    maps[0, 0, 0] = 1
    pixels = rendered(plot_maps(maps)).astype(int)
    pink = (pixels[..., 0] > 180) & (pixels[..., 1] < 60) & (pixels[..., 2] > 90)
    assert pink.sum() > 1000


# The page


def test_the_page_shows_every_entry_of_the_mosaic_as_one_pixel_of_its_colour():
    figure = plot_maps(MAPS, cmap="viridis")
    mosaic = image(figure).get_array()
    pixels = rendered(figure)
    left, bottom, width, height = (
        figure.axes[0].get_position().bounds * np.tile(figure.get_size_inches() * 100, 2)
    ).round()
    assert (height, width) == mosaic.shape
    top = pixels.shape[0] - int(bottom) - mosaic.shape[0]
    shown = pixels[top : top + mosaic.shape[0], int(left) : int(left) + mosaic.shape[1]]
    expected = mpl.colormaps["viridis"](mosaic.filled(0), bytes=True)
    inside = ~mosaic.mask
    np.testing.assert_array_equal(shown[inside], expected[inside])


@pytest.mark.parametrize(
    "title",
    [
        "conv$\\evil{$1",
        "model/features/" * 200,
        "日本語 🐈 \ud800",
        "a\u202eb\x00c\nd\u200be",
        "\x00",
        "%s {} \\",
    ],
)
def test_any_title_draws_on_one_line_inside_the_figure(title):
    figure = plot_maps(MAPS, title=title, subtitle=title)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for text in figure.axes[0].texts:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= canvas.get_width_height()[0]
        assert box.y1 <= canvas.get_width_height()[1]
        assert not set(text.get_text()) & set("\n\x00\u202e\u200b")


def test_long_titles_keep_both_ends():
    figure = plot_maps(MAPS[:1], title="begin" + "/middle" * 50 + "/end")
    (title,) = (word for word in words(figure) if word.startswith("begin"))
    assert "…" in title
    assert title.endswith("/end")


def test_a_users_settings_do_not_change_the_figure():
    expected = rendered(plot_maps(MAPS))
    settings = {"figure.autolayout": True, "image.origin": "lower", "axes.facecolor": "red", "text.usetex": True}
    with mpl.rc_context({**settings, "font.family": "serif", "figure.dpi": 33}):
        np.testing.assert_array_equal(rendered(plot_maps(MAPS)), expected)


def test_an_ordinary_grid_is_about_1200_pixels_wide():
    for side in (7, 14, 28, 56, 112, 224):
        width = plot_maps(np.broadcast_to(np.arange(side, dtype=np.float32), (64, side, side))).get_size_inches()[0]
        assert 9 <= width <= 14


def test_no_pyplot():
    code = (
        "import sys, numpy as np; from onnxviz.plots import plot_maps; "
        "plot_maps(np.zeros((2, 3, 3))); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Files


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")])
def test_files_are_whole_and_the_same_every_time(tmp_path, suffix, begins):
    first = save_figure(plot_maps(flawed(), title="conv"), tmp_path / f"a{suffix}")
    second = save_figure(plot_maps(flawed(), title="conv"), str(tmp_path / f"b{suffix}"))
    assert first.read_bytes().startswith(begins)
    assert first.read_bytes() == second.read_bytes()
    assert b"matplotlib" not in first.read_bytes()[-2000:].lower()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_resolution(tmp_path):
    figure = plot_maps(MAPS)
    sizes = []
    for dpi in (None, 200):
        with Image.open(save_figure(figure, tmp_path / "a.png", dpi=dpi)) as picture:
            sizes.append(picture.size)
    normal, double = sizes
    assert double == pytest.approx((2 * normal[0], 2 * normal[1]), abs=1)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.png, \.svg, \.pdf"):
        save_figure(plot_maps(MAPS), tmp_path / "a.bmp")
    with pytest.raises(OnnxvizError, match="nowhere"):
        save_figure(plot_maps(MAPS), tmp_path / "nowhere" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def fail(self, file, **options):
        Path(file).write_bytes(b"half")
        raise RuntimeError("stopped")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        save_figure(Figure(), target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
