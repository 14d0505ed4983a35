"""Explanation targets: a class before the softmax, a class over a region of a segmentation, or any tensor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, SelectionError
from onnxviz.explanations.masks import checked_mask, read_mask
from onnxviz.messages import dims, option, printable, unheeded
from onnxviz.model.detection.columns import Link
from onnxviz.model.probability import sigmoid, softmax
from onnxviz.model.scores import Scores, name_of, sample_axis, with_both

# A class number, or the one the model decides for.
# A number, "top" for the answer of the model, or a name.
ClassChoice = int | str
# Rows and columns of the target, top and left inclusive, bottom and right not.
Box = Annotated[tuple[int, int, int, int], "(top, left, bottom, right) in whole numbers"]
Region = Literal["auto", "all", "argmax"] | Box | Annotated[NDArray[Any], "a mask"]

_MOST_LISTED = 5


@dataclass(frozen=True, eq=False)
class Target:
    """The number that is explained, made of a tensor's values on one sample: score = ⟨weights, values⟩.

    Attributes:
        weights: of the values of one sample, in their shape, without the batch axis; the seed of gradients.
        what: the score in words.
        class_: the class or channel, None where it is not one.
        classes: how many classes there are, 0 where there are none.
        link: what makes a probability of the score; "" where there is none to speak of.
        axis: of the classes, without the batch axis; None where there is none.
        through: where the score of boxes is made, one entry for each stride: tensors that the convolutions at its end
            give; a class activation map looks at the layers before them. Empty for the layers before the tensor.
        region: (rows, columns) of the picture, what part of it the score is of; None where that is all of it.
    """

    weights: NDArray[Any]
    what: str
    class_: int | None = None
    classes: int = 0
    link: Link = ""
    axis: int | None = None
    through: tuple[tuple[str, ...], ...] = ()
    region: NDArray[Any] | None = None

    def score(self, values: NDArray[Any]) -> NDArray[Any]:
        """The score of each sample; values (N, …), scores (N,) float64."""
        flat = values.astype(np.float64).reshape(len(values), -1)
        scores: NDArray[Any] = flat @ self.weights.astype(np.float64).reshape(-1)
        return scores

    def probability(self, values: NDArray[Any]) -> NDArray[Any] | None:
        """What the model makes of the scores, (N,) 0…1; None where the target is no classifier's."""
        if not self.link:
            return None
        flat = values.astype(np.float64).reshape(len(values), -1)
        if self.link == "sigmoid" or flat.shape[1] == 1:
            return sigmoid(self.score(values))
        return softmax(flat)[:, self.class_]


class ChooseTarget(Protocol):
    """What decides which number is explained of a sample; `ClassTarget` does, and so can any callable of this kind.

    The difference of two classes, as `explain(model, x, class_=Margin(3, 5))`:

        @dataclass(frozen=True)
        class Margin:
            first: int
            second: int

            def __call__(self, scores, value):
                weights = np.zeros(value.shape, np.float32)
                weights[self.first], weights[self.second] = 1, -1
                return Target(weights, f"class {self.first} minus class {self.second}")
    """

    def __call__(self, scores: Scores, value: NDArray[Any], /) -> Target:
        """The target of one sample.

        Args:
            scores: the tensor that is explained, and its axis of classes.
            value: its values on the sample, without the batch axis.
        """


