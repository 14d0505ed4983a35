"""Contact sheets: which channels a row shows, what is said of them, and where everything lies."""

import numpy as np
import pytest
from figures import assert_laid_out, boxes_of, facts, words

from onnxviz.errors import InputError, SelectionError
from onnxviz.plots import ContactRow, Photo, plot_contact_sheet
from onnxviz.plots.contact_sheet import TILE

RNG = np.random.default_rng(9)
MAPS = RNG.normal(size=(20, 12, 10)).astype(np.float32)
PHOTO = Photo.of(RNG.integers(0, 256, (300, 200, 3), np.uint8), "a.jpg", "cat 90.3 %")
MEASURES = {
    "mean": lambda one: one.mean(),
    "variance": lambda one: one.var(),
    "norm": lambda one: np.sqrt((one**2).sum()),
}


@pytest.mark.parametrize("by", MEASURES)
def test_a_row_has_the_strongest_channels_and_their_numbers(by):
    row = ContactRow.of(MAPS, PHOTO, first=5, by=by)
    values = np.array([MEASURES[by](one.astype(np.float64)) for one in MAPS])
    order = np.argsort(-values)[:5]
    assert row.channels == tuple(order)
    np.testing.assert_allclose(row.values, values[order], rtol=1e-6)
    assert row.photo.pixels.shape == (96, 64, 3)
    assert row.count == 20


def test_a_tile_is_the_map_over_its_own_range_in_the_middle():
    (tile,) = ContactRow.of(MAPS, PHOTO, channels=[3]).tiles
    assert tile.shape == (TILE, TILE)
    rows, columns = (np.flatnonzero(~tile.mask.all(axis=axis)) for axis in (1, 0))
    assert (len(rows), len(columns)) == (96, 80)
    assert columns[0] == 8
    low, high = MAPS[3].min(), MAPS[3].max()
    np.testing.assert_allclose(tile[::8, 8:88:8], (MAPS[3] - low) / (high - low), atol=1e-6)
    large = RNG.normal(size=(1, 192, 384))
    (tile,) = ContactRow.of(large, PHOTO).tiles
    means = large[0].reshape(48, 4, 96, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(
        tile[24:72].filled(np.nan), (means - large.min()) / (large.max() - large.min()), atol=1e-6
    )


def test_a_page():
    other = Photo(None, "n" * 200, "a class with a long name " * 5)
    rows = [ContactRow.of(MAPS, PHOTO, first=4), ContactRow.of(-MAPS, other, first=4)]
    figure = plot_contact_sheet(rows, title="conv3", subtitle="inputs 1 to 2 of 2")
    assert_laid_out(figure)
    mosaic, photo = boxes_of(figure)
    assert mosaic[2] == 4 * TILE + 3 * 4
    assert photo[2] - photo[0] == 64
    assert photo[2] <= 0
    labels = [f"{channel}: {value:.3g}" for channel, value in zip(rows[0].channels, rows[0].values, strict=True)]
    assert {*labels, "a.jpg", "cat 90.3 %", "conv3"} <= set(words(figure))
    assert "4 of 20 channels, the largest mean first" in facts(figure)
    chosen = [ContactRow.of(maps, PHOTO, channels=[1, 2]) for maps in (MAPS, -MAPS)]
    assert "2 of 20 channels, as chosen" in facts(plot_contact_sheet(chosen))


def test_maps_without_values_and_constant_ones():
    maps = MAPS[:3].copy()
    maps[0], maps[1] = np.nan, 0.25
    row = ContactRow.of(maps, PHOTO, first=3)
    assert row.channels[-1] == 0
    assert set(row.marks) == {"", "constant 0.25", "NaN 100%"}
    figure = plot_contact_sheet([row])
    assert_laid_out(figure)
    assert any(word.endswith("NaN 100%") for word in words(figure))
    assert len(figure.axes[0].patches) == 1  # the grey field: a frame would fill what the map does not cover


def test_what_is_refused():
    with pytest.raises(InputError, match=r"shows maps \(C, H, W\), not of shape \(3, 4\)"):
        ContactRow.of(np.zeros((3, 4)), PHOTO)
    with pytest.raises(SelectionError, match="no channel 20"):
        ContactRow.of(MAPS, PHOTO, channels=[20])
    with pytest.raises(InputError, match="at least one row"):
        plot_contact_sheet([])
    with pytest.raises(InputError, match="equally many channels"):
        plot_contact_sheet([ContactRow.of(MAPS, PHOTO, first=2), ContactRow.of(MAPS, PHOTO, first=3)])
