"""Checks of images: constant answers, what deployment does to photos, kinds of probabilities, filters of resizing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.photos import Photos
from onnxviz.auditing.registry import check
from onnxviz.auditing.scorer import Scored, changes, wilson_bounds
from onnxviz.auditing.subject import Subject
from onnxviz.errors import OnnxvizError
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.perturbed_image import (
    FILTERS,
    INPUT_PERTURBATIONS,
    SHIFT,
    USUAL_FILTER,
    Pixels,
    recompressed,
    resized_by,
)
from onnxviz.inputs.samples import Sample
from onnxviz.messages import option, printable
from onnxviz.model.scores import find_scores

Variants = Callable[[Sample], Iterator[tuple[str, Pixels]]]
"""A photo's pixels by what was done to them, the unchanged ones first, under ""; none where it is left out."""


@check("I02", Severity.ERROR, needs=("data",), samples=8, spread=1e-2, apart=0.1)
def constant_answer(subject: Subject) -> Iterator[Finding]:
    """One answer for all images, however different they are.

    Why it matters: whatever the camera sees, the model says the same; a broken export, a lost weight or an input in
    the wrong range does this, and no error shows.

    How it is measured: of the scores before softmax, the deviation between samples (averaged over classes) over the
    deviation between classes (of their means over the samples). Below `spread`, with one class first in all of
    `samples` or more, the answer is constant. The samples must differ themselves, by `apart` of the deviation within
    the first, on average.

    What to do: run the source model on two of the images; if it tells them apart, compare the two layer by layer
    (`onnxviz compare`); if not, check the preprocessing.
    """
    seen = subject.score_summary
    if seen.count < subject.threshold("samples"):
        raise UnmeasuredError(f"it needs {subject.threshold('samples'):g} samples, and {seen.count} could be used")
    among = float(np.mean(seen.apart)) if seen.apart else math.inf
    if among < subject.threshold("apart"):
        raise UnmeasuredError(
            f"the samples are too much alike: they differ by {among:.2g} of the first's deviation, limit "
            f"{subject.threshold('apart'):g}"
        )
    between, deviation = float(seen.classes.mean.std()), float(np.sqrt(seen.classes.variance).mean())
    share = deviation / between if between else math.inf if deviation else 0.0
    if len(seen.winners) == 1 and share < subject.threshold("spread"):
        name = subject.scorer.scores.name(min(seen.winners), None)
        called = f" ('{printable(name)}')" if name else ""
        yield subject.finding(
            f"class {min(seen.winners)}{called} comes first on all {seen.count} samples, and their scores differ by "
            f"{share:.2g} of what the classes differ by, limit {subject.threshold('spread'):g}",
            "run the source model on two of them, compare the two with 'onnxviz compare', and check the preprocessing",
            where=subject.scorer.scores.output,
            value=share,
            threshold=subject.threshold("spread"),
        )


# Of trained models no sure answer of a classifier changed (EfficientNet-Lite0 to 2 and the sample classifier; 10 to 29
# photos; int8 and float16 too), and 3.4 % of the sample U-Net's mask, under brightness. Networks with drawn weights,
# sure of what they never learnt, change up to 64 %: what the check is to find.
@check("I05", Severity.WARNING, needs=("data",), images=8, most=200, sure=0.5, note=0.05, warning=0.2)
def fragile_answers(subject: Subject) -> Iterator[Finding]:
    """Answers that change under what deployment does to photos: JPEG, a pixel's shift, brightness.

    Why it matters: the photo of the demonstration is kept as JPEG once more, a pixel farther left, in other light; an
    answer that changes by that was luck.

    How it is measured: each photo is kept as JPEG of quality 75 at its own size; or, at the model's size, shifted by
    one pixel, or made 5 % brighter or darker. Counted is for each of these at how many photos another class comes first
    (of a mask, at which share of positions; a mask moves with the photo, and is left out under a shift where it is
    coarser), among those of which the model is sure: its class has the share `sure` of the softmax, or more. There must
    be `images` of them. Reported is the worst: a note above `note`, a warning where the lower end of the 95 % interval
    (Wilson 1927) is above `warning`. Convolutional networks change some 10 % of all answers on ImageNet under a shift
    (Zhang 2019, "Making convolutional networks shift-invariant again").

    What to do: train with these changes as augmentation; look at the photos whose answers change.
    """
    photos = Photos.of(subject, subject.threshold("images"), subject.threshold("most"))
    flips = _Flips(subject.threshold("sure"))

    def variants(sample: Sample) -> Iterator[tuple[str, Pixels]]:
        own = photos.pixels(sample, None)
        plain = own if photos.size is None else resized_by(own, photos.size, photos.images.fit)
        yield "", plain
        kept = recompressed(own)
        yield "JPEG at 75", kept if photos.size is None else resized_by(kept, photos.size, photos.images.fit)
        for name, change in INPUT_PERTURBATIONS.items():
            yield name, change(plain)

    for sample in photos.chosen:
        flips.take(subject, photos, sample, variants)
    flips.require(subject.threshold("images"))
    worst = flips.worst()
    such = f", such as {printable(flips.example[worst])}" if worst in flips.example else ""
    do = "train with these changes as augmentation, and look at the photos whose answers change" + such
    yield from flips.judged(subject, worst, f"under {worst}", do)


