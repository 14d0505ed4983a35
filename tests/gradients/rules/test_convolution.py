"""Convolutions and poolings: odd and even sizes, strides, dilations, groups, pads of all kinds."""

from __future__ import annotations

import pytest
from cases_gradients_convolution import CASES
from gradient_cases import check


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rule(case):
    check(case)


@pytest.mark.parametrize("case", [case for case in CASES if case.op == "Conv"], ids=lambda case: case.id)
def test_the_form_for_many_channels(case, monkeypatch):
    """With the flipped kernel, which the cases' few channels do not get by themselves."""
    monkeypatch.setattr("onnxviz.gradients.rules.convolution.BLOCK", 1)
    check(case)
