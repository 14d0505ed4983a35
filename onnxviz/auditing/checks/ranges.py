"""Checks of ranges: weights that float16 or int8 cannot hold, and integers whose products overflow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.integer_products import MOST_SUM, integer_products, saturating_pairs
from onnxviz.auditing.registry import CHECKS, check
from onnxviz.auditing.subject import Subject
from onnxviz.auditing.trained_weights import SINGLE_SMALLEST_NORMAL, TrainedWeight

# Of a layer, this many filters, spread evenly, and of each this many weights show what int8 does to them.
_FILTERS, _OF_A_FILTER = 256, 128
_HALF_LARGEST = 65504.0


@check("W04", Severity.WARNING, noise=0.02, ratio=254.0)
def per_tensor_int8(subject: Subject) -> Iterator[Finding]:
    """Layers whose filters differ so much in range that one int8 scale loses the small ones.

    Why it matters: quantised per tensor, all filters of a layer share one step, which the largest weight sets. Filters
    that are small beside it keep few steps, or none; batch normalisations that are folded in make such layers, the
    depthwise ones above all (Krishnamoorthi 2018, arXiv:1806.08342, section 3.1.2; Nagel et al. 2019,
    arXiv:1906.04721). The float model itself is not the worse for it.

    How it is measured: the weights are rounded to the steps of a symmetric int8 scale for the whole tensor (largest
    magnitude / 127), a batch normalisation right behind the layer folded in; of each filter, the squared error over
    the squared weights, in 256 filters of the layer and 128 weights of each at most. A mean above `noise` is a
    warning. A ratio of the largest filter's range to the smallest's above `ratio` is a note: the smallest then has less
    than half a step. Ratios of 3.6 to 333 occur in shipped models. Filters that W02 calls dead do not count.
    Seen were layers of trained networks, put into the float model one at a time in int8 per tensor (P04's
    measure). Of a MobileNetV2, shares of 0.034 to 0.103 cost the layer all but 4 to 22 dB, where per channel it keeps
    34 to 42 dB, and one of 0.011 leaves 22.5 dB; of HED's VGG16, 0.011 to 0.020 leave 24 to 32 dB. The first layers of
    EfficientNet-Lite0, Lite1 and Lite2 have 0.023, 0.011 and 0.017; networks without training reach 0.0002.

    What to do: nothing, if the model stays in float; else quantise per channel, or equalise the ranges across layers.
    """
    limit, most = subject.threshold("noise"), subject.threshold("ratio")
    dead = subject.settings.threshold(CHECKS["W02"], "share")
    for weight in subject.weights:
        if not weight.is_float or not weight.range.is_finite or len(weight.range.low) < 2:
            continue
        ranges = weight.reach
        alive = np.flatnonzero(weight.relative_reach >= dead)
        if not len(alive):
            continue
        ratio = float(ranges.max() / ranges[alive].min())
        smallest = int(alive[ranges[alive].argmin()])
        noise = _noise(weight, alive, float(ranges.max()) / 127)
        if noise > limit:
            yield subject.finding(
                f"with one int8 scale for the tensor the weights of a filter are off by {noise:.1%} of their power on "
                f"average, above {limit:.1%}; ranges of filters differ by a factor of {ratio:,.3g}",
                "quantise this layer per channel, equalise ranges across layers, or leave it in float",
                layer=weight.name, value=noise, threshold=limit,
            ).of_channel(smallest)  # fmt: skip
        elif ratio > most:
            yield subject.finding(
                f"ranges of filters differ by a factor of {ratio:,.4g}, above {most:g}: with one int8 scale for the "
                "tensor the smallest has less than half a step",
                "quantise this layer per channel",
                severity=Severity.NOTE, layer=weight.name, value=ratio, threshold=most,
            ).of_channel(smallest)  # fmt: skip


def _noise(weight: TrainedWeight, alive: NDArray[np.int64], step: float) -> float:
    """Mean over filters of squared rounding error / squared weights; of those that are looked at."""
    chosen = alive[np.linspace(0, len(alive) - 1, min(len(alive), _FILTERS)).astype(int)]
    rows = weight.filters[chosen, :_OF_A_FILTER].astype(np.float64)
    if weight.fold is not None:
        rows = rows * weight.fold[chosen, None]
    power = np.square(rows).sum(1)
    error = np.square(rows - np.rint(rows / step) * step).sum(1)
    return float((error[power > 0] / power[power > 0]).mean()) if (power > 0).any() else 0.0


@check("W05", Severity.WARNING, largest=_HALF_LARGEST, small=0.05)
def half_range(subject: Subject) -> Iterator[Finding]:
    """Weights that float16 cannot hold: too large, or so small that it holds them with fewer digits.

    Why it matters: above 65,504 a weight becomes infinite in float16, and the layer's output NaN or infinite. Below
    2^-14 (6.1e-5) float16 numbers are subnormal: they lose digits, and below 3e-8 become 0 (IEEE 754-2019, binary16).

    How it is measured: the largest magnitude of each filter and bias that is stored in more than float16; of the whole
    model the share of weights that are not 0 and smaller than 2^-14, as a note above `small`. In eight of nine working
    models that share is between 0.02 and 4.2 %.

    What to do: where weights are too large, keep the layer in float32 (`op_block_list` or `node_block_list` of
    onnxruntime's float16 converter). Small weights matter little unless nearly all of a filter are.
    """
    largest, share = subject.threshold("largest"), subject.threshold("small")
    small = total = 0
    worst_layer, worst_share = "", 0.0
    for weight in subject.weights:
        if not weight.is_float or not weight.range.is_finite or weight.stored_dtype == "float16":
            continue
        total += weight.size
        small += weight.range.subnormal_in_half
        if (own := weight.range.subnormal_in_half / weight.size) > worst_share:
            worst_layer, worst_share = weight.name, own
        peaks, bias = weight.range.largest, weight.bias
        bias_peaks = np.abs(bias) if bias is not None and bias.size else np.zeros(1, np.float32)
        of_bias = float(bias_peaks.max()) > float(peaks.max())
        worst = int((bias_peaks if of_bias else peaks).argmax())
        most = float((bias_peaks if of_bias else peaks)[worst])
        if most > largest:
            yield subject.finding(
                f"the largest {'bias' if of_bias else 'weight'} is {most:,.6g}, above {largest:,.6g}: it is infinite "
                "in float16",
                "keep this layer in float32 when the model is converted to float16",
                layer=weight.name, value=most, threshold=largest,
            ).of_channel(worst)  # fmt: skip
    if total and small / total > share:
        yield subject.finding(
            f"{small / total:.1%} of the model's weights are smaller than 2^-14 and not 0, more than {share:.1%}, of "
            f"this layer {worst_share:.1%}: float16 holds them with fewer digits, or as 0",
            "nothing, unless the model is to run in float16; then compare this layer",
            severity=Severity.NOTE, layer=worst_layer, value=small / total, threshold=share,
        )  # fmt: skip


@check("W07", Severity.WARNING, share=1e-3)
def denormals(subject: Subject) -> Iterator[Finding]:
    """Denormal weights: numbers below 1.18e-38, on which some processors are slow.

    Why it matters: arithmetic on denormal (subnormal) numbers takes some processors a hundred cycles and more; networks
    ran up to ten times slower for them (onnxruntime issues 5472, 6865 and 7448). They come from weight decay without
    end, and of batch normalisations with tiny factors when those are folded.

    How it is measured: the share of weights with 0 < |w| < 2^-126, as they are stored in float32, and as they are once
    a batch normalisation right behind the layer is folded in. One is a note; a share above `share` is a warning. The
    run itself is not timed: what a denormal costs depends on the processor.

    What to do: set them to 0 (they are 0 in effect), or run with `session.set_denormal_as_zero`.
    """
    share = subject.threshold("share")
    for weight in subject.weights:
        if not weight.is_float or not weight.range.is_finite or weight.stored_dtype == "float16":
            continue
        folded = _folded_denormals(weight)
        count = max(weight.range.subnormal, folded)
        if count:
            found = count / weight.size
            when = ", once the batch normalisation behind is folded in" if folded > weight.range.subnormal else ""
            yield subject.finding(
                f"{count:,} of {weight.size:,} weights ({found:.2%}) are denormal{when}: above 0 and below 1.18e-38; "
                f"above {share:.2%} it is a warning",
                "set them to 0, or run with session.set_denormal_as_zero",
                severity=Severity.WARNING if found > share else Severity.NOTE,
                layer=weight.name, value=found, threshold=share,
            )  # fmt: skip


def _folded_denormals(weight: TrainedWeight) -> int:
    """How many weights are denormal once multiplied by the batch normalisation's factors; of those that are tiny."""
    if weight.fold is None:
        return 0
    # 1e-20 leaves weights above 1e-18 normal, and smaller ones are denormal or 0 in effect without it
    tiny = np.flatnonzero((weight.fold > 0) & (weight.fold < 1e-20))
    if not len(tiny):
        return 0
    products = np.abs(weight.filters[tiny].astype(np.float64)) * weight.fold[tiny, None]
    return int(np.count_nonzero((products > 0) & (products < SINGLE_SMALLEST_NORMAL)))


@check("W06", Severity.WARNING, sum=float(MOST_SUM))
def saturating_products(subject: Subject) -> Iterator[Finding]:
    """Int8 weights whose products are cut off on processors without VNNI.

    Why it matters: on x86 processors with AVX2 or AVX-512 but without VNNI, onnxruntime multiplies uint8 activations
    with int8 weights by VPMADDUBSW, which adds two neighbouring products into 16 bits: above 32,767 the sum is cut off.
    Activations of int8 in QDQ form are shifted to uint8 first, and fare no better. The model is then right on the
    machine that it was tested on and wrong on an older one (onnxruntime issues 6004, 12072 and 14642; "Quantize ONNX
    models" in its documentation, on S8S8 and U8S8): an 8-bit version of a small classifier, per channel, was 0.5 % of
    its answers' range from float32 where nothing is cut off, and 37 % on an AMD EPYC with AVX2.

    How it is measured: pairs of weights w1, w2 that are multiplied together: neighbouring input channels of a filter,
    neighbouring rows of a matrix, the first of a pair at an even place. 255·(w1 + w2) leaves 16 bits where
    |w1 + w2| > 128. Depthwise convolutions multiply otherwise. One finding for the model; the layer with the largest
    share of such pairs is named.

    What to do: quantise with `reduce_range=True` (7 bits) or with uint8 weights; or set `session.x64quantprecision` to
    1 where it runs, or with int8 activations `session.qdqisint8allowed`. Where the target has VNNI, or is ARM, nothing.
    """
    limit = subject.threshold("sum")
    found: list[tuple[float, int, int, str]] = []
    for layer, weights in integer_products(subject.model):
        sums = saturating_pairs(weights)
        worst = int(np.abs(sums).max()) if sums.size else 0
        count = int((np.abs(sums) > limit).sum())
        if count:
            found.append((count / sums.size, worst, count, layer))
    if found:
        share, worst, _, layer = max(found)
        total = sum(count for _, _, count, _ in found)
        yield subject.finding(
            f"{total:,} pairs of int8 weights in {len(found):,} layers can saturate beside 8-bit activations on "
            f"processors without VNNI; here {share:.2%} of the pairs, the largest sum {worst}, above {limit:g}",
            "quantise with reduce_range=True or uint8 weights; nothing where the target has VNNI",
            layer=layer, value=float(worst), threshold=limit,
        )  # fmt: skip
