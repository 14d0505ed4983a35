"""Factors of axes: what an axis of a tensor is made of, and what becomes of that when axes are merged, split or cut.

An axis is a tuple of factors in row-major order, the last of which runs fastest: (N, V) where the views of all samples
were flattened into the batch, (H, W) where a picture was flattened to tokens. Every rearrangement keeps what each
factor stands for, so that a map can be set out again as the picture that it is of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

# What a factor counts. N: samples; V, T: the views or frames of a sample; S: branches that the graph stacked; C:
# channels, features, heads; D, H, W: positions; CONSTANT: of a tensor that no input reaches; UNTOLD: nobody knows.
PARTS, POSITIONS = "VTS", "DHW"
CONSTANT, UNTOLD = "", "?"
_OPAQUE = ("C", CONSTANT, UNTOLD)


@dataclass(frozen=True)
class Branch:
    """One of several tensors that a graph stacked.

    Attributes:
        label: the input that it comes from, or the index that it was taken from; "" where neither tells it apart.
        inputs: the model's inputs that it depends on.
    """

    label: str
    inputs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Factor:
    """What one loop over an axis counts: index i stands for start + step·i (mod whole) of what `kind` counts.

    Attributes:
        kind: see above; in a rearrangement of unnamed axes, a digit.
        size: of the factor.
        whole: how many there are of what it counts.
        step: how many of them one step goes on: 1, but for the outer part of a factor that was split.
        start: the one that the first index stands for.
        cut: whether it is a stretch of the whole.
        branches: what stacked it, one for each of the whole.
        pieces: axes that were put one behind the other, of which nothing is known but that.
    """

    kind: str
    size: int
    whole: int
    step: int = 1
    start: int = 0
    cut: bool = False
    branches: tuple[Branch, ...] = ()
    pieces: tuple[tuple[Factor, ...], ...] = ()

    @property
    def root(self) -> tuple[object, ...]:
        """What factors have in common that are parts of one."""
        return self.kind, self.whole, self.start, self.cut, self.branches

    def split(self, outer: int) -> tuple[Factor, Factor]:
        """The factor as two, of which the first has the size `outer`, which divides its own."""
        inner = self.size // outer
        if self.kind in _OPAQUE:
            return fresh(self.kind, outer), fresh(self.kind, inner)
        base = fresh(self.kind, self.size) if self.cut else self
        return replace(base, size=outer, step=base.step * inner), replace(base, size=inner)

    def stretch(self, first: int, size: int) -> Factor:
        """Those from index `first` on."""
        if self.kind in _OPAQUE or self.step != 1 or (self.size != self.whole and not self.cut):
            return fresh(self.kind if self.kind in _OPAQUE else UNTOLD, size)
        start = (self.start + first) % self.whole
        return replace(self, size=size, start=start, cut=self.cut or size < self.whole)

    def branch(self, index: int) -> Branch:
        """What stands at an index: the branch that was stacked, or the index itself as its label."""
        place = (self.start + self.step * index) % self.whole
        return self.branches[place] if self.branches else Branch("" if self.kind == "S" else str(place))


Axis = tuple[Factor, ...]
Axes = tuple[Axis, ...]


def fresh(kind: str, size: int, branches: tuple[Branch, ...] = ()) -> Factor:
    """A whole that no other factor is a part of."""
    return Factor(kind, size, size, branches=branches)


def axis_of(kind: str, size: int) -> Axis:
    """An axis of one kind; nothing is known of one of size 1."""
    return () if size == 1 and kind in _OPAQUE else (fresh(kind, size),)


def untold(sizes: Sequence[int]) -> Axes:
    """Axes of which nothing is known but their sizes."""
    return tuple(axis_of(UNTOLD, size) for size in sizes)


def length(axis: Axis) -> int:
    """The size of an axis."""
    return math.prod(factor.size for factor in axis)


def kinds(axis: Axis) -> str:
    """What an axis counts, a letter for each factor; those of size 1 are left out where there are others."""
    large = [factor for factor in axis if factor.size > 1]
    return "".join(factor.kind for factor in large or axis)


def merged(axis: Sequence[Factor]) -> Axis:
    """An axis in which neighbours that are parts of one are one again."""
    found: list[Factor] = []
    for factor in axis:
        before = found[-1] if found else None
        if before is not None and before.kind == factor.kind and factor.kind in _OPAQUE and not factor.pieces:
            found[-1] = fresh(factor.kind, before.size * factor.size)
        elif before is not None and before.root == factor.root and before.step == factor.step * factor.size:
            found[-1] = replace(before, size=before.size * factor.size, step=factor.step)
        else:
            found.append(factor)
    return tuple(found)


def regrouped(axes: Axes, sizes: Sequence[int]) -> Axes:
    """The axes of a tensor that was given another shape, its elements in the same order."""
    waiting = [factor for axis in axes for factor in axis]
    found: list[Axis] = []
    for size in sizes:
        group: list[Factor] = []
        if size == 1 and waiting and waiting[0].size == 1:
            group = [waiting.pop(0)]
        reached = 1
        while reached < size and waiting:
            rest, first = size // reached, waiting.pop(0)
            if first.size > 1 and first.size % rest == 0 and rest < first.size and not first.pieces:
                first, left = first.split(rest)
                waiting.insert(0, left)
            if rest % first.size:
                return untold(sizes)
            group.append(first)
            reached *= first.size
        if reached != size:
            return untold(sizes)
        # A position of size 1 says nothing beside others; one sample or view is still one.
        keep = [one for one in group if one.size > 1 or len(group) == 1 or one.kind in "N" + PARTS]
        found.append(merged(keep))
    return tuple(found) if all(factor.size == 1 for factor in waiting) else untold(sizes)


def joined(first: Axis, second: Axis) -> Axis:
    """One axis of two tensors that are combined element by element, of the same size or stretched to one.

    Where only one of them tells what it counts, that is it: channels are what every learnt mixture gives, so they yield
    to samples, parts and positions, as where a residual sum leads around one.
    """
    if first == second or not second or (length(second) == 1 and length(first) > 1):
        return first
    if not first or (length(first) == 1 and length(second) > 1):
        return second
    ranks = [_told(axis) for axis in (first, second)]
    if ranks[0] != ranks[1]:
        return first if ranks[0] > ranks[1] else second
    if kinds(first) == kinds(second) and [f.size for f in first] == [f.size for f in second]:
        return first
    return axis_of((CONSTANT, UNTOLD, "C", UNTOLD)[ranks[0]], length(first))


def _told(axis: Axis) -> int:
    """How much an axis tells: 0 of a constant, 1 of the untold, 2 of channels, 3 of more."""
    order = (CONSTANT, UNTOLD, "C")
    return max((3 if f.pieces or f.kind not in order else order.index(f.kind) for f in axis), default=0)


def resized(axis: Axis, size: int) -> Axis:
    """An axis that was padded, pooled or sampled to another size: of the same kind, but no longer the same places."""
    if length(axis) == size:
        return axis
    told = {factor.kind for factor in axis if factor.size > 1 or len(axis) == 1}
    return axis_of(told.pop() if len(told) == 1 else UNTOLD, size)


def cut(axis: Axis, first: int, size: int) -> Axis:
    """A stretch of an axis, from index `first` on."""
    if not axis or size == length(axis):
        return axis
    outer, inner = axis[0], length(axis[1:])
    if len(axis) == 1 and outer.pieces:
        return _cut_pieces(outer.pieces, first, size)
    if first % inner or size % inner:
        return axis_of(UNTOLD if set(kinds(axis)) - {"C"} else "C", size)
    return (outer.stretch(first // inner, size // inner), *axis[1:])


def _cut_pieces(pieces: tuple[Axis, ...], first: int, size: int) -> Axis:
    left, place = [], 0
    for piece in pieces:
        start, end = max(first - place, 0), min(first + size - place, length(piece))
        if start < end:
            left.append(cut(piece, start, end - start))
        place += length(piece)
    return left[0] if len(left) == 1 else in_a_row(left)


def in_a_row(pieces: Sequence[Axis]) -> Axis:
    """An axis of several one behind the other: one again where they are stretches of one, in order.

    A stretch that constants fill up to the size of the whole is the whole, moved: frames that see the one before.
    """
    flat = [
        inner for piece in pieces for inner in (piece[0].pieces if len(piece) == 1 and piece[0].pieces else [piece])
    ]
    size = sum(length(piece) for piece in flat)
    told = {kinds(piece) for piece in flat} - {CONSTANT}
    if told <= {"C"} or UNTOLD in told:
        return axis_of(min(told, default=CONSTANT), size)
    first = flat[0][0] if len(flat[0]) == 1 else None
    if first is not None and all(len(piece) == 1 and _follows(flat, first, place) for place, piece in enumerate(flat)):
        return (replace(first, size=size, cut=size != first.whole),)
    roots = {(piece[0].kind, piece[0].whole, piece[0].branches) for piece in flat if len(piece) == 1}
    if len(roots) == 1 and all(len(piece) == 1 for piece in flat if kinds(piece)) and size == next(iter(roots))[1]:
        kind, whole, branches = next(iter(roots))
        return (fresh(kind, whole, branches),)
    return (Factor(UNTOLD, size, size, pieces=tuple(flat)),)


def _follows(pieces: Sequence[Axis], first: Factor, place: int) -> bool:
    """Whether a stretch begins where those before it end."""
    factor, before = pieces[place][0], sum(length(piece) for piece in pieces[:place])
    same = (factor.kind, factor.whole, factor.branches) == (first.kind, first.whole, first.branches)
    starts = (first.start + before) % first.whole == factor.start
    return same and starts and factor.step == 1 and before + factor.size <= first.whole
