"""Poolings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxviz.gradients.builder import Spread, Value
from onnxviz.gradients.rules.windows import repeated, slide_back, window
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule
from onnxviz.model.graph.windows import Window


@rule("MaxPool")
def max_pool(step: Step) -> Value:
    """x̄ = g at the position of each window's first maximum, added up where windows overlap.

    The positions are the forward node's own second output. ScatterElements adds in order; ScatterND may lose
    additions when it runs in several threads.
    """
    windows = window(step, step.attribute("kernel_shape", [1]))
    if step.attribute("storage_order", 0):
        step.refuse("attribute-unsupported", "storage_order=1 is not supported")
    spread = _to_first_maxima(step, windows)
    value = spread(step.g)
    value.spread = Spread(step.g, step.y, spread)
    return value


def _to_first_maxima(step: Step, windows: Window) -> Callable[[Value], Value]:
    """What spreads numbers, one a window, each to the place of the window's first maximum."""
    known = all(isinstance(dim, int) for dim in step.dims(step.x)[2:])
    if known and _tiles(step, windows) and step.g.element_type == TensorProto.FLOAT:
        first = _first_maxima(step, windows)
        return lambda g: _repeated(step, g, windows) * first
    positions = step.output(1, TensorProto.INT64).reshape([-1])
    reduction = "none" if windows.disjoint else "add"

    def scattered(g: Value) -> Value:
        zeros = step.builder.zeros(step.builder.count_of(step.node.input[0]), g.element_type)
        flat = zeros.op("ScatterElements", positions, g.reshape([-1]), axis=0, reduction=reduction)
        return flat.reshape(step.shape_of(step.x))

    return scattered


def _first_maxima(step: Step, windows: Window) -> Value:
    """1 at each window's first maximum, else 0, for windows side by side; half as dear as the node's own positions.

    Where x equals its window's maximum, taps are numbered from the last to the first; the first has the largest.
    """
    highest = step.x.equals(_repeated(step, step.y, windows))
    numbers = np.arange(math.prod(windows.kernel), 0, -1, dtype=np.float32).reshape(windows.kernel)
    sizes = step.sizes(step.x, step.spatial(step.x))
    tiled = np.tile(numbers, [-(-size // k) for size, k in zip(sizes, windows.kernel, strict=True)])
    numbered = highest * step.builder.constant(tiled[tuple(map(slice, sizes))][None, None])
    first = numbered.op("MaxPool", kernel_shape=list(windows.kernel), strides=list(windows.kernel))
    return numbered.equals(_repeated(step, first, windows))


@rule("AveragePool")
def average_pool(step: Step) -> Value:
    """x̄ = g / count, spread over each window; count is that of the samples (or padded samples) in the window."""
    windows = window(step, step.attribute("kernel_shape", [1]))
    g = step.g / _counts(step, windows)
    return _spread(step, g, windows)


def _counts(step: Step, windows: Window) -> Value | float:
    """How many samples each window averages: a number, or (1, 1, spatial…) where it differs."""
    padded = step.attribute("count_include_pad", 0)
    hangs = step.attribute("ceil_mode", 0)
    if not hangs and (padded or not any(windows.pads)):
        return float(math.prod(windows.kernel))
    rank = len(windows.kernel)
    inputs, outputs = (step.sizes(value, range(2, rank + 2)) for value in (step.x, step.y))
    counts: NDArray[Any] = np.ones((), step.g.dtype)
    for axis in range(rank):
        starts = np.arange(outputs[axis]) * windows.strides[axis] - windows.begin[axis]
        taps = starts[:, None] + np.arange(windows.kernel[axis]) * windows.dilations[axis]
        low, high = (-windows.begin[axis], inputs[axis] + windows.end[axis]) if padded else (0, inputs[axis])
        counts = np.multiply.outer(counts, ((taps >= low) & (taps < high)).sum(1).astype(step.g.dtype))
    return step.builder.constant(counts[None, None])


def _spread(step: Step, g: Value, windows: Window) -> Value:
    """The adjoint of summing over each window, channel by channel."""
    if _tiles(step, windows):
        return _repeated(step, g, windows)
    (channels,) = step.sizes(step.x, [1])
    ones = step.builder.constant(np.ones((channels, 1, *windows.kernel), g.dtype))
    return slide_back(step, g, windows, channels, ones, lambda: ones)


def _tiles(step: Step, windows: Window) -> bool:
    """Whether the windows lie side by side, without gaps, from the first sample on."""
    plain = not any(windows.pads) and max(windows.dilations) == 1 and not step.attribute("ceil_mode", 0)
    return plain and windows.kernel == windows.strides


def _repeated(step: Step, g: Value, windows: Window) -> Value:
    """Windows side by side: each value repeated, and zeros for the samples that are left at the end."""
    axes = range(2, len(windows.kernel) + 2)
    inputs, outputs = step.sizes(step.x, axes), step.sizes(step.y, axes)
    left = [size - count * k for size, count, k in zip(inputs, outputs, windows.kernel, strict=True)]
    return repeated(step, g, windows.kernel).pad([0] * len(left), left, list(axes), len(left) + 2)


@rule("LpPool")
def lp_pool(step: Step) -> Value:
    """y = (Σ|x|ᵖ)^(1/p): x̄ = sign(x)·|x|^(p−1) · (g·y^(1−p) spread over each window); 0 where y = 0."""
    p = step.attribute("p", 2)
    windows = window(step, step.attribute("kernel_shape", [1]))
    return _power(step.x, p) * _spread(step, step.g / _power(_not_zero(step.y), p), windows)


@rule("GlobalLpPool")
def global_lp_pool(step: Step) -> Value:
    """y = (Σ|x|ᵖ)^(1/p) over the spatial axes: x̄ = sign(x)·|x|^(p−1) · g·y^(1−p); 0 where y = 0."""
    p = step.attribute("p", 2)
    return _power(step.x, p) * (step.g / _power(_not_zero(step.y), p))


def _power(value: Value, p: int) -> Value:
    """sign(v)·|v|^(p−1)."""
    if p == 1:
        return value.op("Sign")
    return value if p == 2 else value.op("Sign") * value.op("Abs").op("Pow", float(p - 1))


def _not_zero(value: Value) -> Value:
    return value + value.equals(0.0)


@rule("GlobalAveragePool")
def global_average_pool(step: Step) -> Value:
    """x̄ = g / (number of positions), everywhere."""
    return (step.g / float(step.count(step.x, step.spatial(step.x)))).expand(step.shape_of(step.x))


@rule("GlobalMaxPool")
def global_max_pool(step: Step) -> Value:
    """x̄ = g at the maximum, shared evenly where several positions have it."""
    there = step.x.equals(step.y)
    return there * (step.g / there.sum(step.spatial(step.x)))
