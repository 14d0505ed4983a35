"""Annotations: as many as GitHub takes, the last says what it would drop, and no name ends a command."""

import re

import pytest
from audits import NASTY, audit_of, finding, sample_audits
from hypothesis import given
from stranger_texts import COMMANDS, FRAGMENTS, texts
from workflow_commands import Step, command_of

from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats.github import SUMMARY_BYTES, append_summary, github, refusal
from onnxviz.auditing.formats.markdown import markdown
from onnxviz.errors import OnnxvizError
from onnxviz.messages import printable

ON = Severity.ERROR


def lines(*audits):
    return github(audits, ON).splitlines()


def test_a_finding_is_a_command():
    assert lines(audit_of(finding(layer="conv1", channel=3))) == [
        "::error file=models/m.onnx,line=1,title=W01 conv1%2C channel 3"
        "::3 of 9 weights are NaN. What to do: export it again"
    ]  # fmt: skip


def test_the_most_severe_come_first_and_accepted_ones_not_at_all():
    commands = [command_of(line).name for line in lines(*sample_audits())]
    assert commands == ["error"] * 4 + ["warning", "notice"]
    assert not any("conv2" in line for line in lines(*sample_audits()))
    assert lines(audit_of()) == []


@pytest.mark.parametrize("severity", ["error", "warning", "note"])
@pytest.mark.parametrize(("count", "shown", "more"), [(10, 10, 0), (11, 9, 2), (1234, 9, 1225)])
def test_the_tenth_says_how_many_more_there_are(severity, count, shown, more):
    found = lines(audit_of(*(finding(severity=severity, layer=f"l{n}", do=f"mend {n}") for n in range(count))))
    assert len(found) == 10
    assert sum("file=" in line for line in found) == shown
    assert ("more" in found[-1]) == bool(more)
    assert not more or f"and {more:,} more" in found[-1]


def test_a_hundred_findings_of_one_check_do_not_hide_another():
    many = [finding("W01", layer=f"l{n}", do=f"mend {n}") for n in range(100)]
    found = lines(audit_of(*many, finding("W02")), audit_of(*many, finding("W03"), label="n.onnx"))
    titles = [command_of(line).properties["title"] for line in found]
    assert titles[:5] == ["W01 l0", "W02", "W01 l0", "W03", "W01 l1"]
    assert len(titles) == 10


def test_many_that_are_alike_are_one_annotation_and_count_for_as_many_as_they_are():
    many = [finding(layer=f"l{n}", value=float(n), threshold=0.0) for n in range(40)]
    (line,) = lines(audit_of(*many, finding(layer="l40", value=90.0, threshold=0.0, reason="known")))
    assert command_of(line).properties["title"] == "W01 in 40 layers, worst in l39"
    groups = [finding(layer=f"l{n}", do=f"mend {n % 12}") for n in range(60)]
    found = lines(audit_of(*groups))
    assert len(found) == 10
    assert "and 15 more: " in found[-1]


def test_no_name_ends_a_command_or_begins_one():
    (line,) = lines(audit_of(finding(layer=NASTY, message=NASTY, do=NASTY, where="a,b:c%"), label="a,b:c.onnx"))
    assert line.isprintable()
    properties = re.fullmatch(r"::error file=([^,:]*),line=1,title=([^,:]*)::(.*)", line)
    assert properties
    assert properties[1] == "a%2Cb%3Ac.onnx"
    assert "%0A" not in re.sub("%25", "", line)


@given(texts, texts, texts)
def test_the_runner_reads_back_what_was_said_and_nothing_else(name, message, do):
    text = github([audit_of(finding(layer=name, message=message, do=do), label="m.onnx")], ON)
    (command,) = Step(text).commands
    title = printable(f"W01 {name}" if name else "W01", 1000).rstrip()  # the runner trims them
    assert command.name == "error"
    assert command.properties == {"file": "m.onnx", "line": "1", "title": title}
    assert command.data == printable(f"{message}. What to do: {do}", 1000)


@pytest.mark.parametrize("name", [name for name in FRAGMENTS if name.isprintable() and "/" not in name])
def test_the_file_is_the_one_that_was_audited(name):
    (command,) = Step(github([audit_of(finding(), label=f"a{name}")], ON)).commands
    assert command.properties["file"] == f"a{name}"


@pytest.mark.parametrize("hostile", COMMANDS)
def test_why_nothing_could_be_audited_is_one_error(hostile):
    (command,) = Step(refusal(f"{hostile} is no model")).commands
    assert (command.name, command.data) == ("error", f"{printable(hostile)} is no model")


def test_a_message_is_shorter_than_the_runner_takes():
    (line,) = lines(audit_of(finding(message="%" * 5000, do="x" * 5000)))
    assert len(command_of(line).data) <= 4096  # `_maxIssueMessageLength` of its ExecutionContext.cs


# ---------------------------------------------------------------- the summary of a step


def test_the_summary_is_added_to_what_is_there(tmp_path):
    path = tmp_path / "summary.md"
    append_summary(sample_audits(), ON, path)
    append_summary([audit_of()], Severity.NOTE, path)
    assert path.read_text(encoding="utf-8") == markdown(sample_audits(), ON) + markdown([audit_of()], Severity.NOTE)


@pytest.mark.parametrize("there", [0, 1000, SUMMARY_BYTES - 100_000, SUMMARY_BYTES - 400, SUMMARY_BYTES])
def test_a_summary_of_many_models_ends_within_the_limit(tmp_path, there):
    """GitHub shows nothing of a summary that is a byte too long."""
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * there)
    audits = [audit_of(finding(message="é" * 400), label=f"models/{n}.onnx") for n in range(1500)]
    append_summary(audits, ON, path)
    text = path.read_text(encoding="utf-8").lstrip("x")
    assert path.stat().st_size <= SUMMARY_BYTES
    if there < SUMMARY_BYTES - 1000:
        shown = text.count("| W01 |")
        assert re.search(rf"\nand (\d+ models? and )?{1500 - shown:,} findings more: ", text)
        assert (shown > 1000) == (there <= 1000)
    if there == SUMMARY_BYTES:
        assert text == ""


def test_a_summary_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(OnnxvizError, match=r"GITHUB_STEP_SUMMARY\) cannot be written: Is a directory"):
        append_summary([audit_of()], ON, tmp_path)
