"""The findings of audits on a terminal: the verdict, the findings below it, what was not run; and lists of checks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnxviz.auditing.audit import Audit, reasons
from onnxviz.auditing.finding import Finding, Group, Severity, alike
from onnxviz.cli.tables import count_of, ruled_table
from onnxviz.messages import printable

if TYPE_CHECKING:
    from onnxviz.auditing.check import Check

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "bold cyan"}
_NARROW = 60  # cells; below it what a finding says begins in the next line
_WIDE = 100
_FILE_WIDTH = 120
_CODES_WIDTH = {True: 15, False: 31}  # of four codes on a narrow terminal, of eight on others
_LONGEST = 1000
_SHOWN = 3  # of findings that are new or gone; the others are counted


def findings_text(audits: Sequence[Audit], fail_on: Severity, *, verbose: bool = False) -> str:
    """The report as plain text, for a file; `verbose` as for `findings_table`."""
    text = io.StringIO()
    console = Console(file=text, width=_FILE_WIDTH, highlight=False, emoji=False, color_system=None)
    console.print(findings_table(audits, fail_on, _FILE_WIDTH, verbose=verbose))
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines())


def findings_table(audits: Sequence[Audit], fail_on: Severity, width: int, *, verbose: bool = False) -> RenderableType:
    """One model: verdict, findings, what was not run. Several: a row each, then each that has findings.

    Args:
        audits: one a model.
        fail_on: the severity from which on an audit fails.
        width: of the terminal, in cells.
        verbose: whether each finding stands by itself, where else one line tells of many that are alike.
    """
    parts: list[RenderableType] = []
    if len(audits) > 1:
        failing = sum(audit.fails(fail_on) for audit in audits)
        idle = sum(not audit.has_run for audit in audits)
        words = f"{failing:,} of {len(audits):,} models fail" if failing else f"all {len(audits):,} models pass"
        words = f"{words if failing else 'none fails'}, of {idle:,} no check could run" if idle else words
        parts += [
            _verdict(not failing and not idle, words, fail_on),
            Text(""),
            _summary(audits, fail_on, width),
            Text(""),
        ]
    for audit in audits:
        if len(audits) == 1 or audit.findings:
            parts += [*_one(audit, fail_on, width, verbose), Text("")]
    if not verbose and any(not group.parts for audit in audits for group in alike(audit.findings)):
        parts += [Text("each layer by itself: --verbose, or --json", style="dim"), Text("")]
    return Stack(*parts, *_not_run(audits, width))


def _verdict(passes: bool, words: str, fail_on: Severity) -> Text:
    sign, style = ("✓", "bold green") if passes else ("✗", "bold red")
    at = "" if fail_on is Severity.ERROR else f" (--fail-on {fail_on.value})"
    return Text.assemble((f"{sign} {words}", style), (at, "dim"))


def _summary(audits: Sequence[Audit], fail_on: Severity, width: int) -> RenderableType:
    """A row for each model; its name last, so that long ones are folded and the numbers stay in sight.

    Without numbers on a narrow terminal: they stand below.
    """
    table = ruled_table()
    table.add_column(no_wrap=True)
    counts = {f"{one.value}s": [audit.count(one) for audit in audits] for one in Severity}
    counts["accepted"] = [sum(bool(one.reason) for one in audit.findings) for audit in audits]
    counts["not run"] = [len(audit.not_run) for audit in audits]
    shown = [name for name, numbers in counts.items() if any(numbers) and width >= _NARROW]
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True, style="dim" if name == "not run" else "")
    table.add_column("model", overflow="fold", style="bold")
    for row, audit in enumerate(audits):
        cells = [f"{counts[name][row]:,}" if counts[name][row] else "" for name in shown]
        sign = Text("✓", style="green") if audit.passes(fail_on) else Text("✗", style="bold red")
        table.add_row(sign, *cells, Text(printable(audit.label, _LONGEST)))
    return table


def _one(audit: Audit, fail_on: Severity, width: int, verbose: bool) -> list[RenderableType]:
    """A model's verdict and findings."""
    listed = [count_of(count, one.value) for one in Severity if (count := audit.count(one))]
    accepted = sum(bool(one.reason) for one in audit.findings)
    listed += [f"{accepted:,} accepted"] if accepted else []
    passes = audit.passes(fail_on)
    words = f"{'passes' if passes else 'fails'}: {', '.join(listed) or 'no findings'}"
    words = words if audit.has_run else "no check could run"
    ran = [count_of(len(audit.passed), "check") + " found nothing"] if audit.passed else []
    ran += [count_of(len(audit.not_run), "check") + " not run"] if audit.not_run else []
    lines = [Text(printable(audit.label, _LONGEST), style="bold"), _verdict(passes, words, fail_on)]
    lines += [Text(", ".join(ran), style="dim")] if ran else []
    lines += [Text(words, style="dim") for words in _since(audit)]
    return [*lines, *((Text(""), _findings(audit.findings, width, verbose)) if audit.findings else ())]


