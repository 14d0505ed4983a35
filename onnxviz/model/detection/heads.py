"""Heads of detectors: where a model's outputs hold boxes, objectness and scores of classes, read from the graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from onnx import NodeProto

from onnxviz.model.detection.box_form import Form, box_form
from onnxviz.model.detection.columns import Link, Part, Piece, columns, known_shape
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import operator, walk
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.model import Model

# Distances of a YOLOv8 box are expectations over so many bins (Li et al. 2020, Generalized Focal Loss).
_BINS = 16
# Steps back from a tensor to what makes its values.
_REACH = 12
_NOTHING = ("background", "__background__", "no-object", "no object", "no_object", "none", "n/a")
_CONVENTIONS: dict[Form, str] = {"distances": "YOLOv8", "cells": "YOLOv5"}
_DETECTING = ("detect", "segment", "pose", "obb")


@dataclass(frozen=True)
class BoxColumns:
    """The columns that say where boxes are.

    Attributes:
        pieces: side by side.
        form: "xyxy", left, top, right, bottom; "cxcywh", centre and size; "grid", centre and logarithm of the size in
            units of a cell, from its corner (YOLOX before decoding); "distances", distributions of the distances from
            a cell's centre to the four sides (YOLOv8 before decoding); "cells", nothing but the cell, since anchors
            are not in the model (YOLOv5 before decoding); "" where nothing tells.
        relative: whether coordinates are shares of the input's size; None where the values must tell.
        convention: whose way to write boxes `form` is, where no arithmetic of the graph tells it; "" where it does.
    """

    pieces: tuple[Piece, ...]
    form: Form
    relative: bool | None = None
    convention: str = ""


@dataclass(frozen=True)
class Head:
    """Where a detector answers.

    Attributes:
        outputs: the model's outputs that hold the answer.
        classes: the columns of the classes' scores.
        objectness: the column that says whether there is an object, by which scores are multiplied; None without one.
        boxes: None where there are scores alone.
        link: what makes probabilities of the columns of classes; "" where they are probabilities already, or where it
            is not known.
        certain: whether `link` is known.
        background: which class means "no object"; None where there is none, or where it is not known.
        exclusive: whether one of the classes may mean "no object", and nothing tells which.
        selected: whether the model picks boxes out of these (non-maximum suppression, the best 300): then its outputs'
            rows are picked boxes.
    """

    outputs: tuple[str, ...]
    classes: Piece
    objectness: Piece | None
    boxes: BoxColumns | None
    link: Link
    certain: bool = True
    background: int | None = None
    exclusive: bool = False
    selected: bool = False

    @property
    def count(self) -> int:
        """The number of classes, one that means "no object" included."""
        return self.classes.width

    def names_for(self, names: Sequence[str]) -> tuple[str, ...]:
        """A name for each class, () where these are not the names of this head's classes."""
        if self.background == self.count - 1 == len(names):
            return (*names, "no object")
        return tuple(names) if len(names) == self.count else ()

    @property
    def product(self) -> bool:
        """Whether a score is that of a class times objectness."""
        return self.objectness is not None


def find_head(model: Model, names: Sequence[str] = ()) -> Head | None:
    """The head of a detector, where the graph, or its shapes and its names of classes, leave no doubt.

    YOLO v3 to v11, YOLOX, SSD and DETR, decoded or not, with or without selection at the end.

    Args:
        model: the model.
        names: of the classes, as its metadata give them; their number tells objectness from a class.

    Returns:
        None for every other model.
    """
    ranked = [
        (port.name, known_shape(model, port.name) or ()) for port in model.outputs if port.dtype.startswith("float")
    ]
    there = [(name, shape) for name, shape in ranked if len(shape) >= 3]
    beside = (_in_one(model, name, names) for name, shape in there if len(shape) == 3)
    found = next((head for head in beside if head is not None), None)
    found = found or _pair(model, there, names) or _levels(model, there, names) or _before_selection(model, names)
    return found if found is not None and _sized(model, found) else None


def _sized(model: Model, head: Head) -> bool:
    """Whether the axes of the scores are known, so that they can be put one below the other."""
    pieces = [head.classes] if head.objectness is None else [head.classes, head.objectness]
    shapes = [(known_shape(model, part.tensor) or (), part.axis) for piece in pieces for part in piece.parts]
    return all(len(shape) > axis and isinstance(shape[axis], int) for shape, axis in shapes)


