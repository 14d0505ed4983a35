"""Operators that pick, pad or repeat along axes by constant positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule

# Elements of a matrix that stands for what positions are picked along an axis.
MAX_MATRIX = 2**24
_END = np.iinfo(np.int64).max


def put_back(step: Step, g: Value, axis: int, positions: NDArray[Any], size: int) -> Value:
    """The adjoint of picking `positions` along `axis` of a tensor that has `size` there.

    Where no position occurs twice, each sample is fetched from g, or from a zero put behind it; else g is multiplied
    by a matrix of ones and zeros.
    """
    count, rank = len(positions), step.rank(step.x)
    if count and np.array_equal(positions, np.arange(positions[0], positions[0] + count)):
        return g.pad([int(positions[0])], [size - int(positions[0]) - count], [axis], rank)
    if len(np.unique(positions)) == count:
        source = np.full(size, count, np.int64)
        source[positions] = np.arange(count)
        padded = g.pad([0], [1], [axis], rank) if count < size else g
        return padded.op("Gather", step.builder.constant(source), axis=axis)
    if count * size > MAX_MATRIX:
        step.refuse("attribute-unsupported", f"picking {count:,} of {size:,} positions, some twice, is not supported")
    return step.along(g, axis, rank, lambda: np.asarray(positions[:, None] == np.arange(size)))


@rule("Slice")
def slice_(step: Step) -> Value:
    """x̄ = g at the positions that were picked, zeros elsewhere."""
    starts, ends = step.integers(1, "starts"), step.integers(2, "ends")
    rank = step.rank(step.x)
    axes = [axis % rank for axis in (step.integers(3, "axes") if step.has(3) else range(len(starts)))]
    steps = step.integers(4, "steps") if step.has(4) else [1] * len(starts)
    g = step.g
    for axis, start, end, by in zip(axes, starts, ends, steps, strict=True):
        if (start, by) == (0, 1) and end >= 2**31 - 1:
            continue
        (size,) = step.sizes(step.x, [axis])
        g = put_back(step, g, axis, _picked(size, start, end, by), size)
    return g


def _picked(size: int, start: int, end: int, by: int) -> NDArray[Any]:
    """The positions that a Slice picks (ONNX Slice specification)."""
    start, end = (value + size if value < 0 else value for value in (start, end))
    if by > 0:
        return np.arange(min(max(start, 0), size), min(max(end, 0), size), by)
    return np.arange(min(max(start, 0), size - 1), min(max(end, -1), size - 1), by)


@rule("Gather")
def gather(step: Step) -> Value:
    """x̄ = g added at the positions that were picked."""
    if step.stored(1) is None:
        return _gathered(step)
    positions = np.asarray(step.constant(1, "indices"))
    axis = step.attribute("axis", 0) % step.rank(step.x)
    (size,) = step.sizes(step.x, [axis])
    g = step.g
    if positions.ndim == 0:
        g = g.op("Unsqueeze", step.builder.integers([axis]))
    elif positions.ndim > 1:
        before = [0] * axis
        behind = step.sizes(step.x, range(axis + 1, step.rank(step.x)))
        g = g.reshape([*before, positions.size, *behind])
    return put_back(step, g, axis, positions.reshape(-1) % size, size)


def _gathered(step: Step) -> Value:
    """The same where positions are computed, as by PyTorch's exporter for strides with an open batch."""
    rank = step.rank(step.x)
    axis = step.attribute("axis", 0) % rank
    behind = step.sizes(step.x, range(axis + 1, rank))
    picked = step.g.reshape([*[0] * axis, -1, *behind])
    positions = step.input(1).reshape([*[1] * axis, -1, *[1] * len(behind)])
    if rank > 1:
        positions = positions.expand(picked.shape)
    zeros = step.builder.zeros_like(step.node.input[0], step.g.element_type)
    return zeros.op("ScatterElements", positions, picked, axis=axis, reduction="add")


@rule("GatherElements")
def gather_elements(step: Step) -> Value:
    """x̄ = g added at the positions that were picked."""
    zeros = step.builder.zeros_like(step.node.input[0], step.g.element_type)
    return zeros.op("ScatterElements", step.input(1), step.g, axis=step.attribute("axis", 0), reduction="add")


@rule("Trilu")
def trilu(step: Step) -> Value:
    """x̄ = the same triangle of g."""
    others = [step.input(1)] if step.has(1) else []
    return step.g.op("Trilu", *others, upper=step.attribute("upper", 1))


@rule("Pad")
def pad(step: Step) -> Value:
    """x̄ = g without what was added; mirrored, repeated or wrapped samples are added to those they came from."""
    rank = step.rank(step.x)
    axes = [axis % rank for axis in (step.integers(3, "axes") if step.has(3) else range(rank))]
    pads = step.integers(1, "pads")
    begins, ends = pads[: len(axes)], pads[len(axes) :]
    mode = step.attribute("mode", "constant")
    if mode == "constant":
        return _without_border(step.g, axes, begins, ends, rank)
    g = step.g
    for axis, begin, end in zip(axes, begins, ends, strict=True):
        if begin or end:
            (size,) = step.sizes(step.x, [axis])
            g = put_back(step, g, axis, _mirrored(size, begin, end, mode), size)
    return g


def _without_border(g: Value, axes: Sequence[int], begins: Sequence[int], ends: Sequence[int], rank: int) -> Value:
    """Without the padding that was added."""
    cut = [i for i, _ in enumerate(axes) if begins[i] > 0 or ends[i] > 0]
    if cut:
        stops = [-ends[i] if ends[i] > 0 else _END for i in cut]
        g = g.slice([max(begins[i], 0) for i in cut], stops, [axes[i] for i in cut])
    # A negative pad cut the input: those samples have no influence.
    return g.pad([max(-b, 0) for b in begins], [max(-e, 0) for e in ends], axes, rank)


def _mirrored(size: int, begin: int, end: int, mode: str) -> NDArray[Any]:
    """Which sample each sample of a padded axis was."""
    padded = np.pad(np.arange(size), (max(begin, 0), max(end, 0)), mode=mode)  # type: ignore[call-overload]
    return np.asarray(padded[max(-begin, 0) : len(padded) - max(-end, 0)])
