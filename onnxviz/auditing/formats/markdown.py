"""Markdown: an audit as a comment on a pull request, or as the summary of a step."""

from __future__ import annotations

import re
from collections.abc import Sequence

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.messages import printable

LONGEST = 65_536
"""Characters that GitHub takes of a comment; a step summary may have 1,024 KiB."""
_ROOM = 200  # for the last line


def markdown(audits: Sequence[Audit], fail_on: Severity) -> str:
    """The verdict, a table of the models where there are several, and a table of findings of each that has any."""
    failing = sum(audit.fails(fail_on) for audit in audits)
    noun = f"{len(audits):,} models" if len(audits) > 1 else f"`{_code(audits[0].label)}`"
    verdict = f"❌ {failing:,} of {noun} fail" if len(audits) > 1 else f"❌ {noun} fails"
    lines = [f"### {verdict if failing else f'✅ {noun} pass' + ('es' if len(audits) == 1 else '')}", ""]
    if len(audits) > 1:
        lines += ["| | model | errors | warnings | notes | not run |", "|-|-|-:|-:|-:|-:|"]
        lines += [_row(audit, fail_on) for audit in audits]
        lines += [""]
    for audit in audits:
        if audit.findings:
            lines += [f"#### `{_code(audit.label)}`", ""] if len(audits) > 1 else []
            lines += ["| severity | check | where | finding | what to do |", "|-|-|-|-|-|"]
            lines += [_line(one) for one in audit.findings]
            lines += [""]
        lines += _since(audit)
    return _fitted(lines)


def _since(audit: Audit) -> list[str]:
    """Findings that are new and gone since the baseline, in a list each."""
    lines = []
    for what, ones in (("New", audit.since.new), ("Gone", audit.since.gone)) if audit.since is not None else ():
        if ones:
            lines += [f"{what} since the baseline:", ""]
            lines += [
                f"* {one.code}{f' `{_code(one.place)}`' if one.place else ''}: {_words(one.message)}" for one in ones
            ]
            lines += [""]
    return lines


def _row(audit: Audit, fail_on: Severity) -> str:
    counts = " | ".join(f"{audit.count(severity):,}" for severity in Severity)
    return f"| {'❌' if audit.fails(fail_on) else '✅'} | `{_code(audit.label)}` | {counts} | {len(audit.not_run):,} |"


def _line(one: Finding) -> str:
    severity = f"accepted: {_words(one.reason)}" if one.reason else one.severity.value
    where = f"`{_code(one.place)}`" if one.place else ""
    return f"| {severity} | {one.code} | {where} | {_words(one.message)} | {_words(one.do)} |"


def _fitted(lines: Sequence[str]) -> str:
    """As many lines as a comment takes, and how many are left out."""
    size = 0
    for number, line in enumerate(lines):
        size += len(line) + 1
        if size > LONGEST - _ROOM:
            return "\n".join([*lines[:number], "", f"and {len(lines) - number:,} more lines: see the whole report", ""])
    return "\n".join(lines)


def _words(text: str) -> str:
    """Strangers' text that Markdown and HTML read as nothing but text."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~@$&!])", r"\\\1", printable(text, 500))


def _code(text: str) -> str:
    """Text between backquotes, in a cell of a table."""
    return printable(text, 300).replace("`", "'").replace("|", "\\|")
