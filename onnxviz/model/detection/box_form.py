"""The form of a box: whether its four columns are corners or centre and size, as their arithmetic tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from onnx import NodeProto

from onnxviz.model.detection.columns import Piece
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import operator
from onnxviz.model.model import Model

Form = Literal["xyxy", "cxcywh", "grid", "distances", "cells", ""]
"""How columns say where a box is; see `onnxviz.model.detection.heads.BoxColumns`."""

# Steps back from a box to the arithmetic that tells its form.
_REACH = 12
_MOVED = Family.MOVING | Family.IDENTITY


def box_form(model: Model, pieces: Sequence[Piece]) -> Form:
    """Whether four columns are corners or centre and size, as their arithmetic tells; "" where it does not."""
    heads = [piece.parts[0].tensor for piece in pieces]
    widths = [piece.width for piece in pieces]
    if widths == [2, 2]:
        return _form_of(model, heads[0], heads[1])
    if widths == [1, 1, 1, 1]:
        return _form_of(model, heads[0], heads[2])
    return _form_behind(model, heads[0], _REACH) if widths == [4] else ""


def _form_behind(model: Model, tensor: str, reach: int) -> Form:
    """The form of four columns that a concatenation makes, behind what scales and moves them."""
    node = model.scope.producers.get(tensor)
    if node is None or reach == 0:
        return ""
    if operator(node) == "Concat":
        given = list(node.input)
        if len(given) == 4:
            return _form_of(model, given[0], given[2])
        if len(given) == 2:
            return _form_of(model, given[0], given[1]) or _form_behind(model, given[0], reach - 1)
        return _form_behind(model, given[0], reach - 1)
    if belongs(node, Family.SCALING):
        forms = [_form_behind(model, name, reach - 1) for name in node.input]
        return next((form for form in forms if form), "")
    if belongs(node, _MOVED):
        return _form_behind(model, node.input[0], reach - 1)
    return ""


def _form_of(model: Model, first: str, second: str) -> Form:
    """The form of (x, y) and the two columns behind them."""
    one, other = _unscaled(model, first), _unscaled(model, second)
    if one is None or other is None:
        return ""
    if operator(one) == "Add" and operator(other) == "Sub" and set(one.input) == set(other.input):
        return "cxcywh"  # (a + b) / 2 and b − a
    if operator(one) == "Sub" and operator(other) == "Add":
        return "xyxy"  # c − a and c + b
    return "cxcywh" if _grows(model, other) else ""


def _unscaled(model: Model, tensor: str) -> NodeProto | None:
    """The node behind products with constants and moves."""
    node = model.scope.producers.get(tensor)
    for _ in range(_REACH):
        if node is None:
            return None
        if belongs(node, Family.SCALING):
            fixed = [model.constants.find(model.scope, name) is not None for name in node.input]
            if not any(fixed) or node.input[0] == node.input[-1]:
                return node
            node = model.scope.producers.get(node.input[fixed.index(False)] if not all(fixed) else "")
        elif belongs(node, _MOVED) and operator(node) != "Concat":
            node = model.scope.producers.get(node.input[0])
        else:
            return node
    return node


def _grows(model: Model, node: NodeProto) -> bool:
    """Whether a size is made here: an exponential or a square, times an anchor."""
    if operator(node) == "Exp" or operator(node) == "Pow":
        return True
    if operator(node) != "Mul":
        return False
    makers = [_unscaled(model, name) for name in node.input]
    powers = any(maker is not None and (operator(maker) == "Exp" or operator(maker) == "Pow") for maker in makers)
    return powers or node.input[0] == node.input[1]
