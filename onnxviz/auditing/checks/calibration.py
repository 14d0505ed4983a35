"""Checks of calibration: ranges of quantised activations that cannot be those of what they quantise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from onnx import NodeProto

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.errors import InputError
from onnxviz.inputs.picture_ports import is_picture
from onnxviz.model.graph.operator_bounds import bounds_of
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.model import Model

# Of operators that quantise their own output, where the scale stands among the inputs; the zero point is next.
_OWN_SCALE = 3


@dataclass(frozen=True)
class _Calibrated:
    """A tensor that is quantised: the operator that makes it ("" for an input), and the range of its codes."""

    tensor: str
    node: NodeProto | None
    where: str
    low: float
    high: float


@check("A06", Severity.ERROR, reach=0.9, used=0.4, cover=0.9, input_used=0.25)
def impossible_calibration(subject: Subject) -> Iterator[Finding]:
    """Ranges of quantised activations that cannot be those of their operator or input.

    Why it matters: a softmax whose codes end at 0.3 answers no probability above it; a range that the operator never
    gives wastes codes, and is most often the scale of another tensor. Calibration on too little data, or on images
    prepared in another way, makes such ranges.

    How it is measured: scale and zero point of each quantised tensor give the range of its codes. An answer's softmax
    whose range ends below `reach` is an error, a sigmoid's a warning. An operator with bounds (Softmax, Sigmoid, Tanh,
    Relu, Clip …) is a warning where less than `used` of the range lies within them; symmetric int8 uses half behind a
    Relu. An input for pictures, where it is stated how they are prepared, is a warning where the range covers less than
    `cover` of what pixels of 0…255 become, or where these use less than `input_used` of it.

    What to do: calibrate again, on some hundred photos that are prepared as in deployment.
    """
    found = list(_calibrated(subject.model))
    if not found:
        raise UnmeasuredError("no activation is quantised")
    answer = _answer(subject.model)
    for one in found:
        if one.node is None:
            yield from _input_findings(subject, one)
            continue
        low, high = bounds_of(one.node, partial(subject.model.constants.value, subject.model.scope))
        if one.tensor in answer and one.high < subject.threshold("reach"):
            softmax = "Softmax" in one.node.op_type
            yield subject.finding(
                f"the answer's {one.node.op_type} can give no more than {one.high:.3g} once it is quantised, limit "
                f"{subject.threshold('reach'):g}",
                "calibrate again, or leave the softmax in float" if softmax else "calibrate again",
                severity=Severity.ERROR if softmax else Severity.WARNING,
                where=one.where,
                value=one.high,
                threshold=subject.threshold("reach"),
            )
            continue
        used = _overlap((one.low, one.high), (low, high)) / (one.high - one.low)
        if used < subject.threshold("used"):
            yield subject.finding(
                f"the codes behind {one.node.op_type} stand for {one.low:.4g}…{one.high:.4g}, of which it can give "
                f"{used:.0%}, limit {subject.threshold('used'):.0%}",
                "calibrate again: the scale may be that of another tensor",
                severity=Severity.WARNING,
                where=one.where,
                value=used,
                threshold=subject.threshold("used"),
            )


def _input_findings(subject: Subject, one: _Calibrated) -> Iterator[Finding]:
    port = next(port for port in subject.model.inputs if port.name == one.tensor)
    if not is_picture(port) or port.shape is None or subject.images.assumed:
        return
    channels = port.shape[port.layout.index("C")]
    way = subject.images.expected.of_input(port.name)
    pixels = np.array([0, 255], np.uint8).reshape(1, 2, 1).repeat(channels if isinstance(channels, int) else 3, axis=2)
    try:
        fed = way.apply(pixels)
    except InputError:
        return
    ends = float(fed.min()), float(fed.max())
    both = _overlap((one.low, one.high), ends)
    covered, used = both / (ends[1] - ends[0]), both / (one.high - one.low)
    for share, limit, what in (
        (covered, subject.threshold("cover"), f"which covers {covered:.0%} of them"),
        (used, subject.threshold("input_used"), f"of which they use {used:.1%}"),
    ):
        if share < limit:
            yield subject.finding(
                f"images prepared as '{way.words}' are {ends[0]:.4g}…{ends[1]:.4g}, the input's codes stand for "
                f"{one.low:.4g}…{one.high:.4g}, {what}, limit {limit:.0%}",
                "calibrate again on images that are prepared as in deployment, or check the stated preprocessing",
                severity=Severity.WARNING,
                where=one.where,
                value=share,
                threshold=limit,
            )
            return


def _calibrated(model: Model) -> Iterator[_Calibrated]:
    """The quantised tensors of the main graph whose scale is one constant."""
    inputs = {port.name for port in model.inputs}
    for node in model.proto.graph.node:
        if node.op_type == "QuantizeLinear":
            place = 1
        elif node.op_type.startswith("QLinear") and belongs(node, Family.FROM_ZERO_TO_ONE):
            place = _OWN_SCALE
        else:
            continue
        bounds = _range(model, node, place)
        if bounds is None:
            continue
        maker = model.scope.producers.get(node.input[0]) if place == 1 else node
        tensor = node.input[0] if place == 1 else node.output[0]
        if maker is not None or tensor in inputs:
            yield _Calibrated(tensor, maker, node.name or node.output[0], *bounds)


def _range(model: Model, node: NodeProto, place: int) -> tuple[float, float] | None:
    """What the least and the largest code stand for; None where the scale is not one constant number."""
    scale = model.constants.value(model.scope, node.input[place])
    named = node.input[place + 1] if len(node.input) > place + 1 else ""
    zero = model.constants.value(model.scope, named) if named else np.zeros((), np.uint8)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or zero.dtype.kind not in "iu":
        return None
    limits, factor = np.iinfo(zero.dtype), float(scale.reshape(()))
    if not factor > 0 or not math.isfinite(factor):
        return None
    at = int(zero.reshape(()))
    return (int(limits.min) - at) * factor, (int(limits.max) - at) * factor


def _answer(model: Model) -> set[str]:
    """The tensors that a softmax or sigmoid at the end of the model makes; empty where there is none."""
    found = set()
    for port in model.outputs:
        node = model.scope.producers.get(port.name)
        while node is not None and node.input and _carries(node):
            node = model.scope.producers.get(node.input[0])
        if node is not None and belongs(node, Family.FROM_ZERO_TO_ONE):
            found.add(node.output[0])
    return found


def _carries(node: NodeProto) -> bool:
    rounds = node.op_type == "DequantizeLinear" or belongs(node, Family.QUANTISING)
    return rounds or belongs(node, Family.IDENTITY | Family.RESHAPING)


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