def _since(audit: Audit) -> list[str]:
    """What is new and gone since the baseline, in words; nothing without one."""
    if audit.since is None:
        return []
    told = [
        f"{count_of(len(ones), 'finding')} {what}: {_listed(ones)}"
        for what, ones in (("new", audit.since.new), ("gone", audit.since.gone))
        if ones
    ]
    return [f"since the baseline, {words}" for words in told or ["no finding is new or gone"]]


def _listed(findings: Sequence[Finding]) -> str:
    listed = ", ".join(f"{one.code} {printable(one.place)}".rstrip() for one in findings[:_SHOWN])
    return f"{listed} …" if len(findings) > _SHOWN else listed


def _findings(findings: Sequence[Finding], width: int, verbose: bool) -> RenderableType:
    said = [one for group in alike(findings) for one in _lines(group, verbose)]
    if width < _NARROW:
        heads = [Text.assemble(_severity(one), " ", one.code) for one, _ in said]
        bodies = [Padding(text, (0, 0, 1 if number < len(said) else 0, 2)) for number, (_, text) in enumerate(said, 1)]
        return Stack(*(part for pair in zip(heads, bodies, strict=True) for part in pair))
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for one, text in said:
        grid.add_row(_severity(one), Text(one.code), text)
    return grid


def _lines(group: Group, verbose: bool) -> list[tuple[Finding, Text]]:
    """What stands of a group in the list: each finding with its text, or the worst for all of them."""
    return [(one, _said(one, place)) for one, place in group.told(lambda place: printable(place, 300), each=verbose)]


def _severity(one: Finding) -> Text:
    return Text("accepted", style="dim") if one.reason else Text(one.severity.value, style=_STYLES[one.severity])


def _said(one: Finding, place: str) -> Text:
    """Where, what was found, and what to do or why it is let pass."""
    end = f"\naccepted: {printable(one.reason, _LONGEST)}" if one.reason else f"\n→ {printable(one.do, _LONGEST)}"
    return Text.assemble(
        (f"{place}\n" if place else "", "bold"), printable(one.message, _LONGEST), (end if one.do else "", "dim")
    )


def _not_run(audits: Sequence[Audit], width: int) -> list[RenderableType]:
    """The reasons, each once, with the codes of the checks; and in how many models, where not in all."""
    found = reasons(audits)
    if not found:
        return []
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(max_width=_CODES_WIDTH[width < _WIDE])
    grid.add_column(overflow="fold")
    for codes, why in found:
        grid.add_row(Text(" ".join(codes)), Text(printable(why, _LONGEST)))
    return [Text("not run", style="bold"), grid]


def checks_table(checks: Iterable[Check], width: int) -> RenderableType:
    """A row for each check: its code, how severe what it finds is, what it needs, and what it finds."""
    table = ruled_table()
    table.add_column("check", no_wrap=True, style="bold")
    table.add_column("severity", no_wrap=True)
    if width >= _NARROW:
        table.add_column("needs", no_wrap=True, style="dim")
    table.add_column("finds", overflow="fold")
    for check in checks:
        severity = Text(check.severity.value, style=_STYLES[check.severity])
        needs = [Text(_needs(check))] if width >= _NARROW else []
        table.add_row(check.code, severity, *needs, Text(check.title.rstrip(".")))
    return table


def check_manual(check: Check) -> RenderableType:
    """The manual of a check, with what it needs and its thresholds."""
    facts = [check.severity.value, f"needs {_needs(check)}" if check.needs or check.asked else "needs the model alone"]
    facts += [f"{name} = {number:g}" for name, number in check.thresholds.items()]
    head = Text.assemble((check.code, "bold"), "  ", (" · ".join(facts), "dim"))
    return Stack(head, Text(""), *(Text(paragraph) for paragraph in _paragraphs(check.manual)))


def _paragraphs(manual: str) -> list[str]:
    """With an empty line between, so that each is wrapped to the terminal."""
    joined = [" ".join(paragraph.split()) for paragraph in manual.split("\n\n")]
    return "\n\n".join(joined).split("\n")


def _needs(check: Check) -> str:
    return ", ".join([*check.needs, *(["to be asked for"] if check.asked else [])])
