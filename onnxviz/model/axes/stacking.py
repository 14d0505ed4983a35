"""Tensors combined: what their axes are where they are stretched to one shape, or put one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnxviz.model.axes.axis_step import TracedTensor
from onnxviz.model.axes.factors import (
    CONSTANT,
    PARTS,
    POSITIONS,
    UNTOLD,
    Axes,
    Axis,
    Branch,
    fresh,
    in_a_row,
    joined,
    kinds,
    length,
    merged,
)


def broadcast(operands: Sequence[Axes]) -> Axes:
    """The axes of tensors that are aligned at their ends and stretched to one shape."""
    rank = max(len(axes) for axes in operands)
    found: list[Axis] = [()] * rank
    for axes in operands:
        for place, axis in enumerate(axes, rank - len(axes)):
            found[place] = joined(found[place], axis)
    return tuple(found)


def stacked(operands: Sequence[TracedTensor], place: int) -> Axes:
    """The axes of tensors that are put one behind the other along axis `place`."""
    around = list(broadcast([(*one.axes[:place], (), *one.axes[place + 1 :]) for one in operands]))
    around[place] = _in_a_row([one.axes[place] for one in operands], operands)
    if around[place] and around[place][0].kind == "S":
        _pieces(around, place, operands)
    return tuple(around)


def _pieces(around: list[Axis], place: int, operands: Sequence[TracedTensor]) -> None:
    """Branches that are stretches of one picture: tiles of it, where they follow one another, else untold."""
    for other in range(len(around)):
        axes = [one.axes[other] for one in operands]
        if other == place or not all(len(axis) == 1 and axis[0].cut for axis in axes):
            continue
        if len({axis[0].start for axis in axes}) == 1 or axes[0][0].kind not in POSITIONS:
            continue
        first, outer = axes[0][0], around[place][0]
        following = in_a_row(axes)
        if len(following) == 1 and following[0].size == first.whole and not following[0].pieces and not first.start:
            whole = fresh(first.kind, first.whole)
            outer = replace(whole, size=len(axes), step=first.size)
            around[other] = (replace(whole, size=first.size),)
        else:
            outer = fresh(UNTOLD, outer.size)
        around[place] = (outer, *around[place][1:])


def _in_a_row(axes: Sequence[Axis], operands: Sequence[TracedTensor]) -> Axis:
    """One axis of several, one behind the other: tensors that hold the same kind of thing become branches."""
    if len(axes) == 1:
        return axes[0]
    told = {kinds(axis) for axis in axes}
    sizes = {length(axis) for axis in axes}
    small = [tuple(one for one in axis if one.size > 1 or one.kind == "N") for axis in axes]
    outer = all(one.inputs for one in operands) and len(sizes) == 1 and len(told) == 1
    kind = kinds(small[0])
    whole = in_a_row(axes)
    if not outer or (len(whole) == 1 and not whole[0].pieces and whole[0].kind != CONSTANT) or kind == "C":
        return whole
    parts, branches = _branches(operands)
    return merged((fresh(parts, len(axes), branches), *small[0]))


def _branches(operands: Sequence[TracedTensor]) -> tuple[str, tuple[Branch, ...]]:
    """What tells stacked tensors apart: the inputs that they come from, or what was picked for each."""
    inputs = [one.inputs for one in operands]
    if len(set(inputs)) == len(inputs) and all(len(one) == 1 for one in inputs):
        return "S", tuple(Branch(next(iter(one)), one) for one in inputs)
    for kind in (*PARTS, *"0123456789"):
        picks = [[index for own, index in one.picks if own == kind] for one in operands]
        if all(len(one) == 1 for one in picks) and len({one[0] for one in picks}) == len(picks):
            order = tuple(Branch(str(one[0]), own) for one, own in zip(picks, inputs, strict=True))
            return kind, order
    return "S", tuple(Branch("", own) for own in inputs)
