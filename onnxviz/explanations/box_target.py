"""Targets of a detector: the score of one box, of the best box of a class or in a region, or the sum over all boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, SelectionError
from onnxviz.explanations.case import Case
from onnxviz.explanations.target import ClassChoice, Region, Target, class_number, rectangle, worded
from onnxviz.messages import dims, option, printable
from onnxviz.model.detection.box_scores import BOX_PROBABILITIES, BOX_SCORES
from onnxviz.model.detection.boxes import LEAST_SCORE, Boxes, Detection, picked_box
from onnxviz.model.detection.columns import Part, Piece
from onnxviz.model.detection.heads import Head
from onnxviz.model.probability import sigmoid, softmax

_REGIONS = "boxes have the regions all and (top, left, bottom, right), in the input's pixels"


@dataclass(frozen=True, eq=False)
class BoxTarget(Target):
    """The score of a class in one box or over all, of the values (boxes, classes) of a detector.

    Attributes:
        number: which box, as the values count them; None for the sum over all.
        explained: the box that is explained; None for the sum over all.
        boxes: what the detector finds on the sample, the best first.
        warnings: what to keep in mind.
    """

    number: int | None = None
    explained: Detection | None = None
    boxes: tuple[Detection, ...] = ()
    warnings: tuple[str, ...] = ()

    def probability(self, values: NDArray[Any]) -> NDArray[Any] | None:
        """The box's probability of the class, (N,); None for a sum, or where it is not known what makes one."""
        if self.number is None or not self.link:
            return None
        row = values.astype(np.float64)[:, self.number]
        if self.link == "sigmoid":
            return sigmoid(row[:, self.class_])
        return softmax(row)[:, self.class_]


