"""action.yml: its steps, run as GitHub runs them: bash, inputs as variables, files for outputs and the summary."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from deadlines import HANG_SECONDS
from protos import classifier_proto
from search_path import PACKAGES, search_path
from stranger_texts import COMMANDS, MARKUP
from workflow_commands import Step

from onnxviz.cli.program import COMMANDS as PROGRAM

yaml = pytest.importorskip("yaml", reason="PyYAML comes with pre-commit")

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = {step["id"]: step for step in ACTION["runs"]["steps"]}
EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")
# Stands for Python: writes its arguments into the file that RECORD names, each ended by a zero byte.
RECORDER = """#!/bin/bash
if [ "$2" = -c ]; then echo 0123456789abcdef; exit; fi
printf '%s\\0' "$@" >> "$RECORD"
"""


class Ran:
    """What a step did.

    Attributes:
        code: its exit code.
        log: what it wrote, stdout and stderr as they came.
        step: the log as the runner takes it in.
        summary, outputs: what it wrote into the files of these names.
    """

    def __init__(self, folder, step, inputs, outputs, environment):
        values = {f"inputs.{name}": one.get("default", "") for name, one in ACTION["inputs"].items()}
        values |= {f"inputs.{name}": value for name, value in inputs.items()}
        values |= {f"steps.{name}": value for name, value in outputs.items()}
        variables = {
            name: EXPRESSION.sub(lambda found: values[found[1]], str(value)) for name, value in step["env"].items()
        }
        files = {name: folder / f"{name.lower()}.txt" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.write_text("")
        temporary = folder / "runner_temp"
        temporary.mkdir(exist_ok=True)
        script = folder / "script.sh"
        script.write_text(step["run"], encoding="utf-8")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=folder / "workspace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
            timeout=HANG_SECONDS, check=False,
            env={**os.environ, "RUNNER_TEMP": str(temporary), **{n: str(p) for n, p in files.items()}, **environment,
                 **variables},
        )  # fmt: skip
        self.code, self.log, self.step = done.returncode, done.stdout, Step(done.stdout)
        self.summary = files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        text = files["GITHUB_OUTPUT"].read_text(encoding="utf-8")
        self.outputs = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
        self.outputs |= {name: value for name, _, value in re.findall(r"^(\w+)<<(\w+)\n(.*?)\n\2$", text, re.M | re.S)}


@pytest.fixture
def workspace(tmp_path):
    """A checkout with a sound model and one with NaN in it."""
    folder = tmp_path / "workspace"
    (folder / "models").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    for name, broken in (("good", False), ("bad", True)):
        proto = classifier_proto()
        if broken:
            proto.graph.initializer[0].raw_data = np.full((6, 3, 3, 3), np.nan, np.float32).tobytes()
        onnx.save(proto, folder / "models" / f"{name}.onnx")
    return folder


def audit(workspace, python=sys.executable, **inputs):
    """The step that audits, with this tree in the place of what the step before it installs."""
    environment = {"PYTHONPATH": search_path(*PACKAGES)}
    inputs = {name.replace("_", "-"): value for name, value in inputs.items()}
    return Ran(workspace.parent, STEPS["audit"], inputs, {"install.outputs.python": str(python)}, environment)


def test_no_script_is_made_of_inputs():
    """`${{ }}` in a script is text before bash sees it, whatever it holds."""
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert ("run" in step) == (step.get("shell") == "bash")


def test_every_input_is_described_and_used():
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert used == {*ACTION["inputs"]}
    for name, one in ACTION["inputs"].items():
        assert one["description"].endswith("."), name
        assert one.get("required") or "default" in one, name
    assert {*STEPS} == {"setup", "install", "audit"}
    assert ACTION["outputs"]["sarif"]["value"] == "${{ steps.audit.outputs.sarif }}"


def test_its_options_are_those_of_the_command(run_command):
    assert "audit" in PROGRAM
    written = set(re.findall(r"--[a-z-]+(?==)", STEPS["audit"]["run"]))
    known = set(re.findall(r"--[a-z-]+", run_command("audit", "--help").out))
    assert len(written) == 8
    assert written <= known


def test_a_sound_model_passes(workspace):
    ran = audit(workspace, models="models/good.onnx", select="G00,W01")
    assert ran.code == 0, ran.log
    assert ran.step.commands == []
    assert ran.summary.startswith("### ✅ `models/good.onnx` passes\n")
    assert ran.outputs == {}


def test_a_broken_one_fails_the_step(workspace):
    ran = audit(workspace, models="models/good.onnx\nmodels/bad.onnx\n", select="W01", sarif="audit.sarif")
    assert ran.code == 1, ran.log
    (command,) = ran.step.commands
    assert (command.name, command.properties["file"]) == ("error", "models/bad.onnx")
    assert command.data.startswith("162 of 162 weights are NaN or infinite, in 6 filters.")
    assert ran.summary.startswith("### ❌ 1 of 2 models fail\n")
    assert ran.outputs == {"sarif": "audit.sarif"}
    (result,) = json.loads((workspace / "audit.sarif").read_text(encoding="utf-8"))["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "models/bad.onnx"
    assert not ran.step.stopped


def test_severity_and_data_are_passed_on(workspace):
    (workspace / "a photo").mkdir()
    shutil.copy(ROOT / "models" / "photos" / "dog.jpg", workspace / "a photo" / "dog.jpg")
    ran = audit(workspace, models="models/good.onnx", select="A01,I03", fail_on="note", data="a photo")
    assert ran.code == 1, ran.log
    assert {command.name for command in ran.step.commands} == {"notice"}
    assert "1 check found nothing" in ran.summary, "A01 had data"


def test_what_cannot_be_audited_is_an_annotation(workspace):
    ran = audit(workspace, models="models/nowhere.onnx", sarif="audit.sarif")
    assert ran.code == 2
    (command,) = ran.step.commands
    assert (command.name, "nowhere.onnx" in command.data) == ("error", True)
    assert ran.outputs == {}


@pytest.mark.parametrize("name", ["a ##[set-output name=a;]b", "::error::x"])
def test_names_of_files_give_the_runner_no_orders(workspace, name):
    """`##[…]` is an order wherever in a line it stands, and errors tell names."""
    (workspace / f"{name}.onnx").write_text("no model")
    ran = audit(workspace, models=f"{name}.onnx")
    assert ran.code == 2
    assert f"{name}.onnx" in ran.log
    (command,) = ran.step.commands
    assert command.properties == {"title": "onnxviz audit"}
    ran = audit(workspace, models="models/good.onnx\n*.onnx", select="G00")
    assert [one.properties["file"] for one in ran.step.commands] == [f"{name}.onnx"]


def test_modules_in_the_workspace_are_not_run(workspace):
    assert all(" -P " in line for step in STEPS.values() for line in step.get("run", "").splitlines() if " -m " in line)
    for module in ("json", "numpy", "onnxviz", "secrets"):
        (workspace / f"{module}.py").write_text("raise SystemExit('run from the workspace')\n")
    ran = audit(workspace, models="models/good.onnx", select="G00")
    assert ran.code == 0, ran.log


@pytest.fixture
def recorded(workspace):
    """A function that gives the arguments with which the step runs Python."""
    python = workspace.parent / "recorder"
    python.write_text(RECORDER)
    python.chmod(0o755)
    record = workspace.parent / "record"

    def run(**inputs):
        record.write_text("")
        environment = {"RECORD": str(record)}
        ran = Ran(workspace.parent, STEPS["audit"], inputs, {"install.outputs.python": str(python)}, environment)
        assert ran.code == 0, ran.log
        return record.read_text(encoding="utf-8").split("\0")[:-1]

    return run


def test_what_is_not_given_is_not_passed_on(recorded):
    assert recorded(models="m.onnx") == ["-P", "-m", "onnxviz", "audit", "--format=github", "--quiet", "--", "m.onnx"]


def test_every_input_is_a_word(recorded, workspace):
    """Bash makes nothing of them: no word is split, no name expanded, no command run."""
    evil = "a b * $(touch pwned) `touch pwned` \"; touch pwned; ' ${HOME} \\ -x"
    names = ["against", "select", "ignore", "fail-on", "baseline"]
    found = recorded(models=f"{evil}\n\n-rf\n", data=f"{evil}\n{evil}2", sarif=evil, **dict.fromkeys(names, evil))
    assert found[4:6] == ["--format=github", "--quiet"]
    assert found[6:] == [
        f"--data={evil}", f"--data={evil}2", *(f"--{name}={evil}" for name in names), f"--output={evil}", "--", evil,
        "-rf",
    ]  # fmt: skip
    assert not list(workspace.rglob("pwned"))


@pytest.mark.parametrize("text", [one for one in (*MARKUP, *COMMANDS) if not re.search("[\r\n]", one)])
def test_strangers_texts_are_words(recorded, text):
    assert recorded(models=text, select=text)[-3:] == [f"--select={text}", "--", text]


@pytest.mark.slow  # it installs onnxviz and what it depends on
def test_the_whole_action(workspace):
    """Its own checkout is what is installed."""
    checkout = workspace.parent / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".git", ".venv", "tests", "docs", "__pycache__"))
    clean = {"PYTHONPATH": "", "GITHUB_ACTION_PATH": str(checkout)}
    python = {"setup.outputs.python-path": sys.executable}
    installed = Ran(workspace.parent, STEPS["install"], {}, python, clean)
    assert installed.code == 0, installed.log
    assert set(installed.outputs) == {"python"}
    outputs = {f"install.outputs.{name}": value for name, value in installed.outputs.items()}
    ran = Ran(workspace.parent, STEPS["audit"], {"models": "models", "sarif": "a.sarif"}, outputs, clean)
    assert ran.code == 1, ran.log
    assert {one.properties["file"] for one in ran.step.of("error")} == {"models/bad.onnx"}
    assert ran.summary.startswith("### ❌ 1 of 2 models fail\n")
