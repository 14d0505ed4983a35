"""The layer table: which layers a graph has, their geometry, their weights and where those came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from onnx import NodeProto

from onnxviz.errors import ModelError
from onnxviz.inline import SCOPE_KEY
from onnxviz.names import distinct, layer_name
from onnxviz.scopes import Scope, node_attributes, plain_domain, walk
from onnxviz.shapes import Dim, Shapes
from onnxviz.taps import activation_tap
from onnxviz.text import printable
from onnxviz.weights import Array, Constant, Constants, dequantize

TapKind = Literal["activation", "conv"]


@dataclass(frozen=True)
class _Form:
    """Which inputs of a convolution operator hold what."""

    weight: int
    bias: int | None
    weight_scale: int | None = None
    weight_zero: int | None = None
    transposed: bool = False


CONVOLUTIONS: dict[tuple[str, str], _Form] = {
    ("", "Conv"): _Form(1, 2),
    ("", "ConvTranspose"): _Form(1, 2, transposed=True),
    ("", "QLinearConv"): _Form(3, 8, weight_scale=4, weight_zero=5),
    ("", "ConvInteger"): _Form(1, None, weight_zero=3),
    ("com.microsoft", "FusedConv"): _Form(1, 2),
    ("com.microsoft", "QLinearConv"): _Form(3, 8, weight_scale=4, weight_zero=5),
}
# What `--all` adds: the operators that a person would call a layer.
OTHER_LAYERS = frozenset(
    "MaxPool AveragePool LpPool GlobalMaxPool GlobalAveragePool GlobalLpPool Relu LeakyRelu PRelu "
    "ThresholdedRelu Clip Sigmoid Tanh HardSigmoid HardSwish Elu Selu Celu Gelu Softplus Softsign Mish Softmax "
    "LogSoftmax BatchNormalization InstanceNormalization LayerNormalization GroupNormalization LRN Add Concat "
    "Sum Resize Upsample DepthToSpace Gemm MatMul LSTM GRU RNN QLinearAdd QLinearMatMul "
    "QLinearGlobalAveragePool QLinearAveragePool".split()
)


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a model; a row of the table.

    Attributes:
        index: 0-based position among the layers it was listed with, in graph order.
        name: distinct in the model; where it comes from: `onnxviz.names.layer_name`.
        op: the operator, `Conv`, `ConvTranspose`, `QLinearConv`, … or `domain::operator`.
        node: the node's own name.
        scope: "" in the main graph, else the path of the enclosing subgraph or function call.
        strides, dilations: per spatial axis; None where the operator has none.
        group: number of groups; None where the operator has none.
        auto_pad: "NOTSET" where the pads are given.
        taps: tensor names; "conv": what the operator makes, "activation": the layer's output.
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
    folded_batch_norm: bool | None
    source: Constant | None
    _graph: Scope = field(repr=False)
    _proto: NodeProto = field(repr=False)
    _form: _Form | None = field(repr=False)
    _constants: Constants = field(repr=False)
    _shapes: Shapes = field(repr=False)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.weight_shape)) if self.weight_shape else "no constant weight"
        return f"Layer({self.index}, {self.name!r}, {self.op}, {shape})"

    @property
    def graph_scope(self) -> Scope:
        """The graph that the layer's tensors belong to."""
        return self._graph

    def constant(self, tensor: str) -> Array | None:
        """The values of a constant as seen from the layer's graph, None if there is none of that name."""
        return self._constants.value(self._graph, tensor)

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
    def weight(self) -> Array:
        """The filters, (O, I/group, spatial…), read-only; O filters of I/group channels.

        A view into the file where the model stores it so. ConvTranspose, stored (I, O/group, spatial…), is
        rearranged; quantised weights are dequantised (ConvInteger, which has no scale: zero point subtracted).

        Raises:
            ModelError: the weight is not a constant of the model.
        """
        if self.source is None:
            raise ModelError(f"layer '{self.name}' ({self.op}) has no constant weight")
        try:
            return self._weight(self.source.array)
        except (ArithmeticError, ValueError, LookupError, TypeError, MemoryError) as error:
            raise ModelError(f"the weight of layer '{self.name}' ({self.op}) cannot be read: {error}") from None

    def _weight(self, array: Array) -> Array:
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
        if array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        return array

    def _dequantized(self, array: Array, form: _Form) -> Array:
        zero = self._operand(form.weight_zero)
        if form.weight_scale is None:
            return array if zero is None else dequantize(array, np.asarray(1, np.int32), zero, axis=0)
        scale = self._operand(form.weight_scale)
        return array if scale is None else dequantize(array, scale, zero, axis=0)

    def _operand(self, index: int | None) -> Array | None:
        names = self._proto.input
        if index is None or index >= len(names):
            return None
        return self.constant(names[index])

    @cached_property
    def bias(self) -> Array | None:
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
        if self._form.weight_scale is not None:
            return "float32"
        if self._form.weight_zero is not None and len(self._proto.input) > self._form.weight_zero:
            return "int32"
        return self.source.dtype

    @property
    def weight_source(self) -> str | None:
        """How the weight is stored: "initializer", "constant", "computed" or "dequantized"."""
        if self.source is None:
            return None
        quantized = self._form is not None and self._form.weight_scale is not None
        return "dequantized" if quantized else self.source.source

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        count = int(np.prod(self.weight_shape, dtype=np.int64)) if self.weight_shape else 0
        return count + (self.weight_shape[0] if self.has_bias and self.weight_shape else 0)

    @property
    def kernel(self) -> tuple[int, ...] | None:
        """Spatial size of the filters."""
        if self.weight_shape:
            return self.weight_shape[2:]
        given = node_attributes(self._proto).get("kernel_shape")
        return tuple(given.ints) if given is not None else None

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
    def pads(self) -> tuple[int, ...] | None:
        """Begin of each spatial axis, then end of each; None if `auto_pad` needs sizes that are not known."""
        if self.strides is None:
            return None
        attributes = node_attributes(self._proto)
        rank = len(self.strides)
        if self.auto_pad == "VALID":
            return (0,) * (2 * rank)
        if "output_shape" in attributes and self._form is not None and self._form.transposed:
            return self._transposed_pads(list(attributes["output_shape"].ints)[-rank:])
        if self.auto_pad == "NOTSET":
            return tuple(attributes["pads"].ints) if "pads" in attributes else (0,) * (2 * rank)
        if self._form is not None and self._form.transposed:
            return self._transposed_pads(None)
        sizes, extents = self._input_sizes(rank), self._extents()
        if sizes is None or extents is None:
            return None
        # SAME: as many outputs as input / stride, rounded up (ONNX Conv specification, `auto_pad`).
        totals = [
            max((-(-size // s) - 1) * s + extent - size, 0)
            for size, extent, s in zip(sizes, extents, self.strides, strict=True)
        ]
        return self._halves(totals)

    def _transposed_pads(self, outputs: list[int] | None) -> tuple[int, ...] | None:
        """Pads of a ConvTranspose that states its output's size, or SAME (ONNX ConvTranspose specification)."""
        rank = len(self.strides or ())
        sizes, extents = self._input_sizes(rank), self._extents()
        if sizes is None or extents is None or self.strides is None:
            return None
        given = node_attributes(self._proto).get("output_padding")
        padding = tuple(given.ints) if given is not None else (0,) * rank
        wanted = outputs or [size * stride for size, stride in zip(sizes, self.strides, strict=True)]
        totals = [
            max(s * (size - 1) + extra + extent - out, 0)
            for s, size, extra, extent, out in zip(self.strides, sizes, padding, extents, wanted, strict=True)
        ]
        return self._halves(totals)

    def _halves(self, totals: list[int]) -> tuple[int, ...]:
        """Begin and end pads; the odd one at the end for SAME_UPPER, else at the begin."""
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        return (*small, *large) if self.auto_pad == "SAME_UPPER" else (*large, *small)

    def _input_sizes(self, rank: int) -> list[int] | None:
        shape = self._shapes.of(self._proto.input[0], self._graph.name)
        sizes = [dim for dim in (shape or ())[2:] if isinstance(dim, int)]
        return sizes if shape is not None and len(shape) == rank + 2 and len(sizes) == rank else None

    def _extents(self) -> list[int] | None:
        """How far each filter reaches, dilation included."""
        if self.kernel is None or self.dilations is None or len(self.kernel) != len(self.dilations):
            return None
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

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
            "output_shape": _list(self.output_shape),
            "parameters": self.parameters,
        }


def find_layers(
    top: Scope,
    constants: Constants,
    shapes: Shapes,
    names: Mapping[tuple[str, str], str],
    ops: Iterable[str] | None = None,
) -> tuple[Layer, ...]:
    """The layers of a graph and its subgraphs, in graph order.

    Args:
        top: the main graph.
        constants: finds weights.
        shapes: output shapes, looked up when they are asked for.
        names: what `name_nodes` gives.
        ops: operators to list; None for the convolutions.

    Raises:
        ModelError: a convolution whose geometry is impossible.
    """
    wanted = None if ops is None else frozenset(ops)
    found: list[Layer] = []
    for scope, node in walk(top):
        form = _form(node)
        if not node.output or not node.output[0]:
            continue
        if (form is None) if wanted is None else (node.op_type not in wanted):
            continue
        name = names[scope.name, node.output[0]]
        found.append(_layer(len(found), name, scope, node, form, constants, shapes))
    return tuple(found)


def name_nodes(top: Scope, constants: Constants) -> dict[tuple[str, str], str]:
    """A distinct name for each node, by the path of its graph and its first output.

    Convolutions choose first, so that they are called the same whatever else is listed; `conv_0`, `relu_3`, … where
    the model names nothing.
    """
    nodes = [(scope, node) for scope, node in walk(top) if node.output and node.output[0]]
    nodes.sort(key=lambda item: _form(item[1]) is None)  # stable: graph order otherwise
    keys, names, kinds, scopes = [], [], [], []
    for scope, node in nodes:
        form = _form(node)
        place = 1 if form is None else form.weight
        weight = None
        if form is not None and place < len(node.input):
            found = constants.find(scope, node.input[place])
            weight = found.tensor if found is not None else None
        elif place < len(node.input) and (home := scope.home(node.input[place])) is not None:
            weight = node.input[place] if node.input[place] in home.initializers else None
        keys.append((scope.name, node.output[0]))
        names.append(printable(layer_name(node, weight), 200))
        kinds.append("conv" if form is not None else node.op_type.lower())
        scopes.append(_display_scope(scope, node))
    times = Counter(names)
    counts: Counter[str] = Counter()
    for position, name in enumerate(names):
        if not name:
            names[position] = f"{kinds[position]}_{counts[kinds[position]]}"
            counts[kinds[position]] += 1
        elif scopes[position] and times[name] > 1:
            names[position] = f"{scopes[position]}/{name}"
    return dict(zip(keys, distinct(names), strict=True))


def _form(node: NodeProto) -> _Form | None:
    return CONVOLUTIONS.get((plain_domain(node.domain), node.op_type))


def _display_scope(scope: Scope, node: NodeProto) -> str:
    """Where a node is: the path of its graph, then that of the function calls it came from."""
    call = next((entry.value for entry in node.metadata_props if entry.key == SCOPE_KEY), "")
    return "/".join(filter(None, (scope.name, call)))


def _layer(
    index: int,
    name: str,
    scope: Scope,
    node: NodeProto,
    form: _Form | None,
    constants: Constants,
    shapes: Shapes,
) -> Layer:
    attributes = node_attributes(node)
    domain = plain_domain(node.domain)
    label = f"{node.op_type} '{printable(node.name or node.output[0])}'"
    weight = None
    if form is not None:
        if form.weight >= len(node.input):
            raise ModelError(f"{label} has no weight input")
        weight = constants.find(scope, node.input[form.weight])
    rank = None
    if form is not None:
        if weight is not None and len(weight.shape) < 3:
            raise ModelError(f"{label} has a weight of shape {weight.shape}; a convolution's has 3 or more dimensions")
        if weight is not None:
            rank = len(weight.shape) - 2
        elif "kernel_shape" in attributes:
            rank = len(attributes["kernel_shape"].ints)
    group = attributes["group"].i if "group" in attributes else 1 if form is not None else None
    strides, dilations = (
        tuple(attributes[key].ints) if key in attributes else (1,) * rank if rank is not None else None
        for key in ("strides", "dilations")
    )
    if form is not None:
        _check_geometry(label, weight, form, group, strides, dilations, rank)
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    return Layer(
        index=index,
        name=name,
        op=f"{domain}::{node.op_type}" if domain else node.op_type,
        node=node.name,
        scope=_display_scope(scope, node),
        strides=strides if form is not None or "strides" in attributes else None,
        dilations=dilations if form is not None else None,
        group=group,
        auto_pad=attributes["auto_pad"].s.decode("utf-8", "replace") if "auto_pad" in attributes else "NOTSET",
        taps={
            "conv": node.output[0],
            "activation": activation_tap(scope, node, constants) if form is not None else node.output[0],
        },
        folded_batch_norm=_folded(scope, node, metadata) if form is not None else None,
        source=weight,
        _graph=scope,
        _proto=node,
        _form=form,
        _constants=constants,
        _shapes=shapes,
    )


def _check_geometry(
    label: str,
    weight: Constant | None,
    form: _Form,
    group: int | None,
    strides: tuple[int, ...] | None,
    dilations: tuple[int, ...] | None,
    rank: int | None,
) -> None:
    if group is None or group < 1:
        raise ModelError(f"{label} has group {group}; it must be 1 or more")
    for key, values in (("strides", strides), ("dilations", dilations)):
        if values and min(values) < 1:
            raise ModelError(f"{label} has {key} {list(values)}; each must be 1 or more")
        if values is not None and rank is not None and len(values) != rank:
            raise ModelError(f"{label} has {len(values)} {key} for {rank} spatial axes")
    if weight is not None and weight.shape[0] % group:
        side = "input" if form.transposed else "output"
        raise ModelError(f"{label} has {weight.shape[0]} {side} channels in {group} groups")


def _folded(scope: Scope, node: NodeProto, metadata: dict[str, str]) -> bool | None:
    """True where an exporter noted the fold, False where the normalisation still follows, else None."""
    if "FuseBatchNorm" in metadata.get("pkg.onnxscript.rewriter.rule_name", ""):
        return True
    readers = scope.consumers.get(node.output[0], [])
    if any(reader.op_type == "BatchNormalization" for reader in readers):
        return False
    return None


def _list(values: Iterable[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)
