"""Activations and normalisations as exporters write them: one operator, or the arithmetic that it stands for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

import numpy as np
from onnx import NodeProto

from onnxviz.messages import printable
from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.islands import Island, Islands
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.reordering import known
from onnxviz.model.graph.scopes import Scope, attribute, operator
from onnxviz.model.graph.settled import Settled

_PLACE_BY_PLACE = Family.ELEMENTWISE | Family.BROADCASTING | Family.PER_AXIS
_SCALE_OR_SHIFT = Family.AFFINE | Family.IDENTITY | Family.QUANTISING | Family.DEQUANTISING | Family.DROPOUT
_POOLED = Family.REDUCTION | Family.POOLING | Family.GLOBAL_POOLING
_OF_SEVERAL_PLACES = _POOLED | Family.NORMALISATION
_SILENT = Family.IDENTITY | Family.RESHAPING | Family.QUANTISING | Family.DEQUANTISING | Family.DROPOUT
_NAMED = 4
_CLOSE = 1e-3


class Passage(Enum):
    """What an island does to the values that pass through it."""

    MOVE = "another order or shape"
    LINK = "scaled, shifted, rounded or converted"
    NORMALISATION = "a mean subtracted or divided by a spread"
    ACTIVATION = "a nonlinear function, place by place"
    OTHER = "anything else"


class Steps:
    """The islands behind a tensor, and what each does.

    Args:
        scope: the graph.
        constants: finds factors and bounds.
        settled: tells tensors that carry no value of the input.
    """

    def __init__(self, scope: Scope, constants: Constants, settled: Settled) -> None:
        self._scope = scope
        self._constants = constants
        self._islands = Islands(scope, settled, known)
        self.after = self._islands.after

    def kind(self, island: Island, channel_axes: Sequence[int]) -> Passage:
        """What the island does.

        Args:
            island: of this graph.
            channel_axes: the axis of the tensor that it begins at that is the channels, in each way to count it.
        """
        nodes = island.nodes
        if len(nodes) == 1 and belongs(nodes[0], Family.ACTIVATION):
            return self._of_one_node(nodes[0], island.start)
        if all(_moves(node) for node in nodes):
            return Passage.MOVE
        if all(self._linear(node) for node in nodes):
            return Passage.LINK
        if any(belongs(node, _OF_SEVERAL_PLACES) and not self._linear(node) for node in nodes):
            return self._of_several_places(nodes)
        if len(nodes) == 1:
            return self._of_one_node(nodes[0], island.start)
        if operator(nodes[0]) == "Split":
            return Passage.ACTIVATION if self._gated(nodes, channel_axes) else Passage.OTHER
        if any(belongs(node, Family.SOFTMAX) for node in nodes):
            return Passage.OTHER
        place_by_place = all(belongs(node, _PLACE_BY_PLACE) or operator(node) == "Transpose" for node in nodes)
        return Passage.ACTIVATION if place_by_place and not self._skips(island) else Passage.OTHER

    def whole(self, activation: Island, before: Island | None) -> tuple[str, tuple[str, ...]]:
        """The end of an activation of which `activation` is the first nonlinear part, and what else it is made of.

        Exporters end some in a factor or a logarithm of its own: log sigmoid(x), −softplus(−x), softplus(b·x)/b,
        x·(1+erf(x/√2)) **/ 2**, x·relu6(x+3) **/ 6**, log(1+exp x).

        Args:
            activation: an island of kind ACTIVATION.
            before: the island before it, None if it is the first.

        Returns:
            The tensor, and operators in order.
        """
        end, more = activation.end, list[str]()
        low, high = self._bounds(activation)
        while isinstance(after := self.after(end), Island) and len(after.nodes) == 1:
            node = after.nodes[0]
            bounds = self._bounds(after)
            if _opposite((low, high), bounds):
                low, high = max(low, bounds[0]), min(high, bounds[1])
            elif operator(node) == "Log" and belongs(activation.nodes[-1], Family.PROBABILITY):
                return after.end, (*more, "Log")
            elif operator(activation.nodes[-1]) == "Exp" and len(activation.nodes) == 1:
                return self._of_exponential(after) or (end, tuple(more))
            else:
                factor = self._factor(after)
                own = factor is not None and self._completes(factor, activation, before, high - low)
                return (after.end, (*more, node.op_type)) if own else (end, tuple(more))
            end = after.end
            more.append(node.op_type)
        return end, tuple(more)

    def _of_several_places(self, nodes: Sequence[NodeProto]) -> Passage:
        """A normalisation where arithmetic gives a quotient or subtracts a mean; a pooling or a gate is none."""
        if any(belongs(node, Family.CUMULATIVE) for node in nodes):
            # Sparsemax (Martins & Astudillo 2016) subtracts a threshold, from sums of sorted values; a Relu follows.
            return Passage.NORMALISATION if any(operator(node) == "TopK" for node in nodes) else Passage.OTHER
        if not all(belongs(node, Family.ARITHMETIC | _OF_SEVERAL_PLACES) or _moves(node) for node in nodes):
            return Passage.OTHER
        others = [node for node in nodes if not belongs(node, _POOLED)]
        subtracted = any(operator(node) == "Sub" for node in others) or any(operator(node) == "Neg" for node in others)
        centred = subtracted and all(self._linear(node) or _moves(node) for node in others)
        means = not any(belongs(node, Family.POOLING) for node in nodes)
        return Passage.NORMALISATION if any(map(self._divides, nodes)) or (centred and means) else Passage.OTHER

    def _skips(self, island: Island) -> bool:
        """Whether the island adds what it begins at to an activation of it: a connection that skips the activation."""
        last = island.nodes[-1]
        if not belongs(last, Family.MERGING):
            return False
        linear, active = {island.start}, set[str]()
        for node in island.nodes:
            if self._linear(node) and linear.issuperset(self._islands.fed(node)):
                linear.update(node.output)
            if belongs(node, Family.ACTIVATION):
                active.update(node.output)
        return any(name in linear for name in last.input) and any(name in active for name in last.input)

    # ---- single nodes

    def _linear(self, node: NodeProto) -> bool:
        """Whether the result is a multiple of what is fed to the node, plus something constant."""
        if not belongs(node, _SCALE_OR_SHIFT):
            return False
        fed = [name for name in node.input if name in self._islands.fed(node)]
        if belongs(node, Family.DROPOUT):
            return fed[:1] == [node.input[0]]
        if belongs(node, Family.PER_AXIS):
            return fed == [node.input[0]]
        return fed == [node.input[0]] if operator(node) == "Div" else len(fed) == 1 or not belongs(node, Family.SCALING)

    def _divides(self, node: NodeProto) -> bool:
        if not belongs(node, Family.DIVIDING):
            return belongs(node, Family.NORMALISATION)
        if operator(node) == "Pow":
            power = self._constants.value(self._scope, node.input[1])
            return power is not None and bool((power < 0).all())
        return node.input[-1] in self._islands.fed(node)

    def _of_one_node(self, node: NodeProto, start: str) -> Passage:
        fed = self._islands.fed(node)
        alone = fed == (start,) and list(node.input).count(start) == 1
        first = alone and node.input[0] == start
        if first and (belongs(node, Family.ACTIVATION) or operator(node) == "Exp"):
            return Passage.ACTIVATION
        return Passage.ACTIVATION if alone and belongs(node, Family.BOUND) else Passage.OTHER

    def _gated(self, nodes: Sequence[NodeProto], channel_axes: Sequence[int]) -> bool:
        """a·σ(b), where a and b are the halves of the channels (GLU; Dauphin et al. 2017)."""
        split, *middle, product = nodes
        halves = sum(bool(name) for name in split.output) == 2
        axis = attribute(split, "axis")
        gate = len(middle) == 1 and belongs(middle[0], Family.ACTIVATION) and not belongs(middle[0], Family.SOFTMAX)
        return halves and gate and operator(product) == "Mul" and (axis or 0) in channel_axes

    def _number(self, tensor: str) -> float | None:
        value = self._constants.value(self._scope, tensor)
        return (
            float(value.reshape(-1)[0]) if value is not None and value.size == 1 and value.dtype.kind in "fiu" else None
        )

    def _factor(self, island: Island) -> float | None:
        """The number that the island multiplies with; None if it does anything else."""
        node = island.nodes[0]
        if len(island.nodes) > 1 or not self._linear(node):
            return None
        if operator(node) == "Neg":
            return -1.0
        if not belongs(node, Family.SCALING) or len(node.input) != 2:
            return None
        number = self._number(next(name for name in node.input if name != island.start))
        if number is None:
            return None
        return number if operator(node) == "Mul" else 1 / number if number else None

    def _bounds(self, island: Island) -> tuple[float, float]:
        """The bounds of an island that is nothing but a lower or upper bound."""
        node = island.nodes[0]
        if len(island.nodes) > 1 or not belongs(node, Family.BOUND):
            return _NO_BOUNDS
        if operator(node) == "Relu":
            return 0.0, math.inf
        if operator(node) == "Clip":
            given = [*(self._number(name) if name else None for name in node.input[1:3]), None, None]
            low = given[0] if given[0] is not None else attribute(node, "min")
            high = given[1] if given[1] is not None else attribute(node, "max")
            return -math.inf if low is None else low, math.inf if high is None else high
        others = [self._number(name) for name in node.input if name != island.start]
        if len(others) != 1 or others[0] is None:
            return _NO_BOUNDS
        return (others[0], math.inf) if operator(node) == "Max" else (-math.inf, others[0])

    # ---- the ends of activations

    def _completes(self, factor: float, activation: Island, before: Island | None, height: float) -> bool:
        """Whether a factor behind an activation is its own.

        It is where it undoes the factor before the activation, where it makes the distance of two bounds 1, and where
        it makes the slope 1 that an activation of several nodes has far from zero.
        """
        if math.isfinite(height) or self._bounds(activation) != _NO_BOUNDS:
            return math.isclose(factor * height, 1, rel_tol=_CLOSE)
        lead = None if before is None else self._factor(before)
        if lead is not None and lead != 1 and math.isclose(lead * factor, 1, rel_tol=_CLOSE):
            return True
        if len(activation.nodes) == 1:
            return False
        value = self._value_at(_FAR, activation)
        return value is not None and math.isclose(value * factor, _FAR, rel_tol=_CLOSE)

    def _of_exponential(self, after: Island) -> tuple[str, tuple[str, ...]] | None:
        """The end of log(1 + exp x) or 1/(1 + exp(−x)), where `after` adds the one."""
        follows = self.after(after.end)
        if operator(after.nodes[0]) != "Add" or not isinstance(follows, Island) or len(follows.nodes) > 1:
            return None
        node = follows.nodes[0]
        if operator(node) == "Log" or (belongs(node, Family.DIVIDING) and self._divides(node)):
            return follows.end, ("Add", node.op_type)
        return None

    def _value_at(self, x: float, island: Island) -> float | None:
        """The island's function of a number; None where it has other constants than numbers, or no rule here."""
        values: dict[str, float | None] = {island.start: x}
        for node in island.nodes:
            rule = _FUNCTIONS.get(operator(node))
            given = [values[name] if name in values else self._number(name) for name in node.input if name]
            numbers = [one for one in given if one is not None]
            if rule is None or len(numbers) < len(given):
                return None
            try:
                values[node.output[0]] = float(rule(*numbers))
            except (ArithmeticError, ValueError, TypeError):
                return None
        return values[island.end]


