"""The listing of a model: its inputs, outputs and layers as plain data, in the order of axes that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from onnxviz.arguments import typed
from onnxviz.messages import one_of, unheeded
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model, Source, load
from onnxviz.model.ports import Port

Layout = Literal["onnx", "keras"]


@typed
def layers(
    model: Source, *, all: bool = False, ops: Sequence[str] | None = None, layout: Layout = "onnx"
) -> dict[str, Any]:
    """The layers of a model with their geometry, shapes and weights, as JSON types (`onnxviz layers --json`).

    `Model.layers` has the same as objects, with the weights themselves.

    Args:
        model: an opened model, or what `load` opens.
        all: poolings, activations, normalisations and dense layers too, not only convolutions.
        ops: just the layers of these operators.
        layout: the order of axes in shapes: (O, I/group, spatial…) and (N, C, spatial…), or as Keras has them.

    Raises:
        InputError: `all` and `ops` together, or no such layout.
        ModelError: the model cannot be opened.
    """
    one_of("layout", layout, ("onnx", "keras"))
    opened = load(model)
    return listing(opened, chosen_layers(opened, all, ops), layout)


def chosen_layers(model: Model, all_layers: bool, operators: Sequence[str] | None) -> Sequence[Layer]:
    """The layers to list: every one, those of some operators, or the convolutions.

    Raises:
        UnheededOptionError: every one and some operators' at once.
    """
    if all_layers and operators is not None:
        raise unheeded("{all} lists every layer, {ops} those of some operators: leave one of them out")
    if operators is not None:
        return model.layers_of(operators)
    return model.all_layers if all_layers else model.layers


def listing(model: Model, chosen: Sequence[Layer], layout: Layout) -> dict[str, Any]:
    """The document of `layers` for chosen layers."""
    rows = []
    for layer in chosen:
        row = layer.row()
        if layout == "keras":
            if row["weight"] is not None:
                row["weight"]["shape"] = _list(weight_shape(layer, layout))
            row["output_shape"] = _list(output_shape(layer, layout))
        rows.append(row)
    expected = model.expected_range
    return {
        "model": model.label,
        "producer": " ".join(filter(None, (model.proto.producer_name, model.proto.producer_version))),
        "ir_version": model.proto.ir_version,
        "opset": model.opset,
        "parameters": model.parameters,
        "layout": layout,
        "inputs": [_row(port) for port in model.inputs],
        "outputs": [_row(port) for port in model.outputs],
        "preprocessing": model.preprocessing,
        "preprocessing_source": model.preprocessing_source,
        "expects": None if expected is None else {**expected.as_dict(), **expected.reasons()},
        "preprocessing_conflict": model.preprocessing_conflict or None,
        "layers": rows,
        "shape_inference": model.shapes.failure or None,
    }


def weight_shape(layer: Layer, layout: Layout) -> tuple[int, ...] | None:
    """The weight's shape: (O, I/group, spatial…), or as Keras keeps it.

    Keras: (spatial…, I, O); Conv2DTranspose (spatial…, O, I); depthwise (spatial…, I, multiplier).
    """
    shape = layer.weight_shape
    if shape is None or layout == "onnx" or not layer.is_convolution:
        return shape
    outputs, inputs, *kernel = shape
    group = layer.group or 1
    if layer.op == "ConvTranspose":
        return (*kernel, outputs, inputs)
    if group > 1 and inputs == 1:
        return (*kernel, group, outputs // group)
    return (*kernel, inputs, outputs)


def output_shape(layer: Layer, layout: Layout) -> tuple[Dim, ...] | None:
    """The output's shape: (N, C, spatial…), or with channels last as in Keras."""
    shape = layer.output_shape
    if shape is None or layout == "onnx" or len(shape) < 3:
        return shape
    return (shape[0], *shape[2:], shape[1])


def _row(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": _list(port.shape), "layout": port.layout or None}


def _list(values: Sequence[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)
