"""Checks of what plots are asked for."""

import operator
from collections.abc import Sequence

from matplotlib import colormaps

from onnxviz.errors import InputError, SelectionError
from onnxviz.messages import meant, printable


def known_cmap(name: str | None) -> str | None:
    """Returns `name` if matplotlib has a colour map of that name, or None for None.

    Raises:
        InputError: It has none.
    """
    if name is not None and name not in colormaps:
        some = "gray, viridis, inferno, magma, RdBu_r"
        hint = meant(name, colormaps)
        raise InputError(f"there is no colour map '{printable(name)}'; {hint}some of {len(colormaps)}: {some}")
    return name


def chosen_numbers(asked: Sequence[int] | None, first: int | None, count: int, noun: str) -> list[int]:
    """Returns the numbers to show: those asked for, or the first `first` of `count`.

    Raises:
        SelectionError: There is no such number, or none is chosen.
        InputError: The first 0 or fewer are asked for.
    """
    if asked is None:
        if first is not None and first < 1:
            raise InputError(f"the first {first} {noun}s cannot be drawn; give 1 or more")
        return list(range(count if first is None else min(first, count)))
    numbers = [operator.index(number) for number in asked]
    if not numbers:
        raise SelectionError(f"no {noun} is chosen; there are {count}, 0 to {count - 1}")
    for number in numbers:
        if not 0 <= number < count:
            raise SelectionError(f"there is no {noun} {number}; there are {count}, 0 to {count - 1}")
    return numbers
