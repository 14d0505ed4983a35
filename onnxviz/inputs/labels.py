"""Labels: names of classes in a text file."""

from __future__ import annotations

from pathlib import Path

from onnxviz.errors import InputError
from onnxviz.messages import printable

_MOST_BYTES = 10**7


def read_labels(path: Path) -> tuple[str, ...]:
    """The names in a text file, one a line; lines behind the last name are left out.

    Raises:
        InputError: it cannot be read, or has no names.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as names of classes, one a line: {printable(str(error))}") from None
    names = [line.strip() for line in text.rstrip().splitlines()]
    if not names:
        raise InputError(f"{path} has no names of classes; write one a line")
    return tuple(names)
