"""Rows of the layer table: each layer's geometry, and what its channels did over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxviz.maps.channel_statistics import LayerStatistics, Statistics
from onnxviz.messages import dims
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model
from onnxviz.reports.sparkline import Sparkline, sparkline

MOST_ROWS = 600
"""Layers that a page lists."""


@dataclass(frozen=True)
class ChannelNumbers:
    """What a layer's channels did, in numbers that the JSON of `onnxviz stats` has or adds up to.

    Attributes:
        mean, deviation, lowest, highest: over all channels.
        zeros: the share of values that are 0, 0…1; None where they were not counted.
        constant: how many channels gave one value throughout.
        nonfinite: how many values are NaN or infinite.
        line: the sparkline.
    """

    mean: float
    deviation: float
    lowest: float
    highest: float
    zeros: float | None
    constant: int
    nonfinite: int
    line: Sparkline | None

    @classmethod
    def of(cls, layer: LayerStatistics) -> ChannelNumbers:
        """Those of a layer."""
        zeros = layer.zeros
        return cls(
            **layer.whole,
            zeros=None if zeros is None else float(zeros.sum() / max(1, layer.count.sum())),
            constant=int(layer.constant.sum()),
            nonfinite=int(layer.nonfinite.sum()),
            line=sparkline(layer),
        )


@dataclass(frozen=True)
class LayerRow:
    """A layer in the table.

    Attributes:
        index: its position.
        name, op: what it is called, and its operator.
        weight: the shape of its weight, "" where it has none.
        output: the shape of its output.
        parameters: of a convolution; None of others, whose weights `onnxviz layers` does not count one by one.
        channels: what its channels did; None where that was not looked at.
    """

    index: int
    name: str
    op: str
    weight: str
    output: str
    parameters: int | None
    channels: ChannelNumbers | None


def layer_rows(model: Model, statistics: Statistics | None) -> tuple[list[LayerRow], int]:
    """A row for each convolution and each product of matrices; and how many more there are."""
    layers: Sequence[Layer] = [
        one for one in model.all_layers if one.is_convolution or belongs(one.producer, Family.MATRIX)
    ]
    there: Mapping[str, LayerStatistics] = statistics or {}
    rows = [
        LayerRow(
            layer.index,
            layer.name,
            layer.op,
            dims(layer.weight_shape, "×") if layer.weight_shape else "",
            dims(layer.output_shape, "×"),
            layer.parameters if layer.is_convolution else None,
            ChannelNumbers.of(there[layer.name]) if layer.name in there else None,
        )
        for layer in layers[:MOST_ROWS]
    ]
    return rows, len(layers) - len(rows)
