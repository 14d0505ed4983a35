"""Which tests need a framework (TensorFlow, Keras, PyTorch), read from their source: nothing is imported for it.

`make test-quick` leaves them out. A test needs one where its module imports one at its top, by itself or by a helper
beside it; or where the test, or what it names in its module and in conftest.py, imports one later, asks for one with
`importorskip`, or holds a program that imports one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
FRAMEWORKS = frozenset({"torch", "torchvision", "tensorflow", "keras", "tf2onnx", "onnxscript", "captum"})
_PROGRAM = re.compile(rf"\b(?:import|from) (?:{'|'.join(sorted(FRAMEWORKS))})\b|\bmodels\.(?:keras|torch)_models\b")


@cache
def module_needs(path: Path) -> bool:
    """Whether importing the test module or helper imports a framework, or is skipped without one."""
    return _any_reaches(_imports(_parsed(path).body))


@cache
def item_needs(path: Path, name: str) -> bool:
    """Whether the function `name` of the module needs a framework, its module or what it names included."""
    return module_needs(path) or _definition_needs(path, name)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _any_reaches(modules: Iterable[str]) -> bool:
    """Whether one of the modules imports a framework when it is imported itself."""
    seen, waiting = set(), list(modules)
    while waiting:
        module = waiting.pop()
        package, _, rest = module.partition(".")
        if package in FRAMEWORKS:
            return True
        if module not in seen:
            seen.add(module)
            # `accuracy.measure` runs accuracy/__init__.py and accuracy/measure.py.
            files = [HERE / f"{package}.py", HERE / package / "__init__.py"]
            files += [HERE / package / f"{rest}.py"] if rest else []
            waiting += [name for path in files if path.exists() for name in _imports(_parsed(path).body)]
    return False


def _imports(nodes: list[ast.stmt]) -> Iterator[str]:
    """Modules that the statements import as they run; what functions import later is left out."""
    waiting: list[ast.AST] = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield from imported(node)
        waiting.extend(ast.iter_child_nodes(node))


def imported(node: ast.AST) -> Iterator[str]:
    """The modules that one node imports, or skips without."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module or ""
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("importorskip", "import_module"):
        yield from (one.value for one in node.args[:1] if isinstance(one, ast.Constant) and isinstance(one.value, str))


@cache
def _definitions(path: Path) -> dict[str, ast.stmt]:
    """What the module defines at its top, by name: functions, classes, constants."""
    found: dict[str, ast.stmt] = {}
    for node in _parsed(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {one.id: node for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return found


def _definition_needs(path: Path, name: str) -> bool:
    known = _definitions(HERE / "conftest.py") | _definitions(path)
    seen, waiting = set(), [name]
    while waiting:
        one = waiting.pop()
        if one in seen or one not in known:
            continue
        seen.add(one)
        for node in ast.walk(known[one]):
            if _is_framework(node):
                return True
            if isinstance(node, ast.Name | ast.arg):
                waiting.append(node.id if isinstance(node, ast.Name) else node.arg)
    return False


def _is_framework(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _PROGRAM.search(node.value) is not None
    return _any_reaches(imported(node))
