"""Maps of several inputs side by side: a column an input, a row a channel."""

import numpy as np
import pytest
from figures import assert_laid_out, boxes_of, facts, rendered, tiles, unit, words

from onnxviz.errors import InputError, SelectionError
from onnxviz.plots import plot_maps_together
from onnxviz.plots.mosaic import ValueRange, standardize

RNG = np.random.default_rng(7)
MAPS = (RNG.normal(size=(3, 9, 6, 8)) * np.array([1, 4, 0.5])[:, None, None, None]).astype(np.float32)
PHOTOS = [RNG.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(3)]


def expected(values, scale, channel, sample):
    one = values[sample, channel]
    if scale == "standardize":
        return standardize(one).filled(0)
    window = {
        "channel": ValueRange.around(values[:, channel]),
        "map": ValueRange.around(one),
        "layer": ValueRange.around(values),
        "symmetric": ValueRange.around(values, symmetric=True),
    }[scale]
    return unit(one, window.low, window.high)


@pytest.mark.parametrize("scale", ["channel", "map", "layer", "symmetric", "standardize"])
def test_each_row_is_one_channel_of_all_inputs(scale):
    figure = plot_maps_together(MAPS, scale=scale, first=4)
    found = tiles(figure, (6, 8))
    for place, tile in enumerate(found):
        np.testing.assert_allclose(tile, expected(MAPS, scale, place // 3, place % 3), atol=1e-6)
    assert len(found) == 12
    assert [word for word in words(figure) if word.isdigit()] == [
        "0", "1", "2", "3", *(["0"] if scale in ("layer", "symmetric") else [])
    ]  # fmt: skip


def test_a_row_says_its_range_and_rows_are_sorted_over_all_inputs():
    figure = plot_maps_together(MAPS, sort="variance", first=3)
    order = np.argsort(-MAPS.astype(np.float64).transpose(1, 0, 2, 3).reshape(9, -1).var(axis=1))[:3]
    assert [word for word in words(figure) if word.isdigit()] == [str(channel) for channel in order]
    for channel in order:
        low, high = (f"{end:.3g}".replace("-", "−") for end in (MAPS[:, channel].min(), MAPS[:, channel].max()))
        assert f"{low} to {high}" in words(figure)
    assert "largest variance over all first" in facts(figure)
    assert "3 of 9 channels down, 3 inputs across" in facts(figure)


def test_photos_stand_above_their_columns():
    figure = plot_maps_together(
        MAPS, first=2, photos=PHOTOS, photo_names=["a", "b" * 200, "c"], answers=["cat 1.0 %", "", "x"]
    )
    assert_laid_out(figure)
    mosaic, *photos = boxes_of(figure)
    assert len(photos) == 3
    width = mosaic[2] / 3
    for number, (left, top, right, bottom) in enumerate(photos):
        assert bottom <= 0
        assert top < bottom
        assert left == pytest.approx(number * (width + 4 / 3))
        assert right - left <= width
        np.testing.assert_array_equal(figure.axes[0].images[1 + number].get_array(), PHOTOS[number])
    assert {"a", "cat 1.0 %", "c", "x"} <= set(words(figure))


def test_inputs_without_pictures_have_names_only():
    figure = plot_maps_together(MAPS[:, :2], photo_names=["one", "two", "three"])
    assert_laid_out(figure)
    assert len(figure.axes[0].images) == 1
    assert {"input 0", "input 2"} <= set(words(plot_maps_together(MAPS)))
    mixed = plot_maps_together(MAPS, photos=[PHOTOS[0], None, None])
    assert len(mixed.axes[0].images) == 2
    assert_laid_out(mixed)


@pytest.mark.parametrize("shape", [(2, 5, 1, 1), (1, 70, 3, 3), (12, 4, 60, 20), (2, 6, 90)])
def test_other_shapes(shape):
    values = RNG.normal(size=shape)
    values[0, 0] = 0
    values[-1, -1].flat[0] = np.nan
    figure = plot_maps_together(values, first=None, channels=None)
    assert_laid_out(figure)
    rendered(figure)
    assert "not finite" in facts(figure)


def test_what_cannot_be_put_side_by_side():
    with pytest.raises(InputError, match="13 inputs do not fit side by side; give up to 12, or draw a contact sheet"):
        plot_maps_together(np.zeros((13, 2, 3, 3)))
    with pytest.raises(InputError, match=r"side by side are .* not of shape \(2, 3\); draw those of"):
        plot_maps_together(np.zeros((2, 3)))
    with pytest.raises(InputError, match="there are 3 inputs, but 2 answers; give one for each"):
        plot_maps_together(MAPS, answers=["a", "b"])
    with pytest.raises(SelectionError, match="no channel 9; there are 9"):
        plot_maps_together(MAPS, channels=[9])
    with pytest.raises(InputError, match="scale 'row'; there are channel, map"):
        plot_maps_together(MAPS, scale="row")
