"""Formats of audits: JSON, and what code scanning, test reports and GitHub read; one writer a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from onnxviz.auditing.audit import Audit, document
from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats.github import github
from onnxviz.auditing.formats.junit import junit
from onnxviz.auditing.formats.markdown import markdown
from onnxviz.auditing.formats.sarif import sarif

Writer = Callable[[Sequence[Audit], Severity], str]
"""The text of a report, which ends with a line break; the severity is that from which on an audit fails."""

SUFFIXES = {
    ".json": "json", ".sarif": "sarif", ".xml": "junit", ".html": "html", ".md": "markdown", ".txt": "text",
}  # fmt: skip
"""The format that the name of a file says, by suffix; `text` is the terminal's, `html` a page of `onnxviz.reports`."""


def as_json(audits: Sequence[Audit], fail_on: Severity) -> str:
    """The document of `onnxviz audit --json`."""
    return json.dumps(document(audits, fail_on), indent=1, allow_nan=False) + "\n"


WRITERS: Mapping[str, Writer] = {
    "json": as_json, "sarif": sarif, "junit": junit, "markdown": markdown, "github": github,
}  # fmt: skip
