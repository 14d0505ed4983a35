"""JUnit XML in pytest's xunit2 dialect: findings as failed tests, for Jenkins, GitLab and others.

GitLab shows the class name as the suite and drops all but the first of one name: the class is the model and the group
of checks, the name is the code and the place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree as Xml

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.finding import Finding, NotRun, Severity
from onnxviz.auditing.registry import load_checks
from onnxviz.messages import printable

LONGEST = 30_000_000
"""Bytes that GitLab takes of a file."""
_ROOM = 10_000  # for what says how much is left out, and the numbers of each suite
GROUPS = {
    "G": "graph", "W": "weights", "A": "activations", "P": "parity and provider", "I": "input", "R": "release",
}  # fmt: skip
"""What the first letter of a code stands for."""


def junit(audits: Sequence[Audit], fail_on: Severity, most: int = LONGEST) -> str:
    """A suite a model.

    A finding that fails the audit is a failure, or an error where the model could not be audited; what is accepted or
    less severe passes, with its message as output; a check that found nothing is one test that passes; one that was
    not run is skipped. One says how many tests had no room in `most` bytes, and fails if any of them would have.
    """
    root = Xml.Element("testsuites", name="onnxviz audit")
    titles = {check.code: check.title for check in load_checks()}
    total: Counter[str] = Counter()
    room = most - _ROOM - sum(1000 + 6 * len(audit.label) for audit in audits)
    left_out: Counter[str] = Counter()
    for audit in audits:
        suite = Xml.SubElement(root, "testsuite", name=printable(audit.label, 1000))
        names: Counter[tuple[str, str]] = Counter()
        counts: Counter[str] = Counter(errors=0, failures=0, skipped=0)
        for what, code, place in _tests(audit, titles):
            case = _case(suite, audit.label, GROUPS.get(code[0], code[0]), f"{code} {place}".rstrip(), names)
            kind = _finding(case, what, fail_on) if isinstance(what, Finding) else _without(case, what)
            room -= len(Xml.tostring(case, encoding="utf-8")) + 100  # and how it is indented
            if room < 0:
                suite.remove(case)
                left_out[kind] += 1
            else:
                counts[kind] += 1
        if left_out and audit is audits[-1]:
            case = _case(suite, audit.label, "audit", "left out", names)
            kind, tag = ("failures", "failure") if left_out["failures"] + left_out["errors"] else ("skipped", "skipped")
            more = f"{left_out.total():,} more tests: onnxviz audit -o audit.json has all"
            Xml.SubElement(case, tag, message=more)
            counts[kind] += 1
        counts["tests"] = len(suite)
        total += counts
        for name in ("tests", "failures", "errors", "skipped"):
            suite.set(name, str(counts[name]))
    for name in ("tests", "failures", "errors"):  # the dialect has no number of skipped ones here
        root.set(name, str(total[name]))
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _tests(audit: Audit, titles: Mapping[str, str]) -> Iterator[tuple[Finding | NotRun | None, str, str]]:
    """What each test is about, None where nothing was found; the code of the check, and the place or the title."""
    yield from ((one, one.code, one.place) for one in audit.findings)
    yield from ((None, code, titles.get(code, "")) for code in audit.passed)
    yield from ((one, one.code, titles.get(one.code, "")) for one in audit.not_run)


def _case(suite: Xml.Element, label: str, group: str, name: str, names: Counter[tuple[str, str]]) -> Xml.Element:
    """A test of a name that no other of its class has."""
    of = f"{printable(label, 1000)}.{group}"
    said = known = printable(name, 300)
    while names[of, known]:
        names[of, said] += 1
        known = f"{said} ({names[of, said]})"
    names[of, known] += 1
    return Xml.SubElement(suite, "testcase", classname=of, name=known)


def _finding(case: Xml.Element, one: Finding, fail_on: Severity) -> str:
    """Says a finding in its test; the attribute that counts it."""
    said = printable(one.message, 1000)
    text = f"{one.severity.value}: {said}\nwhat to do: {printable(one.do, 1000)}"
    if one.reason or not one.severity.reaches(fail_on):
        accepted = f"\naccepted: {printable(one.reason, 1000)}" if one.reason else ""
        Xml.SubElement(case, "system-out").text = text + accepted
        return "passed"
    tag = "error" if one.code == "G00" else "failure"
    Xml.SubElement(case, tag, message=said, type=one.code).text = text
    return f"{tag}s"


def _without(case: Xml.Element, missing: NotRun | None) -> str:
    """A test without a finding: passed, or skipped where the check was not run; what counts it."""
    if missing is None:
        return "passed"
    Xml.SubElement(case, "skipped", message=printable(missing.why, 1000))
    return "skipped"
