"""The scale of weights: its range, what is cut, and what it says."""

import numpy as np
import pytest

from onnxviz.plots.weight_scale import WeightScale

VALUES = np.random.default_rng(8).normal(size=(4, 50))


def test_ranges():
    assert (WeightScale.of(VALUES, "layer", None).window.low, WeightScale.of(VALUES, "layer", None).window.high) == (
        VALUES.min(),
        VALUES.max(),
    )
    limit = np.percentile(np.abs(VALUES), 80)
    about, above = (WeightScale.of(VALUES, kind, 80).window for kind in ("symmetric", "zero"))
    assert (about.low, about.high, above.low, above.high) == pytest.approx((-limit, limit, 0, limit))
    assert WeightScale.of(VALUES, "filter", None).window is None


@pytest.mark.parametrize("values", [np.zeros(9), np.array([np.nan, np.inf]), np.eye(40)])
def test_where_a_percentile_says_nothing_nothing_is_cut(values):
    scale = WeightScale.of(values, "symmetric", 90)
    finite = np.abs(values[np.isfinite(values)])
    assert scale.window.high == finite.max(initial=0)
    assert scale.cut is None
    assert not any("cut" in word for word in scale.words("RdBu_r"))


def test_what_is_beyond_has_the_colour_of_the_end_and_what_is_not_finite_none():
    scale = WeightScale.of(np.append(np.ones(999), 50.0), "symmetric", 99)
    placed = scale.placing(np.zeros(1))(np.array([-50.0, 0, 1, 50, np.nan, np.inf]))
    assert placed.data[:4].tolist() == [0, 0.5, 1, 1]
    assert placed.mask.tolist() == [False] * 4 + [True] * 2
    assert scale.beyond == (True, True)


def test_integers_of_any_type_have_their_magnitude():
    window = WeightScale.of(np.array([-128, 127], np.int8), "symmetric", 100).window
    assert (window.low, window.high) == (-128, 128)


@pytest.mark.parametrize(
    ("kind", "cmap", "options", "said"),
    [
        ("symmetric", "RdBu_r", {}, ["white: 0", "darkest blue: −1 or less", "darkest red: 1 or more"]),
        ("symmetric", "gray", {}, ["black: −1 or less", "white: 1 or more"]),
        ("symmetric", "gray", {"coloured": True}, ["mid-grey: 0", "black: −1 or less"]),
        ("symmetric", "gray", {"drawn": False}, ["from −1 to 1"]),
        ("zero", "viridis", {}, ["colours from 0 to 1 or more"]),
        ("layer", "gray", {}, ["black: 1", "white: 50"]),
        ("layer", "viridis", {}, ["colours from 1 to 50"]),
        ("filter", "gray", {}, ["each filter on its own scale", "black: its least, white: its greatest"]),
    ],
)
def test_words(kind, cmap, options, said):
    scale = WeightScale.of(np.append(np.ones(999), 50.0), kind, None)
    words = scale.words(cmap, **options)
    assert words[: len(said)] == said
    assert ("cut at the magnitude's percentile 99.5" in words) == (kind in ("symmetric", "zero"))
