"""Sets of images: folders, nested as they may be, and lists of paths in a text file."""

from __future__ import annotations

import os
from pathlib import Path

from onnxviz.errors import InputError
from onnxviz.inputs.image_files import SUFFIXES
from onnxviz.messages import printable

LIST_SUFFIX = ".txt"
_MOST_LINES = 10_000_000


def images_in(folder: Path) -> list[tuple[Path, str]]:
    """(path, label) of the images in a folder and in the folders inside it, in the order of their labels.

    A label is the path inside the folder, with `/`: where folders are classes it begins with the class. What begins
    with a dot is left out, and folders that are links.

    Raises:
        InputError: there is no image, or a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"the folder {error.filename} cannot be read: {error.strerror}")

    found = []
    for here, inside, files in os.walk(folder, onerror=refuse):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in files:
            path = Path(here) / name
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                found.append((path, path.relative_to(folder).as_posix()))
    if not found:
        raise InputError(f"the folder {folder} has no images ({', '.join(sorted(SUFFIXES))})")
    return sorted(found, key=lambda one: one[1].split("/"))


def listed_in(path: Path) -> list[str]:
    """The inputs that a list file names, one a line; relative ones lie beside it. Empty lines and `# …` are left out.

    Raises:
        InputError: it cannot be read, is no text, or names nothing.
    """
    named = lines_in(path)
    if not named:
        raise InputError(f"the list {path} names no input: write a path a line")
    if lists := [line for line in named if line.lower().endswith(LIST_SUFFIX)]:
        raise InputError(f"the list {path} names another list, {printable(lists[0])}: give both")
    return [str(path.parent / line) for line in named]


def lines_in(path: Path) -> list[str]:
    """The lines of a list of paths, but for empty ones and those that begin with `#`.

    Raises:
        InputError: it cannot be read, or is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise ValueError("a path holds no NUL")
    except (OSError, ValueError) as error:
        said = printable(str(error), 200)
        raise InputError(f"the list {printable(str(path))} cannot be read as a list of paths: {said}") from None
    lines = [line.strip() for line in text.splitlines()[:_MOST_LINES]]
    return [line for line in lines if line and not line.startswith("#")]
