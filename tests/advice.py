"""Advice as it is given: which option a message names, and whether what was called has it."""

import inspect
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from onnxviz import messages

# What a message says of another verb: of an audit's sources that `onnxviz convert` takes them, of what a report has no
# map for that `onnxviz explain` does.
# The layer table says which option of other commands settles how pictures are prepared.
OF_OTHERS = {("audit", "allow_code_execution"), ("report", "target"), ("layers", "preprocess")}


class Listener:
    """Hears every option that a message names, for the time of a test.

    Attributes:
        wrong: of each that the command or function which was called does not have, what is wrong.
    """

    def __init__(self, monkeypatch) -> None:
        self.wrong: list[str] = []
        flag, argument = messages._flag, messages._argument

        def heard_flag(name: str, value: str, python: str) -> str:
            said = flag(name, value, python)
            self._check(said.split()[0], *command_now())
            return said

        def heard_argument(name: str, python: str) -> str:
            self._check(name, *function_now())
            return argument(name, python)

        monkeypatch.setattr(messages, "_flag", heard_flag)
        monkeypatch.setattr(messages, "_argument", heard_argument)

    def _check(self, name: str, where: str, there: set[str]) -> None:
        command, option = where.rpartition(" ")[2], name.lstrip("-").replace("-", "_")
        if where and name not in there and (command, option) not in OF_OTHERS | _of_audits(command):
            self.wrong.append(f"{where} is told of {name}, which it does not have")


def _of_audits(command: str) -> set[tuple[str, str]]:
    """Of a report, what its part about the audit says of checks that did not run: options of `audit`."""
    if command != "report":
        return set()
    from onnxviz.auditing.audit import audit

    return {(command, name) for name in inspect.signature(audit).parameters}


def command_now() -> tuple[str, set[str]]:
    """The command that runs and its flags; none outside one."""
    typer = sys.modules.get("typer")
    context = None if typer is None else _context_of(typer.Context).get_current_context(silent=True)
    if context is None:
        return "", set()
    return context.command_path, flags_of(context.command)


@cache
def _context_of(context: type) -> Any:
    """The module that knows which context is in force: click's, or that of the click that Typer brings since 0.26."""
    package = next(base for base in context.__mro__ if base.__module__.endswith("click.core")).__module__
    return import_module(package.removesuffix("core") + "globals")


def flags_of(command: Any) -> set[str]:
    """The options of a command, as they are spelt."""
    return {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}


def function_now() -> tuple[str, set[str]]:
    """The public function that was called, the outermost of several, and its arguments; none outside one."""
    from onnxviz.arguments import _taken

    found: tuple[str, set[str]] = ("", set())
    for frame in frames():
        if frame.f_code is _checked():
            function = frame.f_locals["function"]
            found = function.__name__, set(_taken(function)[0]) | _inherited(function.__name__)
        elif frame.f_code.co_name == "audit" and frame.f_globals["__name__"] == "onnxviz.auditing.audit":
            found = "audit", set(inspect.signature(frame.f_globals["audit"]).parameters)
    return found


def _inherited(name: str) -> set[str]:
    """Of a function that takes an explanation, what `explain` takes: what it advises is said of the next one."""
    from onnxviz.arguments import _taken
    from onnxviz.explanations.explain import explain

    return set(_taken(explain)[0]) if name.startswith("explain_") else set()


def frames() -> Iterator[Any]:
    """Those of all calls that are under way, the latest first."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


@cache
def _checked() -> Any:
    """The code of what `typed` makes of a function."""
    from onnxviz.arguments import typed

    def nothing() -> None: ...

    return typed(nothing).__code__
