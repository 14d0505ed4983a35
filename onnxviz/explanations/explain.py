"""`explain`: saliency, class activation maps and perturbation methods for any `.onnx`.

`explain` gives the raw map of one sample, `explain_each` those of many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError, OnnxvizError, SelectionError, UnheededOptionError, UnsupportedGradientError
from onnxviz.explanations.box_target import BoxChoice, BoxTarget
from onnxviz.explanations.case import Case
from onnxviz.explanations.explanation import Explanation
from onnxviz.explanations.method import Method
from onnxviz.explanations.methods import MethodOptions, choose_method, gradient_free
from onnxviz.explanations.probe import Probe
from onnxviz.explanations.target import ChooseTarget, ClassChoice, ClassTarget, Region, Target
from onnxviz.inputs.failures import Progress
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.image_files import Picture
from onnxviz.inputs.labels import fitting_names
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import Feeds, ImageOptions, InputLike, Sample, Size, samples
from onnxviz.messages import dims, for_reader, option, printable, unheeded
from onnxviz.model.class_choice import ClassesLike, class_numbers
from onnxviz.model.detection.box_scores import with_box_scores
from onnxviz.model.model import Source, load
from onnxviz.model.score_steps import REAL_SCORES, with_real_scores
from onnxviz.model.scores import find_scores, name_of
from onnxviz.runtime.batching import DEFAULT_MEMORY
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


_USUAL_SCORE, _USUAL_RUN = ScoreChoice(), RunOptions()


class ExplainOptions(MethodOptions, total=False):
    """Options of `explain` but for its input's and its method."""

    class_: ClassesLike | ChooseTarget
    target: str | None
    region: Region
    box: int | None
    wrt: str | None
    axes: Mapping[str, str] | None
    labels: Sequence[str] | None
    provider: str
    memory: int
    threads: int


@typed
def explain(
    model: Source,
    x: InputLike,
    *,
    class_: ClassChoice | ChooseTarget = "top",
    method: str | Method = "grad-cam",
    target: str | None = None,
    region: Region = "auto",
    box: int | None = None,
    wrt: str | None = None,
    axes: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    preprocess: str | Preprocessing = "auto",
    size: Size | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    memory: int = DEFAULT_MEMORY,
    threads: int = 0,
    progress: Progress | None = None,
    **options: Unpack[MethodOptions],
) -> Explanation:
    """Where the model looks on one sample.

    Args:
        model: an opened model, or what `load` opens.
        x: an image, or an array in the model's layout; see `onnxviz.inputs.samples.samples`. One sample.
        class_: a class by number or name, or "top" for the model's own answer; for other tensors, a channel. Or a
            target of your own, such as the difference of two classes: see `onnxviz.explanations.target.ChooseTarget`.
        method: one of `METHODS`, or a method as a value, `Rise(samples=500)`, which may be one of your own
            (`onnxviz.explanations.method.Method`). eigen-cam, score-cam, occlusion and
            rise need no gradient.
        target: a tensor by name; None for the output that scores classes (`onnxviz.model.answer.choose_output`).
            Softmax, sigmoid or arg-max at the end is left out.
        region: where the target is a picture (segmentation), what part of it; see
            `onnxviz.explanations.target.ClassTarget`. Of a detector, (top, left, bottom, right) in pixels of the input
            for the best box whose centre lies there, or "all" for the sum over all boxes.
        box: of a detector, the number of a box in its output; None for the best box of the class.
        wrt: the input to explain, where the model has several.
        axes: what the axes of tensors count, where the graph does not tell, by the name of an input, a layer or a
            tensor: `{"views": "N,V,C,H,W"}`; see `onnxviz.model.model.Model.with_axes`.
        labels: names of the classes; None for those in the model's metadata.
        preprocess: what is done to images; `auto` asks the model's metadata, then its graph.
        size: (height, width) of images where the model leaves it open.
        fit: "stretch" images to the size (None), or "crop" them.
        background: colour behind transparent pixels; None for white.
        provider: an execution provider of onnxruntime by its short name, as "cpu", "cuda",
            "openvino:device_type=CPU"; there is no fallback from one that cannot start.
        memory: bytes that a batch of variants may take, about.
        threads: of onnxruntime; 0 for its own choice.
        progress: called with (variants run, variants in all) by methods that run many, first with 0 run.
        **options: of the method; None for its own default, and refused by a method that does not use it:
            layer: the CAM methods: a layer's name or position, or a tensor's name; by default the last convolution
                with positions before the target (`onnxviz.explanations.layer_choice.choose_layer`).
            samples: integrated-gradients: points on the path (50); smooth-grad: noisy copies (50); rise: masks (1000).
            noise: smooth-grad: standard deviation, as a share of the input's range (0.15).
            baseline: integrated-gradients, occlusion: the value of the model's input that stands for "nothing" (0).
            window: occlusion: side of the square in pixels (an eighth of the shorter side; a quarter in volumes).
            stride: occlusion: its step (half a window).
            cells: rise: cells along each side of a mask (7).
            keep: rise: the share of cells that stay (0.5).
            seed: smooth-grad, rise: of the noise or the masks (0).

    Raises:
        UnsupportedGradientError: the method needs a gradient that the model does not have; the message says why, and
            what works.
        SelectionError: there is no such class, layer, tensor, input or method, or the method does not use an option.
        InputError: the input cannot be used, is not one sample, or its gradient is not finite.
        ModelError: the model cannot be run.
    """
    explainer = Explainer(
        model, method, ScoreChoice(class_, target, region, labels, box), wrt=wrt, axes=axes,
        running=RunOptions(provider, memory, threads), **options,
    )  # fmt: skip
    if len(explainer.aims) != 1:
        raise InputError(f"{len(explainer.aims)} classes were given; explain takes one, explain_each several")
    images = ImageOptions.of(explainer.model, preprocess, size, fit, background)
    given = explainer.samples(x, images)
    if len(given) != 1:
        raise InputError(f"{len(given)} samples were given; explain takes one, explain_each as many as there are")
    found = list(explainer.each(given, images, progress=progress))
    if len(found) != 1:
        raise InputError(f"{len(found)} samples were given; explain takes one, explain_each as many as there are")
    return found[0]