def detects(model: Model) -> bool:
    """Whether something tells that the model's outputs are boxes, whichever way they are written."""
    if model.metadata.get("task", "") in _DETECTING:
        return True
    return any(operator(node) == "NonMaxSuppression" for _, node in walk(model.scope))  # in a branch of an If, too


# ---- boxes and scores side by side


def _in_one(model: Model, tensor: str, names: Sequence[str]) -> Head | None:
    for axis in (1, 2):
        pieces = columns(model, tensor, axis)
        if pieces is not None and (found := _side_by_side(model, tensor, pieces, names)) is not None:
            return found
    return None


def _side_by_side(model: Model, tensor: str, pieces: list[Piece], names: Sequence[str]) -> Head | None:
    """Four columns of a box, then probabilities, then whatever else (masks, key points, an angle)."""
    boxes: list[Piece] = []
    while pieces and not pieces[0].link and sum(piece.width for piece in boxes) < 4:
        boxes.append(pieces[0])
        pieces = pieces[1:]
    linked: list[Piece] = []
    while pieces and pieces[0].link:
        linked.append(pieces[0])
        pieces = pieces[1:]
    if sum(piece.width for piece in boxes) != 4 or not linked or len(linked) > 2:
        return None
    objectness = None
    if len(linked) == 2:
        if linked[0].width != 1 or {piece.link for piece in linked} != {"sigmoid"}:
            return None
        objectness, classes = linked
    else:
        classes = linked[0]
        if classes.link == "sigmoid" and _has_objectness(model, classes, names):
            objectness, classes = classes.narrowed(0, 1), classes.narrowed(1, classes.width)
    form, convention = box_form(model, boxes), ""
    if (
        not form
        and objectness is not None
        and all(_unprocessed(model, part.tensor) for one in boxes for part in one.parts)
    ):
        form, convention = "grid", "YOLOX"
    corners = BoxColumns(tuple(boxes), form, False if form else None, convention)
    return _with_background(Head((tensor,), classes, objectness, corners, classes.link), names)


def _has_objectness(model: Model, scores: Piece, names: Sequence[str]) -> bool:
    """Whether the first of the probabilities is that of an object, as the number of names tells.

    Without names, where a convolution gives each anchor four numbers of a box and then these: the family with anchors
    (YOLO v3, v4, v5, v7).
    """
    if scores.width < 2 or len(names) == scores.width:
        return False
    if len(names) == scores.width - 1:
        return True
    return all(part.start == 4 and len(known_shape(model, part.tensor) or ()) == 5 for part in scores.parts)


def _unprocessed(model: Model, tensor: str) -> bool:
    """Whether a tensor is what a convolution gives."""
    return (node := _maker(model, tensor)) is not None and belongs(node, Family.CONVOLUTION)


def _maker(model: Model, tensor: str) -> NodeProto | None:
    """The node that makes the values of a tensor, behind those that only move them."""
    node = model.scope.producers.get(tensor)
    for _ in range(_REACH):
        if node is None or not (belongs(node, Family.ARRANGING)):
            return node
        node = model.scope.producers.get(node.input[0])
    return node


def _with_background(head: Head, names: Sequence[str]) -> Head:
    """The head with what is known of a class that means "no object"; only exclusive classes need one."""
    if head.link == "sigmoid" or head.objectness is not None:
        return head
    named = [place for place, name in enumerate(names) if name.strip().lower() in _NOTHING]
    if len(names) == head.count and len(named) == 1:
        return replace(head, background=named[0])
    dropped = head.classes.parts[0].start > 0  # the softmax has a class in front that the output leaves out
    fits = len(names) == head.count and not head.link
    return replace(head, exclusive=not dropped and not fits and head.background is None)


# ---- boxes and scores in two outputs