@check("I07", Severity.WARNING, needs=("data",), images=8, most=200, sure=0.5, note=0.0, warning=0.02)
def resize_contract(subject: Subject) -> Iterator[Finding]:
    """Answers that depend on the filter with which photos are resized.

    Why it matters: each library resizes in another way under the same name (OpenCV does not average where it shrinks,
    Pillow does); up to one percent of accuracy is lost where deployment and training differ, and nothing tells.

    How it is measured: photos are resized from their own size with each of bilinear with averaging (Pillow, the usual
    here), bilinear without (OpenCV), nearest, bicubic, Lanczos and area, and cropped where they are stretched or the
    other way round. Counted is at how many another class comes first than usual, among those of which the model is
    sure: its class has the share `sure` of the softmax, or more. Any change by a filter above `note` is a note, a
    warning where the lower end of the 95 % interval (Wilson 1927) of the worst filter is above `warning`. Cropping
    shows another part of the photo: its changes are told, not judged.

    What to do: state in the model's documentation how photos are resized, and resize so in deployment.
    """
    photos = Photos.of(subject, subject.threshold("images"), subject.threshold("most"))
    size, fit = photos.size, photos.images.fit
    if size is None:
        raise UnmeasuredError(f"each photo keeps its own size: none is resized ({option('size')})")
    flips = _Flips(subject.threshold("sure"))
    other: Fit = "crop" if fit == "stretch" else "stretch"

    def variants(sample: Sample) -> Iterator[tuple[str, Pixels]]:
        own = photos.pixels(sample, None)
        if own.shape[:2] == size:
            return
        yield "", resized_by(own, size, fit)
        for name in FILTERS:
            if name != USUAL_FILTER:
                yield name, resized_by(own, size, fit, name)
        yield other, resized_by(own, size, other)

    for sample in photos.chosen:
        flips.take(subject, photos, sample, variants)
    flips.require(subject.threshold("images"), "of another size than the model's")
    worst = flips.worst(but=other)
    do = "state how photos are resized, and resize so in deployment: here bilinear, averaging where it shrinks"
    yield from flips.judged(subject, worst, f"resized by '{worst}'", do)


@dataclass
class _Flips:
    """How many answers change, by what was done to the photo.

    Attributes:
        sure: see `changes`.
        sums: changed answers, by name.
        count: sure answers; photos, or of masks the parts of them.
        example: a photo whose answer changed, by name.
    """

    sure: float
    sums: dict[str, float] = field(default_factory=dict)
    count: float = 0.0
    example: dict[str, str] = field(default_factory=dict)

    def take(self, subject: Subject, photos: Photos, sample: Sample, variants: Variants) -> None:
        """Takes in a photo."""
        found: dict[str, float] = {}
        certain = 0.0
        usual: Scored | None = None
        try:
            for name, pixels in variants(sample):
                scored = subject.scorer.of(photos.feeds(sample, pixels))[0]
                if usual is None:
                    usual = scored
                elif name == SHIFT and usual.shape[1] > 1:
                    if usual.shape[1] == math.prod(pixels.shape[:2]):
                        found[name] = _moved(usual, scored, pixels.shape[:2], self.sure)
                else:
                    found[name], certain = changes(usual, scored, self.sure)
        except UnmeasuredError:
            raise
        except OnnxvizError:
            return
        if not certain:
            return
        self.count += certain
        for name, share in found.items():
            self.sums[name] = self.sums.get(name, 0.0) + share
            if share:
                self.example.setdefault(name, sample.label)

    def require(self, least: float, what: str = "that can be used") -> None:
        """Refuses too few photos.

        Raises:
            UnmeasuredError: there are fewer than `least`.
        """
        if self.count < least:
            raise UnmeasuredError(
                f"it needs {least:g} photos {what}, of which the model is sure; there are {self.count:.4g}"
            )

    def worst(self, but: str = "") -> str:
        """By what most answers change, the first of equals; `but` is not judged."""
        return max((name for name in self.sums if name != but), key=lambda name: self.sums[name])

    def judged(self, subject: Subject, worst: str, how: str, do: str) -> Iterator[Finding]:
        """A finding where by the worst more answers change than the check's `note` and `warning` let pass."""
        shares = {name: one / self.count for name, one in self.sums.items()}
        share = shares.pop(worst)
        grave = wilson_bounds(share, self.count)[0] > subject.threshold("warning")
        limit = subject.threshold("warning" if grave else "note")
        if grave or share > limit:
            others = ", ".join(f"{name} {one:.1%}" for name, one in shares.items())
            yield subject.finding(
                f"{how} {share:.1%} of the sure answers on {self.count:.4g} photos change, limit {limit:.0%}; {others}",
                do,
                severity=Severity.WARNING if grave else Severity.NOTE,
                value=share,
                threshold=limit,
            )


