"""Comparisons: how far two models' layers, outputs and answers are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from onnxviz.comparison.error_sums import ErrorSums
from onnxviz.inputs.provenance import Provenance

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Alone:
    """What a layer of B does by itself, fed with what A feeds its own: the error is not that of the layers before.

    Attributes:
        sqnr: of its output, in dB.
        rmse_over_scale: of its output, in quantisation steps; None where it is not quantised.
        output_sqnr: in dB, of A's answer where this layer alone is B's.
    """

    sqnr: float
    rmse_over_scale: float | None
    output_sqnr: float


@dataclass(frozen=True)
class Difference:
    """What a tensor of B differs by from A's, over all samples.

    Attributes:
        a, b: names of the layers, or of the outputs.
        tensors: the names of the tensors that were compared, A's and B's.
        channels: size of the axis behind that of the samples.
        sqnr: 10·log₁₀(Σ a² / Σ (a − b)²) in dB: the signal-to-quantisation-noise ratio; infinite where nothing
            differs, NaN where one is NaN or infinite and the other is not.
        cosine: Σ ab / √(Σ a² · Σ b²), −1…1; 1 where nothing differs, NaN where either is zero throughout, or B's is
            10⁵ times smaller.
        max_abs_diff: the largest |a − b|.
        rmse: √(mean of (a − b)²).
        rmse_over_scale: the same in quantisation steps of B's tensor: 0.289 (1/√12) is what ideal rounding costs; None
            where it is not quantised.
        unlike: how many values are NaN or infinite in one and something else in the other.
        worst_channel: the channel with the largest part of the noise, -1 where nothing differs.
        worst_channel_sqnr: of that channel, in dB.
        worst_channel_share: its part of the noise, 0…1.
        worst_sample: label of the sample with the most noise in relation to its signal; "" where nothing differs.
        ops: A's operator and B's; of an output ("", "").
        by: the evidence by which the layers are one another's; of an output "name" or "position".
        alone: what B's layer does by itself; None where that was not looked at.
    """

    a: str
    b: str
    tensors: tuple[str, str]
    channels: int
    sqnr: float
    cosine: float
    max_abs_diff: float
    rmse: float
    rmse_over_scale: float | None
    unlike: int
    worst_channel: int
    worst_channel_sqnr: float
    worst_channel_share: float
    worst_sample: str
    ops: tuple[str, str] = ("", "")
    by: str = ""
    alone: Alone | None = None

    @property
    def ratio(self) -> str:
        """The SQNR in words: `23.6 dB`."""
        return ratio_words(self.sqnr)

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return self.max_abs_diff == 0 and not self.unlike

    def is_below(self, decibels: float) -> bool:
        """Whether the SQNR is lower than that; what is NaN or infinite in one alone is."""
        return self.unlike > 0 or self.sqnr < decibels

    def as_dict(self) -> dict[str, Any]:
        """As JSON types; where nothing differs, `sqnr` is null and `identical` true."""
        alone = self.alone
        return {
            "a": self.a, "b": self.b, "tensors": list(self.tensors), "ops": list(self.ops), "by": self.by,
            "channels": self.channels, "identical": self.identical, "sqnr": _finite(self.sqnr),
            "cosine": _finite(self.cosine), "max_abs_diff": self.max_abs_diff, "rmse": self.rmse,
            "rmse_over_scale": self.rmse_over_scale, "nonfinite": self.unlike,
            "worst_channel": None if self.worst_channel < 0 else {
                "channel": self.worst_channel, "sqnr": _finite(self.worst_channel_sqnr),
                "share": self.worst_channel_share,
            },
            "worst_sample": self.worst_sample or None,
            "alone": None if alone is None else {
                "sqnr": _finite(alone.sqnr), "rmse_over_scale": alone.rmse_over_scale,
                "output_sqnr": _finite(alone.output_sqnr),
            },
        }  # fmt: skip


def difference_of(
    sums: ErrorSums, names: tuple[str, str], tensors: tuple[str, str], label: str, steps: float | None
) -> Difference:
    """The difference that sums over samples tell.

    Args:
        sums: of one tensor.
        names: A's layer or output, and B's.
        tensors: what was compared.
        label: of the sample that `sums.sample` names.
        steps: the root mean square error in quantisation steps of B's tensor; None where it has none.
    """
    worst = sums.worst_channel
    total = float(sums.noise.sum())
    count = int(sums.count.sum())
    return Difference(
        names[0],
        names[1],
        tensors,
        channels=len(sums.noise),
        sqnr=sums.sqnr,
        cosine=sums.cosine,
        max_abs_diff=float(sums.largest.max(initial=0)),
        rmse=math.sqrt(total / count) if count else 0.0,
        rmse_over_scale=steps,
        unlike=int(sums.unlike.sum()),
        worst_channel=worst,
        worst_channel_sqnr=float(sums.channel_sqnr[worst]) if worst >= 0 else math.inf,
        worst_channel_share=float(sums.noise[worst]) / total if worst >= 0 and total else 0.0,
        worst_sample=label if worst >= 0 else "",
    )


def worst_of(differences: Iterable[Difference]) -> Difference | None:
    """The one with the lowest SQNR, those first that have `unlike` values; None where nothing differs."""
    differing = [one for one in differences if not one.identical]
    return min(differing, key=lambda one: (not one.unlike, one.sqnr), default=None)


def ratio_words(decibels: float) -> str:
    """`23.6 dB`, `equal`, or what there is instead of a ratio."""
    if math.isnan(decibels):
        return "not finite in one"
    if math.isinf(decibels):
        return "equal" if decibels > 0 else "zero in A"
    return f"{decibels:.1f} dB"


@dataclass(frozen=True, eq=False)
class WorstMaps:
    """Maps of the layer with the lowest ratio, on the sample that shows it most.

    Attributes:
        layer: the layer.
        place: its place among those that were compared.
        a, b: float32 (C, spatial…), A's and B's.
    """

    layer: Difference
    place: int
    a: NDArray[Any]
    b: NDArray[Any]


@dataclass(frozen=True)
class Flip:
    """A sample that the models answer otherwise.

    Attributes:
        sample: its label.
        a, b: (class, its name or "", how far its score is above the next) of A's answer and of B's; the class is -1
            where scores are not finite.
    """

    sample: str
    a: tuple[int, str, float]
    b: tuple[int, str, float]

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "input": self.sample,
            **{
                side: {"class": number if number >= 0 else None, "name": name or None, "margin": _finite(margin)}
                for side, (number, name, margin) in (("a", self.a), ("b", self.b))
            },
        }


@dataclass(frozen=True)
class Agreement:
    """Whether both models put the same class first.

    Attributes:
        agreeing: of how many samples, or of how many positions where there are several a sample.
        total: of how many.
        positions: whether positions of masks were counted instead of samples.
        flips: the samples that are answered otherwise, or with NaN; none where positions were counted.
        unknown: how many either model answers with NaN, which agree with nothing.
    """

    agreeing: int
    total: int
    positions: bool
    flips: tuple[Flip, ...]
    unknown: int = 0

    @property
    def share(self) -> float:
        """0…1."""
        return self.agreeing / self.total if self.total else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "top1": self.share, "agreeing": self.agreeing, "total": self.total, "nan": self.unknown,
            "of": "positions" if self.positions else "samples", "flips": [one.as_dict() for one in self.flips],
        }  # fmt: skip


@dataclass(frozen=True)
class Exclusion:
    """The nodes of A that are to stay as they are when it is converted to B's precision.

    Attributes:
        option: what the tool's argument is called: "nodes_to_exclude" of onnxruntime's quantiser, "node_block_list" of
            its conversion to float16.
        nodes: names of nodes of A, those first that cost the answer most; each layer is followed by what reads it,
            since a tensor stays rounded while any node beside it is converted.
        share: which part of the noise that the layers cause one by one is theirs, 0…1.
    """

    option: str
    nodes: tuple[str, ...]
    share: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"option": self.option, "nodes": list(self.nodes), "share": self.share}


@dataclass(frozen=True)
class Comparison:
    """How far model B is from model A.

    Attributes:
        a, b: what made each side's maps.
        labels: what the sides are called, with `@…`.
        data: what was fed: "images", "arrays" or "noise".
        samples: how many samples.
        layers: the layers that were compared, in A's order.
        outputs: the outputs that were compared.
        only_a, only_b: names of layers and outputs that have no counterpart.
        not_compared: (A's layer, B's, why) of those that are counterparts, yet have no common tensor.
        below: the SQNR in dB below which a layer counts as divergent.
        agreement: whether they answer the same; None where the model gives no scores of classes.
        exclusion: nodes to keep out of the conversion; None where B is not of lower precision than A.
        worst_maps: of the layer with the lowest SQNR; None where no layer differs.
        failed: (label, error) of samples that could not be used.
        notes: what a user should know.
    """

    a: Provenance
    b: Provenance
    labels: tuple[str, str]
    data: str
    samples: int
    layers: tuple[Difference, ...]
    outputs: tuple[Difference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    not_compared: tuple[tuple[str, str, str], ...]
    below: float
    agreement: Agreement | None
    exclusion: Exclusion | None
    worst_maps: WorstMaps | None = None
    failed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Comparison({self.labels[0]!r}, {self.labels[1]!r}, {len(self.layers)} layers, {self.samples} samples)"

    @property
    def first_divergent(self) -> Difference | None:
        """The first layer, in A's order, whose SQNR is below `below`; None where there is none."""
        return next((one for one in self.layers if one.is_below(self.below)), None)

    @property
    def fed(self) -> str:
        """What was fed, in words: `48 images`."""
        noun = {"images": "image", "arrays": "array"}.get(self.data, "sample of noise")
        count = f"{self.samples:,}"
        if self.samples == 1:
            return f"{count} {noun}"
        return f"{count} samples of noise" if self.data == "noise" else f"{count} {noun}s"

    @property
    def worst(self) -> Difference | None:
        """The layer with the lowest SQNR; None where no layer differs."""
        return worst_of(self.layers)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types; reads both model files once for their hashes."""
        first = self.first_divergent
        return {
            "version": FORMAT_VERSION,
            "a": {"label": self.labels[0], **self.a.as_dict()},
            "b": {"label": self.labels[1], **self.b.as_dict()},
            "data": self.data,
            "images": self.samples,
            "layers": [one.as_dict() for one in self.layers],
            "outputs": [one.as_dict() for one in self.outputs],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "not_compared": [{"a": a, "b": b, "why": why} for a, b, why in self.not_compared],
            "below": self.below,
            "first_divergent": None if first is None else first.a,
            "agreement": None if self.agreement is None else self.agreement.as_dict(),
            "exclude": None if self.exclusion is None else self.exclusion.as_dict(),
            "failed": [{"input": label, "error": error} for label, error in self.failed],
            "notes": list(self.notes),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
