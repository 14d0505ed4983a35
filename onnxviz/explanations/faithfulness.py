"""Deletion and insertion: whether the score follows the pixels that a map calls important.

(Petsiuk, Das & Saenko, RISE, 2018, arXiv 1806.07421, section 4.3.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.explanations.case import Case
from onnxviz.explanations.explanation import Explanation
from onnxviz.explanations.map_similarity import blurred

# A blur of 5 pixels in pictures of 224, as in the authors' code.
_BLUR = 5 / 224
_CURVES = ("deletion", "insertion", "random_deletion", "random_insertion", "blob_deletion", "blob_insertion")


@dataclass(frozen=True, eq=False, kw_only=True)
class Faithfulness:
    """What the class's probability does when pixels go, and when they come, the most important first.

    Attributes:
        shares: (n,) 0…1: the share of pixels that was changed.
        deletion: (n,): the probability while pixels become the baseline; it should fall early.
        insertion: (n,): the probability while pixels of the sample come into its blurred copy; it should rise early.
        deletion_auc, insertion_auc: areas under these curves.
        random_deletion, random_insertion: (n,): the same for pixels in a random order.
        random_deletion_auc, random_insertion_auc: areas under these.
        blob_deletion, blob_insertion: (n,): the same for pixels from the centre outwards, as of a map that is a blob in
            the middle of every picture: the baseline to beat, since that is where photos have their object.
        blob_deletion_auc, blob_insertion_auc: areas under these.
        unit: "probability", or "score" where the target is no classifier's.
    """

    shares: NDArray[Any]
    deletion: NDArray[Any]
    insertion: NDArray[Any]
    deletion_auc: float
    insertion_auc: float
    random_deletion: NDArray[Any]
    random_insertion: NDArray[Any]
    random_deletion_auc: float
    random_insertion_auc: float
    blob_deletion: NDArray[Any]
    blob_insertion: NDArray[Any]
    blob_deletion_auc: float
    blob_insertion_auc: float
    unit: str

    def __post_init__(self) -> None:
        for name in ("shares", *_CURVES):
            getattr(self, name).flags.writeable = False

    def __repr__(self) -> str:
        return (
            f"Faithfulness(deletion {self.deletion_auc:.3g}, random {self.random_deletion_auc:.3g}; "
            f"insertion {self.insertion_auc:.3g}, random {self.random_insertion_auc:.3g})"
        )

    @property
    def better_than_random(self) -> bool:
        """Whether deletion falls earlier and insertion rises earlier than in a random order."""
        return self.deletion_auc < self.random_deletion_auc and self.insertion_auc > self.random_insertion_auc

    @property
    def worse_than_random(self) -> str:
        """What a random order does better, in words; "" where it does nothing better."""
        sooner = []
        if self.deletion_auc > self.random_deletion_auc:
            sooner.append("take the score away")
        if self.insertion_auc < self.random_insertion_auc:
            sooner.append("bring it back" if sooner else "bring the score back")
        return f"pixels in a random order {' and '.join(sooner)} sooner than in the map's" if sooner else ""

    @property
    def beats_blob(self) -> bool:
        """Whether deletion falls earlier and insertion rises earlier than from the centre outwards."""
        return self.deletion_auc < self.blob_deletion_auc and self.insertion_auc > self.blob_insertion_auc

    @property
    def verdict(self) -> str:
        """In words."""
        return (
            f"deletion area {self.deletion_auc:.3g} (random order {self.random_deletion_auc:.3g}, centred blob "
            f"{self.blob_deletion_auc:.3g}, less is better), insertion area {self.insertion_auc:.3g} (random order "
            f"{self.random_insertion_auc:.3g}, centred blob {self.blob_insertion_auc:.3g}, more is better)"
        )

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON types."""
        return {
            **{f"{name}_auc": getattr(self, f"{name}_auc") for name in _CURVES},
            "unit": self.unit,
            "better_than_random": self.better_than_random,
            "beats_blob": self.beats_blob,
            **{name: getattr(self, name).tolist() for name in ("shares", *_CURVES)},
        }


