"""The table of explanation methods."""

from __future__ import annotations

from collections.abc import Mapping
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
    refused = []
    for name in options:
        users = [other.name for other in METHODS.values() if name in other.options]
        if name not in method.options and not users:
            raise TypeError(f"explain has no option '{name}'; {method.name} has {', '.join(method.options) or 'none'}")
        if name not in method.options and name in given:
            refused.append(f"no {{{name}}} ({', '.join(users)} {'does' if len(users) == 1 else 'do'})")
    if refused:
        raise unheeded(f"{method.name} takes {', '.join(refused)}")
    return replace(method, **given) if given else method  # type: ignore[type-var]  # it has options: a dataclass
