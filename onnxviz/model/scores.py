"""Scores: the tensor in which a model scores classes, the axis they lie along, and their names."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnx import NodeProto

from onnxviz.errors import SelectionError
from onnxviz.messages import printable
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import node_attributes, plain_domain
from onnxviz.model.model import Model

Link = Literal["softmax", "sigmoid", ""]

# They only move or convert numbers, so what stands before them is the same score.
_CARRIERS = Family.IDENTITY | Family.DROPOUT | Family.RESHAPING
_PLACE_BY_PLACE = Family.ELEMENTWISE | Family.BROADCASTING | Family.SOFTMAX
_CHANNELS_FIRST_TO_LAST = ([0, 2, 1], [0, 2, 3, 1], [0, 2, 3, 4, 1])
# How far back a Transpose is looked for.
_REACH = 8
# Where models keep the names of their classes: ours, and Ultralytics'.
_NAME_KEYS = ("classes", "names")
_MOST_CHARACTERS = 10**6


@dataclass(frozen=True)
class Scores:
    """Where a model scores its classes.

    Attributes:
        tensor: name of the tensor whose values are the scores, before softmax, sigmoid or arg-max.
        output: the model's output (or inner tensor) that was asked for; the same tensor, or one behind it.
        link: what turns scores into probabilities on the way to `output`, "" if nothing does.
        axis: which of the tensor's axes counts classes, the batch axis counted: 1, or -1 where they come last.
        names: of the classes, as the model's metadata give them; () if they give none. They may be those of another
            output: `name` looks whether they fit.
        inner: whether `output` is a tensor inside the model.
    """

    tensor: str
    output: str
    link: Link
    axis: int
    names: tuple[str, ...]
    inner: bool

    def classes(self, shape: Sequence[object] | None) -> int | None:
        """How many classes a tensor of this shape scores, None where the shape leaves it open.

        One logit scores two, as in binary classifiers: 1 is the logit, 0 its negative.

        Args:
            shape: of the whole tensor, the batch axis included; None if it is not known.
        """
        if shape is None or not -len(shape) <= self.axis < len(shape):
            return None
        count = shape[self.axis]
        return (count if count != 1 else 2) if isinstance(count, int) else None

    def name(self, number: int, shape: Sequence[object] | None) -> str:
        """The name of a class, "" where it has none; see `name_of`. The shape is the tensor's, None if not known."""
        return name_of(number, self.names, self.count(shape))

    def misfit(self, shape: Sequence[object] | None) -> str:
        """What to say where the names are those of another number of classes, "" where they fit; `shape` as above."""
        count = self.count(shape)
        if not self.names or self.inner or count is None or names_fit(self.names, count):
            return ""
        return (
            f"the model's metadata name {len(self.names)} classes, but '{printable(self.tensor)}' has {count} scores: "
            "the names are left out"
        )

    def count(self, shape: Sequence[object] | None) -> int | None:
        """How many scores a tensor of this shape has, None where the shape leaves it open."""
        known = shape is not None and -len(shape) <= self.axis < len(shape)
        count = shape[self.axis] if shape is not None and known else None
        return count if isinstance(count, int) else None


def find_scores(model: Model, name: str | None = None) -> Scores:
    """Where a model scores its classes: before the softmax, sigmoid, arg-max or rounding at its end, if there is one.

    Args:
        model: the model.
        name: an output, or any tensor of the main graph that a node makes; None for the first output.

    Raises:
        SelectionError: there is no such tensor.
    """
    scope = model.scope
    if name is None and not model.outputs:
        raise SelectionError(f"{model.label} has no output: name the tensor that holds the scores")
    output = name if name is not None else model.outputs[0].name
    if output not in scope.producers:
        outputs = ", ".join(printable(port.name) for port in model.outputs)
        raise SelectionError(
            f"{model.label} has no tensor '{printable(output)}' that a node makes; its outputs are {outputs}"
        )
    tensor, seen = output, output
    link: Link = ""
    while (node := scope.producers.get(seen)) is not None and node.input and not plain_domain(node.domain):
        if belongs(node, Family.PROBABILITY):
            tensor, link = node.input[0], "softmax" if belongs(node, Family.SOFTMAX) else "sigmoid"
            break
        before = scope.producers.get(node.input[0])
        if node.op_type == "DequantizeLinear" and before is not None and before.op_type == "QuantizeLinear":
            tensor = seen = before.input[0]  # rounding the scores saturates them
        elif node.op_type == "ArgMax":  # a segmentation that gives labels: its input has the scores
            tensor = seen = node.input[0]
        elif belongs(node, _CARRIERS) or node.op_type == "Transpose":
            seen = node.input[0]
        else:
            break
    if tensor not in scope.producers:
        tensor, link = output, ""
    return Scores(tensor, output, link, channel_axis(model, tensor), class_names(model), output not in scope.outputs)


