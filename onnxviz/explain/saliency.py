"""Methods that differentiate the score with respect to the input."""

from __future__ import annotations

import numpy as np

from onnxviz.errors import InputError
from onnxviz.explain.method import Found, Method, Settings
from onnxviz.explain.probe import Case
from onnxviz.gradients.step import Mode
from onnxviz.weights import Array

_STEPS, _COPIES = 50, 50
# A gap beyond this share of the score's change is worth a warning (Sundararajan et al. 2017 aim at 5 %).
_TOLERATED_GAP = 0.05
_GUIDED = (
    "guided backpropagation draws the edges of the input whatever the model has learnt: its maps hardly change when "
    "the weights are randomised (Adebayo et al. 2018, arXiv 1810.03292); check with --sanity"
)


def saliency(case: Case, settings: Settings, layer: str) -> Found:
    """|∂S/∂x|, the largest over the channels (Simonyan et al. 2014, arXiv 1312.6034, section 3.1)."""
    return _of_gradient(case, "plain")


def guided(case: Case, settings: Settings, layer: str) -> Found:
    """As saliency, but each Relu passes back positive gradients only (Springenberg et al. 2015, arXiv 1412.6806)."""
    return _of_gradient(case, "guided")


def input_x_gradient(case: Case, settings: Settings, layer: str) -> Found:
    """X·∂S/∂x, summed over the channels (Shrikumar et al. 2016, arXiv 1605.01713)."""
    gradients, notes = case.gradients(case.x[None])
    return _summed(case, case.x * gradients[0].astype(np.float64), notes)


def integrated_gradients(case: Case, settings: Settings, layer: str) -> Found:
    """(x − x₀)·∫₀¹ ∂S/∂x at x₀ + α(x − x₀) dα, summed over the channels (Sundararajan et al. 2017, arXiv 1703.01365).

    The integral is a Gauss–Legendre sum. Attributions should add up to S(x) − S(x₀); by how much they do not is `gap`.
    """
    count = settings.samples or _STEPS
    nodes, shares = np.polynomial.legendre.leggauss(count)
    alphas, shares = (nodes + 1) / 2, shares / 2
    start = np.full_like(case.x, settings.baseline, np.float64)
    way = case.x.astype(np.float64) - start
    total = np.zeros(case.x.shape)
    notes: tuple[str, ...] = ()
    step = case.gradient_batch(case.probe.port.name, "plain")
    for first in range(0, count, step):
        part = alphas[first : first + step].reshape(-1, *[1] * way.ndim)
        gradients, found = case.gradients(start + part * way)
        total += np.tensordot(shares[first : first + step], gradients.astype(np.float64), 1)
        notes += found
        _tell(case, min(first + step, count), count)
    attribution = way * total
    change = case.score - float(case.scores(start[None])[0])
    gap = float(attribution.sum()) - change
    if abs(gap) > _TOLERATED_GAP * abs(change):
        notes += (
            f"the attributions add up to {attribution.sum():.4g}, but the score changes by {change:.4g}: "
            f"take more than {count} samples",
        )
    return _summed(case, attribution, tuple(dict.fromkeys(notes)), gap)


def smooth_grad(case: Case, settings: Settings, layer: str) -> Found:
    """|mean of ∂S/∂x over x + N(0, σ²)|, the largest over the channels (Smilkov et al. 2017, arXiv 1706.03825).

    σ = noise · (max x − min x).
    """
    count = settings.samples or _COPIES
    deviation = settings.noise * float(case.x.max() - case.x.min())
    rng = np.random.default_rng(settings.seed)
    total = np.zeros(case.x.shape)
    notes: tuple[str, ...] = ()
    step = case.gradient_batch(case.probe.port.name, "plain")
    for first in range(0, count, step):
        rows = min(step, count - first)
        noise = rng.standard_normal((rows, *case.x.shape)) * deviation
        gradients, found = case.gradients(case.x + noise)
        total += gradients.astype(np.float64).sum(axis=0)
        notes += found
        _tell(case, first + rows, count)
    return _largest(case, total / count, tuple(dict.fromkeys(notes)))


def _of_gradient(case: Case, mode: Mode) -> Found:
    gradients, notes = case.gradients(case.x[None], mode=mode)
    return _largest(case, gradients[0].astype(np.float64), notes)


def _largest(case: Case, gradient: Array, notes: tuple[str, ...]) -> Found:
    signed = case.channels_first(gradient)
    size = np.abs(signed)
    reduced = size if case.channel_axis is None else size.max(axis=0)
    return Found(map=reduced, attribution=signed, warnings=notes)


def _summed(case: Case, attribution: Array, notes: tuple[str, ...], gap: float | None = None) -> Found:
    signed = case.channels_first(attribution)
    if not np.isfinite(signed).all():
        raise InputError("the attribution is not finite (NaN or infinite): the input or its gradient is too large")
    reduced = signed if case.channel_axis is None else signed.sum(axis=0)
    return Found(map=reduced, attribution=signed, gap=gap, warnings=notes)


def _tell(case: Case, done: int, total: int) -> None:
    if case.progress is not None:
        case.progress(done, total)


METHODS = (
    Method(name="saliency", needs="gradient", run=saliency, source="Simonyan et al. 2014"),
    Method(
        name="input-x-gradient", needs="gradient", run=input_x_gradient, source="Shrikumar et al. 2016", signed=True
    ),
    Method(
        name="integrated-gradients",
        needs="gradient",
        run=integrated_gradients,
        source="Sundararajan et al. 2017",
        signed=True,
    ),
    Method(name="smooth-grad", needs="gradient", run=smooth_grad, source="Smilkov et al. 2017"),
    Method(name="guided", needs="gradient", run=guided, source="Springenberg et al. 2015", warning=_GUIDED),
)
