"""Scaling and laying out, against naive loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxviz.errors import InputError
from onnxviz.plots.mosaic import (
    Grid,
    ValueRange,
    area_mean,
    as_numbers,
    finite_range,
    flaw,
    grid_columns,
    label_step,
    sort_channels,
    spread,
    standardize,
)

RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(10, 5, 7)).astype(np.float32)


def masked(values):
    return np.ma.MaskedArray(values, mask=np.zeros(np.shape(values), bool))


def naive_strip(feature_map):
    """The scaling of Chollet's notebook, in its order, but in float64."""
    image = feature_map.astype(np.float64)
    image = image - image.mean()
    image = image / image.std()
    image = image * 64
    image = image + 128
    return np.clip(image, 0, 255).astype("uint8")


def test_window_places_as_min_max_scaling_does():
    low, high = float(MAPS[3].min()), float(MAPS[3].max())
    naive = np.float32([[(float(v) - low) / (high - low) for v in row] for row in MAPS[3]])
    np.testing.assert_array_equal(ValueRange.around(MAPS[3]).place(MAPS[3]).filled(-1), naive)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64])
def test_window_reaches_both_ends_for_every_type(dtype):
    info = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    placed = ValueRange.around(values := np.array([info.min, 1, info.max], dtype)).place(values)
    assert placed[0] == 0
    assert placed[2] == 1
    assert 0 <= placed[1] <= 1


def test_window_holds_subnormal_ranges():
    values = np.array([0, 5e-324, 1e-323])
    np.testing.assert_array_equal(ValueRange.around(values).place(values), [0, 0.5, 1])


@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), hnp.array_shapes(max_dims=3, max_side=5)))
def test_any_values_are_placed_in_range_in_order_and_without_a_warning(values):
    placed = ValueRange.around(values).place(values)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(np.ma.getmaskarray(placed), ~finite)
    assert placed.dtype == np.float32
    order = np.argsort(values[finite])
    up = placed.filled(0)[finite][order]
    assert np.all(np.diff(up) >= 0)
    assert np.all((up >= 0) & (up <= 1))
    grey = standardize(values)
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(np.ma.getmaskarray(grey), ~finite)


@given(hnp.arrays(np.float32, 4, elements=st.floats(-8, 8, width=32)))
def test_zero_is_the_exact_middle_of_a_symmetric_window(values):
    assert ValueRange.around(values, symmetric=True).place(np.zeros(1))[0] == 0.5


def test_finite_pixels_keep_their_finite_range():
    values = np.array([1.0, np.nan, 3.0, np.inf, 2.0, -np.inf])
    placed = ValueRange.around(values).place(values)
    np.testing.assert_array_equal(placed.mask, [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(placed.compressed(), [0, 1, 0.5])
    assert finite_range(np.array([np.nan, np.inf])) is None


def test_constant_maps_are_in_the_middle():
    constant = np.full((2, 2), 0.1, np.float32)
    assert (ValueRange.around(constant).place(constant) == 0.5).all()
    assert (standardize(constant) == 128).all()


@pytest.mark.parametrize("number", range(10))
def test_standardize_is_the_notebooks_formula(number):
    np.testing.assert_array_equal(standardize(MAPS[number]).filled(7), naive_strip(MAPS[number]))


def test_standardize_takes_mean_and_std_over_what_is_finite():
    holed = MAPS[0].copy()
    holed[0, :3] = np.nan
    grey = standardize(holed)
    inside = holed[np.isfinite(holed)].astype(np.float64)
    expected = np.clip((inside - inside.mean()) / inside.std() * 64 + 128, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(grey.compressed(), expected)


def test_standardize_does_not_overflow():
    huge = MAPS[0].astype(np.float64) * 1e307
    assert np.abs(standardize(huge).astype(int) - naive_strip(MAPS[0])).max() <= 1


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.zeros(4), "0 everywhere"),
        (np.zeros(1), ""),
        (np.arange(4), ""),
        (np.array([True, True]), "constant 1"),
        (np.full(3, -0.3127), "constant −0.313"),
        (np.array([np.nan] * 3 + [1.0] * 97), "NaN 3%"),
        (np.array([np.nan] + [1.0] * 999), "NaN <1%"),
        (np.array([np.nan] * 999 + [1.0]), "NaN 99%"),
        (np.array([np.nan, np.nan]), "NaN 100%"),
        (np.array([np.inf, 1.0]), "inf"),
        (np.array([-np.inf, np.nan]), "NaN 50%, inf"),
    ],
)
def test_flaw(values, word):
    assert flaw(values) == word


def test_as_numbers_refuses_what_is_no_real_number():
    for values in (np.array([1j]), np.array(["a"]), np.array([None])):
        with pytest.raises(InputError, match=str(values.dtype).replace("<", ".")):
            as_numbers(values)
    with pytest.raises(InputError, match=r"\(0, 3\)"):
        as_numbers(np.zeros((0, 3)))
    assert as_numbers(np.array([True, False])).dtype == np.uint8


def test_as_numbers_takes_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert as_numbers(np.array([1.5], ml_dtypes.bfloat16)).tolist() == [1.5]


@pytest.mark.parametrize("by", ["mean", "variance", "norm"])
def test_sort_channels_agrees_with_a_loop(by):
    statistic = {"mean": np.mean, "variance": np.var, "norm": lambda v: math.sqrt((v**2).sum())}[by]
    values = [statistic(channel.astype(np.float64)) for channel in MAPS]
    assert sort_channels(MAPS, by).tolist() == sorted(range(10), key=lambda c: -values[c])


