"""`python docs/make_site.py`: the pages of the site, those of commands, checks and Python from the program itself.

They are written into build/docs, of which Zensical makes build/site as zensical.toml says.
"""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import typer

import onnxviz
from onnxviz.auditing.registry import load_checks
from onnxviz.cli.program import COMMANDS, load_commands

HERE = Path(__file__).resolve().parent
OF_THE_PROJECT = ("changelog", "contributing", "security")
FAMILIES = {
    "G": "Graph", "W": "Weights", "A": "Activations", "P": "Parity and performance", "I": "Inputs and answers",
    "R": "Release",
}  # fmt: skip
KINDS = (
    ("Verbs", "What a command does, as a function.", lambda name, one: inspect.isfunction(one) and "plot" not in name),
    ("Plots", "What draws a result: a matplotlib `Figure`.", lambda _, one: inspect.isfunction(one)),
    ("Results", "What verbs give: frozen, arrays read-only.", lambda _, one: not issubclass(one, Exception)),
    ("Errors", "All are an `OnnxvizError`; the command line says one in a line.", lambda _, one: True),
)
"""Sections of the page on Python: title, a sentence, what belongs there of what no section before has."""


def write_pages(target: Path) -> None:
    """Writes the sources of the site: the pages that lie here, and those that are made from the program.

    Args:
        target: a folder; what is in it goes.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(HERE, target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name in COMMANDS:
        page = target / "commands" / f"{name}.md"
        page.write_text(page.read_text(encoding="utf-8") + usage(name), encoding="utf-8")
    made = {"checks": checks_page(), "python": python_page()}
    made |= {name: _linked((HERE.parent / f"{name.upper()}.md").read_text(encoding="utf-8")) for name in OF_THE_PROJECT}
    for name, text in made.items():
        (target / f"{name}.md").write_text(text, encoding="utf-8")


def usage(name: str) -> str:
    """The arguments and options of a command, as `--help` has them, in Markdown."""
    command = typer.main.get_command(load_commands()).commands[name]  # type: ignore[attr-defined]
    context = typer.Context(command, info_name=name)
    records = [(one, one.get_help_record(context)) for one in command.get_params(context)]
    parts = ["\n\n## Arguments and options\n"]
    for one, record in records:
        if record is not None:
            flags, text = record
            parts.append(f"`{flags.strip()}`{'' if one.param_type_name == 'option' else ' (argument)'}")
            parts.append(f":   {_escaped(text.strip() or one.help or '')}\n")
    return "\n".join(parts)


def checks_page() -> str:
    """Every check with its manual, as `audit --explain` prints it."""
    parts = [
        "# Checks of `audit`\n",
        "What each check finds, why that matters, how it is measured and what to do about it; `onnxviz audit --explain "
        "CODE` prints the same. [`audit`](commands/audit.md) says how checks are chosen and configured.\n",
    ]
    checks = load_checks()
    for letter, title in FAMILIES.items():
        parts.append(f"## {title} ({letter})\n")
        for one in (one for one in checks if one.code[0] == letter):
            parts.append(f"### {one.code}: {_escaped(one.title.rstrip('.'))} {{ #{one.code} }}\n")
            facts = [f"**{one.severity.name.lower()}**"]
            if one.needs:
                facts.append("needs " + ", ".join(f"`--{need}`" for need in one.needs))
            if one.asked:
                facts.append("runs where it is selected" + (" or has a budget" if one.budgets else ""))
            facts += [f"`{name} = {value:g}`" for name, value in one.thresholds.items()]
            parts.append(" · ".join(facts) + "\n")
            for block in one.manual.split("\n\n")[1:]:
                question, _, answer = " ".join(block.split()).partition(": ")
                parts.append(f"**{question}:** {_escaped(answer)}\n")
    return "\n".join(parts)


def python_page() -> str:
    """Every public name with its docstring."""
    parts = [
        "# Python\n",
        "Every command is a function of the same name and the same options (`maps` is `capture`, `stats` is "
        "`statistics`). Arrays have ONNX's order of axes: (N, C, spatial…) and (O, I/group, spatial…).\n",
    ]
    left = [(name, getattr(onnxviz, name)) for name in onnxviz.__all__]
    for title, sentence, belongs in KINDS:
        parts.append(f"## {title}\n\n{sentence}\n")
        for name, one in [pair for pair in left if belongs(*pair)]:
            left.remove((name, one))
            parts.append(f"### `onnxviz.{name}` {{ #{name} }}\n\n::: {one.__module__}.{one.__name__}\n")
    return "\n".join(parts)


def _linked(text: str) -> str:
    """Text of a file beside README.md, whose links to files of the project are links within the site, or plain text."""

    def link(found: re.Match[str]) -> str:
        name = found[2].removesuffix(".md").lower()
        return f"[{found[1]}]({name}.md)" if name in OF_THE_PROJECT else f"`{found[2]}`"

    return re.sub(r"\[([^\]]+)\]\((?!https?:)([^)#]+)\)", link, text)


def _escaped(text: str) -> str:
    """Text of the program, in which `<` and the like are themselves."""
    return re.sub(r"([<*_\[\]])(?![^`]*`(?:[^`]*`[^`]*`)*[^`]*$)", r"\\\1", text)


if __name__ == "__main__":
    write_pages(HERE.parent / "build" / "docs")
    sys.exit(subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=HERE.parent).returncode)
