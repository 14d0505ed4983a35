"""Annotations: as many as GitHub takes, the last says what it would drop, and no name ends a command."""

import re

import pytest
from audits import NASTY, audit_of, finding, sample_audits

from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats.github import github

ON = Severity.ERROR


def lines(*audits):
    return github(audits, ON).splitlines()


def test_a_finding_is_a_command():
    assert lines(audit_of(finding(layer="conv1", channel=3))) == [
        "::error file=models/m.onnx,line=1,title=W01 conv1%2C channel 3"
        "::3 of 9 weights are NaN. What to do: export it again"
    ]  # fmt: skip


def test_the_most_severe_come_first_and_accepted_ones_not_at_all():
    commands = [line[2:].partition(" ")[0] for line in lines(*sample_audits())]
    assert commands == ["error"] * 4 + ["warning", "notice"]
    assert not any("conv2" in line for line in lines(*sample_audits()))
    assert lines(audit_of()) == []


@pytest.mark.parametrize("severity", ["error", "warning", "note"])
@pytest.mark.parametrize(("count", "shown", "more"), [(10, 10, 0), (11, 9, 2), (1234, 9, 1225)])
def test_the_tenth_says_how_many_more_there_are(severity, count, shown, more):
    found = lines(audit_of(*(finding(severity=severity, layer=f"l{n}") for n in range(count))))
    assert len(found) == 10
    assert sum("file=" in line for line in found) == shown
    assert ("more" in found[-1]) == bool(more)
    assert not more or f"and {more:,} more" in found[-1]


def test_no_name_ends_a_command_or_begins_one():
    (line,) = lines(audit_of(finding(layer=NASTY, message=NASTY, do=NASTY, where="a,b:c%"), label="a,b:c.onnx"))
    assert line.isprintable()
    properties = re.fullmatch(r"::error file=([^,:]*),line=1,title=([^,:]*)::(.*)", line)
    assert properties
    assert properties[1] == "a%2Cb%3Ac.onnx"
    assert "%0A" not in re.sub("%25", "", line)
