"""The page around a mosaic: its size, its lettering, its colours."""

import io
import subprocess
import sys
from itertools import combinations
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
from colour_blindness import SEEN_BY, apart, seen
from figures import MAPS, drawn, flawed, image, rendered, words
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image
from protos import classifier_proto

import onnxviz
from onnxviz import plots
from onnxviz.plots import comparison, faithfulness, page, plot_maps, statistics


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


# ---------------------------------------------------------------- notebooks


def decoded(data):
    with Image.open(io.BytesIO(data)) as picture:
        assert not picture.info.keys() - {"dpi"}
        return np.asarray(picture.convert("RGBA"))


def test_a_figure_shows_itself_in_notebooks():
    figure = plot_maps(MAPS, title="conv")
    np.testing.assert_array_equal(decoded(figure._repr_png_()), rendered(figure))
    assert figure._repr_png_() == figure._repr_png_()


def test_in_jupyter_with_twice_the_pixels_at_the_same_size():
    figure = plot_maps(MAPS, title="conv")
    (data,), (told,) = (part.values() for part in figure._repr_mimebundle_())
    double, once = decoded(data), rendered(figure)
    assert double.shape == (2 * told["height"], 2 * told["width"], 4)
    assert once.shape == (told["height"], told["width"], 4)
    # Every entry of the mosaic is 2 x 2 pixels, none is blended with another.
    left, bottom, width, height = (
        (figure.axes[0].get_position().bounds * np.tile(figure.get_size_inches() * 100, 2)).round().astype(int)
    )
    top = once.shape[0] - bottom - height
    inside = ~image(figure).get_array().mask
    small = once[top : top + height, left : left + width]
    large = double[2 * top : 2 * (top + height), 2 * left : 2 * (left + width)]
    for down in (0, 1):
        for across in (0, 1):
            np.testing.assert_array_equal(large[down::2, across::2][inside], small[inside])


def test_the_paper_is_its_own_on_dark_ground_too():
    pixels = decoded(plot_maps(MAPS)._repr_png_())
    assert (pixels[..., 3] == 255).all()
    assert apart(to_rgb(page.PAPER), to_rgb(page.GREY), "all cones") > 50


# ---------------------------------------------------------------- colours

PALETTES = {
    "statistics": [page.LINE, page.BROKEN, statistics._SPREAD, statistics._DEAD],
    "comparison": [page.LINE, page.BROKEN, comparison._BELOW, comparison._SAME],
    "faithfulness": [colour for _, _, colour, _ in faithfulness._ORDERS],
    "marks beside words": [page.BROKEN, page.GREY, page.INK, page.PAPER],
}


@pytest.mark.parametrize("by", SEEN_BY)
@pytest.mark.parametrize("kind", PALETTES)
def test_colours_of_a_figure_can_be_told_apart(kind, by):
    close = [pair for pair in combinations(PALETTES[kind], 2) if apart(*map(to_rgb, pair), by) < 20]
    assert not close


@pytest.mark.parametrize("by", SEEN_BY)
@pytest.mark.parametrize("name", [page.SEQUENTIAL, "viridis", "inferno"])
def test_more_is_lighter_in_maps_of_one_direction(name, by):
    light = seen(mpl.colormaps[name](np.linspace(0, 1, 64))[:, :3], by)[:, 0]
    assert (np.diff(light) > 0).all()


@pytest.mark.parametrize("by", SEEN_BY)
def test_both_ends_of_a_map_about_zero_can_be_told_apart(by):
    colours = mpl.colormaps[page.DIVERGING](np.linspace(0, 1, 65))[:, :3]
    light = seen(colours, by)[:, 0]
    assert (np.diff(light[:33]) > 0).all()
    assert (np.diff(light[32:]) < 0).all()
    for step in (0, 8, 16):
        assert apart(colours[step], colours[-1 - step], by) > 30


def test_the_measure_finds_what_is_known_to_be_confused():
    assert apart((1, 0, 0), (0, 0.63, 0), "all cones") > 100
    assert apart((1, 0, 0), (0, 0.63, 0), "deuteranopes") < 20
    assert apart(to_rgb("#d4007f"), to_rgb(page.LINE), "protanopes") < 20
    light = seen(mpl.colormaps["jet"](np.linspace(0, 1, 64))[:, :3], "all cones")[:, 0]
    assert (np.diff(light) < 0).any()
    for by in SEEN_BY:  # grey stays grey
        np.testing.assert_allclose(seen((0.5, 0.5, 0.5), by)[1:], 0, atol=1.5)


# ---------------------------------------------------------------- nothing is clipped

