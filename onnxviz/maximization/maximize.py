"""`maximize`: activation maximisation of filters, units, classes and directions.

(Erhan et al., Visualizing Higher-Layer Features of a Deep Network, 2009; Olah et al., Feature Visualization, Distill
2017.) Weights stay; the picture climbs the gradient of what it excites, in display space, before preprocessing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError, SelectionError
from onnxviz.gradients.leaky_relu import cut_of
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import ImageOptions, InputLike, samples
from onnxviz.maximization.ascent import AscentResult, AscentSettings, ObjectiveGroup, PlacedTerm
from onnxviz.maximization.ascent_plan import AscentPlan, Request
from onnxviz.maximization.image_input import image_input, real_valued
from onnxviz.maximization.objectives import Class, Filter, Objective, parts
from onnxviz.maximization.synthetic import PictureTarget, SyntheticInputs, SyntheticSettings
from onnxviz.maximization.variation import Param, Transforms, VariationOptions, variation
from onnxviz.messages import dims, one_of, printable, refuse_unheeded, unheeded
from onnxviz.model.class_choice import ClassesLike, class_numbers
from onnxviz.model.layer import Layer, TapKind
from onnxviz.model.model import Model, Source, load
from onnxviz.model.scores import find_scores, with_scores
from onnxviz.model.selection import parts_of
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.session import RunOptions

What = str | int | Objective | Sequence[str | int | Objective] | None
Numbers = int | Sequence[int] | None
# How many filters of a layer are drawn where nothing says.
_DRAWN = 6
_LEAK = 0.1


class Progress(NamedTuple):
    """How far it is.

    Attributes:
        done, total: steps, each picture's counted on its own.
        target: what is climbed.
        activation: mean over the pictures in hand.
    """

    done: int
    total: int
    target: str
    activation: float


@typed
def maximize(
    model: Source,
    layer: What = None,
    *,
    filters: Numbers = None,
    random: int | None = None,
    class_: ClassesLike | None = None,
    at: TapKind | None = None,
    plus: Objective | None = None,
    variants: int = 1,
    steps: int = 400,
    size: int | tuple[int, ...] | None = None,
    param: Param = "fourier",
    from_: InputLike = None,
    magnitude_from: InputLike = None,
    alpha: bool = False,
    jitter: int | None = None,
    transforms: Transforms = "standard",
    rate: float | None = None,
    decay: float | None = None,
    leak: float | None = None,
    seed: int = 0,
    preprocess: str | Preprocessing = "auto",
    fixed: Mapping[str, InputLike] | None = None,
    memory: int = DEFAULT_MEMORY,
    provider: str = "cpu",
    threads: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> SyntheticInputs:
    """Pictures that excite filters, classes or any objective most.

    Args:
        model: an opened model, or what `load` opens. It is not changed.
        layer: a selection of layers (see `onnxviz.model.selection`; by name, also poolings and dense layers), or
            one or more objectives (`onnxviz.maximization.objectives`); None where `class_` is given.
        filters: numbers of the filters of each layer; None: `random` of them, drawn by `seed`.
        random: how many filters of each layer to draw, 6 by default.
        class_: classes of the output that scores them, before the softmax, by number or name: 3, "dog", "0,3,5-9",
            "all" (`onnxviz.model.class_choice.class_numbers`).
        at: "activation" (None), the layer's output, or "conv", before the activation function.
        plus: added to every objective: `-0.1 * TotalVariation()`.
        variants: pictures of each objective, from different starts; with `plus=Diversity(layer)` unlike each other.
        steps: number of gradient steps, 1 or more.
        size: (height, width) where the model leaves it open, a number for a square; 128 x 128 by default.
        param: "fourier" (spectrum, decorrelated colours), "pixel", or "maco": the phase of the spectrum alone at first,
            at the magnitude that photos have.
        from_: a photo to start from, as for `onnxviz.capture`: what the target would add to it, within bounds; with
            "fourier" only.
        magnitude_from: photos whose magnitude "maco" takes, as for `onnxviz.capture`; None for a power law.
        alpha: whether to keep how much each pixel has meant for the climb, as the transparency of the pictures.
        jitter: pixels, the largest shift of "standard" and "jitter"; None: 16, less where a side is under 224.
        transforms: "standard" (jitter, rotation ±10° and scale ±10 %; of classes by "fourier", without `from_`, crops
            of half to the whole side instead of the scale; of "maco" such crops alone), "jitter", "none", or values of
            `onnxviz.maximization.transforms`.
        rate: Adam's step size at the start, 0.03 by default, 0.02 for classes as in `transforms`, 0.05 for "pixel",
            0.1 radians for "maco"; it falls to 0 where transforms are drawn, else it stays.
        decay: of "fourier", how much harder high frequencies are, 1.3 by default; of "maco", the power with which the
            magnitude falls, 1.5 by default.
        leak: slope of the target's own Relu or Clip where it gives nothing, 0…1, in the first half of the steps and
            while the target is silent; 0 for the true gradient throughout; 0.1 by default.
        seed: of starts, movements and drawn filters. Same seed, same pictures.
        preprocess: how display values become the model's input; see `onnxviz.inputs.samples.ImageOptions.of`.
        fixed: values for the model's other inputs, by name: arrays or paths.
        memory: bytes that batches may take, about.
        provider: an execution provider of onnxruntime by its short name, as "cpu", "cuda",
            "openvino:device_type=CPU"; there is no fallback from one that cannot start.
        threads: of onnxruntime; 0 for its own choice.
        progress: called after each step of each batch.

    Returns:
        SyntheticInputs: the pictures. An interrupt (Ctrl-C) in mid-climb ends it and gives those there are, as far as
            they have got, with `interrupted` true; there are none before the first step.

    Raises:
        SelectionError: there is no such layer, filter or class; the message says how many there are.
        UnsupportedGradientError: the target cannot be differentiated; what stands in the way is listed.
        InputError: the model takes no picture, or not of that size; or values are not finite, from a step on; or an
            option has a value that makes no sense, or no use with the others.
    """
    opened = load(model)
    if class_ is not None or _asks_class(layer) or _asks_class(plus):
        opened = _with_classes(opened)
    _check(steps, variants, rate, leak or 0.0, seed)
    frame = image_input(opened, size, preprocess, tuple(fixed or ()))
    climbable = real_valued(opened, frame.port) if frame.is_whole else opened
    targets = _targets(opened, layer, filters, random, class_, at, seed)
    if leak and not any(_is_cut(opened, target.objective) for target in targets):
        refuse_unheeded({"leak": leak}, "no Relu or Clip ends what is climbed, and nothing else leaks")
    if alpha and len(frame.size) != 2:
        refuse_unheeded({"alpha": alpha}, f"inputs of {dims(frame.size)} have no pixels to be transparent")
    if from_ is not None and variants > 1:
        raise unheeded(f"{variants} variants of a photo would be the same: leave out {{variants}}")
    classes = all(_is_class(target.objective) for target in targets)
    asked_of = VariationOptions(param, transforms, jitter, rate, decay, from_, magnitude_from, classes)
    varied = variation(opened, frame, asked_of)
    climbing = AscentSettings(
        steps, varied.rate, _LEAK if leak is None else leak, varied.moves, seed, varied.contrast,
        grows=param != "maco" and from_ is None,
    )  # fmt: skip
    others = _others(opened, fixed or {}, preprocess)
    studio = AscentPlan(climbable, frame, varied.way, others, RunOptions(provider, memory, threads))
    asked = [pair for target in targets for pair in _wanted(opened, target, plus, variants, seed)]
    total = steps * sum(one.group.count for _, one in asked)
    found: list[AscentResult] = []
    made: list[PictureTarget] = []
    notes = _misfits(opened, targets)
    if frame.is_whole:
        notes.append(
            f"input '{printable(frame.port.name)}' takes {frame.port.dtype}: pictures are climbed in real numbers, and "
            "activations are those of the rounded pictures"
        )
    for _, alike in groupby(asked, key=lambda pair: (pair[1].tensors, pair[1].group.count)):
        pairs = list(alike)
        mine = [target for target, _ in pairs]
        bar = _Bar(progress, mine, pairs[0][1].group.count, steps, len(made) * steps, total)
        climbed, heard = studio.climb([one for _, one in pairs], climbing, bar.step)
        found.append(climbed)
        made.extend(variant for target, one in pairs for variant in _each(target, one.group.count))
        notes.extend(heard)
        if climbed.interrupted:
            break
    opened.check_unchanged()
    result = AscentResult.joined(found)
    if result.interrupted:
        notes.append(
            f"interrupted: {len(result.images)} of {len(asked)} pictures are there, some before their last step"
        )
    settings = SyntheticSettings(frame, varied, climbing, str(plus) if plus is not None else "", alpha)
    provenance = Provenance(opened, studio.options, ImageOptions(frame.expected))
    return SyntheticInputs.of(result, made[: len(result.images)], settings, provenance, list(dict.fromkeys(notes)))


class _Bar:
    """Turns the steps of batches into progress over all of them."""

    def __init__(
        self,
        tell: Callable[[Progress], None] | None,
        targets: Sequence[PictureTarget],
        each: int,
        steps: int,
        before: int,
        total: int,
    ) -> None:
        self.tell, self.targets, self.each, self.steps, self.total = tell, targets, each, steps, total
        self._before, self._first, self._step = before, 0, 0

    def step(self, first: int, activations: NDArray[Any]) -> None:
        """After a step of the batch that begins with target number `first`."""
        self._step = self._step + 1 if first == self._first else 1
        self._first = first
        if self.tell is not None:
            done = self._before + first * self.each * self.steps + self._step * len(activations)
            self.tell(Progress(done, self.total, str(self.targets[first].row), float(activations.mean())))


def _check(steps: int, variants: int, rate: float | None, leak: float, seed: int) -> None:
    for name, given in (("steps", steps), ("variants", variants)):
        if given < 1:
            raise InputError(f"{name} is 1 or more, not {given}")
    if rate is not None and not 0 < rate < float("inf"):
        raise InputError(f"a rate of {rate} does not climb; give a positive number, such as 0.05")
    if not 0 <= leak <= 1:
        raise InputError(f"a leak is 0 to 1, not {leak}")
    if seed < 0:
        raise InputError(f"a seed is 0 or more, not {seed}")


def _targets(
    model: Model,
    layer: What,
    filters: Numbers,
    random: int | None,
    class_: ClassesLike | None,
    at: TapKind | None,
    seed: int,
) -> list[PictureTarget]:
    """What is asked for, checked as far as the graph tells."""
    tap: TapKind = at or "activation"
    one_of("tap", tap, ("activation", "conv"))
    listed = [] if layer is None else [layer] if isinstance(layer, str | int | Objective) else list(layer)
    objectives = [item for item in listed if isinstance(item, Objective)]
    names = [item for item in listed if not isinstance(item, Objective)]
    if not names:
        refuse_unheeded({"filters": filters, "random": random, "at": at}, "only layers have filters, and none is named")
    if filters is not None and random is not None:
        raise unheeded("filters are either named ({filters}) or drawn ({random}): leave one of them out")
    found = [_of_objective(model, objective) for objective in objectives]
    for one in _layers(model, names) if names else ():
        numbers = _drawn(one, _DRAWN if random is None else random, seed) if filters is None else _list(filters)
        found.extend(_of_objective(model, Filter(one.name, number, tap)) for number in numbers)
    classes = [Class(number) for number in _classes(model, class_)] if class_ is not None else []
    found.extend(_of_objective(model, objective) for objective in classes)
    if not found:
        raise SelectionError("nothing to maximise: name a layer, an objective or a class")
    for target in found:
        for _, term in parts(target.objective):
            term.tensor(model)  # refuses what the model does not have
    return found


def _asks_class(what: What) -> bool:
    """Whether one of the objectives is a class of the model's own answer."""
    listed = [what] if what is None or isinstance(what, str | int | Objective) else what
    asked = [term for one in listed if isinstance(one, Objective) for _, term in parts(one)]
    return any(isinstance(term, Class) and term.output is None for term in asked)


