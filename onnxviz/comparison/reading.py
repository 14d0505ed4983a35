"""Readings: which tensor of a layer is compared, and how its values are read as real numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from onnxviz.comparison.error_sums import ErrorSums
from onnxviz.model.graph.constants import dequantize, quantize
from onnxviz.model.graph.operators import Family, belongs, output_scale
from onnxviz.model.graph.scopes import Scope
from onnxviz.model.layer import Layer, TapKind
from onnxviz.model.model import Model
from onnxviz.model.taps import Quantization, quantization
from onnxviz.passes.expose import Tap


class Precision(Enum):
    """What a layer computes in."""

    FULL = "float32 or wider"
    HALF = "float16 or bfloat16"
    QUANTISED = "integers with a scale"

    @classmethod
    def of(cls, layer: Layer, reading: Reading) -> Precision:
        """That of a layer whose output is read so."""
        integers = belongs(layer.producer, Family.INTEGER)
        if integers or reading.scale is not None or layer.weight_source == "dequantized":
            return cls.QUANTISED
        return cls.HALF if layer.dtype in ("float16", "bfloat16") else cls.FULL


@dataclass(frozen=True, eq=False)
class Reading:
    """A tensor of a layer, and how to read it.

    Attributes:
        tap: the tensor; (N, C, spatial…), behind an axis for each loop around the layer.
        activated: whether an activation has been applied; None where saturation may or may not stand for one.
        scale: size of a quantisation step of its values, one or (C,); None where they are not quantised.
        zero_point: of what is stored as integers, one or (C,); None where it is stored as real numbers.
        saturates: whether rounding cuts at zero, as a ReLU does.
        stored: whether the tensor holds integers, which `real` turns into numbers.
        axis: which axis counts samples, see `Layer.sample_axis`; channels are the next.
    """

    tap: Tap
    activated: bool | None = None
    scale: NDArray[Any] | None = None
    zero_point: NDArray[Any] | None = None
    saturates: bool = False
    stored: bool = False
    axis: int = 0

    @classmethod
    def of(cls, layer: Layer, at: TapKind = "activation") -> Reading:
        """How a layer's output is read.

        The tap of the layer; where no activation follows its operator, behind the constant factors, offsets and
        normalisations that do, since the other model may have them folded into the weight. Where the tensor is rounded
        to quantisation steps at once, the rounded values: the unrounded ones exist on paper only.
        """
        tap = layer.activation
        tensor = layer.taps[at]
        if at == "activation" and not tap.activated:
            tensor = tap.scaled or tensor
        activated: bool | None = at == "activation" and (tap.activated or tap.reordered is not None)
        scope = layer.graph_scope
        if tensor == layer.producer.output[0]:
            tensor = _biased(layer, _rescaled(layer, tensor))
            if at == "activation" and (rectified := _rectified(layer, tensor)):
                tensor, activated = rectified, True
        readers = scope.consumers.get(tensor, [])
        found = quantization(scope, tensor)
        if found is None and len(readers) == 1 and readers[0].op_type == "QuantizeLinear":
            rounded = [
                one for one in scope.consumers.get(readers[0].output[0], []) if one.op_type == "DequantizeLinear"
            ]
            if rounded:
                tensor = rounded[0].output[0]
        scale, zero = _constants(layer.constant, found or _dequantised(scope, tensor))
        saturates = scale is not None and _is_lowest(zero)
        if saturates and not activated and at == "activation":
            activated = None  # quantisation tools leave a ReLU out where saturation cuts at zero
        stored = found is not None
        return cls(Tap(tensor, scope.name), activated, scale, zero, saturates, stored, layer.sample_axis)

    @classmethod
    def entering(cls, layer: Layer) -> Reading:
        """How a layer's input is read, where it comes in: rounded already, if its operator reads it so."""
        scope, node = layer.graph_scope, layer.producer
        tensor = next((name for name in node.input if name and layer.constant_shape(name) is None), node.input[0])
        producer = scope.producers.get(tensor)
        if producer is not None and producer.op_type == "DynamicQuantizeLinear":
            return cls(Tap(producer.input[0], scope.name))
        found, integers = _dequantised(scope, tensor), tensor
        if found is not None and producer is not None:
            integers = producer.input[0]
        elif belongs(node, Family.INTEGER) and output_scale(node) is not None:
            found = Quantization(node.input[1], node.input[2])
        else:
            found = quantization(scope, tensor)
        scale, zero = _constants(layer.constant, found)
        if scale is None or (zero is not None and zero.dtype.kind not in "iu"):
            return cls(Tap(tensor, scope.name), axis=layer.sample_axis)
        return cls(Tap(integers, scope.name), None, scale, zero, stored=True, axis=layer.sample_axis)

    @classmethod
    def of_tensor(cls, model: Model, tensor: str) -> Reading:
        """How a tensor of the main graph is read that is no layer's, such as an output."""
        found = quantization(model.scope, tensor)
        scale, zero = _constants(partial(model.constants.value, model.scope), found)
        return cls(Tap(tensor), None, scale, zero, stored=found is not None)

    @property
    def stored_type(self) -> int:
        """`TensorProto.DataType` of what is stored as integers; 0 where it is not."""
        if not self.stored:
            return TensorProto.UNDEFINED
        kind = np.dtype(np.uint8) if self.zero_point is None else self.zero_point.dtype
        return int(helper.np_dtype_to_tensor_dtype(kind))

    def stored_from(self, values: NDArray[Any], dtype: Any) -> NDArray[Any]:
        """Real numbers as the tensor stores them: what `real` reads, rounded to steps as QuantizeLinear does.

        Args:
            values: (N, C, …).
            dtype: of the tensor where it stores real numbers; None for that of `values`.
        """
        if not self.stored or self.scale is None:
            with np.errstate(over="ignore"):  # float16 does overflow, which is what is looked for
                return values if dtype is None else values.astype(dtype, copy=False)
        return quantize(values, self.scale, self.zero_point)

    def in_steps(self, sums: ErrorSums) -> float | None:
        """The root mean square error in quantisation steps; None where the values have none."""
        if self.scale is None or not sums.count.sum():
            return None
        steps = sums.noise / np.broadcast_to(self.scale.astype(np.float64).reshape(-1), sums.noise.shape) ** 2
        return float(np.sqrt(steps.sum() / sums.count.sum()))

    def real(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values as real numbers."""
        if self.stored and self.scale is not None:
            return dequantize(values, self.scale, self.zero_point)
        return values


def _dequantised(scope: Scope, tensor: str) -> Quantization | None:
    """How the integers are read of which a DequantizeLinear makes a tensor; None where none does."""
    node = scope.producers.get(tensor)
    return Quantization.of(node) if node is not None and node.op_type == "DequantizeLinear" else None


def _constants(
    value: Callable[[str], NDArray[Any] | None], found: Quantization | None
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Scale and zero point by their names; None for what there is not, or is not constant."""
    return (None, None) if found is None else (value(found.scale), value(found.zero_point))


def _rescaled(layer: Layer, tensor: str) -> str:
    """The end of the Cast and the Mul that turn sums of integers into real numbers; `tensor` where these do not follow.

    Dynamic quantisation writes them behind ConvInteger and MatMulInteger.
    """
    if not belongs(layer.producer, Family.INTEGER):
        return tensor
    cast = layer.graph_scope.only_reader(tensor)
    if cast is None or cast.op_type != "Cast":
        return tensor
    scaling = layer.graph_scope.only_reader(cast.output[0])
    return scaling.output[0] if scaling is not None and scaling.op_type == "Mul" else tensor


def _biased(layer: Layer, tensor: str) -> str:
    """The end of the constant offset that follows where the operator may have no bias of its own; else `tensor`.

    The other model may have it in a Gemm or a Conv. What only rounds to steps is passed on the way.
    """
    if not belongs(layer.producer, Family.MATRIX | Family.INTEGER):
        return tensor
    node = _unrounded_reader(layer, tensor)
    plain = node is not None and node.op_type == "Add"
    if node is None or not (plain or node.op_type == "QLinearAdd"):
        return tensor
    operands = node.input[0], node.input[1 if plain else 3]
    constant = [layer.constant_shape(name) is not None for name in operands]
    return str(node.output[0]) if sum(constant) == 1 else tensor


def _rectified(layer: Layer, tensor: str) -> str:
    """The end of the Relu that follows a product of other than a constant matrix, whose taps know none; "" for none."""
    node = _unrounded_reader(layer, tensor) if belongs(layer.producer, Family.MATRIX) else None
    return str(node.output[0]) if node is not None and node.op_type == "Relu" else ""


def _unrounded_reader(layer: Layer, tensor: str) -> NodeProto | None:
    """The only reader of a tensor, those passed over that only round it to steps; None where there is none."""
    node = layer.graph_scope.only_reader(tensor)
    while node is not None and belongs(node, Family.QUANTISING | Family.DEQUANTISING):
        node = layer.graph_scope.only_reader(node.output[0])
    return node


def _is_lowest(zero: NDArray[Any] | None) -> bool:
    """Whether zero is the smallest number of a quantised type: the default is uint8's 0."""
    if zero is None:
        return True
    return zero.dtype.kind in "iu" and bool((zero == np.iinfo(zero.dtype).min).all())