def _pair(model: Model, there: list[tuple[str, tuple[Dim, ...]]], names: Sequence[str]) -> Head | None:
    """Boxes (N, A, 4) and scores (N, A, C), as of SSD and DETR."""
    found = []
    for name, shape in there:
        if shape[-1] != 4 or shape[1] is None or any(size != 1 for size in shape[2:-1]):
            continue
        corners = columns(model, name, len(shape) - 1) or []
        others = [one for one, size in there if one != name and len(size) == 3 and size[1] == shape[1]]
        scores = _scores_among(model, others, names)
        if scores is not None and "softmax" not in [piece.link for piece in corners]:
            found.append(_paired(model, name, corners, scores, names))
    found = [head for head in found if head.boxes is not None and head.boxes.form] or found
    sure = [head for head in found if head.boxes is not None and (head.boxes.form or head.link or head.certain)]
    return sure[0] if len(sure) == 1 == len(found) else None


def _paired(
    model: Model, name: str, corners: list[Piece], scores: tuple[str, Piece, bool], names: Sequence[str]
) -> Head:
    output, piece, certain = scores
    shares = [one.link for one in corners] == ["sigmoid"]
    form = "cxcywh" if shares else box_form(model, corners)
    boxes = BoxColumns(tuple(corners), form, shares or None, "DETR" if shares else "")
    order = tuple(port.name for port in model.outputs if port.name in (name, output))
    head = Head(order, piece, None, boxes, piece.link, certain)
    if shares and not piece.link and len(names) == piece.width - 1:
        # DETR: the last class is "no object" (Carion et al. 2020, arXiv 2005.12872).
        return replace(head, link="softmax", certain=True, background=piece.width - 1)
    if shares and not certain and len(names) == piece.width:
        return replace(head, link="sigmoid", certain=True)  # Deformable DETR and those after it
    return _with_background(head, names)


def _scores_among(model: Model, outputs: list[str], names: Sequence[str]) -> tuple[str, Piece, bool] | None:
    """The one output that scores classes, its columns, and whether its link is known."""
    known = [(name, pieces[0]) for name in outputs if (pieces := columns(model, name, 2)) and len(pieces) == 1]
    for sure in (
        [one for one in known if one[1].link],
        [one for one in known if names and one[1].width in (len(names), len(names) + 1)],
        known,
    ):
        if len(sure) == 1:
            name, piece = sure[0]
            maker = model.scope.producers.get(piece.parts[0].tensor)
            product = maker is not None and operator(maker) == "Mul" and not piece.link
            return name, piece, bool(piece.link) or product
    return None


# ---- an output for each stride


def _levels(model: Model, there: list[tuple[str, tuple[Dim, ...]]], names: Sequence[str]) -> Head | None:
    """What the convolutions of each stride give, before any decoding: YOLO v3 to v11."""
    found: list[tuple[str, Piece, Piece | None, Piece, Form]] = []
    for name, shape in there:
        one = _level(model, name, shape, names)
        if one is not None:
            found.append((name, *one))
    kinds = {(classes.width, form) for _, classes, _, _, form in found}
    if len(kinds) != 1 or (len(found) < 2 and model.metadata.get("task", "") not in _DETECTING):
        return None
    objectness = [one for _, _, one, _, _ in found if one is not None]
    form = found[0][4]
    return Head(
        outputs=tuple(name for name, *_ in found),
        classes=_stacked([classes for _, classes, *_ in found]),
        objectness=_stacked(objectness) if objectness else None,
        boxes=BoxColumns((_stacked([boxes for *_, boxes, _ in found]),), form, False, _CONVENTIONS[form]),
        link="sigmoid",
    )


