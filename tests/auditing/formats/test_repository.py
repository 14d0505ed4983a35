"""Paths from the top of the repository, wherever in it the audit runs."""

import os
import subprocess

import pytest
from audits import audit_of, finding

from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats.github import github
from onnxviz.auditing.formats.repository import repository_path
from onnxviz.auditing.formats.sarif import uri


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a folder `deep/er` in it, which is the current one."""
    top = tmp_path / "top"
    (top / "deep" / "er").mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(top)], check=True)
    monkeypatch.chdir(top / "deep" / "er")
    return top


@pytest.mark.parametrize(
    ("label", "path"),
    [("m.onnx", "deep/er/m.onnx"), ("../m.onnx", "deep/m.onnx"), ("../../a b/m.onnx", "a b/m.onnx"),
     ("./x/../m.onnx", "deep/er/m.onnx"), ("..m.onnx", "deep/er/..m.onnx")],
)  # fmt: skip
def test_a_path_begins_at_the_top(repository, label, path):
    assert repository_path(label) == path
    assert repository_path(os.path.abspath(label)) == path  # noqa: PTH100 - resolve() follows links


def test_reports_name_files_so(repository):
    assert github([audit_of(finding(), label="m.onnx")], Severity.ERROR).startswith("::error file=deep/er/m.onnx,")
    assert uri("m.onnx") == "deep/er/m.onnx"


def test_a_submodule_or_worktree_has_a_top_of_its_own(repository, monkeypatch):
    """There `.git` is a file."""
    (repository / "deep" / ".git").write_text("gitdir: ../.git/worktrees/deep\n")
    assert repository_path("m.onnx") == "er/m.onnx"


def test_what_lies_outside_has_no_path_there(repository):
    assert repository_path("../../../m.onnx") is None
    assert uri("../../../m.onnx") == (repository.parent / "m.onnx").as_uri()
    assert "file=../../../m.onnx," in github([audit_of(finding(), label="../../../m.onnx")], Severity.ERROR)


def test_without_a_repository_the_current_folder_is_the_top(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert repository_path("a/m.onnx") == "a/m.onnx"
    assert repository_path("../m.onnx") is None
