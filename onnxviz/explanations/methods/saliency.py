"""Saliency methods: gradients of the score with respect to the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.explanations.case import Case
from onnxviz.explanations.method import Method, MethodResult, Needs, check_finite, check_least
from onnxviz.gradients.step import Mode

# A gap beyond this share of the score's change is worth a warning (Sundararajan et al. 2017 aim at 5 %).
_TOLERATED_GAP = 0.05


class _OfInput(Method):
    """What the methods share: the way gradients pass Relu, and the two reductions over channels."""

    needs: ClassVar[Needs] = "gradient"
    mode: ClassVar[Mode] = "plain"

    def _largest(self, case: Case, gradient: NDArray[Any], notes: tuple[str, ...]) -> MethodResult:
        """The largest size over the channels."""
        signed = case.channels_first(gradient)
        size = np.abs(signed)
        reduced = size if case.channel_axis is None else size.max(axis=0)
        return self._result(case, reduced, signed, notes)

    def _summed(
        self, case: Case, attribution: NDArray[Any], notes: tuple[str, ...], gap: float | None = None
    ) -> MethodResult:
        """The sum over the channels.

        Raises:
            InputError: it is not finite.
        """
        signed = case.channels_first(attribution)
        if not np.isfinite(signed).all():
            raise InputError("the attribution is not finite (NaN or infinite): the input or its gradient is too large")
        reduced = signed if case.channel_axis is None else signed.sum(axis=0)
        return self._result(case, reduced, signed, notes, gap)

    def _result(
        self, case: Case, reduced: NDArray[Any], signed: NDArray[Any], notes: tuple[str, ...], gap: float | None = None
    ) -> MethodResult:
        return MethodResult(
            map=reduced,
            attribution=signed,
            gap=gap,
            warnings=tuple(dict.fromkeys(notes)),
            approximations=case.approximations(None, self.mode),
        )


@dataclass(frozen=True)
class Saliency(_OfInput):
    """|∂S/∂x|, the largest over the channels (Simonyan et al. 2014, arXiv 1312.6034, section 3.1)."""

    name: ClassVar[str] = "saliency"
    source: ClassVar[str] = "Simonyan et al. 2014"

    def __call__(self, case: Case) -> MethodResult:
        """The map of the input."""
        gradient, notes = case.gradient(self.mode)
        return self._largest(case, gradient.astype(np.float64), notes)


@dataclass(frozen=True)
class Guided(Saliency):
    """As saliency, but each Relu passes back positive gradients only (Springenberg et al. 2015, arXiv 1412.6806)."""

    name: ClassVar[str] = "guided"
    source: ClassVar[str] = "Springenberg et al. 2015"
    mode: ClassVar[Mode] = "guided"
    warning: ClassVar[str] = (
        "guided backpropagation draws the edges of the input whatever the model has learnt: its maps hardly change "
        "when the weights are randomised (Adebayo et al. 2018, arXiv 1810.03292); check with {sanity}"
    )


@dataclass(frozen=True)
class InputXGradient(_OfInput):
    """X·∂S/∂x, summed over the channels (Shrikumar et al. 2016, arXiv 1605.01713)."""

    name: ClassVar[str] = "input-x-gradient"
    source: ClassVar[str] = "Shrikumar et al. 2016"
    signed: ClassVar[bool] = True

    def __call__(self, case: Case) -> MethodResult:
        """The map of the input."""
        gradient, notes = case.gradient()
        return self._summed(case, case.x * gradient.astype(np.float64), notes)


@dataclass(frozen=True)
class IntegratedGradients(_OfInput):
    """(x − x₀)·∫₀¹ ∂S/∂x at x₀ + α(x − x₀) dα, summed over the channels (Sundararajan et al. 2017, arXiv 1703.01365).

    The integral is a Gauss–Legendre sum. Attributions should add up to S(x) − S(x₀); by how much they do not is `gap`.

    Attributes:
        samples: points on the path.
        baseline: the value of x₀, in the model's input: what stands for "nothing".
    """

    name: ClassVar[str] = "integrated-gradients"
    source: ClassVar[str] = "Sundararajan et al. 2017"
    signed: ClassVar[bool] = True
    samples: int = 50
    baseline: float = 0.0

    def __post_init__(self) -> None:
        check_least("samples", self.samples)
        check_finite("baseline", self.baseline)

    def __call__(self, case: Case) -> MethodResult:
        """The map of the input."""
        count = self.samples
        nodes, shares = np.polynomial.legendre.leggauss(count)
        alphas, shares = (nodes + 1) / 2, shares / 2
        start = np.full_like(case.x, self.baseline, np.float64)
        way = case.x.astype(np.float64) - start
        total = np.zeros(case.x.shape)
        notes: tuple[str, ...] = ()
        step = case.gradient_batch(self.mode)
        case.tell(0, count)
        for first in range(0, count, step):
            part = alphas[first : first + step].reshape(-1, *[1] * way.ndim)
            gradients, heard = case.gradients(start + part * way)
            total += np.tensordot(shares[first : first + step], gradients.astype(np.float64), 1)
            notes += heard
            case.tell(min(first + step, count), count)
        attribution = way * total
        change = case.score - float(case.scores(start[None])[0])
        gap = float(attribution.sum()) - change
        if abs(gap) > _TOLERATED_GAP * abs(change):
            notes += (
                f"the attributions add up to {attribution.sum():.4g}, but the score changes by {change:.4g}: "
                f"take more than {count} samples",
            )
        return self._summed(case, attribution, notes, gap)


@dataclass(frozen=True)
class SmoothGrad(_OfInput):
    """|mean of ∂S/∂x over x + N(0, σ²)|, the largest over the channels (Smilkov et al. 2017, arXiv 1706.03825).

    Attributes:
        samples: noisy copies of the input.
        noise: σ as a share of the input's range: σ = noise · (max x − min x).
        seed: of the noise.
    """

    name: ClassVar[str] = "smooth-grad"
    source: ClassVar[str] = "Smilkov et al. 2017"
    samples: int = 50
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        check_least("samples", self.samples)
        check_least("seed", self.seed, 0)
        check_finite("noise", self.noise)
        if self.noise < 0:
            raise InputError(f"noise is {self.noise:g}; it must be 0 or more")

    def __call__(self, case: Case) -> MethodResult:
        """The map of the input."""
        count = self.samples
        deviation = self.noise * float(case.x.max() - case.x.min())
        rng = np.random.default_rng(self.seed)
        total = np.zeros(case.x.shape)
        notes: tuple[str, ...] = ()
        step = case.gradient_batch(self.mode)
        case.tell(0, count)
        for first in range(0, count, step):
            rows = min(step, count - first)
            noise = rng.standard_normal((rows, *case.x.shape)) * deviation
            gradients, heard = case.gradients(case.x + noise)
            total += gradients.astype(np.float64).sum(axis=0)
            notes += heard
            case.tell(first + rows, count)
        return self._largest(case, total / count, notes)
