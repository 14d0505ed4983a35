"""Sources of a conversion: the file or `module:factory` that is named, found and opened by its converter."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import operator
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from os import PathLike
from pathlib import Path
from typing import Any

from onnxviz.conversion.converter import Converter, InputShape
from onnxviz.errors import ConversionError
from onnxviz.messages import meant, printable

GROUP = "onnxviz.converters"


# `package.module:name` or `file.py:name`, or a call of it with literal arguments:
# `keras.applications:VGG16(weights=None)`.
_FACTORY = re.compile(
    r"(?P<module>[A-Za-z_]\w*(?:\.\w+)*|[^:]*\.py):(?P<name>[A-Za-z_]\w*(?:\.\w+)*)(?P<call>\(.*\))?", re.DOTALL
)


# Names that a message lists.
_NAMED = 3
_ONNX = (".onnx", ".ort")


def converters() -> list[Converter]:
    """The converters that are installed and can be loaded."""
    return [found for _, found in _loaded() if isinstance(found, Converter)]


def _loaded() -> Iterator[tuple[str, object]]:
    """Each registered converter by name, or the error that kept it from being loaded: one must not hide the others."""
    for entry in entry_points(group=GROUP):
        try:
            yield entry.name, entry.load()
        except Exception as error:
            yield entry.name, error


def _makers(path: Path) -> list[str]:
    """Names in a file of code that may give a model: functions and classes at its top; it is read, not run."""
    with suppress(OSError, SyntaxError, ValueError):
        body = ast.parse(path.read_bytes()).body
        kinds = (ast.FunctionDef, ast.ClassDef)
        names = [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]
        return names[:_NAMED] or ["factory"]
    return ["factory"]


def converter_for(source: object, label: str) -> Converter:
    """The converter for `source`."""
    for one in converters():
        if one.recognises(source):
            missing = [name for name in one.packages if importlib.util.find_spec(name) is None]
            if missing:
                raise ConversionError(
                    f"converting from {one.framework} needs {', '.join(missing)}: pip install '{one.install}'"
                )
            return one
    known = ", ".join(one.framework for one in converters()) or "none is installed"
    broken = "".join(
        f"; the converter '{name}' is broken: "
        f"{_in_one_line(found) if isinstance(found, Exception) else 'it lacks what a converter has'}"
        for name, found in _loaded()
        if not isinstance(found, Converter)
    )
    if isinstance(source, Path) and source.suffix == ".py":
        named = " or ".join(f"{source}:{name}" for name in _makers(source))
        raise ConversionError(f"{source} is code: name what gives the model in it, as {named}{broken}")
    if isinstance(source, Path):
        raise ConversionError(
            f"{source} is not a kind of file that a converter knows ({known}): give a .keras or .h5 file, a SavedModel "
            f"folder, a .pt2 or TorchScript file, module:factory or file.py:factory{broken}"
        )
    raise ConversionError(
        f"{label} is of type {type(source).__name__}, which no converter knows; "
        f"there are converters for {known}{broken}"
    )


def resolved(source: object) -> tuple[object, str]:
    """The model object or path behind `source`, and what messages call it."""
    if isinstance(source, str | PathLike):
        text = str(source)
        path = Path(source)
        match = _FACTORY.fullmatch(text) if isinstance(source, str) and not path.exists() else None
        if match is not None:
            return _made(match["module"], match["name"], match["call"]), text
        if not path.exists():
            raise ConversionError(
                f"there is no file {printable(text)}; code that makes a model is named module:factory or "
                "file.py:factory"
            )
        if path.suffix.lower() in _ONNX:
            raise ConversionError(f"{path} is an ONNX model already: onnxviz layers, filters and maps read it as it is")
        return path, text
    return source, str(getattr(source, "name", None) or type(source).__name__)


def _beside(file: Path) -> str:
    """The name by which a file of Python is imported as a module, with its folder where Python looks first.

    Raises:
        ConversionError: there is no such file, or its name is not one of a module.
    """
    if not file.is_file():
        raise ConversionError(f"there is no file {printable(str(file))}")
    if not file.stem.isidentifier():
        raise ConversionError(f"{printable(str(file))} cannot be imported: '{file.stem}' is no name of a module")
    folder = str(file.resolve().parent)
    known = importlib.util.find_spec(file.stem)
    if known is not None and Path(known.origin or "").resolve() != file.resolve():
        raise ConversionError(f"another module is called '{file.stem}' already: rename {printable(str(file))}")
    if folder not in sys.path[:1]:
        sys.path.insert(0, folder)
    return file.stem


def _made(module: str, name: str, call: str | None) -> object:
    """What `module:name` gives: the object itself if it is a model, else what calling it returns."""
    if module.endswith(".py"):
        module = _beside(Path(module))
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # a module beside the user, as `python -m` finds it
    try:
        target: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            for one in converters():
                if missing in one.packages:
                    raise ConversionError(
                        f"converting from {one.framework} needs {missing}: pip install '{one.install}'"
                    ) from None
            raise ConversionError(f"there is no module '{module}', here ({here}) or installed") from None
        raise ConversionError(f"{module} needs '{missing}', which is not installed") from error
    except (Exception, SystemExit) as error:  # a script without a guard runs, and may end with an exit
        raise ConversionError(f"importing {module} failed: {_in_one_line(error)}") from error
    for part in name.split("."):
        if not hasattr(target, part):
            named = {key: value for key, value in vars(target).items() if not key.startswith("_") and callable(value)}
            own = [key for key, value in named.items() if getattr(value, "__module__", None) == module]
            there = own or list(named)
            shown = f"{', '.join(there[:8])}{' …' if len(there) > 8 else ''}"
            raise ConversionError(f"{module} has no '{name}'; {meant(part, named)}it has {shown}")
        target = getattr(target, part)
    arguments, keywords = _literals(call)
    if call is None and any(one.recognises(target) for one in converters()):
        return target
    if not callable(target):
        raise ConversionError(f"{module}:{name} is a {type(target).__name__}, neither a model nor a callable")
    try:
        made: object = target(*arguments, **keywords)
    except (Exception, SystemExit) as error:
        raise ConversionError(f"{module}:{name} failed: {_in_one_line(error)}") from error
    return made


def _literals(call: str | None) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call that is written with literals; nothing is evaluated."""
    if call is None:
        return [], {}
    try:
        tree = ast.parse(f"f{call}", mode="eval").body
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
            raise ValueError  # f()(), f().x()
        if any(keyword.arg is None for keyword in tree.keywords):
            raise ValueError  # f(**x)
        return (
            [ast.literal_eval(one) for one in tree.args],
            {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in tree.keywords},
        )
    except (SyntaxError, ValueError):
        raise ConversionError(
            f"the arguments {printable(call)} are not literals; write numbers, text, tuples, True, None: (weights=None)"
        ) from None


