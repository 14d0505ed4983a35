"""Figures of maps: what is in their one image, and how what is wrong is marked."""

import numpy as np
import pytest
from figures import (
    MAPS,
    RNG,
    WEIGHT,
    assert_tiles,
    drawn,
    facts,
    flawed,
    image,
    inside,
    rendered,
    tiles,
    unit,
    words,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection

from onnxviz.errors import InputError, SelectionError, UnheededOptionError
from onnxviz.plots import plot_filters, plot_maps
from onnxviz.plots.mosaic import Grid, ValueRange, sort_channels, standardize
from onnxviz.plots.page import BROKEN

# Maps


def test_a_grid_scales_each_map_on_its_own():
    figure = plot_maps(MAPS, title="conv")
    assert_tiles(figure, [unit(picture, picture.min(), picture.max()) for picture in MAPS])
    assert image(figure).get_cmap().name == "gray"
    assert image(figure).get_interpolation() == "none"
    assert [word for word in words(figure) if word.isdigit()] == [str(number) for number in range(20)]
    low, high = (f"{end:.3g}".replace("-", "−") for end in (MAPS.min(), MAPS.max()))
    expected = ["20 of 20 maps", "in channel order", "6×9", "each on its own scale", f"values {low} to {high}, no unit"]
    assert facts(figure).replace("  ·  ", " · ") == " · ".join(expected)


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
    axes = plot_maps(MAPS, columns=5).axes[0]
    places = [text.get_position() for text in axes.texts if text.get_text().isdigit()]
    assert len(places) == 20
    assert len({x for x, _ in places}) == 5
    assert [y for _, y in places] == sorted(y for _, y in places)
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
        assert f"input {index + 1} of 3" in facts(figure)
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
    look = {"spatial": len(spatial), "style": style, "scale": scale}
    if values.size == channels:  # bars, which have no look
        with pytest.raises(UnheededOptionError, match="one number, drawn as a bar: leave out style=, scale="):
            plot_maps(values, **look)
        look = {"spatial": len(spatial)}
    height, width = rendered(plot_maps(values, **look)).shape[:2]
    assert 78 <= height < 4800  # title, facts and margins; a flat map adds a few pixels
    assert 450 <= width < 4800


# What is wrong is marked


@pytest.mark.parametrize("options", [{}, {"style": "strip"}, {"scale": "layer"}, {"scale": "symmetric"}])
def test_flawed_maps_are_marked_named_and_counted(options):
    figure = plot_maps(flawed(), **options)
    said = words(figure)
    for mark in ("constant 7", "NaN 9%", "inf", "NaN 100%"):
        assert any(word == mark or word.endswith(f" {mark}") for word in said), mark
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
        assert {"inf", "2 inf"} & set(words(figure))
        rendered(figure)


def test_a_frame_lies_around_its_tile_not_on_it():
    figure = plot_maps(flawed()[2:4])
    pixels = rendered(figure)
    box = figure.axes[0].get_window_extent()
    row = pixels.shape[0] - round(box.y0) - 20
    assert pixels[row, round(box.x1) - 1, 0] == pixels[row, round(box.x1) - 1, 2]  # grey
    edge = pixels[row - 40 : row, round(box.x1) + 1, :3].tolist()
    assert [int(BROKEN[place : place + 2], 16) for place in (1, 3, 5)] in edge


@pytest.mark.parametrize("scale", ["map", "layer", "symmetric", "standardize"])
@pytest.mark.parametrize(("value", "word"), [(0, "0 everywhere"), (0.31, "constant 0.31"), (-2, "constant −2")])
def test_a_map_of_one_value_is_a_quiet_grey_field_with_its_word(scale, value, word):
    maps = MAPS[:3].copy()
    maps[1] = value
    figure = plot_maps(maps, scale=scale, cmap="inferno")
    assert {"0", "1", "2", word} <= set(words(figure))
    pixels = rendered(figure)
    (field,) = figure.axes[0].patches
    left, top = field.get_xy()
    box = figure.axes[0].get_window_extent()
    x, y = round(box.x0 + left), round(pixels.shape[0] - box.y1 + top)
    inside = pixels[y + 1 : y + 20, x + 1 : x + 20, :3]
    assert len(np.unique(inside)) <= 3
    assert np.ptp(inside[0, 0].astype(int)) < 4
    assert [one.get_text() for one in figure.axes[0].texts if one.get_color() == BROKEN] == []


def test_small_fields_of_one_value_have_no_word_but_are_counted():
    maps = RNG.normal(size=(2048, 7, 7)).astype(np.float32)
    maps[::4] = 0
    figure = plot_maps(maps, first=None)
    assert "marked: 512 constant" in facts(figure)
    assert "0 everywhere" not in words(figure)
    assert len(figure.axes[0].patches) == 512
    assert [word for word in words(figure) if word.isdigit()] == [str(number) for number in range(0, 2048, 48)]
    assert inside(drawn(figure))


def test_the_order_is_said():
    assert "in channel order" in facts(plot_maps(MAPS))
    assert "largest norm first" in facts(plot_maps(MAPS, sort="norm"))
    assert "order" not in facts(plot_maps(MAPS, channels=[3, 1]))


@pytest.mark.parametrize("scale", ["layer", "symmetric"])
def test_a_shared_scale_has_a_colour_bar_with_its_ends(scale):
    figure = plot_maps(MAPS, scale=scale)
    mosaic, bar = figure.axes[0].images
    window = ValueRange.around(MAPS, symmetric=scale == "symmetric")
    assert {f"{end:.3g}".replace("-", "−") for end in (window.low, window.high)} <= set(words(figure))
    assert bar.get_cmap() == mosaic.get_cmap()
    assert bar.get_extent()[3] >= mosaic.get_extent()[2]
    assert len(plot_maps(MAPS).axes[0].images) == 1
    assert inside(drawn(figure))


@pytest.mark.parametrize(
    "shape",
    [(3, 1, 1), (70, 1, 9), (17, 40), (3, 5, 6, 7), (1, 300, 2), (300, 2, 300), (5,)],
    ids=str,
)
@pytest.mark.parametrize("dpi", [100, 200])
def test_nothing_is_clipped_at_one_and_two_pixels_a_point(shape, dpi):
    figure = plot_maps(RNG.normal(size=shape), spatial=len(shape) - 1, title="t" * 200, subtitle="s" * 200)
    figure.set_dpi(dpi)
    assert inside(drawn(figure))


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
    pixels = rendered(plot_maps(maps))[..., :3]
    colour = [int(BROKEN[place : place + 2], 16) for place in (1, 3, 5)]
    assert (np.abs(pixels.astype(int) - colour).max(axis=2) < 40).sum() > 1000


# What would change nothing is refused


@pytest.mark.parametrize(
    ("maps", "options", "words"),
    [
        (MAPS[0], {"style": "lines", "cmap": "magma"}, None),
        (np.ones((3, 9)), {"style": "lines", "cmap": "magma"}, "lines has one colour: leave out cmap"),
        (np.ones((3, 9)), {"columns": 2}, "these maps have no grid: leave out columns"),
        (np.ones((3, 4, 5)), {"style": "strip", "columns": 2}, "these maps have no grid: leave out columns"),
        (np.ones((3, 1, 1)), {"cmap": "magma", "columns": 2}, "one number, drawn as a bar: leave out cmap=, columns="),
    ],
)
def test_what_would_change_nothing_is_refused(maps, options, words):
    with pytest.raises(InputError) as error:
        plot_maps(maps, **options)
    assert words is None or words in str(error.value)
