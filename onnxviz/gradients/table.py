"""The table of gradient rules: an operator's rule, or the reason for having none.

A rule is the vector–Jacobian product of one operator, written with `onnxviz.gradients.step.Step`: given the
gradient with respect to a node's outputs, it appends nodes that compute the gradient with respect to its inputs.
Notation in the rules' first lines: x, y are input and output, g = ∂L/∂y, and x̄ = ∂L/∂x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from onnxviz.gradients.refusal import Refusal
from onnxviz.model.graph.operators import Family, names

if TYPE_CHECKING:
    from onnxviz.gradients.builder import Value
    from onnxviz.gradients.step import Step

# One gradient for each input, None where the rule gives none; a single value is for the first input.
Gradients = "Value | Sequence[Value | None]"
Apply = Callable[["Step"], "Value | Sequence[Value | None]"]


@dataclass(frozen=True)
class Rule:
    """One operator's rule.

    Attributes:
        apply: appends the nodes.
        broadcasts: whether the gradients come in the output's shape and must be summed where inputs were broadcast.
        all_outputs: whether the rule takes gradients of every output; else of the first only.
    """

    apply: Apply
    broadcasts: bool = False
    all_outputs: bool = False


RULES: dict[tuple[str, str], Rule] = {}


def rule(*ops: str, domain: str = "", broadcasts: bool = False, all_outputs: bool = False) -> Callable[[Apply], Apply]:
    """Registers a function as the rule of the operators `ops`; see `Rule` for the options."""

    def register(apply: Apply) -> Apply:
        for op in ops:
            if (domain, op) in RULES:
                raise ValueError(f"{op} has a rule already")
            RULES[domain, op] = Rule(apply, broadcasts, all_outputs)
        return apply

    return register


_STEPS = "is a step function: its gradient is zero almost everywhere"
_INTEGERS = "gives positions or counts, which do not change with small changes of its input"
_TRUTH = "gives true or false, which does not change with small changes of its input"
_CONSTANT = "does not depend on the values of its input"

# Operators through which no gradient passes. They stop a path; they are in the way only where every path has one.
NON_DIFFERENTIABLE: dict[str, str] = {
    **dict.fromkeys(names(Family.STEP_FUNCTION), _STEPS),
    **dict.fromkeys(names(Family.POSITION | Family.BITWISE), _INTEGERS),
    **dict.fromkeys(names(Family.PREDICATE), _TRUTH),
    **dict.fromkeys(names(Family.SHAPE_ONLY | Family.RANDOM), _CONSTANT),
}

_UNFLOAT = "use the float model, or quantise again in the QDQ format (QuantFormat.QDQ)"
_FUSED = "use the export before onnxruntime's optimisation: fused operators have no gradient"
_BEFORE = "choose a tensor before it"


def why_no_rule(domain: str, op: str) -> Refusal:
    """Why an operator has no rule, and what to do."""
    if op.startswith("QLinear") or op.endswith("Integer") or op.startswith("DynamicQuantize"):
        return Refusal("quantised", "a quantised operator is not differentiable", _UNFLOAT)
    if domain == "com.microsoft":
        return Refusal("custom-domain", "onnxruntime's own operator has no gradient", _FUSED)
    if not domain and not onnx.defs.has(op):
        return Refusal("custom-domain", "ONNX has no such operator: the export is incomplete", "export the model again")
    if domain:
        return Refusal("custom-domain", f"operators of the domain '{domain}' have no gradient", _BEFORE)
    if op in names(Family.CONTROL_FLOW):
        return Refusal("no-rule", "control flow that depends on the input has no gradient", _BEFORE)
    return Refusal("no-rule", "the operator has no gradient here", _BEFORE)
