"""The fixture `onnx_audit` in runs of pytest of their own: what a test says where a model fails, and what it costs."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import onnx
import pytest
from deadlines import HANG_SECONDS
from protos import classifier_proto
from search_path import search_path

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = "onnxviz.auditing.pytest_plugin"
ENTRY_POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
SENTENCE = (
    "bad.onnx fails its audit with 1 error: W01 at block1_conv1: 162 of 162 weights are NaN or infinite, in 6 filters. "
    "What to do: export an earlier checkpoint, or keep the layer in float32."
)
TESTS = """
import dataclasses, os, sys

def test_light(onnx_audit):
    assert not {"numpy", "onnx", "onnxruntime", "matplotlib", "PIL"} & {*sys.modules}

def test_good(onnx_audit):
    here = os.getcwd()
    assert onnx_audit("good.onnx", select=["G00", "W01"]).passed == ("G00", "W01")
    assert os.getcwd() == here

def test_bad(onnx_audit):
    onnx_audit("bad.onnx", select=["W01"])

def test_bad_by_its_whole_path(onnx_audit, pytestconfig):
    onnx_audit(str(pytestconfig.rootpath / "bad.onnx"), select=["W01"])

def test_by_path(onnx_audit, pytestconfig):
    onnx_audit(pytestconfig.rootpath / "good.onnx", select=["W01"])

def test_error(onnx_audit):
    onnx_audit("good.onnx", select=["I03"], fail_on="error")

def test_warning(onnx_audit):
    onnx_audit("good.onnx", select=["I03"], fail_on="warning")

def test_note(onnx_audit):
    onnx_audit("good.onnx", select=["I03"], fail_on="note")

def test_rest(onnx_audit):
    onnx_audit("bad.onnx", select=["W01", "I03", "A01", "A02"])

def test_nowhere(onnx_audit):
    onnx_audit("nowhere.onnx")

def test_no_data(onnx_audit):
    onnx_audit("good.onnx", data="nowhere")

def test_unheeded(onnx_audit):
    onnx_audit("good.onnx", fit="crop")

def test_severity(onnx_audit):
    onnx_audit("good.onnx", fail_on="fatal")

def test_option(onnx_audit):
    onnx_audit("good.onnx", date="x")

def test_many(onnx_audit, monkeypatch):
    import onnxviz.auditing.audit as home
    from onnxviz.auditing.finding import Finding, Severity

    found = [Finding("W09", Severity.ERROR, "m", "d", f"l{n}") for n in range(1234)]
    found.append(Finding("W10", Severity.WARNING, "a\\n::x", "d"))
    real = home.audit
    monkeypatch.setattr(home, "audit", lambda *a, **o: dataclasses.replace(real(*a, **o), findings=tuple(found)))
    onnx_audit("good.onnx", select=["W01"], fail_on="warning")