def test_sort_channels_is_stable_and_puts_hopeless_channels_last():
    values = np.array([[1.0, 1.0], [np.nan, np.nan], [-5.0, -5.0], [1.0, 1.0], [np.nan, 9.0]])
    assert sort_channels(values, "mean").tolist() == [4, 0, 3, 2, 1]
    assert sort_channels(np.array([[1e200, 0], [3e200, 0]]), "variance").tolist() == [1, 0]
    with pytest.raises(InputError, match="'median'"):
        sort_channels(values, "median")


def naive_area_mean(picture, height, width):
    rows, columns = picture.shape
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            total = 0.0
            for r in range(rows):
                for c in range(columns):
                    down = min((i + 1) * rows / height, r + 1) - max(i * rows / height, r)
                    across = min((j + 1) * columns / width, c + 1) - max(j * columns / width, c)
                    total += max(down, 0) * max(across, 0) * float(picture[r, c])
            result[i, j] = total / (rows / height * columns / width)
    return result


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (5, 7), (2, 7), (4, 6)])
def test_area_mean_agrees_with_a_loop(size):
    picture = ValueRange.around(MAPS[0]).place(MAPS[0])
    np.testing.assert_allclose(area_mean(picture, *size), naive_area_mean(picture, *size), atol=1e-6)


def test_area_mean_counts_only_what_is_finite():
    picture = np.ma.MaskedArray(np.array([[0.2, 9, 9, 9], [0.4, 0.6, 9, 9]], np.float32), mask=False)
    picture.mask = [[0, 1, 1, 1], [0, 0, 1, 1]]
    reduced = area_mean(picture, 1, 2)
    assert reduced[0, 0] == pytest.approx(0.4)
    assert reduced.mask.tolist() == [[False, True]]


grids = st.builds(
    lambda count, columns, h, w, gap, header, large: Grid.fit(
        count, min(columns, count), (h, w), largest=(large, large), gap=gap, header=header
    ),
    st.integers(1, 80),
    st.integers(1, 20),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 5),
    st.sampled_from([0, 14]),
    st.integers(12, 300),
)


@given(grids)
def test_tiles_of_a_grid_lie_inside_and_apart(grid):
    cover = np.zeros(grid.shape, int)
    for number in range(grid.count):
        top, left = grid.corner(number)
        assert top >= grid.header
        cover[top - grid.header : top + grid.tile[0], left : left + grid.tile[1]] += 1
    assert cover.max() == 1
    assert cover.sum() == grid.count * (grid.tile[0] + grid.header) * grid.tile[1]


@given(grids, st.integers(0, 2**32 - 1))
def test_every_tile_holds_its_picture_bit_for_bit(grid, seed):
    pictures = np.random.default_rng(seed).random((grid.count, *grid.entries), np.float32)
    mosaic = grid.lay(map(masked, pictures))
    assert mosaic.shape == grid.shape
    for number, picture in enumerate(pictures):
        np.testing.assert_array_equal(grid.cut(mosaic, number).filled(-1), picture)
        top, left = grid.corner(number)
        tile = mosaic[top : top + grid.tile[0], left : left + grid.tile[1]]
        np.testing.assert_array_equal(tile.filled(-1), np.kron(picture, np.ones(grid.zoom, np.float32)))
    assert mosaic.count() == grid.count * grid.tile[0] * grid.tile[1]


def test_large_pictures_are_reduced_and_keep_their_shape():
    grid = Grid.fit(64, 8, (1000, 500), largest=(300, 300))
    assert grid.zoom == (1, 1)
    assert grid.entries[0] == pytest.approx(2 * grid.entries[1], abs=1)
    mosaic = grid.lay(masked(np.full((1000, 500), k, np.uint8)) for k in range(64))
    assert [int(grid.cut(mosaic, k).mean()) for k in range(64)] == list(range(64))
    assert grid.cut(mosaic, 9).std() == 0


def test_colour_pictures_keep_their_last_axis():
    pictures = RNG.random((3, 2, 2, 3)).astype(np.float32)
    grid = Grid.fit(3, 2, (2, 2), largest=(20, 20))
    mosaic = grid.lay(map(masked, pictures))
    assert mosaic.shape == (*grid.shape, 3)
    np.testing.assert_array_equal(grid.cut(mosaic, 2), pictures[2])


def test_too_many_pictures_are_refused_and_many_are_not():
    assert max(Grid.fit(512 * 512, 512, (3, 3), largest=(84, 84)).shape) <= 4000
    with pytest.raises(InputError, match="1 rows of 3000 pictures"):
        Grid.fit(3000, 3000, (3, 3), largest=(84, 84))
    with pytest.raises(InputError, match="at least one"):
        Grid.fit(1, 1, (3, 3), largest=(84, 84)).lay([])


def test_thin_pictures_are_stretched_to_be_seen():
    assert Grid.fit(4, 4, (1, 400), largest=(140, 140)).tile == (12, 140)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (6, 6), (8, 8), (64, 8), (65, 16), (2048, 48)])
def test_grid_columns(count, columns):
    assert grid_columns(count) == columns


def test_spread_includes_both_ends():
    assert spread(16, 8) == [0, 2, 4, 6, 9, 11, 13, 15]
    assert spread(3, 8) == [0, 1, 2]


def test_label_step_leaves_room():
    assert label_step(["0"] * 40, 10, 10) == 1
    assert label_step(["0"] * 40, 10, 25) == 4
    assert label_step(["0"], 1, 25) == 1
