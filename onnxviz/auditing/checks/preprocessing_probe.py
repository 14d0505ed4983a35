"""The preprocessing probe: whether a model sees photos as it did in training, told from how clear its answers are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.photos import Photos
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.inputs.expectation import Expectation, keeping_preprocessing
from onnxviz.inputs.preprocessing import NAMED, Preprocessing
from onnxviz.messages import option

# Of fewer classes, a margin in units of their scores' spread says nothing: of two it is always 2.
_FEWEST_CLASSES = 5
# The next class alone is often another name of the best one: margins over it vary several times as much.
_NEXT = 5


@check("I01", Severity.WARNING, needs=("data",), images=30, most=120, gain=0.1, deviations=3)
def preprocessing_probe(subject: Subject) -> Iterator[Finding]:
    """Photos that reach the model in another way than in training: another range, or BGR for RGB.

    Why it matters: a model fed 0…255 for 0…1, or blue for red, still answers, with less accuracy and without an error.

    How it is measured: each photo is given to the model as stated and in the other usual ways: raw (0…255), unit
    (0…1), signed (−1…1), torch (torchvision's mean and deviation) and caffe (mean taken out, BGR), each as RGB and as
    BGR. Of the scores before softmax, each class's mean over the photos is taken out; a photo's clearness is then how
    far its best class lies above the mean of the next five (of fewer than ten classes, half of them), in units of the
    deviation of its scores, so that a way that only makes scores larger, or gives one answer for all, gains nothing.
    Another way is reported where the mean clearness is larger by `gain`, and the photos' differences lie `deviations`
    standard errors above zero (paired t-test). A way whose differences lie less far from zero on either side cannot be
    told from the stated one: then the check has no result, and names it. It takes `images` photos of several classes,
    and a model of five or more.
    Seen were the sample classifier and EfficientNet-Lite0, Lite1 and Lite2, on 30 to 36 crops of three photos and
    of nine. Under the right way no other gained 2.1 standard errors; that held for a classifier of CIFAR-10 and one of
    five kinds of pictures too, which tell few photos apart and are rarely warned of at all. BGR for RGB gained 18 % to
    60 % (3.0 to 5.0 standard errors), 0…255 for 0…1 and the reverse 68 % and more, signed for torch 14 % to 20 % (4.0
    to 4.5). Two ways under which a model answers alike are not told apart: torch for signed is some twice the contrast,
    which gains 5 % to 22 % on the three EfficientNets. On the sample classifier it gains 0 % to 4 %: 0.1 to 1.1
    standard errors on 36 photos, 1.4 to 2.4 on 120, and 3.3 to 3.8 on 400.

    What to do: compare accuracy on labelled photos under both, then keep the right one in the file with `onnxviz
    annotate`.
    """
    photos = Photos.of(subject, subject.threshold("images"), subject.threshold("most"))
    stated = subject.images.expected.of_input(photos.port.name)
    ways = _usable(photos, [stated, _turned(stated), *_ways()])
    if len(ways) == 1:
        raise UnmeasuredError(f"the input takes {photos.port.dtype}, which only the stated preprocessing fits")
    scores = _scores(subject, photos, ways)
    seen = len(scores[0])
    if seen < subject.threshold("images"):
        raise UnmeasuredError(f"only {seen} of {len(photos.chosen)} photos could be used")
    clear = [_clearness(one) for one in scores]
    gains = [(float(one.mean() - clear[0].mean()), _deviations(one - clear[0]), place) for place, one in
             enumerate(clear) if place]  # fmt: skip
    gained, deviations, best = max(gains)
    clearness = float(clear[0].mean())
    share = gained / clearness if clearness else math.inf
    limit = subject.threshold("deviations")
    if share <= subject.threshold("gain") or deviations <= limit:
        _require_told(ways, [(one / clearness if clearness else math.inf, apart, place) for one, apart, place in gains
                             if apart >= -limit], seen, limit)  # fmt: skip
        return
    changed = int((scores[0].argmax(1) != scores[best].argmax(1)).sum())
    yield subject.finding(
        f"under '{ways[best].words}' the model answers {share:.0%} more clearly than under the stated "
        f"'{ways[0].words}', limit {subject.threshold('gain'):.0%} ({deviations:.1f} standard errors, limit "
        f"{limit:g}), and otherwise on {changed} of {seen} photos",
        f"compare both on labelled photos "
        f"({option('preprocess', ways[best].words, repr(ways[best].words))}), then keep the right one with "
        f"{keeping_preprocessing(subject.model.label)}",
        where=photos.port.name,
        value=share,
        threshold=subject.threshold("gain"),
    )


def _require_told(ways: list[Preprocessing], alike: list[tuple[float, float, int]], photos: int, limit: float) -> None:
    """Refuses to pass a way of which another cannot be told.

    Args:
        ways: all of them, the stated one first.
        alike: (gain of clearness as a share, standard errors, place among the ways) of those that cannot be told.
        photos: how many there are.
        limit: standard errors from which on they can.

    Raises:
        UnmeasuredError: there are such ways.
    """
    if not alike:
        return
    gain, deviations, _ = max(alike)
    names = " or ".join(f"'{ways[place].words}'" for _, _, place in sorted(alike, reverse=True))
    which = "the first of them" if len(alike) > 1 else "that"
    raise UnmeasuredError(
        f"the stated '{ways[0].words}' cannot be told from {names} with {photos} photos: under {which} the model "
        f"answers {abs(gain):.1%} {'more' if gain > 0 else 'less'} clearly ({abs(deviations):.1f} standard errors, "
        f"limit {limit:g}); compare them on labelled photos ({option('classes')})"
    )


def _ways() -> list[Preprocessing]:
    """The usual ones, each in both orders of channels."""
    return [way for one in NAMED.values() for way in (one, _turned(one))]


def _turned(one: Preprocessing) -> Preprocessing:
    """The same numbers for each colour, in the other order."""
    order = "BGR" if one.order == "RGB" else "RGB"
    return replace(one, name="custom", order=order, mean=one.mean[::-1], std=one.std[::-1])


def _usable(photos: Photos, ways: list[Preprocessing]) -> list[Preprocessing]:
    """The first, and those others that the input can hold and that are not the same."""
    grey = photos.channels == 1
    usable: list[Preprocessing] = []
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(photos.channels or 3, axis=2)
    for one in ways:
        if usable and (grey and one.order == "BGR"):
            continue
        images = replace(photos.images, expected=Expectation(one))
        try:
            photos.feeds(photos.chosen[0], levels, images)
        except InputError:
            if not usable:
                raise
            continue
        if not any(_same(one, other) for other in usable):
            usable.append(one)
    return usable


def _same(one: Preprocessing, other: Preprocessing) -> bool:
    if one.order != other.order:
        return False
    ends = np.array([[[0.0] * 3, [255.0] * 3]])
    channels = {len(two.mean) for two in (one, other)} | {len(two.std) for two in (one, other)}
    if not channels <= {1, 3}:
        return False
    mine, theirs = (replace(two, order="RGB").apply(ends) for two in (one, other))
    return bool(np.allclose(mine, theirs, atol=1e-2 * float(np.ptp(mine))))


def _scores(subject: Subject, photos: Photos, ways: list[Preprocessing]) -> list[NDArray[np.float64]]:
    """The scores of each photo under each way, (photos, classes); photos that cannot be used are left out."""
    found: list[list[NDArray[np.float64]]] = [[] for _ in ways]
    prepared = [replace(photos.images, expected=Expectation(one)) for one in ways]
    for sample in photos.chosen:
        try:
            pixels = photos.pixels(sample, photos.size)
            scored = [subject.scorer.of(photos.feeds(sample, pixels, images))[0] for images in prepared]
        except UnmeasuredError:
            raise
        except OnnxvizError:
            continue
        classes, positions = scored[0].shape
        if positions > 1 or classes < _FEWEST_CLASSES:
            raise UnmeasuredError(
                f"it needs one answer an image, among {_FEWEST_CLASSES} classes or more; the model scores {classes}"
                + (f" at {positions:,} positions" if positions > 1 else "")
            )
        for kept, one in zip(found, scored, strict=True):
            kept.append(one[:, 0])
    return [np.stack(one) if one else np.zeros((0, 0)) for one in found]


def _clearness(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each photo's best class is above the mean of the next, in units of its scores' deviation; (photos,)."""
    apart = np.nan_to_num(scores - scores.mean(0))
    count = min(_NEXT, apart.shape[1] // 2)
    best = np.sort(apart, axis=1)[:, -count - 1 :]
    spread = apart.std(axis=1)
    clear: NDArray[np.float64] = (best[:, -1] - best[:, :-1].mean(axis=1)) / np.where(spread > 0, spread, 1)
    return clear


def _deviations(differences: NDArray[np.float64]) -> float:
    """How many standard errors the mean of differences is above zero."""
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    mean = float(differences.mean())
    return mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
