"""Markdown: tables that stay tables whatever names hold, and no longer than a comment may be."""

import re

import pytest
from audits import NASTY, audit_of, finding, sample_audits

from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats.markdown import LONGEST, markdown

ON = Severity.ERROR


def cells(line):
    return re.split(r"(?<!\\)\|", line)[1:-1]


def test_the_verdict_comes_first():
    assert markdown([audit_of()], ON).startswith("### ✅ `models/m.onnx` passes\n")
    assert markdown([audit_of(finding())], ON).startswith("### ❌ `models/m.onnx` fails\n")
    assert markdown(sample_audits(), ON).startswith("### ❌ 2 of 3 models fail\n")
    assert markdown([audit_of(), audit_of(label="n.onnx")], ON).startswith("### ✅ 2 models pass\n")
    assert markdown([audit_of(finding(severity="note"))], Severity.NOTE).startswith("### ❌")


@pytest.mark.parametrize("audits", [sample_audits(), sample_audits()[:1]])
def test_every_row_has_as_many_cells_as_its_heading(audits):
    width = None
    for line in markdown(audits, ON).splitlines():
        if not line.startswith("|"):
            width = None
            continue
        width = width or len(cells(line))
        assert len(cells(line)) == width, line


def test_a_row_says_everything():
    (line,) = (
        line for line in markdown([audit_of(finding(layer="conv1", channel=3))], ON).splitlines() if "W01" in line
    )
    assert [cell.strip() for cell in cells(line)] == [
        "error", "W01", "`conv1, channel 3`", "3 of 9 weights are NaN", "export it again",
    ]  # fmt: skip


def test_what_is_accepted_says_why():
    text = markdown([audit_of(finding(reason="known"))], ON)
    assert "accepted: known" in text
    assert text.startswith("### ✅")


def test_strangers_names_are_text():
    text = markdown([audit_of(finding(layer=NASTY, message=NASTY, do=NASTY), label=NASTY)], ON)
    assert text.replace("\n", "").isprintable()
    for line in text.splitlines():
        outside = re.sub(r"`[^`]*`", "", re.sub(r"\\.", "", line))
        assert not re.search(r"[<>`]", outside), line


def test_a_comment_is_no_longer_than_github_takes():
    text = markdown([audit_of(*(finding(layer=f"layer{n}", message="m" * 300) for n in range(1000)))], ON)
    assert len(text) <= LONGEST
    shown = text.count("W01")
    assert text.endswith(f"and {1000 - shown + 1:,} more lines: see the whole report\n")
