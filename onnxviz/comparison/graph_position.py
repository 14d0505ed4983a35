"""Position of layers in a graph: which are the only ones with such layers around them, in each of two models."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from onnxviz.comparison.layer_kind import Geometry, geometry
from onnxviz.comparison.layer_name import comparable_name, name_stem
from onnxviz.model.layer import Layer
from onnxviz.model.layer_graph import AnyLayer, LayerGraph

# How far around a layer is looked where the whole way to matched layers is not the same in both models.
_NEAR = 2
_A = TypeVar("_A")
_B = TypeVar("_B")


class GraphSide(Generic[AnyLayer]):
    """One of two graphs of layers; nodes are the inputs, the layers in graph order and the outputs, by number.

    Args:
        graph: what feeds what.
        geometries: of each layer.
        names: of each layer, as `comparable_name` gives them.

    Attributes:
        layers: by number, from the first; inputs and outputs have none.
        numbers: of the layers.
        ports: the numbers of inputs, and of outputs, by name.
        before, after: of each node, those that feed it, and those that it feeds.
    """

    def __init__(
        self, graph: LayerGraph[AnyLayer], geometries: Mapping[AnyLayer, Geometry], names: Mapping[AnyLayer, str]
    ) -> None:
        inputs, outputs, layers = graph.inputs, list(graph.outputs), list(graph.feeds)
        self.layers = dict(enumerate(layers, start=len(inputs)))
        self.numbers = {layer: number for number, layer in self.layers.items()}
        self.ports = (
            {name: number for number, name in enumerate(inputs)},
            {name: number for number, name in enumerate(outputs, start=len(inputs) + len(layers))},
        )
        self.count = len(inputs) + len(layers) + len(outputs)
        known: dict[Any, int] = {**self.ports[0], **self.numbers}
        feeding = [*(() for _ in inputs), *graph.feeds.values(), *graph.outputs.values()]
        self.before = [sorted(known[one] for one in ones if one in known) for ones in feeding]
        self.after: list[list[int]] = [[] for _ in feeding]
        for number, ones in enumerate(self.before):
            for one in ones:
                self.after[one].append(number)
        self.geometries = {number: geometries[layer] for number, layer in self.layers.items()}
        self.names = {number: names[layer] for number, layer in self.layers.items()}
        self._kinds = [*("input" for _ in inputs), *("layer" for _ in layers), *("output" for _ in outputs)]
        self.known: dict[int, int] = {}
        self.group: dict[int, int] = {}

    def own(self, number: int, *, channels: bool) -> Hashable:
        """What a node is, apart from its position."""
        if number not in self.layers:
            return self._kinds[number]
        found = self.geometries[number]
        return found if channels else replace(found, channels=()), self.group.get(number)


Colours = list[int]
"""Of each node, by number; nodes of either side with one colour are alike."""


def graph_side(graph: LayerGraph[Layer]) -> GraphSide[Layer]:
    """The side of an opened model."""
    return GraphSide(
        graph,
        {layer: geometry(layer) for layer in graph.feeds},
        {layer: comparable_name(layer) for layer in graph.feeds},
    )


def match_positions(
    a: GraphSide[_A],
    b: GraphSide[_B],
    known: Iterable[tuple[_A, _B]],
    groups: Iterable[tuple[Sequence[_A], Sequence[_B]]],
) -> list[tuple[_A, _B, str]]:
    """The layers that position and names match, beside those that are matched already, and by which of both.

    Args:
        a: the layers of a model.
        b: those of the other.
        known: pairs of layers.
        groups: layers that may only be matched within their group.
    """
    search = _Search(a, b)
    for number, (of_a, of_b) in enumerate(groups):
        a.group.update(dict.fromkeys((a.numbers[layer] for layer in of_a), number))
        b.group.update(dict.fromkeys((b.numbers[layer] for layer in of_b), number))
    search.add((a.numbers[one], b.numbers[other]) for one, other in known)
    for one, other in zip(a.ports, b.ports, strict=True):
        search.add(_ports(one, other))
    found: list[tuple[_A, _B, str]] = []
    steps = (
        (search.of_one_structure, "position in the graph"),
        (search.of_other_channels, "position in the graph"),
        (search.of_one_way, "position in the graph"),
        (search.of_near_ones, "position in the graph"),
        (search.of_one_name, "name"),
    )
    while True:
        for step, by in steps:
            new = step()
            if new:
                search.add(new)
                found += [(a.layers[one], b.layers[other], by) for one, other in new]
                break  # the strongest evidence again
        else:
            return found


def _ports(a: dict[str, int], b: dict[str, int]) -> list[tuple[int, int]]:
    """Inputs, or outputs, of one name; then the others in order, where there are as many."""
    common = [name for name in a if name in b and not name.isdecimal()]
    rest = [[port for name, port in side.items() if name not in common] for side in (a, b)]
    in_order = list(zip(*rest, strict=True)) if len(rest[0]) == len(rest[1]) else []
    return [(a[name], b[name]) for name in common] + in_order


class _Search(Generic[_A, _B]):
    """What is matched so far, and the steps that find more; each gives pairs of nodes that are layers."""

    def __init__(self, a: GraphSide[_A], b: GraphSide[_B]) -> None:
        self.a, self.b = a, b
        self._sides: tuple[GraphSide[Any], GraphSide[Any]] = (a, b)
        self._pairs = 0

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Takes pairs for matched."""
        for one, other in pairs:
            self.a.known[one] = self.b.known[other] = self._pairs
            self._pairs += 1

    # ---- steps

    def of_one_structure(self) -> list[tuple[int, int]]:
        """Layers that differ from all others between matched ones by everything that is connected with them there."""
        return self._only(*self._refined(channels=True))

    def of_other_channels(self) -> list[tuple[int, int]]:
        """The same whatever their channels, where all of them have as many or more in one of the models."""
        pairs = self._only(*self._refined(channels=False))
        more = {
            one > other
            for pair in pairs
            for one, other in zip(
                self.a.geometries[pair[0]].channels, self.b.geometries[pair[1]].channels, strict=False
            )
            if one != other
        }
        return pairs if len(more) < 2 else []

    def of_one_way(self) -> list[tuple[int, int]]:
        """Layers alone in having all that comes before them, or all that comes after, of one structure in both."""
        before = self._only(*self._along(before=True))
        after = self._only(*self._along(before=False))
        return self._as_many(_without_conflict(before, after))

    def of_near_ones(self) -> list[tuple[int, int]]:
        """Layers that differ from all others by those near them."""
        return self._as_many(self._only(*self._refined(channels=True, rounds=_NEAR)))

    def of_one_name(self) -> list[tuple[int, int]]:
        """Layers of one name, where those of one geometry in one place have the same names, but for numbers."""
        sides = []
        for side, places in zip(self._sides, self._places(), strict=True):
            classes: dict[Hashable, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
            for number, place in places.items():
                if name := side.names[number]:
                    classes[place, name_stem(name)][name].append(number)
            sides.append(classes)
        found = []
        for key, names in sides[0].items():
            others = sides[1].get(key, {})
            if names.keys() == others.keys() and all(len(one) == 1 for one in (*names.values(), *others.values())):
                found += [(names[name][0], others[name][0]) for name in names]
        return found

    # ---- colours (Weisfeiler and Leman 1968)

    def _start(self, channels: bool) -> tuple[list[list[Hashable]], dict[Hashable, int]]:
        keys = [
            [("pair", side.known[n]) if n in side.known else side.own(n, channels=channels) for n in range(side.count)]
            for side in self._sides
        ]
        return keys, {}

    def _along(self, *, before: bool, channels: bool = True) -> tuple[Colours, Colours]:
        """Nodes by themselves and all that feeds them, or is fed by them, up to matched ones."""
        keys, numbers = self._start(channels)
        found = []
        for side, own in zip(self._sides, keys, strict=True):
            colours = [0] * side.count
            order = range(side.count) if before else reversed(range(side.count))
            neighbours = side.before if before else side.after
            for node in order:  # in graph order, so that what feeds a node has its colour already
                around = () if node in side.known else tuple(sorted(colours[one] for one in neighbours[node]))
                colours[node] = numbers.setdefault((own[node], around), len(numbers))
            found.append(colours)
        return found[0], found[1]

    def _refined(self, *, channels: bool, rounds: int | None = None) -> tuple[Colours, Colours]:
        """Nodes by themselves and those around them, up to matched ones: all, or those of some rounds.

        Matched nodes keep their colour, so that a difference behind one says nothing about what lies before it.
        """
        sides = self._sides
        keys, numbers = self._start(channels)
        if rounds is None:  # all that is before and after, at once
            ways = self._along(before=True, channels=channels), self._along(before=False, channels=channels)
            keys = [list(zip(own, up, down, strict=True)) for own, up, down in zip(keys, *ways, strict=True)]
            for side, own in zip(sides, keys, strict=True):
                for node, pair in side.known.items():
                    own[node] = ("pair", pair)
        colours = [[numbers.setdefault(key, len(numbers)) for key in own] for own in keys]
        kinds = 0
        while rounds is None or rounds > 0:
            if rounds is None and len({*colours[0], *colours[1]}) == kinds:
                break
            kinds = len({*colours[0], *colours[1]})
            rounds = None if rounds is None else rounds - 1
            numbers = {}
            colours = [
                [
                    numbers.setdefault(
                        ("pair", side.known[node])
                        if node in side.known
                        else (
                            old[node],
                            tuple(sorted(old[one] for one in side.before[node])),
                            tuple(sorted(old[one] for one in side.after[node])),
                        ),
                        len(numbers),
                    )
                    for node in range(side.count)
                ]
                for side, old in zip(sides, colours, strict=True)
            ]
        return colours[0], colours[1]

    def _only(self, a: Colours, b: Colours) -> list[tuple[int, int]]:
        """The layers, not yet matched, that are the only one of their colour in each model."""
        ones, others = (
            _alone(
                [
                    (colour, node)
                    for node, colour in enumerate(colours)
                    if node in side.layers and node not in side.known
                ]
            )
            for side, colours in zip(self._sides, (a, b), strict=True)
        )
        return [(node, others[colour]) for colour, node in ones.items() if colour in others]

    # ---- places

    def _places(self) -> tuple[dict[int, Hashable], dict[int, Hashable]]:
        """What a layer is and the nearest matched ones before and after it, of each that is not matched."""
        found: list[dict[int, Hashable]] = []
        for side in self._sides:
            before = _nearest(side, range(side.count), side.before)
            after = _nearest(side, reversed(range(side.count)), side.after)
            found.append(
                {
                    node: (side.own(node, channels=True), before[node], after[node])
                    for node in side.layers
                    if node not in side.known
                }
            )
        return found[0], found[1]

    def _as_many(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those pairs in whose place there are as many layers of their geometry in both models.

        Where there are more in one, one was put in, and no one can tell which.
        """
        if not pairs:
            return []
        places = self._places()
        counts = [Counter(side.values()) for side in places]
        return [
            (one, other)
            for one, other in pairs
            if counts[0][places[0][one]] == counts[1][places[0][one]] and places[0][one] == places[1][other]
        ]


def _alone(items: Iterable[tuple[int, int]]) -> dict[int, int]:
    """The node of each colour that has only one."""
    found: dict[int, list[int]] = defaultdict(list)
    for colour, node in items:
        found[colour].append(node)
    return {colour: nodes[0] for colour, nodes in found.items() if len(nodes) == 1}


def _without_conflict(*lists: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs in any of the lists of which neither node is in another pair."""
    pairs = list(dict.fromkeys(pair for pairs in lists for pair in pairs))
    counts = [Counter(pair[side] for pair in pairs) for side in (0, 1)]
    return [(one, other) for one, other in pairs if counts[0][one] == counts[1][other] == 1]


def _nearest(side: GraphSide[Any], order: Iterable[int], neighbours: Sequence[Sequence[int]]) -> list[frozenset[int]]:
    """Of each node the pairs nearest to it, through nodes that are not matched."""
    found: list[frozenset[int]] = [frozenset()] * side.count
    for node in order:
        found[node] = frozenset[int]().union(
            *(frozenset([side.known[one]]) if one in side.known else found[one] for one in neighbours[node])
        )
    return found
