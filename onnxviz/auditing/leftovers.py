"""Leftovers of training: operators that behave otherwise in training, and still do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnx import NodeProto

from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope, attribute, operator, walk
from onnxviz.model.model import Model

Kind = Literal["batch normalisation", "dropout", "random"]
# Since when training is an attribute or an input of its own; before, further outputs meant training (ONNX operator
# specification: BatchNormalization and Dropout, "Version").
_NORM_ATTRIBUTE, _DROPOUT_INPUT, _NO_TEST = 14, 12, 7


@dataclass(frozen=True)
class Leftover:
    """A node that is as it is in training.

    Attributes:
        kind: what it is.
        node: its name, or what it makes.
    """

    kind: Kind
    node: str


def leftovers(model: Model) -> tuple[Leftover, ...]:
    """The nodes whose training behaviour an output of their graph depends on, in graph order."""
    opset = model.opset.get("", 0)
    needed: dict[str, frozenset[str]] = {}
    found = []
    for scope, node in walk(model.scope):
        if scope.name not in needed:
            needed[scope.name] = scope.ancestors(scope.outputs).tensors | scope.outputs
        kind = _kind(model, scope, node, opset)
        if kind is not None and needed[scope.name].intersection(node.output):
            found.append(Leftover(kind, node.name or node.output[0]))
    return tuple(found)


def _kind(model: Model, scope: Scope, node: NodeProto, opset: int) -> Kind | None:
    if belongs(node, Family.RANDOM):
        return "random"
    if operator(node) == "BatchNormalization":
        outputs = sum(bool(name) for name in node.output)
        training = bool(attribute(node, "training_mode")) if opset >= _NORM_ATTRIBUTE else outputs > 1
        return "batch normalisation" if training else None
    if belongs(node, Family.DROPOUT) and _drops(model, scope, node, opset):
        return "dropout"
    return None


def _drops(model: Model, scope: Scope, node: NodeProto, opset: int) -> bool:
    """Whether a Dropout sets anything to 0."""
    if opset < _NO_TEST:
        return not attribute(node, "is_test")
    if opset < _DROPOUT_INPUT or len(node.input) < 3 or not node.input[2]:
        return False
    training = model.constants.value(scope, node.input[2])
    ratio = model.constants.value(scope, node.input[1]) if node.input[1] else None
    return (training is None or bool(training.any())) and (ratio is None or bool(ratio.any()))