def _with_classes(model: Model) -> Model:
    try:
        return with_scores(model)
    except SelectionError as error:
        raise SelectionError(f"{error}; a layer and numbers of its filters can be given instead") from None


def _is_class(objective: Objective) -> bool:
    """Whether it is a class, or a sum of classes and penalties."""
    return all(isinstance(term, Class) or not term.activation for _, term in parts(objective))


def _is_cut(model: Model, objective: Objective) -> bool:
    """Whether a Relu or Clip ends any of the tensors that it climbs."""
    tensors = [term.tensor(model) for _, term in parts(objective)]
    return any(tensor is not None and cut_of(model, tensor) is not None for tensor in tensors)


def _of_objective(model: Model, objective: Objective) -> PictureTarget:
    if isinstance(objective, Filter):
        return PictureTarget(objective, model.layer(objective.layer, any=True).name, objective.number)
    if isinstance(objective, Class):
        scores = find_scores(model, objective.output)
        name = scores.name(objective.number, model.shapes.of(scores.tensor))
        return PictureTarget(objective, class_=objective.number, name=name)
    return PictureTarget(objective)


def _misfits(model: Model, targets: Sequence[PictureTarget]) -> list[str]:
    """What to say of names in the model's metadata that are not those of its classes."""
    outputs = dict.fromkeys(one.objective.output for one in targets if isinstance(one.objective, Class))
    found = [find_scores(model, output) for output in outputs]
    return [words for scores in found if (words := scores.misfit(model.shapes.of(scores.tensor)))]