"""


def make_project(folder, tests):
    """A project with a sound model, one with NaN in it, and its tests in a folder."""
    for name, broken in (("good.onnx", False), ("bad.onnx", True)):
        proto = classifier_proto()
        if broken:
            proto.graph.initializer[0].raw_data = np.full((6, 3, 3, 3), np.nan, np.float32).tobytes()
        onnx.save(proto, folder / name)
    (folder / "pytest.ini").write_text("[pytest]\njunit_logging = all\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_model.py").write_text(tests, encoding="utf-8")
    return folder


class Run:
    """A run of pytest in a process of its own.

    Attributes:
        out: what it printed.
        failed: the message of each test that failed, by its name.
        passed: the names of the others.
    """

    def __init__(self, project, *options, plugin=("-p", PLUGIN), folder=".", path=()):
        command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "--junitxml", str(project / "r.xml")]
        done = subprocess.run(
            [*command, *plugin, *options], cwd=project / folder, env={**os.environ, "PYTHONPATH": search_path(*path)},
            capture_output=True, encoding="utf-8", timeout=HANG_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done
        self.out = done.stdout
        self.failed = {}
        for case in Xml.parse(project / "r.xml").iter("testcase"):
            failures = [child.text for child in case if child.tag == "failure"]
            if failures:
                (self.failed[case.get("name")],) = failures
        self.passed = {case.get("name") for case in Xml.parse(project / "r.xml").iter("testcase")} - {*self.failed}

    def section(self, name):
        """What `onnx_audit` said of a test beside its message; "" where it said nothing."""
        head = rf"\n_+ {name} _+\n"
        found = re.search(
            head + r"(?:(?!\n___).)*?-- Captured onnxviz audit call -+\n(.*?)\n(?:---|===|___|- generated)",
            self.out,
            re.DOTALL,
        )
        return found[1] if found else ""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(make_project(tmp_path_factory.mktemp("project"), TESTS), "-rA")


def test_a_sound_model_passes_and_its_audit_is_given(run):
    assert {"test_good", "test_by_path"} <= run.passed, run.failed


def test_a_broken_one_fails_with_the_finding_as_its_message(run):
    assert run.failed["test_bad"] == SENTENCE
    (summary,) = (line for line in run.out.splitlines() if line.startswith("FAILED") and "::test_bad " in line)
    assert summary.startswith("FAILED tests/test_model.py::test_bad - Failed: bad.onnx fails its audit")


def test_a_whole_path_stays_one(run):
    message = run.failed["test_bad_by_its_whole_path"]
    assert message.startswith("/")
    assert message.endswith(SENTENCE)


def test_the_severity_from_which_on_it_fails(run):
    assert {"test_error", "test_warning"} <= run.passed
    assert run.failed["test_note"].startswith("good.onnx fails its audit with ")
    assert "note I03" in run.section("test_error")
    assert run.section("test_note") == ""


def test_what_does_not_fail_it_stands_in_a_section_of_the_report(run):
    assert run.failed["test_rest"] == SENTENCE
    *notes, missing = run.section("test_rest").splitlines()
    assert notes
    assert all(line.startswith("note I03") for line in notes)
    assert missing == "not run A01 A02: no data were given (data=)."


def test_several_findings_are_a_line_each_and_many_that_are_alike_one(run):
    assert run.failed["test_many"].splitlines() == [
        "good.onnx fails its audit with 1,234 errors and 1 warning (W09, W10):",
        "error W09 in 1,234 layers, first in l0: m. What to do: d.",
        "warning W10: a\N{REPLACEMENT CHARACTER}::x. What to do: d.",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test_nowhere", "nowhere.onnx could not be audited: "),
        ("test_no_data", "good.onnx could not be audited: "),
        ("test_unheeded", "good.onnx could not be audited: no image is read without data=: leave out fit="),
        ("test_severity", "good.onnx could not be audited: there is no severity to fail on 'fatal'; there are error, "),
    ],
)
def test_what_cannot_be_audited_fails_in_one_line(run, name, message):
    assert run.failed[name].startswith(message)
    assert "\n" not in run.failed[name]


def test_an_option_that_there_is_not_is_an_error_at_the_call(run):
    message = run.failed["test_option"]
    assert "unexpected keyword argument 'date'" in message
    assert "> " in message
    assert 'onnx_audit("good.onnx", date="x")' in message
    assert "pytest_plugin.py" not in message


def test_a_run_without_an_audit_loads_nothing_heavy(run):
    """It is the first test, and asks for the fixture."""
    assert "test_light" in run.passed, run.failed


def test_paths_and_settings_are_from_the_rootdir_wherever_pytest_was_started(tmp_path):
    tests = """
def test_accepted(onnx_audit):
    onnx_audit("bad.onnx", select=["W01"])

def test_note(onnx_audit):
    onnx_audit("good.onnx", select=["I03"])

def test_data(onnx_audit):
    onnx_audit("good.onnx", data="x.npy", select=["A01"])
"""
    project = make_project(tmp_path, tests)
    np.save(project / "x.npy", np.zeros((2, 3, 16, 12), np.float32))
    (project / "onnxviz.toml").write_text(
        "[audit]\nfail-on = 'note'\n[[audit.accept]]\ncode = 'W01'\nreason = 'known, see the model card'\n"
    )
    run = Run(project, "-rP", folder="tests")
    assert run.passed == {"test_accepted", "test_data"}
    assert run.section("test_accepted") == (
        "error W01 at block1_conv1: 162 of 162 weights are NaN or infinite, in 6 filters. "
        "Accepted: known, see the model card."
    )
    assert " note" in run.failed["test_note"]


# ---------------------------------------------------------------- how pytest finds it


def test_the_entry_point_is_named_like_the_module():
    assert ENTRY_POINTS["pytest11"] == {PLUGIN: PLUGIN}


@pytest.mark.parametrize(
    ("plugin", "conftest"), [((), ""), (("-p", PLUGIN), f'pytest_plugins = ["{PLUGIN}"]\n')], ids=["alone", "and named"]
)
def test_it_is_there_once_where_it_is_installed(tmp_path, plugin, conftest):
    """The metadata of a distribution with the entry point lie on the path, as pip writes them."""
    project = make_project(tmp_path, "def test_fixture(onnx_audit):\n    assert callable(onnx_audit)\n")
    info = project / "installed" / "onnxviz_as_installed-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxviz-as-installed\nVersion: 1\n")
    lines = [f"{name} = {module}\n" for name, module in ENTRY_POINTS["pytest11"].items()]
    (info / "entry_points.txt").write_text("[pytest11]\n" + "".join(lines))
    (info / "RECORD").write_text("")
    (project / "conftest.py").write_text(conftest)
    run = Run(project, plugin=plugin, path=[info.parent])
    assert run.passed == {"test_fixture"}, run.failed
    assert "onnxviz-as-installed-1" in run.out, "pytest lists what it found by entry points"


def test_an_import_of_it_brings_nothing_heavy():
    """Every run of pytest imports it, whether its tests have a model or not."""
    code = (
        "import json, sys, pytest; before = {*sys.modules}; import " + PLUGIN + "; "
        "print(json.dumps(sorted({*sys.modules} - before - sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-P", "-W", "error", "-c", code], capture_output=True, check=True)
    assert json.loads(done.stdout) == ["onnxviz", "onnxviz.auditing", PLUGIN]