@dataclass(frozen=True, eq=False)
class ClassTarget:
    """The score of a class; where the scores are a picture, as in segmentation, its sum over a region.

    A tensor of one logit has two classes, as in binary classifiers: 1 is the logit, 0 its negative.

    Attributes:
        class_: a number, or "top": the largest score; over a picture, the class that most pixels belong to.
        region: over which positions a spatial target is summed: "all"; "argmax": where the class has the largest
            score; (top, left, bottom, right); a mask in the target's size, of booleans or 0 and 1; "auto": "argmax" for
            segmentations, "all" for tensors that were asked for by name.
        names: of the classes.
    """

    class_: ClassChoice = "top"
    region: Region = "auto"
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.region, str) and self.region not in ("auto", "all", "argmax"):
            region = printable(self.region)
            raise InputError(f"'{region}' is not a region; there are all, argmax, (top, left, bottom, right) and masks")

    def __call__(self, scores: Scores, value: NDArray[Any], /) -> Target:
        """The target of one sample.

        Args:
            scores: the tensor of the scores.
            value: its values on the sample, without the batch axis: (classes,), (classes, spatial…), a number, or with
                the classes along another axis if `scores.axis` says so.

        Raises:
            SelectionError: there is no such class; the message says how many there are.
            InputError: the region does not fit the target, or is empty; or the values are not finite numbers.
        """
        if value.dtype.kind not in "fiub" or not np.isfinite(value).all():
            bad = "not numbers" if value.dtype.kind not in "fiub" else "not finite (NaN or infinite)"
            raise InputError(f"the values of '{printable(scores.tensor)}' on this input are {bad}: nothing to explain")
        axis = None if value.ndim == 0 else sample_axis(scores.axis, value.ndim)
        wide = value.astype(np.float64)
        channels = wide[None] if axis is None else np.moveaxis(wide, axis, 0)
        if channels[:1].size == 1:  # a classifier, perhaps with axes of length 1
            weights, what, chosen, link = self._of_classifier(channels, scores)
            region = None
        else:
            weights, what, chosen, inside = self._of_picture(channels, scores)
            link, region = "", inside if inside.ndim == 2 and not inside.all() else None
        full = weights[0] if axis is None else np.moveaxis(weights, 0, axis)
        classes = 2 if len(channels) == 1 else len(channels)
        return Target(full.copy(), what, chosen, classes, link, axis, region=region)

    def _of_classifier(self, channels: NDArray[Any], scores: Scores) -> tuple[NDArray[Any], str, int, Link]:
        """Weights, words, class and link for one score a class."""
        if not isinstance(self.region, str) or self.region != "auto":
            tensor = printable(scores.tensor)
            raise unheeded(f"'{tensor}' has one number a class and no positions: leave out {{region}}")
        flat = channels.reshape(-1)
        chosen, sign = _decided(self.class_, flat, scores)
        name = worded(chosen, self.names, len(flat))
        what = f"{name}, {_place(scores)}" + (" (its negative)" if sign < 0 else "")
        link: Link = "softmax" if not scores.link and not scores.inner and len(flat) > 1 else scores.link
        weights = np.zeros(channels.shape, np.float32)
        weights[0 if len(flat) == 1 else chosen] = sign
        return weights, what, chosen, link

    def _of_picture(self, channels: NDArray[Any], scores: Scores) -> tuple[NDArray[Any], str, int, NDArray[Any]]:
        """Weights, words, class and the positions that are summed, for scores with positions, (classes, spatial…)."""
        single = len(channels) == 1
        both = with_both(channels)
        winners = both.argmax(axis=0)
        counts = np.bincount(winners.reshape(-1), minlength=len(both))
        class_ = self.class_
        if class_ == "top" and single and not scores.inner:
            class_ = int(counts[1] > 0)  # of a mask, what it marks
        means = both.reshape(len(both), -1).mean(axis=1) if scores.inner else counts
        chosen, _ = _decided(class_, means, scores, pair=single)
        name = worded(chosen, self.names, len(channels))
        inside, words = _inside(self.region, winners == chosen, scores, counts, name)
        weights = np.zeros(channels.shape, np.float32)
        weights[0 if single else chosen] = (-1 if single and chosen == 0 else 1) * inside
        return weights, f"{name} {words}, {_place(scores)}", chosen, inside


def _decided(class_: ClassChoice, values: NDArray[Any], scores: Scores, *, pair: bool = False) -> tuple[int, int]:
    """The class, and the sign of its score."""
    single = len(values) == 1
    count = 2 if single or pair else len(values)
    if class_ == "top":
        chosen = int(values[0] > 0) if single else int(values.argmax())
    else:
        why = " (one logit: 1 means it, 0 its negative)" if single or pair else ""
        chosen = class_number(class_, count, f"'{printable(scores.tensor)}' has", why)
    return chosen, -1 if single and chosen == 0 else 1


