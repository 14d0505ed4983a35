"""`python docs/make_site.py`: the pages of the site, those of commands, checks and Python from the program itself.

They are written into build/docs, of which Zensical makes build/site as zensical.toml says.
"""

from __future__ import annotations

import inspect
import json
import posixpath
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

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
    """Writes the sources of the site: the pages that lie here, with what the program says of itself below them.

    Args:
        target: a folder; what is in it goes.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(HERE, target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name in OF_THE_PROJECT:
        shutil.copy(HERE.parent / f"{name.upper()}.md", target / f"{name}.md")
    added = {f"commands/{name}": usage(name) for name in COMMANDS} | {"checks": checks(), "python": reference()}
    for page in sorted(target.rglob("*.md")):
        name = page.relative_to(target).with_suffix("").as_posix()
        text = _linked(page.read_text(encoding="utf-8"), name) + added.get(name, "")
        page.write_text(text, encoding="utf-8")
    for book in sorted((HERE / "notebooks").glob("*.ipynb")):
        (target / "notebooks" / f"{book.stem}.md").write_text(notebook_page(book, target), encoding="utf-8")
    told = target / "how-to" / "notebook.md"  # there the pages are meant, in the project the files
    told.write_text(told.read_text(encoding="utf-8").replace(".ipynb)", ".md)"), encoding="utf-8")


def notebook_page(book: Path, target: Path) -> str:
    """A notebook as a page: its words, its code, and what its cells gave; pictures are written beside it."""
    parts = []
    for number, cell in enumerate(json.loads(book.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            kind = next((one for one in data if one.startswith("image/")), None)
            if kind is not None:
                picture = f"{book.stem}-{number}.{kind.removeprefix('image/')}"
                (target / "notebooks" / picture).write_bytes(b64decode("".join(data[kind])))
                parts.append(f"![What the lines above draw]({picture})")
            elif text := "".join(output.get("text") or data.get("text/plain", "")):
                parts.append(f"```text\n{text.rstrip()}\n```")
        if number == 0:
            parts.append(f"The notebook itself is [`{book.name}`]({book.name}), in `docs/notebooks` of the project.")
    return "\n\n".join(parts) + "\n"


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


def checks() -> str:
    """Every check with its manual, as `audit --explain` prints it."""
    parts = [""]
    there = load_checks()
    for letter, title in FAMILIES.items():
        parts.append(f"## {title} ({letter})\n")
        for one in (one for one in there if one.code[0] == letter):
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


def reference() -> str:
    """Every public name with its docstring."""
    parts = [""]
    left = [(name, getattr(onnxviz, name)) for name in onnxviz.__all__]
    for title, sentence, belongs in KINDS:
        parts.append(f"## {title}\n\n{sentence}\n")
        for name, one in [pair for pair in left if belongs(*pair)]:
            left.remove((name, one))
            parts.append(f"### `onnxviz.{name}` {{ #{name} }}\n{given(one)}\n::: {one.__module__}.{one.__name__}\n")
    return "\n".join(parts)


def given(one: Any) -> str:
    """What a function gives, where its docstring has no section that says so: a line, linked where it is public."""
    if not inspect.isfunction(one) or "Returns:" in (one.__doc__ or ""):
        return ""
    annotation = inspect.signature(one).return_annotation
    kind = getattr(annotation, "__name__", annotation)
    if kind == "None":
        return ""
    return f"\nGives [`{kind}`](#{kind}).\n" if kind in onnxviz.__all__ else f"\nGives `{kind}`.\n"


def _linked(text: str, name: str) -> str:
    """A page, whose links to files of the project are links within the site, or, to what is not on it, plain text.

    Args:
        text: the page, with links as they lead from where its source lies in the project.
        name: the page's path on the site, without `.md`.
    """
    folder = "" if name in OF_THE_PROJECT else posixpath.join("docs", posixpath.dirname(name))

    def link(found: re.Match[str]) -> str:
        words, path, place = found.groups(default="")
        there = posixpath.normpath(posixpath.join(folder, path))
        if there.startswith("docs/"):
            there = there.removeprefix("docs/")
        elif (page := there.removesuffix(".md").lower()) in OF_THE_PROJECT:
            there = f"{page}.md"
        else:
            return f"`{there}`"
        return f"{words}({posixpath.relpath(there, posixpath.dirname(name) or '.')}{place})"

    return re.sub(r"(\[[^\]]+\])\((?!\w+:|#)([^)\s#]+\.\w+)(#[^)]*)?\)", link, text)


def _escaped(text: str) -> str:
    """Text of the program, in which `<` and the like are themselves."""
    return re.sub(r"([<*_\[\]])(?![^`]*`(?:[^`]*`[^`]*`)*[^`]*$)", r"\\\1", text)


if __name__ == "__main__":
    write_pages(HERE.parent / "build" / "docs")
    sys.exit(subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=HERE.parent).returncode)
