"""onnxviz/README.md is the map of the house: every file, in its folder, by the first line of its docstring."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "onnxviz"
# From the ground up, as the table of arrows has them.
FOLDERS = [
    ".", "model", "model/graph", "model/axes", "model/pixels", "model/detection", "passes", "runtime", "inputs", "maps",
    "maps/receptive", "predictions", "comparison", "gradients",
    "gradients/rules", "explanations", "explanations/methods", "maximization", "conversion", "auditing",
    "auditing/checks", "auditing/formats", "plots", "output", "reports", "cli",
]  # fmt: skip


def first_line(path):
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def listing():
    """The part of the map that follows from the files."""
    parts = []
    for name in FOLDERS:
        folder = PACKAGE / name
        title = "`onnxviz/`" if name == "." else f"`{name}/`: {first_line(folder / '__init__.py').rstrip('.')}"
        files = sorted(path for path in folder.glob("*.py") if name == "." or path.name != "__init__.py")
        parts.append("\n".join([f"### {title}", "", *(f"* `{path.name}`: {first_line(path)}" for path in files)]))
    return "\n\n".join(parts) + "\n"


def test_every_folder_is_on_the_map():
    there = {str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    assert there == set(FOLDERS)


def test_the_map_is_what_the_files_say_of_themselves():
    shown = (PACKAGE / "README.md").read_text(encoding="utf-8").partition("## Files\n\n")[2]
    assert shown == listing(), f"put this below '## Files' in onnxviz/README.md:\n\n{listing()}"


def test_the_ways_lead_through_files_that_are_there():
    ways = (PACKAGE / "README.md").read_text(encoding="utf-8").partition("## Files")[0]
    for name in re.findall(r"`([a-z_/]+\.py)`", ways):
        assert list(PACKAGE.rglob(name)) or (PACKAGE.parent / name).exists(), f"{name} is not there"