def label(island: Island) -> str:
    """The island in words: its operators, joined by `·`; "" where it only moves, rounds or converts."""
    names = [printable(node.op_type) for node in island.nodes if not _moves(node) and not belongs(node, _SILENT)]
    names = list(dict.fromkeys(names))
    return "·".join(names if len(names) <= _NAMED else [names[0], "…", names[-1]])


def _opposite(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Whether one is a lower bound alone and the other an upper bound alone, which together are one activation."""
    sides = [(math.isfinite(low), math.isfinite(high)) for low, high in (first, second)]
    return sorted(sides) == [(False, True), (True, False)]


def _moves(node: NodeProto) -> bool:
    others = _PLACE_BY_PLACE | _OF_SEVERAL_PLACES | Family.SOFTMAX
    return belongs(node, Family.RESHAPING) or (known(node) and not belongs(node, others))


_NO_BOUNDS = (-math.inf, math.inf)
_FAR = 1e4

# Of numbers; what else an operator's attributes say does not matter far from zero.
_FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "Abs": abs,
    "Add": lambda *terms: sum(terms),
    "Cast": lambda x: x,
    "Clip": lambda x, low=-math.inf, high=math.inf: min(max(x, low), high),
    "Div": lambda x, y: x / y,
    "Erf": math.erf,
    "Exp": math.exp,
    "HardSigmoid": lambda x: float(x > 0),
    "Identity": lambda x: x,
    "Max": max,
    "Min": min,
    "Mul": lambda x, y: x * y,
    "Neg": lambda x: -x,
    "Pow": lambda x, y: x**y,
    "Reciprocal": lambda x: 1 / x,
    "Relu": lambda x: max(x, 0.0),
    "Sigmoid": lambda x: float(np.exp(-np.logaddexp(0, -x))),
    "Softplus": lambda x: float(np.logaddexp(0, x)),
    "Sqrt": math.sqrt,
    "Sub": lambda x, y: x - y,
    "Tanh": math.tanh,
    "Transpose": lambda x: x,
}
