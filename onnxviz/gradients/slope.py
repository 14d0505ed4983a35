"""A gradient held against what the model does: the slope along random directions, by central differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxviz.errors import InputError
from onnxviz.gradients.result import GradientSession
from onnxviz.weights import Array

# Relative to the gradient's own size. Kinks (Relu, MaxPool) and float32 leave 1 %, up to 4 % where there are many.
TOLERANCE = 0.05
DIRECTIONS = 5
# Steps, relative to the root mean square of the input: large ones meet kinks, small ones float32's rounding.
STEPS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)


@dataclass(frozen=True)
class SelfCheck:
    """How far a gradient is from the model's own slope; true if within the tolerance.

    Attributes:
        error: |⟨dx, v⟩ − slope| relative to ‖dx‖, median over random directions v of ±1 (both have that size).
        tolerance: what is accepted.
    """

    error: float
    tolerance: float = TOLERANCE

    def __bool__(self) -> bool:
        return self.error <= self.tolerance


def self_check(session: GradientSession, feeds: Mapping[str, Array], seed: Array, *, rng_seed: int = 0) -> SelfCheck:
    """Compares ⟨dx, v⟩ with (f(x + εv) − f(x − εv)) / 2ε, f = ⟨seed, of⟩, for random v.

    For each direction the step is chosen that agrees best, since a kink or float32's rounding spoils some of them.
    Straight-through gradients are not the slope of anything, and guided ones are not meant to be.

    Args:
        session: the gradient; with respect to inputs of the model, not to tensors inside.
        feeds: the point, by input name.
        seed: as for `GradientSession.run`.
        rng_seed: of the directions.

    Raises:
        InputError: the gradient is with respect to a tensor inside the model, or not meant to be the exact one.
    """
    gradient = session.gradient
    inside = [name for name in gradient.wrt if name not in feeds]
    if inside:
        raise InputError(f"only gradients with respect to inputs can be checked, not '{inside[0]}'")
    if gradient.approximations or gradient.mode != "plain":
        why = gradient.approximations[0] if gradient.approximations else f"mode {gradient.mode}"
        raise InputError(f"this gradient is not the model's slope ({why}), so it cannot be checked by it")
    rng = np.random.default_rng(rng_seed)
    points = {name: np.asarray(feeds[name], np.float64) for name in gradient.wrt}
    weights = np.asarray(seed, np.float64)
    found = {name: array.astype(np.float64) for name, array in session.run(feeds, seed).gradients.items()}
    size = float(np.sqrt(sum((array**2).sum() for array in found.values())))
    scale = {name: float(np.sqrt((x**2).mean())) or 1.0 for name, x in points.items()}
    errors = []
    for _ in range(DIRECTIONS):
        ways = {name: rng.choice([-1.0, 1.0], x.shape) for name, x in points.items()}
        mine = sum(float((found[name] * way).sum()) for name, way in ways.items())
        gaps = []
        for step in STEPS:
            moved = [
                session.value({**feeds, **{n: points[n] + side * step * min(scale.values()) * ways[n] for n in ways}})
                for side in (1.0, -1.0)
            ]
            difference = moved[0].astype(np.float64) - moved[1].astype(np.float64)
            slope = float((weights * difference).sum()) / (2 * step * min(scale.values()))
            gaps.append(abs(mine - slope) / max(size, abs(slope), np.finfo(np.float64).tiny))
        errors.append(min(gaps))
    return SelfCheck(float(np.median(errors)))
