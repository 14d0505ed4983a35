"""Matrices of weights: a dot a kernel, in its place, with its number."""

import numpy as np
import pytest
from figures import drawn, facts, image, inside, numbers, rendered, words

from onnxviz.errors import InputError, UnheededOptionError
from onnxviz.plots import plot_filters
from onnxviz.plots.filter_matrix import norms_of

RNG = np.random.default_rng(4)


def dots(figure, shape):
    """One value a dot; all of a dot's pixels are the same."""
    pixels = image(figure).get_array()
    down, across = (side // count for side, count in zip(pixels.shape, shape, strict=True))
    found = pixels[::down, ::across]
    np.testing.assert_array_equal(pixels, found.repeat(down, 0).repeat(across, 1))
    return found


def test_a_kernel_of_one_weight_is_a_dot_about_zero():
    weight = RNG.normal(size=(12, 20, 1, 1)).astype(np.float32)
    figure = plot_filters(weight)
    limit = np.percentile(np.abs(weight), 99.5)
    np.testing.assert_allclose(dots(figure, (12, 20)), np.clip(weight[:, :, 0, 0] / limit / 2 + 0.5, 0, 1), atol=1e-6)
    assert image(figure).get_cmap().name == "RdBu_r"
    assert "each dot a weight" in facts(figure)
    assert {f"≤ −{limit:.3g}", f"≥ {limit:.3g}"} <= set(words(figure))


def test_of_a_larger_kernel_it_is_the_norm_from_zero():
    weight = RNG.normal(size=(6, 40, 3, 3))
    figure = plot_filters(weight)
    norms = np.sqrt((weight**2).sum(axis=(2, 3)))
    np.testing.assert_allclose(norms_of(weight), norms, rtol=1e-12)
    limit = np.percentile(norms, 99.5)
    np.testing.assert_allclose(dots(figure, (6, 40)), np.clip(norms / limit, 0, 1), atol=1e-6)
    assert "each dot the norm of a kernel of 3×3 weights" in facts(figure)
    assert f"colours from 0 to {limit:.3g} or more" in facts(figure)
    with pytest.raises(UnheededOptionError, match="never below zero: leave out scale"):
        plot_filters(weight, scale="symmetric")


def test_norms_neither_overflow_nor_vanish():
    for size in (1e-200, 1e200):
        np.testing.assert_allclose(norms_of(np.full((1, 2, 2, 2), size)), 2 * size, rtol=1e-12)
    assert norms_of(np.full((1, 1, 2, 2), -128, np.int8))[0, 0] == 256
    assert not np.isfinite(norms_of(np.array([[[1.0, np.inf]], [[np.nan, 0]]]))).any()


def test_each_filter_on_its_own_scale():
    weight = RNG.normal(size=(5, 8)) * 10.0 ** np.arange(5)[:, None]
    found = dots(plot_filters(weight, scale="filter"), (5, 8))
    assert (found.min(axis=1) == 0).all()
    assert (found.max(axis=1) == 1).all()


def test_chosen_sorted_and_clustered_rows_and_columns_have_their_numbers():
    weight = RNG.normal(size=(6, 5))
    weight[2] *= 9
    weight[:, 3] *= 7
    chosen = plot_filters(weight, filters=[4, 1], channels=[3, 0])
    assert numbers(chosen) == [4, 1, 3, 0]
    ranked = plot_filters(weight, sort="norm")
    order = numbers(ranked)
    assert order[:6] == np.argsort(-np.linalg.norm(weight, axis=1)).tolist()
    assert order[6:] == np.argsort(-np.linalg.norm(weight, axis=0)).tolist()
    limit = np.percentile(np.abs(weight), 99.5)
    wanted = np.clip(weight[np.ix_(order[:6], order[6:])] / limit / 2 + 0.5, 0, 1)
    np.testing.assert_allclose(dots(ranked, (6, 5)), wanted, atol=1e-6)
    clustered = plot_filters(weight, sort="cluster")
    order = numbers(clustered)
    assert (sorted(order[:6]), sorted(order[6:])) == (list(range(6)), list(range(5)))
    wanted = np.clip(weight[np.ix_(order[:6], order[6:])] / limit / 2 + 0.5, 0, 1)
    np.testing.assert_allclose(dots(clustered, (6, 5)), wanted, atol=1e-6)


def test_what_is_dead_or_broken_is_counted():
    weight = RNG.normal(size=(9, 7))
    weight[[2, 5]] = 0
    weight[:, 1] = 0
    weight[0, 3] = np.nan
    figure = plot_filters(weight)
    for said in ("filters of zeros: 2", "channels that none of them reads: 1", "not finite, in pink: 1"):
        assert said in facts(figure)
    assert dots(figure, (9, 7)).mask.sum() == 1
    rendered(figure)


@pytest.mark.parametrize("shape", [(2048, 17, 1, 1), (17, 2048, 1, 1), (2048, 512, 1, 1), (1, 1), (3, 40, 3)])
def test_nothing_is_cut_off_or_averaged_away(shape):
    figure = drawn(plot_filters(RNG.normal(size=shape), title="layer " * 40))
    assert inside(figure)
    height, width = dots(figure, shape[:2]).shape
    assert (height, width) == shape[:2]
    assert max(image(figure).get_array().shape) <= 2048
    lefts = [text.get_window_extent().x1 for text in figure.axes[0].texts if text.get_ha() == "right"]
    assert max(lefts) <= figure.axes[0].get_window_extent().x0


def test_a_matrix_that_no_figure_holds():
    with pytest.raises(InputError, match="4001×2 weights does not fit one figure of 4000 pixels a side: choose fewer"):
        plot_filters(np.zeros((4001, 2)))
