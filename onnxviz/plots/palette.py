"""Colours of classes: told apart also where red and green look alike, and the same in every picture of a model."""

from collections.abc import Iterable

# Okabe and Ito, Color Universal Design (2008), without black; then Paul Tol's "muted" (2021).
_COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#332288", "#88ccee", "#44aa99",
    "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499",
)  # fmt: skip

OTHERS = "#7f8386"
"""Of all classes that have no colour of their own."""


def colours_of(classes: Iterable[int]) -> dict[int, str]:
    """Returns a colour, `#rrggbb`, for each class: its number's where that is free, else the next; 16 in all.

    Args:
        classes: their numbers, from 0.
    """
    found: dict[int, str] = {}
    for number in sorted(set(classes)):
        turn = [_COLOURS[(number + step) % len(_COLOURS)] for step in range(len(_COLOURS))]
        found[number] = next((colour for colour in turn if colour not in found.values()), turn[0])
    return found
