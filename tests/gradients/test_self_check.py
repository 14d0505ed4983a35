"""The gradient held against the model's own slope."""

from __future__ import annotations

import numpy as np
import pytest
from protos import classifier_proto

import onnxviz
from onnxviz.errors import InputError
from onnxviz.gradients.add_gradient import add_gradient
from onnxviz.gradients.self_check import self_check


def test_the_check_refuses_what_it_cannot_check():
    model = onnxviz.load(classifier_proto())
    x = np.zeros((1, 3, 16, 12), np.float32)
    session = add_gradient(model, wrt="r2").session()
    with pytest.raises(InputError, match="only gradients with respect to inputs can be checked, not 'r2'"):
        self_check(session, {"image": x}, np.ones((1, 5)))
    with pytest.raises(InputError, match="mode guided"):
        self_check(add_gradient(model, mode="guided").session(), {"image": x}, np.ones((1, 5)))


def test_the_check_notices_a_wrong_rule(monkeypatch):
    from dataclasses import replace

    from onnxviz.gradients.table import RULES

    rule = RULES["", "Conv"]
    monkeypatch.setitem(RULES, ("", "Conv"), replace(rule, apply=lambda step: rule.apply(step) * 1.3))
    x = np.random.default_rng(0).normal(size=(2, 3, 16, 12)).astype(np.float32)
    check = self_check(add_gradient(onnxviz.load(classifier_proto())).session(), {"image": x}, np.ones((2, 5)))
    assert not check
    assert check.error > 0.1


def test_the_check_notices_a_gradient_that_is_lost(monkeypatch):
    from dataclasses import replace

    from onnxviz.gradients.table import RULES

    rule = RULES["", "Conv"]
    monkeypatch.setitem(RULES, ("", "Conv"), replace(rule, apply=lambda step: rule.apply(step) * 0.0))
    x = np.random.default_rng(0).normal(size=(2, 3, 16, 12)).astype(np.float32)
    assert not self_check(add_gradient(onnxviz.load(classifier_proto())).session(), {"image": x}, np.ones((2, 5)))
