"""The plot of a comparison: how long its bars are, and in which colour."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from figures import drawn, facts, inside, words
from matplotlib.patches import Rectangle

from onnxviz import plot_comparison
from onnxviz.errors import InputError

RED, PALE, BROKEN = "#b5442e", "#a9c3d6", "#6a00d4"


def compared(ratios, below=20.0, names=None):
    names = names or [f"block{number}.conv" for number in range(len(ratios))]
    return SimpleNamespace(
        below=below,
        layers=[SimpleNamespace(a=name, sqnr=float(ratio)) for name, ratio in zip(names, ratios, strict=True)],
    )


def bars(figure) -> list[Rectangle]:
    return [one for one in figure.axes[0].patches if isinstance(one, Rectangle)]


def colours(figure) -> list[str]:
    return [matplotlib_hex(one.get_facecolor()) for one in bars(figure)]


def matplotlib_hex(colour) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour[:3])


def dashed(figure) -> list:
    return [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]


def test_a_bar_is_as_long_as_its_ratio_and_red_below_the_threshold() -> None:
    figure = plot_comparison(compared([40, 20, 19.9, 10]))
    lengths = [bar.get_width() for bar in bars(figure)]
    assert lengths == pytest.approx([lengths[0], lengths[0] / 2, lengths[0] * 19.9 / 40, lengths[0] / 4])
    assert [bar.get_y() for bar in bars(figure)] == sorted(bar.get_y() for bar in bars(figure))
    shades = colours(figure)
    assert shades[0] == shades[1] != RED
    assert shades[2:] == [RED, RED]
    (line,) = dashed(figure)
    assert line.get_xdata() == pytest.approx([lengths[1]] * 2)  # where 20 dB end
    assert [word for word in words(figure) if word[0].isdigit()] == ["40.0", "20.0", "19.9", "10.0", "0 dB"]
    assert "dashed: 20 dB, red: below it" in facts(figure)


def test_what_is_no_ratio() -> None:
    figure = plot_comparison(compared([30, np.inf, np.nan, -np.inf, -3]))
    whole = figure.axes[0].get_xlim()[1]
    lengths = [bar.get_width() for bar in bars(figure)]
    assert lengths[1:] == [whole, whole, 1, 1]
    assert [bool(bar.get_hatch()) for bar in bars(figure)] == [False, False, True, False, False]
    assert colours(figure)[1:] == [PALE, BROKEN, RED, RED]
    assert {"equal", "NaN or infinity in one", "zero in A", "−3.0"} <= {*words(figure)}


@pytest.mark.parametrize("ratios", [[np.inf] * 3, [np.nan], [130, 140], [0.0]])
@pytest.mark.parametrize("below", [60, 0, -5])
def test_the_threshold_is_always_on_the_page_or_not_drawn(ratios, below) -> None:
    figure = plot_comparison(compared(ratios, below))
    whole = figure.axes[0].get_xlim()[1]
    assert len(dashed(figure)) == (below > 0)
    assert all(0 < line.get_xdata()[0] <= whole for line in dashed(figure))
    assert all(0 < bar.get_width() <= whole for bar in bars(figure))


@pytest.mark.parametrize("count", [1, 60])
def test_all_words_are_on_the_page(count) -> None:
    names = [f"features.denseblock{number}.a_long_name_of_a_layer/with/paths/conv{number}" for number in range(count)]
    ratios = np.linspace(80, 5, count)
    figure = drawn(plot_comparison(compared(ratios, names=names), title="t" * 300, subtitle="a.onnx and b.onnx"))
    assert inside(figure)
    assert len([word for word in words(figure) if word.startswith("features")]) == count


@pytest.mark.dear
def test_thousands_of_layers_are_a_figure_that_can_be_drawn() -> None:
    figure = plot_comparison(compared(np.linspace(0, 60, 3500)))
    assert len(bars(figure)) == 3500
    assert figure.get_size_inches()[1] * figure.dpi < 2**16  # what matplotlib draws at most
    assert not [word for word in words(figure) if word.startswith("block")]


def test_no_layers_are_refused() -> None:
    with pytest.raises(InputError, match="there are no layers to draw"):
        plot_comparison(compared([]))
