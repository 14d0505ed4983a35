"""Objectives of activation maximisation, as frozen values that add and scale: `Filter("conv4", 3) - 0.1 * Norm()`.

Each objective looks at one tensor's values and gives its own value and the slope of it, in closed form; the gradient
graph carries that slope on to the input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, SelectionError
from onnxviz.messages import dims, one_of
from onnxviz.model.layer import TapKind
from onnxviz.model.model import Model
from onnxviz.model.scores import find_scores

# Below this a length counts as this: what has no length has no slope either. (lucid's l2_normalize)
TINY = 1e-10
# Where cos is lower, dot · cos counts it as this: away from the direction there is still a slope. (lucid, 2017)
_LEAST_COSINE = 0.1


class Objective:
    """Something to climb. Objectives add, subtract and scale; `sum(...)` works."""

    def __add__(self, other: Objective | int) -> Objective:
        if isinstance(other, Objective):
            return Sum((*_parts(self), *_parts(other)))
        return self if other == 0 else NotImplemented

    def __radd__(self, other: int) -> Objective:
        return self + other

    def __sub__(self, other: Objective) -> Objective:
        return self + -1.0 * other

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __mul__(self, factor: float) -> Objective:
        return Sum(tuple((weight * float(factor), term) for weight, term in _parts(self)))

    __rmul__ = __mul__


class Term(Objective):
    """An objective that is not a sum.

    Attributes:
        linear: whether the slope is the same whatever the values, so that one run gives both.
        activation: whether its value is part of the activation that is reported; penalties are not.
        together: whether the images of one objective see each other.
    """

    linear: ClassVar[bool] = True
    activation: ClassVar[bool] = True
    together: ClassVar[bool] = False

    def bound(self, model: Model) -> Term:
        """The same term with what it needs to know of the model."""
        return self

    def tensor(self, model: Model) -> str | None:
        """The tensor that it looks at; None for the picture itself.

        Raises:
            SelectionError: the model does not have what is asked for.
        """
        raise NotImplementedError

    def part(self, values: NDArray[Any]) -> NDArray[Any]:
        """What of the tensor (V, …) it looks at, (V, …)."""
        return values

    def value(self, values: NDArray[Any]) -> NDArray[Any]:
        """The objective's value for each image, (V,) float64.

        Args:
            values: (V, …), what V images with this objective make of the tensor.

        Raises:
            SelectionError: the tensor has no such filter, class or position.
        """
        raise NotImplementedError

    def slope(self, values: NDArray[Any]) -> NDArray[Any]:
        """The slope of the sum of values, in the shape and type of `values`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Sum(Objective):
    """Weighted terms."""

    terms: tuple[tuple[float, Term], ...]

    def __str__(self) -> str:
        return " + ".join(str(term) if weight == 1 else f"{weight:g} · {term}" for weight, term in self.terms)


def parts(objective: Objective) -> tuple[tuple[float, Term], ...]:
    """The weighted terms of any objective.

    Raises:
        InputError: it is not an objective.
    """
    if not isinstance(objective, Sum | Term):
        raise InputError(f"{objective!r} is not an objective; there are Filter, Neuron, Class, Direction, …")
    return _parts(objective)


def _parts(objective: Objective) -> tuple[tuple[float, Term], ...]:
    if isinstance(objective, Sum):
        return objective.terms
    assert isinstance(objective, Term)
    return ((1.0, objective),)


@dataclass(frozen=True)
class _InLayer(Term):
    layer: str | int
    number: int

    def tensor(self, model: Model) -> str | None:
        """The layer's tap."""
        layer = model.layer(self.layer, any=True)
        count = layer.filters
        if count is not None:
            _check_number(self.number, count, f"'{layer.name}'", "filter")
        return layer.taps[self._tap]

    @property
    def _tap(self) -> TapKind:
        return "activation"


