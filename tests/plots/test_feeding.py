"""What a filter reads most: kernels by their norm, each with its source and its share."""

import numpy as np
import pytest
from figures import drawn, facts, inside, tiles, words

from onnxviz.errors import InputError, SelectionError
from onnxviz.plots import plot_filters
from onnxviz.plots.feeding import strongest_channels

WEIGHT = np.random.default_rng(6).normal(size=(5, 20, 3, 3)) * np.linspace(0.1, 2, 20)[:, None, None]


def test_the_strongest_kernels_come_first_with_their_shares():
    squares = (WEIGHT[2] ** 2).sum(axis=(1, 2))
    order = np.argsort(-squares)
    channels, shares = strongest_channels(WEIGHT, 2)
    assert channels == order.tolist()
    np.testing.assert_allclose(shares, squares[order] / squares.sum(), rtol=1e-12)
    figure = plot_filters(WEIGHT, feeds=2, first=6, sources=[f"conv1 {number}" for number in range(20)])
    labels = [f"conv1 {number}: {100 * squares[number] / squares.sum():.1f} %" for number in order[:6]]
    assert [word for word in words(figure) if word.startswith("conv1")] == labels
    limit = np.percentile(np.abs(WEIGHT), 99.5)
    for tile, number in zip(tiles(figure, (3, 3)), order, strict=False):
        np.testing.assert_allclose(tile, np.clip(WEIGHT[2, number] / limit / 2 + 0.5, 0, 1), atol=1e-6)
    assert f"{100 * squares[order[:6]].sum() / squares.sum():.1f} % of its squared norm" in facts(figure)


def test_sixteen_unless_told_and_numbers_where_nothing_is_called():
    figure = plot_filters(WEIGHT, feeds=0)
    assert "the 16 of 20 input channels" in facts(figure)
    assert len(tiles(figure, (3, 3))) == 16
    assert [word.split(":")[0] for word in words(figure) if word.endswith(" %")] == [
        str(number) for number in strongest_channels(WEIGHT, 0)[0][:16]
    ]


@pytest.mark.parametrize("shape", [(3, 4, 1, 1), (3, 40, 5), (3, 4, 3, 3, 3), (3, 4)])
def test_any_kernel_and_any_name(shape):
    weight = np.random.default_rng(0).normal(size=shape)
    figure = drawn(plot_filters(weight, feeds=1, sources=["n" * 200 + str(number) for number in range(shape[1])]))
    assert inside(figure)


def test_dead_filters_and_kernels_that_are_not_finite_have_no_share():
    weight = WEIGHT.copy()
    weight[1] = 0
    weight[2, 3, 0, 0] = np.nan
    assert strongest_channels(weight, 1)[1].sum() == 0
    channels, shares = strongest_channels(weight, 2)
    assert (channels[-1], shares[-1]) == (3, 0)
    assert shares.sum() == pytest.approx(1)


def test_what_there_is_not():
    with pytest.raises(SelectionError, match="there is no filter 5; there are 5, 0 to 4"):
        plot_filters(WEIGHT, feeds=5)
    with pytest.raises(InputError, match="2 names were given for 20 input channels"):
        plot_filters(WEIGHT, feeds=1, sources=["a", "b"])
