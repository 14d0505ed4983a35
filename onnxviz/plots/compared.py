"""Explanations of one input, each class by each method: what a table of them is made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxviz.errors import InputError
from onnxviz.plots.has_map import HasMap
from onnxviz.plots.heat import PERCENTILE, Heat
from onnxviz.plots.lettering import noun_of
from onnxviz.plots.sliced_volume import SlicedVolume

MOST_PARTS = 6
"""How many views, frames or slices a table shows; of more, so many, evenly spaced."""

# Notes below a table: of twenty classes there may be as many.
_MOST_NOTES = 6
# Classes that a note names, and letters of each.
_MOST_NAMED, _LETTERS = 3, 40


class Compared:
    """Explanations of one input, in order: rows are classes, columns methods.

    Args:
        explanations: two or more, each class by each method once.

    Attributes:
        rows: of each class, what is drawn, a method each.
        first: the first of all.
        signal: whether the input is a signal, and its maps lie along it.

    Raises:
        InputError: they are of several inputs, not each class by each method once, or a map does not lie on the input.
    """

    def __init__(self, explanations: Sequence[HasMap]) -> None:
        if not explanations:
            raise InputError("no explanation was given")
        first = explanations[0]
        if any(one.sample != first.sample or not np.array_equal(one.given, first.given) for one in explanations):
            raise InputError("a table is of one input, these are explanations of several: draw one of each")
        axes = first.given.ndim - 1
        self.signal = axes == 1 and not first.labels
        shown: list[HasMap] = list(explanations)
        if axes == 3 and not any(one.labels for one in shown) and all(one.map.ndim == 3 for one in shown):
            shown = [SlicedVolume(one, MOST_PARTS) for one in shown]
        self._check_maps(shown)
        classes = list(dict.fromkeys((one.title, *one.answer) for one in shown))
        ways = list(dict.fromkeys(one.way for one in shown))
        found: dict[Any, HasMap] = {((one.title, *one.answer), one.way): one for one in shown}
        if len(found) != len(shown) or len(found) != len(classes) * len(ways):
            raise InputError(
                f"a table has each class by each method once, {len(classes)}×{len(ways)} here; "
                f"{len(shown)} explanations were given"
            )
        self.rows = [[found[row, way] for way in ways] for row in classes]
        self.first = shown[0]

    def _check_maps(self, shown: Sequence[HasMap]) -> None:
        """Refuses maps that do not lie on the input, or are of other parts of it than the others."""
        first = shown[0]
        for one in shown:
            positions = one.map.ndim - (1 if one.labels else 0)
            lies = one.map.ndim == 1 if self.signal else positions == 2 or (one.labels and one.map.ndim > 2)
            if not lies:
                raise InputError(
                    f"the map of {one.way} ({'×'.join(map(str, one.map.shape))}) does not lie on the input: "
                    f"it fits no table; take {one.method} alone, or another layer"
                )
            if one.labels != first.labels:
                raise InputError(
                    f"{first.way} has {len(first.labels) or 1} maps and {one.way} {len(one.labels) or 1}, not of the "
                    f"same parts of the input: they fit no table; take {one.method} alone, or another layer"
                )

    @property
    def each(self) -> list[HasMap]:
        """All of them, row by row."""
        return [one for row in self.rows for one in row]

    @property
    def columns(self) -> list[list[HasMap]]:
        """Of each method, its maps, a class each."""
        return [list(column) for column in zip(*self.rows, strict=True)]

    def heats(self, cmap: str | None) -> list[Heat]:
        """The colours of each method, one scale for all classes."""
        return [Heat.of(column, cmap) for column in self.columns]

    @property
    def title(self) -> str:
        """The classes."""
        return ", ".join(dict.fromkeys(row[0].title for row in self.rows))

    def facts(self, behind: str) -> list[str]:
        """What is true of all, and how the table is read.

        Args:
            behind: which channels of the input are shown.
        """
        count, ways = len(self.rows), len(self.rows[0])
        facts = [self.first.sample]
        facts += self.first.answer if count == 1 else []
        facts += [self.first.way, self.coarse(0)] if ways == 1 else []
        facts += [*self.first.common, behind]
        if len(self.first.labels) > MOST_PARTS:
            facts.append(f"{MOST_PARTS} of {len(self.first.labels)} {noun_of(self.first.labels)}")
        counted = [*([f"{count} classes"] if count > 1 else []), *([f"{ways} methods"] if ways > 1 else [])]
        scale = "one scale" if ways == 1 else "each method on its own scale"
        cut = [column[0].method for column in self.columns if column[0].of_pixels]
        if cut:
            of = f" of {', '.join(cut)}" if len(cut) < ways else ""
            facts.append(f"colours{of} up to the {PERCENTILE}th percentile")
        return [fact for fact in (*facts, ", ".join(counted), scale) if fact]

    @property
    def notes(self) -> list[str]:
        """The warnings, each once, with the classes that it is of where not of all; of many the first."""
        of: dict[str, list[str]] = {}
        for row in self.rows:
            for text in dict.fromkeys(text for one in row for text in one.warnings):
                of.setdefault(text, []).append(_short(row[0].title))
        told = []
        for text, titles in of.items():
            if text.startswith("the map is zero everywhere"):
                continue  # the picture says it
            several = f"{len(titles)} classes" if len(titles) > _MOST_NAMED else ", ".join(titles)
            told.append(text if len(titles) == len(self.rows) else f"{several}: {text}")
        if len(told) <= _MOST_NOTES:
            return told
        left = len(told) - _MOST_NOTES + 1
        return [*told[: _MOST_NOTES - 1], f"{left} more are among the warnings of the explanations"]

    def detail(self, column: int) -> str:
        """What is said of a method besides its name: its layer, its options, how coarse its maps are."""
        one = self.columns[column][0]
        rest = one.way.removeprefix(one.method).lstrip(", ")
        return " · ".join(filter(None, (rest, self.coarse(column))))

    def named(self, column: int) -> str:
        """A method with its layer, its options, and how coarse its maps are."""
        return " · ".join(filter(None, (self.columns[column][0].way, self.coarse(column))))

    def coarse(self, column: int) -> str:
        """How many cells a method's maps have."""
        one = self.columns[column][0]
        if isinstance(one, SlicedVolume):
            return one.enlarged
        positions = one.map.shape[len(one.map.shape) - (1 if self.signal else 2) :]
        return f"map of {'×'.join(map(str, positions))}" + (" positions" if self.signal else "")


def _short(title: str) -> str:
    return title if len(title) <= _LETTERS else title[: _LETTERS - 1] + "…"
