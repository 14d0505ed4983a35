"""Cost of a model: parameters, multiply-accumulates, bytes of weights, and its largest activation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from onnxviz.inputs.picture_ports import is_picture
from onnxviz.inputs.samples import ImageOptions
from onnxviz.model.batch_axis import batch_inputs
from onnxviz.model.graph.operators import Family, belongs, convolution_form
from onnxviz.model.graph.scopes import attribute, tensors
from onnxviz.model.graph.shapes import Shapes
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.graph.tensors import external_entry
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model


@dataclass(frozen=True)
class Cost:
    """What a model costs for one sample, or for the batch that it insists on.

    Attributes:
        parameters: trained values, see `onnxviz.model.layers.count_parameters`.
        weight_bytes: bytes of all stored tensors.
        macs: multiply-accumulates of convolutions and matrix products; None where a size is not known.
        activation_bytes: of the largest tensor that a node of the main graph makes of the input; None where the size of
            any is not known.
        largest: that tensor.
        unknown: the first layer or tensor whose size is not known; "" where all are.
    """

    parameters: int
    weight_bytes: int
    macs: int | None
    activation_bytes: int | None
    largest: str
    unknown: str


ShapeOf = Callable[[str, str], Sequence[Dim] | None]
Measured = tuple[tuple[int, ...], int]
"""Shape and `TensorProto.DataType` of a tensor, as a run gave it."""


def cost_of(model: Model, images: ImageOptions, measure: Callable[[list[str]], dict[str, Measured]]) -> Cost:
    """What a model costs, at the size of pictures that it declares, or that was given.

    Multiply-accumulates: of a convolution elements of the output · I/group · kernel, of a transposed one elements of
    the input · O/group · kernel, of a product of matrices elements of the output · the axis that is summed over. What
    else there is (normalisations, activations, poolings) is not counted.

    Args:
        model: the model.
        images: the size of pictures, where it leaves that open.
        measure: the shapes of tensors of the main graph which inference does not tell; those that cannot be told are
            left out.
    """
    shapes = _shapes_of_one(model, images)
    depends = model.scope.descendants(port.name for port in model.inputs)
    made = [name for node in model.scope.graph.node for name in node.output if name in depends]
    known: dict[str, Measured] = {}
    for name in made:
        shape = shapes.of(name)
        whole = tuple(size for size in shape or () if isinstance(size, int))
        if shape is not None and len(whole) == len(shape) and shapes.element_type(name):
            known[name] = (whole, shapes.element_type(name))
    lacking = [name for name in made if name not in known]
    if lacking:
        known |= measure(lacking)

    def shape_of(name: str, scope: str) -> Sequence[Dim] | None:
        return known[name][0] if not scope and name in known else shapes.of(name, scope)

    unknown = next((name for name in made if name not in known), "")
    largest = max(known, key=lambda name: _bytes(known[name]), default="")
    counts = list(macs_by_layer(model, shape_of))
    uncounted = next((layer.name for layer, count in counts if count is None), "")
    return Cost(
        model.parameters,
        sum(stored_bytes(tensor) for tensor in tensors(model.stored)),
        None if uncounted else sum(count or 0 for _, count in counts),
        None if unknown or not largest else _bytes(known[largest]),
        largest,
        unknown or uncounted,
    )


def _bytes(tensor: Measured) -> int:
    return math.ceil(math.prod(tensor[0]) * item_bytes(tensor[1]))


def macs_by_layer(model: Model, shape_of: ShapeOf) -> Iterator[tuple[Layer, int | None]]:
    """The multiply-accumulates of each convolution and product of matrices; None where a size is not known.

    Args:
        model: the model.
        shape_of: the shape of a tensor of the graph at a path, at the sizes that are meant.
    """
    for layer in model.all_layers:
        if layer.is_convolution:
            yield layer, _of_convolution(layer, shape_of)
        elif belongs(layer.producer, Family.MATRIX):
            node, scope = layer.producer, layer.graph_scope.name
            size = _elements(shape_of(node.output[0], scope))
            first = shape_of(node.input[0], scope)
            turned = bool(attribute(node, "transA"))
            summed = first[-2 if turned and len(first) > 1 else -1] if first else None
            yield layer, size * summed if size is not None and isinstance(summed, int) else None


def _of_convolution(layer: Layer, shape_of: ShapeOf) -> int | None:
    node, scope = layer.producer, layer.graph_scope.name
    form = convolution_form(node)
    assert form is not None
    stored = layer.source.shape if layer.source is not None else shape_of(node.input[form.weight], scope)
    size = _elements(shape_of(node.input[0] if form.transposed else node.output[0], scope))
    each = _elements(stored[1:]) if stored else None  # of a transposed one O/group · kernel, else I/group · kernel
    return size * each if size is not None and each is not None else None


def stored_bytes(tensor: TensorProto) -> int:
    """The bytes that a stored tensor takes."""
    if tensor.data_location == TensorProto.EXTERNAL and (length := external_entry(tensor, "length")):
        return int(length)
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    return math.ceil(math.prod(tensor.dims) * item_bytes(tensor.data_type))


def item_bytes(kind: int) -> float:
    """The bytes of an element of a `TensorProto.DataType`; half a byte where two share one."""
    if kind in (TensorProto.INT4, TensorProto.UINT4):
        return 0.5
    if kind == TensorProto.STRING:
        return 8.0
    return float(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _shapes_of_one(model: Model, images: ImageOptions) -> Shapes:
    """Shapes for one sample where the batch is open, at the size of pictures that was given where that is."""
    batched = batch_inputs(model.inputs)
    sizes: dict[str, list[int]] = {}
    for port in model.inputs:
        own: list[Dim] = list(port.shape or ())
        if own and port.name in batched and not isinstance(own[0], int):
            own[0] = 1
        if is_picture(port) and images.size is not None:
            for axis, size in zip("HW", images.size, strict=True):
                place = port.layout.index(axis)
                own[place] = own[place] if isinstance(own[place], int) else size
        whole = [size for size in own if isinstance(size, int)]
        if own and len(whole) == len(own):
            sizes[port.name] = whole
    return model.shapes_at(sizes)


def _elements(shape: Sequence[Dim] | None) -> int | None:
    if shape is None:
        return None
    whole = [size for size in shape if isinstance(size, int)]
    return math.prod(whole) if len(whole) == len(shape) else None
