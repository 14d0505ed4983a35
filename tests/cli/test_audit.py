"""`onnxviz audit`: exit codes, one report in every format, and one line for what cannot be meant."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import onnx
import pytest
from audits import registered
from command_line import error_of, files_in, program
from deadlines import HANG_SECONDS, gone
from protos import classifier_proto
from search_path import search_path

from onnxviz.auditing.registry import load_checks


@pytest.fixture
def broken(tmp_path):
    """A model with NaN in its first layer, in the test's folder."""
    proto = classifier_proto()
    proto.graph.initializer[0].raw_data = np.full((6, 3, 3, 3), np.nan, np.float32).tobytes()
    onnx.save(proto, tmp_path / "broken.onnx")
    return "broken.onnx"


def of(severity):
    """A check that finds something of a severity in every model."""

    def run(subject):
        yield subject.finding("something", "nothing", severity=None)

    from onnxviz.auditing.finding import Severity

    return registered("Z01", run, Severity(severity))


def test_a_sound_model_passes(run_command, classifier):
    ran = run_command("audit", "classifier.onnx", "--select", "G00,W01")
    assert ran.code == 0, ran
    assert ran.err == ""
    assert ran.lines[:2] == ["classifier.onnx", "✓ passes: no findings"]


def test_a_broken_one_fails_with_exit_code_1(run_command, classifier, broken):
    ran = run_command("audit", broken, "--select", "W01")
    assert ran.code == 1, ran
    assert ran.lines[1] == "✗ fails: 1 error"
    text = " ".join(ran.out.split())
    assert "error W01 block1_conv1 162 of 162 weights are NaN or infinite, in 6 filters → export" in text


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("--select A01,P07", "no check could run, so nothing was audited: no data were given (--data)"),
        ("--select W --ignore W", "no check is left to run: all that are chosen are ignored (W)"),
        ("--select P01 --ignore P", "no check is left to run: all that are chosen are ignored (P)"),
    ],
)
def test_an_audit_that_checks_nothing_is_no_pass(run_command, classifier, typed, why):
    ran = run_command("audit", "classifier.onnx", *typed.split())
    assert (ran.code, ran.err) == (2, f"error: {why}\n")
    assert "passes" not in ran.out


def test_what_could_not_run_is_still_written(run_command, classifier, tmp_path):
    ran = run_command("audit", "classifier.onnx", "--select", "A01", "--json", "-o", "a.json")
    assert ran.code == 2
    for document in (json.loads(ran.out), json.loads((tmp_path / "a.json").read_text())):
        assert [one["code"] for one in document["models"][0]["not_run"]] == ["A01"]


@pytest.mark.parametrize("severity", ["error", "warning", "note"])
@pytest.mark.parametrize("fail_on", [None, "error", "warning", "note"])
def test_the_exit_code_follows_the_severity(run_command, classifier, severity, fail_on):
    order = ["error", "warning", "note"]
    with of(severity):
        ran = run_command("audit", "classifier.onnx", "--select", "Z", *(["--fail-on", fail_on] if fail_on else []))
    fails = order.index(severity) <= order.index(fail_on or "error")
    assert ran.code == int(fails), ran
    assert ("✗ fails" in ran.out) == fails


def test_settings_say_where_it_fails_and_what_is_accepted(run_command, classifier, tmp_path):
    settings = tmp_path / "onnxviz.toml"
    with of("note"):
        settings.write_text("[audit]\nfail-on = 'note'\n")
        assert run_command("audit", "classifier.onnx", "--select", "Z").code == 1
        assert run_command("audit", "classifier.onnx", "--select", "Z", "--fail-on", "warning").code == 0
        settings.write_text("[audit]\nfail-on = 'note'\n[[audit.accept]]\ncode = 'Z01'\nreason = 'known'\n")
        ran = run_command("audit", "classifier.onnx", "--select", "Z")
    assert ran.code == 0
    assert "accepted: known" in ran.out


def test_json_is_the_contract(run_command, classifier, broken):
    ran = run_command("audit", "classifier.onnx", broken, "nowhere.onnx", "--select", "W01", "--json")
    assert ran.code == 1
    document = ran.document
    assert (document["version"], document["fail_on"], document["fails"]) == (1, "error", True)
    assert [(one["path"], len(one["findings"])) for one in document["models"]] == [
        ("classifier.onnx", 0), ("broken.onnx", 1), ("nowhere.onnx", 1),
    ]  # fmt: skip
    first, second, third = document["models"]
    assert first["passed"] == ["W01"]
    assert len(first["sha256"]) == 64
    assert second["findings"][0]["layer"] == "block1_conv1"
    assert third["findings"][0]["code"] == "G00"
    assert third["sha256"] is None
    again = run_command("audit", "classifier.onnx", broken, "nowhere.onnx", "--select", "W01", "--format", "json")
    assert again.out == ran.out


