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
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a list of paths: {printable(str(error), 200)}") from None
    named = [line.strip() for line in lines[:_MOST_LINES]]
    named = [line for line in named if line and not line.startswith("#")]
    if not named:
        raise InputError(f"the list {path} names no input: write a path a line")
    if lists := [line for line in named if line.lower().endswith(LIST_SUFFIX)]:
        raise InputError(f"the list {path} names another list, {printable(lists[0])}: give both")
    return [str(path.parent / line) for line in named]
