"""Matching of two models' layers: which layer of the one is which of the other, by weights, position and names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from onnxviz.comparison.filter_similarity import alike
from onnxviz.comparison.graph_position import graph_side, match_positions
from onnxviz.comparison.layer_kind import dense_shape, kind, kind_of, of_kind
from onnxviz.errors import SelectionError
from onnxviz.model.graph.operators import Family, names, names_anywhere
from onnxviz.model.layer import Layer
from onnxviz.model.layer_graph import layer_graph
from onnxviz.model.model import Model


@dataclass(frozen=True)
class Pair:
    """A layer of each of two models: the same one, as far as can be told.

    Attributes:
        a: of the first model.
        b: of the second.
        by: what tells it: "weights", "position in the graph" or "name".
    """

    a: Layer
    b: Layer
    by: str


@dataclass(frozen=True)
class Matching:
    """The layers of two models.

    Attributes:
        pairs: those that are matched, in the order of the first model.
        only_a: those of the first model that are not, in graph order.
        only_b: those of the second.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[Layer, ...]
    only_b: tuple[Layer, ...]

    def __repr__(self) -> str:
        return f"Matching({len(self.pairs)} pairs, {len(self.only_a)} and {len(self.only_b)} layers alone)"


def match_layers(a: Model, b: Model, ops: Sequence[str] | None = None) -> Matching:
    """Which layer of a model is which of another version of it.

    Three kinds of evidence, the stronger before the weaker, until nothing more follows; a layer for which none
    suffices stays alone:

    1. Weights: filters in the same directions, whatever their lengths and signs, each layer the other's nearest by a
       margin. This outlasts quantisation, half precision, folded batch normalisation, and another exporter.
    2. Position: the only layers of that operator, window and channels with those layers around them, up to the nearest
       that are matched, or the inputs and outputs. The channels may differ (a pruned or a wider model) where everything
       between matched layers has one structure.
    3. Names, where layers of one geometry in one place have the same names in both models. Names that count operators,
       such as `Conv_12`, are none.

    Layers of one weight are told apart by position. Of two models of one architecture that share no weights, all layers
    are matched by position. Inputs are the same where their names are, and otherwise in order, where there are as many;
    so are outputs. A sample of each layer's weights is read.

    Args:
        a: a model.
        b: another.
        ops: operators whose layers are matched; None for the convolutions. Each is matched with its quantised and fused
            forms in the other model, `Add` with `QLinearAdd`.

    Raises:
        SelectionError: an operator that neither model uses.
    """
    sides = _Operators(a), _Operators(b)
    if ops is not None:
        _check(ops, a, b)
    trunks = sides[0].trunk, sides[1].trunk
    groups = alike(*trunks)
    trunk = [Pair(one[0], other[0], "weights") for one, other in groups if len(one) == len(other) == 1]
    trunk += _further(sides, trunks, trunk, groups)
    pairs = list(trunk)
    # A pooling before one of two branches that are alike otherwise tells which is which.
    kinds = [] if len(trunk) == min(map(len, trunks)) else sorted(names(Family.POOLING))
    for name in dict.fromkeys([*kinds, *map(kind, ops or ())]):
        new = _further(sides, (sides[0].trunk_with(name), sides[1].trunk_with(name)), trunk, groups)
        trunk += [pair for pair in new if pair.a in trunks[0]]
        pairs += new
    wanted = sides[0].listed(ops), sides[1].listed(ops)
    named = {layer for listed in wanted for layer in listed}
    pairs = [pair for pair in pairs if pair.a in named or pair.b in named]
    matched = {layer for pair in pairs for layer in (pair.a, pair.b)}
    alone = [tuple(layer for layer in listed if layer not in matched) for listed in wanted]
    return Matching(tuple(sorted(pairs, key=lambda pair: sides[0].place(pair.a))), alone[0], alone[1])


def _check(ops: Sequence[str], a: Model, b: Model) -> None:
    used = {*a.operators, *b.operators}
    unused = sorted({op.rpartition(":")[2] for op in ops} - used)
    if unused or not ops:
        what = f"neither model has {', '.join(unused)}" if unused else "no operator was named"
        raise SelectionError(f"{what}; they have {', '.join(sorted(used))}")


_Group = tuple[tuple[Layer, ...], tuple[Layer, ...]]


def _further(
    sides: tuple[_Operators, _Operators],
    among: tuple[tuple[Layer, ...], tuple[Layer, ...]],
    pairs: list[Pair],
    groups: Iterable[_Group],
) -> list[Pair]:
    """The pairs that position and names add to those that there are."""
    one, other = (graph_side(layer_graph(side.model.scope, layers)) for side, layers in zip(sides, among, strict=True))
    found = match_positions(one, other, [(pair.a, pair.b) for pair in pairs], groups)
    return [Pair(a, b, by) for a, b, by in found]


class _Operators:
    """Layers of a model by their operators; one object for each layer, however often it is listed."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._known = {_key(layer): layer for layer in model.layers}

    def _of(self, operators: Iterable[str]) -> tuple[Layer, ...]:
        """In graph order."""
        used = {op.rpartition(":")[2] for op in operators}.intersection(self.model.operators)
        listed = self.model.layers_of(sorted(used)) if used else ()
        return tuple(self._known.setdefault(_key(layer), layer) for layer in listed)

    @cached_property
    def trunk(self) -> tuple[Layer, ...]:
        """Convolutions and dense layers: those that have weights of a shape of their own."""
        operators = names_anywhere(Family.MATRIX) | {layer.op for layer in self.model.layers}
        return tuple(layer for layer in self._of(operators) if layer.is_convolution or dense_shape(layer) is not None)

    def trunk_with(self, kind: str) -> tuple[Layer, ...]:
        """Those, and the layers of one kind among them, in graph order."""
        trunk = {*self.trunk}
        listed = self._of([*(layer.op for layer in self.trunk), *of_kind(kind, self.model.operators)])
        return tuple(layer for layer in listed if layer in trunk or kind_of(layer) == kind)

    def listed(self, ops: Sequence[str] | None) -> tuple[Layer, ...]:
        """The layers of operators that are named; the convolutions where none are."""
        return self.model.layers if ops is None else self._of(ops)

    def place(self, layer: Layer) -> int:
        """The place of the layer in the graph, among those that were listed."""
        return self._places[_key(layer)]

    @cached_property
    def _places(self) -> dict[tuple[str, str], int]:
        operators = {layer.op for layer in self._known.values()}
        return {_key(layer): place for place, layer in enumerate(self._of(operators))}


def _key(layer: Layer) -> tuple[str, str]:
    """The layer's place: its graph and the tensor it makes."""
    return layer.graph_scope.name, layer.taps["conv"]
