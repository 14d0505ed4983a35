"""README.md as its reader takes it: each command line is run by itself, the Python is run, outputs are compared."""

from __future__ import annotations

import re
import shlex

import pytest
from documents import DOCS, NOT_RUN, PAGES, README, ROOT, quicker, stand_ins, written

PRINTING = ("layers", "annotate", "extract", "predict", "stats", "compare", "audit")


@pytest.fixture
def reader(tmp_path):
    """The reader's folder."""
    stand_ins(tmp_path, README)
    return tmp_path


def test_every_line_is_run_or_excepted():
    lines = [line for block in README.blocks if block.language == "sh" for line in block.text.splitlines() if line]
    assert {line for line in lines if not line.startswith("onnxviz ")} <= {*NOT_RUN}
    assert len(README.command_lines) == 5


def test_it_is_short():
    assert len(README.text.splitlines()) <= 125


@pytest.mark.parametrize("line", README.command_lines)
def test_a_command_line(reader, run_command, line):
    program, *arguments = shlex.split(line)
    assert program == "onnxviz"
    ran = run_command(*quicker(arguments))
    assert ran.code == 0, ran
    assert "error" not in ran.err
    assert all((reader / path).exists() for path in written(arguments))
    if arguments[0] not in PRINTING:
        assert (reader / ran.lines[-1]).exists(), ran


def lines(text):
    """The lines of a table; its rule is as wide as the version of rich makes it."""
    return ["─" if set(line) == {"─"} else line.rstrip() for line in text.splitlines()]


def test_the_table_is_what_is_printed(reader, run_command, monkeypatch):
    (table,) = (block.text for block in README.blocks if block.text.startswith("models/classifier.onnx\n"))
    monkeypatch.setenv("COLUMNS", "120")
    printed = run_command("layers", "models/classifier.onnx").out
    assert lines(printed.strip()) == lines(table)


def test_the_python_does_what_its_comments_say(reader, monkeypatch):
    monkeypatch.chdir(reader)
    printed = README.walk(reader, lambda arguments: None).splitlines()
    (python,) = (block.text for block in README.blocks if block.language == "python")
    assert printed == re.findall(r"^print\(.*\)  # (.*)$", python, re.MULTILINE)
    assert (reader / "conv1.png").exists()
    assert (reader / "looks-at.png").exists()


def test_every_figure_of_speed_is_one_of_the_full_table():
    section = README.text.partition("\n## Speed\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .* \|$", section, re.MULTILINE)[1:]
    full = [line for line in (DOCS / "speed.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 5
    assert [row for row in rows if not any(line.startswith(row) for line in full)] == []
    assert f"[All {len(full)} rows](docs/speed.md)" in section


def test_every_page_is_linked():
    linked = {(ROOT / path).resolve() for path in re.findall(r"\]\((docs/[^)#]+\.md)", README.text)}
    by_a_page_of_its_own = {"commands/", "how-to/notebook", "checks", "how-it-works", "guarantees", "quality", "speed"}
    assert {
        page.path for page in PAGES if not page.name.startswith(tuple(by_a_page_of_its_own))
    } <= linked  # fmt: skip


@pytest.mark.parametrize("page", [README, *PAGES], ids=str)
def test_what_is_named_is_there(page):
    """Links, tests and targets of make: whoever reads the page in the repository finds them."""
    links = re.findall(r"\]\((?!\w+:|#)([^)\s#]+)", re.sub(r"^```.*?^```$", "", page.text, flags=re.M | re.S))
    assert [link for link in links if not (page.path.parent / link).exists()] == []
    named = re.findall(r"`((?:tests|docs|onnxviz|models)/[\w./-]*)`", page.text)
    assert [path for path in named if not (ROOT / path).exists()] == []
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*re.findall(r"`make ([\w-]+)`", page.text)} <= {*targets}


def test_the_picture_at_its_top_is_made_by_its_script(tmp_path, monkeypatch):
    """With fewer steps: the panels and what is written on them, not the picture that is climbed, are the same."""
    import importlib.util

    import numpy as np
    from PIL import Image

    spec = importlib.util.spec_from_file_location("draw_overview", DOCS / "draw_overview.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "STEPS", 4)
    script.draw(tmp_path / "overview.webp")
    with Image.open(tmp_path / "overview.webp") as made, Image.open(DOCS / "pictures" / "overview.webp") as kept:
        assert made.size == kept.size
        assert made.getexif() == kept.getexif()  # the model's SHA-256
        made, kept = (np.asarray(one.convert("RGBA"), np.int64) for one in (made, kept))
    assert kept[0, 0, 3] == 0, "the card's corners are clear"
    panel = script.SIDE + script.GAP
    for number in (0, 1, 2, 3, 5):
        left = round(script.EDGE + number * panel)
        differ = np.abs(made - kept)[:, left : left + round(script.SIDE)]
        assert differ.mean() < 4, script.panels()[number][0]
