"""JUnit XML in pytest's xunit2 dialect: findings as failed tests, for Jenkins, GitLab and others.

GitLab shows the class name as the suite and drops all but the first of one name: the class is the model and the group
of checks, the name is the code and the place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import load_checks
from onnxviz.messages import printable

GROUPS = {
    "G": "graph", "W": "weights", "A": "activations", "P": "parity and provider", "I": "input", "R": "release",
}  # fmt: skip
"""What the first letter of a code stands for."""


def junit(audits: Sequence[Audit], fail_on: Severity) -> str:
    """A suite a model.

    A finding that fails the audit is a failure, or an error where the model could not be audited; what is accepted or
    less severe passes, with its message as output; a check that found nothing is one test that passes; one that was
    not run is skipped.
    """
    root = Xml.Element("testsuites", name="onnxviz audit")
    titles = {check.code: check.title for check in load_checks()}
    total: Counter[str] = Counter()
    for audit in audits:
        suite = Xml.SubElement(root, "testsuite", name=printable(audit.label, 1000))
        names: Counter[str] = Counter()
        counts: Counter[str] = Counter(errors=0, failures=0, skipped=0)
        for one in audit.findings:
            counts[_finding(_case(suite, audit, one.code, one.place, names), one, fail_on)] += 1
        for code in audit.passed:
            _case(suite, audit, code, titles.get(code, ""), names)
        for missing in audit.not_run:
            case = _case(suite, audit, missing.code, titles.get(missing.code, ""), names)
            Xml.SubElement(case, "skipped", message=printable(missing.why, 1000))
            counts["skipped"] += 1
        counts["tests"] = len(suite)
        total += counts
        for name in ("tests", "failures", "errors", "skipped"):
            suite.set(name, str(counts[name]))
    for name in ("tests", "failures", "errors"):  # the dialect has no number of skipped ones here
        root.set(name, str(total[name]))
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: Xml.Element, audit: Audit, code: str, what: str, names: Counter[str]) -> Xml.Element:
    """A test of a name that no other of its suite has."""
    name = printable(f"{code} {what}".rstrip(), 300)
    names[name] += 1
    if names[name] > 1:
        name += f" ({names[name]})"
    group = GROUPS.get(code[0], code[0])
    return Xml.SubElement(suite, "testcase", classname=f"{printable(audit.label, 1000)}.{group}", name=name)


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
