"""Markdown of GitHub and GitLab: an audit as a comment on a pull request, or as the summary of a step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from onnxviz.auditing.audit import Audit, reasons
from onnxviz.auditing.finding import Finding, Group, Severity, alike
from onnxviz.messages import option, printable

LONGEST = 65_536
"""Characters that GitHub takes of a comment; bytes are counted, which are never fewer."""
_ROOM = 300  # for what ends a text that was cut
_PLACES = 100  # places of findings that are alike, which are listed; the others are counted
_SIGNS = {Severity.ERROR: "❌", Severity.WARNING: "⚠️", Severity.NOTE: "ℹ️"}
_FINDINGS = ["| | check | finding | what to do |", "|-|-|-|-|"]
# What GitHub makes links and pictures of after Markdown has been read, so that no backslash keeps it from it: mentions,
# issues, addresses, :emoji:, commits. A word joiner, which takes no room, parts them.
_JOINER = "&#8288;"
_LIVE = re.compile(
    r"(?P<parted>[@#:](?=\S)|www(?=\.)|GH-(?=\d))"
    r"|(?P<commit>(?<![0-9a-z])(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{7,40}(?![0-9a-z]))"
    r"|(?P<escaped>[\\`*_\[\]~])|(?P<entity>[&<>|])|(?P<formula>\$)",
    re.IGNORECASE,
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}


@dataclass(frozen=True)
class _Line:
    """A line, and how many findings and models it shows."""

    text: str
    findings: int = 0
    models: int = 0


def markdown(audits: Sequence[Audit], fail_on: Severity, most: int = LONGEST) -> str:
    """The verdict, a table of the models where there are several, and the findings of each that has any.

    Notes and what is accepted are folded, unless they fail the audit; so are the checks that were not run.

    Args:
        audits: one a model.
        fail_on: the severity from which on an audit fails.
        most: bytes that the text may have; where they do not do, it ends with how much is left out. Where they do not
            do for that either, it is "".
    """
    lines = [_Line(f"### {_verdict(audits, fail_on)}"), _Line("")]
    if len(audits) > 1:
        lines += _plain("| | model | errors | warnings | notes | not run |", "|-|-|-:|-:|-:|-:|")
        lines += [_row(audit, fail_on) for audit in audits]
        lines += [_Line("")]
    for audit in audits:
        if len(audits) == 1 or audit.findings or audit.since is not None:
            lines += _plain(f"#### {_code(audit.label)}", "") if len(audits) > 1 else []
            lines += _plain(_counts(audit, fail_on), "")
            lines += _findings(audit, fail_on)
            lines += _since(audit)
    return _fitted([*lines, *_not_run(audits)], most)


def _since(audit: Audit) -> Iterator[_Line]:
    """Findings that are new and gone since the baseline, in a list each."""
    since = audit.since
    for what, ones in (("New", since.new), ("Gone", since.gone)) if since is not None else ():
        if ones:
            yield from _plain(f"{what} since the baseline:", "")
            for one in ones:
                place = f" {_code(one.place)}" if one.place else ""
                yield _Line(f"* {one.code}{place}: {_words(one.message)}")
            yield _Line("")


def _verdict(audits: Sequence[Audit], fail_on: Severity) -> str:
    failing = sum(audit.fails(fail_on) for audit in audits)
    at = "" if fail_on is Severity.ERROR else f" ({option('fail_on', fail_on.value, repr(fail_on.value))})"
    idle = sum(not audit.has_run for audit in audits)
    if len(audits) == 1:
        words = "no check could run on it" if idle else "fails" if failing else "passes"
        return f"{'❌' if failing or idle else '✅'} {_code(audits[0].label)}{':' if idle else ''} {words}{at}"
    if failing or idle:
        of = f", of {idle:,} no check could run" if idle else ""
        return f"❌ {f'{failing:,} of {len(audits):,} models fail' if failing else 'none fails'}{of}{at}"
    return f"✅ {len(audits):,} models pass{at}"


def _counts(audit: Audit, fail_on: Severity) -> str:
    """`**1 error** · 2 notes · 17 checks found nothing · 3 not run`: what fails the audit is bold."""
    parts = []
    for severity in Severity:
        if count := audit.count(severity):
            words = _many(count, severity.value)
            parts.append(f"**{words}**" if severity.reaches(fail_on) else words)
    accepted = sum(bool(one.reason) for one in audit.findings)
    parts += [f"{accepted:,} accepted"] if accepted else []
    parts = parts or ["no findings"]
    parts += [f"{_many(len(audit.passed), 'check')} found nothing"] if audit.passed else []
    parts += [f"{len(audit.not_run):,} not run"] if audit.not_run else []
    return " · ".join(parts)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _row(audit: Audit, fail_on: Severity) -> _Line:
    counts = [*map(audit.count, Severity), len(audit.not_run)]
    cells = [
        "✅" if audit.passes(fail_on) else "❌",
        _code(audit.label),
        *(f"{count:,}" if count else "" for count in counts),
    ]
    return _Line(f"| {' | '.join(cells)} |", models=1)


def _findings(audit: Audit, fail_on: Severity) -> Iterator[_Line]:
    """A table of what wants an eye, then the others, folded."""
    seen = Severity.WARNING if fail_on is Severity.ERROR else fail_on
    open_ones = [one for one in audit.findings if one.severity.reaches(seen) and not one.reason]
    folded = [one for one in audit.findings if not one.severity.reaches(seen) or one.reason]
    if open_ones:
        yield from [*_plain(*_FINDINGS), *_rows(open_ones), _Line("")]
    if folded:
        notes, accepted = sum(not one.reason for one in folded), sum(bool(one.reason) for one in folded)
        words = [_many(notes, "note" if seen is Severity.WARNING else "other")] if notes else []
        words += [f"{accepted:,} accepted"] if accepted else []
        yield from [*_opened(", ".join(words)), *_plain(*_FINDINGS), *_rows(folded), *_plain("", "</details>", "")]


def _rows(findings: Iterable[Finding]) -> Iterator[_Line]:
    for group in alike(findings):
        count, places = (1, "") if group.parts else (len(group.findings), _all_places(group))
        for one, place in group.told(_code):
            yield _Line(_cells(one, f"{_said(one, place)}{places}"), findings=count)


def _all_places(group: Group) -> str:
    """The places of all findings of a group, folded; "" where they have none."""
    places = [_code(one.place) for one in group.findings if one.place]
    if not places:
        return ""
    more = f" and {len(places) - _PLACES:,} more" if len(places) > _PLACES else ""
    return f"<br><details><summary>all {len(places):,}</summary>{', '.join(places[:_PLACES])}{more}</details>"


def _cells(one: Finding, said: str) -> str:
    severity = "accepted" if one.reason else f"{_SIGNS[one.severity]}&nbsp;{one.severity.value}"
    return f"| {severity} | {one.code} | {said} | {_words(one.do)} |"


def _said(one: Finding, place: str) -> str:
    """Where, what was found, and why it is let pass."""
    accepted = f"<br>accepted: {_words(one.reason)}" if one.reason else ""
    return f"{f'{place}<br>' if place else ''}{_words(one.message)}{accepted}"


def _not_run(audits: Sequence[Audit]) -> Iterator[_Line]:
    """The reasons, each once, with the codes of the checks."""
    found = reasons(audits)
    if found:
        count = len({code for codes, _ in found for code in codes})
        yield from [*_opened(f"{_many(count, 'check')} not run"), *_plain("| checks | why |", "|-|-|")]
        yield from (_Line(f"| {' '.join(codes)} | {_words(why)} |") for codes, why in found)
        yield from _plain("", "</details>", "")


def _opened(what: str) -> list[_Line]:
    return _plain(f"<details><summary>{what}</summary>", "")


def _plain(*texts: str) -> list[_Line]:
    return [_Line(text) for text in texts]


def _fitted(lines: Sequence[_Line], most: int) -> str:
    """As many lines as there is room for, what they opened closed again, and how much is left out."""
    sizes = [len(line.text.encode()) + 1 for line in lines]
    if sum(sizes) <= most:
        return "\n".join(line.text for line in lines).rstrip("\n") + "\n"
    size = kept = 0
    while size + sizes[kept] <= most - _ROOM:
        size += sizes[kept]
        kept += 1
    left = lines[kept:]
    models, findings = sum(line.models for line in left), sum(line.findings for line in left)
    more = " and ".join(_many(count, noun) for count, noun in ((models, "model"), (findings, "finding")) if count)
    texts = [line.text for line in lines[:kept]]
    closing = ["", "</details>"] if sum(map(_opens, texts)) > texts.count("</details>") else []
    closing += ["", f"and {more or 'the reasons of some checks'} more: `onnxviz audit -o audit.json` has all"]
    text = "".join(f"{line}\n" for line in [*texts, *closing])
    return text if len(text.encode()) <= most else ""


def _opens(text: str) -> bool:
    return text.startswith("<details>")


def _words(text: str, limit: int = 500) -> str:
    """Strangers' text that Markdown, HTML and what GitHub does to them read as nothing but text."""
    return _LIVE.sub(_harmless, printable(text, limit))


def _harmless(found: re.Match[str]) -> str:
    text = found[0]
    if found["parted"]:
        return f"{text}{_JOINER}"
    if found["commit"]:  # of seven digits or more
        return _JOINER.join(text[start : start + 6] for start in range(0, len(text), 6))
    if found["escaped"]:
        return f"\\{text}"
    return f"<span>{text}</span>" if found["formula"] else _ENTITIES[text]


def _code(text: str) -> str:
    """A name, as code where that can be written in a cell of a table."""
    name = printable(text, 300)
    return f"`{name}`" if re.fullmatch(r"[^`|\s]([^`|]*[^`|\s])?", name) else _words(name, 300)
