"""Lists of models: files, folders, globs and files that list them, as paths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

from onnxviz.errors import InputError
from onnxviz.inputs.image_sets import lines_in
from onnxviz.messages import printable


def model_list(given: Sequence[str]) -> list[str]:
    """The paths that are meant, each once, in the order in which they were given; those of a folder or glob sorted.

    Args:
        given: of each a file, whether it is there or not; a folder, for the `.onnx` files below it; a glob, `**` for
            folders of any depth; or `@FILE`, for what its lines name, as if they were given in its place: empty lines
            and those that begin with `#` are skipped.

    Raises:
        InputError: a folder holds none, a glob means none, or a list cannot be read; or there is nothing at all.
    """
    found: dict[str, str] = {}  # by where they lead
    for path in _expanded(given):
        found.setdefault(os.path.realpath(path), path)
    if not found:
        raise InputError("there is nothing to audit: name .onnx files, folders, globs, or @FILE for a list of them")
    return list(found.values())


def _expanded(given: Sequence[str]) -> Iterator[str]:
    for text in given:
        if text.startswith("@") and not os.path.exists(text):  # noqa: PTH110 - Path.exists raises on long names
            yield from _expanded(_lines(text[1:]))
        elif os.path.isdir(text):  # noqa: PTH112
            yield from _sorted(Path(text).rglob("*.onnx"), f"there is no .onnx file below the folder {text}")
        elif has_magic(text) and not os.path.exists(text):  # noqa: PTH110
            yield from _sorted(map(Path, glob(text, recursive=True)), f"no file matches '{printable(text)}'")  # noqa: PTH207
        else:
            yield str(Path(text))


def _sorted(paths: Iterator[Path], none: str) -> list[str]:
    """Those that are no folders."""
    found = sorted(str(path) for path in paths if not path.is_dir())
    if not found:
        raise InputError(none)
    return found


def _lines(path: str) -> list[str]:
    named = lines_in(Path(path))
    if any(name.startswith("@") for name in named):  # it could be itself
        raise InputError(f"the list {printable(path)} names another list: give both, @{printable(path)} @OTHER")
    return named