@typed
def explain_faithfulness(
    explanation: Explanation, *, steps: int = 56, baseline: float | None = None, seed: int = 0
) -> Faithfulness:
    """Whether the class's probability follows the map: deletion and insertion curves (Petsiuk et al. 2018, RISE).

    Args:
        explanation: what `explain` gave.
        steps: in how many equal parts pixels are changed.
        baseline: what deleted pixels become, in the model's input; None for the method's own baseline, 0 where it has
            none.
        seed: of the random order that the map's is compared with.

    Raises:
        InputError: the model cannot be run on changed inputs, or there are no steps.
    """
    if baseline is None:
        baseline = explanation.settings.options.get("baseline", 0.0)
    return faithfulness(explanation.case, explanation.upsampled(), steps=steps, baseline=baseline, seed=seed)


def faithfulness(
    case: Case, heat: NDArray[Any], *, steps: int = 56, baseline: float = 0.0, seed: int = 0
) -> Faithfulness:
    """The deletion and insertion curves of a map.

    Args:
        case: the sample and what is scored.
        heat: the map at the input's size.
        steps: in how many equal parts pixels are changed.
        baseline: what deleted pixels become, in the model's input.
        seed: of the random order.

    Raises:
        InputError: the map does not have the input's size, or there are no steps.
    """
    if heat.shape != case.spatial:
        raise InputError(f"the map has shape {heat.shape}, the input {case.spatial}")
    if steps < 1:
        raise InputError(f"{steps} steps make no curve; give 1 or more")
    steps = min(steps, heat.size)
    # Of equal pixels, whatever the map's type, the first in reading order goes first.
    order = np.argsort(-heat.reshape(-1), kind="stable")
    shuffled = np.random.default_rng(seed).permutation(heat.size)
    chance = case.probabilities(case.x[None]).shape == (1,) and case.target is not None and bool(case.target.link)
    empty = np.full_like(case.x, baseline, np.float64)
    sigma = max(_BLUR * max(case.spatial[len(case.axes.parts) :]), 0.5)
    soft = case.channels_first(case.x).astype(np.float64)
    soft = case.as_fed(blurred(soft, sigma, len(case.spatial) - len(case.axes.parts)))
    curves = [
        _curve(case, start, end, ranks, steps)
        for ranks in (order, shuffled, outwards(case.spatial, len(case.axes.parts)))
        for start, end in ((case.x, empty), (soft, case.x))
    ]
    found: dict[str, Any] = dict(zip(_CURVES, curves, strict=True))
    found |= {f"{name}_auc": area(curve) for name, curve in found.items()}
    return Faithfulness(
        shares=np.linspace(0, 1, steps + 1),
        **found,
        unit="probability" if chance else "score",
    )


def outwards(size: tuple[int, ...], parts: int = 0) -> NDArray[np.intp]:
    """All positions from the centre of a picture outwards, as numbers in reading order; equally far ones in that order.

    Distance is in shares of each side, so that a centred Gaussian blob of the picture's proportions falls along it.

    Args:
        size: (parts…, spatial…).
        parts: how many of its axes count views or frames, each with a centre of its own.
    """
    far = np.zeros(size)
    for axis in range(parts, len(size)):
        place = (np.arange(size[axis]) + 0.5) / size[axis] - 0.5
        far += (place**2).reshape([-1 if one == axis else 1 for one in range(len(size))])
    return np.argsort(far.reshape(-1), kind="stable")


def area(curve: NDArray[Any]) -> float:
    """Area under a curve over 0…1 by the trapezium rule: (Σ − first/2 − last/2) / (n − 1)."""
    return float((curve.sum() - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1))


def _curve(case: Case, start: NDArray[Any], end: NDArray[Any], order: NDArray[Any], steps: int) -> NDArray[Any]:
    """The probability while pixels of `start` become those of `end`, in an order: (steps + 1,)."""
    counts = np.rint(np.linspace(0, order.size, steps + 1)).astype(np.intp)
    places = np.empty(order.size, np.intp)
    places[order] = np.arange(order.size)
    places = places.reshape(case.spatial)
    found = np.empty(steps + 1)
    for first in range(0, steps + 1, case.batch):
        part = counts[first : first + case.batch]
        changed = case.over_channels(np.stack([places < count for count in part]))
        found[first : first + len(part)] = case.probabilities(np.where(changed, end, start))
    return found
