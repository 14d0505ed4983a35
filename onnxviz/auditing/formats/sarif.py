"""SARIF 2.1.0: findings as code scanning reads them.

The standard is OASIS's; what GitHub's code scanning asks beyond it: every result has a physical location with all four
fields of a region (a model is binary, so line 1, column 1), no text is empty, `primaryLocationLineHash` alone tells a
finding from another, so that it must not come from the file's content or from what was measured, and of a run it keeps
5,000 results and refuses more than 25,000.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.check import Check
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.formats.repository import repository_path
from onnxviz.auditing.registry import load_checks
from onnxviz.messages import printable

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST = 5000
"""Results that GitHub keeps of a run."""
_LONGEST = 1024  # characters of a rule's fullDescription that GitHub takes
# How sure a finding is, and how it counts, in the words of code scanning.
_PRECISION = {Severity.ERROR: "very-high", Severity.WARNING: "high", Severity.NOTE: "medium"}
_PROBLEM = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "recommendation"}


def sarif(audits: Sequence[Audit], fail_on: Severity) -> str:
    """One run with the findings, and the checks that were not run as notifications. Accepted ones are suppressed.

    Of more findings than `MOST` the most severe are results, and a notification says how many others there are.
    """
    codes = {code for audit in audits for code in audit.codes}
    rules = [check for check in load_checks() if check.code in codes]
    index = {check.code: number for number, check in enumerate(rules)}
    seen: Counter[tuple[str, str]] = Counter()
    found = [(audit, one) for audit in audits for one in audit.findings]
    if len(found) > MOST:
        found.sort(key=lambda pair: (bool(pair[1].reason), pair[1].severity.rank))
    notes = [_not_run(audit, one.code, one.why) for audit in audits for one in audit.not_run]
    if (more := len(found) - MOST) > 0:
        text = f"{more:,} more findings, the least severe, are left out: onnxviz audit -o audit.json has all"
        notes.append({"level": "warning", "message": {"text": text}})
    run = {
        "tool": {"driver": {
            "name": "onnxviz", "version": version("onnxviz"), "semanticVersion": version("onnxviz"),
            "rules": [_rule(check) for check in rules],
        }},
        "automationDetails": {"id": _run_id(audits)},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
        "artifacts": [_artifact(audit) for audit in audits],
        "results": [_result(audit, one, index, seen) for audit, one in found[:MOST]],
    }  # fmt: skip
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(check: Check) -> dict[str, Any]:
    what_and_why = " ".join(" ".join(check.manual.split("\n\n")[:2]).split())
    return {
        "id": check.code,
        "name": check.run.__name__.title().replace("_", ""),
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": printable(what_and_why, _LONGEST)},
        "help": {"text": check.manual},
        "defaultConfiguration": {"level": check.severity.value},
        "properties": {
            "precision": _PRECISION[check.severity], "problem.severity": _PROBLEM[check.severity], "tags": ["model"],
        },
    }  # fmt: skip


def _result(audit: Audit, one: Finding, index: Mapping[str, int], seen: Counter[tuple[str, str]]) -> dict[str, Any]:
    place = printable(one.place, 300)
    head = f"{place}: {one.message}" if place else one.message
    known = hashlib.sha256(json.dumps([one.code, one.layer, one.channel, one.where]).encode()).hexdigest()[:16]
    seen[audit.label, known] += 1
    found = {
        "ruleId": one.code,
        "ruleIndex": index[one.code],
        "level": one.severity.value,
        "message": {"text": _text(f"{printable(head, 1000)}. What to do: {printable(one.do, 1000)}.")},
        "locations": [{
            "physicalLocation": {
                "artifactLocation": {"uri": uri(audit.label)},
                "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1},
            },
            **({"logicalLocations": [{"fullyQualifiedName": place}]} if place else {}),
        }],
        "partialFingerprints": {"primaryLocationLineHash": f"{known}:{seen[audit.label, known]}"},
    }  # fmt: skip
    entry = one.as_dict()
    if kept := {name: entry[name] for name in ("value", "threshold") if entry[name] is not None}:
        found["properties"] = kept
    if one.reason:
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": one.reason}]
    return found


def _not_run(audit: Audit, code: str, why: str) -> dict[str, Any]:
    return {
        "associatedRule": {"id": code},
        "level": "note",
        "message": {"text": _text(f"{code} was not run: {printable(why, 1000)}")},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(audit.label)}}}],
    }


def _artifact(audit: Audit) -> dict[str, Any]:
    hashes = {"hashes": {"sha-256": audit.head["model"]["sha256"]}} if audit.head else {}
    return {"location": {"uri": uri(audit.label)}, **hashes}


def uri(label: str) -> str:
    """The path of a model as a relative reference from the top of its repository; as a file URI where it is outside."""
    path = repository_path(label)
    return Path(os.path.normpath(Path(label).absolute())).as_uri() if path is None else quote(os.fsencode(path))


def _text(message: str) -> str:
    """A message in which nothing is a link: `[text](target)` is one even in plain text (§3.11.6)."""
    return message.replace("](", "] (")


def _run_id(audits: Sequence[Audit]) -> str:
    """Tells the uploads of one commit apart: the path of the model, or of the folder that all models share."""
    paths = [uri(audit.label) for audit in audits]
    shared = paths[0] if len(paths) == 1 else posixpath.commonpath([path.rpartition("/")[0] for path in paths])
    return f"onnxviz/{shared}/" if shared else "onnxviz/"
