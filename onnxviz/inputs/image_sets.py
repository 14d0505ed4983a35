"""Sets of images: folders, nested as they may be, and lists of paths in a text file."""

from __future__ import annotations

import os
from collections.abc import Mapping
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


def is_set(given: object) -> bool:
    """Whether it is the path of a folder, or of a list of paths."""
    if not isinstance(given, str | os.PathLike):
        return False
    path = Path(given)
    return path.is_dir() or (path.suffix.lower() == LIST_SUFFIX and path.is_file())


def paired_in(sets: Mapping[str, Path]) -> list[tuple[str, dict[str, str]]]:
    """(label, path for each name) of what belongs together in several folders or lists.

    Of two folders it is what is called alike in both, but for the suffix; of lists it is what stands in the same line.

    Raises:
        InputError: there is more in one than in another, or other names; or as for `images_in` and `listed_in`.
    """
    named = {name: path.is_dir() for name, path in sets.items()}
    found = {
        name: [(label, str(file)) for file, label in images_in(path)]
        if named[name]
        else [(Path(line).name, line) for line in listed_in(path)]
        for name, path in sets.items()
    }
    (first, ours), *others = found.items()
    for other, theirs in others:
        if len(theirs) != len(ours):
            counts = f"{len(ours):,} for {printable(first)} in {sets[first]} and {len(theirs):,} for {printable(other)}"
            raise InputError(f"inputs belong together one by one, and there are {counts} in {sets[other]}")
        for (one, _), (two, _) in zip(ours, theirs, strict=True) if named[first] and named[other] else ():
            if Path(one).with_suffix("") != Path(two).with_suffix(""):
                raise InputError(
                    f"images of two folders belong together by their names, and {sets[first]} has {printable(one)} "
                    f"where {sets[other]} has {printable(two)}: call them alike, or give lists (.txt), a path a line"
                )
    return [(label, {name: pairs[place][1] for name, pairs in found.items()}) for place, (label, _) in enumerate(ours)]


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
