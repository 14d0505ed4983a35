"""Batching: how many samples run at once, padding of a fixed batch, and whether rows see each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.messages import dims, option
from onnxviz.model.batch_axis import batch_inputs
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import all_graphs
from onnxviz.model.model import Model

DEFAULT_MEMORY = 2**30
# Larger batches are no faster on a CPU, and a failed one costs more.
MAX_BATCH = 32
# The same where gradients are taken, or many variants of one sample are run.
MAX_GRADIENT_BATCH = 16
# Operators through which the samples of a batch see each other: a shared range, a shared decision.
_COUPLING = Family.DYNAMIC_RANGE | Family.CONTROL_FLOW
# How far a sample's values may be from those that it has alone: kernels for several rows add up in another order.
_RELATIVE, _OF_LARGEST = 1e-3, 1e-4


@dataclass(frozen=True)
class Batching:
    """The batches that a model takes.

    Attributes:
        label: the model, in messages.
        inputs: the inputs with a batch axis; the others are fed whole with every batch.
        fixed: the only number of samples that the model takes; None if any.
        memory: bytes that a batch may take, about.
        limit: the most samples of a batch of open size.
    """

    label: str
    inputs: frozenset[str]
    fixed: int | None
    memory: int = DEFAULT_MEMORY
    limit: int = MAX_BATCH

    @classmethod
    def of(
        cls,
        model: Model,
        memory: int = DEFAULT_MEMORY,
        *,
        limit: int = MAX_BATCH,
        needed: Collection[str] | None = None,
    ) -> Batching:
        """The batches of `model`.

        Args:
            model: the model.
            memory: bytes that a batch may take, about.
            limit: the most samples of a batch of open size.
            needed: the inputs that are read; None for all.
        """
        inputs = batch_inputs(model.inputs)
        first = {port.name: port.shape[0] for port in model.inputs if port.shape}
        sizes = {size for name, size in first.items() if needed is None or name in needed}
        fixed = {first[name] for name in inputs if needed is None or name in needed}
        known = [size for size in fixed if isinstance(size, int)]
        # One at a time runs in any case where an input has a first axis of 1, whatever that counts.
        only = 1 if 1 in sizes else known[0] if len(known) == 1 else None
        return cls(model.label, inputs, only, memory, limit)

    def affordable(self, each: float) -> int:
        """How many samples fit the memory, 1 to `limit`.

        Args:
            each: bytes that one sample takes; half of the memory is for what the runtime needs besides.
        """
        return max(1, min(self.limit, int(self.memory / 2 / max(1.0, each))))

    def size(self, each: float) -> int:
        """How many samples run at once: the fixed batch, or as many as fit the memory; `each` in bytes."""
        return self.fixed if self.fixed is not None else self.affordable(each)

    def count(self, feeds: Mapping[str, NDArray[Any]]) -> int:
        """How many samples `feeds` holds; 1 where the inputs disagree, as they then can only be run as they are."""
        counts = set(self._counts(feeds).values())
        return counts.pop() if len(counts) == 1 else 1

    def _counts(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        return {name: array.shape[0] for name, array in feeds.items() if name in self.inputs and array.ndim}

    def rows(self, feeds: Mapping[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
        """The samples of a batch, each alone; an input of one row goes with every sample.

        Raises:
            InputError: the inputs have different numbers of samples.
        """
        counts = self._counts(feeds)
        rows = max(counts.values(), default=1)
        if any(count not in (1, rows) for count in counts.values()):
            raise InputError(f"the inputs have different numbers of samples: {dims(list(counts.values()), ', ')}")
        return [
            {name: array[row : row + 1] if counts.get(name, 1) > 1 else array for name, array in feeds.items()}
            for row in range(rows)
        ]

    def joined(self, samples: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """One batch of several samples, which share the inputs that have no batch axis."""
        if len(samples) == 1:
            return dict(samples[0])
        return {
            name: np.concatenate([feeds[name] for feeds in samples]) if name in self.inputs else array
            for name, array in samples[0].items()
        }

    def repeated(self, feeds: Mapping[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
        """Each input of one row `count` times; the others as they are."""
        counts = self._counts(feeds)
        return {
            name: np.repeat(array, count, 0) if count > 1 and counts.get(name) == 1 else array
            for name, array in feeds.items()
        }

    def padded(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The fixed batch, made of these samples and copies of the last; as it is where any number will do.

        Raises:
            InputError: the fixed batch does not fit the memory.
        """
        rows, fixed = self.count(feeds), self.fixed
        if fixed is None or rows >= fixed:
            return dict(feeds)
        each = sum(array.nbytes for array in feeds.values()) / rows
        if fixed * each > self.memory:
            raise InputError(
                f"{self.label} takes batches of {fixed:,} only, {fixed * each:,.0f} bytes; raise {option('memory')}"
            )
        counts = self._counts(feeds)
        return {
            name: np.concatenate([array, np.repeat(array[-1:], fixed - rows, 0)]) if name in counts else array
            for name, array in feeds.items()
        }

    def unpadded(self, array: NDArray[Any], rows: int, axis: int = 0) -> NDArray[Any]:
        """Values of a padded batch without those of the copies; as they are where that axis counts something else."""
        padded = self.fixed is not None and rows < self.fixed
        if not padded or array.ndim <= axis or array.shape[axis] != self.fixed:
            return array
        return array.take(range(rows), axis=axis)

    def independent(
        self,
        proto: onnx.ModelProto,
        feeds: Mapping[str, NDArray[Any]],
        alone: Sequence[tuple[NDArray[Any], int]],
        run: Callable[[dict[str, NDArray[Any]]], Sequence[NDArray[Any]]],
    ) -> bool:
        """Whether a sample gives the same in a batch as alone.

        Structure is asked first: a range or a branch that a batch shares may happen to be the sample's own in any one
        trial. Then a trial with another sample beside it: a softmax over the batch axis, or a reshape that counts on
        one sample, is made of ordinary operators.

        Args:
            proto: what is run.
            feeds: one sample.
            alone: the values that it gives alone, or in a batch of its copies where the batch is fixed; of each also
                the axis that counts samples.
            run: gives such values for a batch.
        """
        if _is_coupled(proto):
            return False
        pair = {
            name: np.concatenate([array, (array / 2).astype(array.dtype)]) if name in self.inputs else array
            for name, array in feeds.items()
        }
        try:
            together = run(self.padded(pair))
        except InputError:
            return False
        return all(
            _is_first(one, axis, self.unpadded(both, 2, axis))
            for (one, axis), both in zip(alone, together, strict=True)
        )


