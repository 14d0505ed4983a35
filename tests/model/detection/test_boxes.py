"""Boxes in numpy: corners in closed form, suppression against a naive one, picked rows found again."""

from __future__ import annotations

import numpy as np
import pytest

from onnxviz.model.detection.boxes import kept_boxes, picked_box, read_corners
from onnxviz.model.detection.columns import Part, Piece
from onnxviz.model.detection.heads import BoxColumns, Head

RNG = np.random.default_rng(1)
CLASSES = Piece((Part("s", 2, 0, 3),), "sigmoid")


def head(form, *parts, relative=False, link=""):
    return Head(("y",), CLASSES, None, BoxColumns((Piece(tuple(parts), link),), form, relative), "sigmoid")


def test_corners_and_centres():
    values = {"b": np.array([[10, 20, 30, 60], [1, 2, 5, 9]], np.float32)}
    part = Part("b", 2, 0, 4)
    assert read_corners(head("xyxy", part), values, (100, 50)).tolist() == [[10, 20, 30, 60], [1, 2, 5, 9]]
    assert read_corners(head("cxcywh", part), values, (100, 50)).tolist() == [[-5, -10, 25, 50], [-1.5, -2.5, 3.5, 6.5]]
    assert read_corners(head("", part), values, (100, 50)) is None


@pytest.mark.parametrize("relative", [True, None])
def test_shares_of_the_input(relative):
    values = {"b": np.array([[0.5, 0.5, 0.2, 0.4]], np.float32)}
    found = read_corners(head("cxcywh", Part("b", 2, 0, 4), relative=relative), values, (100, 50))
    assert np.allclose(found, [[20, 30, 30, 70]])
    found = read_corners(head("cxcywh", Part("b", 2, 0, 4), relative=None), {"b": values["b"] * 40}, (100, 50))
    assert np.allclose(found, [[16, 12, 24, 28]])


def test_a_sigmoid_before_the_corners():
    values = {"b": np.zeros((1, 4), np.float32)}
    found = read_corners(head("xyxy", Part("b", 2, 0, 4), relative=True, link="sigmoid"), values, (8, 16))
    assert found.tolist() == [[8, 4, 8, 4]]


def test_boxes_of_cells():
    """A grid of 2 x 3 cells of 4 x 4 pixels; the box of row 1, column 2."""
    grid = np.zeros((4, 2, 3), np.float32)
    grid[:, 1, 2] = [0.5, 0.25, np.log(2), np.log(4)]
    found = read_corners(head("grid", Part("b", 1, 0, 4)), {"b": grid}, (8, 12))
    assert np.allclose(found[5], [2.5 * 4 - 4, 1.25 * 4 - 8, 2.5 * 4 + 4, 1.25 * 4 + 8])
    assert np.allclose(found[0], [-2, -2, 2, 2])
    cells = read_corners(head("cells", Part("b", 1, 0, 4, split=2)), {"b": np.zeros((16, 2, 3))}, (8, 12))
    assert cells[[0, 5, 6]].tolist() == [[0, 0, 4, 4], [8, 4, 12, 8], [0, 0, 4, 4]]
    bins = np.full((64, 2, 3), -50, np.float32)
    for side, distance in enumerate((1, 2, 3, 4)):
        bins[16 * side + distance, 1, 2] = 50
    found = read_corners(head("distances", Part("b", 1, 0, 64)), {"b": bins}, (8, 12))
    assert np.allclose(found[5], [(2.5 - 1) * 4, (1.5 - 2) * 4, (2.5 + 3) * 4, (1.5 + 4) * 4])


def naive(scores, corners, least, overlap):
    """Pairs that no better one of their class covers, in plain Python."""
    pairs = sorted(((scores[b, c], b, c) for b in range(len(scores)) for c in range(3)), key=lambda one: -one[0])
    kept = []
    for score, box, class_ in pairs:
        if score < least:
            continue
        for other, same in kept:
            a, b = corners[box], corners[other]
            wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            common = max(wide, 0) * max(high, 0)
            areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
            if same == class_ and common / (areas - common) > overlap:
                break
        else:
            kept.append((box, class_))
    return kept


@pytest.mark.parametrize("overlap", [0.1, 0.45, 0.9])
def test_suppression(overlap):
    low = RNG.uniform(0, 50, (60, 2))
    corners = np.concatenate([low, low + RNG.uniform(5, 40, (60, 2))], axis=1)
    scores = RNG.random((60, 3)).astype(np.float32)
    found = kept_boxes(scores, corners, least=0.3, overlap=overlap, most=1000)
    assert found == naive(scores, corners, 0.3, overlap)
    assert kept_boxes(scores, corners, least=0.3, overlap=overlap, most=4) == found[:4]
    assert len(kept_boxes(scores, None, least=0.3)) == min(100, int((scores >= 0.3).sum()))
    assert all(class_ != 1 for _, class_ in kept_boxes(scores, corners, background=1))
    assert not kept_boxes(scores, corners, least=2)


def test_a_picked_row_is_found_again():
    scores = RNG.random((20, 3)).astype(np.float32)
    corners = RNG.uniform(0, 60, (20, 4))
    pairs = [(7, 2), (0, 0), (19, 1)]
    rows = np.array([[*corners[box], scores[box, class_], class_] for box, class_ in pairs], np.float32)
    turned = rows[:, [0, 1, 2, 3, 5, 4]]
    with_sample = np.concatenate([np.zeros((3, 1), np.float32), turned], axis=1)
    apart = (rows[:, :4], rows[:, 5].astype(np.int64), rows[:, 4])
    for outputs in ((rows[None],), (turned,), (with_sample,), apart):
        assert [picked_box(number, outputs, scores, corners) for number in range(3)] == pairs
        assert picked_box(3, outputs, scores, corners) is None
    assert picked_box(0, (rows[0],), scores, corners) == pairs[0]  # one row, whose axis was taken for the batch
    one = (rows[0, :4], rows[:1, 5].astype(np.int64)[0], rows[0, 4])
    assert picked_box(0, one, scores, corners) == pairs[0]
    equal = scores.copy()
    equal[3, 2] = equal[7, 2]
    assert picked_box(0, (rows,), equal, corners) == (7, 2)
    assert picked_box(0, (rows,), equal, None) is None
    assert picked_box(0, (rows + 0.01,), scores, corners) is None