@dataclass(frozen=True)
class Filter(_InLayer):
    """The mean of one filter's map: what the filter looks for, everywhere in the picture.

    (Erhan et al., Visualizing Higher-Layer Features of a Deep Network, 2009; lucid's "channel".)

    Attributes:
        layer: its name or 0-based position.
        number: of the filter, from 0.
        at: "activation", the layer's output, or "conv", before the activation function.
    """

    at: TapKind = "activation"

    def __str__(self) -> str:
        return f"{self.layer} {self.number}"

    @property
    def _tap(self) -> TapKind:
        return self.at

    def part(self, values: NDArray[Any]) -> NDArray[Any]:
        """The filter's map."""
        _check_number(self.number, values.shape[1], f"layer '{self.layer}'", "filter")
        return values[:, self.number]

    def value(self, values: NDArray[Any]) -> NDArray[Any]:
        """Means over positions."""
        return means(self.part(values))

    def slope(self, values: NDArray[Any]) -> NDArray[Any]:
        """1 / positions throughout the map."""
        return _even(values, self.number)


@dataclass(frozen=True)
class Neuron(_InLayer):
    """One filter at one position: what a single unit looks for, where it looks.

    Attributes:
        layer: its name or 0-based position.
        number: of the filter, from 0.
        position: one index per spatial axis of the layer's map; None for the centre.
        at: "activation" or "conv".
    """

    position: tuple[int, ...] | None = None
    at: TapKind = "activation"

    def __str__(self) -> str:
        where = "centre" if self.position is None else ", ".join(map(str, self.position))
        return f"{self.layer} {self.number} at {where}"

    @property
    def _tap(self) -> TapKind:
        return self.at

    def part(self, values: NDArray[Any]) -> NDArray[Any]:
        """The unit."""
        return values[self._unit(values)]

    def value(self, values: NDArray[Any]) -> NDArray[Any]:
        """The unit's values."""
        return self.part(values).astype(np.float64)

    def slope(self, values: NDArray[Any]) -> NDArray[Any]:
        """1 at the unit."""
        slope = np.zeros_like(values)
        slope[self._unit(values)] = 1
        return slope

    def _unit(self, values: NDArray[Any]) -> tuple[slice | int, ...]:
        _check_number(self.number, values.shape[1], f"layer '{self.layer}'", "filter")
        sizes = values.shape[2:]
        position = tuple(size // 2 for size in sizes) if self.position is None else tuple(self.position)
        inside = len(position) == len(sizes) and all(0 <= p < size for p, size in zip(position, sizes, strict=True))
        if not inside:
            raise SelectionError(f"layer '{self.layer}' has no position {position}; its maps are {dims(sizes)}")
        return slice(None), self.number, *position


@dataclass(frozen=True)
class Class(Term):
    """A class's score before the softmax, which could also be raised by lowering all others.

    (Simonyan et al., Deep Inside Convolutional Networks, 2014.) Where the output has positions, as in segmentation,
    or is one of a detector's boxes, the mean over them.

    Attributes:
        number: of the class, from 0. A single logit scores two classes: 1 is the logit, 0 its negative.
        output: the output that scores classes; None for the one that the graph proves to (`find_scores`).
        axis: which axis of the scores counts classes, the batch axis counted; `bound` takes the model's own.
        boxes: whether the scores are those of a detector's boxes, where one class is no logit of two; as `axis`.
    """

    number: int
    output: str | None = None
    axis: int = 1
    boxes: bool = False

    def __str__(self) -> str:
        return f"class {self.number}"

    def bound(self, model: Model) -> Class:
        """The class along the axis on which the model counts classes (`onnxviz.model.scores.find_scores`)."""
        scores = find_scores(model, self.output)
        return replace(self, axis=scores.axis, boxes=scores.head is not None)

    def tensor(self, model: Model) -> str | None:
        """The scores before softmax, sigmoid or arg-max.

        Raises:
            SelectionError: there is no such output or class.
        """
        scores = find_scores(model, self.output)
        classes = scores.classes(model.shapes.of(scores.tensor))
        if classes is not None:
            _check_number(self.number, classes, model.label, "class")
        elif self.number < 0:
            raise SelectionError(f"{model.label} has no class {self.number}; classes are counted from 0")
        return scores.tensor

    def part(self, values: NDArray[Any]) -> NDArray[Any]:
        """The class's scores, negated for class 0 of a single logit."""
        place, sign = self._place(values)
        part: NDArray[Any] = sign * values.take(place, axis=self.axis)
        return part

    def value(self, values: NDArray[Any]) -> NDArray[Any]:
        """Scores, means over positions."""
        return means(self.part(values))

    def slope(self, values: NDArray[Any]) -> NDArray[Any]:
        """1, or 1 / positions, at the class."""
        place, sign = self._place(values)
        return sign * _even(values, place, self.axis)

    def _place(self, values: NDArray[Any]) -> tuple[int, int]:
        """Where the scores (V, …) hold the class along the axis of classes, and the sign with which they count."""
        count = values.shape[self.axis]
        single = count == 1 and not self.boxes
        _check_number(self.number, 2 if single else count, "the output", "class")
        return (0, 2 * self.number - 1) if single else (self.number, 1)


@dataclass(frozen=True)
class Direction(Term):
    """How far a layer's activations point along a vector, mean over positions.

    Attributes:
        layer: its name or 0-based position.
        vector: one number per filter, not all zero.
        measure: "dot" ⟨a, v⟩; "cosine" ⟨a, v⟩ / (‖a‖‖v‖); "dot-cosine" ⟨a, v⟩ · max(0.1, cosine), which wants both
            strong and pure (lucid, 2017: `_dot_cossim`).
        at: "activation" or "conv".
    """

    layer: str | int
    vector: tuple[float, ...]
    measure: Literal["dot", "cosine", "dot-cosine"] = "dot"
    at: TapKind = "activation"

    def __post_init__(self) -> None:
        vector = tuple(float(number) for number in self.vector)
        if not any(vector) or not all(map(math.isfinite, vector)):
            raise InputError("a direction is a vector of finite numbers that are not all 0")
        one_of("measure", self.measure, ("dot", "cosine", "dot-cosine"))
        object.__setattr__(self, "vector", vector)

    def __str__(self) -> str:
        return f"{self.layer} along a direction"

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether the measure is linear."""
        return self.measure == "dot"

    def tensor(self, model: Model) -> str | None:
        """The layer's tap."""
        return model.layer(self.layer, any=True).taps[self.at]

    def value(self, values: NDArray[Any]) -> NDArray[Any]:
        """Means of the measure over positions."""
        _, _, dot, cosine = self._measured(values)
        found = {"dot": dot, "cosine": cosine, "dot-cosine": dot * np.maximum(cosine, _LEAST_COSINE)}
        return means(found[self.measure])

    def slope(self, values: NDArray[Any]) -> NDArray[Any]:
        """The slope of the means."""
        a, v, dot, cosine = self._measured(values)
        length, unit = np.maximum(np.linalg.norm(a, axis=1, keepdims=True), TINY), np.linalg.norm(v)
        along = v / (length * unit) - cosine * a / length**2  # ∂cosine/∂a
        if self.measure == "dot":
            slope = np.broadcast_to(v, a.shape)
        elif self.measure == "cosine":
            slope = along
        else:
            slope = v * np.maximum(cosine, _LEAST_COSINE) + dot * np.where(cosine > _LEAST_COSINE, along, 0)
        scaled: NDArray[Any] = (slope / a.shape[2]).astype(values.dtype).reshape(values.shape)
        return scaled

    def _measured(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Activations (V, C, positions), the vector (C, 1), dot products and cosines (V, 1, positions)."""
        if values.shape[1] != len(self.vector):
            raise InputError(
                f"layer '{self.layer}' has {values.shape[1]} filters, the vector {len(self.vector)} numbers"
            )
        a = values.reshape(*values.shape[:2], -1).astype(np.float64)
        v = np.asarray(self.vector)[:, None]
        dot = (a * v).sum(axis=1, keepdims=True)
        return a, v, dot, dot / (np.maximum(np.linalg.norm(a, axis=1, keepdims=True), TINY) * np.linalg.norm(v))


def means(values: NDArray[Any]) -> NDArray[Any]:
    """The mean for each image, (V,) float64."""
    mean: NDArray[Any] = values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
    return mean


def _even(values: NDArray[Any], number: int, axis: int = 1) -> NDArray[Any]:
    """1 / positions throughout channel `number` of `axis`, 0 elsewhere."""
    slope = np.zeros_like(values)
    channel = np.moveaxis(slope, axis, 1)  # a view
    channel[:, number] = 1 / max(channel[0, number].size, 1)
    return slope


def _check_number(number: int, count: int, where: str, what: str) -> None:
    if not 0 <= number < count:
        plural = "classes" if what == "class" else f"{what}s"
        raise SelectionError(f"{where} has no {what} {number}; it has {count} {plural}, 0 to {count - 1}")