def _is_coupled(proto: onnx.ModelProto) -> bool:
    """Whether an operator lets the samples of a batch influence each other."""
    for graph in all_graphs(proto.graph):
        for node in graph.node:
            training = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
            if belongs(node, _COUPLING) or (node.op_type == "BatchNormalization" and training):
                return True
    return False


def _is_first(alone: NDArray[Any], axis: int, pair: NDArray[Any]) -> bool:
    """Whether the first of two samples in `pair` has the values `alone`, but for rounding."""
    shape = [2 * size if place == axis else size for place, size in enumerate(alone.shape)]
    if alone.ndim <= axis or alone.shape[axis] != 1 or list(pair.shape) != shape:
        return False
    if alone.dtype.kind not in "fc":
        return bool(np.array_equal(pair.take([0], axis), alone))
    finite = np.abs(alone[np.isfinite(alone)])
    largest = float(finite.max()) if finite.size else 0.0
    return np.allclose(pair.take([0], axis), alone, rtol=_RELATIVE, atol=_OF_LARGEST * largest, equal_nan=True)


def pad_rows(rows: NDArray[Any], length: int, *, zero: bool = False) -> NDArray[Any]:
    """Rows (n, …) followed by copies of the last, or by zeros, up to `length`; as they are where there are enough."""
    lacking = length - len(rows)
    if lacking <= 0:
        return rows
    last = np.zeros_like(rows[-1:]) if zero else rows[-1:]
    return np.concatenate([rows, np.repeat(last, lacking, 0)])
