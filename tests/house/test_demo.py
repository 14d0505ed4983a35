"""`make demo`: what it prints, in which order, and the files that it leaves, with fewer steps of `maximize`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deadlines import HANG_SECONDS

ROOT = Path(__file__).resolve().parents[2]
# In the place of what an installation puts there; a picture that is climbed for 4 steps is asked for alike.
PROGRAM = """#!/bin/sh
exec {python} -c "import sys; from onnxviz.cli import main
if '--steps' in sys.argv: sys.argv[sys.argv.index('--steps') + 1] = '4'
main()" "$@"
"""
ASKED = ["predict", "layers", "filters", "maps", "explain", "maximize", "audit", "report"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder in which it was made, and what it printed."""
    if shutil.which("make") is None:
        pytest.skip("make is not there")
    folder = tmp_path_factory.mktemp("a reader")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "models").symlink_to(ROOT / "models")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (programs / "onnxviz").write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
    (programs / "onnxviz").chmod(0o755)
    (folder / ".venv" / ".installed").touch()
    # Below another make, as in `make test`, it would also say which folder it enters.
    own = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")}
    ran = subprocess.run(
        ["make", "demo"], cwd=folder, capture_output=True, encoding="utf-8", timeout=HANG_SECONDS, check=False, env=own,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder, ran.stdout


def test_each_command_stands_above_what_it_says_the_answer_first(demo):
    commands = re.findall(r"^\$ onnxviz (\w+)", demo[1], re.MULTILINE)
    assert commands == ASKED
    first = demo[1].split("\n\n")[0].strip().splitlines()
    assert first[1].startswith("$ onnxviz predict ")
    assert "cat (2)" in first[4]


def test_what_it_names_is_there(demo):
    folder, printed = demo
    written = re.findall(r"^demo/\S+$", printed, re.MULTILINE)
    assert {path for path in written if not (folder / path).exists()} == set()
    made = {path.relative_to(folder).as_posix() for path in (folder / "demo").rglob("*") if path.is_file()}
    assert made == set(written)


def test_it_ends_with_one_page_to_open_and_the_lines_to_type_next(demo):
    folder, printed = demo
    (address,) = re.findall(r"file://\S+", printed)
    assert address == (folder / "demo" / "report.html").as_uri()
    after = printed.partition(address)[2].splitlines()
    typed = [line.strip().split("   ")[0] for line in after if line.startswith("  ")]
    assert typed == ["source .venv/bin/activate", "onnxviz layers YOUR.onnx", "onnxviz --help"]


def test_it_fits_two_screens_and_shows_no_escapes_where_nobody_looks(demo):
    lines = demo[1].splitlines()
    assert len(lines) <= 70
    assert max(map(len, (line.rstrip() for line in lines if "file://" not in line))) <= 125
    assert "\033" not in demo[1]
