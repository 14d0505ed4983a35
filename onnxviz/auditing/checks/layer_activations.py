"""Checks of activations over a data set: NaN, dead and saturated channels, ranges for lower precision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.first_broken import BrokenTensor, first_broken
from onnxviz.auditing.photos import picture_input
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.errors import OnnxvizError
from onnxviz.inputs.noise import noise_samples
from onnxviz.inputs.samples import Feeds, as_input
from onnxviz.maps.channel_statistics import LayerStatistics
from onnxviz.maps.histogram import EDGES
from onnxviz.messages import printable
from onnxviz.model.graph.operator_bounds import bounds_of
from onnxviz.model.layer import Layer
from onnxviz.model.layer_graph import layer_graph
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.session import Session

FLOAT16_LARGEST = 65504.0
"""The largest finite number of IEEE 754 binary16."""
# Of the largest weight of a filter: weights that differ by less say one number.
_EQUAL = 1e-5
_GREYS = {"black": 0, "grey": 128, "white": 255}


@check("A01", Severity.ERROR, needs=("data",))
def not_finite_activations(subject: Subject) -> Iterator[Finding]:
    """NaN or infinity on the way of finite data through the model, and where it begins.

    Why it matters: what is NaN stays NaN up to the answer, or an argument of a maximum hides it and the answer is any
    class. Divisions by a spread that is zero, logarithms and exponentials make it, and float16 beyond 65,504.

    How it is measured: every output is looked at on every sample, and the maps of all convolutions. On the first sample
    that shows a value that is not finite, all tensors of the graph are read in order until one is found. Samples that
    hold such values themselves are left out.

    What to do: guard the operator named (an epsilon in a division or logarithm), or keep its layer in float32.
    """
    bad, label, usable = 0, "", 0
    feeds: Feeds = {}
    for sample in subject.samples:
        try:
            read = sample.read()
            if not _finite(read.values()):
                continue
            finite = _outputs_finite(subject, read)
        except OnnxvizError:
            continue
        usable += 1
        if not finite:
            bad += 1
            if bad == 1:
                feeds, label = read, sample.label
    if not usable:
        raise UnmeasuredError("no sample could be used, or all hold NaN or infinity themselves")
    where = f"outputs of {bad:,} of {usable:,} samples, first of {label}"
    if not bad:
        feeds, label = _inside(subject)
        where = f"maps of {label}, although the outputs are finite"
    if label:
        broken = first_broken(subject.model, subject.options, feeds)
        yield _broken_finding(subject, f"NaN or infinity in the {where}", broken, max(bad, 1))


def _inside(subject: Subject) -> tuple[Feeds, str]:
    """The first sample of which the maps of a convolution are not finite, and its label; "" where there is none."""
    tensors = list(dict.fromkeys(one.tensor for one in subject.statistics.values() if one.nonfinite.any()))
    if not tensors:
        return {}, ""
    session = Session.of(subject.model, tensors, subject.options)
    for sample in subject.samples:
        try:
            read = sample.read()
            if _finite(read.values()) and not _finite(_run(subject, session, tensors, read)):
                return read, sample.label
        except OnnxvizError:
            continue
    return {}, ""


def _broken_finding(subject: Subject, what: str, broken: BrokenTensor | None, count: int) -> Finding:
    if broken is None:
        return subject.finding(what, "look at the values that are not finite", value=float(count), threshold=0.0)
    do = f"guard the {broken.op} against it, or keep the layer in float32"
    if broken.weights:
        do = "its weights are not finite: see W01"
    return subject.finding(
        f"{what}: {broken.words}", do, layer=broken.layer, where=broken.node or broken.tensor, value=float(count),
        threshold=0.0,
    )  # fmt: skip


def _finite(arrays: Iterable[NDArray[Any]]) -> bool:
    return all(bool(np.isfinite(one).all()) for one in arrays if one.dtype.kind == "f")


def _run(subject: Subject, session: Session, tensors: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
    fed = Batching.of(subject.model, subject.options.memory).padded(feeds)
    return session.run(tensors, session.own(fed))


@check("A02", Severity.WARNING, needs=("data",), samples=8, share=0.5, bound=0.001)
def silent_channels(subject: Subject) -> Iterator[Finding]:
    """Channels that are dead (always 0), saturated (always at the activation's bound) or constant.

    Why it matters: such a channel tells the following layers nothing; many in a layer mean a training that lost them
    to a large learning rate, or an input in another range than in training.

    How it is measured: the smallest and largest value of each channel of each convolution's activation over all
    samples, of which there must be `samples`: of few images alone many channels are silent for lack of what they look
    for. Saturated is a channel that never leaves the last `bound` of its activation's range; of a layer that no other
    reads, a score that stays at 0 of 0…1 is an answer, that nothing is there, and not counted. A layer with more than
    `share` of its channels silent is a warning; all layers with fewer are one note.

    What to do: check the preprocessing (I01) first; what is silent on data of all kinds can be pruned.
    """
    found = subject.statistics
    if found.images < subject.threshold("samples"):
        raise UnmeasuredError(
            f"a channel may be silent on few images: it needs {subject.threshold('samples'):g}, there are "
            f"{found.images}"
        )
    by_name = {layer.name: layer for layer in subject.model.layers}
    few: list[tuple[float, str]] = []
    counts = dict.fromkeys(("dead", "saturated", "constant"), 0)
    read = frozenset[Layer | str]().union(*layer_graph(subject.model.scope, subject.model.layers).feeds.values())
    for name, layer in found.items():
        silent = _silent(layer, by_name[name], subject.threshold("bound"), last=by_name[name] not in read)
        marked = np.logical_or.reduce(list(silent.values()))
        share = float(marked.mean()) if marked.size else 0.0
        if share <= subject.threshold("share"):
            if share:
                few.append((share, name))
                counts = {kind: counts[kind] + int(marks.sum()) for kind, marks in silent.items()}
            continue
        words = _kinds({kind: int(marks.sum()) for kind, marks in silent.items()})
        yield subject.finding(
            f"of {len(marked):,} channels {words} on all {found.images:,} samples: {share:.0%}, limit "
            f"{subject.threshold('share'):.0%}",
            "check the preprocessing (I01), and whether the training lost the layer",
            layer=name,
            value=share,
            threshold=subject.threshold("share"),
        )
    if few:
        share, name = max(few)
        total = sum(len(layer.count) for layer in found.values())
        yield subject.finding(
            f"in {len(few)} of {len(found)} layers channels are silent on all {found.images:,} samples: "
            f"{_kinds(counts)} of {total:,}; most in '{printable(name)}', {share:.1%} of its own, limit "
            f"{subject.threshold('share'):.0%}",
            "channels that are silent on data of all kinds can be pruned",
            severity=Severity.NOTE,
            where=name,
            value=share,
            threshold=subject.threshold("share"),
        )


def _kinds(counts: Mapping[str, int]) -> str:
    return " and ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)


def _silent(found: LayerStatistics, layer: Layer, bound: float, *, last: bool) -> dict[str, NDArray[np.bool_]]:
    """Which channels are dead, saturated or constant; each is one of these at most. `last`: no other layer reads it."""
    low, high = found.moments.lowest, found.moments.highest
    there = found.count > found.nonfinite
    dead = there & (low == 0) & (high == 0)
    saturated = np.zeros_like(dead)
    limits = _bounds(layer)
    if limits is not None:
        near = bound * (limits[1] - limits[0])
        saturated = there & ~dead & ((low >= limits[1] - near) | (high <= limits[0] + near))
        if last and limits == (0, 1):
            there = there & (high > near)
            dead, saturated = dead & there, saturated & there
    # Rounding of float32 is not a signal.
    constant = there & ~dead & ~saturated & (high - low <= 4 * np.finfo(np.float32).eps * np.abs(high))
    return {"dead": dead, "saturated": saturated, "constant": constant}


def _bounds(layer: Layer) -> tuple[float, float] | None:
    """The smallest and largest value that a layer's activation gives; None where it has not both."""
    node = layer.graph_scope.producers.get(layer.taps["activation"])
    limits = (-math.inf, math.inf) if node is None else bounds_of(node, layer.constant)
    return limits if all(map(math.isfinite, limits)) else None


@check("A03", Severity.WARNING, needs=("data",), largest=FLOAT16_LARGEST)
def beyond_float16(subject: Subject) -> Iterator[Finding]:
    """Activations beyond 65,504, the largest number of float16.

    Why it matters: converted to float16 they become infinite, and NaN soon after.

    How it is measured: the largest absolute value of each convolution's activation over the data, held against
    `largest` (IEEE 754, binary16).

    What to do: keep the layer in float32 when the model is converted, or scale its input down and its weights up.
    """
    for name, layer in subject.statistics.items():
        peaks = _peaks(layer)
        peak = float(peaks.max(initial=0))
        if peak > subject.threshold("largest"):
            yield subject.finding(
                f"values reach {peak:,.0f}; float16 ends at {subject.threshold('largest'):,.0f}",
                "keep the layer in float32 when the model is converted to float16",
                layer=name,
                value=peak,
                threshold=subject.threshold("largest"),
            ).of_channel(int(peaks.argmax()))


def _peaks(layer: LayerStatistics) -> NDArray[np.float64]:
    """The largest absolute value of each channel; 0 where none is finite."""
    both = np.maximum(np.abs(layer.moments.lowest), np.abs(layer.moments.highest))
    return np.where(np.isfinite(both), both, 0)


# The largest ratio of a layer was 1.5 to 3.2 in 50 models: EfficientNet-Lite0 to 2, HED, the sample models, nine of
# keras.applications and torchvision, and all of these in int8 and float16. Limits are by the levels that are left.
@check("A04", Severity.WARNING, needs=("data",), share=0.999, note=16, warning=64)
def outliers(subject: Subject) -> Iterator[Finding]:
    """Activations of which a few are far larger than the others, so that 8 bits leave those few levels.

    Why it matters: a quantiser that covers the largest value spends its 256 levels on a range that hardly any value
    uses; the others lose their differences.

    How it is measured: the ratio of the largest absolute value to the one below which the `share` of all that are not
    0 lie, per layer over the data, from a histogram of bins half an octave wide, rounded in favour of the layer (the
    ratio may be up to 1.5 times as large). Above `note` fewer than 16 of 256 levels are left, above `warning` fewer
    than 4.

    What to do: calibrate by percentile or entropy instead of by the largest value, or keep the layer in float.
    """
    for name, layer in subject.statistics.items():
        if layer.histogram is None:
            raise UnmeasuredError("no histogram was gathered")
        usual = _quantile(layer.histogram.sum(axis=0), subject.threshold("share"))
        peaks = _peaks(layer)
        ratio = float(peaks.max(initial=0)) / usual if usual else 0.0
        if ratio <= subject.threshold("note"):
            continue
        grave = ratio > subject.threshold("warning")
        limit = subject.threshold("warning" if grave else "note")
        yield subject.finding(
            f"the largest value, {peaks.max():.4g}, is {ratio:.3g} times what {subject.threshold('share'):.1%} of the "
            f"values stay below ({usual:.4g}); limit {limit:g}",
            "calibrate by percentile or entropy when it is quantised, or keep the layer in float",
            severity=Severity.WARNING if grave else Severity.NOTE,
            layer=name,
            value=ratio,
            threshold=limit,
        ).of_channel(int(peaks.argmax()))


def _quantile(counts: NDArray[np.int64], share: float) -> float:
    """The upper edge of the bin of absolute values in which a share of those that are not 0 ends; 0 without any."""
    middle = len(EDGES) // 2
    # Bin i lies between EDGES[i - 1] and EDGES[i]; the two sides of zero are added up, the bin around it left out.
    sizes = counts[middle + 1 :] + counts[middle - 1 :: -1]
    uppers = np.append(EDGES[middle + 1 :], math.inf)
    total = int(sizes.sum())
    if not total:
        return 0.0
    return float(uppers[int(np.searchsorted(np.cumsum(sizes), share * total))])


@check("A05", Severity.WARNING, needs=("data",), channels=3, apart=1e-4)
def alike_channels(subject: Subject) -> Iterator[Finding]:
    """Layers whose channels are all alike: as many copies of one.

    Why it matters: a layer of copies has the power of one filter. Weights that were all started with one value never
    part in training; a broadcast in a conversion makes them as well.

    How it is measured: mean, deviation, smallest and largest value of each channel over the data. A layer of `channels`
    or more is reported where each of these differs between channels by no more than `apart` of the layer's largest
    absolute value, and its channels are not constant (A02). Layers in which the weights of each filter are all equal
    (W02) make one finding.

    What to do: look at the layer's filters; train again from random weights, or mend the conversion.
    """
    filled = {weight.name for weight in subject.weights if weight.is_filled(_EQUAL)}
    copies: list[tuple[float, str]] = []
    found = subject.statistics
    for name, layer in found.items():
        peak = float(_peaks(layer).max(initial=0))
        if len(layer.count) < subject.threshold("channels") or not peak or layer.nonfinite.any():
            continue
        if layer.constant.all():
            continue
        numbers = (layer.mean, np.sqrt(np.maximum(layer.var, 0)), layer.moments.lowest, layer.moments.highest)
        apart = max(float(np.ptp(one)) for one in numbers) / peak
        if apart <= subject.threshold("apart") and name in filled:
            copies.append((apart, name))
        elif apart <= subject.threshold("apart"):
            yield subject.finding(
                f"all {len(layer.count)} channels are alike: their statistics differ by {apart:.2g} of the largest "
                f"value, limit {subject.threshold('apart'):g}",
                "look at the layer's filters: train again from random weights, or mend the conversion",
                layer=name,
                value=apart,
                threshold=subject.threshold("apart"),
            )
    if copies:
        apart, name = min(copies)
        yield subject.finding(
            f"in {len(copies):,} of {len(found):,} layers all channels are alike, as the weights of each of their "
            f"filters are all equal: statistics differ by {apart:.2g} of the largest value, limit "
            f"{subject.threshold('apart'):g}",
            "audit the file with the trained weights; of a model that is to average, nothing",
            where=name,
            value=apart,
            threshold=subject.threshold("apart"),
        )


@check("A07", Severity.ERROR, takes=("noise",))
def degenerate_images(subject: Subject) -> Iterator[Finding]:
    """Black, white or grey images that give NaN or infinity.

    Why it matters: a covered lens or a blank page does occur; a model that divides by an image's own deviation answers
    NaN, and may take a whole batch with it.

    How it is measured: one image of each is run, prepared as photos are; so is noise, on which the outputs must be
    finite for this to mean anything.

    What to do: add an epsilon to the division or logarithm named.
    """
    model, images = subject.model, subject.images
    port = picture_input(model)
    try:
        (noise,) = noise_samples(model, images, 1)
        feeds = noise.read()
    except OnnxvizError as error:
        raise UnmeasuredError(f"no image can be made for it: {error}") from None
    if not _outputs_finite(subject, feeds):
        raise UnmeasuredError("noise gives NaN or infinity as well: see A01, with data")
    size = tuple(feeds[port.name].shape[port.layout.index(axis)] for axis in "HWC")
    plain = {
        name: {**feeds, port.name: as_input(port, np.full(size, grey, np.uint8), images, Path(name))}
        for name, grey in _GREYS.items()
    }
    bad = [name for name, fed in plain.items() if not _outputs_finite(subject, fed)]
    if bad:
        what = f"NaN or infinity for {len(bad)} of {len(plain)} plain images ({', '.join(bad)})"
        yield _broken_finding(subject, what, first_broken(model, subject.options, plain[bad[0]]), len(bad))


def _outputs_finite(subject: Subject, feeds: Feeds) -> bool:
    return _finite(_run(subject, subject.session, [port.name for port in subject.model.outputs], feeds))
