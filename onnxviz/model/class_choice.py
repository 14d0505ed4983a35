"""Choices of classes as numbers: `0,3,5-9`, `all`, and names, as the labels have them."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence

from onnxviz.errors import SelectionError
from onnxviz.messages import for_reader, meant, printable
from onnxviz.model.selection import numbers

ClassesLike = str | int | Sequence[str | int]
"""A number or a name, `0,3,5-9`, `all`, or several of them."""

_NUMBERS = re.compile(r"[0-9]{1,9}(-[0-9]{1,9})?")


def class_numbers(given: ClassesLike, names: Sequence[str], count: int | None) -> list[int]:
    """The numbers of the classes that are meant, each once, in the order in which they are named.

    A whole text that is a name means that class, commas or not; else its parts between commas are numbers, ranges and
    names. A name is matched whatever its case, and by each of the synonyms that commas separate in it.

    Args:
        given: what was asked for. A number is not looked up: whether there is such a class is for whoever scores it.
        names: of the classes, in their order; () if nothing gives them. A single one, of one score, is that of class 1.
        count: how many scores there are; None where the graph does not tell.

    Raises:
        SelectionError: there is no such name, several classes have it, or it is not known how many `all` are.
    """
    known = ("", *names) if count == 1 and len(names) == 1 else tuple(names)
    found: list[int] = []
    for item in [given] if isinstance(given, str | int) or hasattr(given, "__index__") else given:
        if not isinstance(item, str):
            found.append(operator.index(item))
            continue
        whole = _named(item, known)
        parts = [item] if whole else [part.strip() for part in item.split(",") if part.strip()]
        for part in parts:
            if part == "all" and not _named(part, known):
                found.extend(range(_total(known, count)))
            elif _NUMBERS.fullmatch(part):
                found.extend(numbers(part, "classes"))
            else:
                found.append(_number(part, known))
    if not found:
        raise SelectionError("no class is named; write numbers, ranges and names, such as 0,3,5-9")
    return list(dict.fromkeys(found))


def _named(text: str, names: Sequence[str]) -> list[int]:
    """The classes of this name, or else those of which it is a synonym."""
    wanted = text.strip().casefold()
    whole = [number for number, name in enumerate(names) if name and name.strip().casefold() == wanted]
    return whole or [
        number for number, name in enumerate(names) if wanted in (part.strip() for part in name.casefold().split(","))
    ]


def _number(text: str, names: Sequence[str]) -> int:
    found = _named(text, names)
    if len(found) == 1:
        return found[0]
    shown = printable(text)
    if found:
        raise SelectionError(f"several classes are called '{shown}': write the number, {', '.join(map(str, found))}")
    if not any(names):
        raise SelectionError(
            f"'{shown}' is not a number or a range of classes, such as 0,3,5-9, and nothing gives their names: "
            f"{keeping_labels()} keeps them in the model"
        )
    synonyms = [part.strip() for name in names for part in name.split(",") if part.strip()]
    first = ", ".join(printable(name, 40) for name in names[:5] if name)
    raise SelectionError(
        f"there is no class '{shown}'; {meant(text, synonyms)}there are {len(names)}, such as {first}, and numbers"
    )


def _total(names: Sequence[str], count: int | None) -> int:
    if count is None and not names:
        raise SelectionError("how many classes there are is not known before the model runs: write numbers, as 0-9")
    return len(names) if count is None else max(count, 2)


def keeping_labels() -> str:
    """How a model is made to say what its classes are called."""
    return for_reader("onnxviz annotate MODEL --labels FILE -o OUT", "annotate(model, None, output, labels=names)")
