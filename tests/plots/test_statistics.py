"""The plot of statistics: what its lines, bands and marks stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from figures import drawn, inside
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color
from protos import normal, parsed

from onnxviz import plot_statistics, save_figure, statistics


def found(channels: int = 5):
    weight = normal(channels, 2, 3, 3)
    weight[1] = 0
    proto = parsed(f"g (float[n,2,9,7] x) => (float[n,{channels},h,v] y) {{ c = Conv (x, w) y = Tanh (c) }}", w=weight)
    return statistics(proto, normal(4, 2, 9, 7))


def marked(axes, colour: str) -> list[np.ndarray]:
    """The ends of all marks of a colour, (2, x and y) each."""
    lines = [one for one in axes.collections if isinstance(one, LineCollection)]
    return [ends for one in lines if same_color(one.get_color(), colour) for ends in one.get_segments()]


def test_a_line_of_means_in_ascending_order() -> None:
    layer = found()["conv_0"]
    axes = drawn(plot_statistics(found())).axes[0]
    (line,) = [one for one in axes.lines if len(one.get_xdata()) == 6]
    heights = np.asarray(line.get_ydata())[:-1]
    assert (np.diff(heights) <= 0).all()  # up is less
    spread = np.sqrt(layer.var)
    low, high = min(0, (layer.mean - spread).min()), max(0, (layer.mean + spread).max())
    np.testing.assert_allclose(heights, (1 - (np.sort(layer.mean) - low) / (high - low)) * 40, atol=1e-4)


def test_channels_of_one_value_are_marked_where_they_stand() -> None:
    layer = found()["conv_0"]
    axes = drawn(plot_statistics(found())).axes[0]
    marks = marked(axes, "#b5442e")
    assert [list(ends[:, 0]) for ends in marks] == [
        [pytest.approx(104 * place), pytest.approx(104 * (place + 1))]
        for place in np.flatnonzero(layer.constant[np.argsort(layer.mean, kind="stable")])
    ]
    assert len(marks) == 1
    assert (marks[0][:, 1] == 44).all()
    assert any("5 channels, 1 of one value" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize("channels", [2, 3000])
def test_all_words_are_on_the_page(channels: int, tmp_path: Path) -> None:
    layers = {"a name " * 40: found(channels)["conv_0"], "b\x1b[31m": found()["conv_0"]}
    figure = plot_statistics(layers, title="a title " * 30, subtitle="facts " * 60)
    assert inside(drawn(figure))
    assert save_figure(figure, tmp_path / "s.png").exists()


def test_what_is_not_finite_is_marked() -> None:
    x = normal(2, 2, 9, 7)
    x[0, 0, 0, 0] = np.nan
    proto = parsed("g (float[n,2,9,7] x) => (float[n,3,h,v] y) { y = Conv (x, w) }", w=normal(3, 2, 1, 1))
    axes = drawn(plot_statistics(statistics(proto, x))).axes[0]
    assert len(marked(axes, "#6a00d4")) == 3
    assert any("3 with NaN or infinity" in text.get_text() for text in axes.texts)