def _in_one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 400 else text[:399] + "…"


def input_shapes(
    given: str | tuple[int | None, ...] | Mapping[str, tuple[int | None, ...]] | None,
) -> dict[str, InputShape] | None:
    """Shapes by input name; "" is the only input."""
    if given is None:
        return None
    if isinstance(given, str):
        parts = [part.strip() for part in given.split(",")]
        named = [part.rpartition("=") for part in parts]
        if len({name for name, _, _ in named}) < len(parts):
            raise ConversionError(f"'{given}' names an input twice, or gives two shapes without names")
        return {name: _shape(text) for name, _, text in named}
    if isinstance(given, Mapping):
        return {name: _sizes(shape) for name, shape in given.items()}
    return {"": _sizes(given)}


def _sizes(shape: Sequence[int | None]) -> InputShape:
    try:
        sizes = tuple(None if size is None else operator.index(size) for size in shape)
        if all(size is None or size > 0 for size in sizes):
            return sizes
    except TypeError:
        pass
    raise ConversionError(f"{shape!r} is not a shape; give sizes with the batch first, (1, 3, 224, 224), None for open")


def _shape(text: str) -> InputShape:
    sizes = re.split(r"[xX×]", text)
    if not all(re.fullmatch(r"[1-9]\d{0,5}|\?", size) for size in sizes):
        raise ConversionError(
            f"'{text}' is not a shape; write sizes with the batch first, 1x3x224x224 (? for an open one)"
        )
    return tuple(None if size == "?" else int(size) for size in sizes)
