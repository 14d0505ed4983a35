"""A check: what it is called, what it needs, its manual, and the generator that gives its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onnxviz.auditing.finding import Finding, Severity
from onnxviz.errors import OnnxvizError

Need = Literal["data", "labels", "against", "source", "target", "baseline", "golden"]
"""What a check cannot do without, beside the model: images, their classes, a model to compare with, …"""
Run = Callable[[Any], Iterator[Finding]]
"""Gives the findings of a check on a `onnxviz.auditing.subject.Subject`."""


class UnmeasuredError(OnnxvizError):
    """What a check raises that cannot run on this model or this machine; the message says why."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        code: such as "W01".
        title: what it finds, in a few words: the first line of its manual.
        manual: what, why it matters, how it is measured, what to do.
        severity: of what it finds, if the configuration does not change it; the worst where it has several.
        needs: what it cannot do without.
        asked: whether it runs only where it is selected by its code, or one of its budgets is set.
        budgets: names of the budgets that it heeds.
        thresholds: its numbers by name, as they are unless configured.
        run: gives its findings.
    """

    code: str
    title: str
    manual: str
    severity: Severity
    needs: tuple[Need, ...]
    asked: bool
    budgets: tuple[str, ...]
    thresholds: Mapping[str, float]
    run: Run

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "code": self.code, "title": self.title, "severity": self.severity.value, "needs": list(self.needs),
            "asked": self.asked, "budgets": list(self.budgets), "thresholds": dict(self.thresholds),
            "manual": self.manual,
        }  # fmt: skip
