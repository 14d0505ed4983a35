"""Workflow commands of GitHub Actions: findings as annotations.

GitHub takes ten errors, ten warnings and ten notices of a step and drops the rest without a word, so the tenth says how
many more there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.messages import printable

MOST = 10
_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def github(audits: Sequence[Audit], fail_on: Severity) -> str:
    """An annotation for each finding that is not accepted, the most severe first; at most ten of a severity."""
    lines = []
    for severity, command in _COMMANDS.items():
        found = [
            (audit, one)
            for audit in audits
            for one in audit.findings
            if one.severity is severity and not one.reason
        ]  # fmt: skip
        shown = found if len(found) <= MOST else found[: MOST - 1]
        lines += [_annotation(command, audit, one) for audit, one in shown]
        if len(found) > len(shown):
            more = f"and {len(found) - len(shown):,} more: see the whole report"
            lines.append(f"::{command} title=onnxviz audit::{more}")
    return "".join(f"{line}\n" for line in lines)


def _annotation(command: str, audit: Audit, one: Finding) -> str:
    place = f" {one.place}" if one.place else ""
    properties = f"file={_property(audit.label)},line=1,title={_property(f'{one.code}{place}')}"
    return f"::{command} {properties}::{_data(f'{one.message}. What to do: {one.do}')}"


def _data(text: str) -> str:
    return printable(text, 1000).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
