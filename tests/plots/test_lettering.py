"""Lettering: which fonts words are written in, how wide they are, and what is written where no font has a letter."""

import re
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from figures import MAPS, facts, words
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from onnxviz.plots import lettering, plot_maps, save_figure
from onnxviz.plots.lettering import FONT, families, spelt, width_of

FAMILY = "Onnxviz Test Kana"


def forget():
    for cached in (families, spelt, width_of, lettering._families_with, lettering._files,
                   lettering._has, lettering.shortened, fontManager._findfont_cached):  # fmt: skip
        cached.cache_clear()


@pytest.fixture
def no_other_fonts(monkeypatch):
    """As on a machine that has what matplotlib brings and nothing else.

    Read from its folder: the list that matplotlib keeps for a machine may have been made where other fonts took their
    place.
    """
    brought = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf"))
    assert brought
    with monkeypatch.context() as patch:
        patch.setattr(fontManager, "ttflist", [])
        for file in brought:
            fontManager.addfont(file)
        forget()
        yield
    forget()


@pytest.fixture
def kana(tmp_path, no_other_fonts):
    """A font of two letters, か and 字, each a square of half an em, one em wide."""
    pen = TTGlyphPen(None)
    for number, (x, y) in enumerate(((0, 0), (0, 500), (500, 500), (500, 0))):
        pen.lineTo((x, y)) if number else pen.moveTo((x, y))
    pen.closePath()
    square = pen.glyph()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "ka", "ji"])
    font.setupCharacterMap({ord("か"): "ka", ord("字"): "ji"})
    font.setupGlyf(dict.fromkeys([".notdef", "ka", "ji"], square))
    font.setupHorizontalMetrics(dict.fromkeys([".notdef", "ka", "ji"], (1000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": FAMILY, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=800, sTypoDescender=-200, usWeightClass=400)
    font.setupPost()
    font.save(tmp_path / "kana.ttf")
    fontManager.addfont(tmp_path / "kana.ttf")
    return FAMILY


@pytest.mark.parametrize("dpi", [100, 200])
@pytest.mark.parametrize("size", [7, 7.5, 8, 8.5, 11])
def test_words_are_no_wider_than_they_are_said_to_be(size, dpi):
    """Against matplotlib's own layout, whose letters are fitted to the pixels."""
    words = "encoder/block_12/" * 12
    figure = Figure(dpi=dpi)
    canvas = FigureCanvasAgg(figure)
    text = figure.text(0, 0, words, fontsize=size, family=FONT, parse_math=False)
    drawn = text.get_window_extent(canvas.get_renderer()).width * 100 / dpi
    assert 0.9 * width_of(words, size) < drawn <= width_of(words, size)


@pytest.mark.parametrize("text", ["conv1", "слой/свёртка_3", "ενέλιξη", "طبقة_1", "שכבה", "réseau → couché №3"])
def test_letters_that_matplotlib_brings_are_written_as_they_are(no_other_fonts, text):
    assert families(text) == (FONT,)
    assert spelt(text) == text


def test_letters_that_it_lacks_are_written_in_a_font_that_has_them(kana, tmp_path):
    assert families("conv か字") == (FONT, kana)
    assert spelt("conv か字") == "conv か字"
    latin = width_of("conv ", 10)
    # Two letters of an em: at 10 points and 100 dots per inch 10 / 72 x 100 pixels each.
    assert width_of("conv か字", 10) == pytest.approx(latin + 2 * 10 / 72 * 100, abs=2)
    figure = plot_maps(MAPS, title="conv か字")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a glyph that is missing
        save_figure(figure, tmp_path / "a.png")
        save_figure(figure, tmp_path / "a.pdf")
        text = save_figure(figure, tmp_path / "a.svg").read_text()
    assert "conv か字</text>" in text
    assert f"'{FONT}', '{kana}'" in text
    assert not any("spelt" in fact for fact in facts(figure).split(" · "))


def test_a_line_is_bold_where_all_of_its_fonts_are(kana):
    assert lettering.weight_of("conv", bold=True) == 700
    assert lettering.weight_of("conv か", bold=True) == 400, "the other font has no bold"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("畳み込み", "U+7573-mi-U+8FBC-mi"),
        ("conv/かな_1", "conv/ka-na_1"),
        ("합성곱", "hab-seong-gob"),
        ("परिणाम", "pa-ra-i-nna-aa-ma"),
        ("कन्", "ka-na"),
        ("🐈", "(cat)"),
        ("a\u20e3", "a"),
    ],
)
def test_letters_that_no_font_has_are_spelt_out_and_said(no_other_fonts, text, expected):
    assert spelt(text) == expected
    assert width_of(text, 9) == width_of(expected, 9)
    figure = plot_maps(MAPS, title=text)
    assert expected in words(figure)
    assert "letters that no font here has are spelt out" in facts(figure)
    assert "spelt" not in facts(plot_maps(MAPS, title="conv"))


def test_a_box_is_never_written(no_other_fonts):
    """The font of last resort, which has a box for every letter, counts as none."""
    assert any("Last" in one.name for one in fontManager.ttflist)
    rng = np.random.default_rng(0)
    signs = [chr(number) for number in rng.integers(0x3000, 0x1F000, 200) if not 0xD800 <= number < 0xE000]
    assert not any("Last" in family for sign in signs for family in families(sign))
    assert not any(re.search("[□▯]", spelt(sign)) for sign in signs if sign not in "□▯")


def test_right_to_left_needs_a_matplotlib_that_can_write_it(no_other_fonts, monkeypatch):
    monkeypatch.setattr(lettering, "_RIGHT_TO_LEFT", False)
    forget()
    assert spelt("שכ") == "shin-kaf"
