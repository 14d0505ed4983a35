"""The table of explanation methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypedDict

from onnxviz.errors import OnnxvizError, SelectionError
from onnxviz.explanations.case import Case
from onnxviz.explanations.method import Method
from onnxviz.explanations.methods.cam import EigenCam, GradCam, GradCamPlusPlus, HiResCam, LayerCam, ScoreCam, XGradCam
from onnxviz.explanations.methods.perturbation import Occlusion, Rise
from onnxviz.explanations.methods.saliency import Guided, InputXGradient, IntegratedGradients, Saliency, SmoothGrad
from onnxviz.messages import one_of, unheeded

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        GradCam(), GradCamPlusPlus(), LayerCam(), HiResCam(), XGradCam(), EigenCam(), ScoreCam(),
        Saliency(), InputXGradient(), IntegratedGradients(), SmoothGrad(), Guided(),
        Occlusion(), Rise(),
    )
}  # fmt: skip
"""Every method by name, with its own defaults."""


def gradient_free(case: Case) -> tuple[str, ...]:
    """The methods without gradients that work on a sample, in the order of the table."""
    found = []
    for name, method in METHODS.items():
        if method.gradient_free:
            with suppress(OnnxvizError):
                method.check(case)
                found.append(name)
    return tuple(found)


MethodsLike = str | Method | Sequence[str | Method]
"""A method by its name or as a value, several with commas between their names, or a sequence of them."""


class MethodOptions(TypedDict, total=False):
    """Options that belong to methods; None, too, stands for the method's own default."""

    layer: str | int | None
    samples: int | None
    noise: float | None
    baseline: float | None
    window: int | None
    stride: int | None
    cells: int | None
    keep: float | None
    seed: int | None


def choose_method(method: str | Method, options: Mapping[str, Any]) -> Method:
    """The method of that name, or the one given, with these options in the place of its own.

    Args:
        method: one of `METHODS`, or a method as a value.
        options: by name; those that are None are left.

    Raises:
        SelectionError: there is no such method.
        UnheededOptionError: it does not use an option; the message names the methods that do.
        InputError: an option has a value that makes no sense.
        TypeError: no method has such an option.
    """
    if isinstance(method, str):
        one_of("method", method, METHODS, SelectionError)
        method = METHODS[method]
    if not isinstance(method, Method):
        raise SelectionError(f"a method is a name or a value such as Rise(samples=500), not {method!r}")
    given = {name: value for name, value in options.items() if value is not None}
    _refuse_unheeded([method], options, given)
    return replace(method, **given) if given else method  # type: ignore[type-var]  # it has options: a dataclass


def choose_methods(methods: MethodsLike, options: Mapping[str, Any]) -> tuple[Method, ...]:
    """The methods that are meant, each once, in the order in which they are named; each with the options that it has.

    Args:
        methods: one, or several.
        options: as for `choose_method`; of several methods it is enough if one of them uses an option.

    Raises:
        Errors: as `choose_method`.
    """
    named = [methods] if isinstance(methods, str | Method) else [*methods]
    parts: list[str | Method] = []
    for one in named:
        parts += [part.strip() for part in one.split(",")] if isinstance(one, str) else [one]
    bare = [choose_method(one, {}) for one in parts]
    if not bare:
        raise SelectionError(f"no method is named; there are {', '.join(METHODS)}")
    given = {name: value for name, value in options.items() if value is not None}
    _refuse_unheeded(bare, options, given)
    own = [{name: value for name, value in given.items() if name in one.options} for one in bare]
    chosen = [choose_method(one, taken) for one, taken in zip(bare, own, strict=True)]
    return tuple(one for place, one in enumerate(chosen) if one not in chosen[:place])


def _refuse_unheeded(methods: Sequence[Method], options: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuses options that none of the methods has; those that no method at all has are a mistake in the program."""
    there = dict.fromkeys(name for method in methods for name in method.options)
    refused = []
    for name in options:
        users = [other.name for other in METHODS.values() if name in other.options]
        if name not in there and not users:
            whose = ", ".join(method.name for method in methods)
            verb = "has" if len(methods) == 1 else "have"
            raise TypeError(f"explain has no option '{name}'; {whose} {verb} {', '.join(there) or 'none'}")
        if name not in there and name in given:
            refused.append(f"no {{{name}}} ({', '.join(users)} {'does' if len(users) == 1 else 'do'})")
    if refused:
        names = [method.name for method in methods]
        who = f"{names[0]} takes" if len(names) == 1 else f"{', '.join(names)} take"
        raise unheeded(f"{who} {', '.join(refused)}")
