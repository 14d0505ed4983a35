"""The findings on a terminal: in their order, each with all it says, aligned, within any width."""

import io
import re

import pytest
from audits import NASTY, audit_of, finding, sample_audits
from rich.console import Console

from onnxviz.auditing.finding import Severity
from onnxviz.cli.findings_table import check_manual, findings_table, findings_text

ON = Severity.ERROR
MISSING = [(code, "no data were given (--data)") for code in ("A01", "A02", "I01")] + [("P01", "no source was given")]


def shown(audits, width=100, on=ON, colours=None, verbose=False):
    console = Console(
        file=io.StringIO(),
        width=width,
        highlight=False,
        emoji=False,
        color_system=colours,
        force_terminal=bool(colours),
    )
    console.print(findings_table(audits, on, width, verbose=verbose))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def one(*findings, width=100, on=ON, verbose=False, **options):
    return shown([audit_of(*findings, **options)], width, on, verbose=verbose)


@pytest.mark.parametrize(
    ("findings", "on", "verdict"),
    [
        ([], "error", "✓ passes: no findings"),
        (["error"], "error", "✗ fails: 1 error"),
        (["error", "error", "warning", "note"], "error", "✗ fails: 2 errors, 1 warning, 1 note"),
        (["warning", "warning"], "error", "✓ passes: 2 warnings"),
        (["warning"], "warning", "✗ fails: 1 warning (--fail-on warning)"),
        (["note"], "warning", "✓ passes: 1 note (--fail-on warning)"),
    ],
)
def test_the_verdict_is_on_top(findings, on, verdict):
    lines = one(*(finding(severity=name) for name in findings), on=Severity(on), passed=["G00"])
    assert lines[:2] == ["models/m.onnx", verdict]


def test_what_is_accepted_counts_apart_and_says_why():
    lines = one(finding(layer="conv1", reason="known since 2024"))
    assert lines[1] == "✓ passes: 1 accepted"
    assert lines[3:] == [
        "accepted  W01  conv1",
        "               3 of 9 weights are NaN",
        "               accepted: known since 2024",
        "",
    ]


def test_a_finding_says_where_what_and_what_to_do_in_columns():
    lines = one(finding(layer="conv1", channel=3), finding("G00", "note", "the whole model"))
    assert lines[3:9] == [
        "error  W01  conv1, channel 3",
        "            3 of 9 weights are NaN",
        "            → export it again",
        "note   G00  the whole model",
        "            → export it again",
        "",
    ]


def alike(count, **options):
    return [finding("W04", "warning", layer=f"l{n}", value=2.0 + n, threshold=1.0, **options) for n in range(count)]


def test_many_that_are_alike_are_one_entry_that_shows_the_worst():
    lines = one(*alike(37), finding("W05", "note", layer="l0"))
    assert lines[1] == "✓ passes: 37 warnings, 1 note"
    assert lines[3:] == [
        "warning  W04  in 37 layers, worst in l36",
        "              3 of 9 weights are NaN",
        "              → export it again",
        "note     W05  l0",
        "              3 of 9 weights are NaN",
        "              → export it again",
        "",
        "each layer by itself: --verbose, or --json",
        "",
    ]


@pytest.mark.parametrize("width", [40, 100])
def test_verbose_shows_each_by_itself(width):
    lines = one(*alike(37), width=width, verbose=True)
    assert sum(line.split()[-1:] == [f"l{n}"] for n in range(37) for line in lines) == 37
    assert sum("W04" in line for line in lines) == 37
    assert not any("--verbose" in line for line in lines)
    assert findings_text([audit_of(*alike(37))], ON, verbose=True).count("W04") == 37
    assert findings_text([audit_of(*alike(37))], ON).count("W04") == 1


def test_what_is_accepted_among_them_stands_apart():
    lines = one(*alike(30), *alike(20, reason="known"))
    assert [line for line in lines if "layers" in line] == [
        "warning   W04  in 30 layers, worst in l29", "accepted  W04  in 20 layers, worst in l19",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 3])
def test_few_that_are_alike_are_shown_each_by_itself(count):
    lines = one(*alike(count))
    assert sum("W04" in line for line in lines) == count
    assert not any("--verbose" in line for line in lines)


