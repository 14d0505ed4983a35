"""Heeding: each mode of a command declares the options it heeds; one that no mode in force heeds is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer

from onnxviz.files import is_picture
from onnxviz.messages import refuse_unheeded


@dataclass(frozen=True)
class Mode:
    """A way in which a command works.

    Attributes:
        holds: whether the command's parameters, by name, ask for it.
        otherwise: how the refusal of its options begins where they do not; `{option}` in it is spelt as a flag.
    """

    holds: Callable[[Mapping[str, Any]], bool]
    otherwise: str = ""


Heeds = Mapping[Mode, str]
"""The names of the parameters that each mode heeds, with spaces between; one that stands in several needs them all."""

ALWAYS = Mode(lambda given: True)
WITH_OUTPUT = Mode(lambda given: given["output"] is not None, "nothing is drawn without {output}")
DRAWN = Mode(
    lambda given: given["output"] is not None or given["save"] is None,
    "{save} alone draws nothing, {output} beside it does",
)
IN_FOLDER = Mode(
    lambda given: given["output"] is None or not is_picture(given["output"]),
    "the name of the one file in {output} says its format",
)


def flag_of(parameter: Any) -> str:
    """How an option is spelt: `--layers`, `--no-verify`."""
    return str((parameter.opts or parameter.secondary_opts)[0])


def check_heeded(context: typer.Context, heeds: Heeds) -> None:
    """Refuses what the command line gives and no mode in force heeds, whatever its value.

    Args:
        context: of the command.
        heeds: what each of its modes heeds.

    Raises:
        UnheededOptionError: one is given.
        TypeError: the command has a parameter of which no mode says that it heeds it: a bug.
    """
    declared = {name for names in heeds.values() for name in names.split()}
    if declared != context.params.keys():
        wrong = ", ".join(sorted(declared ^ context.params.keys()))
        raise TypeError(f"{context.command.name} does not say in which mode it heeds {wrong}: see cli/heeding.py")
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    flags = {one.name: flag_of(one).lstrip("-") for one in context.command.params}
    for mode, names in heeds.items():
        if not mode.holds(context.params):
            unheeded = {flags[name].replace("-", "_"): True for name in names.split() if name in given}
            refuse_unheeded(unheeded, mode.otherwise)
