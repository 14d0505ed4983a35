"""Gradient ascent on a batch of pictures: one run of the gradient graph a step, Adam, the best picture kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.gradients.gradient import Differentiated, GradientSession
from onnxviz.gradients.leaky_relu import LeakyGradient
from onnxviz.gradients.self_check import self_check_warning
from onnxviz.maximization.image_input import ImageInput
from onnxviz.maximization.objectives import Term
from onnxviz.maximization.parametrisation import Parametrisation
from onnxviz.maximization.transforms import Transform, draw

# How often the picture itself is looked at while what is climbed is moved about: costs a forward run each time.
CHECK_EVERY = 16
# What answers to a picture with this much more contrast with more than a quarter of that in proportion is given it.
LOUDER = 1.25
# A start that excites nothing is tried again, each time this much livelier.
RESTARTS, LIVELIER = 3, 4.0


@dataclass(frozen=True)
class PlacedTerm:
    """One term of an objective, and where it looks.

    Attributes:
        weight: of the term.
        term: the term.
        tensor: what it looks at, None for the picture.
    """

    weight: float
    term: Term
    tensor: str | None


@dataclass(frozen=True)
class ObjectiveGroup:
    """Pictures that share an objective: `count` neighbouring rows of the batch."""

    terms: tuple[PlacedTerm, ...]
    count: int


@dataclass(frozen=True)
class AscentSettings:
    """How to climb.

    Attributes:
        steps: number of gradient steps.
        rate: Adam's step size, in units of the parameters, at the start.
        leak: slope of the targets' own activations where they cut, in the first half and while they are silent.
        transforms: random movements; none for the picture as it is.
        seed: of everything random.
        contrast: the root mean square, before the sigmoid, of what is varied: at most so much.
        grows: whether it may be more where what is climbed answers contrast in proportion, as early filters do; what
            later filters and classes ask for is not there more clearly, but burnt.
    """

    steps: int
    rate: float
    leak: float
    transforms: tuple[Transform, ...]
    seed: int
    contrast: float = math.inf
    grows: bool = False

    def rate_at(self, step: int) -> float:
        """Adam's step size: half a cosine down to 0 where what is climbed is moved about, else constant.

        Adam gives each frequency steps of one size, however weak its gradient: at a constant rate, the fine detail
        that random movements ask for now and deny then stays in the picture as noise. (Loshchilov & Hutter 2017)
        """
        return self.rate * (1 + math.cos(math.pi * step / self.steps)) / 2 if self.transforms else self.rate


@dataclass(frozen=True, eq=False)
class AscentResult:
    """What came of it, N pictures.

    Attributes:
        images: (N, C, spatial…), 0…1.
        before, after: (N,) activations of the starts and of `images`, neither moved about.
        trace: (N, steps) activations as they were climbed, moved about.
        best: (N,) after how many steps each picture was the best.
        dead: (N,) whether the target has never been excited: no gradient, or nothing but 0 to the end.
        weights: (N, spatial…) float32, what each pixel has meant for the climb: the sum over steps of the gradient's
            magnitude, mean over channels.
        interrupted: whether it was ended before its last step.
    """

    images: NDArray[Any]
    before: NDArray[Any]
    after: NDArray[Any]
    trace: NDArray[Any]
    best: NDArray[Any]
    dead: NDArray[Any]
    weights: NDArray[Any]
    interrupted: bool = False

    def first(self, count: int) -> AscentResult:
        """The first `count` pictures."""
        return replace(self, **{name: getattr(self, name)[:count] for name in self._arrays()})

    @classmethod
    def joined(cls, parts: Sequence[AscentResult]) -> AscentResult:
        """All pictures of several climbs."""
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in cls._arrays()}
        return cls(**arrays, interrupted=any(part.interrupted for part in parts))

    @classmethod
    def _arrays(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name != "interrupted"]


@dataclass(frozen=True, eq=False)
class TargetGradient:
    """A target tensor, with its gradient ready to run; `leaky` says how it leaks, None where it cannot."""

    session: GradientSession
    leaky: LeakyGradient | None

    def run(self, feeds: Mapping[str, NDArray[Any]], seed: NDArray[Any], leaks: NDArray[Any]) -> Differentiated:
        """Value and gradient; `leaks` (N,) for each picture."""
        return self.session.run(self._feeds(feeds, leaks), seed)

    def self_check_warning(self, feeds: Mapping[str, NDArray[Any]], seed: NDArray[Any]) -> str:
        """What there is to say against the gradient, "" if nothing."""
        return self_check_warning(self.session, self._feeds(feeds, np.zeros(len(seed))), seed)

    def _feeds(self, feeds: Mapping[str, NDArray[Any]], leaks: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {**feeds, **(self.leaky.feed(leaks) if self.leaky is not None else {})}


class Adam:
    """Adam, ascending. (Kingma & Ba 2015; β = 0.9, 0.999, ε = 1e-8, as in torch and lucid)."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._steps = 0
        self._mean: NDArray[Any] | None = None
        self._square: NDArray[Any] | None = None

    def step(self, parameters: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """The parameters after one step."""
        if self._mean is None or self._square is None:
            self._mean, self._square = np.zeros_like(gradient), np.zeros_like(gradient)
        self._steps += 1
        self._mean += np.float32(0.1) * (gradient - self._mean)
        self._square += np.float32(0.001) * (gradient * gradient - self._square)
        size = np.float32(self.rate / (1 - 0.9**self._steps))
        root = np.sqrt(self._square) * np.float32(1 / (1 - 0.999**self._steps) ** 0.5)
        stepped: NDArray[Any] = parameters + size * self._mean / (root + np.float32(1e-8))
        return stepped


@dataclass(eq=False)
class Batch:
    """Pictures that are climbed together.

    Attributes:
        canvas: the model's input.
        parametrisation: what is varied.
        groups: objectives, for neighbouring rows; the rows of all are the batch.
        targets: by tensor, its gradient with respect to the input.
        fixed: the model's other inputs.
        sources: a source of randomness for the start of each row.
    """

    canvas: ImageInput
    parametrisation: Parametrisation
    groups: Sequence[ObjectiveGroup]
    targets: Callable[[str], TargetGradient]
    fixed: Mapping[str, NDArray[Any]]
    sources: Sequence[np.random.Generator]
    _seeds: dict[str, NDArray[Any]] = field(default_factory=dict)

    def check(self) -> list[str]:
        """Runs the targets; what their gradients have against them, held against the model's own slope.

        Raises:
            InputError: the model cannot run on these inputs.
            SelectionError: an objective asks for what its tensor does not have.
        """
        images = self._middle(self.parametrisation.images(self.parametrisation.start(self.sources)))
        values = self._values(images)
        self._activation(values)
        feeds = self._feeds(images)
        found = (
            self.targets(tensor).self_check_warning(feeds, self._seed(tensor, value))
            for tensor, value in values.items()
        )
        return [text for text in found if text]

    def climb(self, settings: AscentSettings, progress: Callable[[NDArray[Any]], None] | None = None) -> AscentResult:
        """Makes the pictures.

        Args:
            settings: how to climb.
            progress: called after each step with the activations (N,).

        Raises:
            InputError: the model cannot run on these inputs, or a value or gradient is not finite.
            SelectionError: an objective asks for what its tensor does not have.
        """
        way = self.parametrisation
        parameters = way.start(self.sources)
        images = way.images(parameters)
        values = self._values(images)
        before = self._activation(values)
        if not np.isfinite(before).all():
            raise InputError(f"{self._label} gives values that are not finite for what it starts with, before any step")
        best = _Best(self._middle(images), before.copy(), np.zeros(len(before), np.intp))
        trace = np.repeat(before[:, None], settings.steps, axis=1)
        weights = np.zeros((len(images), *images.shape[2:]), np.float32)
        moved = np.zeros(len(before), bool)
        checked = bool(settings.transforms) or self.canvas.is_whole  # what is climbed is not what is reached
        contrast = np.full(len(before), settings.contrast)
        adam, step, interrupted = Adam(settings.rate), 0, False
        try:
            for step in range(settings.steps):
                warp = draw(
                    settings.transforms,
                    np.random.default_rng((settings.seed, step)),
                    self.canvas.size,
                    images.shape[2:],
                )
                leaks = settings.leak * ((2 * step < settings.steps) | self._silent(values))
                gradient, values = self._slope(warp.forward(images), leaks, step)
                trace[:, step] = self._activation(values)
                if not np.isfinite(trace[:, step]).all():
                    raise InputError(f"step {step + 1} cannot be made: {self._label} is not finite")
                if not checked:
                    best.keep(self._middle(images), trace[:, step], step)
                moved |= gradient.reshape(len(moved), -1).any(axis=1)
                gradient = warp.adjoint(gradient)
                weights += np.abs(gradient).mean(axis=1)
                gradient += self._picture_slope(images)
                adam.rate = settings.rate_at(step)
                done = step / settings.steps
                parameters = way.held(adam.step(parameters, way.pull(parameters, images, gradient, done)), contrast)
                if not moved.all() and step < RESTARTS:
                    lively = way.start(self.sources) * np.float32(LIVELIER ** (step + 1))
                    parameters[~moved] = way.held(lively, contrast)[~moved]
                images = way.images(parameters)
                looked = (step + 1) % CHECK_EVERY == 0
                if step + 1 == settings.steps or (looked and (checked or settings.grows)):
                    reached = self._activation(self._values(images))
                    best.keep(self._middle(images), reached, step + 1)
                    if looked and settings.grows:
                        louder = self._activation(self._values(way.images(parameters * np.float32(LOUDER))))
                        contrast *= np.where(louder - reached > (LOUDER - 1) / 4 * np.abs(reached), LOUDER, 1)
                if progress is not None:
                    progress(trace[:, step])
                if step >= RESTARTS and not moved.any():
                    break  # nothing will ever move
        except KeyboardInterrupt:  # the best so far is whole: it is replaced, never changed
            interrupted = True
            trace[:, step:] = trace[:, max(step - 1, 0), None]
        dead = (~moved | self._silent(self._values(best.images))) & (not interrupted)  # it might have moved later
        shown = self._middle(weights[:, None])[:, 0]
        return AscentResult(best.images, before, best.value, trace, best.step, dead, shown, interrupted)

    @property
    def _label(self) -> str:
        tensor = self._tensors[0]
        return f"'{tensor}' of {self.targets(tensor).session.gradient.label}"

    @property
    def _tensors(self) -> list[str]:
        return list(dict.fromkeys(look.tensor for g in self.groups for look in g.terms if look.tensor is not None))

    def _middle(self, images: NDArray[Any]) -> NDArray[Any]:
        """The part of pictures that is kept: what is seen of them where nothing moves."""
        for axis, length in enumerate(self.canvas.size, 2):
            first = (images.shape[axis] - length) // 2
            images = images.take(range(first, first + length), axis=axis) if images.shape[axis] != length else images
        return images

    def _feeds(self, images: NDArray[Any], *, whole: bool = False) -> dict[str, NDArray[Any]]:
        return {**self.fixed, self.canvas.port.name: self.canvas.feed(images, whole=whole)}

    def _values(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The targets' values, without the way back."""
        images = self._middle(images)
        feeds = self._feeds(images, whole=True)
        return {tensor: self._checked(self.targets(tensor).session.value(feeds), images) for tensor in self._tensors}

    def _checked(self, value: NDArray[Any], images: NDArray[Any]) -> NDArray[Any]:
        if value.ndim < 2 or len(value) != len(images):
            raise InputError(
                f"{self._label} has shape {value.shape} for {len(images)} pictures: its first axis does not count them"
            )
        return value

    def _rows(self, tensor: str | None) -> list[tuple[slice, PlacedTerm]]:
        """The terms that look at `tensor`, and the rows that they are about."""
        found: list[tuple[slice, PlacedTerm]] = []
        first = 0
        for group in self.groups:
            rows = slice(first, first + group.count)
            found.extend((rows, look) for look in group.terms if look.tensor == tensor)
            first = rows.stop
        return found

    def _activation(self, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The objectives' values (N,) without penalties."""
        total = np.zeros(sum(group.count for group in self.groups))
        for tensor, value in values.items():
            for rows, look in self._rows(tensor):
                if look.term.activation:
                    total[rows] += look.weight * look.term.value(value[rows])
        return total

    def _seed(self, tensor: str, values: NDArray[Any]) -> NDArray[Any]:
        """The slope of the objectives with respect to the tensor."""
        seed = np.zeros_like(values)
        for rows, look in self._rows(tensor):
            seed[rows] += values.dtype.type(look.weight) * look.term.slope(values[rows])
        return seed

    def _silent(self, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Rows (N,) in which all that is seen is exactly 0."""
        silent = np.ones(sum(group.count for group in self.groups), bool)
        for tensor, value in values.items():
            for rows, look in self._rows(tensor):
                seen = look.term.part(value[rows])
                silent[rows] &= ~seen.reshape(len(seen), -1).any(axis=1)
        return silent

    def _slope(
        self, images: NDArray[Any], leaks: NDArray[Any], step: int
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """The gradient with respect to pictures, and the targets' values; one run where objectives are linear."""
        feeds = self._feeds(images)
        total = np.zeros_like(images)
        values: dict[str, NDArray[Any]] = {}
        for tensor in self._tensors:
            target = self.targets(tensor)
            if tensor not in self._seeds or not all(look.term.linear for _, look in self._rows(tensor)):
                self._seeds[tensor] = self._seed(tensor, target.session.value(feeds))
            found = target.run(feeds, self._seeds[tensor], leaks)
            values[tensor] = found.value
            given = found.gradients[self.canvas.port.name]
            if not np.isfinite(given).all():
                raise InputError(f"step {step + 1} cannot be made: {'; '.join(found.warnings)}")
            total += self.canvas.pull(given)
        return total, values

    def _picture_slope(self, images: NDArray[Any]) -> NDArray[Any]:
        """The slope of the terms that look at the picture itself."""
        slope = np.zeros_like(images)
        for rows, look in self._rows(None):
            slope[rows] += np.float32(look.weight) * look.term.slope(images[rows])
        return slope


@dataclass(eq=False)
class _Best:
    """The best pictures so far (N, …), their activations (N,) and after how many steps (N,)."""

    images: NDArray[Any]
    value: NDArray[Any]
    step: NDArray[Any]

    def keep(self, images: NDArray[Any], value: NDArray[Any], step: int) -> None:
        """Takes over what is better."""
        better = value >= self.value
        self.images = np.where(better.reshape(-1, *[1] * (images.ndim - 1)), images, self.images)
        self.value, self.step = np.where(better, value, self.value), np.where(better, step, self.step)
