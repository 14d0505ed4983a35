"""Groups of findings: those of one check and severity together, with the check's manual and a picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.check import Check
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import load_checks

MOST_ROWS = 60
"""Findings of one group that a page shows; the others are counted, and all are in the JSON."""
Illustrate = Callable[[str, Sequence[Finding]], object]
"""The picture for the findings of a check, by its code, or None."""


@dataclass(frozen=True)
class FindingGroup:
    """The findings of one check and severity.

    Attributes:
        code: of the check.
        title: what it finds.
        severity: in a word: "error", "warning", "note", or "accepted".
        rows: the findings that are shown.
        more: how many more there are.
        manual: of the check, paragraph by paragraph: (heading or "", text).
        picture: what illustrates them, for the template; None where nothing does.
    """

    code: str
    title: str
    severity: str
    rows: tuple[Finding, ...]
    more: int
    manual: tuple[tuple[str, str], ...]
    picture: object = None


@dataclass(frozen=True)
class Verdict:
    """The verdict on a model.

    Attributes:
        fit: whether no finding fails it.
        fail_on: the severity from which on a finding does.
        counts: of each severity, in words, those that are accepted last.
        passed: how many checks found nothing.
        not_run: (why, codes of the checks) of those that were not run.
    """

    fit: bool
    fail_on: str
    counts: Mapping[str, int]
    passed: int
    not_run: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def count_not_run(self) -> int:
        """How many checks were not run."""
        return sum(len(codes) for _, codes in self.not_run)


def verdict(audit: Audit, fail_on: Severity) -> Verdict:
    """The verdict of an audit."""
    reasons: dict[str, list[str]] = {}
    for one in audit.not_run:
        reasons.setdefault(one.why, []).append(one.code)
    counts = {one.value: audit.count(one) for one in Severity}
    counts["accepted"] = sum(bool(one.reason) for one in audit.findings)
    return Verdict(
        not audit.fails(fail_on),
        fail_on.value,
        counts,
        len(audit.passed),
        tuple((why, tuple(codes)) for why, codes in reasons.items()),
    )


def finding_groups(audit: Audit, illustrate: Illustrate = lambda code, findings: None) -> list[FindingGroup]:
    """The findings of an audit in groups, the most severe first, those that are accepted last."""
    checks = {one.code: one for one in load_checks()}
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in audit.findings:
        groups.setdefault(("accepted" if one.reason else one.severity.value, one.code), []).append(one)
    made = []
    for (severity, code), found in sorted(groups.items(), key=lambda item: item[0][0] == "accepted"):
        check = checks.get(code)
        made.append(
            FindingGroup(
                code,
                _title(check),
                severity,
                tuple(found[:MOST_ROWS]),
                max(0, len(found) - MOST_ROWS),
                manual(check),
                illustrate(code, found),
            )
        )
    return made


def titles(codes: Sequence[str]) -> dict[str, str]:
    """The titles of checks, by their codes."""
    return {one.code: _title(one) for one in load_checks() if one.code in codes}


def _title(check: Check | None) -> str:
    return "" if check is None else check.title.rstrip(".")


def manual(check: Check | None) -> tuple[tuple[str, str], ...]:
    """The paragraphs of a check's manual behind its first: ("Why it matters", text), …."""
    if check is None:
        return ()
    found = []
    for paragraph in check.manual.split("\n\n")[1:]:
        text = " ".join(paragraph.split())
        match = re.fullmatch(r"([A-Z][\w ]{2,30}): (.+)", text)
        found.append((match[1], match[2]) if match else ("", text))
    return tuple(found)
