"""Tiles: each map in its place, on its own scale, and transparent between."""

import numpy as np

from onnxviz.reports.tiles import filter_tiles, map_tiles


def test_each_map_is_on_its_own_scale(tiny):
    tiles = map_tiles(tiny, [2, 0], side=3)
    assert tiles.shape[2] == 2
    opaque = tiles[..., 1] == 255
    assert set(np.unique(tiles[..., 1])) == {0, 255}
    columns = np.flatnonzero(opaque.all(axis=0))
    first, second = np.split(columns, [len(columns) // 2])
    assert first[-1] + 3 == second[0]  # a gap of two
    for place in (first, second):
        assert (tiles[:, place, 0].min(), tiles[:, place, 0].max()) == (0, 255)


def test_what_is_not_finite_is_transparent(tiny):
    tiny[0, 0, 0] = np.nan
    tiles = map_tiles(tiny, [0], side=3)
    assert (tiles[..., 1] == 0).sum() == tiles[..., 1].size / 6


def test_three_channels_are_colours():
    weight = np.zeros((2, 3, 2, 2), np.float32)
    weight[0, 0] = 1  # red
    tiles = filter_tiles(weight, [0], side=2)
    assert tiles[0, 0].tolist() == [255, 0, 0, 255]


def test_of_other_channels_the_mean_is_shown(tiny):
    weight = np.stack([tiny, -tiny + 2 * tiny.mean(axis=(1, 2), keepdims=True), tiny, tiny], axis=1)
    assert np.array_equal(filter_tiles(weight, [1], 3), map_tiles(weight.mean(axis=1), [1], 3, 16))
