"""Figures of predictions: bars as long as shares, masks in the colours of their legend, boxes where they are."""

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from figures import assert_laid_out, boxes_of, facts, rendered, words
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle

from onnxviz.errors import InputError
from onnxviz.model.detection.boxes import Detection
from onnxviz.plots import plot_prediction, plot_predictions
from onnxviz.plots.page import LINE
from onnxviz.plots.palette import OTHERS, colours_of
from onnxviz.predictions.prediction import ClassShare, OutputPrediction

RNG = np.random.default_rng(3)
PHOTO = RNG.integers(0, 256, (40, 60, 3), np.uint8)
TRACK = "#d3d4d2"


@dataclass
class Said:
    """A prediction as plots take it."""

    answer: Any
    pixels: Any = field(default_factory=lambda: PHOTO)
    input: str = "a.jpg"

    @property
    def outputs(self):
        return (self.answer,)

    def photo(self):
        return self.pixels


def classes(*shares, names=None, scores=None):
    scores = scores or [float(number) for number in range(len(shares))]
    top = [
        ClassShare(number, (names or ["cat", "dog", "", "x" * 200])[number % 4], scores[number], share)
        for number, share in enumerate(shares)
    ]
    return Said(OutputPrediction("y", (9,), "classes", "the model's own softmax", tuple(top)))


def mask(array, *top, names=("road", "sky", "car", "")):
    packed = zlib.compress(np.asarray(array, np.int32).tobytes())
    listed = tuple(
        ClassShare(number, names[number % 4], 1.0, float((np.asarray(array) == number).mean())) for number in top
    )
    shape = (5, *np.asarray(array).shape)
    return Said(OutputPrediction("m", shape, "mask", "of 6 positions", listed, packed=packed))


def bars(figure, colour=LINE):
    """Of each bar of a colour, (left, top, width) in pixels."""
    found = [one for one in figure.axes[0].patches if isinstance(one, Rectangle) and one.get_fill()]
    return [(*one.get_xy(), one.get_width()) for one in found if to_hex(one.get_facecolor()) == colour]


def test_bars_are_as_long_as_the_shares_and_numbers_say_them():
    figure = plot_prediction(classes(0.879, 0.1, 0.02, 0.0004))
    assert_laid_out(figure)
    tracks = bars(figure, TRACK)
    shown = bars(figure)
    assert len(tracks) == len(shown) == 4
    for (left, top, width), (start, at, length), share in zip(tracks, shown, (0.879, 0.1, 0.02, 0.0004), strict=True):
        assert (left, top) == (start, at)
        assert length == pytest.approx(share * width)
    assert words(figure)[0] == "cat 87.9 %"
    assert {"cat", "dog", "class 2", "87.9 %", "10.0 %", "2.0 %", "below 0.1 %"} <= set(words(figure))
    assert facts(figure) == "a.jpg  ·  shares: the model's own softmax"
    (photo,) = boxes_of(figure)
    assert photo[2] < tracks[0][0]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), PHOTO)


def test_scores_without_shares_begin_at_zero():
    figure = plot_prediction(classes(None, None, None, scores=[3.0, 1.0, -1.0]))
    (left, _, room), *_ = bars(figure, TRACK)
    (first, second, third) = bars(figure)
    zero = left + room / 4
    assert first[0] == second[0] == pytest.approx(zero)
    assert first[2] == pytest.approx(3 * second[2]) == pytest.approx(room * 3 / 4)
    assert (third[0], third[2]) == (pytest.approx(left), pytest.approx(room / 4))
    assert "score −1" in words(figure)
    assert "scores, no unit" in facts(figure)
    nothing = plot_prediction(classes(None, None, scores=[float("nan"), 0.0]))
    assert not bars(nothing)
    rendered(nothing)


