"""Folded maps: views, frames or branches that a model puts into the batch beside the samples, told apart again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from onnxviz.inputs.samples import Feeds, Sample
from onnxviz.model.axes.arrangement import PARTS, Entries
from onnxviz.model.axes.axis_trace import AxisTrace
from onnxviz.model.model import Model
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.measured_axes import axes_on
from onnxviz.runtime.session import RunOptions


class MapsBatch(NamedTuple):
    """What a batch gave.

    Attributes:
        labels: of its samples.
        maps: by layer name.
        entries: by layer name, what the entries of the first axis are, where they are views, frames or branches.
        fed: the samples with their arrays: one for each label, or one whose rows the labels are.
    """

    labels: list[str]
    maps: dict[str, NDArray[Any]]
    entries: dict[str, Entries]
    fed: list[tuple[Sample, Feeds]]

    def source(self, position: int) -> tuple[Sample, Feeds, int]:
        """The sample that a label is of, its arrays, and which row of them."""
        alone = len(self.fed) == len(self.labels)
        return (*self.fed[position if alone else 0], 0 if alone else position)


class FoldedBatches:
    """What the first axes of a model's tensors count, asked where it is not the samples alone.

    Args:
        model: the model.
        batching: of which inputs the first axis counts samples.
        options: how the model is run.
    """

    def __init__(self, model: Model, batching: Batching, options: RunOptions) -> None:
        self._model, self._batching, self._options = model, batching, options
        self._traces: dict[object, AxisTrace] = {}

    def entries(self, given: Mapping[str, tuple[str, NDArray[Any]]], feeds: Feeds) -> dict[str, Entries]:
        """What the entries of the first axis are, of each tensor that has not one for each sample; where it is told.

        Of a model that takes views or frames, also of those that have: which view or frame a tensor is of.

        Args:
            given: (tensor, its values) by layer name.
            feeds: what was fed.
        """
        rows = self._batching.count(feeds)
        parted = any(letter in PARTS for port in self._model.inputs for letter in port.layout)
        usual = ((), (0,)) if parted else ((), (0,), (rows,))
        there = {name: tensor for name, (tensor, array) in given.items() if array.shape[:1] not in usual}
        if not there:
            return {}
        key = tuple(sorted((name, array.shape) for name, array in feeds.items()))
        if key not in self._traces:
            shapes = self._model.shapes_at({name: array.shape for name, array in feeds.items()})
            wanted = list(there.values())
            self._traces[key] = axes_on(self._model, feeds, shapes, rows, wanted, self._options)
        found = {}
        for name, tensor in there.items():
            known = self._traces[key].entries(tensor)
            if known is not None and len(known.samples) == len(given[name][1]):
                found[name] = known
        return found
