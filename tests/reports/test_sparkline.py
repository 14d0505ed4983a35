"""The sparkline: its points are the channels' means in order, and its band their deviations."""

import re

import numpy as np
import pytest

from onnxviz.maps.channel_statistics import LayerStatistics
from onnxviz.maps.moments import Moments
from onnxviz.reports.sparkline import HEIGHT, WIDTH, sparkline


def layer(mean, deviation, count=10):
    mean, deviation = np.asarray(mean, float), np.asarray(deviation, float)
    size = len(mean)
    numbers = np.full(size, count)
    moments = Moments(
        count=numbers, nonfinite=np.zeros(size, int), mean=mean, deviations=count * deviation**2,
        lowest=mean - deviation, highest=mean + deviation, zeros=np.zeros(size, int), sample=np.zeros(size, int),
    )  # fmt: skip
    return LayerStatistics("conv", "Conv", "c", False, True, moments)


def points(path):
    return np.array([[float(one) for one in pair.split()] for pair in re.split("[MLZ]", path) if pair])


def test_means_go_up_from_the_smallest():
    line = sparkline(layer([3, 1, 2], [1, 1, 1]))
    x, y = points(line.line).T
    assert x.tolist() == [1, WIDTH / 2, WIDTH - 1]
    # From 0 (1 - 1) to 4 (3 + 1) over the height, 2 pixels free above and below.
    assert y == pytest.approx([HEIGHT - 2 - (HEIGHT - 4) * one / 4 for one in (1, 2, 3)], abs=0.06)
    band = points(line.band)
    assert len(band) == 6
    assert band[:, 1].min() == 2
    assert band[:, 1].max() == HEIGHT - 2
    assert line.bars == ()


def test_constant_channels_are_marked():
    line = sparkline(layer([0, 5, 1], [0, 1, 1]))
    assert line.bars == (1.0,)


def test_of_many_channels_some_are_drawn():
    x, _ = points(sparkline(layer(np.arange(500), np.ones(500))).line).T
    assert len(x) == 48
    assert (np.diff(x) > 0).all()


def test_one_channel_is_a_level_line():
    x, y = points(sparkline(layer([2], [0])).line).T
    assert x.tolist() == [1, WIDTH - 1]
    assert y[0] == y[1] == HEIGHT / 2


def test_no_numbers_no_line():
    assert sparkline(layer([np.nan, np.inf], [1, 1])) is None
    assert len(points(sparkline(layer([np.nan, 1], [1, 1])).line)) == 2
