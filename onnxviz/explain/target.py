"""What is explained: a class before the softmax, a class over a region of a segmentation, or any tensor."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from onnxviz.errors import InputError, SelectionError
from onnxviz.model import Model
from onnxviz.operators import Family, belongs
from onnxviz.scopes import Scope, node_attributes, plain_domain
from onnxviz.text import dims, printable
from onnxviz.weights import Array

# A class number, or the one the model decides for.
ClassChoice = int | Literal["top"]
# Rows and columns of the target, top and left inclusive, bottom and right not.
Box = tuple[int, int, int, int]
Region = Literal["auto", "all", "argmax"] | Box | Array
Link = Literal["softmax", "sigmoid", ""]

# They only move or convert numbers, so what stands before them is the same score.
_CARRIERS = Family.IDENTITY | Family.DROPOUT | Family.RESHAPING
_PLACE_BY_PLACE = Family.ELEMENTWISE | Family.BROADCASTING | Family.SOFTMAX
_CHANNELS_FIRST_TO_LAST = {3: [0, 2, 1], 4: [0, 2, 3, 1], 5: [0, 2, 3, 4, 1]}
_MOST_LISTED = 5
# Where models keep the names of their classes: ours, and Ultralytics'.
_NAME_KEYS = ("classes", "names")
_MOST_BYTES = 10**7


@dataclass(frozen=True)
class Target:
    """The tensor whose values are the scores.

    Attributes:
        tensor: its name in the model.
        output: the model's output that was meant; the same tensor, or one behind the softmax.
        link: what turns scores into probabilities on the way to `output`, "" if nothing does.
        channels_last: whether classes are its last axis, not its second.
        asked: whether it is a tensor inside the model, which the user named.
    """

    tensor: str
    output: str
    link: Link
    channels_last: bool
    asked: bool


def find_target(model: Model, name: str | None = None) -> Target:
    """The tensor to explain: before the softmax, sigmoid or arg-max where there is one.

    Args:
        model: the model.
        name: a tensor of the main graph; None for the first output.

    Raises:
        SelectionError: there is no such tensor.
    """
    scope = model.scope
    if name is None and not model.outputs:
        raise SelectionError(f"{model.label} has no output: say which tensor is to be explained")
    output = name if name is not None else model.outputs[0].name
    if output not in scope.producers:
        outputs = ", ".join(printable(port.name) for port in model.outputs)
        raise SelectionError(
            f"{model.label} has no tensor '{printable(output)}' that a node makes; its outputs are {outputs}"
        )
    link: Link = ""
    tensor = seen = output
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
    return Target(tensor, output, link, channels_last(scope, tensor), output not in scope.outputs)


def channels_last(scope: Scope, tensor: str) -> bool:
    """Whether a tensor's last axis counts channels: a Transpose stands before it, and only elementwise steps between.

    A Softmax or ArgMax over the last axis of what reads it says so too.
    """
    for reader in scope.consumers.get(tensor, []):
        if belongs(reader, Family.SOFTMAX) or reader.op_type == "ArgMax":
            axis = next((a.i for a in reader.attribute if a.name == "axis"), -1 if reader.op_type != "ArgMax" else 0)
            return axis in (-1, 3)
    seen = tensor
    for _ in range(8):
        node = scope.producers.get(seen)
        if node is None or not node.input:
            return False
        if node.op_type == "Transpose":
            perm = list(node_attributes(node)["perm"].ints) if node.attribute else []
            return perm in _CHANNELS_FIRST_TO_LAST.values()
        if not belongs(node, _PLACE_BY_PLACE):
            return False
        seen = node.input[0]
    return False


@dataclass(frozen=True, eq=False)
class Aim:
    """One number made of the target's values: score = ⟨weights, values⟩.

    Attributes:
        class_: the class or channel, None where the target has no such axis.
        weights: of one sample's values, without the batch axis; the seed of gradients.
        what: in words.
        classes: how many classes there are.
        link: what makes probabilities of the scores; "" where there are none to speak of.
        axis: of the classes, without the batch axis; None where there is none.
    """

    class_: int | None
    weights: Array
    what: str
    classes: int
    link: Link
    axis: int | None

    def score(self, values: Array) -> Array:
        """The score of each sample; values (N, …), scores (N,) float64."""
        flat = values.astype(np.float64).reshape(len(values), -1)
        found: Array = flat @ self.weights.astype(np.float64).reshape(-1)
        return found

    def probability(self, values: Array) -> Array | None:
        """What the model makes of the scores, (N,) 0…1; None where the target is no classifier's."""
        if not self.link:
            return None
        flat = values.astype(np.float64).reshape(len(values), -1)
        if self.link == "sigmoid" or flat.shape[1] == 1:
            found: Array = 1 / (1 + np.exp(-np.clip(self.score(values), -700, 700)))
            return found
        powers = np.exp(flat - flat.max(axis=1, keepdims=True))
        shares: Array = powers[:, self.class_] / powers.sum(axis=1)
        return shares


