"""Findings: what a check has to say of a model, measured; and checks that could not run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class Severity(Enum):
    """How much a finding matters: nobody ships an error knowingly, a warning wants an eye, a note is information."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for an error, 2 for a note."""
        return list(Severity).index(self)

    def reaches(self, other: Severity) -> bool:
        """Whether it is as severe as the other, or more."""
        return self.rank <= other.rank


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: of the check: a letter for its group (G graph, W weights, A activations, P parity and provider, I input,
            R release) and two digits.
        severity: how much it matters.
        message: what was found, with the measured value and the threshold; one sentence.
        do: what to do about it.
        layer: the layer, "" where it is about the whole model.
        channel: the channel or filter, from 0; None where it is about all.
        where: a node, tensor, input or output that it is about, where that is not the layer's; else "".
        value: what was measured; None where nothing is.
        threshold: what it was held against; None where there is none.
        reason: why the configuration lets it pass; "" where it does not.
    """

    code: str
    severity: Severity
    message: str
    do: str
    layer: str = ""
    channel: int | None = None
    where: str = ""
    value: float | None = None
    threshold: float | None = None
    reason: str = ""

    @property
    def place(self) -> str:
        """The layer, channel and whatever else it is about, each once, in words; "" where that is the whole model."""
        channel = "" if self.channel is None else f"channel {self.channel}"
        return ", ".join(dict.fromkeys(part for part in (self.layer, channel, self.where) if part))

    def of_channel(self, channel: int | None) -> Finding:
        """The same of one channel or filter, from 0; None for all."""
        return replace(self, channel=channel)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types; a number that JSON does not have is None."""
        return {
            "code": self.code, "severity": self.severity.value, "layer": self.layer or None, "channel": self.channel,
            "where": self.where or None, "message": self.message, "value": _finite(self.value),
            "threshold": _finite(self.threshold), "do": self.do,
            **({"accepted": self.reason} if self.reason else {}),
        }  # fmt: skip

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Finding:
        """The finding of which `as_dict` made the entry."""
        return cls(
            entry["code"], Severity(entry["severity"]), entry["message"], entry["do"], entry["layer"] or "",
            entry["channel"], entry["where"] or "", entry["value"], entry["threshold"], entry.get("accepted", ""),
        )  # fmt: skip


@dataclass(frozen=True)
class NotRun:
    """A check that could not run, and why: never a pass."""

    code: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"code": self.code, "why": self.why}


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def sorted_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The most severe first, then by code; of one check in the order in which it gave them."""
    return tuple(sorted(findings, key=lambda one: (one.severity.rank, one.code)))


@dataclass(frozen=True)
class Group:
    """Findings of one check with one severity and one advice: one thing that was found in several places.

    Attributes:
        findings: one or more, in their order.
    """

    findings: tuple[Finding, ...]

    @property
    def parts(self) -> tuple[Finding, ...]:
        """Those that are shown each by itself: all where they are few, else none; `worst` stands for them then."""
        return self.findings if len(self.findings) <= _FEW else ()

    @property
    def worst(self) -> Finding:
        """The one whose value is farthest from its threshold; the first where nothing is measured."""
        return max(self.findings, key=_excess)

    @property
    def extent(self) -> str:
        """In how many places it was found, and which is the worst: `in 46 layers, worst in `; the name follows."""
        count, layers = len(self.findings), {one.layer for one in self.findings}
        if "" in layers:
            found = f"in {count:,} places" if all(one.place for one in self.findings) else f"{count:,} times"
        elif len(layers) < count:
            found = f"{count:,} times in {len(layers):,} layer{'s' if len(layers) > 1 else ''}"
        else:
            found = f"in {count:,} layers"
        if not self.worst.place:
            return found
        return f"{found}, {'first' if _excess(self.worst) < 0 else 'worst'} in "

    def told(self, written: Callable[[str], str] = str, *, each: bool = False) -> list[tuple[Finding, str]]:
        """(finding, where it was found) of each that is shown: all by themselves, or the worst for all of them.

        Args:
            written: how a place is written.
            each: whether all are shown, many as they may be.
        """
        if shown := self.findings if each else self.parts:
            return [(one, written(one.place)) for one in shown]
        return [(self.worst, f"{self.extent}{written(self.worst.place)}")]


# Findings of a group that are shown each by itself.
_FEW = 3


def _excess(one: Finding) -> float:
    """How far a value is from its threshold; -1 where it cannot be told."""
    if one.value is None or one.threshold is None:
        return -1.0
    apart = abs(one.value - one.threshold)
    return -1.0 if math.isnan(apart) else apart


def alike(findings: Iterable[Finding]) -> list[Group]:
    """The findings in groups of one check, severity, reason and advice, in their order."""
    groups: dict[tuple[str, Severity, str, str], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.code, one.severity, one.reason, one.do), []).append(one)
    return [Group(tuple(group)) for group in groups.values()]
