"""Audits made by hand, checks that are registered for a test, and models that some of these fail on."""

from contextlib import contextmanager

import numpy as np

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.finding import Finding, NotRun, Severity
from onnxviz.auditing.registry import CHECKS, check

NASTY = "layer\x1b[31m/é|`<b>&\u202e]]>\n::error::%0A"
"""A layer's name that no format may take for anything but text."""


def finding(code="W01", severity="error", message="3 of 9 weights are NaN", **options):
    return Finding(code, Severity(severity), message, options.pop("do", "export it again"), **options)


def audit_of(*findings, label="models/m.onnx", not_run=(), passed=(), sha256="ab" * 32):
    head = {"version": 1, "model": {"path": label, "sha256": sha256, "opset": {"": 18}}, "versions": {}}
    return Audit(label, findings, tuple(NotRun(*one) for one in not_run), tuple(passed), head)


def sample_audits():
    """One of everything that a format has to say."""
    first = audit_of(
        finding(layer="conv1", channel=3, value=3.0, threshold=0.0),
        finding(layer="conv1", channel=4, value=float("nan")),
        finding(layer="conv1", channel=4),
        finding(layer="conv2", reason="known since 2024, model card"),
        finding(severity="warning", layer=NASTY, message=NASTY, do=NASTY, where="tensor 'x'"),
        finding(severity="note", message="the whole model"),
        not_run=[("W01", "no data were given (--data)")],
        passed=["G00"],
    )
    second = Audit("models/a b#é.onnx", (finding("G00", message="the audit took more than 3 s"),), (), (), {})
    return [first, second, audit_of(label="models/good.onnx", passed=["G00", "W01"])]


@contextmanager
def registered(code, run, severity=Severity.ERROR, **options):
    """A check that exists while the block lasts."""
    run.__doc__ = "Made for a test.\n\nWhy it matters: it does not."
    check(code, severity, **options)(run)
    try:
        yield CHECKS[code]
    finally:
        del CHECKS[code]


def run_on_zeros(subject):
    """A check that runs the model: whoever crashes or hangs onnxruntime does so here."""
    feeds = {
        port.name: np.zeros([size if isinstance(size, int) else 1 for size in port.shape or ()], np.float32)
        for port in subject.model.inputs
    }
    subject.session.run([port.name for port in subject.model.outputs], feeds)
    yield from ()
