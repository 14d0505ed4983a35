"""Checks of cost: parameters, multiply-accumulates and bytes against a budget."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import helper

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.cost import Measured, cost_of
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.auditing.trial import Trial
from onnxviz.errors import OnnxvizError
from onnxviz.messages import option, printable
from onnxviz.runtime.session import Session

# Tensors that are kept at once while their sizes are measured.
_AT_ONCE = 32
BUDGETS = {
    "parameters": "parameters",
    "macs": "multiply-accumulates",
    "weight-bytes": "bytes of weights",
    "activation-bytes": "bytes of the largest activation",
}
# Those for which the model is run where inference does not tell a size.
_OF_ACTIVATIONS = ("macs", "activation-bytes")


@check("G08", Severity.NOTE, takes=("noise",), budgets=tuple(BUDGETS))
def over_budget(subject: Subject) -> Iterator[Finding]:
    """More parameters, multiply-accumulates, weight bytes or activation bytes than the budget allows.

    Why it matters: a model that grew without anybody's notice does not fit the device or the time that it has.

    How it is measured: for one sample at the size that the model declares, or that was given, by shape inference; where
    that does not tell a size, the model is run once on noise. Parameters
    are trained values, stored tensors counted once; multiply-accumulates those of convolutions and products of
    matrices; the largest activation is the largest tensor that is made of the input. Each is held against the budget
    of its name in the configuration (`parameters`, `macs`, `weight-bytes`, `activation-bytes`).

    What to do: find what grew with `onnxviz compare`, or raise the budget; `severities` makes it an error.
    """
    budgets = {name: subject.settings.budgets[name] for name in BUDGETS if name in subject.settings.budgets}
    runs = not budgets.keys().isdisjoint(_OF_ACTIVATIONS)
    cost = cost_of(subject.model, subject.images, lambda names: _measured(subject, names) if runs else {})
    values = {
        "parameters": cost.parameters, "macs": cost.macs, "weight-bytes": cost.weight_bytes,
        "activation-bytes": cost.activation_bytes,
    }  # fmt: skip
    if not budgets:
        told = ", ".join(f"{value:,} {BUDGETS[name]}" for name, value in values.items() if value is not None)
        raise UnmeasuredError(f"no budget is set for {', '.join(BUDGETS)}; the model has {told}")
    for name, budget in budgets.items():
        value = values[name]
        if value is None:
            continue
        if value > budget:
            where = printable(cost.largest) if name == "activation-bytes" else ""
            yield subject.finding(
                f"{value:,} {BUDGETS[name]}, more than the budget of {budget:,.0f}",
                "find what grew with onnxviz compare, or raise the budget",
                where=where, value=float(value), threshold=budget,
            )  # fmt: skip
    lacking = [name for name in budgets if values[name] is None]
    if lacking:
        raise UnmeasuredError(
            f"the size of '{printable(cost.unknown)}' is not known, so {', '.join(lacking)} cannot be told: "
            f"give {option('size')}"
        )


def _measured(subject: Subject, names: list[str]) -> dict[str, Measured]:
    """Shapes and types of tensors by a run on noise, some at a time; none where it does not run."""
    found: dict[str, Measured] = {}
    trial = Trial(subject)
    if subject.images.size is None and trial.has_open_sides:
        return found
    try:
        (sample,) = trial.samples(1)
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            session = Session.of(subject.model, part, subject.options)
            values = session.run(part, {name: sample[name] for name in session.inputs})
            for name, value in zip(part, values, strict=True):
                if value.dtype.kind != "O":
                    found[name] = (value.shape, helper.np_dtype_to_tensor_dtype(value.dtype))
    except OnnxvizError:
        return {}
    return found