def _layers(model: Model, selection: Sequence[str | int]) -> Sequence[Layer]:
    try:
        return model.select(selection)
    except SelectionError:
        named: dict[str | int, Layer] = {layer.name: layer for layer in model.all_layers}
        parts = [part for item in selection for part in parts_of(item, model.all_layers)]
        if not named.keys() & parts:
            raise
        found = [layer for part in parts for layer in ([named[part]] if part in named else model.select(part))]
        return list(dict.fromkeys(found))


def _drawn(layer: Layer, count: int, seed: int) -> list[int]:
    """Numbers of `count` filters drawn at random, in order; all where there are no more."""
    there = layer.filters
    if there is None:
        raise SelectionError(f"how many filters '{layer.name}' has is not known: give their numbers")
    if count < 1:
        raise SelectionError(f"{count} filters cannot be drawn; '{layer.name}' has {there}")
    drawn = np.random.default_rng(seed).choice(there, min(count, there), replace=False)
    return sorted(int(number) for number in drawn)


def _classes(model: Model, asked: ClassesLike) -> list[int]:
    scores = find_scores(model)
    return class_numbers(asked, scores.names, scores.count(model.shapes.of(scores.tensor)))


def _list(numbers: int | Sequence[int]) -> list[int]:
    found = [operator.index(number) for number in np.atleast_1d(np.asarray(numbers))]
    if not found:
        raise SelectionError("no number is given; write one or more, such as 0, 3")
    return found