@dataclass(frozen=True, eq=False)
class BoxChoice:
    """What decides which score of a detector is explained.

    Attributes:
        head: where the detector answers.
        class_: a number, or "top" for the class of the best box.
        region: "auto", the best box; "all", the sum over all boxes; (top, left, bottom, right) in pixels of the input:
            the best of the boxes whose centres lie there.
        box: the number of a box in the output; None to choose by its score.
        names: of the classes, all of them or none.
    """

    head: Head
    class_: ClassChoice
    region: Region
    box: int | None
    names: Sequence[str]

    def __post_init__(self) -> None:
        if not isinstance(self.region, tuple | str):
            raise InputError(f"a mask is not a region of boxes; {_REGIONS}")
        if isinstance(self.region, str) and self.region not in ("auto", "all"):
            raise InputError(f"'{printable(self.region)}' is not a region of boxes; {_REGIONS}")
        if self.box is not None and (isinstance(self.box, bool) or not isinstance(self.box, int | np.integer)):
            raise SelectionError(f"a box is chosen by its number, not by {printable(repr(self.box))}")
        if self.box is not None and self.region != "auto":
            raise InputError("a box and a region were given: leave one of them out")

    @property
    def tensor(self) -> str:
        """The tensor of the scores; for a sum that of probabilities, else background would outweigh the rest."""
        return BOX_PROBABILITIES if self.region == "all" else BOX_SCORES

    def __call__(self, case: Case) -> BoxTarget:
        """The target of one sample.

        Raises:
            SelectionError: there is no such class or box; the message says how many there are.
            InputError: the scores are not finite, or no box has its centre in the region.
        """
        height, width = case.spatial if len(case.spatial) == 2 else (1, 1)
        boxes = Boxes.read(self.head, case.several(Boxes.tensors(self.head)), (height, width))
        if not np.isfinite(boxes.scores).all():
            raise InputError("the scores of boxes on this input are not finite (NaN or infinite): nothing to explain")
        asked = self._asked(boxes)
        if self.region == "all":
            return self._sum(boxes, boxes.best(None)[1] if asked is None else asked)
        if self.box is not None:
            return self._one(boxes, *self._numbered(boxes, asked, self.box))
        if not isinstance(self.region, tuple):
            return self._one(boxes, *boxes.best(asked))
        top, left, bottom, right = self.region
        found = self._one(boxes, *boxes.best(asked, self._inside(boxes, (height, width), self.region)))
        region = np.zeros((height, width), bool)
        region[top:bottom, left:right] = True
        return replace(found, region=region)

    def _asked(self, boxes: Boxes) -> int | None:
        """The class, None for the best box's own."""
        count = boxes.scores.shape[1]
        if self.class_ == "top":
            if self.head.exclusive and self.box is None and not boxes.rows:
                raise SelectionError(
                    f"which of the {count} classes means 'no object' is not known, so that the best box is not known "
                    f"either: name a class ({option('class_', 'N')})"
                )
            return None
        return class_number(self.class_, count, "the boxes have")

    def _inside(self, boxes: Boxes, size: tuple[int, int], region: tuple[int, int, int, int]) -> NDArray[Any]:
        """Which boxes have their centre in the region."""
        if boxes.corners is None:
            raise InputError(
                f"how output '{printable(self.head.outputs[0])}' writes boxes is not known, so that it is not known "
                f"which are in a region: name a box ({option('box', 'N')}) or a class"
            )
        top, left, bottom, right = rectangle(region, size, f"the input of {dims(size, '×')} pixels")
        x, y = ((boxes.corners[:, side] + boxes.corners[:, side + 2]) / 2 for side in (0, 1))
        inside = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        if not inside.any():
            raise InputError(f"no box has its centre in rows {top} to {bottom - 1}, columns {left} to {right - 1}")
        return np.asarray(inside)

    def _numbered(self, boxes: Boxes, class_: int | None, number: int) -> tuple[int, int]:
        """The box of that number, and its class: the one that was asked for, or its best."""
        if boxes.rows is None:
            last = len(boxes.scores) - 1
            if not 0 <= number <= last:
                raise SelectionError(f"there is no box {number}; there are {last + 1}, 0 to {last}")
            if class_ is None:
                class_ = boxes.best(None, np.arange(last + 1) == number)[1]
            return number, class_
        picked = picked_box(number, boxes.outputs, boxes.scores, boxes.corners)
        if picked is None:
            there = ", ".join(map(str, sorted(boxes.rows.values())[:10])) or "none"
            raise SelectionError(f"row {number} of the output is no box of this input; the first that are: {there}")
        return picked[0], picked[1] if class_ is None else class_

    def _one(self, boxes: Boxes, box: int, class_: int) -> BoxTarget:
        found = boxes.detection(box, class_)
        warnings = []
        if found.number is None:
            warnings.append("the output picks no such box: the best of those that it picks from is explained")
        elif boxes.rows is None and self.box is None and self.head.certain and found.score < LEAST_SCORE:
            warnings.append(f"no such box scores {LEAST_SCORE} or more on this input: the best is explained")
        weights = np.zeros_like(boxes.scores, np.float32)
        weights[box, class_] = 1
        place = "a box" if found.number is None else f"box {found.number}"
        return BoxTarget(
            weights,
            f"{worded(class_, self.names, self.head.count)} of {place}, {self._place()}",
            class_=class_,
            classes=self.head.count,
            link="" if self.head.product else self.head.link,
            axis=1,
            through=self._through(boxes, box),
            number=box,
            explained=found,
            boxes=boxes.detections(),
            warnings=(*warnings, *self._doubts(boxes)),
        )

    def _sum(self, boxes: Boxes, class_: int) -> BoxTarget:
        weights = np.zeros_like(boxes.scores, np.float32)
        weights[:, class_] = 1
        unit = "probabilities" if self.head.certain else "scores"
        return BoxTarget(
            weights,
            f"{worded(class_, self.names, self.head.count)}, the sum of its {unit} over all {len(weights)} boxes",
            class_=class_,
            classes=self.head.count,
            axis=1,
            through=self._through(boxes, None),
            boxes=boxes.detections(),
        )

    def _through(self, boxes: Boxes, box: int | None) -> tuple[tuple[str, ...], ...]:
        """The tensors that scores are made of, of the box's stride, or of every stride."""
        pieces = [self.head.classes] if self.head.objectness is None else [self.head.classes, self.head.objectness]
        levels = [tuple(dict.fromkeys(part.tensor for part in parts)) for parts in _beside(pieces)]
        if box is None or len(levels) != len(boxes.counts):
            return tuple(levels)
        return (levels[int(np.searchsorted(np.cumsum(boxes.counts), box, side="right"))],)

    def _doubts(self, boxes: Boxes) -> list[str]:
        """What is to be said of the place of the box."""
        if boxes.corners is None or self.head.boxes is None:
            return ["how this output writes boxes is not known, so that none is drawn"]
        if self.head.boxes.form == "cells":
            return ["the anchors of its boxes are not in the model: the cell of the box is drawn"]
        if self.head.boxes.convention:
            return [f"the graph does not tell how boxes are written: drawn as {self.head.boxes.convention} writes them"]
        return []

    def _place(self) -> str:
        where = ", ".join(printable(name, 60) for name in self.head.outputs)
        if self.head.product:
            return f"output '{where}', class times objectness"
        before = {"softmax": ", before the softmax", "sigmoid": ", before the sigmoid"}.get(self.head.link, "")
        return f"output '{where}'{before}"


def _beside(pieces: Sequence[Piece]) -> list[tuple[Part, ...]]:
    """The parts of several pieces, stride by stride."""
    if len({len(piece.parts) for piece in pieces}) > 1:
        return [tuple(part for piece in pieces for part in piece.parts)]
    return list(zip(*(piece.parts for piece in pieces), strict=True))
