"""Boxes of a detector: corners in the input's pixels, and the boxes that it would keep; in numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.model.detection.box_scores import BOX_PROBABILITIES
from onnxviz.model.detection.columns import Part
from onnxviz.model.detection.heads import BoxColumns, Head
from onnxviz.model.probability import sigmoid, softmax

# What detectors' own scripts keep by default (Ultralytics).
LEAST_SCORE, MOST_OVERLAP = 0.25, 0.45
# Coordinates that are all smaller are shares of the input's size: no picture is two pixels wide.
_SHARES = 2.0
# Between a score and the same score behind a selection: float32 rounding.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Detection:
    """A box that a detector found.

    Attributes:
        number: of the box, counted as the model's output counts them, from 0; None for one that the output leaves out.
        class_: its class.
        score: what it is ranked by: the class's probability, times objectness where there is one.
        corners: (left, top, right, bottom) in pixels of the input, not cut at its edges; None where nothing tells.
    """

    number: int | None
    class_: int
    score: float
    corners: tuple[float, float, float, float] | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        corners = None if self.corners is None else [round(side, 2) for side in self.corners]
        return {"box": self.number, "class": self.class_, "score": self.score, "corners": corners}


@dataclass(frozen=True, eq=False)
class Boxes:
    """What a detector says of one sample.

    Attributes:
        head: where it says so.
        scores: (boxes, classes): what boxes are ranked by, see `onnxviz.model.detection.box_scores.BOX_PROBABILITIES`.
        corners: (boxes, 4): left, top, right, bottom in pixels of the input; None where nothing tells.
        counts: how many boxes there are of each stride, in order.
        outputs: where the model picks boxes itself, its outputs on the sample.
        rows: then, which rows of the output are boxes: (box, class) to row, in the order of the rows; None where it
            gives all boxes.
    """

    head: Head
    scores: NDArray[Any]
    corners: NDArray[Any] | None
    counts: tuple[int, ...]
    outputs: tuple[NDArray[Any], ...]
    rows: dict[tuple[int, int], int] | None

    @staticmethod
    def tensors(head: Head) -> tuple[str, ...]:
        """The tensors whose values `read` asks for, of a model that `with_box_scores` gave."""
        pieces = [head.classes, *(head.boxes.pieces if head.boxes else ())]
        own = head.outputs if head.selected else ()
        return tuple(dict.fromkeys([BOX_PROBABILITIES, *(part.tensor for one in pieces for part in one.parts), *own]))

    @staticmethod
    def read(head: Head, values: Mapping[str, NDArray[Any]], size: tuple[int, int]) -> Boxes:
        """What is said of a sample.

        Args:
            head: where.
            values: of `tensors`, without the batch axis.
            size: (height, width) of the input.
        """
        scores = values[BOX_PROBABILITIES]
        corners = read_corners(head, values, size)
        if corners is not None and len(corners) != len(scores):
            corners = None
        counts = tuple(math.prod(part.grid(values[part.tensor].shape)) for part in head.classes.parts)
        outputs = tuple(values[name] for name in head.outputs) if head.selected else ()
        rows = _rows(outputs, scores, corners) if head.selected else None
        return Boxes(head, scores, corners, counts, outputs, rows)

    def detection(self, box: int, class_: int) -> Detection:
        """A box as it is listed, with its number in the output."""
        corners = None if self.corners is None else tuple(float(side) for side in self.corners[box])
        number = box if self.rows is None else self.rows.get((box, class_))
        return Detection(number, class_, float(self.scores[box, class_]), corners)  # type: ignore[arg-type]

    def detections(self) -> tuple[Detection, ...]:
        """What the detector finds: the boxes that its output picks; or those of `kept_boxes`, the best first.

        None where it is not known which class means "no object", or what makes probabilities of the scores.
        """
        if self.rows is not None:
            return tuple(self.detection(box, class_) for box, class_ in self.rows)
        if self.head.exclusive or not self.head.certain:
            return ()
        kept = kept_boxes(self.scores, self.corners, background=self.head.background)
        return tuple(self.detection(box, class_) for box, class_ in kept)

    def best(self, class_: int | None, inside: NDArray[Any] | None = None) -> tuple[int, int]:
        """The box and class with the largest score; of those that the output picks, where it picks any.

        Args:
            class_: which class; None for any but "no object".
            inside: (boxes,) which boxes may be taken; None for all.
        """
        ranked = self.scores.astype(np.float64)
        if class_ is not None:
            ranked = np.where(np.arange(ranked.shape[1]) == class_, ranked, -np.inf)
        elif self.head.background is not None:
            ranked[:, self.head.background] = -np.inf
        if inside is not None:
            ranked[~inside] = -np.inf
        picked = [pair for pair in self.rows or () if np.isfinite(ranked[pair])]
        if picked:
            return max(picked, key=lambda pair: float(ranked[pair]))
        box, best = np.unravel_index(int(ranked.argmax()), ranked.shape)
        return int(box), int(best)


def read_corners(head: Head, values: Mapping[str, NDArray[Any]], size: tuple[int, int]) -> NDArray[Any] | None:
    """The corners of every box, (boxes, 4) float64: left, top, right, bottom in pixels of the input.

    Args:
        head: where the boxes lie.
        values: of the head's tensors, without the batch axis.
        size: (height, width) of the input.

    Returns:
        None where nothing tells how boxes are written.
    """
    if head.boxes is None or not head.boxes.form:
        return None
    read = _columns(head.boxes, values)
    if read is None:
        return None
    columns, cells = read
    height, width = size
    if head.boxes.form in ("grid", "distances", "cells"):
        return _from_cells(head.boxes.form, columns, cells, size)
    corners = columns.astype(np.float64)
    if head.boxes.form == "cxcywh":
        centre, half = corners[:, :2], corners[:, 2:] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1)
    finite = np.abs(corners[np.isfinite(corners)])
    relative = head.boxes.relative
    if relative is None:
        relative = bool(finite.size) and float(finite.max()) <= _SHARES < min(size)
    return corners * np.array([width, height, width, height]) if relative else corners


def _columns(
    boxes: BoxColumns, values: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[Any], list[tuple[Part, tuple[int, ...]]]] | None:
    """The boxes' columns side by side, (boxes, columns), and the first piece's parts with their grids.

    None where columns are not of as many boxes.
    """
    beside = []
    for piece in boxes.pieces:
        below = [part.rows(values[part.tensor]).astype(np.float64) for part in piece.parts]
        linked = np.concatenate(below)
        beside.append(sigmoid(linked) if piece.link == "sigmoid" else linked)
    if len({len(rows) for rows in beside}) != 1:
        return None
    parts = boxes.pieces[0].parts
    return np.concatenate(beside, axis=1), [(part, part.grid(values[part.tensor].shape)) for part in parts]


def _from_cells(
    form: str, columns: NDArray[Any], cells: list[tuple[Part, tuple[int, ...]]], size: tuple[int, int]
) -> NDArray[Any] | None:
    """Corners of boxes that are written in units of the cells of a grid, one grid a stride."""
    if any(len(grid) not in (2, 3) for _, grid in cells):
        return None
    places, steps = [], []
    for _, grid in cells:
        anchors = grid[0] if len(grid) == 3 else 1
        rows, across = np.meshgrid(np.arange(grid[-2]), np.arange(grid[-1]), indexing="ij")
        places.append(np.tile(np.stack([across, rows], axis=-1).reshape(-1, 2), (anchors, 1)))
        steps.append(np.tile([size[1] / grid[-1], size[0] / grid[-2]], (len(places[-1]), 1)))
    corner, step = np.concatenate(places).astype(np.float64), np.concatenate(steps)
    if len(corner) != len(columns):
        return None
    if form == "cells":
        return np.concatenate([corner * step, (corner + 1) * step], axis=1)
    if form == "grid":
        centre, half = (columns[:, :2] + corner) * step, np.exp(np.clip(columns[:, 2:], -50, 50)) * step / 2
        return np.concatenate([centre - half, centre + half], axis=1)
    bins = columns.reshape(len(columns), 4, -1)
    distances = softmax(bins) @ np.arange(bins.shape[2])
    centre = corner + 0.5
    return np.concatenate([(centre - distances[:, :2]) * step, (centre + distances[:, 2:]) * step], axis=1)


def kept_boxes(
    scores: NDArray[Any],
    corners: NDArray[Any] | None,
    *,
    background: int | None = None,
    least: float = LEAST_SCORE,
    overlap: float = MOST_OVERLAP,
    most: int = 100,
) -> list[tuple[int, int]]:
    """(box, class) of the boxes that stay after non-maximum suppression within each class, the best first.

    Args:
        scores: (boxes, classes) probabilities.
        corners: (boxes, 4) as `read_corners` gives them; None to suppress nothing.
        background: the class that means "no object".
        least: score below which a box is no detection.
        overlap: intersection over union above which the lesser of two boxes of a class goes.
        most: how many are kept.
    """
    ranked = scores.astype(np.float64)
    if background is not None:
        ranked[:, background] = -np.inf
    boxes, classes = np.nonzero(ranked >= least)
    order = np.argsort(-ranked[boxes, classes], kind="stable")
    kept: list[tuple[int, int]] = []
    for box, class_ in zip(boxes[order].tolist(), classes[order].tolist(), strict=True):
        if len(kept) == most:
            break
        rivals = [one for one, other in kept if other == class_]
        if corners is None or not rivals or _overlaps(corners[box], corners[rivals]).max() <= overlap:
            kept.append((box, class_))
    return kept


def _overlaps(box: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of a box (4,) with others (n, 4)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(axis=1)
    whole = areas + np.clip(box[2:] - box[:2], 0, None).prod() - common
    shares: NDArray[Any] = common / np.maximum(whole, 1e-12)
    return shares


def picked_box(
    number: int, outputs: Sequence[NDArray[Any]], scores: NDArray[Any], corners: NDArray[Any] | None
) -> tuple[int, int] | None:
    """Which box and class the row `number` of a detector's output is, where the model picks boxes itself.

    A picked score is moved, not computed: it is the score of the box that it belongs to. Of several boxes with that
    score, the one with the row's corners.

    Args:
        number: of the row.
        outputs: the model's outputs on one sample: rows of box, score and class, or an output for each.
        scores: (boxes, classes) probabilities.
        corners: (boxes, 4) as `read_corners` gives them.

    Returns:
        None where there is no such row, or the row is not of one box.
    """
    for row, score, class_ in _readings(number, outputs):
        if class_ != int(class_) or not 0 <= class_ < scores.shape[1]:
            continue
        column = scores[:, int(class_)].astype(np.float64)
        boxes = np.nonzero(np.abs(column - score) <= _ROUNDING * max(abs(score), _ROUNDING))[0]
        if len(boxes) > 1 and corners is not None and row is not None:
            away = np.abs(corners[boxes] - row).max(axis=1)
            boxes = boxes[away <= 1e-3 * max(1.0, float(np.abs(row).max()))]
        if len(boxes) == 1:
            return int(boxes[0]), int(class_)
    return None


def _readings(number: int, outputs: Sequence[NDArray[Any]]) -> list[tuple[NDArray[Any] | None, float, float]]:
    """(corners, score, class) of a row, in each order that is in use."""
    found: list[tuple[NDArray[Any] | None, float, float]] = []
    apart = any(array.dtype.kind in "iu" for array in outputs)
    for array in outputs:
        if array.ndim == 0 or array.shape[-1] < 6 or (array.ndim == 1 and apart):  # of one row, it is an axis alone
            continue
        rows = array.reshape(-1, array.shape[-1])
        if not 0 <= number < len(rows):
            continue
        row = rows[number].astype(np.float64)
        first = 1 if len(row) == 7 else 0  # the sample's number stands in front
        for score, class_ in ((4, 5), (5, 4)):
            found.append((row[first : first + 4], float(row[first + score]), float(row[first + class_])))
    counts = [array for array in outputs if array.dtype.kind in "iu"]
    floats = [array for array in outputs if array.dtype.kind == "f"]
    for labels in counts:
        for values in floats:
            if values.size == labels.size and 0 <= number < values.size:
                boxes = next((array for array in floats if array.size == 4 * labels.size), None)
                row = None if boxes is None else boxes.reshape(-1, 4)[number].astype(np.float64)
                found.append((row, float(values.reshape(-1)[number]), float(labels.reshape(-1)[number])))
    return found


def _rows(
    outputs: tuple[NDArray[Any], ...], scores: NDArray[Any], corners: NDArray[Any] | None
) -> dict[tuple[int, int], int]:
    """Which rows of the output are boxes: (box, class) to row, in the order of the rows."""
    most = max((math.prod(array.shape[:-1]) if array.ndim > 1 else array.size for array in outputs), default=0)
    found: dict[tuple[int, int], int] = {}
    for number in range(most):
        pair = picked_box(number, outputs, scores, corners)
        if pair is not None and scores[pair] > 0:
            found.setdefault(pair, number)
    return found
