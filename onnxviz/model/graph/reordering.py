"""Reordering of a tensor's axes: where they went, node by node, since a tensor whose axes are known.

Only what can be told from the graph itself; shapes are not inferred for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from onnx import NodeProto

from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.operators import OPERATORS, Family, Key, belongs, key_of
from onnxviz.model.graph.scopes import Scope, attribute, named_axes, operator
from onnxviz.model.graph.settled import value_inputs

_PLACE_BY_PLACE = Family.ELEMENTWISE | Family.BROADCASTING | Family.PER_AXIS | Family.NORMALISATION | Family.SOFTMAX
_SUMMARISING = Family.REDUCTION | Family.GLOBAL_POOLING | Family.CUMULATIVE


@dataclass(frozen=True)
class Reordering:
    """How a tensor's elements lie, compared with those of the tensor that it was made of.

    Attributes:
        order: which axis of that tensor each axis is, −1 for a new one of size 1; None for the axes as they were.
        reshaped: whether the axes are others now; the elements are in the order of `order` still.
        statistic: whether it is no longer an element for each element, such as a mean; nothing else is known then.
    """

    order: tuple[int, ...] | None = None
    reshaped: bool = False
    statistic: bool = False

    @property
    def channel_axis(self) -> int | None:
        """The axis that was axis 1; None where the axes are others now."""
        if self.reshaped or self.statistic:
            return None
        return 1 if self.order is None else self.order.index(1) if 1 in self.order else None

    @property
    def as_made(self) -> bool:
        """Whether it is (N, C, spatial…) as the first tensor is, but for axes of size 1 among the spatial ones."""
        there = [axis for axis in self.order or () if axis >= 0]
        return self.channel_axis == 1 and there == sorted(there)


_STATISTIC = Reordering(statistic=True)


def known(node: NodeProto) -> bool:
    """Whether it can be told what the node does to the arrangement."""
    return _known(key_of(node))


@cache
def _known(key: Key) -> bool:
    families = OPERATORS.get(key, Family(0))
    return (key[0] == "" and key[1] in _RULES) or bool(families & (_PLACE_BY_PLACE | _SUMMARISING))


class Arrangements:
    """Follows the arrangement from one tensor on.

    Args:
        scope: the graph.
        constants: finds shapes and axes.
        tensor: where it begins, an (N, C, spatial…) tensor.
        rank: number of its axes; None if unknown.
        channels: size of its axis 1; None if unknown.
    """

    def __init__(self, scope: Scope, constants: Constants, tensor: str, rank: int | None, channels: int | None) -> None:
        self._scope = scope
        self._constants = constants
        self._rank = rank
        self._channels = channels
        self._of: dict[str, Reordering] = {tensor: Reordering()}

    def of(self, tensor: str) -> Reordering | None:
        """The arrangement of a tensor that was reached; None where it cannot be told."""
        return self._of.get(tensor)

    def channel_axes(self, tensor: str) -> tuple[int, ...]:
        """The axis of a tensor that is the channels, counted from the first and from behind the last."""
        found = self._of.get(tensor, _STATISTIC)
        axis, order = found.channel_axis, self._order(found)
        return () if axis is None else (axis,) if order is None else (axis, axis - len(order))

    def place(self, tensor: str, arrangement: Reordering) -> None:
        """States the arrangement of a tensor."""
        self._of[tensor] = arrangement

    def pass_through(self, nodes: Sequence[NodeProto]) -> None:
        """Works out the arrangement of what the nodes make, which stand in an order in which they can run."""
        for node in nodes:
            given = [self._of[name] for name in value_inputs(node) if name in self._of]
            rule = _RULES.get(operator(node))
            if rule is not None:
                found = rule(self, node, given)
            elif belongs(node, _SUMMARISING):
                found = _STATISTIC
            else:
                found = self._together(node, given)
            if found is not None:
                self._of.update((name, found) for name in node.output if name)

    def _together(self, node: NodeProto, given: Sequence[Reordering]) -> Reordering | None:
        """Several tensors, place by place: those that have an element for each element must lie alike."""
        elements = {one for one in given if not one.statistic}
        return (elements.pop() if len(elements) == 1 else None) if elements else _STATISTIC

    def _transposed(self, node: NodeProto, given: Sequence[Reordering]) -> Reordering | None:
        before = given[0] if given else None
        if before is None or before.statistic:
            return before
        moves, order = attribute(node, "perm"), self._order(before)
        if moves is None and order is not None:
            moves = range(len(order))[::-1]
        if moves is None or before.reshaped:
            return None
        return self._in_order(tuple(moves) if order is None else tuple(order[axis] for axis in moves))

    def _reshaped(self, node: NodeProto, given: Sequence[Reordering]) -> Reordering | None:
        before = given[0] if given else None
        if before is None or before.statistic:
            return before
        order = self._order(before)
        axes = self._axes(node) if belongs(node, Family.UNIT_AXES) else None
        if axes is not None and order is not None and not before.reshaped:
            if node.op_type == "Squeeze":
                gone = {axis % len(order) for axis in axes}
                return self._in_order(tuple(axis for place, axis in enumerate(order) if place not in gone))
            rank = len(order) + len(axes)
            new, old = {axis % rank for axis in axes}, iter(order)
            return self._in_order(tuple(-1 if place in new else next(old) for place in range(rank)))
        wanted = self._sizes(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
        if before.reshaped and wanted is not None and order is not None and len(wanted) == len(order):
            channels = wanted[order.index(1)] if 1 in order else self._channels
            if channels is None or self._channels in (None, channels):
                return replace(before, reshaped=False)
        return replace(before, reshaped=True)

    def _order(self, before: Reordering) -> tuple[int, ...] | None:
        if before.order is None and self._rank is not None:
            return tuple(range(self._rank))
        return before.order

    def _in_order(self, order: tuple[int, ...]) -> Reordering:
        same = order == tuple(range(len(order))) and self._rank in (None, len(order))
        return Reordering(None if same else order)

    def _axes(self, node: NodeProto) -> tuple[int, ...] | None:
        return named_axes(node, self._constants.value(self._scope, node.input[1]) if len(node.input) > 1 else None)

    def _sizes(self, tensor: str, depth: int = 8) -> list[int | None] | None:
        """The sizes that a shape tensor holds, None for each that is computed; None if not even their number shows."""
        found = self._constants.value(self._scope, tensor)
        if found is not None:
            return [int(size) for size in found.reshape(-1)]
        node = self._scope.producers.get(tensor)
        if node is None or not depth:
            return None
        if node.op_type == "Concat":
            parts = [self._sizes(name, depth - 1) for name in node.input]
            return [size for part in parts if part is not None for size in part] if None not in parts else None
        if belongs(node, Family.IDENTITY):
            return self._sizes(node.input[0], depth - 1)
        if node.op_type == "Shape":
            measured = self._of.get(node.input[0])
            if measured is None or measured.reshaped or measured.statistic or self._rank is None:
                return None
            every: list[int | None] = [None] * self._rank
            return every[attribute(node, "start") : attribute(node, "end")]
        if node.op_type == "Slice" and len(node.input) > 2:
            ends = [self._constants.value(self._scope, name) for name in node.input[1:3]]
            known_ends = [int(end.reshape(-1)[0]) for end in ends if end is not None and end.size == 1]
            return [None] * max(0, known_ends[1] - known_ends[0]) if len(known_ends) == 2 else None
        # A size picked from a shape, made a vector of one.
        return [None] if node.op_type == "Unsqueeze" else None

    def _as_given(self, node: NodeProto, given: Sequence[Reordering]) -> Reordering | None:
        return given[0] if given else None

    def _of_statistics(self, node: NodeProto, given: Sequence[Reordering]) -> Reordering | None:
        return _STATISTIC if given and all(one.statistic for one in given) else None

    def _statistic(self, node: NodeProto, given: Sequence[Reordering]) -> Reordering | None:
        return _STATISTIC


_Rule = Callable[[Arrangements, NodeProto, Sequence[Reordering]], Reordering | None]
_RULES: Mapping[str, _Rule] = {
    "Transpose": Arrangements._transposed,
    "Flatten": Arrangements._reshaped,
    "Reshape": Arrangements._reshaped,
    "Squeeze": Arrangements._reshaped,
    "Unsqueeze": Arrangements._reshaped,
    "Split": Arrangements._as_given,
    "Expand": Arrangements._of_statistics,
    "If": Arrangements._of_statistics,
    "Tile": Arrangements._of_statistics,
    "AveragePool": Arrangements._statistic,
    "Pad": Arrangements._statistic,
    "TopK": Arrangements._statistic,
}