def test_several_models_are_a_table_then_each_that_has_findings(run_command, classifier, broken):
    ran = run_command("audit", ".", "nowhere.onnx", "--select", "W01")
    assert ran.code == 1
    assert ran.lines[0] == "✗ 2 of 3 models fail"
    rows = [line.split() for line in ran.lines[4:7]]
    assert rows == [["✗", "1", "broken.onnx"], ["✓", "classifier.onnx"], ["✗", "1", "nowhere.onnx"]]
    assert ran.out.count("broken.onnx") == 2
    assert ran.out.count("classifier.onnx") == 1


READERS = {
    "audit.json": lambda text: [len(one["findings"]) for one in json.loads(text)["models"]],
    "audit.sarif": lambda text: [len(json.loads(text)["runs"][0]["results"])],
    "audit.xml": lambda text: [int(Xml.fromstring(text).get("failures"))],
    "audit.md": lambda text: [text.count("| W01 |")],
    "audit.txt": lambda text: [text.count("error  W01")],
}


@pytest.mark.parametrize("name", READERS)
def test_the_name_of_the_file_says_the_format(run_command, tmp_path, broken, name):
    ran = run_command("audit", broken, "--select", "W01", "-o", name)
    assert ran.code == 1
    assert ran.lines[-1] == name
    assert ran.lines[1] == "✗ fails: 1 error"
    written = (tmp_path / name).read_text(encoding="utf-8")
    assert READERS[name](written) == [1]
    assert written.endswith("\n")
    assert "\x1b" not in written
    form = {"json": "json", "sarif": "sarif", "xml": "junit", "md": "markdown", "txt": "text"}[name.split(".")[1]]
    assert run_command("audit", broken, "--select", "W01", "-o", "other", "--format", form).code == 1
    assert (tmp_path / "other").read_text(encoding="utf-8") == written
    printed = run_command("audit", broken, "--select", "W01", "--format", form).out
    assert form == "text" or printed == written


def test_json_beside_a_file_of_another_format(run_command, tmp_path, broken):
    ran = run_command("audit", broken, "--select", "W01", "--json", "-o", "audit.sarif")
    assert ran.document["models"][0]["findings"][0]["code"] == "W01"
    assert json.loads((tmp_path / "audit.sarif").read_text())["version"] == "2.1.0"


def test_annotations_are_all_that_is_printed(run_command, broken):
    ran = run_command("audit", broken, "--select", "W01", "--format", "github")
    assert len(ran.lines) == 1
    assert ran.lines[0].startswith("::error file=broken.onnx,line=1,title=W01 block1_conv1::")


def test_beside_annotations_a_file_is_of_the_kind_that_its_name_says(run_command, tmp_path, broken):
    """Annotations are read from the log alone; one audit gives both."""
    ran = run_command("audit", broken, "--select", "W01", "--format", "github", "-o", "audit.sarif")
    assert ran.code == 1
    assert [line.partition(" ")[0] for line in ran.lines] == ["::error", "audit.sarif"]
    assert len(json.loads((tmp_path / "audit.sarif").read_text())["runs"][0]["results"]) == 1
    assert "does not say a format" in error_of(run_command("audit", broken, "--format", "github", "-o", "annotations"))


def test_a_step_of_github_gets_a_summary(run_command, tmp_path, monkeypatch, broken):
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for _ in range(2):
        run_command("audit", broken, "--select", "W01", "--format", "github")
    run_command("audit", broken, "--select", "W01", "-o", "audit.md")
    assert summary.read_text(encoding="utf-8") == 2 * (tmp_path / "audit.md").read_text(encoding="utf-8")


def test_a_summary_that_cannot_be_written_is_an_error_after_the_annotations(run_command, tmp_path, monkeypatch, broken):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    ran = run_command("audit", broken, "--select", "W01", "--format", "github")
    assert (ran.code, len(ran.lines)) == (2, 1)
    assert "nowhere/summary.md (GITHUB_STEP_SUMMARY) cannot be written: No such file or directory" in ran.err