def _level(
    model: Model, name: str, shape: tuple[Dim, ...], names: Sequence[str]
) -> tuple[Piece, Piece | None, Piece, Form] | None:
    """(classes, objectness, boxes, form) of one stride."""
    if len(shape) == 5 and isinstance(shape[4], int) and isinstance(shape[1], int):  # (N, anchors, H, W, columns)
        maker = _maker(model, name)
        flat = maker is not None and len(known_shape(model, maker.output[0]) or ()) == 4  # else a volume's
        if not flat or not _unprocessed(model, name) or shape[4] < 6 or (names and len(names) != shape[4] - 5):
            return None
        return _anchored(Part(name, 4, 0, shape[4]), shape[4])
    if len(shape) != 4 or not isinstance(shape[1], int):
        return None
    pieces = columns(model, name, 1) or []
    raw = all(_unprocessed(model, part.tensor) for piece in pieces for part in piece.parts)
    if [piece.width for piece in pieces[:1]] == [4 * _BINS] and len(pieces) == 2 and not pieces[1].link and raw:
        return pieces[1], None, pieces[0], "distances"
    wide = shape[1]
    if names and len(pieces) == 1 and not pieces[0].link:
        if wide == 4 * _BINS + len(names):
            return pieces[0].narrowed(4 * _BINS, wide), None, pieces[0].narrowed(0, 4 * _BINS), "distances"
        if wide == 3 * (5 + len(names)):
            return _anchored(Part(name, 1, 0, wide // 3, split=3), wide // 3)
    return None


def _anchored(part: Part, wide: int) -> tuple[Piece, Piece, Piece, Form]:
    whole = Piece((part,))
    return whole.narrowed(5, wide), whole.narrowed(4, 5), whole.narrowed(0, 4), "cells"


def _stacked(pieces: list[Piece]) -> Piece:
    return Piece(tuple(part for piece in pieces for part in piece.parts), pieces[0].link)


# ---- boxes that are picked at the end


def _before_selection(model: Model, names: Sequence[str]) -> Head | None:
    """The head whose boxes a selection at the end picks from."""
    outputs = tuple(port.name for port in model.outputs)
    before = model.scope.ancestors(outputs).nodes
    if not any(operator(node) == "NonMaxSuppression" or belongs(node, Family.PICKING) for node in before):
        return None
    for node in reversed(before):
        if operator(node) == "Concat" and len(known_shape(model, node.output[0]) or ()) == 3:
            found = _in_one(model, node.output[0], names)
            if found is not None:
                return replace(found, outputs=outputs, selected=True)
    for node in reversed(before):
        suppressing = operator(node) == "NonMaxSuppression"
        if not suppressing and operator(node) != "TopK":
            continue
        if (found := (_suppressed if suppressing else _ranked)(model, node, names)) is not None:
            return replace(found, outputs=outputs, selected=True)
    return None


def _suppressed(model: Model, node: NodeProto, names: Sequence[str]) -> Head | None:
    """The scores (N, C, A) that a NonMaxSuppression reads, or those (N, A, C) that its scores are picked from."""
    boxes, scores = node.input[0], node.input[1]
    if _of_all(model, boxes, scores):
        pieces = columns(model, scores, 1) or []
        corners = tuple(columns(model, boxes, 2) or ())
        if len(pieces) == 1:
            maker = model.scope.producers.get(pieces[0].parts[0].tensor)
            certain = bool(pieces[0].link) or (maker is not None and operator(maker) == "Mul")
            form = box_form(model, list(corners))
            found = Head((), pieces[0], None, BoxColumns(corners, form) if form else None, pieces[0].link, certain)
            return _with_background(found, names)
    return _ranked(model, node, names, scores)


def _ranked(model: Model, node: NodeProto, names: Sequence[str], scores: str = "") -> Head | None:
    """The probabilities (N, A, C) that a node's values are picked from: the nearest tensor of three axes."""
    for source in _picked_from(model, scores or node.input[0]):
        shape = known_shape(model, source) or ()
        pieces = columns(model, source, 2) if len(shape) == 3 else None
        if pieces is not None and len(pieces) == 1 and pieces[0].link and pieces[0].width > 1:
            return _with_background(Head((), pieces[0], None, None, pieces[0].link), names)
    return None


def _of_all(model: Model, boxes: str, scores: str) -> bool:
    """Whether both are of all boxes and classes, not of those that something picked before."""
    sizes, wide = known_shape(model, boxes) or (), known_shape(model, scores) or ()
    if len(sizes) != 3 or len(wide) != 3:
        return False
    several = isinstance(wide[1], int) and wide[1] > 1
    return several or (sizes[1] is not None and sizes[1] == wide[2])


def _picked_from(model: Model, tensor: str) -> Iterator[str]:
    """The tensors that values are picked from, the nearest first, back to what makes probabilities of scores."""
    scope = model.scope
    seen, waiting = {tensor}, [tensor]
    while waiting:
        name = waiting.pop(0)
        yield name
        node = scope.producers.get(name)
        if node is not None and belongs(node, Family.MOVING | Family.IDENTITY | Family.REDUCTION | Family.PICKING):
            sources = node.input if operator(node) == "Concat" else node.input[:1]
            waiting += [source for source in sources if source and source not in seen]
            seen.update(sources)
