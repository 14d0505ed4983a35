"""Checks against a baseline: what changed since the release in filters, interface, activity and data."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.filter_change import ROUNDING, FilterChange
from onnxviz.auditing.filter_sketch import PROJECTIONS
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.image_properties import shifts
from onnxviz.auditing.interface import Interface, interface_changes
from onnxviz.auditing.recording import FEWEST_SAMPLES, image_properties, silent_channels
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.messages import printable

_NAMED = 5


@check("R01", Severity.NOTE, needs=("baseline",), distance=ROUNDING)
def changed_filters(subject: Subject) -> Iterator[Finding]:
    """Layers and filters that are not as they were in the release: moved, in another order, gone or new.

    Why it matters: a model that is released again under one name may be another one. What changed says what has to be
    tested again: nothing where it was only exported again, everything where it was trained further.

    How it is measured: a baseline keeps a sketch of each convolution and dense layer: of every filter its norm, its
    bias and 16 random projections, and single numbers of up to 8 filters and input channels. Batch normalisation right
    behind a layer is multiplied in first, so that folding it changes nothing; where it is in one version alone and was
    not folded, filters are compared without it. Of dense layers of integers directions are compared. Layers are matched
    by weights, position and names, as `onnxviz compare` does it, whatever they are called; filters by their
    projections, or by single numbers, so that channels that were reordered or pruned are found again. How far a filter
    moved is told as a share of its norm, with a standard error of 18 % of itself, and of 18 % over the root of the
    number of filters for a layer; where input channels are gone, it is told from up to 8 of those that are left. What
    moved by `distance` or less is the same: rounding explains it. Filters that have nothing to do with each other are
    141 % apart.

    What to do: nothing where it was meant; else find out which training or tool changed the weights.
    """
    changes, limit = subject.layer_changes, subject.threshold("distance")
    for pair in changes.pairs:
        one = pair.filters
        called = "" if pair.before.name == pair.after.name else f" (in the release: '{printable(pair.before.name)}')"
        if one is None:
            was, now = ("x".join(map(str, side.sketch.shape)) for side in (pair.before, pair.after))
            yield subject.finding(
                f"the filters are {now} and were {was}: which of them is which cannot be told{called}",
                "nothing, if it was meant; else find out what changed the layer", layer=pair.after.name,
            )  # fmt: skip
        elif told := [*_places(one), *_stored(one), *_moved(one, limit)]:
            rest = "" if one.is_moved(limit) else "; otherwise the filters are the same"
            yield subject.finding(
                f"{', '.join(told)}{rest}{called}", "nothing, if it was meant; else find out what changed the weights",
                layer=pair.after.name, value=one.distance, threshold=limit,
            )  # fmt: skip
    folded = [pair.filters for pair in changes.pairs if pair.filters and _is_folded_otherwise(pair.filters, limit)]
    if folded:
        words = "is multiplied into the weights" if folded[0].before.folded else "stands apart from the weights"
        yield subject.finding(
            f"in {len(folded)} of {len(changes.pairs)} layers a batch normalisation {words} since the release; that "
            "alone changes no filter",
            "nothing: it is how the model was exported", value=float(len(folded)), threshold=0.0,
        )  # fmt: skip
    for record in changes.gone:
        yield subject.finding(
            f"a layer of {record.sketch.filters} filters of the release is not in this model",
            "nothing, if it was meant; else find out what took it away", where=printable(record.name),
        )  # fmt: skip
    for record in changes.added:
        yield subject.finding(
            f"the layer of {record.sketch.filters} filters is new: the release has none in its place",
            "nothing, if it was meant; else find out what put it in", layer=record.name,
        )  # fmt: skip


def _places(one: FilterChange) -> Iterator[str]:
    """What became of filters and input channels but for their values, in words."""
    before, after = one.before, one.after
    if len(one.gone):
        yield f"{len(one.gone)} of {before.filters} filters are gone ({_numbers(one.gone)})"
    if len(one.added):
        yield f"{len(one.added)} of {after.filters} filters are new ({_numbers(one.added)})"
    if one.is_reordered:
        yield f"the {after.filters} filters stand in another order"
    if one.inputs_gone:
        yield f"{one.inputs_gone} of {before.inputs} input channels are gone"
    if one.inputs_added:
        yield f"{one.inputs_added} of {after.inputs} input channels are new"
    if one.inputs_reordered:
        yield f"the {after.inputs} input channels are read in another order"


def _stored(one: FilterChange) -> Iterator[str]:
    if one.is_plain:
        yield "a batch normalisation stands right behind the layer in one version alone (filters compared without it)"
    if one.before.dtype != one.after.dtype:
        yield f"weights are stored as {one.after.dtype}, and were as {one.before.dtype}"


def _moved(one: FilterChange, limit: float) -> Iterator[str]:
    """How far filters and biases moved, in words with the error of the measurement."""
    far = one.moved > limit  # NaN, of new filters, is not
    if far.any():
        worst = int(np.nanargmax(one.moved))
        numbers = 8 if one.is_sampled else PROJECTIONS
        error = math.sqrt(1 / (2 * numbers))  # of one filter's distance, as a share of it
        whole = error / math.sqrt(int((one.rows >= 0).sum())) * one.distance
        yield (
            f"{int(far.sum())} of {one.after.filters} filters moved, all together by {one.distance:.2%} of their norm "
            f"(± {100 * whole:.2g}%), filter {worst} most, by {one.moved[worst]:.2%} "
            f"(± {100 * error * one.moved[worst]:.2g}%)"
        )
    if one.bias_distance > limit:
        by = f"by {one.bias_distance:.2%} of their norm" if math.isfinite(one.bias_distance) else "from 0"
        yield f"biases moved {by}"


def _is_folded_otherwise(one: FilterChange, limit: float) -> bool:
    """Whether a normalisation was folded or unfolded; where filters moved too, one may have been taken away as well."""
    return one.before.folded != one.after.folded and not one.is_moved(limit)


def _numbers(numbers: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
    listed = ", ".join(map(str, numbers[:_NAMED].tolist()))
    return f"{listed}, …" if len(numbers) > _NAMED else listed


@check("R03", Severity.ERROR, needs=("baseline",))
def changed_interface(subject: Subject) -> Iterator[Finding]:
    """An interface that is not that of the release: inputs, outputs, preprocessing, names of classes, opset.

    Why it matters: the programs that call the model were written for the release. A renamed input stops them, another
    range of pixels or order of classes does not, and their answers are wrong (pytorch#165748, #148629).

    How it is measured: names, order, element types, ranks and sizes of inputs and outputs, the preprocessing that the
    metadata or the graph tell, the names of classes in the metadata, and the versions of operator sets are compared
    with the baseline's. A change is an error; another version of an operator set is a warning, since a runtime that
    took the old one may not know the new; names of open sizes alone, an input that takes more than it did, and what is
    told now and was not, are notes.

    What to do: export the model as it was, or change the callers and write a new baseline.
    """
    released = subject.extras.baseline
    assert released is not None
    for one in interface_changes(released.interface, Interface.of(subject.model)):
        yield subject.finding(
            one.words, "export it as it was, or change its callers and write a new baseline", severity=one.severity,
            where=one.where,
        )  # fmt: skip


@check("R04", Severity.NOTE, needs=("baseline", "data"), errors=5, deviations=0.2)
def changed_photos(subject: Subject) -> Iterator[Finding]:
    """Photos that are not like those of the release: brightness, contrast, size, colours.

    Why it matters: where answers change and the model did not, the data did: another camera, another light, another
    program that cuts and compresses.

    How it is measured: of up to 256 photos of the data the mean and standard deviation of the luminance, the size, and
    the means of the channels; the baseline keeps the same of its photos, of which both need 8. A property counts as
    changed where its means are more than `errors` standard errors apart (of two samples of unequal variance, Welch
    1947), so that another choice of the same photos does not, and more than `deviations` standard deviations of the
    baseline's photos, so that it matters.

    What to do: look at photos of both; where the change is meant, measure the accuracy on the new ones and write a new
    baseline.
    """
    released = subject.extras.baseline
    assert released is not None
    if released.photos is None:
        raise UnmeasuredError(f"the baseline keeps no photos: it was written without {FEWEST_SAMPLES} of them")
    found = image_properties(subject)
    if found is None:
        raise UnmeasuredError(f"it needs {FEWEST_SAMPLES} image files or more, and one input for pictures")
    limit, least = subject.threshold("errors"), subject.threshold("deviations")
    for one in shifts(released.photos, found):
        if abs(one.errors) > limit and abs(one.deviations) > least:
            yield subject.finding(
                f"the {one.name} of the {len(found)} photos is {one.after:.3g} on average, and was {one.before:.3g} "
                f"over {len(released.photos)}: {abs(one.errors):.1f} standard errors apart (limit {limit:g})",
                "look at photos of both; where it is meant, measure the accuracy again and write a new baseline",
                where=one.name, value=abs(one.errors), threshold=limit,
            )  # fmt: skip


@check("R05", Severity.WARNING, needs=("baseline",), takes=("data",))
def newly_dead(subject: Subject) -> Iterator[Finding]:
    """Filters and channels that are dead and were alive in the release.

    Why it matters: models that work well have dead filters (W02, A02), so that these alone say little. One that died
    since the release lost something that was there: a learning rate that was too large, weights that were cut off, an
    input in another range.

    How it is measured: filters, with a batch normalisation right behind multiplied in, whose norm is below a
    thousandth of that which a tenth of the layer's exceed, and was not in the release; and, where both audits had 8
    samples of data or more, channels of a convolution's activation that are 0 on all of them and were not. Filters are
    matched as R01 does it.

    What to do: go back to the release's checkpoint, or look at the training; check the preprocessing (R03, I01) where
    channels are dead and filters are not.
    """
    released = subject.extras.baseline
    assert released is not None
    kept, now = released.silent, None if released.silent is None else silent_channels(subject)
    for pair in subject.layer_changes.pairs:
        one = pair.filters
        if one is None:
            continue
        there = one.rows >= 0
        before = one.rows[there]
        dead = np.zeros(one.after.filters, bool)
        dead[there] = one.after.dead[there] & ~one.before.dead[before]
        told = {"filters are dead": np.flatnonzero(dead)}
        if kept is not None and now is not None and pair.before.name in kept.channels:
            slept = np.isin(one.rows, kept.channels[pair.before.name])
            silent = np.isin(np.arange(one.after.filters), now.channels.get(pair.after.name, ()))
            told["channels are 0 on all samples"] = np.flatnonzero(silent & there & ~slept & ~dead)
        for what, numbers in told.items():
            if len(numbers):
                yield subject.finding(
                    f"{len(numbers)} of {one.after.filters} {what} and were not in the release ({_numbers(numbers)})",
                    "go back to the release's checkpoint, or look at the training and the preprocessing",
                    layer=pair.after.name, value=float(len(numbers)), threshold=0.0,
                ).of_channel(int(numbers[0]) if len(numbers) == 1 else None)  # fmt: skip