def test_why_nothing_could_be_audited_is_an_annotation_too(run_command, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    ran = run_command("audit", "m.onnx", "--format", "github")
    assert ran.code == 2
    (line,) = ran.lines
    assert line == f"::error title=onnxviz audit::{ran.err.removeprefix('error: ').rstrip()}"
    ran = run_command("audit", "m.onnx", "--select", "Q", "--format", "github")
    assert ran.lines[0].startswith("::error title=onnxviz audit::no check is called 'Q'")


def test_annotations_are_not_asked_for_beside_json(run_command, broken):
    ran = run_command("audit", broken, "--json", "--format", "github", "-o", "audit.sarif")
    assert "--json says the format of what is printed: leave out --format" in error_of(ran)


def test_the_list_of_checks(run_command):
    ran = run_command("audit", "--list")
    assert ran.code == 0
    for check in load_checks():
        assert any(line.startswith(check.code) and check.title.rstrip(".") in line for line in ran.lines)
    checks = run_command("audit", "--list", "--json").document["checks"]
    assert [one["code"] for one in checks] == [check.code for check in load_checks()]


@pytest.mark.parametrize("code", ["W01", "w01", "G00"])
def test_the_manual_of_a_check(run_command, code):
    ran = run_command("audit", "--explain", code)
    assert ran.code == 0
    (check,) = (one for one in load_checks() if one.code == code.upper())
    assert ran.lines[0].startswith(f"{check.code}  error")
    assert " ".join(check.manual.split()) in " ".join(ran.out.split())
    assert run_command("audit", "--explain", code, "--json").document["checks"] == [check.as_dict()]


@pytest.mark.parametrize("columns", [40, 80])
def test_no_line_is_wider_than_the_terminal(run_command, classifier, broken, monkeypatch, columns):
    from onnxviz.cli import terminal

    monkeypatch.setattr(terminal.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    for arguments in (["--list"], ["--explain", "W01"], [broken, "--select", "W01"], [".", "--select", "W01"]):
        ran = run_command("audit", *arguments)
        assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in ran.lines) <= columns, ran


REFUSED = [
    ([], "there is nothing to audit"),
    (["empty"], "there is no .onnx file below the folder empty"),
    (["*.none"], "no file matches '*.none'"),
    (["@list.txt"], "the list list.txt cannot be read"),
    (["none.onnx"], "there is no file none.onnx"),
    (["text.onnx"], "text.onnx is not an ONNX model"),
    (["none.onnx", "text.onnx"], "none of 2 models could be audited; the first: there is no file none.onnx"),
    (["classifier.onnx", "--select", "W77"], "no check is called 'W77'; the nearest is W"),
    (["classifier.onnx", "--ignore", "q"], "no check is called 'Q'"),
    (["--explain", "W77"], "no check is called 'W77'; the nearest is W"),
    (["--list", "--explain", "W01"], "--list lists all checks: leave out --explain"),
    (["--list", "classifier.onnx"], "--list audits nothing: leave out classifier.onnx"),
    (["--explain", "W01", "classifier.onnx"], "--explain audits nothing: leave out classifier.onnx"),
    (["--list", "--jobs", "2"], "--list and --explain audit nothing: leave out --jobs"),
    (["classifier.onnx", "--against", "m.onnx"], "none without --data: leave out --against"),
    (["classifier.onnx", "--fit", "crop"], "no image is read without --data: leave out --fit"),
    (["classifier.onnx", "--size", "9x9"], "takes images of 16x12, not of 9x9: leave out --size"),
    (["classifier.onnx", "--data", "none.png"], "there is no file none.png"),
    (["classifier.onnx", "--weights", "w.pth"], "weights are loaded into --source: leave out --weights"),
    (["classifier.onnx", "--json", "--format", "sarif"], "--json says the format of what is printed: leave out"),
    (["classifier.onnx", "--provider", "nowhere"], "there is no provider 'nowhere'"),
    (["classifier.onnx", "--memory-limit", "much"], "'much' is not a number of bytes"),
    (["classifier.onnx", "--timeout", "0"], "--timeout"),
    (["classifier.onnx", "--jobs", "0"], "--jobs"),
    (["classifier.onnx", "--fail-on", "never"], "--fail-on"),
    (["classifier.onnx", "--format", "pdf"], "--format"),
    (["classifier.onnx", "-o", "report"], "the name of report does not say a format"),
    (["classifier.onnx", "-o", "no/audit.json"], "no/audit.json cannot be written: there is no folder no"),
    (["classifier.onnx", "-o", "empty", "--format", "json"], "empty cannot be written: it is a folder"),
    (["classifier.onnx", "--config", "none.toml"], "none.toml cannot be read as settings"),
    (["classifier.onnx", "--config", "later.toml"], "later.toml holds settings of version 2"),
    (["classifier.onnx", "--config", "typo.toml"], "threshold of W01 'share' does not exist"),
    (["classifier.onnx", "--config", "nearest.toml"], "check 'W0' does not exist; the nearest is 'W0"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "match"), REFUSED)
def test_refusals(run_command, classifier, tmp_path, arguments, match):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "later.toml").write_text("[audit]\nversion = 2\n")
    (tmp_path / "typo.toml").write_text("[audit.thresholds.W01]\nshare = 1\n")
    (tmp_path / "nearest.toml").write_text("[audit.thresholds.W0]\nshare = 1\n")
    before = files_in(tmp_path)
    assert match in error_of(run_command("audit", *arguments))
    assert files_in(tmp_path) == before


