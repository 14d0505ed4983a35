"""The table as a whole: every rule has a case, and the cases would notice if a rule were wrong."""

from __future__ import annotations

from dataclasses import replace

import cases_gradients_convolution
import cases_gradients_elementwise
import cases_gradients_layers
import cases_gradients_quantisation
import numpy as np
import pytest
from gradient_cases import check

from onnxviz.gradients.builder import Value
from onnxviz.gradients.rules import windows
from onnxviz.gradients.rules.normalisation import _through_statistics
from onnxviz.gradients.table import NON_DIFFERENTIABLE, RULES, rule, why_no_rule

FAMILIES = (
    cases_gradients_convolution,
    cases_gradients_elementwise,
    cases_gradients_layers,
    cases_gradients_quantisation,
)
CASES = [case for family in FAMILIES for case in family.CASES]


def case(name):
    return next(case for case in CASES if case.id == name)


def spelled(key):
    domain, op = key
    return f"{domain}::{op}" if domain else op


def test_every_rule_has_a_case_and_every_case_a_rule():
    assert set().union(*(case.ops for case in CASES)) == {spelled(key) for key in RULES}


def test_cases_have_names_of_their_own():
    names = [case.id for case in CASES]
    assert len(set(names)) == len(names)


def test_every_rule_says_its_formula():
    for key, entry in RULES.items():
        assert entry.apply.__doc__, key


def test_no_operator_both_has_a_rule_and_stops():
    assert not {op for domain, op in RULES if not domain} & set(NON_DIFFERENTIABLE)


def test_an_operator_has_one_rule():
    with pytest.raises(ValueError, match="Relu has a rule already"):
        rule("Relu")(lambda step: step.g)


@pytest.mark.parametrize(
    ("domain", "op", "kind"),
    [
        ("", "QLinearConv", "quantised"),
        ("", "ConvInteger", "quantised"),
        ("com.microsoft", "QLinearAdd", "quantised"),
        ("com.microsoft", "FusedConv", "custom-domain"),
        ("mine", "Relu", "custom-domain"),
        ("", "Loop", "no-rule"),
        ("", "GridSample", "no-rule"),
    ],
)
def test_an_operator_without_rule_has_a_reason(domain, op, kind):
    refusal = why_no_rule(domain, op)
    assert refusal.kind == kind
    assert refusal.reason
    assert refusal.remedy


# The oracle's own tests (as HIPS/autograd has them): what is wrong must be found.


def notices(name):
    with pytest.raises(AssertionError, match=r"is off by"):
        check(case(name))


@pytest.mark.parametrize("key", RULES, ids=spelled)
def test_a_rule_that_is_a_twentieth_of_a_percent_off_is_noticed(key, monkeypatch):
    entry = RULES[key]

    def wrong(step):
        given = entry.apply(step)
        gradients = [given] if isinstance(given, Value) else given
        return [None if value is None else value * 1.0005 for value in gradients]

    monkeypatch.setitem(RULES, key, replace(entry, apply=wrong))
    cases = [case for case in CASES if spelled(key) in case.ops]
    # A case whose true gradient is zero cannot tell, so one of them has to.
    found = 0
    for one in cases[:3]:
        try:
            check(one)
        except AssertionError:
            found += 1
    assert found


def test_a_pad_too_far_is_noticed(monkeypatch):
    right = windows.Window.covering

    def wrong(self, inputs, outputs):
        found, rests = right(self, inputs, outputs)
        return replace(found, begin=found.end, end=found.begin), rests

    monkeypatch.setattr(windows.Window, "covering", wrong)
    notices("Conv-stride-2-asymmetric")


def test_an_unflipped_kernel_is_noticed(monkeypatch):
    monkeypatch.setattr("onnxviz.gradients.rules.convolution.BLOCK", 1)
    monkeypatch.setattr(
        "onnxviz.gradients.rules.convolution.flip", lambda weight, group: np.ascontiguousarray(weight.swapaxes(0, 1))
    )
    notices("Conv-same-pads")


def test_a_missing_term_is_noticed(monkeypatch):
    def wrong(x, u, axes, epsilon):
        return _through_statistics(x, u - u.mean(axes), axes, epsilon) + u.mean(axes)

    monkeypatch.setattr("onnxviz.gradients.rules.normalisation._through_statistics", wrong)
    notices("LayerNormalization-last")


def test_a_sum_that_is_forgotten_is_noticed(monkeypatch):
    monkeypatch.setitem(
        RULES, ("", "MatMul"), replace(RULES["", "MatMul"], apply=lambda step: (step.g * 0.0, step.g * 0.0))
    )
    with pytest.raises(AssertionError):
        check(case("MatMul-2x2-2"))
