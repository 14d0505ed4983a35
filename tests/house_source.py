"""The modules of the package and what each imports, read from the source alone."""

import ast
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "onnxviz"
CONVERTERS = ROOT / "converters" / "onnxviz_converters"


class Import(NamedTuple):
    """One import: the module's full name, its line, and whether it runs when its own module is imported."""

    module: str
    line: int
    top: bool


def module_name(path):
    """`model.graph.scopes`; a folder's own name means its __init__, "" the package's."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py")}
SOURCES = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
COMMAND_LINE = [name for name in FILES if name.partition(".")[0] == "cli"]


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def module_of(name):
    """The module of onnxviz that `onnxviz.…` is, None if it is none."""
    package, _, module = name.partition(".")
    return module if package == "onnxviz" and module in FILES else None


def imports_of(tree, *, top=True):
    """Every import; those for type checkers do not run when the module is imported."""

    def visit(node, top):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            # `from onnxviz import files` imports a module, `… import load` a name; so in a package.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in dict.fromkeys(name if module_of(name) else node.module for name in names):
                yield Import(name, node.lineno, top)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            named = node.args[:1] if node.args and isinstance(node.args[0], ast.Constant) else []
            yield from (Import(str(name.value), node.lineno, top) for name in named)
        late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(node)
        skipped = node.orelse if is_type_checking(node) else []
        for child in ast.iter_child_nodes(node):
            yield from visit(child, top and (not late or child in skipped))

    return list(visit(tree, top))


IMPORTS = {name: imports_of(tree) for name, tree in TREES.items()}
CONVERTER_IMPORTS = {path.stem: imports_of(ast.parse(path.read_text("utf-8"))) for path in CONVERTERS.glob("*.py")}


def importers(package, *, top_only=False):
    """The modules that import `package`."""
    return {
        name
        for name, found in IMPORTS.items()
        for one in found
        if one.module.partition(".")[0] == package and (one.top or not top_only)
    }


def arrows(name, *, top_only=False):
    """The modules of onnxviz that one of them imports."""
    found = {module_of(one.module) or "" for one in IMPORTS[name] if one.module.partition(".")[0] == "onnxviz"
             and (one.top or not top_only)}  # fmt: skip
    return found - {name}


def everything_below(name, *, top_only=True):
    """The modules that come along when one is imported, itself left out."""
    found, waiting = set(), [name]
    while waiting:
        for other in arrows(waiting.pop(), top_only=top_only) - found:
            found.add(other)
            waiting.append(other)
    return found - {name}


def folder(name):
    return name.partition(".")[0]