def aim(
    target: Target, value: Array, class_: ClassChoice = "top", region: Region = "auto", names: Sequence[str] = ()
) -> Aim:
    """What to explain of the target's values on one sample.

    A target of one logit has two classes, as in binary classifiers: 1 is the logit, 0 its negative.

    Args:
        target: the tensor.
        value: its values on the sample, without the batch axis: (classes,), (classes, spatial…), a number, or with
            the classes last if `target.channels_last`.
        class_: a number, or "top": the largest score; over a picture, the class that most pixels belong to.
        region: over which positions a spatial target is summed: "all"; "argmax": where the class has the largest
            score; (top, left, bottom, right); a mask in the target's size; "auto": "argmax" for segmentations, "all"
            for tensors that were asked for by name.
        names: of the classes.

    Raises:
        SelectionError: there is no such class; the message says how many there are.
        InputError: the region does not fit the target, or is empty.
    """
    if value.dtype.kind not in "fiub" or not np.isfinite(value).all():
        bad = "not numbers" if value.dtype.kind not in "fiub" else "not finite (NaN or infinite)"
        raise InputError(f"the values of '{printable(target.tensor)}' on this input are {bad}: nothing to explain")
    axis = None if value.ndim == 0 else value.ndim - 1 if target.channels_last else 0
    scores = value.astype(np.float64)[None] if axis is None else np.moveaxis(value.astype(np.float64), axis, 0)
    where = scores.shape[1:]
    link: Link = target.link
    if int(np.prod(where)) == 1:  # a classifier, perhaps with axes of length 1
        if not link and not target.asked and scores.size > 1:
            link = "softmax"
        flat = scores.reshape(-1)
        chosen, sign = _decided(class_, flat, target, names)
        what = f"{named(chosen, names)}, {_place(target)}" + (" (its negative)" if sign < 0 else "")
        inside: Array = np.ones(where, bool)
    else:
        single = len(scores) == 1
        both = np.concatenate([-scores, scores]) if single else scores
        winners = both.argmax(axis=0)
        counts = np.bincount(winners.reshape(-1), minlength=len(both))
        if class_ == "top" and single and not target.asked:
            class_ = int(counts[1] > 0)  # of a mask, what it marks
        means = counts if not target.asked else both.reshape(len(both), -1).mean(axis=1)
        chosen, _ = _decided(class_, means, target, names, pair=single)
        sign = -1 if single and chosen == 0 else 1
        inside, words = _inside(region, where, winners == chosen, target, counts, named(chosen, names))
        what = f"{named(chosen, names)} {words}, {_place(target)}"
        link = ""
    weights = np.zeros(scores.shape, np.float32)
    weights[0 if len(scores) == 1 else chosen] = sign * inside
    full = weights[0] if axis is None else np.moveaxis(weights, 0, axis)
    classes = 2 if len(scores) == 1 else len(scores)
    return Aim(chosen, np.ascontiguousarray(full), what, classes, link, axis)


def _decided(
    class_: ClassChoice, scores: Array, target: Target, names: Sequence[str], *, pair: bool = False
) -> tuple[int, int]:
    """The class, and the sign of its score."""
    single = len(scores) == 1
    count = 2 if single or pair else len(scores)
    if class_ == "top":
        chosen = int(scores[0] > 0) if single else int(scores.argmax())
    else:
        if isinstance(class_, bool) or not isinstance(class_, int | np.integer):
            raise SelectionError(f"a class is a number or 'top', not {class_!r}")
        chosen = int(class_)
        if not 0 <= chosen < count:
            why = " (one logit: 1 means it, 0 its negative)" if single or pair else ""
            raise SelectionError(
                f"there is no class {chosen}; '{printable(target.tensor)}' has {count}, 0 to {count - 1}{why}"
            )
    return chosen, -1 if single and chosen == 0 else 1