def test_names_never_run_into_their_numbers():
    figure = plot_prediction(classes(0.4, 0.3, 0.2, 0.1, names=["x" * 200] * 4))
    assert_laid_out(figure)
    renderer = figure.canvas.get_renderer()
    rows = {}
    for text in figure.axes[0].texts[1 + len(figure.captions) :]:
        rows.setdefault(round(text.get_position()[1]), []).append(text.get_window_extent(renderer))
    assert len(rows) == 4
    for name, value in rows.values():
        assert name.x1 + 4 <= value.x0


def test_a_mask_lies_over_the_photo_in_the_colours_of_its_legend():
    array = [[0, 0, 2], [1, 4, 2]]
    figure = plot_prediction(mask(array, 0, 2, 1))
    assert_laid_out(figure)
    photo, covered = figure.axes[0].images
    np.testing.assert_array_equal(photo.get_array(), PHOTO)
    colours = {**colours_of([0, 1, 2]), 4: OTHERS}
    for y, x in ((0, 0), (5, 45), (25, 5), (30, 30), (39, 59)):
        class_ = array[y * 2 // 40][x * 3 // 60]
        mixed = 0.42 * PHOTO[y, x] + 0.58 * 255 * np.array(to_rgb(colours[class_]))
        assert np.abs(covered.get_array()[y, x] - mixed).max() <= 0.51
    assert {"road", "car", "sky", "others", "33.3 %", "16.7 %"} <= set(words(figure))
    for class_, share in ((0, 1 / 3), (1, 1 / 6), (2, 1 / 3)):
        swatch, bar = bars(figure, colours[class_])
        assert swatch[2] == 9
        assert bar[2] == pytest.approx(share * bars(figure, TRACK)[0][2])
    assert len(bars(figure, OTHERS)) == 2
    assert "shares of the positions" in facts(figure)


def test_the_background_of_a_mask_is_left_as_the_photo_is():
    array = [[0, 0, 2], [1, 1, 2]]
    figure = plot_prediction(mask(array, 0, 1, 2, names=("background", "sky", "car", "")))
    covered = figure.axes[0].images[1].get_array()
    np.testing.assert_array_equal(covered[:20, :40], PHOTO[:20, :40])
    assert (covered[20:, :40] != PHOTO[20:, :40]).any(axis=2).mean() > 0.9
    assert words(figure)[0] == "sky 33.3 %, car 33.3 % of the positions"


def test_a_mask_without_a_photo_is_drawn_alone():
    array = [[0, 1], [1, 1]]
    said = mask(array, 1, 0)
    said.pixels = None
    figure = plot_prediction(said)
    assert_laid_out(figure)
    (shown,) = figure.axes[0].images
    expected = [[colours_of([0, 1])[class_] for class_ in row] for row in array]
    assert [[to_hex(pixel / 255) for pixel in row] for row in np.asarray(shown.get_array(), float)] == expected


def boxed(*boxes):
    return Said(OutputPrediction("b", (9, 5), "boxes", boxes=tuple(boxes), found=len(boxes)))


def test_boxes_lie_where_they_are_with_names_and_scores():
    figure = plot_prediction(
        boxed(
            (Detection(0, 1, 0.9, (6.0, 4.0, 30.0, 20.0)), "dog"),
            (Detection(1, 3, 0.5, (-9.0, 10.0, 80.0, 39.0)), ""),
            (Detection(None, 1, 0.25, None), "dog"),
        )
    )
    assert_laid_out(figure)
    left, top, right, bottom = boxes_of(figure)[0]
    zoom = (right - left) / 60
    assert zoom == (bottom - top) / 40
    colours = colours_of([1, 3])
    frames = [one for one in figure.axes[0].patches if not one.get_fill()]
    lines = {to_hex(one.get_edgecolor()): (*one.get_xy(), one.get_width(), one.get_height()) for one in frames}
    assert lines[colours[1]] == pytest.approx((6 * zoom, 4 * zoom, 24 * zoom, 16 * zoom))
    x, y, width, height = lines[colours[3]]
    assert (x, x + width) == (left + 1, right - 1)
    assert (y, y + height) == (pytest.approx(10 * zoom), pytest.approx(39 * zoom))
    said = words(figure)
    assert said[0] == "dog 0.90, class 3 0.50, dog 0.25"
    assert {"dog 0.90", "class 3 0.50", "0.25"} <= set(said)
    shares = [bar[2] for colour in colours.values() for bar in bars(figure, colour) if bar[2] != 9]
    assert sorted(shares) == pytest.approx([0.25 * 340, 0.5 * 340, 0.9 * 340])


def test_labels_of_boxes_do_not_cover_each_other():
    same = [(Detection(number, 0, 0.9 - number / 10, (10.0, 10.0, 40.0, 30.0)), "dog") for number in range(6)]
    figure = plot_prediction(boxed(*same))
    labels = [one for one in figure.axes[0].patches if one.get_alpha() == 0.78]
    assert len(labels) == 3  # above, below, inside; the list beside it has all
    edges = sorted(one.get_xy()[1] for one in labels)
    assert min(np.diff(edges)) >= 15
    assert_laid_out(figure)


def test_no_box_and_numbers_are_said():
    assert {"no box"} <= set(words(plot_prediction(boxed())))
    numbers = {"first": [1.5, -2.0], "min": -2.0, "max": 1.5, "mean": -0.25}
    figure = plot_prediction(Said(OutputPrediction("n", (2,), "numbers", numbers=numbers)))
    assert {"number 0", "1.5", "number 1", "−2", "mean", "−0.25"} <= set(words(figure))
    assert words(figure)[0] == "Prediction"
    assert not bars(figure)
    assert "the first 2 of 13,824 numbers, no unit" in facts(
        plot_prediction(Said(OutputPrediction("n", (512, 9, 3), "numbers", numbers=numbers)))
    )
    empty = plot_prediction(Said(OutputPrediction("n", (2,), "numbers", "of type string"), None))
    assert_laid_out(empty)
    assert "of type string" in facts(empty)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_sheet_has_every_input_in_order(count):
    photos = [RNG.integers(0, 256, shape, np.uint8) for shape in ((30, 90, 3), (400, 20, 3), (64, 64, 3))]
    said = [classes(0.6, 0.4) for _ in range(count)]
    for number, one in enumerate(said):
        one.input, one.pixels = f"{number}" + "n" * 200, photos[number % 3]
    figure = plot_predictions(said)
    assert_laid_out(figure)
    places = boxes_of(figure)
    assert len(places) == count
    assert [(top, left) for left, top, *_ in places] == sorted((top, left) for left, top, *_ in places)
    assert len(bars(figure)) == 2 * count
    assert f"{count} input" in facts(figure)
    assert sum(word.startswith(tuple("0123456")) and "nn" in word for word in words(figure)) >= count


def test_a_sheet_mixes_kinds_and_keeps_a_class_in_its_colour():
    said = [
        mask([[1, 2]], 1, 2),
        classes(0.5, 0.5),
        boxed((Detection(0, 2, 0.9, (1.0, 1.0, 5.0, 5.0)), "car")),
        boxed(),
    ]
    figure = plot_predictions([*said, Said(OutputPrediction("n", (2,), "numbers"), None)], columns=2)
    assert_laid_out(figure)
    swatches = [bar for bar in bars(figure, colours_of([1, 2])[2]) if bar[2] == 9]
    assert len(swatches) == 2
    assert not [text for text in words(figure) if text == "car 0.90"]  # in small pictures boxes have no words


def test_what_is_refused():
    with pytest.raises(InputError, match="there are no predictions"):
        plot_predictions([])
    with pytest.raises(InputError, match="0 columns"):
        plot_predictions([classes(1.0)], columns=0)
    with pytest.raises(InputError, match="a photo is"):
        plot_prediction(classes(1.0), photo=PHOTO / 255)
