"""Annotations and the summary of a step of GitHub Actions: workflow commands in its log, Markdown in its file.

GitHub takes ten errors, ten warnings and ten notices of a step and drops the rest without a word, so the tenth says how
many more there are; of a summary of more than 1,024 KiB it shows nothing.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.finding import Finding, Severity, alike
from onnxviz.auditing.formats.markdown import markdown
from onnxviz.auditing.formats.repository import repository_path
from onnxviz.errors import OnnxvizError
from onnxviz.messages import printable

MOST = 10
"""Annotations of one severity that GitHub takes of a step."""
SUMMARY_BYTES = 1024 * 1024
"""What a step's summary may have."""
_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def github(audits: Sequence[Audit], fail_on: Severity) -> str:
    """An annotation for each finding that is not accepted, the most severe first; at most ten of a severity.

    One stands for many that are alike. Each check has one of each model before any has a second, so that a hundred
    dead filters do not hide the rest.
    """
    found = _in_turn(audits)
    lines = []
    for severity, command in _COMMANDS.items():
        told = [one for one in found if one.finding.severity is severity]
        shown = told if len(told) <= MOST else told[: MOST - 1]
        lines += [_annotation(command, one) for one in shown]
        if more := sum(one.count for one in told[len(shown) :]):
            lines.append(
                f"::{command} title=onnxviz audit::and {more:,} more: "
                "the summary of this step shows more, onnxviz audit -o audit.json has all"
            )
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class _Told:
    """A finding of a model, where it was found, and for how many it stands."""

    audit: Audit
    finding: Finding
    place: str
    count: int = 1


def refusal(message: str) -> str:
    """An annotation that says why nothing could be audited."""
    return f"::error title=onnxviz audit::{_data(message)}\n"


def append_summary(audits: Sequence[Audit], fail_on: Severity, path: Path) -> None:
    """Adds the audits as Markdown to the summary of a step, the file that `GITHUB_STEP_SUMMARY` names.

    Args:
        audits: one a model.
        fail_on: the severity from which on an audit fails.
        path: of the file; what is in it stays, and counts against `SUMMARY_BYTES`.

    Raises:
        OnnxvizError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            text = markdown(audits, fail_on, SUMMARY_BYTES - os.fstat(file.fileno()).st_size)
            file.write(text)
    except OSError as error:
        raise OnnxvizError(
            f"the step's summary {path} (GITHUB_STEP_SUMMARY) cannot be written: {error.strerror or error}"
        ) from None


def _in_turn(audits: Sequence[Audit]) -> list[_Told]:
    """The findings that are not accepted: the first of each check of each model, then the second of each, and so on."""
    seen: Counter[tuple[int, str, Severity]] = Counter()
    turns = []
    for number, audit in enumerate(audits):
        for group in alike(one for one in audit.findings if not one.reason):
            count = 1 if group.parts else len(group.findings)
            for told in [_Told(audit, one, place, count) for one, place in group.told()]:
                key = (number, told.finding.code, told.finding.severity)
                turns.append((seen[key], told))
                seen[key] += 1
    return [told for _, told in sorted(turns, key=lambda turn: turn[0])]


def _annotation(command: str, told: _Told) -> str:
    one, place = told.finding, f" {told.place}" if told.place else ""
    file = repository_path(told.audit.label) or told.audit.label
    properties = f"file={_property(file)},line=1,title={_property(f'{one.code}{place}')}"
    return f"::{command} {properties}::{_data(f'{one.message}. What to do: {one.do}')}"


def _data(text: str) -> str:
    return printable(text, 1000).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
