"""Scores: the tensor in which a model scores classes, the axis they lie along, and their names."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.errors import SelectionError
from onnxviz.messages import dims, meant, printable
from onnxviz.model.answer import Ending, askable, choose_output
from onnxviz.model.detection.box_scores import BOX_SCORES, with_box_scores
from onnxviz.model.detection.columns import Link
from onnxviz.model.detection.heads import Head, detects, find_head
from onnxviz.model.features import feature_maps
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import node_attributes, operator
from onnxviz.model.model import Model
from onnxviz.model.ports import Port
from onnxviz.model.score_steps import ScoreSteps

# They only move or convert numbers, so what stands before them is the same score.
_CARRIERS = Family.IDENTITY | Family.DROPOUT | Family.RESHAPING
_PLACE_BY_PLACE = Family.ELEMENTWISE | Family.BROADCASTING | Family.SOFTMAX
_CHANNELS_FIRST_TO_LAST = ([0, 2, 1], [0, 2, 3, 1], [0, 2, 3, 4, 1])
# How far back a Transpose is looked for.
_REACH = 8
# Where models keep the names of their classes: ours, and Ultralytics'.
NAMES_KEY = "classes"
"""Of the metadata: names of classes, as a JSON list."""
NAME_KEYS = (NAMES_KEY, "names")
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
        head: of a detector, whose scores are those of boxes; `tensor` is then the one that
            `onnxviz.model.detection.box_scores.with_box_scores` adds, and `output` names all outputs that are read.
        steps: in which the tensor's integers are read as scores, see `real`; None where it holds real numbers.
    """

    tensor: str
    output: str
    link: Link
    axis: int
    names: tuple[str, ...]
    inner: bool
    head: Head | None = None
    steps: ScoreSteps | None = None

    def classes(self, shape: Sequence[object] | None) -> int | None:
        """How many classes a tensor of this shape scores, None where the shape leaves it open.

        One logit scores two, as in binary classifiers: 1 is the logit, 0 its negative.

        Args:
            shape: of the whole tensor, the batch axis included; None if it is not known.
        """
        if shape is None or not -len(shape) <= self.axis < len(shape):
            return None
        count = shape[self.axis]
        single = count == 1 and self.head is None
        return (2 if single else count) if isinstance(count, int) else None

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

    def real(self, values: NDArray[Any]) -> NDArray[Any]:
        """The scores that the tensor's values stand for, in the same shape: of a quantised model they are integers."""
        return values if self.steps is None else self.steps.real(values)

    def by_class(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The scores of one sample, real numbers without its batch axis, as (scores, positions)."""
        values = values if values.ndim else values.reshape(1)
        first = np.moveaxis(values, sample_axis(self.axis, values.ndim), 0).astype(np.float64)
        return first.reshape(len(first), math.prod(first.shape[1:]))


def with_both(scored: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores with one for each class, (classes, positions): one logit is that of class 1, its negative of class 0."""
    return np.concatenate([-scored, scored]) if len(scored) == 1 else scored


def find_scores(model: Model, name: str | None = None, *, labelled: bool = False) -> Scores:
    """Where a model scores its classes: before the softmax, sigmoid, arg-max or rounding at its end, if there is one.

    Args:
        model: the model.
        name: an output, or any tensor of the main graph that a node makes; None for the output that scores classes,
            see `onnxviz.model.answer.choose_output`.
        labelled: whether the user has names for the classes, and so says that there are some: what looks like feature
            maps is then taken for scores.

    Raises:
        SelectionError: there is no such tensor; or, of a model whose output is not named, several outputs may be
            scores, or none looks like scores.
    """
    asked = name is not None or labelled
    if name is None and not model.outputs:
        raise SelectionError(f"{model.label} has no output: name the tensor that holds the scores")
    names = class_names(model)
    head = find_head(model, names) if _may_detect(model, name) else None
    if head is not None and (name is None or name in head.outputs):
        link = "" if head.product else head.link
        return Scores(BOX_SCORES, ", ".join(head.outputs), link, -1, head.names_for(names) or names, False, head)
    if name is None and (detects(model) or _mixed(model)):
        raise _no_scores(model)
    if name is None:
        ends = [_ending(model, port) for port in model.outputs]
        name = choose_output(model, ends, names) if len(ends) > 1 else ends[0].output
    if name not in model.scope.producers:
        outputs = ", ".join(printable(port.name) for port in model.outputs)
        hint = meant(name, model.scope.producers)
        raise SelectionError(
            f"{model.label} has no tensor '{printable(name)}' that a node makes; {hint}its outputs are {outputs}"
        )
    tensor, link = _before_probabilities(model, name)
    if not (asked or link or names) and tensor == name and (features := feature_maps(model, tensor)):
        raise SelectionError(features)
    inner = name not in model.scope.outputs
    steps = ScoreSteps.of(model, tensor)
    return Scores(tensor, name, link, channel_axis(model, tensor), names, inner, steps=steps)


def with_scores(model: Model, name: str | None = None) -> Model:
    """The model with the tensor that `find_scores` names: a detector's is added to it."""
    head = find_scores(model, name).head
    return model if head is None else with_box_scores(model, head)


def _may_detect(model: Model, name: str | None) -> bool:
    """Whether outputs are worth a closer look: those of classifiers, of two axes, are not."""
    flat = all(port.shape is not None and len(port.shape) < 3 for port in model.outputs)
    return name in (None, *(port.name for port in model.outputs)) and (not flat or detects(model))


def _mixed(model: Model) -> bool:
    """Whether the outputs list things, (N, things, columns), with probabilities and other numbers side by side."""
    listing = [port for port in model.outputs if port.shape is None or len(port.shape) == 3]
    return len(listing) == len(model.outputs) and any(
        len({belongs(maker, Family.PROBABILITY) for maker in _makers(model, port.name)}) > 1 for port in listing
    )


def _makers(model: Model, tensor: str) -> list[NodeProto]:
    """The nodes whose results a tensor is put together of."""
    found, seen, waiting = [], {tensor}, [tensor]
    while waiting:
        node = model.scope.producers.get(waiting.pop())
        if node is None:
            continue
        if not belongs(node, Family.MOVING | Family.IDENTITY) or not node.input:
            found.append(node)
            continue
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        waiting += [name for name in sources if name not in seen]
        seen.update(sources)
    return found


def _no_scores(model: Model) -> SelectionError:
    """The refusal of outputs that hold boxes and scores in a way that is not known."""
    outputs = [port.name for port in model.outputs]
    listed = ", ".join(f"{printable(port.name)} ({dims(model.shapes.of(port.name))})" for port in model.outputs[:4])
    there = [f"{printable(name, 60)} ({dims(model.shapes.of(name))})" for name in askable(model, outputs)[:4]]
    others = f"; tensors that may score classes: {', '.join(there)}" if there else ""
    return SelectionError(
        f"the output of {model.label} does not look like scores of classes: {listed} holds boxes and scores in a way "
        f"that is not known here{others}"
    )


def _ending(model: Model, port: Port) -> Ending:
    tensor, link = _before_probabilities(model, port.name)
    labels = tensor != port.name and port.dtype.startswith("int")
    return Ending(port.name, tensor, bool(link) or labels, channel_axis(model, tensor))


def _before_probabilities(model: Model, output: str) -> tuple[str, Link]:
    """The tensor before the softmax, sigmoid, arg-max or rounding that an output ends in, and what it was."""
    scope = model.scope
    tensor, seen = output, output
    link: Link = ""
    while (node := scope.producers.get(seen)) is not None and node.input:
        before = scope.producers.get(node.input[0])
        rounded = before is not None and belongs(before, Family.QUANTISING)
        if belongs(node, Family.PROBABILITY):
            tensor, link = node.input[0], "softmax" if belongs(node, Family.SOFTMAX) else "sigmoid"
            if belongs(node, Family.INTEGER):
                tensor = before.input[0] if before is not None and rounded else tensor
                known = tensor in scope.producers and (rounded or ScoreSteps.of(model, tensor) is not None)
                tensor, link = (tensor, link) if known else (output, "")
            break
        if before is not None and rounded and belongs(node, Family.DEQUANTISING):
            tensor = seen = before.input[0]  # rounding the scores saturates them
        elif operator(node) == "ArgMax" or (operator(node) == "TopK" and seen == node.output[-1]):
            # it gives labels, of pixels or of pictures: its input has the scores
            tensor = seen = node.input[0]
        elif belongs(node, _CARRIERS | Family.DEQUANTISING) or operator(node) == "Transpose":
            seen = node.input[0]
        else:
            break
    return (tensor, link) if tensor in scope.producers else (output, "")


def channel_axis(model: Model, tensor: str) -> int:
    """Which axis of a tensor counts channels or classes, the batch axis counted: 1, unless the graph says otherwise.

    A Softmax, ArgMax or TopK that reads the tensor says which. Else the last, -1, where a Transpose to channels last
    stands before it, with only elementwise steps between.
    """
    scope = model.scope
    for reader in scope.consumers.get(tensor, []):
        if (belongs(reader, Family.SOFTMAX) or _gives_labels(reader)) and (axis := _axis(reader, model)):
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


def _gives_labels(node: NodeProto) -> bool:
    return operator(node) == "ArgMax" or operator(node) == "TopK"


def _axis(node: NodeProto, model: Model) -> int:
    """The axis that a Softmax, ArgMax or TopK runs over; where it is not written, the operator's default."""
    given = node_attributes(node).get("axis")
    if given is not None:
        return int(given.i)
    if _gives_labels(node):
        return 0 if node.op_type == "ArgMax" else -1
    if belongs(node, Family.INTEGER):
        return -1
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
    for key in NAME_KEYS:
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
