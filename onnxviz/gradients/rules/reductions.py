"""Reductions along axes, and running sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule


def _axes(step: Step) -> list[int]:
    """The axes that are reduced, counted from the front."""
    rank = step.rank(step.x)
    axes = step.integers(1, "axes") if step.has(1) else []
    if not axes and not step.attribute("noop_with_empty_axes", 0):
        axes = list(range(rank))
    return sorted(axis % rank for axis in axes)


def _kept(step: Step, value: Value, axes: list[int]) -> Value:
    """`value`, in the shape of the output, with the reduced axes as size 1."""
    if step.attribute("keepdims", 1) or not axes:
        return value
    return value.op("Unsqueeze", step.builder.integers(axes))


def _reduction(op: str, formula: str, gradient: Callable[[Step, Value, Value, Value, list[int]], Value]) -> None:
    """Registers gradient(step, x, y, g, axes), with y and g keeping the reduced axes as size 1."""

    def apply(step: Step) -> Value:
        axes = _axes(step)
        if not axes and op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"):
            return step.g
        return gradient(step, step.x, _kept(step, step.y, axes), _kept(step, step.g, axes), axes)

    apply.__doc__ = formula
    apply.__name__ = op
    rule(op)(apply)


def _everywhere(step: Step, value: Value) -> Value:
    return value.expand(step.shape_of(step.x))


def _at_extreme(step: Step, x: Value, y: Value, g: Value, axes: list[int]) -> Value:
    there = x.equals(y)
    return there * (g / there.sum(axes))


def _product(step: Step, x: Value, y: Value, g: Value, axes: list[int]) -> Value:
    """The product of the others: without the zeros, where x is the only zero or there is none."""
    zero = x.equals(0.0)
    filled = x + zero
    zeros = zero.sum(axes)
    others = filled.op("ReduceProd", step.builder.integers(axes), keepdims=1) / filled
    return g * others * (zeros.equals(0.0) + zeros.equals(1.0) * zero)


_reduction("ReduceSum", "x̄ = g everywhere.", lambda step, x, y, g, axes: _everywhere(step, g))
_reduction(
    "ReduceMean",
    "x̄ = g / n everywhere.",
    lambda step, x, y, g, axes: _everywhere(step, g / float(step.count(x, axes))),
)
_reduction("ReduceMax", "x̄ = g at the maximum, shared evenly where several have it.", _at_extreme)
_reduction("ReduceMin", "x̄ = g at the minimum, shared evenly where several have it.", _at_extreme)
_reduction("ReduceProd", "x̄ = g·(product of the others).", _product)
_reduction("ReduceL1", "x̄ = g·sign x.", lambda step, x, y, g, axes: g * x.op("Sign"))
_reduction("ReduceL2", "x̄ = g·x / y, 0 where y = 0.", lambda step, x, y, g, axes: x * (g / (y + y.equals(0.0))))
_reduction("ReduceSumSquare", "x̄ = 2·g·x.", lambda step, x, y, g, axes: x * (g * 2.0))
_reduction("ReduceLogSum", "x̄ = g / Σx = g·e⁻ʸ.", lambda step, x, y, g, axes: _everywhere(step, g * (-y).op("Exp")))
_reduction("ReduceLogSumExp", "x̄ = g·exp(x − y).", lambda step, x, y, g, axes: g * (x - y).op("Exp"))


@rule("CumSum")
def cum_sum(step: Step) -> Value:
    """x̄ = the cumulative sum of g from the other end."""
    axis = step.builder.constant(np.asarray(step.integers(1, "axis")[0], np.int64))
    reverse, exclusive = step.attribute("reverse", 0), step.attribute("exclusive", 0)
    return step.g.op("CumSum", axis, reverse=1 - reverse, exclusive=exclusive)