def _inside(
    region: Region, where: tuple[int, ...], winning: Array, target: Target, counts: Array, name: str
) -> tuple[Array, str]:
    """The positions to sum over, and what they are in words."""
    if isinstance(region, str) and region == "auto":
        region = "argmax" if len(where) >= 2 and not target.asked else "all"
    total = int(np.prod(where))
    if isinstance(region, str):
        if region == "all":
            return np.ones(where, bool), f"over all {dims(where, '×')} positions"
        if region != "argmax":
            raise InputError(f"'{region}' is not a region; there are all, argmax, (top, left, bottom, right) and masks")
        if not winning.any():
            best = ", ".join(f"{c} ({counts[c]})" for c in np.argsort(-counts)[:_MOST_LISTED] if counts[c])
            raise InputError(
                f"{name} has the largest score at no position of '{printable(target.tensor)}'; the classes that do "
                f"(positions): {best}. Choose one of them, or region='all' or a box"
            )
        return winning, f"where it wins, {int(winning.sum())} of {total} positions"
    if isinstance(region, tuple) and len(region) == 4 and len(where) == 2:
        top, left, bottom, right = (int(side) for side in region)
        if not (0 <= top < bottom <= where[0] and 0 <= left < right <= where[1]):
            raise InputError(
                f"the box ({top}, {left}, {bottom}, {right}) is not inside the {dims(where, '×')} positions of "
                f"'{printable(target.tensor)}'; it is (top, left, bottom, right)"
            )
        mask = np.zeros(where, bool)
        mask[top:bottom, left:right] = True
        return mask, f"over rows {top} to {bottom - 1}, columns {left} to {right - 1}"
    mask = np.asarray(region)
    if mask.shape != where:
        raise InputError(
            f"the region has shape {dims(mask.shape)}, but '{printable(target.tensor)}' has {dims(where)} positions"
        )
    mask = mask.astype(bool)
    if not mask.any():
        raise InputError("the region is empty: no position of the mask is true")
    return mask, f"over a region of {int(mask.sum())} of {total} positions"


def _place(target: Target) -> str:
    before = {"softmax": "before the softmax", "sigmoid": "before the sigmoid"}.get(target.link, "")
    return f"tensor '{printable(target.tensor, 60)}'" + (f", {before}" if before else "")


def named(class_: int | None, names: Sequence[str]) -> str:
    """`dog (class 4)`, or `class 4` where the class has no name."""
    if class_ is None:
        return "the output"
    if class_ < len(names):
        return f"{printable(names[class_], 60)} (class {class_})"
    return f"class {class_}"


def class_names(model: Model) -> tuple[str, ...]:
    """The names of the classes that the model's metadata give, in their order; empty if they give none."""
    for key in _NAME_KEYS:
        text = model.metadata.get(key, "")
        if not text or len(text) > 10**6:
            continue
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            try:
                found = ast.literal_eval(text)  # Ultralytics writes a Python dict
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
        if isinstance(found, dict):
            found = [found.get(number, found.get(str(number))) for number in range(len(found))]
        if isinstance(found, list) and all(isinstance(name, str) for name in found):
            return tuple(found)
    return ()


def read_labels(path: Path) -> tuple[str, ...]:
    """The names in a text file, one a line; lines behind the last name are left out.

    Raises:
        InputError: it cannot be read, or has no names.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as names of classes, one a line: {printable(str(error))}") from None
    names = [line.strip() for line in text.rstrip().splitlines()]
    if not names:
        raise InputError(f"{path} has no names of classes; write one a line")
    return tuple(names)


def read_region(text: str) -> Region:
    """What `--region` means: all, argmax, auto, TOP,LEFT,BOTTOM,RIGHT or the path of a mask (`.npy`).

    Raises:
        InputError: it is none of these.
    """
    words: tuple[Literal["auto", "all", "argmax"], ...] = ("auto", "all", "argmax")
    for word in words:
        if text == word:
            return word
    if text.lower().endswith(".npy"):
        try:
            mask = np.load(text, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{text} cannot be read as a mask: {printable(str(error))}") from None
        return np.asarray(mask)
    sides = text.split(",")
    if len(sides) == 4 and all(side.strip().isdecimal() for side in sides):
        top, left, bottom, right = (int(side) for side in sides)
        return top, left, bottom, right
    raise InputError(f"'{printable(text)}' is not a region; write all, argmax, TOP,LEFT,BOTTOM,RIGHT or a .npy mask")
