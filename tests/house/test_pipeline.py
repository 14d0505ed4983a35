"""The examples of docs/how-to/pipeline.md: they ask for what there is, and what they run does what it says."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from deadlines import HANG_SECONDS
from documents import PAGES
from search_path import PACKAGES, search_path

yaml = pytest.importorskip("yaml", reason="PyYAML comes with pre-commit")

ROOT = Path(__file__).resolve().parents[2]
(PAGE,) = (page for page in PAGES if page.name == "how-to/pipeline")
GITHUB, COMMAND, PRE_COMMIT, PYTEST, GITLAB = (block.text for block in PAGE.blocks)


@pytest.fixture
def checkout(tmp_path):
    """A repository with the sample models and photos where the examples expect some."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "tests" / "photos").symlink_to(ROOT / "models" / "photos")
    return tmp_path


def test_the_action_has_the_inputs():
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    steps = yaml.safe_load(GITHUB)["jobs"]["audit"]["steps"]
    (given,) = (step["with"] for step in steps if step["uses"] == "OWNER/onnxviz@COMMIT")
    assert given.keys() <= action["inputs"].keys()
    assert {name for name, one in action["inputs"].items() if one.get("required")} <= given.keys()
    (upload,) = (step for step in steps if step["uses"].startswith("github/codeql-action/upload-sarif@"))
    assert upload["with"]["sarif_file"] == given["sarif"]
    assert upload["if"].startswith("always()"), "the audit's step has failed where there are findings"


def test_the_hook_is_there():
    (hook,) = yaml.safe_load(PRE_COMMIT)["repos"][0]["hooks"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["id"] in {one["id"] for one in hooks}


def test_the_command_annotates_and_writes_a_comment(checkout, run_command):
    ran = run_command(*shlex.split(COMMAND)[1:])
    assert ran.code == 0, ran
    assert ran.lines[-1] == "audit.md"
    assert all(line.startswith("::notice ") for line in ran.lines[:-1])
    assert (checkout / "audit.md").read_text(encoding="utf-8").startswith("### ✅ 2 models pass\n")


def test_the_job_of_gitlab_writes_its_report(checkout, run_command):
    """Here of a few checks: all of them on photos take the sample models half a minute."""
    job = yaml.safe_load(GITLAB)["audit"]
    _, command = job["script"]
    ran = run_command(*shlex.split(command)[1:], "--select", "W,I04")
    assert ran.code == 0, ran
    report = Xml.parse(checkout / job["artifacts"]["reports"]["junit"]).getroot()
    assert [suite.get("name") for suite in report] == ["models/classifier.onnx", "models/unet.onnx"]


@pytest.mark.dear
def test_the_test_passes(checkout):
    """It is run from its own folder; paths are from the root."""
    (checkout / "pytest.ini").write_text("[pytest]\n")
    (checkout / "tests" / "test_model.py").write_text(PYTEST)
    plugin = ["-p", "onnxviz.auditing.pytest_plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-rA", *plugin], cwd=checkout / "tests", capture_output=True,
        encoding="utf-8", env={**os.environ, "PYTHONPATH": search_path(*PACKAGES)}, timeout=HANG_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "not run " in done.stdout.partition("Captured onnxviz audit call")[2]
