"""Where a model looks: saliency, class activation maps and perturbation methods, for any `.onnx`.

`explain` gives the raw map of one sample, `explain_each` those of many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from onnxviz.batching import DEFAULT_MEMORY
from onnxviz.errors import InputError, OnnxvizError, SelectionError, UnsupportedGradientError
from onnxviz.explain.cam import choose_layer
from onnxviz.explain.checks import explain_faithfulness, explain_sanity
from onnxviz.explain.method import Settings
from onnxviz.explain.methods import METHODS
from onnxviz.explain.probe import Case, Probe
from onnxviz.explain.result import Explanation
from onnxviz.explain.target import Aim, ClassChoice, Region, Target, aim, class_names, find_target
from onnxviz.failures import Progress
from onnxviz.gradients.step import Mode
from onnxviz.images import Fit, Preprocessing
from onnxviz.inputs import Feeds, ImageOptions, InputLike, Sample, samples
from onnxviz.model import Source, load
from onnxviz.provenance import Provenance
from onnxviz.runtime import RunOptions
from onnxviz.text import printable
from onnxviz.weights import Array

__all__ = [
    "METHODS",
    "Explainer",
    "Explanation",
    "Settings",
    "explain",
    "explain_each",
    "explain_faithfulness",
    "explain_sanity",
]

_DEFAULT_OPTIONS = RunOptions()


def explain(
    model: Source,
    x: InputLike,
    *,
    class_: ClassChoice = "top",
    method: str = "grad-cam",
    layer: str | int | None = None,
    target: str | None = None,
    region: Region = "auto",
    wrt: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: str | Preprocessing = "auto",
    size: tuple[int, int] | None = None,
    fit: Fit = "stretch",
    background: str = "white",
    provider: str = "cpu",
    memory: int = DEFAULT_MEMORY,
    threads: int = 0,
    samples: int | None = None,
    noise: float = 0.15,
    baseline: float = 0.0,
    window: int | None = None,
    stride: int | None = None,
    cells: int = 7,
    keep: float = 0.5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Explanation:
    """Where the model looks on one sample.

    Args:
        model: an opened model, or what `load` opens.
        x: an image, or an array in the model's layout; see `onnxviz.inputs.samples`. One sample.
        class_: a class number, or "top" for the model's own answer. For other targets, a channel.
        method: one of `METHODS`. Those that need no gradient (eigen-cam, score-cam, occlusion, rise) work on every
            model.
        layer: for the CAM methods, a layer's name or position, or a tensor's name; None for the last convolution
            with positions before the target (`onnxviz.explain.cam.choose_layer`).
        target: a tensor by name; None for the first output. Softmax, sigmoid or arg-max at the end is left out.
        region: where the target is a picture (segmentation), what part of it; see `onnxviz.explain.target.aim`.
        wrt: the input to explain, where the model has several.
        labels: names of the classes; None for those in the model's metadata.
        preprocess: what is done to images; `auto` asks the model's metadata.
        size: (height, width) of images where the model leaves it open.
        fit: "stretch" images to the size, or "crop" them.
        background: colour behind transparent pixels.
        provider: "cpu" or "cuda".
        memory: bytes that a batch of variants may take, about.
        threads: of onnxruntime; 0 for its own choice.
        samples: points on the path of integrated-gradients (50), noisy copies of smooth-grad (50), masks of rise
            (1000).
        noise: smooth-grad: standard deviation, as a share of the input's range.
        baseline: integrated-gradients, occlusion: the value of the model's input that stands for "nothing".
        window: occlusion: side of the square in pixels; an eighth of the shorter side.
        stride: occlusion: its step; half a window.
        cells: rise: cells along each side of a mask.
        keep: rise: the share of cells that stay.
        seed: of everything random.
        progress: called with (variants run, variants in all) by methods that run many.

    Raises:
        UnsupportedGradientError: the method needs a gradient that the model does not have; the message says why, and
            what works.
        SelectionError: there is no such class, layer, tensor, input or method.
        InputError: the input cannot be used, is not one sample, or its gradient is not finite.
        ModelError: the model cannot be run.
    """
    settings = Settings(
        samples=samples, noise=noise, baseline=baseline, window=window, stride=stride, cells=cells, keep=keep, seed=seed
    )
    explainer = Explainer(
        model, method, class_=class_, layer=layer, target=target, region=region, wrt=wrt, labels=labels,
        settings=settings, options=RunOptions(provider, memory, threads),
    )  # fmt: skip
    images = ImageOptions.of(explainer.model, preprocess, size, fit, background)
    given = explainer.samples(x, images)
    if len(given) != 1:
        raise InputError(f"{len(given)} samples were given; explain takes one, explain_each as many as there are")
    found = list(explainer.each(given, images, progress=progress))
    if len(found) != 1:
        raise InputError(f"{len(found)} samples were given; explain takes one, explain_each as many as there are")
    return found[0]


def explain_each(
    model: Source,
    x: InputLike,
    *,
    method: str = "grad-cam",
    class_: ClassChoice = "top",
    layer: str | int | None = None,
    target: str | None = None,
    region: Region = "auto",
    wrt: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: str | Preprocessing = "auto",
    size: tuple[int, int] | None = None,
    fit: Fit = "stretch",
    background: str = "white",
    settings: Settings | None = None,
    provider: str = "cpu",
    memory: int = DEFAULT_MEMORY,
    threads: int = 0,
) -> Iterator[Explanation]:
    """One `Explanation` for each sample of `x`, one after the other; arguments and errors as for `explain`."""
    explainer = Explainer(
        model, method, class_=class_, layer=layer, target=target, region=region, wrt=wrt, labels=labels,
        settings=settings, options=RunOptions(provider, memory, threads),
    )  # fmt: skip
    images = ImageOptions.of(explainer.model, preprocess, size, fit, background)
    return explainer.each(explainer.samples(x, images), images)


class Explainer:
    """One model, one method, many samples: sessions and gradients are made once.

    Args: as for `explain`; `options` say how the model is run.

    Attributes:
        model: the model.
        method: how it is explained.
        target: the tensor that gives the scores.
        names: of the classes.
    """

    def __init__(
        self,
        model: Source,
        method: str = "grad-cam",
        *,
        class_: ClassChoice = "top",
        layer: str | int | None = None,
        target: str | None = None,
        region: Region = "auto",
        wrt: str | None = None,
        labels: Sequence[str] | None = None,
        settings: Settings | None = None,
        options: RunOptions = _DEFAULT_OPTIONS,
    ) -> None:
        if method not in METHODS:
            raise SelectionError(f"there is no method '{printable(method)}'; there are {', '.join(METHODS)}")
        self.model = load(model)
        self.method = METHODS[method]
        self.target: Target = find_target(self.model, target)
        self.names = tuple(labels) if labels is not None else class_names(self.model)
        self.settings = settings or Settings()
        self.probe = Probe(self.model, self.target.tensor, wrt, options)
        self._class = class_
        self._labelled = labels is not None
        self._layer = layer
        self._region = region
        if layer is not None and not self.method.of_layer:
            others = ", ".join(name for name, one in METHODS.items() if one.of_layer)
            raise SelectionError(f"{method} is a map of the input and takes no layer; {others} do")

    def samples(self, x: InputLike, images: ImageOptions) -> list[Sample]:
        """The samples that `x` means; see `onnxviz.inputs.samples`."""
        return samples(self.model, x, images)

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
                    yield self.of(feeds, label, sample.path, images if sample.path else None, progress)
            except UnsupportedGradientError:
                raise  # the model's fault: no other sample would do better
            except OnnxvizError as error:
                if on_error is None:
                    raise
                on_error(sample.label, error)

    def case(self, feeds: Feeds, progress: Progress | None = None) -> tuple[Case, Aim]:
        """One sample, and what of it is scored."""
        bare = Case(self.probe, feeds, None, progress)
        decided = aim(self.target, bare.base, self._class, self._region, self.names)
        if self._labelled and decided.axis is not None and not self._named(decided):
            raise InputError(
                f"{len(self.names)} names were given for {decided.classes} classes of '{printable(self.target.tensor)}'"
            )
        return bare.aimed(decided), decided

    def of(
        self,
        feeds: Feeds,
        label: str = "array",
        path: str = "",
        images: ImageOptions | None = None,
        progress: Progress | None = None,
    ) -> Explanation:
        """The explanation of one sample, given as arrays of one row each by input name."""
        case, decided = self.case(feeds, progress)
        name, tensor = choose_layer(self.probe, case, self._layer) if self.method.of_layer else ("", "")
        found = self.method.run(case, self.settings, tensor)
        warnings = [*([self.method.warning] if self.method.warning else []), *found.warnings]
        if not found.map.any() and not any("zero everywhere" in text for text in warnings):
            warnings.append(
                f"the map is zero everywhere: nothing in '{printable(tensor)}' speaks for {decided.what}"
                if tensor
                else f"the map is zero everywhere: {decided.what} does not change with the input"
            )
        of_input = self.method.needs == "gradient"
        gradient_free = self.method.gradient_free
        chance = decided.probability(case.base[None])
        return Explanation(
            map=_single(found.map),
            attribution=None if found.attribution is None else _single(found.attribution),
            method=self.method.name,
            signed=self.method.signed,
            class_=decided.class_ if decided.axis is not None else None,
            class_name=self._name(decided),
            classes=decided.classes,
            score=case.score,
            probability=None if chance is None else float(chance[0]),
            target=self.target.tensor,
            what=decided.what,
            layer=name,
            tensor=tensor,
            size=case.spatial,
            gap=found.gap,
            warnings=tuple(dict.fromkeys(warnings)),
            approximations=() if gradient_free else case.approximations(None if of_input else tensor, self._mode),
            settings=self.settings,
            sample=label,
            path=path,
            input=case.x.copy(),
            channel_axis=case.channel_axis,
            provenance=Provenance(self.model, self.probe.options.provider, images),
            case=case,
        )

    def _named(self, decided: Aim) -> bool:
        """Whether the names are those of what is scored, not of other classes; one may do for two."""
        return len(self.names) in ({1, 2} if decided.classes == 2 else {decided.classes})

    def _name(self, decided: Aim) -> str:
        """The class's name, "" where it has none."""
        number = decided.class_
        if decided.axis is None or number is None or not self._named(decided) or number >= len(self.names):
            return ""
        return self.names[number]

    @property
    def _mode(self) -> Mode:
        return "guided" if self.method.name == "guided" else "plain"


def _single(array: Array) -> Array:
    return np.ascontiguousarray(array, np.float32)