def _inside(
    region: Region, winning: NDArray[Any], scores: Scores, counts: NDArray[Any], name: str
) -> tuple[NDArray[Any], str]:
    """The positions to sum over, and what they are in words."""
    where = winning.shape
    if isinstance(region, str) and region == "auto":
        region = "argmax" if len(where) >= 2 and not scores.inner else "all"
    total = int(np.prod(where))
    if isinstance(region, str):
        if region == "all":
            return np.ones(where, bool), f"over all {dims(where, '×')} positions"
        if not winning.any():
            best = ", ".join(f"{c} ({counts[c]})" for c in np.argsort(-counts)[:_MOST_LISTED] if counts[c])
            raise InputError(
                f"{name} has the largest score at no position of '{printable(scores.tensor)}'; the classes that do "
                f"(positions): {best}. Choose one of them, or {option('region', 'all', repr('all'))}, or a box"
            )
        return winning, f"where it wins, {int(winning.sum())} of {total} positions"
    if isinstance(region, tuple) and len(region) == 4 and len(where) == 2:
        there = f"the {dims(where, '×')} positions of '{printable(scores.tensor)}'"
        top, left, bottom, right = rectangle(region, (where[0], where[1]), there)
        mask = np.zeros(where, bool)
        mask[top:bottom, left:right] = True
        return mask, f"over rows {top} to {bottom - 1}, columns {left} to {right - 1}"
    try:
        mask = np.asarray(region)
    except ValueError:
        raise InputError("the region's rows are not of one length: give a mask of booleans") from None
    if mask.shape != where:
        raise InputError(
            f"the region has shape {dims(mask.shape)}, but '{printable(scores.tensor)}' has {dims(where)} positions"
        )
    mask = checked_mask(mask, "the region")
    if not mask.any():
        raise InputError("the region is empty: no position of the mask is true")
    return mask, f"over a region of {int(mask.sum())} of {total} positions"


def class_number(class_: object, count: int, there: str, why: str = "") -> int:
    """A class that was asked for by its number.

    Args:
        class_: what was asked for.
        count: how many classes there are.
        there: what has them, with its verb.
        why: how the message ends.

    Raises:
        SelectionError: it is no whole number, or there is no such class.
    """
    if isinstance(class_, bool) or not isinstance(class_, int | np.integer):
        raise SelectionError(f"a class is a number or 'top', not {printable(repr(class_))}")
    if not 0 <= class_ < count:
        raise SelectionError(f"there is no class {class_}; {there} {count}, 0 to {count - 1}{why}")
    return int(class_)


def rectangle(region: Sequence[object], size: tuple[int, int], there: str) -> Box:
    """A region that was asked for by its sides.

    Args:
        region: what was asked for.
        size: (rows, columns) of what it is a part of.
        there: that in words.

    Raises:
        InputError: it is not four whole numbers, or not inside.
    """
    whole = [int(side) for side in region if isinstance(side, int | np.integer) and not isinstance(side, bool)]
    if not len(region) == len(whole) == 4:
        raise InputError(f"a region is (top, left, bottom, right) in whole numbers, not {printable(str(region))}")
    top, left, bottom, right = whole
    if not (0 <= top < bottom <= size[0] and 0 <= left < right <= size[1]):
        raise InputError(
            f"the region ({top}, {left}, {bottom}, {right}) is not inside {there}; it is (top, left, bottom, right)"
        )
    return top, left, bottom, right


def _place(scores: Scores) -> str:
    before = {"softmax": "before the softmax", "sigmoid": "before the sigmoid"}.get(scores.link, "")
    return f"tensor '{printable(scores.tensor, 60)}'" + (f", {before}" if before else "")


def worded(class_: int, names: Sequence[str], scores: int) -> str:
    """`dog (class 4)`, or `class 4` where the class has no name, or the names are not of so many scores."""
    name = name_of(class_, names, scores)
    return f"{printable(name, 60)} (class {class_})" if name else f"class {class_}"


def read_region(text: str) -> Region:
    """What `--region` means: all, argmax, auto, TOP,LEFT,BOTTOM,RIGHT, a mask (`.npy`) or a label of one (`.npy=3`).

    Raises:
        InputError: it is none of these.
    """
    words: tuple[Literal["auto", "all", "argmax"], ...] = ("auto", "all", "argmax")
    for word in words:
        if text == word:
            return word
    masked = re.fullmatch(r"(.*\.npy)(?:=([+-]?[0-9]{1,18}))?", text, re.IGNORECASE | re.DOTALL)
    if masked is not None:
        return read_mask(masked[1], int(masked[2]) if masked[2] else None)
    sides = text.split(",")
    if len(sides) == 4 and all(side.strip().isdecimal() for side in sides):
        top, left, bottom, right = (int(side) for side in sides)
        return top, left, bottom, right
    raise InputError(
        f"'{printable(text)}' is not a region; write all, argmax, TOP,LEFT,BOTTOM,RIGHT, MASK.npy or LABELS.npy=NUMBER"
    )
