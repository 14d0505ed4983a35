"""Advice: every option that a message names exists where the message is read; `tests/advice.py` hears the rest."""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from advice import flags_of
from house_source import ROOT

import onnxviz
from onnxviz.arguments import _taken
from onnxviz.messages import for_command_lines, for_reader, option, spelt, unheeded

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# `audit` of a command line has these beside what `audit` in Python has: there several models are audited, and files
# written; `maximize` draws what `top_patches` finds. Their messages are made by what that command alone calls.
ONLY_COMMANDS = {"timeout", "memory_limit", "write_golden", "with_patches"}
# Those of a function alone: a command knows by itself where channels come from.
ONLY_FUNCTIONS = {"sources"}
# A command's shared words; those of the others lie in the file of the command.
SHARED = {"options", "program", "heeding", "terminal", "tables", "progress", "findings_table", "comparison_table"}


@cache
def commands() -> dict[str, set[str]]:
    """The flags of each command."""
    import typer

    from onnxviz.cli.program import load_commands

    return {name: flags_of(one) for name, one in typer.main.get_command(load_commands()).commands.items()}


@cache
def arguments() -> dict[str, set[str]]:
    """The arguments of each public function."""
    public = {name: getattr(onnxviz, name) for name in onnxviz.__all__}
    functions = {name: one for name, one in public.items() if inspect.isfunction(one)}
    return {
        name: set(_taken(one)[0]) if hasattr(one, "__wrapped__") else set(inspect.signature(one).parameters)
        for name, one in functions.items()
    }


def sources(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """The texts of a file but docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, documented) and node.body
            and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def options_named(tree: ast.AST) -> Iterator[str]:
    """The names that a file gives to `option`, and those in braces in what it gives to the functions around it."""
    for call in calls(tree, "option"):
        first = call.args[0]
        yield first.value if isinstance(first, ast.Constant) else "?"
    for call in calls(tree, "spelt", "unheeded", "refuse_unheeded"):
        for part in ast.walk(call):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield from re.findall(r"\{(\w+)\}", part.value)
    for call in calls(tree, "refuse_unheeded"):
        if isinstance(call.args[0], ast.Dict):
            yield from (key.value for key in call.args[0].keys if isinstance(key, ast.Constant))


def test_beside_the_command_line_no_text_spells_an_option_for_one_reader_alone():
    wrong = []
    for path, tree in sources("onnxviz", "converters"):
        if path.parent.name == "cli":
            continue
        for_one = {id(part) for call in calls(tree, "for_reader") for part in ast.walk(call)}
        for text in texts(tree):
            if FLAG.search(text.value) and id(text) not in for_one:
                wrong.append(f"{path.relative_to(ROOT)}:{text.lineno}: {text.value!r}: write option(…), or for_reader")
    assert not wrong, "\n".join(wrong)


def test_each_option_that_a_message_names_is_one_of_a_command_and_of_a_function():
    flags = set().union(*commands().values())
    taken = set().union(*arguments().values())
    named = {}
    for path, tree in sources("onnxviz", "converters"):
        if path.name != "messages.py":
            named.update(dict.fromkeys(options_named(tree), path.name))
    named.pop("name", None)  # of a mode, in cli/heeding.py
    assert {"size", "preprocess", "wrt", "class_", "fixed", "against", "verify"} <= named.keys(), "the walk sees little"
    for name, where in named.items():
        if name in ONLY_FUNCTIONS:
            continue
        flag = "--" + name.strip("_").replace("_", "-")
        assert flag in flags or flag.replace("--", "--no-") in flags, f"no command has {flag}, which {where} names"
        assert name in taken | ONLY_COMMANDS, f"no public function has {name}=, which {where} names"


def test_flags_for_one_reader_are_those_of_the_command_that_is_named_or_of_one_at_least():
    found = 0
    for path, tree in sources("onnxviz", "converters"):
        for call in calls(tree, "for_reader"):
            for text in texts(call.args[0]):
                command = re.search(r"onnxviz (\w+)", text.value)
                there = commands()[command[1]] if command else set().union(*commands().values())
                for flag in FLAG.findall(text.value):
                    found += 1
                    assert flag in there, f"{path.name}:{text.lineno}: {flag}"
    assert found > 4


@pytest.mark.parametrize("path", sorted((ROOT / "onnxviz" / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_a_command_names_options_that_it_has(path):
    there = set().union(*commands().values()) if path.stem in SHARED else commands().get(path.stem, set())
    for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
        for flag in FLAG.findall(text.value):
            assert flag in there | {"--help", "--version", "--install-completion"}, f"{path.name}:{text.lineno}: {flag}"


def test_manuals_of_checks_name_options_of_audit_or_of_the_command_that_they_name():
    from onnxviz.auditing.registry import load_checks

    found = 0
    for check in load_checks():
        for line in re.split(r"[.;]\s", check.manual):
            command = re.search(r"onnxviz (\w+)", line)
            for flag in FLAG.findall(line):
                found += 1
                assert flag in commands()["audit"] | commands().get(command[1] if command else "", set()), (
                    f"{check.code} names {flag}"
                )
    assert found > 3


def test_an_option_is_spelt_for_who_reads_it():
    def said() -> list[str]:
        return [
            option("size"), option("size", "HxW"), option("class_", "N"), option("input_shape"),
            option("preprocess", "raw", "'raw'"), option("verify", python="False"), spelt("a ({data}) b {from_}"),
            for_reader("onnxviz layers --all", "layers(all=True)"), str(unheeded("leave out {size}")),
        ]  # fmt: skip

    in_python = [
        "size=", "size=", "class_=", "input_shape=", "preprocess='raw'", "verify=False", "a (data=) b from_=",
        "layers(all=True)", "leave out size=",
    ]  # fmt: skip
    assert said() == in_python
    with for_command_lines():
        assert said() == [
            "--size", "--size HxW", "--class N", "--input-shape", "--preprocess raw", "--no-verify",
            "a (--data) b --from", "onnxviz layers --all", "leave out --size",
        ]  # fmt: skip
    assert said() == in_python


def test_the_reader_is_the_process_no_longer_when_a_command_fails(run_command):
    assert "--all lists" in run_command("layers", ROOT / "tests/zoo/none.onnx").err or option("size") == "size="
    assert option("size") == "size="


def test_a_flag_that_a_command_does_not_have_is_heard(advice_can_be_followed):
    """What hears all tests hears commands: Typer has brought a click of its own, whose context is another."""
    import typer
    from typer.testing import CliRunner

    program = typer.Typer()

    @program.command()
    def look(size: int = 1) -> None:
        with for_command_lines():
            typer.echo(f"{option('size')} {option('cmap', 'gray')}")

    assert CliRunner().invoke(program, []).output.split() == ["--size", "--cmap", "gray"]
    (wrong,) = advice_can_be_followed.wrong
    assert "--cmap" in wrong
    advice_can_be_followed.wrong.clear()