def test_a_report_that_cannot_be_written_leaves_the_old_one(run_command, classifier, tmp_path, monkeypatch):
    from onnxviz.auditing import formats

    def fail(audits, on):
        raise OSError(28, "No space left on device")

    (tmp_path / "audit.sarif").write_text("old")
    monkeypatch.setitem(formats.WRITERS, "sarif", fail)
    assert "No space left" in error_of(run_command("audit", "classifier.onnx", "--select", "W01", "-o", "audit.sarif"))
    assert (tmp_path / "audit.sarif").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.sarif", "classifier.onnx"]


def test_a_place_that_cannot_be_written_is_said_before_anything_is_audited(run_command, classifier, monkeypatch):
    monkeypatch.setattr("onnxviz.auditing.many.confined_work", None)
    assert "cannot be written" in error_of(run_command("audit", "classifier.onnx", "-o", "no/audit.json"))


# ---------------------------------------------------------------- as a program


def test_a_pipe_that_has_enough_is_no_failure_of_the_program(tmp_path, classifier):
    done = subprocess.run(
        f"{sys.executable} -m onnxviz audit classifier.onnx --select W01 --json | head -1",
        shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_SECONDS, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_the_program_on_a_folder_with_hostile_files(tmp_path, classifier):
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "bad\x1b[31m.onnx").write_bytes(b"\x00" * 100)
    os.mkfifo(tmp_path / "fifo.onnx")
    ran = program("audit", ".", "--select", "W01", cwd=tmp_path)
    assert ran.returncode == 1, ran
    assert ran.stderr == ""
    assert ran.stdout.startswith("✗ 3 of 4 models fail\n")
    assert ran.stdout.count("G00") == 3
    assert "\x1b" not in ran.stdout


HANGING = """
import sys, time
from audits import registered
from onnxviz.cli.program import main

def hang(subject):
    print("started", file=open("started", "w"))
    time.sleep(86400)
    yield

with registered("Z01", hang):
    sys.argv = ["onnxviz", "audit", "classifier.onnx", "--select", "Z", *sys.argv[1:]]
    main()
"""


def hanging(tmp_path, *arguments):
    environment = {**os.environ, "PYTHONPATH": search_path(Path(__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", HANGING, *arguments], cwd=tmp_path, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_model_that_hangs_is_a_finding_after_its_time(tmp_path, classifier):
    with hanging(tmp_path, "--timeout", "1", "--json") as child:
        out, err = child.communicate(timeout=HANG_SECONDS)
    assert (child.returncode, err) == (1, "")
    (one,) = json.loads(out)["models"][0]["findings"]
    assert one["code"] == "G00"
    assert re.fullmatch(r"the audit took more than 1 s: Z01 was at work for .* s, and .*", one["message"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_and_its_workers(tmp_path, classifier, number):
    (tmp_path / "audit.json").write_text("old")
    with hanging(tmp_path, "-o", "audit.json") as child:
        end = time.monotonic() + HANG_SECONDS
        while not (tmp_path / "started").exists() and time.monotonic() < end:
            time.sleep(0.02)
        workers = [
            int(stat.parent.name)
            for stat in Path("/proc").glob("[0-9]*/stat")
            if is_of_session(stat, child.pid) and int(stat.parent.name) != child.pid
        ]
        child.send_signal(number)
        out, err = child.communicate(timeout=HANG_SECONDS)
    assert (child.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert len(workers) == 2
    assert all(gone(process) for process in workers)
    assert (tmp_path / "audit.json").read_text() == "old"


def is_of_session(stat, session):
    try:
        return int(stat.read_text().rpartition(")")[2].split()[3]) == session
    except OSError:
        return False
