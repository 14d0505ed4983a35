"""The arrangement of a tensor: which of its axes are samples, views, channels and positions, and it set out so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.model.axes.factors import (
    CONSTANT,
    PARTS,
    POSITIONS,
    UNTOLD,
    Axes,
    Axis,
    Branch,
    Factor,
    fresh,
    kinds,
    length,
)

__all__ = [
    "PARTS",
    "Arrangement",
    "Entries",
    "PartAxis",
    "UntoldAxesError",
    "arranged",
    "entries_of",
    "picked_entries",
    "written",
]
_NOUNS = {"V": "view", "T": "frame", "S": "branch", "N": "sample", "D": "slice", "H": "row", "W": "column"}


@dataclass(frozen=True)
class PartAxis:
    """An axis of views, frames or branches, each of which has a map of its own.

    Attributes:
        kind: "V" for views, "T" for frames, "S" for tensors that the model stacked.
        branches: what each is.
    """

    kind: str
    branches: tuple[Branch, ...]

    @classmethod
    def numbered(cls, kind: str, size: int) -> PartAxis:
        """Views or frames by their number."""
        return cls(kind, tuple(Branch(str(number)) for number in range(size)))

    @property
    def labels(self) -> tuple[str, ...]:
        """`frame 0`, `frame 1`, …; the inputs' names, where each is one."""
        noun = _NOUNS[self.kind]
        named = self.kind == "S" and all(branch.label for branch in self.branches)
        return tuple(
            branch.label if named else f"{noun} {branch.label or number}" for number, branch in enumerate(self.branches)
        )


