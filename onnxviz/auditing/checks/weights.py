"""Checks of weights: values that no training leaves on purpose, and filters that say nothing of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.auditing.trained_weights import TrainedWeight, batch_norm, real
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import operator
from onnxviz.model.layer import Layer

# Filters with fewer weights are alike by chance: a filter of one weight has one direction.
_FEWEST = 4
# Duplicates are looked for by what this many weights of each filter give on a random vector, then compared in full.
_PROJECTED = 64
# Distance of projections, in units of the tolerance on the angle, within which filters are compared in full.
_WINDOW = 6.0
_PROJECTIONS = 4
# Of the largest weight: a filter whose weights differ by less says one number, and is no copy of another that does.
_EQUAL = 1e-5
# Of filters in the order of their projections, each is compared with so many behind it.
_NEIGHBOURS = 32


@check("W01", Severity.ERROR)
def not_finite(subject: Subject) -> Iterator[Finding]:
    """NaN or infinity in the weights of a layer.

    Why it matters: whatever passes through such a weight is NaN or infinite, and so is most of what follows. A training
    that diverged leaves them, or a conversion to float16 whose weights were too large.

    How it is measured: every weight and bias of every convolution and dense layer is looked at, and every parameter of
    every normalisation.

    What to do: export an earlier checkpoint; where float16 made it, keep the layer in float32.
    """
    for weight in subject.weights:
        parts = {}
        if not weight.range.is_finite:
            parts["weights"] = weight.filters
        bias = weight.bias
        if bias is not None and not _is_finite(bias):
            parts["biases"] = bias
        if parts:
            yield _broken(subject, weight.layer, parts)
    for layer in subject.model.all_layers:
        if belongs(layer.producer, Family.NORMALISATION):
            values = [layer.constant(name) for name in layer.producer.input[1:]]
            broken = [value for value in values if value is not None and not _is_finite(value)]
            if broken:
                yield _broken(subject, layer, {"parameters": np.concatenate([value.ravel() for value in broken])})


def _is_finite(values: NDArray[Any]) -> bool:
    return values.dtype.kind not in "fV" or bool(np.isfinite(real(values)).all())


def _broken(subject: Subject, layer: Layer, parts: dict[str, NDArray[Any]]) -> Finding:
    """One finding for all of a layer."""
    told, total, rows = [], 0, set()
    for what, values in parts.items():
        is_broken = ~np.isfinite(real(values))
        count = int(is_broken.sum())
        total += count
        told.append(f"{count:,} of {values.size:,} {what}")
        if what != "parameters":
            rows |= set(np.flatnonzero(is_broken.reshape(len(values), -1).any(1)).tolist())
    where = f", in {len(rows):,} filters" if rows else ""
    return subject.finding(
        f"{' and '.join(told)} are NaN or infinite{where}",
        "export an earlier checkpoint, or keep the layer in float32",
        layer=layer.name,
        value=float(total),
        threshold=0.0,
    ).of_channel(rows.pop() if len(rows) == 1 else None)


@check("W02", Severity.WARNING, share=1e-3, spread=1e-5, filled=0.5, layers=3)
def says_nothing(subject: Subject) -> Iterator[Finding]:
    """Filters that are zero or nearly so, or whose weights are all equal.

    Why it matters: a filter of zeros gives one constant whatever the photo is, and one of equal weights only a mean;
    both cost as much as any other. Pruning and weight decay leave them in models that work well, so this is a note: in
    one face recogniser with 99.8 % accuracy 34 of the 64 filters of a layer are nearly zero. A model of such layers is
    no trained one: somebody filled it in to have a small file, or the weights were lost on the way. That is a warning.

    How it is measured: a filter is dead where its largest magnitude, a batch normalisation right behind the layer
    multiplied in, is below `share` of that which a tenth of the layer's filters exceed; it is constant where its
    weights differ by less than `spread` of its largest. Filters of fewer than 4 weights are not called constant; layers
    in which all are make one finding, a warning where they are `layers` or more and the share `filled` of all.

    What to do: nothing, if the accuracy is right; else look at the filters. What is dead can be pruned. Of a model that
    is filled in, take the file with the trained weights.
    """
    share, spread = subject.threshold("share"), subject.threshold("spread")
    filled: list[str] = []
    count = 0
    for weight in subject.weights:
        found = weight.range
        count += len(found.low) > 1 and weight.filters.shape[1] >= _FEWEST
        if not found.is_finite:
            continue
        relative = weight.relative_reach
        dead = np.flatnonzero(relative < share)
        if len(dead):
            worst = int(dead[relative[dead].argmin()])
            yield subject.finding(
                f"{len(dead):,} of {len(relative):,} filters are dead: the smallest reaches {relative[worst]:.2g} "
                f"of what a tenth of the layer's exceed, below {share:g}",
                "prune them, or look at them if the accuracy is not right",
                severity=Severity.NOTE, layer=weight.name, value=float(relative[worst]), threshold=share,
            ).of_channel(worst)  # fmt: skip
        differ = (found.high - found.low) / np.where(found.largest > 0, found.largest, 1)
        constant = np.flatnonzero((differ < spread) & (found.largest > 0) & (relative >= share))
        if len(constant) == len(relative) > 1 and weight.filters.shape[1] >= _FEWEST:
            filled.append(weight.name)
        elif len(constant) and weight.filters.shape[1] >= _FEWEST:
            worst = int(constant[differ[constant].argmin()])
            yield subject.finding(
                f"the weights of {len(constant):,} of {len(relative):,} filters are all equal: they differ by "
                f"{differ[worst]:.2g} of the largest, below {spread:g}",
                "nothing, if the layer is meant to average; else look at the training",
                severity=Severity.NOTE, layer=weight.name, value=float(differ[worst]), threshold=spread,
            ).of_channel(worst)  # fmt: skip
    if filled:
        whole = len(filled) >= max(subject.threshold("layers"), subject.threshold("filled") * count)
        yield subject.finding(
            f"{'the weights are placeholders: ' if whole else ''}in {len(filled):,} of {count:,} layers the weights of "
            f"every filter are all equal (they differ by less than {spread:g} of the largest)",
            "audit the file with the trained weights: what is measured on this one says nothing of it" if whole
            else "look at the training: such weights are filled in, not learnt",
            severity=Severity.WARNING if whole else Severity.NOTE,
            layer="" if whole else filled[0],
            value=len(filled) / count,
            threshold=subject.threshold("filled"),
        )  # fmt: skip


@check("W03", Severity.NOTE, distance=1e-3)
def duplicates(subject: Subject) -> Iterator[Finding]:
    """Filters of a layer that are copies of each other, up to a factor or the sign.

    Why it matters: a copy costs as much as any other filter and tells nothing new. Copies come from a widened network
    that was not trained on, or from weights that all began alike; where signs are flipped, both may be meant.

    How it is measured: the directions of the filters, each divided by its length, of those that see the same channels:
    copies are those whose difference or sum is shorter than `distance`. Filters of fewer than 4 weights, those of
    depthwise convolutions (each sees a channel of its own), and those whose weights are all equal (W02) are left out.

    What to do: prune the copies and add their readers' weights; or look at how the training began.
    """
    distance = subject.threshold("distance")
    for weight in subject.weights:
        if not weight.range.is_finite:
            continue
        copies, flipped, nearest, worst = _copies(weight, distance)
        if copies:
            kind = f", {flipped:,} of them with the sign flipped" if flipped else ""
            yield subject.finding(
                f"{copies:,} of {len(weight.range.low):,} filters are copies of another{kind}: directions "
                f"{nearest:.2g} apart, below {distance:g}",
                "prune the copies, or look at how the training began",
                layer=weight.name, value=nearest, threshold=distance,
            ).of_channel(worst)  # fmt: skip


def _copies(weight: TrainedWeight, distance: float) -> tuple[int, int, float, int]:
    """(filters that are copies of an earlier one, of them flipped, the smallest distance, that filter)."""
    matrix = weight.filters
    count, size = matrix.shape
    each = count // weight.groups
    if size < _FEWEST or each < 2:
        return 0, 0, 0.0, -1
    part = matrix[:, : min(size, _PROJECTED)].astype(np.float64)
    lengths = np.sqrt(np.square(part).sum(1))
    vectors = np.random.default_rng(0).choice([-1.0, 1.0], (part.shape[1], _PROJECTIONS))
    shadows = np.abs(part @ vectors) / np.where(lengths > 0, lengths, 1)[:, None]
    differ = weight.range.high - weight.range.low
    alive = np.flatnonzero((lengths > 0) & (differ > _EQUAL * weight.range.largest))
    order = alive[np.lexsort((shadows[alive, 0], alive // each))]  # groups apart
    sorted_shadows, groups = shadows[order], order // each
    copies: dict[int, tuple[float, bool]] = {}
    for step in range(1, min(_NEIGHBOURS, len(order))):
        ahead, behind = sorted_shadows[step:], sorted_shadows[:-step]
        near = (ahead[:, 0] - behind[:, 0] < _WINDOW * distance) & (groups[step:] == groups[:-step])
        places = np.flatnonzero(near)
        if not len(places):
            break  # those that are farther on in the order are farther away
        places = places[(np.abs(ahead[places] - behind[places]) < _WINDOW * distance).all(1)]
        for pair in zip(order[places].tolist(), order[places + step].tolist(), strict=True):
            if max(pair) in copies:
                continue
            apart, flips = _apart(matrix[pair[0]], matrix[pair[1]])
            if apart < distance:
                copies[max(pair)] = (apart, flips)
    if not copies:
        return 0, 0, 0.0, -1
    worst = min(copies, key=lambda later: copies[later][0])
    return len(copies), sum(flips for _, flips in copies.values()), copies[worst][0], worst


def _apart(a: NDArray[Any], b: NDArray[Any]) -> tuple[float, bool]:
    """The length of the difference of two directions, or of their sum where that is shorter, and whether it is."""
    one, two = (row.astype(np.float64) / np.linalg.norm(row.astype(np.float64)) for row in (a, b))
    difference, total = float(np.linalg.norm(one - two)), float(np.linalg.norm(one + two))
    return min(difference, total), total < difference


@check("W08", Severity.WARNING, gain=1e3)
def batch_norms(subject: Subject) -> Iterator[Finding]:
    """Batch normalisations whose folding loses digits, or that divide by no variance.

    Why it matters: a batch normalisation multiplies each channel by γ / √(variance + ε) (Ioffe and Szegedy 2015). Where
    the variance is below ε the channel was constant in training, and any other value that it takes when deployed is
    multiplied by up to 1/√ε. Factors in the thousands lose digits when they are folded into float16 or int8 weights. A
    variance that is negative beyond ε gives NaN.

    How it is measured: the factor of each channel of each batch normalisation with constant parameters. Healthy models
    reached 16; above `gain` it is a warning; a variance below ε is a note, and one that gives NaN an error.

    What to do: look at the channel; calibrate the statistics again; keep the layer in float32.
    """
    limit = subject.threshold("gain")
    for layer in subject.model.all_layers:
        if operator(layer.producer) != "BatchNormalization":
            continue
        parameters = batch_norm(layer, layer.producer)
        if parameters is None or not np.isfinite(parameters.scale).all() or not np.isfinite(parameters.variance).all():
            continue  # W01 says it
        variance, epsilon = parameters.variance, parameters.epsilon
        gain = np.abs(parameters.gain)
        impossible = np.flatnonzero(variance + epsilon <= 0)
        large = np.flatnonzero(gain > limit)
        small = np.flatnonzero((variance < epsilon) & (parameters.scale != 0))
        if len(impossible):
            worst = int(variance.argmin())
            yield subject.finding(
                f"the variance of {len(impossible):,} of {len(variance):,} channels is negative beyond ε "
                f"({epsilon:g}), the least {variance[worst]:.3g}: its root is NaN",
                "export an earlier checkpoint",
                severity=Severity.ERROR, layer=layer.name, value=float(variance[worst]),
                threshold=-epsilon,
            ).of_channel(worst)  # fmt: skip
        elif len(large):
            worst = int(gain.argmax())
            yield subject.finding(
                f"{len(large):,} of {len(gain):,} channels are multiplied by more than {limit:g}, the largest by "
                f"{gain[worst]:,.4g} (variance {variance[worst]:.2g}, ε {epsilon:g})",
                "look at the channel; calibrate the statistics again, or keep the layer in float32",
                layer=layer.name, value=float(gain[worst]), threshold=limit,
            ).of_channel(worst)  # fmt: skip
        elif len(small):
            worst = int(small[gain[small].argmax()])
            yield subject.finding(
                f"the variance of {len(small):,} of {len(variance):,} channels is below ε ({epsilon:g}), the largest "
                f"factor among them {gain[worst]:.3g}: they were constant in training",
                "nothing, if the accuracy is right: such channels can be pruned",
                severity=Severity.NOTE, layer=layer.name, value=float(variance[worst]),
                threshold=epsilon,
            ).of_channel(worst)  # fmt: skip
