"""A layer: its geometry, its weights and where those came from, its output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.errors import ModelError
from onnxviz.model.graph.constants import Constant, Constants, dequantize
from onnxviz.model.graph.operators import Family, Form, belongs, running_statistics, settings_inputs
from onnxviz.model.graph.scopes import Scope
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.graph.tensors import frozen
from onnxviz.model.graph.windows import Window, explicit_pads, kernel_of
from onnxviz.model.integer_scale import filter_scale
from onnxviz.model.naming import keras_index
from onnxviz.model.taps import OWN_OUTPUT, ActivationTap

TapKind = Literal["activation", "conv"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a model; a row of the table.

    Attributes:
        index: 0-based position among the layers it was listed with, in graph order.
        name: distinct in the model; where it comes from: `onnxviz.model.naming.layer_name`.
        op: the operator, `Conv`, `ConvTranspose`, `QLinearConv`, … or `domain::operator`.
        node: the node's own name.
        scope: "" in the main graph, else the path of the enclosing subgraph or function call.
        strides, dilations: per spatial axis; None where the operator has none.
        group: number of groups; None where the operator has none.
        auto_pad: "NOTSET" where the pads are given.
        taps: tensor names; "conv": what the operator makes, "activation": the layer's output.
        activation: what lies between the two taps, or why nothing does.
        folded_batch_norm: whether a batch normalisation was multiplied into the weight; None where nothing tells.
    """

    index: int
    name: str
    op: str
    node: str
    scope: str
    strides: tuple[int, ...] | None
    dilations: tuple[int, ...] | None
    group: int | None
    auto_pad: str
    taps: dict[str, str]
    activation: ActivationTap
    folded_batch_norm: bool | None
    source: Constant | None
    _graph: Scope = field(repr=False)
    _proto: NodeProto = field(repr=False)
    _form: Form | None = field(repr=False)
    _constants: Constants = field(repr=False)
    _shapes: Shapes = field(repr=False)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.weight_shape)) if self.weight_shape else "no constant weight"
        return f"Layer({self.index}, {self.name!r}, {self.op}, {shape})"

    @property
    def producer(self) -> NodeProto:
        """The layer's node; to be read, not changed."""
        return self._proto

    @property
    def keras_index(self) -> int | None:
        """The n for which the layer is `model.layers[n]` in the Keras model that was converted; None if none is known.

        Layers inside a layer, as in a model within a model, have none. The two convolutions of a separable one share
        theirs.
        """
        return keras_index(self._proto)

    @property
    def graph_scope(self) -> Scope:
        """The graph that the layer's tensors belong to."""
        return self._graph

    @property
    def sample_axis(self) -> int:
        """Which axis of its tensors counts samples once they are given out of the graph.

        0, or 1 for each Loop or Scan around the layer, whose turns come first.
        """
        axis, scope = 0, self._graph
        while scope.owner is not None and scope.parent is not None:
            axis += belongs(scope.owner[0], Family.LOOPING)
            scope = scope.parent
        return axis

    def tapped(self, at: TapKind) -> str:
        """Which tensor a tap is, in words: "after BatchNormalization, Relu", "the operator's own output: …"."""
        return str(self.activation) if at == "activation" else OWN_OUTPUT

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """The values of a constant as seen from the layer's graph, None if there is none of that name."""
        return self._constants.value(self._graph, tensor)

    def constant_shape(self, tensor: str) -> tuple[int, ...] | None:
        """As `constant`, its shape; reads no values."""
        found = self._constants.find(self._graph, tensor)
        return None if found is None else found.shape

    @property
    def is_convolution(self) -> bool:
        """Whether the layer is a convolution of any kind."""
        return self._form is not None

    @cached_property
    def weight_shape(self) -> tuple[int, ...] | None:
        """Shape of `weight`, (O, I/group, spatial…); None where the weight is not constant. Reads no weight."""
        if self.source is None:
            return None
        shape = self.source.shape
        if self._form is not None and self._form.transposed:
            group = self.group or 1
            return (shape[1] * group, shape[0] // group, *shape[2:])
        return shape

    @cached_property
    def weight(self) -> NDArray[Any]:
        """The filters, (O, I/group, spatial…), read-only; O filters of I/group channels.

        A view into the file where the model stores it so. ConvTranspose, stored (I, O/group, spatial…), is
        rearranged; quantised weights are dequantised. ConvInteger has no scale of its own: it is that of the graph
        behind it, and where there is none the weight is `counts`, with the zero point subtracted.

        Raises:
            ModelError: the weight is not a constant of the model.
        """
        if self.source is None:
            raise ModelError(f"layer '{self.name}' ({self.op}) has no constant weight")
        try:
            return self._weight(self.source.array)
        except (ArithmeticError, ValueError, LookupError, TypeError, MemoryError) as error:
            raise ModelError(f"the weight of layer '{self.name}' ({self.op}) cannot be read: {error}") from None

    def _weight(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.dtype.kind in "OSU":
            raise TypeError("it holds text")
        form = self._form
        if form is not None and form.weight_zero is not None:
            array = self._dequantized(array, form)
        if form is not None and form.transposed:
            group = self.group or 1
            inputs, outputs, *kernel = array.shape
            grouped = array.reshape(group, inputs // group, outputs, *kernel).swapaxes(1, 2)
            array = grouped.reshape(self.weight_shape)
        return frozen(array)

    def _dequantized(self, array: NDArray[Any], form: Form) -> NDArray[Any]:
        zero = self._operand(form.weight_zero)
        if form.weight_scale is not None:
            scale = self._operand(form.weight_scale)
            return array if scale is None else dequantize(array, scale, zero, axis=0)
        if self._scale_behind is not None:
            return dequantize(array, self._scale_behind, zero, axis=0)
        return array if zero is None else dequantize(array, np.asarray(1, np.int32), zero, axis=0)

    @cached_property
    def _scale_behind(self) -> NDArray[Any] | None:
        """The scale of a ConvInteger's weight, (1,) or (O,); None where nothing tells, and for other operators."""
        if self._form is None or not self._form.integer or self.weight_shape is None:
            return None
        return filter_scale(self._graph, self._proto, self.weight_shape, self._constants)

    @property
    def counts(self) -> bool:
        """Whether `weight` counts quantisation steps that nothing in the graph gives a scale: a bare ConvInteger."""
        return self._form is not None and self._form.integer and self._scale_behind is None

    def _operand(self, index: int | None) -> NDArray[Any] | None:
        names = self._proto.input
        if index is None or index >= len(names):
            return None
        return self.constant(names[index])

    @cached_property
    def bias(self) -> NDArray[Any] | None:
        """The bias, (O,), read-only; None where there is none or it is not constant.

        A quantised bias (int32) is multiplied by its scale, input scale · weight scale (ONNX QLinearConv).
        """
        form = self._form
        if form is None or form.bias is None:
            return None
        bias = self._operand(form.bias)
        if bias is None or form.weight_scale is None:
            return bias
        scale, weight_scale = self._operand(1), self._operand(form.weight_scale)
        try:
            return bias if scale is None or weight_scale is None else bias * (scale * weight_scale)
        except (ValueError, TypeError) as error:
            raise ModelError(f"the bias of layer '{self.name}' ({self.op}) cannot be read: {error}") from None

    @property
    def has_bias(self) -> bool:
        """Whether the operator itself adds a bias."""
        form = self._form
        names = self._proto.input
        return form is not None and form.bias is not None and len(names) > form.bias and bool(names[form.bias])

    @property
    def dtype(self) -> str | None:
        """Name of the type of `weight`; None where it is not constant."""
        if self.source is None or self._form is None:
            return None
        if self._form.weight_scale is not None or self._scale_behind is not None:
            return "float32"
        if self._form.weight_zero is not None and len(self._proto.input) > self._form.weight_zero:
            return "int32"
        return self.source.dtype

    @property
    def weight_source(self) -> str | None:
        """How the weight is stored: "initializer", "constant", "computed" or "dequantized"."""
        if self.source is None:
            return None
        quantized = self._form is not None and (self._form.weight_scale is not None or self._scale_behind is not None)
        return "dequantized" if quantized else self.source.source

    @property
    def parameters(self) -> int:
        """Number of trained values: weights and biases; of other layers than convolutions, what they read as constants.

        Values that several layers share count in each.
        """
        if self._form is None:
            beside = {*settings_inputs(self._proto), *running_statistics(self._proto)}
            read = [
                self._constants.find(self._graph, name) for name in self._proto.input if name and name not in beside
            ]
            return sum(one.size for one in read if one is not None and one.is_trained)
        count = int(np.prod(self.weight_shape, dtype=np.int64)) if self.weight_shape else 0
        return count + (self.weight_shape[0] if self.has_bias and self.weight_shape else 0)

    @property
    def kernel(self) -> tuple[int, ...] | None:
        """Spatial size of the filters."""
        if self.weight_shape:
            return self.weight_shape[2:]
        return kernel_of(self._proto, lambda tensor: None)

    @property
    def output_shape(self) -> tuple[Dim, ...] | None:
        """Shape of the activation tap, (N, C, spatial…), by shape inference.

        A size for each known dimension, its name for a symbolic one, None for an unknown one; None if even the
        rank is unknown.
        """
        kind: TapKind
        for kind in ("activation", "conv"):
            shape = self._shapes.of(self.taps[kind], self._graph.name)
            if shape is not None:
                return shape
        return None

    @property
    def filters(self) -> int | None:
        """How many filters the layer has: channels of its output; None if that shows only when it runs."""
        shape = self.output_shape
        if shape is not None and len(shape) > 1 and isinstance(shape[1], int):
            return shape[1]
        return self.weight_shape[0] if self.is_convolution and self.weight_shape else None

    @property
    def pads(self) -> tuple[int, ...] | None:
        """Begin of each spatial axis, then end of each; None if they depend on sizes that are not known."""
        if self.strides is None:
            return None
        rank = len(self.strides)
        if self.kernel is None:
            return explicit_pads(self._proto, rank)
        window = Window.of(self._proto, self.kernel, self._input_sizes(rank))
        return tuple(window.pads) if window is not None else None

    def _input_sizes(self, rank: int) -> list[int] | None:
        shape = self._shapes.of(self._proto.input[0], self._graph.name)
        sizes = [dim for dim in (shape or ())[2:] if isinstance(dim, int)]
        return sizes if shape is not None and len(shape) == rank + 2 and len(sizes) == rank else None

    def row(self) -> dict[str, Any]:
        """The layer as the JSON object of `onnxviz layers`."""
        weight = None
        if self._form is not None:
            weight = {
                "shape": list(self.weight_shape) if self.weight_shape else None,
                "dtype": self.dtype,
                "source": self.weight_source,
                "tensor": self.source.tensor if self.source else None,
                "stored_shape": list(self.source.shape) if self.source else None,
                "stored_dtype": self.source.stored_dtype if self.source else None,
                "counts": self.counts,
            }
        return {
            "index": self.index,
            "name": self.name,
            "op": self.op,
            "node": self.node,
            "scope": self.scope,
            "weight": weight,
            "bias": self.has_bias,
            "bias_shape": [self.weight_shape[0]] if self.has_bias and self.weight_shape else None,
            "strides": _list(self.strides),
            "pads": _list(self.pads),
            "dilations": _list(self.dilations),
            "group": self.group,
            "auto_pad": self.auto_pad,
            "folded_batch_norm": self.folded_batch_norm,
            "taps": dict(self.taps),
            "activation": {"through": list(self.activation.through), "ends": self.activation.ends},
            "output_shape": _list(self.output_shape),
            "parameters": self.parameters,
            "keras_index": self.keras_index,
        }


def _list(values: Iterable[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)
