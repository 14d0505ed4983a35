"""The hook `onnxviz-audit`, run by pre-commit in a repository that the test makes."""

import os
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

from onnxviz.auditing.registry import chosen, load_checks

yaml = pytest.importorskip("yaml", reason="PyYAML comes with pre-commit")
pytest.importorskip("pre_commit")

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / ".pre-commit-hooks.yaml"
(HOOK,) = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))


class Repository:
    """A git repository in which pre-commit runs."""

    def __init__(self, folder, path):
        self.folder = folder
        names = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            **dict.fromkeys(names, "someone@there.example"), "HOME": str(folder.parent), "PYTHONPATH": path,
            # A hook of the language "system" calls the command by its name; the environment may not be activated.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PRE_COMMIT_HOME": str(folder.parent / "pre-commit"), "PRE_COMMIT_COLOR": "never",
        }  # fmt: skip
        folder.mkdir()
        self.call("git", "init", "--quiet", "--initial-branch", "main")

    def call(self, *command, check=True):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", timeout=HANG_SECONDS, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout
        return done

    def commit(self):
        self.call("git", "add", "--all")
        self.call("git", "commit", "--quiet", "--message", "a model")

    def pre_commit(self, *arguments):
        """What a run of pre-commit does: (exit code, what it says)."""
        done = self.call(sys.executable, "-m", "pre_commit", *arguments, check=False)
        return done.returncode, done.stdout


def save(path, broken):
    proto = classifier_proto()
    if broken:
        proto.graph.initializer[0].raw_data = np.full((6, 3, 3, 3), np.nan, np.float32).tobytes()
    path.parent.mkdir(exist_ok=True)
    onnx.save(proto, path)


@pytest.fixture
def repository(tmp_path):
    """A repository whose hook is what the manifest says, but for the environment that pre-commit would make for it."""
    made = Repository(tmp_path / "repository", search_path(*PACKAGES))
    here = {**HOOK, "language": "system"}
    del here["minimum_pre_commit_version"]
    (made.folder / ".pre-commit-config.yaml").write_text(
        yaml.safe_dump({"repos": [{"repo": "local", "hooks": [here]}]})
    )
    return made


def test_pre_commit_takes_the_manifest(repository):
    code, said = repository.pre_commit("validate-manifest", str(MANIFEST))
    assert code == 0, said


def test_what_it_selects_runs_no_model():
    """G07 and G09 run it on noise."""
    select, ignore = (HOOK["args"][HOOK["args"].index(option) + 1].split(",") for option in ("--select", "--ignore"))
    codes = {check.code for check in chosen(load_checks(), select, ignore)}
    assert {"G00", "G05", "W01", "W05"} <= codes
    assert not {"G07", "G09"} & codes
    assert {code[0] for code in codes} == {"G", "W"}


def test_a_repository_without_models_is_none_of_its_business(repository):
    (repository.folder / "notes.onnx.txt").write_text("no model")
    repository.call("git", "add", "--all")
    code, said = repository.pre_commit("run")
    assert code == 0
    assert "(no files to check)Skipped" in said


def test_sound_models_pass_without_a_word(repository):
    save(repository.folder / "a b.onnx", False)
    save(repository.folder / "models" / "m.onnx", False)
    repository.call("git", "add", "--all")
    code, said = repository.pre_commit("run")
    assert code == 0, said
    assert said.strip().endswith("Passed")
    assert len(said.splitlines()) == 1


def test_a_commit_with_a_broken_model_is_refused(repository):
    """Models that are not part of the commit are not looked at."""
    save(repository.folder / "models" / "old.onnx", True)
    repository.commit()
    repository.pre_commit("install")
    save(repository.folder / "models" / "new.onnx", True)
    repository.call("git", "add", "--all")
    done = repository.call("git", "commit", "--message", "another", check=False)
    assert done.returncode != 0
    assert "exit code: 1" in done.stdout
    assert "models/new.onnx" in done.stdout
    assert "162 of 162 weights are NaN or infinite" in " ".join(done.stdout.split())
    assert "old.onnx" not in done.stdout
    (repository.folder / "models" / "new.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    repository.call("git", "add", "--all")
    code, said = repository.pre_commit("run")
    assert code == 1
    assert "new.onnx" in said


@pytest.mark.slow  # pre-commit installs onnxviz and what it depends on
def test_the_whole_hook(tmp_path):
    source = Repository(tmp_path / "source", "")
    shutil.copytree(
        ROOT, source.folder, dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".git", ".venv", "tests", "docs", "__pycache__", "*.egg-info"),
    )  # fmt: skip
    source.commit()
    revision = source.call("git", "rev-parse", "HEAD").stdout.strip()
    # onnxviz itself comes from the environment that pre-commit makes.
    path = [
        one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and not Path(one, "onnxviz").exists()
    ]
    user = Repository(tmp_path / "user", os.pathsep.join(path))
    hooks = {"repo": source.folder.as_uri(), "rev": revision, "hooks": [{"id": "onnxviz-audit"}]}
    (user.folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [hooks]}))
    save(user.folder / "good.onnx", False)
    user.call("git", "add", "--all")
    code, said = user.pre_commit("run")
    assert code == 0, said
    save(user.folder / "bad.onnx", True)
    user.call("git", "add", "--all")
    code, said = user.pre_commit("run")
    assert code == 1
    assert "162 of 162 weights are NaN or infinite" in " ".join(said.split())
