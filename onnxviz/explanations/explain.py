"""`explain`: saliency, class activation maps and perturbation methods for any `.onnx`.

`explain` gives the raw map of one sample, `explain_each` those of many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Unpack

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.explanations.explainer import Explainer, ScoreChoice
from onnxviz.explanations.explanation import Explanation
from onnxviz.explanations.method import Method
from onnxviz.explanations.methods import MethodOptions, MethodsLike
from onnxviz.explanations.target import ChooseTarget, Region
from onnxviz.inputs.failures import Progress
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.samples import ImageOptions, InputLike, Size
from onnxviz.model.class_choice import ClassesLike
from onnxviz.model.model import Source
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.session import RunOptions


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
    class_: ClassesLike | ChooseTarget = "top",
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
        class_: a class by number or name, or "top" for the model's own answer; for other tensors, a channel; one, where
            `explain_each` takes several. Or a target of your own, such as the difference of two classes: see
            `onnxviz.explanations.target.ChooseTarget`.
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
    for count, what in ((len(explainer.aims), "classes"), (len(explainer.methods), "methods")):
        if count != 1:
            raise InputError(f"{count} {what} were given; explain takes one, explain_each several")
    images = ImageOptions.of(explainer.model, preprocess, size, fit, background)
    given = explainer.samples(x, images)
    if len(given) != 1:
        raise InputError(f"{len(given)} samples were given; explain takes one, explain_each as many as there are")
    found = list(explainer.each(given, images, progress=lambda method: progress))
    if len(found) != 1:
        raise InputError(f"{len(found)} samples were given; explain takes one, explain_each as many as there are")
    return found[0]


@typed
def explain_each(
    model: Source,
    x: InputLike,
    *,
    method: MethodsLike = "grad-cam",
    preprocess: str | Preprocessing = "auto",
    size: Size | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    **options: Unpack[ExplainOptions],
) -> Iterator[Explanation]:
    """One `Explanation` for each sample of `x`, each class and each method, in this order; the rest as for `explain`.

    `class_` may be several classes (`onnxviz.model.class_choice.class_numbers`): [3, "dog"], "0,3,5-9", "all"; `method`
    several methods: "grad-cam,guided", ["occlusion", Rise(samples=500)]. Each has those of the options that it takes;
    an option that none of them takes is refused. `plot_explanation` draws those of one sample as one table.
    """
    given: dict[str, Any] = dict(options)
    score, running = ScoreChoice(**_taken(given, ScoreChoice)), RunOptions(**_taken(given, RunOptions))
    explainer = Explainer(model, method, score, running=running, **given)
    images = ImageOptions.of(explainer.model, preprocess, size, fit, background)
    return explainer.each(explainer.samples(x, images), images)


def _taken(given: dict[str, Any], kind: type) -> dict[str, Any]:
    """Those of the options that are fields of a dataclass, taken out."""
    return {field.name: given.pop(field.name) for field in fields(kind) if field.name in given}
