"""The axes of a map: views, frames or branches, each with a map of its own, then positions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.inputs.interpolate import resized
from onnxviz.messages import dims
from onnxviz.model.axes.arrangement import PartAxis


@dataclass(frozen=True)
class MapAxes:
    """What the axes of a map count.

    Attributes:
        parts: those in front, of which each entry is a map of its own.
        positions: a letter for each of the others, "HW", "W", "DHW"; "" where that is not told.
        picked: (letter, index) where the map is that of one view or frame of several.
    """

    parts: tuple[PartAxis, ...] = ()
    positions: str = ""
    picked: frozenset[tuple[str, int]] = frozenset()

    @property
    def letters(self) -> str:
        """A letter for each axis: "THW"."""
        return "".join(part.kind for part in self.parts) + self.positions

    @property
    def picked_labels(self) -> tuple[str, ...]:
        """`frame 1`, where the map is that of one frame of several."""
        return tuple(PartAxis.numbered(letter, index + 1).labels[index] for letter, index in sorted(self.picked))

    @property
    def labels(self) -> tuple[str, ...]:
        """A label for each map, in row-major order of the parts: `frame 0`, `frame 1`, …; none for a single map."""
        if not self.parts:
            return ()
        return tuple(", ".join(labels) for labels in product(*(part.labels for part in self.parts)))

    def lies_on(self, rank: int, other: MapAxes) -> bool:
        """Whether a map with these axes can be spread over `rank` axes of another tensor, those of `other`.

        Each of its positions is one of the other's; where the other's are not told, there are as many.
        """
        if other.positions and self.positions:
            return set(self.positions) <= set(other.positions)
        return self == other or len(self.positions) == rank - len(other.parts)

    def over(self, heat: NDArray[Any], size: tuple[int, ...], other: MapAxes, *, corners: bool = False) -> NDArray[Any]:
        """A map spread over those of another tensor, each interpolated linearly to the size of that one's positions.

        Views and frames that both have stay. A map without them goes with each of the other's, or with the one that it
        is the map of; those that only this map has are added up. It is constant
        along positions that only the other has.

        Args:
            heat: (parts…, positions…).
            size: of the other: (parts…, positions…).
            other: its axes.
            corners: how positions are interpolated; see `onnxviz.inputs.interpolate.resized`.

        Raises:
            InputError: the map has positions that the other has not, or what they are is not told.
        """
        if not self.lies_on(len(size), other):
            raise InputError(
                f"a map of {dims(heat.shape)} ({self.letters or '?'}) cannot be laid on {dims(size)} "
                f"({other.letters or '?'}): its positions are not those of the input"
            )
        if self.positions and other.positions:
            lead, own = len(self.parts), [letter for letter in other.positions if letter in self.positions]
            heat = heat.transpose(*range(lead), *(lead + self.positions.index(letter) for letter in own))
            for place, letter in enumerate(other.positions, lead):
                if letter not in own:  # as along one of size 1, which the model squeezed out
                    heat = np.expand_dims(heat, place)
        kinds = [part.kind for part in other.parts]
        for axis in reversed(range(len(self.parts))):
            if self.parts[axis].kind not in kinds:
                heat = heat.sum(axis=axis)
        mine = [part.kind for part in self.parts if part.kind in kinds]
        order = [mine.index(kind) for kind in kinds if kind in mine]
        heat = heat.transpose(*order, *range(len(mine), heat.ndim))
        lacking = [place for place, kind in enumerate(kinds) if kind not in mine]
        for place in lacking:
            heat = np.expand_dims(heat, place)
        parts = tuple(own if place in lacking else size[place] for place, own in enumerate(heat.shape[: len(kinds)]))
        found = np.broadcast_to(resized(heat, (*parts, *size[len(kinds) :]), corners=corners), size)
        for letter, index in self.picked:
            if letter in kinds and kinds.index(letter) in lacking:
                only = np.arange(size[kinds.index(letter)]) == index
                found = found * only.reshape([-1 if place == kinds.index(letter) else 1 for place in range(found.ndim)])
        return np.ascontiguousarray(found)
