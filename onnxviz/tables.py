"""The layer table on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxviz.layers import Layer
from onnxviz.model import Model, Port
from onnxviz.shapes import Dim
from onnxviz.text import printable

Layout = Literal["onnx", "keras"]


def document(model: Model, layers: Sequence[Layer], layout: Layout) -> dict[str, Any]:
    """The JSON document of `onnxviz layers`."""
    rows = []
    for layer in layers:
        row = layer.row()
        if layout == "keras":
            if row["weight"] is not None:
                row["weight"]["shape"] = _list(weight_shape(layer, layout))
            row["output_shape"] = _list(output_shape(layer, layout))
        rows.append(row)
    return {
        "model": model.label,
        "producer": " ".join(filter(None, (model.proto.producer_name, model.proto.producer_version))),
        "ir_version": model.proto.ir_version,
        "opset": model.opset,
        "parameters": model.parameters,
        "layout": layout,
        "inputs": [_port(port) for port in model.inputs],
        "outputs": [_port(port) for port in model.outputs],
        "preprocessing": model.preprocessing,
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


def layer_table(model: Model, layers: Sequence[Layer], layout: Layout) -> RenderableType:
    """A heading with the model's facts, and one row per layer; columns that would say nothing are left out."""
    order = "spatial × I × O" if layout == "keras" else "O × I × spatial"
    grouped = any((layer.group or 1) > 1 for layer in layers)
    dilated = any(max(layer.dilations or (1,)) > 1 for layer in layers)
    scoped = any(layer.scope for layer in layers)
    typed = any(layer.dtype not in ("float32", None) for layer in layers)
    traced = any(layer.weight_source not in ("initializer", None) for layer in layers)
    normalised = any(layer.folded_batch_norm is not None for layer in layers)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1))
    table.add_column("#", justify="right", style="dim", no_wrap=True)
    table.add_column("layer", style="cyan", overflow="fold", min_width=8)
    table.add_column("operator", no_wrap=True)
    table.add_column(Text.assemble("filters ", (order, "dim")), no_wrap=True)
    table.add_column("stride", no_wrap=True)
    table.add_column("pads", no_wrap=True)
    for shown, heading in ((dilated, "dilation"), (grouped, "groups")):
        if shown:
            table.add_column(heading, no_wrap=True)
    table.add_column("output", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for shown, heading in ((typed, "type"), (traced, "weight is"), (normalised, "batch norm"), (scoped, "inside")):
        if shown:
            table.add_column(heading, overflow="fold")
    for layer in layers:
        cells: list[str | Text] = [
            str(layer.index),
            Text(layer.name),
            Text(layer.op),
            dims(weight_shape(layer, layout)) if layer.is_convolution else "",
            dims(layer.strides),
            _pads(layer.pads),
        ]
        if dilated:
            cells.append(dims(layer.dilations) if max(layer.dilations or (1,)) > 1 else "")
        if grouped:
            cells.append(_groups(layer))
        cells += [dims(output_shape(layer, layout)), f"{layer.parameters:,}" if layer.parameters else ""]
        if typed:
            cells.append(layer.dtype or "")
        if traced:
            cells.append(layer.weight_source or ("not constant" if layer.is_convolution else ""))
        if normalised:
            cells.append({True: "folded in", False: "separate", None: ""}[layer.folded_batch_norm])
        if scoped:
            cells.append(Text(printable(layer.scope)))
        table.add_row(*cells)
    return Group(_heading(model, layers), table)


def _heading(model: Model, layers: Sequence[Layer]) -> Text:
    opsets = ", ".join(f"{domain + ' ' if domain else ''}{version}" for domain, version in model.opset.items())
    producer = printable(model.proto.producer_name) or "unknown"
    convolutions = sum(layer.is_convolution for layer in layers)
    others = len(layers) - convolutions
    what = f"{convolutions} convolutions" + (f" and {others} other layers" if others else "")
    preprocessing = printable(str((model.preprocessing or {}).get("name", "not stated in the model")))
    text = Text()
    text.append(printable(model.label), style="bold")
    text.append(f"\n{what} · {model.parameters:,} parameters · opset {printable(opsets)} · exported by {producer}\n")
    for label, ports in (("in ", model.inputs), ("out", model.outputs)):
        for port in ports:
            layout = f" {port.layout}" if port.layout else ""
            text.append(f"{label} ", style="dim")
            text.append(f"{printable(port.name)}  {dims(port.shape)} {port.dtype}{layout}\n")
    text.append("pre ", style="dim")
    text.append(f"{preprocessing}\n")
    if model.shapes.failure:
        text.append(f"output shapes are missing: {printable(model.shapes.failure)}\n", style="yellow")
    return text


def dims(shape: Sequence[Dim] | None) -> str:
    """`64×3×3×3`; `?` for what is not known."""
    if shape is None:
        return "?"
    return "×".join(printable(str(dim)) if dim is not None else "?" for dim in shape) or "scalar"


def _pads(pads: tuple[int, ...] | None) -> str:
    """`1×1` where begin and end agree, else `0,0 – 1,1`."""
    if pads is None:
        return "?"
    half = len(pads) // 2
    begin, end = pads[:half], pads[half:]
    return dims(begin) if begin == end else f"{','.join(map(str, begin))}–{','.join(map(str, end))}"


def _groups(layer: Layer) -> str:
    group = layer.group or 1
    if group == 1:
        return ""
    depthwise = layer.weight_shape is not None and layer.weight_shape[1] == 1
    return f"{group} depthwise" if depthwise else str(group)


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": _list(port.shape), "layout": port.layout or None}


def _list(values: Sequence[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)
