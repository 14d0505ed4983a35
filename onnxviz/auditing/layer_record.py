"""Records of layers: the trained layers of a model as a baseline keeps them, and what became of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.filter_change import FilterChange, filter_change
from onnxviz.auditing.filter_sketch import Sketch, sketch
from onnxviz.auditing.trained_weights import TrainedWeight
from onnxviz.comparison.graph_position import GraphSide, match_positions
from onnxviz.comparison.layer_kind import Geometry, geometry
from onnxviz.comparison.layer_name import comparable_name
from onnxviz.model.layer_graph import LayerGraph, layer_graph
from onnxviz.model.model import Model

# Squared distance of all projections as a share of their squares, within which two layers have the same weights, and
# how much farther the next layer must be. Layers that have nothing to do with each other are 2 apart.
_FARTHEST, _MARGIN, _ROUNDING = 0.25, 4.0, 1e-9


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """A convolution or dense layer.

    Attributes:
        name: in its model.
        comparable: the name as another export may have it too, see `comparable_name`.
        geometry: kind, window and channels.
        sketch: of its filters.
    """

    name: str
    comparable: str
    geometry: Geometry
    sketch: Sketch


@dataclass(frozen=True, eq=False)
class LayerRecords:
    """All of a model, in graph order, and what feeds them."""

    graph: LayerGraph[LayerRecord]

    @property
    def layers(self) -> tuple[LayerRecord, ...]:
        """In graph order."""
        return tuple(self.graph.feeds)

    def side(self) -> GraphSide[LayerRecord]:
        """For matching by position."""
        geometries = {one: one.geometry for one in self.layers}
        return GraphSide(self.graph, geometries, {one: one.comparable for one in self.layers})

    def as_dict(self) -> dict[str, Any]:
        """As JSON types, without the numbers of the sketches: layers go by number, inputs by name."""
        numbers = {layer: number for number, layer in enumerate(self.layers)}

        def fed(ones: Iterable[LayerRecord | str]) -> list[int | str]:
            found: list[int | str] = [one if isinstance(one, str) else numbers[one] for one in ones]
            return sorted(found, key=str)

        layers = [
            {
                "name": one.name, "comparable": one.comparable, "geometry": asdict(one.geometry),
                "sketch": one.sketch.as_dict(), "fed_by": fed(self.graph.feeds[one]),
            }
            for one in self.layers
        ]  # fmt: skip
        outputs = {name: fed(ones) for name, ones in self.graph.outputs.items()}
        return {"inputs": list(self.graph.inputs), "layers": layers, "outputs": outputs}

    @classmethod
    def of(cls, entry: Mapping[str, Any], numbers: Sequence[NDArray[Any]]) -> LayerRecords:
        """The records of which `as_dict` made the entry; numbers as `Sketch.packed` gives them, of each layer.

        Raises:
            InputError, LookupError, TypeError, ValueError: they are broken.
        """
        layers = [
            LayerRecord(str(one["name"]), str(one["comparable"]), _geometry(one["geometry"]),
                        Sketch.of(one["sketch"], part))
            for one, part in zip(entry["layers"], numbers, strict=True)
        ]  # fmt: skip

        def fed(ones: Iterable[int | str]) -> frozenset[LayerRecord | str]:
            return frozenset(layers[one] if isinstance(one, int) else str(one) for one in ones)

        feeds = {layer: fed(one["fed_by"]) for layer, one in zip(layers, entry["layers"], strict=True)}
        outputs = {str(name): fed(ones) for name, ones in entry["outputs"].items()}
        return cls(LayerGraph(tuple(map(str, entry["inputs"])), feeds, outputs))


def _geometry(entry: Mapping[str, Any]) -> Geometry:
    grouping = entry["grouping"]
    if not isinstance(grouping, int | str | None):
        raise TypeError(f"{grouping!r} is no grouping")
    window = tuple((int(one), int(two), int(three)) for one, two, three in entry["window"])
    return Geometry(str(entry["kind"]), window, grouping, tuple(map(int, entry["channels"])))


def layer_records(model: Model, weights: Iterable[TrainedWeight]) -> LayerRecords:
    """The records of a model's layers.

    Args:
        model: the model.
        weights: its trained weights.
    """
    known = {
        one.layer: LayerRecord(one.name, comparable_name(one.layer), geometry(one.layer), sketch(one))
        for one in weights
    }
    graph = layer_graph(model.scope, known)

    def kept(ones: frozenset[Any]) -> frozenset[LayerRecord | str]:
        return frozenset(one if isinstance(one, str) else known[one] for one in ones)

    feeds = {known[layer]: kept(ones) for layer, ones in graph.feeds.items()}
    return LayerRecords(LayerGraph(graph.inputs, feeds, {name: kept(ones) for name, ones in graph.outputs.items()}))


@dataclass(frozen=True, eq=False)
class LayerChange:
    """A layer of the baseline and of the model; `filters` is None where nothing tells which filter is which."""

    before: LayerRecord
    after: LayerRecord
    by: str
    filters: FilterChange | None


@dataclass(frozen=True, eq=False)
class LayerChanges:
    """What became of the layers.

    Attributes:
        pairs: layers that are in both, in the model's order.
        gone: layers of the baseline that are not in the model.
        added: layers of the model that are not in the baseline.
    """

    pairs: tuple[LayerChange, ...]
    gone: tuple[LayerRecord, ...]
    added: tuple[LayerRecord, ...]

    @property
    def names(self) -> dict[str, str]:
        """The name now of each layer of the baseline that is in both."""
        return {one.before.name: one.after.name for one in self.pairs}

    def channel(self, name: str, number: int) -> int | None:
        """Where the filter with a number in the baseline is now; None where it is gone.

        Args:
            name: the layer's, now.
            number: the filter's, then.
        """
        found = next((one for one in self.pairs if one.after.name == name), None)
        if found is None or found.filters is None:
            return number
        return next(iter(np.flatnonzero(found.filters.rows == number).tolist()), None)


def layer_changes(before: LayerRecords, after: LayerRecords, weights: Iterable[TrainedWeight]) -> LayerChanges:
    """What became of the layers of a baseline.

    Layers are matched by weights (the same ones, or near them in the same order), then by position and names as
    `onnxviz.comparison.matching.match_layers` does it.

    Args:
        before: of the baseline.
        after: of the model.
        weights: the model's.
    """
    found = [(one, other, "weights") for one, other in _by_weights(before.layers, after.layers)]
    found += match_positions(before.side(), after.side(), [(one, other) for one, other, _ in found], ())
    own = {one.name: one for one in weights}
    matched = {other: (one, by) for one, other, by in found}
    pairs = [
        LayerChange(one, other, by, filter_change(one.sketch, other.sketch, own[other.name]))
        for other in after.layers
        if other in matched
        for one, by in [matched[other]]
    ]
    there = {one for one, _, _ in found}
    return LayerChanges(
        tuple(pairs),
        tuple(one for one in before.layers if one not in there),
        tuple(other for other in after.layers if other not in matched),
    )


def _by_weights(before: Sequence[LayerRecord], after: Sequence[LayerRecord]) -> list[tuple[LayerRecord, LayerRecord]]:
    """Layers of one shape, each the other's nearest by a margin."""
    shapes: dict[tuple[Any, ...], tuple[list[LayerRecord], list[LayerRecord]]] = defaultdict(lambda: ([], []))
    for side, layers in enumerate((before, after)):
        for one in layers:
            shapes[one.geometry.kind, one.sketch.shape[:2], one.sketch.window][side].append(one)
    found = []
    for ones, others in shapes.values():
        if not ones or not others:
            continue
        distances = np.array([[_distance(one.sketch, other.sketch) for other in others] for one in ones])
        for row, one in enumerate(ones):
            column = int(distances[row].argmin())
            nearest = distances[row, column]
            rivals = np.concatenate([np.delete(distances[row], column), np.delete(distances[:, column], row)])
            if nearest <= _FARTHEST and (rivals > _MARGIN * nearest + _ROUNDING).all():
                found.append((one, others[column]))
    return found


def _distance(one: Sketch, other: Sketch) -> float:
    """The squared distance of all projections over the mean of their squares."""
    a, b = one.projection.astype(np.float64), other.projection.astype(np.float64)
    size = (np.square(a).sum() + np.square(b).sum()) / 2
    return float(np.square(a - b).sum() / size) if size else 0.0
