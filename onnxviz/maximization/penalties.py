"""Penalties in an objective: total variation, norms, diversity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.maximization.objectives import TINY, Objective, Term, means
from onnxviz.messages import printable
from onnxviz.model.layer import TapKind
from onnxviz.model.model import Model


@dataclass(frozen=True)
class Diversity(Term):
    """How little the images of one objective resemble each other in a layer's texture; 0 at most.

    For each image, −Σ over the others of cos(Gᵢ, Gⱼ) / V, G = A Aᵀ the Gram matrix of its activations A, filters ×
    positions. (lucid, 2017: `diversity`, with the sign turned; Gram matrices as texture: Gatys et al. 2015.)

    Attributes:
        layer: its name or 0-based position.
        at: "activation" or "conv".
    """

    linear: ClassVar[bool] = False
    activation: ClassVar[bool] = False
    together: ClassVar[bool] = True
    layer: str | int
    at: TapKind = "activation"

    def __str__(self) -> str:
        return f"diversity in {self.layer}"

    def tensor(self, model: Model) -> str | None:
        """The layer's tap."""
        return model.layer(self.layer, any=True).taps[self.at]

    def value(self, values: NDArray[Any]) -> NDArray[Any]:
        """Unlikeness to the other images."""
        _, grams, _, others = self._measured(values)
        value: NDArray[Any] = -(grams * others).sum(axis=(1, 2)) / len(values)
        return value

    def slope(self, values: NDArray[Any]) -> NDArray[Any]:
        """The slope of the sum over images."""
        a, grams, lengths, others = self._measured(values)
        # Each pair counts in both images' values, hence 2; so does each factor of A Aᵀ, hence 2 again.
        pulled = others - (others * grams).sum(axis=(1, 2), keepdims=True) * grams
        slope: NDArray[Any] = -4 / len(values) * (pulled / lengths) @ a
        return slope.astype(values.dtype).reshape(values.shape)

    @staticmethod
    def _measured(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Activations (V, C, positions), unit Gram matrices (V, C, C), their lengths, and the others' sum for each."""
        a = values.reshape(*values.shape[:2], -1).astype(np.float64)
        grams = a @ a.swapaxes(1, 2)
        lengths = np.maximum(np.linalg.norm(grams, axis=(1, 2), keepdims=True), TINY)
        grams /= lengths
        return a, grams, lengths, grams.sum(axis=0) - grams


@dataclass(frozen=True)
class _OfPicture(Term):
    linear: ClassVar[bool] = False
    activation: ClassVar[bool] = False

    def tensor(self, model: Model) -> str | None:
        """None: the picture itself."""
        return None


@dataclass(frozen=True)
class TotalVariation(_OfPicture):
    """How much neighbouring pixels differ: the mean over pixels of (Σ over spatial axes of difference²)^(β/2).

    (Mahendran & Vedaldi, Understanding Deep Image Representations by Inverting Them, 2015.) To be subtracted.

    Attributes:
        beta: 2 for smooth pictures; towards 1, edges stay sharp.
    """

    beta: float = 2.0

    def __str__(self) -> str:
        return "total variation"

    def value(self, values: NDArray[Any]) -> NDArray[Any]:
        """Means over channels and positions, of pictures (V, C, spatial…) in 0…1."""
        return means(sum(step**2 for step in self._steps(values)) ** (self.beta / 2))

    def slope(self, values: NDArray[Any]) -> NDArray[Any]:
        """The slope of the means."""
        steps = self._steps(values)
        squares = sum(step**2 for step in steps)
        # ∂/∂step = β · step · squares^(β/2 − 1); a picture without differences has no slope.
        factor = self.beta / max(values[0].size, 1) * np.maximum(squares, TINY) ** (self.beta / 2 - 1)
        slope = np.zeros(values.shape)
        for axis, step in enumerate(steps, 2):
            pushed = factor * step
            slope += np.roll(pushed, 1, axis) - pushed  # the last step is 0, so nothing comes round
        return slope.astype(values.dtype)

    @staticmethod
    def _steps(values: NDArray[Any]) -> list[NDArray[Any]]:
        """Along each spatial axis, the difference to the next pixel; 0 at the end."""
        x = values.astype(np.float64)
        return [np.diff(x, axis=axis, append=x.take([-1], axis=axis)) for axis in range(2, x.ndim)]


@dataclass(frozen=True)
class Norm(_OfPicture):
    """How far pixels are from grey: the mean of |2x − 1|^p, 0 for grey, 1 for pure black, white or colour.

    (L_p norm: Simonyan et al. 2014 with p = 2, Mahendran & Vedaldi 2015 with p = 6.) To be subtracted.

    Attributes:
        p: 1 or more; a high one minds extremes only.
    """

    p: float = 6.0

    def __str__(self) -> str:
        return f"L{self.p:g} norm"

    def value(self, values: NDArray[Any]) -> NDArray[Any]:
        """Means over channels and positions, of pictures (V, C, spatial…) in 0…1."""
        return means(np.abs(2 * values.astype(np.float64) - 1) ** self.p)

    def slope(self, values: NDArray[Any]) -> NDArray[Any]:
        """The slope of the means."""
        x = 2 * values.astype(np.float64) - 1
        slope: NDArray[Any] = 2 * self.p * np.sign(x) * np.abs(x) ** (self.p - 1) / max(x[0].size, 1)
        return slope.astype(values.dtype)


def read_penalty(text: str) -> Objective:
    """A weighted term written as `NAME=WEIGHT` or `NAME:ARGUMENT=WEIGHT`, as on the command line.

    Args:
        text: `total-variation=-0.1` (argument: its beta), `norm=-0.05` (its p) or `diversity:LAYER=0.1`.

    Raises:
        InputError: it is none.
    """
    named, _, weight = text.rpartition("=")
    name, _, argument = named.partition(":")
    try:
        factor, number = float(weight), float(argument) if argument and name != "diversity" else None
    except ValueError:
        factor, number = math.nan, None
    if math.isfinite(factor) and (number is None or math.isfinite(number)):
        if name == "diversity" and argument:
            return factor * Diversity(argument)
        if name == "total-variation":
            return factor * (TotalVariation() if number is None else TotalVariation(number))
        if name == "norm":
            return factor * (Norm() if number is None else Norm(number))
    raise InputError(
        f"'{printable(text)}' is not a weighted term; write total-variation=-0.1, norm=-0.05 or diversity:LAYER=0.1"
    )
