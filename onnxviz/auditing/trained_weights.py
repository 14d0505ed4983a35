"""Trained weights of a model: the filters of each convolution and dense layer, measured in one pass over the file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.comparison.layer_kind import dense_matrix, dense_shape
from onnxviz.model.graph.operators import DENSE, key_of
from onnxviz.model.graph.scopes import attribute, operator
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model

HALF_SMALLEST_NORMAL = 2.0**-14
"""Of float16; below it the numbers lose digits (IEEE 754)."""
SINGLE_SMALLEST_NORMAL = 2.0**-126
"""Of float32: 1.18e-38."""
# Elements that are looked at at once: they and what is made of them stay in the processor's second cache.
_CHUNK = 2**16
_BATCH_NORM_EPSILON = 1e-5
_FLOATS = ("float16", "float32", "float64", "bfloat16")
_INTEGERS = ("int8", "uint8", "int32")


@dataclass(frozen=True, eq=False)
class Range:
    """What one pass over a weight tells.

    Attributes:
        low, high: (O,), the smallest and the largest weight of each filter, float64 of weights of float64, else
            float32; NaN where it holds one.
        subnormal_in_half: how many weights float16 would hold as subnormal numbers or as 0, zeros not counted.
        subnormal: how many weights are subnormal numbers of float32, those among them.
    """

    low: NDArray[Any]
    high: NDArray[Any]
    subnormal_in_half: int
    subnormal: int

    @cached_property
    def largest(self) -> NDArray[Any]:
        """(O,), the largest magnitude of each filter."""
        largest: NDArray[Any] = np.maximum(np.abs(self.low), np.abs(self.high))
        return largest

    @property
    def is_finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return bool(np.isfinite(self.largest).all())


@dataclass(frozen=True, eq=False)
class TrainedWeight:
    """The weight of a layer as a matrix of filters.

    Attributes:
        layer: a convolution or a dense layer.
        is_float: whether it is stored as real numbers, not quantised.
        stored_dtype: numpy's name of the type that it is stored in.
        shape: (O, I/group, spatial…), or (O, I).
    """

    layer: Layer
    is_float: bool
    stored_dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many weights."""
        return math.prod(self.shape)

    @property
    def name(self) -> str:
        """The layer's."""
        return self.layer.name

    @property
    def filters(self) -> NDArray[Any]:
        """(O, elements), each row a filter; a view into the file where the model stores it so."""
        if not self.layer.is_convolution:
            matrix = dense_matrix(self.layer)
            assert matrix is not None
            return matrix
        weight = self.layer.weight
        return weight.reshape(len(weight), -1)

    @property
    def groups(self) -> int:
        """How many groups of filters see channels of their own."""
        return self.layer.group or 1

    def is_filled(self, spread: float) -> bool:
        """Whether the weights of each filter are all equal: they differ by less than `spread` of its largest."""
        found = self.range
        return found.is_finite and bool((found.high - found.low <= spread * found.largest).all())

    @cached_property
    def range(self) -> Range:
        """Of all its weights."""
        return _range(self.filters)

    @property
    def _behind(self) -> NodeProto | None:
        """The one node that reads what the layer's operator makes."""
        return self.layer.graph_scope.only_reader(self.layer.taps["conv"])

    @cached_property
    def fold(self) -> NDArray[np.float64] | None:
        """(O,), what a batch normalisation right behind the layer multiplies each filter with.

        None without one, and where that is NaN or infinite.
        """
        behind = self._behind
        if behind is None or operator(behind) != "BatchNormalization":
            return None
        parameters = batch_norm(self.layer, behind)
        if parameters is None or parameters.scale.shape != (len(self.range.low),) or not parameters.is_finite:
            return None
        return np.abs(parameters.gain)

    @cached_property
    def reach(self) -> NDArray[np.float64]:
        """(O,), the largest magnitude of each filter, once a batch normalisation right behind is folded in."""
        own = self.range.largest.astype(np.float64)
        return own if self.fold is None else own * self.fold

    @cached_property
    def relative_reach(self) -> NDArray[np.float64]:
        """(O,), `reach` over that which a tenth of the filters exceed: one that stands out makes no others small."""
        usual = np.sort(self.reach)[::-1][len(self.reach) // 10]
        return self.reach / usual if usual > 0 else self.reach

    @property
    def bias(self) -> NDArray[Any] | None:
        """(O,), None where there is none or it is not constant; of a dense layer, what is added right behind it too."""
        if self.layer.is_convolution:
            return self.layer.bias
        node = self.layer.producer
        if node.op_type == "Gemm":
            return self.layer.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        behind = self._behind
        if behind is None or behind.op_type != "Add":
            return None
        added = next((self.layer.constant(name) for name in behind.input if name not in node.output), None)
        return added if added is not None and added.ndim == 1 else None


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """The parameters of a batch normalisation, each (C,) float64, and its ε."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    epsilon: float

    @property
    def is_finite(self) -> bool:
        """Whether γ, the variance, and the factors made of them are finite."""
        return all(bool(np.isfinite(values).all()) for values in (self.scale, self.variance, self.gain))

    @property
    def gain(self) -> NDArray[np.float64]:
        """γ / √(variance + ε): the factor of each channel; NaN where the root is of a negative number."""
        with np.errstate(invalid="ignore", divide="ignore"):
            gain: NDArray[np.float64] = self.scale / np.sqrt(self.variance + self.epsilon)
        return gain


def batch_norm(layer: Layer, node: NodeProto) -> BatchNorm | None:
    """The parameters of a BatchNormalization in the layer's graph; None where they are not constant."""
    values = [layer.constant(name) for name in node.input[1:5]]
    if len(values) < 4 or any(value is None for value in values):
        return None
    arrays = [np.asarray(value, np.float64).reshape(-1) for value in values]
    if len({array.size for array in arrays}) > 1:
        return None
    epsilon = attribute(node, "epsilon")
    scale, shift, mean, variance = arrays
    return BatchNorm(scale, shift, mean, variance, _BATCH_NORM_EPSILON if epsilon is None else float(epsilon))


def trained_weights(model: Model) -> tuple[TrainedWeight, ...]:
    """The weights of all convolutions and dense layers that are constant, in graph order; a shared one once."""
    found: list[TrainedWeight] = []
    seen: set[tuple[str, str]] = set()
    for layer in model.all_layers:
        shape = layer.weight_shape if layer.is_convolution else dense_shape(layer)
        if shape is None or 0 in shape:
            continue
        name = layer.producer.input[DENSE[key_of(layer.producer)].weight] if not layer.is_convolution else ""
        stored = layer.source if layer.is_convolution else model.constants.find(layer.graph_scope, name)
        if stored is None or stored.dtype not in (*_FLOATS, *_INTEGERS):
            continue
        is_float = stored.stored_dtype in _FLOATS and stored.source != "dequantized"
        if (layer.graph_scope.name, stored.tensor) not in seen:
            seen.add((layer.graph_scope.name, stored.tensor))
            found.append(TrainedWeight(layer, is_float, stored.stored_dtype, shape))
    return tuple(found)


def _range(filters: NDArray[Any]) -> Range:
    """Chunk by chunk along the axis in which the matrix is stored: a dense layer's may be stored (I, O)."""
    turned = filters.strides[0] < filters.strides[-1]
    stored = filters.T if turned else filters
    wide = np.float64 if filters.dtype == np.float64 else np.float32
    low = np.full(len(filters), np.inf, wide)
    high = np.full(len(filters), -np.inf, wide)
    small = subnormal = 0
    rows = max(1, _CHUNK // max(1, stored.shape[1]))
    for start in range(0, len(stored), rows):
        part = real(stored[start : start + rows])
        place = slice(None) if turned else slice(start, start + rows)
        low[place] = np.minimum(low[place], part.min(0 if turned else 1))  # NaN stays
        high[place] = np.maximum(high[place], part.max(0 if turned else 1))
        size = np.abs(part)
        is_small = size < HALF_SMALLEST_NORMAL
        if count := np.count_nonzero(is_small):
            few = size[is_small]
            small += int(count - np.count_nonzero(few == 0))
            subnormal += int(np.count_nonzero((few < SINGLE_SMALLEST_NORMAL) & (few > 0)))
    return Range(low, high, small, subnormal)


def real(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers of any type as float64 where they are, else as float32, whose range holds all others."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
