"""Checks of what plots are asked for."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from matplotlib import colormaps
from numpy.typing import NDArray

from onnxviz.errors import InputError, SelectionError
from onnxviz.messages import meant, printable
from onnxviz.plots.mosaic import sort_channels

Found = TypeVar("Found")
_LISTED = 12


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


def one_layer(found: Mapping[str, Found], layer: str | None, what: str) -> tuple[str, Found]:
    """Returns (name, what was found) of the layer that is to be drawn, of a verb's result by layer.

    Args:
        found: By the names of layers.
        layer: A name; None where there is one layer.
        what: What was found, in messages.

    Raises:
        SelectionError: There is no such layer, or none is named of several.
    """
    names = [printable(name) for name in found]
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    if layer is None and len(names) == 1:
        return next(iter(found.items()))
    if layer is None:
        raise SelectionError(f"there are {what} of {len(names)} layers ({listed}): name one, layer='{names[0]}'")
    if layer not in found:
        raise SelectionError(f"there are no {what} of '{printable(layer)}'; {meant(layer, found)}there are {listed}")
    return layer, found[layer]


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


def chosen_channels(
    values: NDArray[Any], channels: Sequence[int] | None, first: int | None, sort: str | None
) -> list[int]:
    """Returns the channels to show: those asked for, or the first; with `sort` the largest of them first.

    Args:
        values: (C, ...).
        channels: Those asked for; None for all.
        first: How many, where none are asked for; None for all.
        sort: As `onnxviz.plots.mosaic.sort_channels`; None for their order.

    Raises:
        Errors: as `chosen_numbers` and `sort_channels`.
    """
    chosen = chosen_numbers(channels, first if sort is None else None, len(values), "channel")
    if sort is None:
        return chosen
    order = sort_channels(values[chosen], sort)
    return [chosen[place] for place in order[: first if channels is None else None]]
