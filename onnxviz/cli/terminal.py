"""Terminal output: results on stdout, for people or as one JSON document; errors and notes on stderr."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from onnxviz.messages import printable
from onnxviz.runtime.providers import NodeAssignment

_MOST_LINES = 60
# Characters of one message; names in it are strangers'.
_LONGEST = 1000


def stdout() -> Console:
    """Where results go. A pipe or file gets the whole of a table, however wide."""
    return Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 220)


# That of a bar while it is shown: what is said meanwhile stands above it, not in its line.
_shown: Console | None = None


def stderr() -> Console:
    """Where everything else goes."""
    return _shown or Console(stderr=True, highlight=False, emoji=False)


@contextmanager
def showing(console: Console) -> Iterator[None]:
    """Has `console` say what is said on stderr meanwhile."""
    global _shown
    _shown = console
    try:
        yield
    finally:
        _shown = None


def failure(message: str, *, lines: bool = False) -> None:
    """Says why a command ends; on one line whatever names contain, unless the message is a list of `lines`."""
    said = message.splitlines()[:_MOST_LINES] if lines else [message]
    words = "\n".join(printable(line, _LONGEST) for line in said)
    stderr().print(Text.assemble(("error: ", "bold red"), words), soft_wrap=True)


def note(quiet: bool, text: str) -> None:
    """Says what a user should know, unless it is to be `quiet`."""
    if not quiet:
        stderr().print(Text(printable(text, _LONGEST), style="dim"), soft_wrap=True)


def note_handed(quiet: bool, assignment: NodeAssignment | None) -> None:
    """Says which nodes another execution provider ran than the one that was asked for, where there are any."""
    if assignment is not None and (said := assignment.words()):
        note(quiet, said)


class Skipped:
    """Inputs that could not be used while others could.

    Attributes:
        list: (label, error) of each.
    """

    def __init__(self) -> None:
        self.list: list[tuple[str, str]] = []

    def add(self, label: str, error: object) -> None:
        """Says that one is skipped, and why."""
        self.list.append((label, str(error)))
        words = printable(f"{label}: {error}", _LONGEST)
        stderr().print(Text.assemble(("skipped ", "yellow"), words), soft_wrap=True)

    def end(self, total: int) -> None:
        """Ends the command with exit code 1 if there are any, of `total` inputs."""
        if self.list:
            stderr().print(f"{len(self.list)} of {total} inputs could not be used")
            raise typer.Exit(1)


def say(text: str, limit: int = _LONGEST) -> None:
    """Prints one line of the result, of at most `limit` characters."""
    print(printable(text, limit))


def report(as_json: bool, document: dict[str, Any], written: Sequence[Path]) -> None:
    """Prints the one JSON document, or the paths of the files that were written, a line each."""
    if as_json:
        print_json({**document, "files": [str(path) for path in written]})
    else:
        for path in written:
            say(str(path), 10_000)


def print_text(text: str) -> None:
    """Prints a document that is made for another program, as it is."""
    sys.stdout.write(text)


def print_json(document: dict[str, Any]) -> None:
    """Prints one JSON document: null for NaN and infinity, and files, each a `Path`, from the working folder."""
    print(json.dumps(_finite(document), indent=1, allow_nan=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def clean_stdout() -> Iterator[None]:
    """Keeps stdout for the result: what frameworks and code that a user names print meanwhile goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)  # native code and child processes
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