def _wanted(
    model: Model, target: PictureTarget, plus: Objective | None, variants: int, seed: int
) -> Iterator[tuple[PictureTarget, Request]]:
    """The groups of pictures that make up a target: one of them all if they see each other, else one for each."""
    objective = target.objective if plus is None else target.objective + plus
    terms = tuple(
        PlacedTerm(weight, term.bound(model), term.tensor(model)) for weight, term in parts(objective) if weight
    )
    if not any(look.tensor is not None and look.term.activation for look in terms):
        raise InputError(f"'{objective}' excites nothing in the model; add a filter, class or direction")
    # A start belongs to its filter and the seed: it does not depend on what else is asked for.
    number = target.filter if target.filter is not None else target.class_ or 0
    sources = tuple((seed, number, variant) for variant in range(variants))
    if any(look.term.together for look in terms):
        yield target, Request(ObjectiveGroup(terms, variants), sources)
        return
    for variant, source in enumerate(sources):
        yield replace(target, variant=variant if variants > 1 else None), Request(ObjectiveGroup(terms, 1), (source,))


def _each(target: PictureTarget, count: int) -> list[PictureTarget]:
    """The target of each picture of a group."""
    return [target] if count == 1 else [replace(target, variant=variant) for variant in range(count)]


def _others(model: Model, fixed: Mapping[str, InputLike], preprocess: str | Preprocessing) -> dict[str, NDArray[Any]]:
    """The model's other inputs."""
    if not fixed:
        return {}
    found = samples(model, fixed, ImageOptions.of(model, preprocess))
    if len(found) != 1:
        raise InputError(f"the fixed inputs are {len(found)} samples; give one")
    return found[0].read()
