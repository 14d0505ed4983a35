"""The page around a mosaic: its size, its lettering, its colours."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from figures import MAPS, image, rendered, words
from matplotlib.backends.backend_agg import FigureCanvasAgg

from onnxviz.plots import plot_maps


def test_the_page_shows_every_entry_of_the_mosaic_as_one_pixel_of_its_colour():
    figure = plot_maps(MAPS, cmap="viridis")
    mosaic = image(figure).get_array()
    pixels = rendered(figure)
    left, bottom, width, height = (
        figure.axes[0].get_position().bounds * np.tile(figure.get_size_inches() * 100, 2)
    ).round()
    assert (height, width) == mosaic.shape
    top = pixels.shape[0] - int(bottom) - mosaic.shape[0]
    shown = pixels[top : top + mosaic.shape[0], int(left) : int(left) + mosaic.shape[1]]
    expected = mpl.colormaps["viridis"](mosaic.filled(0), bytes=True)
    inside = ~mosaic.mask
    np.testing.assert_array_equal(shown[inside], expected[inside])


@pytest.mark.parametrize(
    "title",
    [
        "conv$\\evil{$1",
        "model/features/" * 200,
        "日本語 🐈 \ud800",
        "a\u202eb\x00c\nd\u200be",
        "\x00",
        "%s {} \\",
    ],
)
def test_any_title_draws_on_one_line_inside_the_figure(title):
    figure = plot_maps(MAPS, title=title, subtitle=title)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for text in figure.axes[0].texts:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= canvas.get_width_height()[0]
        assert box.y1 <= canvas.get_width_height()[1]
        assert not set(text.get_text()) & set("\n\x00\u202e\u200b")


def test_long_titles_keep_both_ends():
    figure = plot_maps(MAPS[:1], title="begin" + "/middle" * 50 + "/end")
    (title,) = (word for word in words(figure) if word.startswith("begin"))
    assert "…" in title
    assert title.endswith("/end")


def test_a_users_settings_do_not_change_the_figure():
    expected = rendered(plot_maps(MAPS))
    settings = {"figure.autolayout": True, "image.origin": "lower", "axes.facecolor": "red", "text.usetex": True}
    with mpl.rc_context({**settings, "font.family": "serif", "figure.dpi": 33}):
        np.testing.assert_array_equal(rendered(plot_maps(MAPS)), expected)


def test_an_ordinary_grid_is_about_1200_pixels_wide():
    for side in (7, 14, 28, 56, 112, 224):
        width = plot_maps(np.broadcast_to(np.arange(side, dtype=np.float32), (64, side, side))).get_size_inches()[0]
        assert 9 <= width <= 14


def test_no_pyplot():
    code = (
        "import sys, numpy as np; from onnxviz.plots import plot_maps; "
        "plot_maps(np.zeros((2, 3, 3))); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
