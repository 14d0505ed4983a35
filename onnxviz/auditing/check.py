"""A check: what it is called, what it needs, its manual, and the generator that gives its findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onnxviz.auditing.finding import Finding, Severity
from onnxviz.errors import OnnxvizError

Need = Literal["data", "labels", "against", "source", "target", "baseline", "golden"]
"""What a check cannot do without, beside the model: images, their classes, a model to compare with, …"""
Use = Need | Literal["noise", "session"]
"""What a check may look at: what it may need, a run of the model on noise, or the model as it opens."""
_OF_DATA = ("data", "preprocess", "size", "fit", "background", "provider", "threads")
OPTIONS: dict[Use, tuple[str, ...]] = {
    "data": _OF_DATA,
    "labels": ("classes", *_OF_DATA),
    "against": ("against", *_OF_DATA),
    "source": ("source", "weights"),
    "target": ("target",),
    "baseline": (),  # findings that are new and gone are told of any check
    "golden": ("golden", "provider", "threads"),
    "noise": ("size", "provider", "threads"),
    "session": ("provider", "threads"),
}
"""By what a check looks at, the options of `audit` that say it. `memory` limits the process of any check as well."""
_RUNNING = frozenset({"noise", "session"})
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
        takes: what it looks at besides, where that is given.
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
    takes: tuple[Use, ...]
    asked: bool
    budgets: tuple[str, ...]
    thresholds: Mapping[str, float]
    run: Run

    @property
    def options(self) -> frozenset[str]:
        """The options of `audit` that it heeds, by name."""
        return frozenset(option for use in (*self.needs, *self.takes) for option in OPTIONS[use])

    @property
    def expense(self) -> int:
        """What it costs: 0 where it reads the file alone, 1 where it opens or runs the model, 2 with what is given."""
        uses = {*self.needs, *self.takes} - {"target", "baseline"}
        return 2 if uses - _RUNNING else 1 if uses else 0

    @property
    def takes_data(self) -> bool:
        """Whether it looks at data."""
        return "data" in {*self.needs, *self.takes}

    def shares_work(self, other: Check) -> bool:
        """Whether what takes it long, without data, takes the other long too: the same part of the file, or a run."""
        return self.expense == other.expense and (
            self.expense == 1 or (not self.expense and self.code[0] == other.code[0])
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "code": self.code, "title": self.title, "severity": self.severity.value, "needs": list(self.needs),
            "takes": list(self.takes),
            "asked": self.asked, "budgets": list(self.budgets), "thresholds": dict(self.thresholds),
            "manual": self.manual,
        }  # fmt: skip