LONG = "encoder/block_12/" * 12
RNG = np.random.default_rng(3)
CHANNELS = SimpleNamespace(
    mean=RNG.normal(size=9), var=RNG.random(9), zeros=np.arange(9), count=np.full(9, 20), nonfinite=np.zeros(9, int),
    constant=np.zeros(9, bool),
)  # fmt: skip


def explained():
    x = np.random.default_rng(0).random((1, 3, 16, 12), np.float32)
    return onnxviz.explain(classifier_proto(), x, method="occlusion", labels=[LONG] * 5)


def explained_each():
    x = np.random.default_rng(0).random((1, 3, 16, 12), np.float32)
    options = {"class_": "0-2", "method": "grad-cam,saliency,occlusion", "labels": [LONG] * 5}
    return list(onnxviz.explain_each(classifier_proto(), x, **options))


def curves():
    checked = onnxviz.explain_sanity(explained())
    return plots.plot_sanity(checked, subtitle=LONG), plots.plot_faithfulness(checked.faithfulness, subtitle=LONG)


def layers(weight):
    return SimpleNamespace(name=LONG, weight=weight)


KINDS = {
    "maps": lambda: plot_maps(MAPS, title=LONG, subtitle=LONG),
    "maps, sorted, on one scale": lambda: plot_maps(MAPS, title=LONG, sort="mean", scale="layer"),
    "maps, flawed": lambda: plot_maps(flawed(), title=LONG),
    "maps, 2048": lambda: plot_maps(RNG.normal(size=(2048, 7, 7)), first=None, title=LONG),
    "maps of one position": lambda: plot_maps(RNG.normal(size=(17, 1, 2)), title=LONG, scale="symmetric"),
    "strip": lambda: plot_maps(MAPS, style="strip", title=LONG),
    "maps, 1-D": lambda: plot_maps(RNG.normal(size=(17, 40)), spatial=1, title=LONG),
    "maps, 1-D, as lines": lambda: plot_maps(RNG.normal(size=(17, 40)), spatial=1, style="lines", title=LONG),
    "maps, 3-D": lambda: plot_maps(RNG.normal(size=(4, 3, 6, 5)), spatial=3, title=LONG),
    "bars": lambda: plot_maps(RNG.normal(size=30), spatial=0, title=LONG, subtitle=LONG),
    "filters": lambda: plots.plot_filters(layers(RNG.normal(size=(6, 17, 3, 3)))),
    "filters, grid": lambda: plots.plot_filters(layers(RNG.normal(size=(64, 17, 3, 3))), style="grid"),
    "filters, rgb": lambda: plots.plot_filters(layers(RNG.normal(size=(6, 3, 7, 7))), style="rgb"),
    "filters, lines": lambda: plots.plot_filters(layers(RNG.normal(size=(6, 3, 9))), style="lines"),
    "filters, 1 x 1": lambda: plots.plot_filters(layers(RNG.normal(size=(6, 17, 1, 1)))),
    "difference": lambda: plots.plot_difference(MAPS, MAPS + 1, title=LONG, subtitle=LONG),
    "statistics": lambda: plots.plot_statistics({LONG: CHANNELS}, title=LONG, subtitle=LONG),
    "comparison": lambda: plots.plot_comparison(
        SimpleNamespace(below=20.0, layers=[SimpleNamespace(a=LONG, sqnr=30.0), SimpleNamespace(a="c", sqnr=np.nan)]),
        title=LONG, subtitle=LONG,
    ),
    "synthetic": lambda: plots.plot_synthetic(RNG.random((4, 9, 9, 3)), labels=[LONG] * 4, rows=[LONG] * 4, title=LONG),
    "synthetic, 17 channels": lambda: plots.plot_synthetic(RNG.random((2, 9, 9, 17)), title=LONG),
    "explanation": lambda: plots.plot_explanation(explained()),
    "explanations": lambda: plots.plot_explanation(explained_each()),
    "sanity": lambda: curves()[0],
    "faithfulness": lambda: curves()[1],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_clipped_at_either_density(kind):
    figure = KINDS[kind]()
    for dpi in (100, 200):
        figure.set_dpi(dpi)
        canvas = drawn(figure).canvas
        width, height = canvas.get_width_height()
        things = [*figure.texts, *(thing for axes in figure.axes for thing in (*axes.texts, *axes.images))]
        assert len(things) > 1
        for thing in things:
            box = thing.get_window_extent(canvas.get_renderer())
            assert box.x0 >= -1, thing
            assert box.y0 >= -1, thing
            assert box.x1 <= width + 1, thing
            assert box.y1 <= height + 1, thing
