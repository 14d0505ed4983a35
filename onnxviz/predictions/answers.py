"""Answers: the values of a model's output as classes with shares, a mask, boxes, or numbers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.model.detection.boxes import Boxes
from onnxviz.model.probability import are_probabilities, sigmoid, softmax
from onnxviz.model.scores import Scores, name_of, sample_axis
from onnxviz.predictions.prediction import NO_CLASS, ClassShare, OutputPrediction

_FIRST = 8


def of_scores(scores: Scores, values: NDArray[Any], names: Sequence[str], top: int) -> OutputPrediction:
    """What scores of classes say of one sample.

    Args:
        scores: where they lie.
        values: of `scores.tensor` on the sample, without the batch axis.
        names: of the classes.
        top: how many classes.
    """
    axis = sample_axis(scores.axis, values.ndim) if values.ndim else 0
    channels = np.moveaxis(values, axis, 0).astype(np.float64) if values.ndim else values.reshape(1)
    if channels.size > len(channels):
        return _of_mask(scores, channels, values.shape, names, top)
    flat = channels.reshape(-1)
    if unanswered := _unanswered(flat):
        return OutputPrediction(scores.output, values.shape, "classes", unanswered)
    if len(flat) == 1:
        return _of_one(scores, flat, values.shape, names)
    share, remark = _shares(flat, scores)
    order = np.argsort(-flat, kind="stable")[:top]
    listed = []
    for one in map(int, order):
        part = None if share is None else float(share[one])
        listed.append(ClassShare(one, name_of(one, names, len(flat)), float(flat[one]), part))
    return OutputPrediction(scores.output, values.shape, "classes", remark, tuple(listed))


def _unanswered(flat: NDArray[Any]) -> str:
    """That scores (classes,) put no class first, since some are NaN or infinite; "" where they do.

    Minus infinity is a score: that of a class that is ruled out.
    """
    wrong = {"NaN": int(np.isnan(flat).sum()), "infinite": int((flat == np.inf).sum())}
    said = " and ".join(f"{count:,} {name}" for name, count in wrong.items() if count)
    if said or (len(flat) and (flat == -np.inf).all()):
        return f"no answer: of {len(flat):,} scores {said or 'all minus infinity'}"
    return ""


def _shares(flat: NDArray[Any], scores: Scores) -> tuple[NDArray[Any] | None, str]:
    """The shares of classes that exclude one another, and how they were made; None where classes do not."""
    if scores.link == "sigmoid":
        return None, "each class has a sigmoid of its own: they do not exclude one another"
    if not scores.link and are_probabilities(flat):
        return flat, "as the model gives them"
    ends = "the model's own softmax" if scores.link else "a softmax of the scores, which the model leaves out"
    return softmax(flat), ends


def _of_one(scores: Scores, flat: NDArray[Any], shape: tuple[int, ...], names: Sequence[str]) -> OutputPrediction:
    """One number: a probability where a sigmoid follows, or names tell that it is a class; else a number."""
    if scores.link != "sigmoid" and not name_of(1, names, 1):
        return of_numbers(scores.output, flat.reshape(shape))
    yes = float(sigmoid(flat)[0])
    both = ((1, float(flat[0]), yes), (0, -float(flat[0]), 1 - yes))
    listed = tuple(ClassShare(one, name_of(one, names, 1), score, share) for one, score, share in both)
    remark = "the model's own sigmoid" if scores.link else "a sigmoid of the score, which the model leaves out"
    return OutputPrediction(
        scores.output, shape, "probability", remark, tuple(sorted(listed, key=lambda one: -(one.share or 0)))
    )


def _of_mask(
    scores: Scores, channels: NDArray[Any], shape: tuple[int, ...], names: Sequence[str], top: int
) -> OutputPrediction:
    """Which part of the positions each class wins; of one channel, those where it is above zero."""
    flat = channels.reshape(len(channels), -1)
    single = len(flat) == 1
    both = np.concatenate([-flat, flat]) if single else flat
    told = ~np.isnan(both).any(axis=0)
    lost = len(told) - int(told.sum())
    both = both[:, told]
    winners = both.argmax(axis=0)
    counts = np.bincount(winners, minlength=len(both))
    order = [int(one) for one in np.argsort(-counts, kind="stable")[:top] if counts[one]]
    listed = []
    for one in order:
        mean = float(both[one, winners == one].mean())
        listed.append(ClassShare(one, name_of(one, names, len(flat)), mean, float(counts[one] / len(told))))
    remark = f"of {len(told):,} positions, by the largest score"
    if lost:
        remark = (
            f"{remark}; at {lost:,} a score is NaN" if len(winners) else f"no answer: all {lost:,} positions are NaN"
        )
    # Packed: a mask is large, and much of it is alike.
    whole = np.full(len(told), NO_CLASS, np.int32)
    whole[told] = winners
    packed = zlib.compress(whole.tobytes(), 1) if channels.ndim == 3 else b""
    axis = sample_axis(scores.axis, len(shape))
    return OutputPrediction(scores.output, shape, "mask", remark, tuple(listed), class_axis=axis, packed=packed)


def of_boxes(scores: Scores, boxes: Boxes, names: Sequence[str], top: int) -> OutputPrediction:
    """The boxes that a detector finds, the best first."""
    found = boxes.detections()
    count = boxes.scores.shape[1]
    listed = tuple((one, name_of(one.class_, names, count)) for one in found[:top])
    remark = "" if len(found) <= top else f"the best {top} of {len(found)}"
    if boxes.rows is None and (boxes.head.exclusive or not boxes.head.certain):
        remark = "which boxes it keeps is not known: nothing tells the class that means 'no object'"
    return OutputPrediction(scores.output, boxes.scores.shape, "boxes", remark, boxes=listed, found=len(found))


def of_numbers(name: str, values: NDArray[Any]) -> OutputPrediction:
    """An output of which nothing more is known."""
    if values.dtype.kind not in "fiub":
        return OutputPrediction(name, values.shape, "numbers", f"of type {values.dtype}")
    real = values.astype(np.float64)
    finite = real[np.isfinite(real)]
    numbers: dict[str, Any] = {"first": [float(one) for one in real.reshape(-1)[:_FIRST]]}
    if finite.size:
        numbers |= {"min": float(finite.min()), "max": float(finite.max()), "mean": float(finite.mean())}
    if finite.size < real.size:
        numbers["nonfinite"] = int(real.size - finite.size)
    return OutputPrediction(name, values.shape, "numbers", numbers=numbers)
