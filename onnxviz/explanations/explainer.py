"""Explainers: one model asked of many samples, of each class and by each method, where it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, OnnxvizError, SelectionError, UnheededOptionError, UnsupportedGradientError
from onnxviz.explanations.box_target import BoxChoice, BoxTarget
from onnxviz.explanations.case import Case
from onnxviz.explanations.explanation import Explanation
from onnxviz.explanations.method import Method, MethodResult
from onnxviz.explanations.methods import MethodOptions, MethodsLike, choose_methods, gradient_free
from onnxviz.explanations.probe import Probe
from onnxviz.explanations.target import ChooseTarget, ClassChoice, ClassTarget, Region, Target
from onnxviz.inputs.failures import Progress
from onnxviz.inputs.image_files import Picture
from onnxviz.inputs.labels import fitting_names
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import Feeds, ImageOptions, InputLike, Sample, samples
from onnxviz.messages import dims, for_reader, option, printable, unheeded
from onnxviz.model.class_choice import ClassesLike, class_numbers
from onnxviz.model.detection.box_scores import with_box_scores
from onnxviz.model.model import Source, load
from onnxviz.model.score_steps import REAL_SCORES, with_real_scores
from onnxviz.model.scores import find_scores, name_of
from onnxviz.runtime.session import RunOptions


@dataclass(frozen=True)
class ScoreChoice:
    """The number that is explained, as `explain` takes it.

    Attributes:
        class_: a class or several, "top" for the model's answer, or a choice of one's own.
        target: the tensor of the scores; None for those of the output that scores classes.
        region: of a segmentation, or of the input of a detector.
        labels: names of the classes, in place of the model's own.
        box: the number of one of a detector's boxes; None to choose it by its score.
    """

    class_: ClassesLike | ChooseTarget = "top"
    target: str | None = None
    region: Region = "auto"
    labels: Sequence[str] | None = None
    box: int | None = None


@dataclass(frozen=True, eq=False)
class Fed:
    """One sample as it is fed: arrays of one row each by input name, its label, its photo, how that was read."""

    feeds: Feeds
    label: str
    photo: str | Picture
    images: ImageOptions | None


class _Told:
    """Passes on how far a method is to whoever asks for that method."""

    progress: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)


_USUAL_SCORE, _USUAL_RUN = ScoreChoice(), RunOptions()


class Explainer:
    """One model, many samples, classes and methods: the model is opened once, sessions and gradients are made once.

    Args: as for `explain`; `options` say how the model is run.

    Attributes:
        model: the model.
        methods: how it is explained.
        scores: the tensor that gives the scores.
        names: of the classes.
        aims: what decides which number is explained, one for each class.
    """

    def __init__(
        self,
        model: Source,
        method: MethodsLike = "grad-cam",
        score: ScoreChoice = _USUAL_SCORE,
        *,
        wrt: str | None = None,
        axes: Mapping[str, str] | None = None,
        running: RunOptions = _USUAL_RUN,
        **options: Unpack[MethodOptions],
    ) -> None:
        self.methods = choose_methods(method, options)
        self.model = load(model).with_axes(axes)
        try:
            self.scores = find_scores(self.model, score.target, labelled=score.labels is not None)
        except SelectionError as error:
            if score.target is not None:
                raise
            raise SelectionError(f"{error}; name the one that is meant ({option('target', 'NAME')})") from None
        if score.labels is not None:
            count = self.scores.count(self.model.shapes.of(self.scores.tensor))
            self.names = fitting_names(score.labels, self.scores, count)
        else:
            self.names = self.scores.names
        self._labelled = score.labels is not None
        tensor = self.scores.tensor
        if self.scores.head is not None:
            self.model = with_box_scores(self.model, self.scores.head)
            self.names = self.scores.head.names_for(self.names)
        elif self.scores.steps is not None:
            self.model = with_real_scores(self.model, tensor, self.scores.steps)
            tensor = REAL_SCORES
        if self.scores.head is None and score.box is not None:
            raise unheeded(f"the answer of {self.model.label} is not one of boxes: leave out {{box}}")
        classes = self._classes(score.class_)
        if self.scores.head is None or callable(score.class_):
            self.aims: list[ChooseTarget | BoxChoice] = [_chooser(one, score.region, self.names) for one in classes]
        else:
            head, region = self.scores.head, score.region
            boxes = [BoxChoice(head, one, region, score.box, self.names) for one in classes if not callable(one)]
            self.aims, tensor = [*boxes], boxes[0].tensor
        self.probe = Probe(self.model, tensor, wrt, running)

    def samples(self, x: InputLike, images: ImageOptions) -> list[Sample]:
        """The samples that `x` means; see `onnxviz.inputs.samples.samples`."""
        found = samples(self.model, x, images)
        images.check_heeded(self.model, found)
        return found

    def each(
        self,
        given: Sequence[Sample],
        images: ImageOptions,
        *,
        on_error: Callable[[str, OnnxvizError], None] | None = None,
        progress: Callable[[Method], Progress | None] | None = None,
        done: Callable[[], None] | None = None,
    ) -> Iterator[Explanation]:
        """The explanation of each sample, of each class, by each method; of a sample all of them or none.

        Args:
            given: the samples.
            images: how image files are read.
            on_error: called with a sample's label and error; None to raise the first.
            progress: gives of a method what it is to tell, as `explain` takes it.
            done: called behind each map.
        """
        for sample in given:
            try:
                rows = self.probe.batching.rows(sample.read())
                for number, feeds in enumerate(rows):
                    label = sample.label if len(rows) == 1 else f"{sample.label}[{number}]"
                    whole = Fed(feeds, label, sample.photo, images if sample.photo else None)
                    maps = (one for aim in self.aims for one in self._by_each_method(whole, aim, progress))
                    found = []
                    for one in maps:
                        found.append(one)
                        if done is not None:
                            done()
                    yield from found
            except (UnsupportedGradientError, UnheededOptionError):
                raise  # no other sample would do better
            except OnnxvizError as error:
                if on_error is None:
                    raise
                on_error(sample.label, error)

    def case(
        self, feeds: Feeds, progress: Progress | None = None, aim: ChooseTarget | BoxChoice | None = None
    ) -> tuple[Case, Target]:
        """One sample, and what of it is scored: by the first of `aims`, unless told."""
        bare = Case(self.probe, feeds, None, progress)
        aim = aim or self.aims[0]
        if isinstance(aim, BoxChoice):
            decided: Target = aim(bare)
        else:
            axis = bare.class_axis(self.scores.tensor) if bare.base.ndim > 1 else None
            decided = aim(self.scores if axis is None else replace(self.scores, axis=axis), bare.base)
        if decided.weights.shape != bare.base.shape:
            raise InputError(
                f"the target weighs values of shape {dims(decided.weights.shape)}, but "
                f"'{printable(self.scores.tensor)}' has {dims(bare.base.shape)} on this sample"
            )
        if self._labelled and decided.axis is not None:
            fitting_names(self.names, self.scores, _scores(decided))
        return bare.scoring(decided), decided

    def _by_each_method(
        self, fed: Fed, aim: ChooseTarget | BoxChoice, progress: Callable[[Method], Progress | None] | None
    ) -> Iterator[Explanation]:
        """The explanations of one class of a sample, which share what the methods have in common."""
        told = _Told()
        case, decided = self.case(fed.feeds, told, aim)
        shared = case.sharing() if len(self.methods) > 1 else case
        for method in self.methods:
            told.progress = progress(method) if progress is not None else None
            try:
                found = method(shared)
            except UnsupportedGradientError as error:
                raise self._told_of(method, error.offering(gradient_free(case))) from None
            except (InputError, SelectionError) as error:
                raise self._told_of(method, error) from None
            yield self._explanation(fed, case, decided, method, found)

    def _told_of(self, method: Method, error: OnnxvizError) -> OnnxvizError:
        """The error of one of several methods, which says which it was and how to do without."""
        others = [other.name for other in self.methods if other is not method]
        if not others:
            return error
        advice = f"leave {method.name} out ({option('method', ','.join(others), repr(others))})"
        text = f"{method.name}: {error}"
        if isinstance(error, UnsupportedGradientError):
            found = UnsupportedGradientError(f"{text}\n  Or {advice}.")
            found.gradient_free = error.gradient_free
            return found
        return type(error)(f"{text}; or {advice}")

    def _explanation(self, fed: Fed, case: Case, decided: Target, method: Method, found: MethodResult) -> Explanation:
        """The explanation of one sample by one method."""
        misfit = "" if self._labelled or decided.axis is None else self.scores.misfit((1, *case.base.shape))
        boxes = decided if isinstance(decided, BoxTarget) else None
        checking = for_reader("--sanity", "explain_sanity")
        texts = (
            method.warning.replace("{sanity}", checking),
            misfit,
            *found.warnings,
            *(boxes.warnings if boxes is not None else ()),
        )
        warnings = [text for text in texts if text]
        if not found.map.any() and not any("zero everywhere" in text for text in warnings):
            warnings.append(
                f"the map is zero everywhere: nothing in '{printable(found.tensor)}' speaks for {decided.what}"
                if found.tensor
                else f"the map is zero everywhere: {decided.what} does not change with the input"
            )
        chance = decided.probability(case.base[None])
        return Explanation(
            map=_single(found.map),
            attribution=None if found.attribution is None else _single(found.attribution),
            method=method.name,
            signed=method.signed,
            class_=decided.class_,
            class_name=self._name(decided),
            classes=decided.classes,
            score=case.score,
            probability=None if chance is None else float(chance[0]),
            target=self.scores.output if self.scores.head is not None else self.scores.tensor,
            output=self.scores.output,
            what=decided.what,
            layer=found.layer,
            tensor=found.tensor,
            axes=found.axes or case.axes,
            size=case.spatial,
            gap=found.gap,
            warnings=tuple(dict.fromkeys(warnings)),
            approximations=found.approximations,
            settings=method,
            sample=fed.label,
            path=fed.photo if isinstance(fed.photo, str) else "",
            image=fed.photo,
            input=case.x.copy(),
            channel_axis=case.channel_axis,
            provenance=Provenance(self.model, self.probe.options, fed.images),
            case=case,
            region=decided.region,
            box=boxes.explained if boxes is not None else None,
            boxes=boxes.boxes if boxes is not None else (),
            names=self.names,
        )

    def _classes(self, asked: ClassesLike | ChooseTarget) -> Sequence[ClassChoice | ChooseTarget]:
        """The classes that are explained, by number; "top" and a choice of one's own stay."""
        if callable(asked) or isinstance(asked, int) or asked == "top":
            return [asked]
        head = self.scores.head
        count = head.count if head is not None else self.scores.count(self.model.shapes.of(self.scores.tensor))
        return class_numbers(asked, self.names, count)

    def _name(self, decided: Target) -> str:
        """The class's name, "" where it has none."""
        if decided.axis is None or decided.class_ is None:
            return ""
        return name_of(decided.class_, self.names, _scores(decided))


def _scores(decided: Target) -> int | None:
    """How many scores the target chose among; a single one has two classes."""
    return None if decided.axis is None else decided.weights.shape[decided.axis]


def _chooser(class_: ClassChoice | ChooseTarget, region: Region, names: tuple[str, ...]) -> ChooseTarget:
    """What decides which number of each sample is explained."""
    if not callable(class_):
        return ClassTarget(class_, region, names)
    if not (isinstance(region, str) and region == "auto"):
        raise unheeded("a target of your own chooses its positions itself: leave out {region}")
    return class_


def _single(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, np.float32)