def channel_axis(model: Model, tensor: str) -> int:
    """Which axis of a tensor counts channels or classes, the batch axis counted: 1, unless the graph says otherwise.

    A Softmax or ArgMax that reads the tensor says which. Else the last, -1, where a Transpose to channels last stands
    before it, with only elementwise steps between.
    """
    scope = model.scope
    for reader in scope.consumers.get(tensor, []):
        if (belongs(reader, Family.SOFTMAX) or reader.op_type == "ArgMax") and (axis := _axis(reader, model)):
            return axis
    seen = tensor
    for _ in range(_REACH):
        node = scope.producers.get(seen)
        if node is None or not node.input:
            return 1
        if node.op_type == "Transpose":
            given = node_attributes(node).get("perm")
            return -1 if given is not None and list(given.ints) in _CHANNELS_FIRST_TO_LAST else 1
        if not belongs(node, _PLACE_BY_PLACE):
            return 1
        seen = node.input[0]
    return 1


def _axis(node: NodeProto, model: Model) -> int:
    """The axis that a Softmax or ArgMax runs over; where it is not written, ONNX's default."""
    given = node_attributes(node).get("axis")
    if given is not None:
        return int(given.i)
    if node.op_type == "ArgMax":
        return 0
    return -1 if model.opset.get("", 13) >= 13 else 1  # Softmax-13 and Softmax-1


def sample_axis(axis: int, rank: int) -> int:
    """The place of a tensor's axis among those of one sample, which has no batch axis.

    Args:
        axis: of the tensor, the batch axis counted; negative from the end.
        rank: number of the sample's axes, 1 or more.
    """
    return rank + axis if axis < 0 else max(axis - 1, 0)


def class_names(model: Model) -> tuple[str, ...]:
    """The names of the classes that the model's metadata give, in their order; empty if they give none."""
    for key in _NAME_KEYS:
        text = model.metadata.get(key, "")
        if not text or len(text) > _MOST_CHARACTERS:
            continue
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            try:
                listed = ast.literal_eval(text)  # Ultralytics writes a Python dict
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
        if isinstance(listed, dict):
            listed = _by_number(listed)
        if isinstance(listed, list) and all(isinstance(name, str) for name in listed):
            return tuple(listed)
    return ()


def _by_number(listed: dict[object, object]) -> list[object]:
    """Names in the order of their numbers, "" for a number that has none, as 0 where they count from 1."""
    try:
        numbers = {int(str(key)): name for key, name in listed.items()}
    except ValueError:
        return [None]
    if not numbers or min(numbers) < 0 or max(numbers) > 2 * len(numbers):
        return [None]
    return [numbers.get(number, "") for number in range(max(numbers) + 1)]


def names_fit(names: Sequence[str], scores: int | None) -> bool:
    """Whether names can be those of so many scores, None for an unknown number; one logit has two classes or one."""
    return scores is None or len(names) in ({1, 2} if scores == 1 else {scores})


def name_of(number: int, names: Sequence[str], scores: int | None) -> str:
    """The name of a class, "" where it has none or the names are of other classes.

    Args:
        number: of the class, from 0.
        names: of all classes; the only name of one logit is that of class 1.
        scores: how many there are, None if that is not known.
    """
    if scores == 1 and len(names) == 1:
        names = ("", *names)
    return names[number] if names_fit(names, scores) and 0 <= number < len(names) else ""
