"""Outlines: where the lines of a box and of a region lie, and that they show on light and on dark."""

from types import SimpleNamespace

import numpy as np
import pytest
from figures import rendered
from matplotlib.collections import LineCollection
from samples import DOG, UNET
from small_detector import small_detector

from onnxviz import explain, explain_each, plot_explanation
from onnxviz.plots.outlines import draw_outlines, edges_of
from onnxviz.plots.page import page


def region(*text):
    return np.array([[sign == "#" for sign in line] for line in text])


@pytest.mark.parametrize(
    ("mask", "lines"),
    [
        (region("..", ".."), []),
        (region("##", "##"), [((0, 0), (2, 0)), ((0, 2), (2, 2)), ((0, 0), (0, 2)), ((2, 0), (2, 2))]),
        (region("...", ".#.", "..."), [((1, 1), (2, 1)), ((1, 2), (2, 2)), ((1, 1), (1, 2)), ((2, 1), (2, 2))]),
        (
            region("#.", ".#"),
            [
                ((0, 0), (1, 0)), ((0, 1), (1, 1)), ((1, 1), (2, 1)), ((1, 2), (2, 2)),
                ((0, 0), (0, 1)), ((1, 0), (1, 1)), ((1, 1), (1, 2)), ((2, 1), (2, 2)),
            ],
        ),
        (region("#.#"), [((0, 0), (1, 0)), ((2, 0), (3, 0)), ((0, 1), (1, 1)), ((2, 1), (3, 1)),
                         ((0, 0), (0, 1)), ((1, 0), (1, 1)), ((2, 0), (2, 1)), ((3, 0), (3, 1))]),
    ],
)  # fmt: skip
def test_the_edges_of_a_region(mask, lines):
    assert sorted(edges_of(mask)) == sorted(lines)


def test_edges_part_what_is_of_the_region_from_what_is_not():
    mask = np.random.default_rng(3).random((9, 7)) > 0.4
    padded = np.pad(mask, 1)
    across, down = np.zeros((10, 7), bool), np.zeros((9, 8), bool)
    for (x, y), (right, low) in edges_of(mask):
        if y == low:
            across[y, x:right] = True
        else:
            down[y:low, x] = True
    assert np.array_equal(across, padded[1:, 1:-1] != padded[:-1, 1:-1])
    assert np.array_equal(down, padded[1:-1, 1:] != padded[1:-1, :-1])


@pytest.mark.parametrize("ground", [0.0, 0.5, 1.0])
def test_lines_show_on_any_ground(ground):
    figure, axes = page((80, 120), "", [], left=20, above=0, below=20, right=20)
    axes.imshow(np.full((80, 120, 3), ground), extent=(0, 120, 80, 0), aspect="auto")
    before = rendered(figure)[..., :3].astype(int)
    one = SimpleNamespace(region=region("....", ".#..", "...."), outlines=[((0.6, 0.2, 0.9, 0.7), "cat")])
    draw_outlines(axes, one, (0, 0), (80, 120))
    change = np.abs(rendered(figure)[..., :3].astype(int) - before).max(axis=2)
    assert (change > 100).sum() > 2 * (30 + 27) + 2 * (36 + 40) - 20


def lines_of(figure):
    """Of each region that is drawn, its lines, (lines, 2, 2); light and dark ones are the same."""
    found = [np.array(one.get_segments()) for one in figure.axes[0].collections if isinstance(one, LineCollection)]
    assert all(np.array_equal(dark, light) for dark, light in zip(found[::2], found[1::2], strict=True))
    return found[::2]


def test_the_rectangle_of_a_segmentation_is_framed_in_each_picture():
    found = explain(UNET, DOG, size=(120, 160), region=(40, 60, 80, 100))
    figure = plot_explanation(found)
    height, width = figure.axes[0].images[0].get_array().shape[:2]
    drawn = lines_of(figure)
    assert len(drawn) == 3
    for place, lines in enumerate(drawn):
        corners = lines.reshape(-1, 2) - [place * (width + 16), 0]
        assert np.allclose(corners.min(axis=0), [60 / 160 * width, 40 / 120 * height], atol=2)
        assert np.allclose(corners.max(axis=0), [100 / 160 * width, 80 / 120 * height], atol=2)


def test_where_a_class_wins_is_framed_and_of_all_positions_nothing():
    found = list(explain_each(UNET, DOG, size=(120, 160), class_="0,1", method="saliency"))
    assert np.array_equal(found[0].region, ~found[1].region)
    assert 0 < found[1].region.mean() < 1
    drawn = lines_of(plot_explanation(found))
    assert len(drawn) == 2  # each in its own map: on the photo they would lie one on the other
    whole = explain(UNET, DOG, size=(120, 160), class_=1, region="all", method="saliency")
    assert whole.region is None
    assert not lines_of(plot_explanation(whole))


def test_the_region_of_a_detector_and_its_box_are_framed():
    detector = small_detector(names="{0: 'cat', 1: 'dog', 2: 'bird'}")
    found = explain(detector, DOG, region=(0, 0, 8, 8), class_=0)
    assert found.region.shape == (16, 16)
    assert found.region[:8, :8].all()
    assert found.region.sum() == 64
    figure = plot_explanation(found)
    height, width = figure.axes[0].images[0].get_array().shape[:2]
    drawn = lines_of(figure)
    assert np.allclose(drawn[0].reshape(-1, 2).max(axis=0), [width / 2, height / 2], atol=2)
    boxes = [one for one in figure.axes[0].patches if not one.get_fill()]
    assert len(boxes) == 2 * 3
    ((corners, label),) = found.outlines
    assert label in [text.get_text() for text in figure.axes[0].texts]
    left, top = boxes[0].get_xy()
    assert (left, top) == pytest.approx((corners[0] * width, corners[1] * height), abs=1)
    assert explain(detector, DOG, class_=0).region is None


def test_in_a_table_each_row_has_the_boxes_of_its_class():
    detector = small_detector(names="{0: 'cat', 1: 'dog', 2: 'bird'}")
    found = list(explain_each(detector, DOG, class_="0,2", method="occlusion,saliency"))
    figure = plot_explanation(found)
    boxes = [one for one in figure.axes[0].patches if not one.get_fill()]
    assert len(boxes) == 2 * 2 * 3
    labels = [one.outlines[0][1] for one in found[::2]]
    written = [text.get_text() for text in figure.axes[0].texts]
    assert [written.count(label) for label in labels] == [1, 1]
