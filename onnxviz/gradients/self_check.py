"""The self-check of a gradient: compared with the model's own slope, by central differences."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.gradients.gradient import Gradient, GradientSession
from onnxviz.messages import printable

# Relative to the gradient's own size. Kinks (Relu, MaxPool) and float32 leave 1 %, up to 4 % where there are many.
TOLERANCE = 0.05
DIRECTIONS = 3
# Relative to the root mean square of the input: large ones meet kinks, small ones float32's rounding. The middle first.
STEPS = (1e-3, 3e-3, 3e-4, 1e-2, 1e-4, 3e-2, 3e-5)
# Near enough: no other step is tried.
NEAR = TOLERANCE / 2


@dataclass(frozen=True)
class SelfCheck:
    """How far a gradient is from the model's own slope; true if within the tolerance.

    Attributes:
        error: |⟨dx, v⟩ − slope| relative to ‖dx‖, v as long as one of ±1: the larger of the gradient's own direction,
            which shows a wrong size, and the median over random directions of ±1, which show a wrong course.
        tolerance: what is accepted.
    """

    error: float
    tolerance: float = TOLERANCE

    def __bool__(self) -> bool:
        return self.error <= self.tolerance


def self_check(
    session: GradientSession,
    feeds: Mapping[str, NDArray[Any]],
    seed: NDArray[Any],
    *,
    value: Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]] | None = None,
    rng_seed: int = 0,
) -> SelfCheck:
    """Compares ⟨dx, v⟩ with (f(x + εv) − f(x − εv)) / 2ε, f = ⟨seed, of⟩, for the gradient's own v and random ones.

    For each direction the step is chosen that agrees best, since a kink or float32's rounding spoils some of them.
    One run with the gradient and, where it is right, usually six to twelve without. Straight-through gradients are
    not the slope of anything, and guided ones are not meant to be.

    Args:
        session: the gradient; with respect to inputs of the model, not to tensors inside.
        feeds: the point, by input name.
        seed: as for `GradientSession.run`.
        value: runs the model, where a session that can is open already.
        rng_seed: of the directions.

    Raises:
        InputError: the gradient is with respect to a tensor inside the model, or not meant to be the exact one.
    """
    gradient = session.gradient
    why = unchecked(gradient, feeds)
    if why:
        raise InputError(why)
    run = value or session.value
    rng = np.random.default_rng(rng_seed)
    points = {name: np.asarray(feeds[name], np.float64) for name in gradient.wrt}
    weights = np.asarray(seed, np.float64)
    found = {name: array.astype(np.float64) for name, array in session.run(feeds, seed).gradients.items()}
    size = float(np.sqrt(sum((array**2).sum() for array in found.values())))
    scale = min(float(np.sqrt((x**2).mean())) or 1.0 for x in points.values())

    def gap(ways: Mapping[str, NDArray[Any]], step: float) -> float:
        mine = sum(float((found[name] * way).sum()) for name, way in ways.items())
        ahead, behind = (
            run({**feeds, **{name: points[name] + side * step * way for name, way in ways.items()}})
            for side in (1.0, -1.0)
        )
        slope = float((weights * (ahead.astype(np.float64) - behind)).sum()) / (2 * step)
        return abs(mine - slope) / max(size, abs(slope), np.finfo(np.float64).tiny)

    length = np.sqrt(sum(x.size for x in points.values()))
    own = {name: array * (length / size) for name, array in found.items()} if size else None
    errors: list[float] = []
    while len(errors) < DIRECTIONS and sum(error <= NEAR for error in errors) <= DIRECTIONS // 2:
        ways = {name: rng.choice([-1.0, 1.0], x.shape) for name, x in points.items()}
        errors.append(_smallest(gap(ways, step * scale) for step in STEPS))
    along = _smallest(gap(own, step * scale) for step in STEPS) if own else 0.0
    return SelfCheck(max(along, float(np.median(errors))))


def self_check_warning(
    session: GradientSession,
    feeds: Mapping[str, NDArray[Any]],
    seed: NDArray[Any],
    value: Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]] | None = None,
) -> str:
    """What a self-check says against a gradient, "" where nothing, or where it cannot be checked."""
    if unchecked(session.gradient, feeds):
        return ""
    check = self_check(session, feeds, seed, value=value)
    if check:
        return ""
    gradient = session.gradient
    return (
        f"the gradient of '{printable(gradient.of)}' of {gradient.label} is {check.error:.0%} off the model's own "
        "slope: it may be wrong, or the model changes in jumps"
    )


def unchecked(gradient: Gradient, inputs: Collection[str]) -> str:
    """Why a gradient cannot be held against the model's slope, "" if it can."""
    inside = [name for name in gradient.wrt if name not in inputs]
    if inside:
        return f"only gradients with respect to inputs can be checked, not '{inside[0]}'"
    if gradient.approximations or gradient.mode != "plain":
        why = gradient.approximations[0] if gradient.approximations else f"mode {gradient.mode}"
        return f"this gradient is not the model's slope ({why}), so it cannot be checked by it"
    return ""


def _smallest(gaps: Iterable[float]) -> float:
    """The smallest, or the first that is small enough; the others are not worked out."""
    least = float("inf")
    for gap in gaps:
        least = min(least, gap)
        if least <= NEAR:
            break
    return least