def test_checks_that_ran_and_did_not_are_counted():
    assert one(passed=["G00", "W01"], not_run=MISSING)[2] == "2 checks found nothing, 4 checks not run"
    assert one(passed=["G00"])[2] == "1 check found nothing"


def test_what_was_not_run_is_said_once_for_each_reason():
    lines = one(not_run=MISSING)
    assert lines[lines.index("not run") :] == [
        "not run", "A01 A02 I01  no data were given (--data)", "P01          no source was given",
    ]  # fmt: skip
    assert "not run" not in one()


def test_of_several_models_it_is_said_in_how_many():
    audits = [audit_of(not_run=MISSING), audit_of(not_run=MISSING[:3]), sample_audits()[1]]
    lines = shown(audits)
    assert lines[-2:] == [
        "A01 A02 I01  no data were given (--data)", "P01          no source was given, in 1 of 2 models",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [24, 40, 59, 60, 80, 120, 220])
def test_no_line_is_wider_than_it_may_be_and_nothing_is_lost(width):
    audits = [*sample_audits(), audit_of(finding(layer="very/" * 30 + "deep"), label="a/" * 40 + "m.onnx")]
    lines = shown(audits, width)
    assert max(map(len, lines)) <= width
    said = re.sub(r"\s", "", "".join(lines))
    for audit in audits:
        assert re.sub(r"\s", "", audit.label) in said
        for found in audit.findings:
            if found.layer != NASTY:
                assert re.sub(r"\s", "", found.message) in said
                assert re.sub(r"\s", "", found.place) in said or width < 60


def test_the_summary_has_a_row_a_model_with_its_numbers():
    rows = shown(sample_audits())
    assert rows[0] == "✗ 2 of 3 models fail"
    assert rows[2].split() == ["errors", "warnings", "notes", "accepted", "not", "run", "model"]
    assert [row.split() for row in rows[4:7]] == [
        ["✗", "3", "1", "1", "1", "1", "models/m.onnx"], ["✗", "1", "models/a", "b#é.onnx"], ["✓", "models/good.onnx"],
    ]  # fmt: skip
    assert shown([audit_of(passed=["G00"])] * 2)[0] == "✓ all 2 models pass"


def test_a_model_on_which_no_check_could_run_does_not_pass():
    idle = audit_of(not_run=MISSING)
    assert shown([idle])[1] == "✗ no check could run"
    lines = shown([idle, audit_of(passed=["G00"])])
    assert lines[0] == "✗ none fails, of 1 no check could run"
    assert [line[0] for line in lines if line.endswith("m.onnx")][:2] == ["✗", "✓"]
    assert shown([idle, audit_of(finding())])[0] == "✗ 1 of 2 models fail, of 1 no check could run"


@pytest.mark.parametrize("width", [40, 100])
def test_strangers_names_do_not_reach_the_terminal(width):
    nasty = finding(layer=NASTY, message=NASTY, do=NASTY, where=NASTY)
    lines = shown([audit_of(nasty, finding(reason=NASTY), label=NASTY, not_run=[("W01", NASTY)])] * 2, width)
    assert all(line.isprintable() for line in lines)
    assert any("[31m" in line for line in lines)  # as text: markup is not read


def test_severities_have_colours_on_a_terminal_alone():
    coloured = "\n".join(shown([audit_of(finding())], colours="standard"))
    assert "\x1b[1;31merror" in coloured
    assert "\x1b" not in "\n".join(shown([audit_of(finding())]))


def test_the_text_for_a_file_is_plain_and_has_no_trailing_spaces():
    text = findings_text(sample_audits(), ON)
    assert text.splitlines() == shown(sample_audits(), 120)
    assert text.endswith("\n")
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)


def test_a_manual_says_needs_and_thresholds():
    from audits import registered

    with registered("Z01", lambda subject: iter(()), needs=("data", "against"), asked=True, share=0.25) as check:
        console = Console(file=io.StringIO(), width=100, color_system=None)
        console.print(check_manual(check))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines == [
        "Z01  error · needs data, against, to be asked for · share = 0.25", "", "Made for a test.", "",
        "Why it matters: it does not.",
    ]  # fmt: skip