@dataclass(frozen=True)
class Arrangement:
    """How one sample's values of a tensor are set out: (parts…, channels, positions…).

    Attributes:
        parts: the axes of views, frames and branches.
        positions: a letter for each axis of positions: "HW", "W", "DHW".
        extra: how many entries beside the positions are left out, such as a class token.
    """

    parts: tuple[PartAxis, ...]
    positions: str
    extra: int
    _axes: Axes

    def of(self, array: NDArray[Any], sample: int = 0) -> NDArray[Any]:
        """The values of one sample, (parts…, C, positions…); C is 1 where the tensor has no channels."""
        kept: list[Factor] = []
        for place, axis in enumerate(self._axes):
            begin, inner = _stretch(axis)
            array = array.take(range(begin, begin + length(inner)), place)
            kept.extend(inner)
        array = array.reshape([factor.size for factor in kept])
        for place in reversed(range(len(kept))):
            if kept[place].kind == "N":
                array = array.take((sample - kept[place].start) % kept[place].whole, place)
                del kept[place]
        order: list[int] = []
        shape: list[int] = []
        groups = [_parts(kept, part.kind) for part in self.parts]
        listed = {*self.positions, *(part.kind for part in self.parts)}
        groups += [[place for place, factor in enumerate(kept) if factor.kind not in listed]]
        groups += [_parts(kept, letter) for letter in self.positions]
        for group in groups:
            order += group
            shape.append(math.prod(kept[place].size for place in group))
        array = array.transpose(order).reshape(shape)
        for number, letter in enumerate(self.positions, len(self.parts) + 1):
            whole = _one([kept[place] for place in _parts(kept, letter)], _NOUNS[letter])
            if whole.start and not whole.cut:
                array = np.roll(array, whole.start // whole.step, number)
        return array


@dataclass(frozen=True)
class Entries:
    """What the entries of an axis are that counts samples and their views, frames or branches.

    Attributes:
        noun: what there are several of for each sample: "view", "frame", "branch".
        samples: which sample each belongs to.
        labels: which of that sample's each is: `view 0`.
    """

    noun: str
    samples: tuple[int, ...]
    labels: tuple[str, ...]

    @property
    def plural(self) -> str:
        """`views`, `frames`, `branches`."""
        return self.noun + ("es" if self.noun.endswith("ch") else "s")

    def picked(self, places: Sequence[int]) -> Entries:
        """Those at some places."""
        return Entries(
            self.noun, tuple(self.samples[place] for place in places), tuple(self.labels[place] for place in places)
        )


def entries_of(axis: Axis) -> Entries | None:
    """What the entries of an axis are; None where it counts something else, or samples alone."""
    large = [factor for factor in axis if factor.size > 1]
    kinds_there = [factor.kind for factor in large]
    if not set(kinds_there) & set(PARTS) or not set(kinds_there) <= {"N", *PARTS}:
        return None
    parts = [PartAxis(f.kind, tuple(f.branch(i) for i in range(f.size))).labels for f in large]
    grid = np.indices([factor.size for factor in large]).reshape(len(large), -1).T.tolist()
    samples = [sum(index for index, kind in zip(row, kinds_there, strict=True) if kind == "N") for row in grid]
    labels = [
        ", ".join(parts[place][index] for place, index in enumerate(row) if kinds_there[place] != "N") for row in grid
    ]
    return Entries(_NOUNS[next(kind for kind in kinds_there if kind != "N")], tuple(samples), tuple(labels))


def picked_entries(kind: str, index: int, samples: int) -> Entries:
    """Of each sample one view or frame."""
    return Entries(_NOUNS[kind], tuple(range(samples)), (f"{_NOUNS[kind]} {index}",) * samples)


class UntoldAxesError(ValueError):
    """What a tensor's axes count cannot be told; the text says which."""


def arranged(axes: Axes) -> Arrangement:
    """How a tensor with these axes is set out as maps.

    Raises:
        UntoldAxesError: one of them is made of what could not be followed, or two count the same.
    """
    axes = _shuffled(axes)
    inner = [_stretch(axis)[1] for axis in axes]
    extra = sum(length(axis) - length(told) for axis, told in zip(axes, inner, strict=True))
    factors = [factor for axis in inner for factor in axis]
    for axis in inner:
        unclear = [factor for factor in axis if factor.kind in (UNTOLD, CONSTANT) and factor.size > 1]
        if unclear:
            raise UntoldAxesError(f"what its axis of {length(axis)} counts")
    there = {factor.kind for factor in factors}
    parts = []
    for kind in dict.fromkeys(factor.kind for factor in factors if factor.kind in PARTS):
        group = [factors[place] for place in _parts(factors, kind)]
        size = math.prod(factor.size for factor in group)
        whole = _one(group, _NOUNS[kind])
        if size == 1 and whole.cut:
            continue  # the map of one of several: that one's
        parts.append(PartAxis(kind, tuple(whole.branch(index) for index in range(size))))
    for letter in POSITIONS:
        if letter in there:
            _one([factors[place] for place in _parts(factors, letter)], _NOUNS[letter])
    return Arrangement(tuple(parts), "".join(letter for letter in POSITIONS if letter in there), extra, axes)


def _shuffled(axes: Axes) -> Axes:
    """Positions into which channels were put, as in sub-pixel convolution, are that many more positions."""
    told = [kinds(axis) for axis in axes]
    if "C" not in told:
        return axes
    return tuple(
        (fresh(kind[0], length(axis)),) if len(kind) == 2 and kind[0] in POSITIONS and kind[1] == "C" else axis
        for axis, kind in zip(axes, told, strict=True)
    )


def _stretch(axis: Axis) -> tuple[int, Axis]:
    """The first index of the piece of an axis that has positions, and what it is made of; else the whole axis."""
    if len(axis) != 1 or not axis[0].pieces:
        return 0, axis
    place, found = 0, []
    for piece in axis[0].pieces:
        if set(kinds(piece)) & set(POSITIONS):
            found.append((place, piece))
        place += length(piece)
    return found[0] if len(found) == 1 else (0, axis)


def _parts(factors: Sequence[Factor], kind: str) -> list[int]:
    """The places of the factors of one kind, the outermost first: those of cells, then those inside a cell."""
    places = [place for place, factor in enumerate(factors) if factor.kind == kind]
    inside: dict[object, int] = {}
    for factor in (factors[place] for place in places if factors[place].size > 1):
        inside[factor.root] = min(factor.step, inside.get(factor.root, factor.step))

    def outermost(place: int) -> tuple[bool, int, int]:
        factor = factors[place]
        return inside.get(factor.root, 1) == 1, -factor.step, factor.size

    return sorted(places, key=outermost)


def _one(group: Sequence[Factor], noun: str) -> Factor:
    """What the factors of one kind, the outermost first, are parts of: a whole, or a grid of its cells.

    Cells may each have positions of their own, where a network ran on tiles of the picture: those of another whole.

    Raises:
        UntoldAxesError: they are not the parts of one, each once, down to some cell.
    """
    large = [factor for factor in group if factor.size > 1] or group[:1]
    first = large[0]
    size = math.prod(factor.size for factor in large)
    tiles = [factor for factor in large if factor.root == first.root]
    step = _cell(tiles, noun)
    if len(tiles) < len(large):
        inside = large[len(tiles) :]
        starts = first.start or inside[0].start
        if first.kind not in POSITIONS or step == 1 or starts or _cell(inside, noun) != 1:
            raise UntoldAxesError(f"which of several axes counts its {noun}s")
        return replace(first, size=size, whole=size, step=1)
    if first.start % step:  # rolled by less than a cell
        raise UntoldAxesError(f"where its {noun}s lie")
    return replace(first, size=size, step=step)


def _cell(factors: Sequence[Factor], noun: str) -> int:
    """Of how many of the whole the innermost of some factors makes a cell; they are the parts of one, outermost first.

    Raises:
        UntoldAxesError: they are not.
    """
    first = factors[0]
    reached = first.step * first.size if first.cut else first.whole
    for factor in factors:
        if factor.root != first.root or factor.step * factor.size != reached:
            raise UntoldAxesError(f"which of several axes counts its {noun}s")
        reached = factor.step
    return reached


def written(axes: Axes) -> str:
    """What is known of some axes, as `--axes` takes it: `N*V,C,H,W`, `?` for what is not known."""
    words = []
    for axis in axes:
        first, inner = _stretch(axis)
        after = length(axis) - first - length(inner)
        text = "*".join(dict.fromkeys(factor.kind or "?" for factor in inner)) or "1"
        words.append(f"{first}+" * bool(first) + text + f"+{after}" * bool(after))
    return ",".join(words)
