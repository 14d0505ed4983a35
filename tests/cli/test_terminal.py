"""What a person sees in a terminal while something takes long: a bar, and notes above it."""

import os
import subprocess
import sys

import pytest
from deadlines import HANG_SECONDS

pty = pytest.importorskip("pty")


def seen(code, *arguments, cwd):
    """(stdout, what a terminal got on stderr) of a program."""
    master, slave = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=slave,
        encoding="utf-8",
        cwd=cwd,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(slave)
    got = b""
    while True:
        try:
            piece = os.read(master, 2**16)
        except OSError:  # how Linux says that nobody writes any more
            break
        if not piece:
            break
        got += piece
    os.close(master)
    out, _ = program.communicate(timeout=HANG_SECONDS)
    assert program.returncode == 0, got
    return out, got.decode()


BAR = """
from onnxviz.cli.progress import counting
from onnxviz.cli.terminal import note, say

with counting(False, "running", 2) as bar:
    bar.advance()
    note(False, "a note")
note(False, "another")
say("the result")
"""


def test_notes_stand_above_the_bar(tmp_path):
    out, err = seen(BAR, cwd=tmp_path)
    assert out == "the result\n"
    before, _, after = err.partition("a note")
    assert "running" in before.rpartition("\x1b[2K")[0]  # the bar was there,
    assert "running" not in before.rpartition("\x1b[2K")[2]  # its line was cleared for the note,
    assert "running" in after  # and it goes on below
    assert "another" in after


def test_results_are_no_notes(classifier, photo, tmp_path):
    """While a bar is shown, rich takes what is printed to where the bar is."""
    code = "from onnxviz.cli import main; main()"
    out, err = seen(code, "explain", classifier, photo, "--sanity", "-o", "e.png", cwd=tmp_path)
    assert "photo.png: deletion area" in out
    assert "e.png" in out.splitlines()
    assert "explaining" in err
    assert "deletion area" not in err
