"""Colour bars: where they lie, which colours they show, and what is written beside them."""

import numpy as np
import pytest

from onnxviz.plots.colour_bar import BAR_HEIGHT, ColourBar
from onnxviz.plots.lettering import width_of
from onnxviz.plots.mosaic import ValueRange
from onnxviz.plots.page import page


def drawn(bar, width=200.0):
    _, axes = page((60, 300), "t", [], left=16, above=0, below=40, right=16)
    return axes, bar.draw(axes, 10, 70, width), [(text.get_text(), *text.get_position()) for text in axes.texts[1:]]


def test_its_numbers_stand_at_its_ends_and_nothing_passes_its_width():
    axes, strip, said = drawn(ColourBar(ValueRange(0.5, 2.25), "viridis", unit="mV"))
    left, right, bottom, top = strip.get_extent()
    assert (top, bottom) == (70, 70 + BAR_HEIGHT)
    assert [text for text, *_ in said] == ["0.5", "2.25 mV"]
    assert said[0][1] + width_of("0.5", 7.5) <= left < right <= said[1][1]
    assert said[0][1] == 10
    assert said[1][1] + width_of("2.25 mV", 7.5) == pytest.approx(210, abs=1)
    np.testing.assert_allclose(strip.get_array()[0], np.linspace(0, 1, round(right - left)))
    assert strip.get_cmap().name == "viridis"
    assert not axes.lines


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (-2.0, 2.0), (-5.0, 0.5)])
def test_zero_has_a_tick_where_its_colour_is(low, high):
    axes, strip, said = drawn(ColourBar(ValueRange(low, high), "RdBu_r"))
    left, right, *_ = strip.get_extent()
    zero = left + (right - left) * -low / (high - low)
    assert axes.lines[0].get_xdata() == pytest.approx([zero, zero])
    assert ("0", pytest.approx(zero), 70 + BAR_HEIGHT + 12) in said


def test_values_beyond_its_ends_are_said():
    _, _, said = drawn(ColourBar(ValueRange(-0.25, 0.25), "RdBu_r", beyond=(True, False)))
    assert [text for text, *_ in said] == ["≤ −0.25", "0.25", "0"]


def test_colours_of_the_picture_in_place_of_the_colour_map():
    _, strip, _ = drawn(ColourBar(ValueRange(0, 1), "gray", paint=lambda ramp: np.stack([ramp, 0 * ramp, ramp], -1)))
    colours = strip.get_array()
    np.testing.assert_array_equal(colours[..., 0], colours[..., 2])
    assert colours[0, -1].tolist() == [1, 0, 1]


def test_one_narrower_than_its_numbers_still_has_colours():
    _, strip, _ = drawn(ColourBar(ValueRange(-123.0, 456.0), "gray"), width=20)
    left, right, *_ = strip.get_extent()
    assert right - left == 2
