"""Signals: lines at their positions, the map's colour behind each, thinned without losing a peak."""

import itertools

import numpy as np
import pytest
from figures import assert_laid_out, rendered, words

from onnxviz.plots.heat import Heat
from onnxviz.plots.page import page
from onnxviz.plots.signals import Ribbon, SignalWords, draw_signal, plot_on_signal, thinned


def drawn(signal, ground=None):
    figure, axes = page((400, 300), "", [], left=20, above=0, below=60, right=20)
    draw_signal(axes, signal, top=0, width=300, each=50, ground=ground)
    return figure, axes


def test_each_channel_is_a_line_over_its_own_range_with_its_positions_across():
    signal = np.stack([np.arange(30.0), np.sin(np.arange(30.0))])
    figure, axes = drawn(signal)
    lines = [line for line in axes.lines if line.get_xdata() is not None and len(line.get_xdata()) == 30]
    for number, (line, values) in enumerate(zip(lines, signal, strict=True)):
        np.testing.assert_allclose(line.get_xdata(), (np.arange(30) + 0.5) * 10)
        top = number * 63 + 13
        share = (values - values.min()) / np.ptp(values)
        np.testing.assert_allclose(line.get_ydata(), top + 4 + (1 - share) * 42)
    assert {"input, channel 0 of 2: 0 to 29", "input, channel 1 of 2: −1 to 0.991", "position"} <= set(words(figure))


@pytest.mark.parametrize(
    ("signal", "said"),
    [
        (np.full((1, 9), np.nan), "input: no finite value"),
        (np.array([[1.0, np.nan, 3.0, np.inf]]), "input: 1 to 3, 2 not finite"),
        (np.full((1, 9), 2.0), "input: 2 to 2"),
        (np.zeros((12, 9)), "the first 8 of 12 channels"),
    ],
)
def test_what_cannot_be_a_line_is_said(signal, said):
    figure, _ = drawn(signal)
    assert said in words(figure)
    rendered(figure)


@pytest.mark.parametrize("length", [100, 1200, 1201, 50_000])
def test_thinning_keeps_the_least_and_the_greatest_of_each_pixel(length):
    values = np.random.default_rng(length).standard_normal(length)
    places, heights = thinned(values, 300)
    assert len(places) <= max(600, 4 * 300)
    np.testing.assert_array_equal(values[places.astype(int)], heights)
    assert (np.diff(places) > 0).all()
    edges = np.linspace(0, length, 301).astype(int)
    for start, end in itertools.pairwise(edges):
        own = heights[(places >= start) & (places < end)]
        if end > start:
            assert (own.min(), own.max()) == (values[start:end].min(), values[start:end].max())


def heat():
    return Heat(0.0, 2.0, "inferno", signed=False)


def test_the_colour_of_each_position_is_behind_it_and_ribbon_and_bar_below():
    colours, bare = np.random.default_rng(1).random((2, 40, 3))
    ribbon = Ribbon("grad-cam", bare, "zero everywhere")
    said = SignalWords("cat", ["a fact"], ["beware"])
    figure = plot_on_signal(np.arange(80.0).reshape(2, 40), colours, [ribbon], said, [("", heat())])
    assert_laid_out(figure)
    *grounds, strip, bar = figure.axes[0].images
    assert len(grounds) == 2
    for image in grounds:
        np.testing.assert_array_equal(image.get_array(), colours[None])
    np.testing.assert_array_equal(strip.get_array(), bare[None])
    assert [tuple(image.get_extent()[:2]) for image in (*grounds, strip)] == [(0, 720)] * 3
    assert grounds[-1].get_extent()[2] < strip.get_extent()[3] < strip.get_extent()[2] < bar.get_extent()[3]
    assert {"cat", "a fact", "Note: beware", "grad-cam", "zero everywhere", "0", "2"} <= set(words(figure))


@pytest.mark.parametrize("count", [1, 3, 4, 6, 14])
def test_several_scales_have_a_bar_each_with_its_name(count):
    bare = np.random.default_rng(1).random((40, 3))
    ribbons = [Ribbon(f"method {number}", bare) for number in range(count)]
    scales = [(f"scale {number}" if count > 1 else "", heat()) for number in range(count)]
    figure = plot_on_signal(np.arange(40.0)[None], None, ribbons, SignalWords("cat", [], []), scales)
    assert_laid_out(figure)
    assert len(figure.axes[0].images) == 2 * count
    assert count == 1 or {f"scale {number}" for number in range(count)} <= set(words(figure))