@typed
def explain_each(
    model: Source,
    x: InputLike,
    *,
    method: str | Method = "grad-cam",
    preprocess: str | Preprocessing = "auto",
    size: Size | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    **options: Unpack[ExplainOptions],
) -> Iterator[Explanation]:
    """One `Explanation` for each sample of `x` and each class, one after the other; the rest as for `explain`.

    `class_` may be several classes (`onnxviz.model.class_choice.class_numbers`): [3, "dog"], "0,3,5-9", "all".
    """
    given: dict[str, Any] = dict(options)
    score, running = ScoreChoice(**_taken(given, ScoreChoice)), RunOptions(**_taken(given, RunOptions))
    explainer = Explainer(model, method, score, running=running, **given)
    images = ImageOptions.of(explainer.model, preprocess, size, fit, background)
    return explainer.each(explainer.samples(x, images), images)


def _taken(given: dict[str, Any], kind: type) -> dict[str, Any]:
    """Those of the options that are fields of a dataclass, taken out."""
    return {field.name: given.pop(field.name) for field in fields(kind) if field.name in given}


class Explainer:
    """One model, one method, many samples: sessions and gradients are made once.

    Args: as for `explain`; `options` say how the model is run.

    Attributes:
        model: the model.
        method: how it is explained.
        scores: the tensor that gives the scores.
        names: of the classes.
        aims: what decides which number is explained, one for each class.
    """

    def __init__(
        self,
        model: Source,
        method: str | Method = "grad-cam",
        score: ScoreChoice = _USUAL_SCORE,
        *,
        wrt: str | None = None,
        axes: Mapping[str, str] | None = None,
        running: RunOptions = _USUAL_RUN,
        **options: Unpack[MethodOptions],
    ) -> None:
        self.method = choose_method(method, options)
        self.model = load(model).with_axes(axes)
        try:
            self.scores = find_scores(self.model, score.target)
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
        progress: Progress | None = None,
    ) -> Iterator[Explanation]:
        """The explanation of each sample.

        Args:
            given: the samples.
            images: how image files are read.
            on_error: called with a sample's label and error; None to raise the first.
            progress: as for `explain`.
        """
        for sample in given:
            try:
                rows = self.probe.batching.rows(sample.read())
                for number, feeds in enumerate(rows):
                    label = sample.label if len(rows) == 1 else f"{sample.label}[{number}]"
                    for aim in self.aims:
                        yield self.of(feeds, label, sample.photo, images if sample.photo else None, progress, aim)
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

    def of(
        self,
        feeds: Feeds,
        label: str = "array",
        photo: str | Picture = "",
        images: ImageOptions | None = None,
        progress: Progress | None = None,
        aim: ChooseTarget | BoxChoice | None = None,
    ) -> Explanation:
        """The explanation of one sample, given as arrays of one row each by input name."""
        case, decided = self.case(feeds, progress, aim)
        try:
            found = self.method(case)
        except UnsupportedGradientError as error:
            raise error.offering(gradient_free(case)) from None
        misfit = "" if self._labelled or decided.axis is None else self.scores.misfit((1, *case.base.shape))
        boxes = decided if isinstance(decided, BoxTarget) else None
        checking = for_reader("--sanity", "explain_sanity")
        texts = (
            self.method.warning.replace("{sanity}", checking),
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
            method=self.method.name,
            signed=self.method.signed,
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
            settings=self.method,
            sample=label,
            path=photo if isinstance(photo, str) else "",
            image=photo,
            input=case.x.copy(),
            channel_axis=case.channel_axis,
            provenance=Provenance(self.model, self.probe.options, images),
            case=case,
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