def _moved(before: Scored, after: Scored, size: tuple[int, int], sure: float) -> float:
    """The share of a mask's positions whose sure answer changes but for moving with the photo (`shifted`), 0…1."""
    first, second = before.reshape(-1, *size)[:, :-1, :-1], after.reshape(-1, *size)[:, 1:, 1:]
    return changes(first.reshape(len(before), -1), second.reshape(len(after), -1), sure)[0]


@check("I06", Severity.ERROR, takes=("data",), samples=8, share=0.9)
def kind_of_output(subject: Subject) -> Iterator[Finding]:
    """A softmax that is taken twice, is missing, or is saturated.

    Why it matters: a softmax of probabilities lies between 1/n and e/(e + n − 1) whatever the image, so that no
    threshold works; numbers that are no probabilities are taken for such; and shares that are 1 for every image tell
    nothing about how sure the model is.

    How it is measured: in the graph, a softmax whose scores are the result of a softmax is an error, of one and a
    sigmoid a warning. With `samples` or more of data: scores before a softmax that are probabilities on all of them are
    an error; the largest share being 1 to the last bit of float32 on more than `share` of them is a warning; scores
    that are no probabilities, with no softmax behind them, are a note.

    What to do: leave one softmax out of the export, or apply the one that is missing; for saturated shares, check the
    preprocessing and the scale of the scores.
    """
    scores = subject.scorer.scores
    again = find_scores(subject.model, scores.tensor)
    if scores.link and again.link:
        twice = scores.link == again.link == "softmax"
        words = "a softmax of a softmax" if twice else f"a {scores.link} of a {again.link}"
        yield subject.finding(
            f"the answer is {words}: 2 where 1 is right",
            "leave one of them out of the export",
            severity=Severity.ERROR if twice else Severity.WARNING,
            where=scores.output,
            value=2.0,
            threshold=1.0,
        )
        return
    if subject.extras.data is None:
        raise UnmeasuredError(
            f"no softmax is taken twice in the graph; what the scores are needs data ({option('data')})"
        )
    yield from _kind_on_data(subject)


def _kind_on_data(subject: Subject) -> Iterator[Finding]:
    scores, seen = subject.scorer.scores, subject.score_summary
    if seen.single or scores.link == "sigmoid":
        raise UnmeasuredError("the answer is no softmax: its classes do not exclude one another")
    if seen.count < subject.threshold("samples"):
        raise UnmeasuredError(f"it needs {subject.threshold('samples'):g} samples, and {seen.count} could be used")
    saturated = seen.saturated / seen.count
    if scores.link and seen.probabilities == seen.count:
        yield subject.finding(
            f"the scores before the softmax are probabilities already, on {seen.count} of {seen.count} samples",
            "leave one of them out of the export",
            where=scores.tensor,
            value=1.0,
        )
    elif not scores.link and not seen.probabilities and (seen.lowest < 0 or seen.highest > 1):
        yield subject.finding(
            f"the answer is scores of {seen.lowest:.4g}…{seen.highest:.4g}, not probabilities: no softmax follows",
            "apply a softmax where shares are needed",
            severity=Severity.NOTE,
            where=scores.output,
        )
    if saturated > subject.threshold("share"):
        yield subject.finding(
            f"the best class has all of the share, to the last bit of float32, on {saturated:.0%} of {seen.count} "
            f"samples, limit {subject.threshold('share'):.0%}",
            "check the preprocessing (I01) and the scale of the scores; thresholds on such shares mean nothing",
            severity=Severity.WARNING,
            where=scores.output,
            value=saturated,
            threshold=subject.threshold("share"),
        )
