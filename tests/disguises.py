"""Disguises of a network: the same layers, written otherwise; each convolution keeps a label that says which it was.

A label is the node's name. `anonymous` takes it away and gives it back as a table beside the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnxruntime import quantization
from quantised import optimised, quantise, unadvised

CONVOLUTIONS = {"Conv", "ConvTranspose", "QLinearConv", "ConvInteger", "FusedConv"}


def copied(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    return made


def labelled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Each node named by its place; `conv 3 of 57` would help who reads names, so tests take them away again."""
    made = copied(proto)
    for place, node in enumerate(made.graph.node):
        node.name = f"label{place}"
    return made


def label(name: str) -> str:
    """The label that onnxruntime's quantiser has left in a node's name."""
    return name.removesuffix("_quant")


def labels(proto: onnx.ModelProto) -> dict[str, str]:
    """The label of each node of the main graph by its first output."""
    return {node.output[0]: label(node.name) for node in proto.graph.node if node.name.startswith("label")}


# ---------------------------------------------------------------- order and names


def shuffled(proto: onnx.ModelProto, seed: int = 3) -> onnx.ModelProto:
    """Nodes in another topological order, initializers in any."""
    rng = np.random.default_rng(seed)
    made = copied(proto)
    known = {""} | {value.name for value in proto.graph.input} | {tensor.name for tensor in proto.graph.initializer}
    waiting, ordered = list(proto.graph.node), []
    while waiting:
        ready = [place for place, node in enumerate(waiting) if known.issuperset(node.input)]
        node = waiting.pop(ready[rng.integers(len(ready))])
        known.update(node.output)
        ordered.append(node)
    stored = list(proto.graph.initializer)
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(ordered)
    made.graph.initializer.extend(stored[place] for place in rng.permutation(len(stored)))
    return made


def anonymous(proto: onnx.ModelProto, seed: int = 5) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The model with numbers in any order for names, metadata and shapes of tensors gone; and labels by first output.

    Inputs and outputs of the model stay in order. Subgraphs are not gone into.
    """
    rng = np.random.default_rng(seed)
    made = copied(proto)
    graph = made.graph
    made.metadata_props.clear()
    del graph.value_info[:]
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    names |= {one.name for one in (*graph.input, *graph.output, *graph.initializer)}
    ordered = sorted(names - {""})
    new = {"": ""} | {name: str(number) for name, number in zip(ordered, rng.permutation(len(ordered)), strict=True)}
    found = {new[tensor]: one for tensor, one in labels(proto).items()}
    for node in graph.node:
        node.name = ""
        node.metadata_props.clear()
        node.doc_string = ""
        node.input[:] = [new[name] for name in node.input]
        node.output[:] = [new[name] for name in node.output]
    for one in (*graph.input, *graph.output, *graph.initializer):
        one.name = new[one.name]
    return made, found


# ---------------------------------------------------------------- weights


def _values(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def _store(proto: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> None:
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())


def retrained(proto: onnx.ModelProto, seed: int = 7) -> onnx.ModelProto:
    """Other weights, drawn."""
    rng = np.random.default_rng(seed)
    made = copied(proto)
    values = _values(made)
    for name, array in values.items():
        if array.ndim > 1 and array.dtype == np.float32:
            values[name] = rng.normal(0, array.std() + 0.01, array.shape).astype(np.float32)
    _store(made, values)
    return made


def with_batch_norms(proto: onnx.ModelProto, seed: int = 9) -> onnx.ModelProto:
    """A batch normalisation behind each convolution, with factors of both signs from 0.2 to 3."""
    rng = np.random.default_rng(seed)
    made = copied(proto)
    values = _values(made)
    nodes = []
    for node in proto.graph.node:
        nodes.append(node)
        if node.op_type in ("Conv", "ConvTranspose") and node.input[1] in values:
            transposed = node.op_type == "ConvTranspose"
            channels = values[node.input[1]].shape[1 if transposed else 0]
            result = node.output[0]
            nodes[-1] = moved = copied_node(node)
            moved.output[0] = f"{result}/plain"
            names = [f"{result}/bn/{part}" for part in ("scale", "shift", "mean", "variance")]
            drawn = rng.uniform(0.2, 3, (4, channels)).astype(np.float32)
            drawn[0] *= rng.choice([-1, 1], channels)
            values |= dict(zip(names, drawn, strict=True))
            nodes.append(helper.make_node("BatchNormalization", [moved.output[0], *names], [result]))
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    _store(made, values)
    return made


def copied_node(node: NodeProto) -> NodeProto:
    made = NodeProto()
    made.CopyFrom(node)
    return made


def batch_norms_folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Batch normalisations behind convolutions, multiplied into their weights."""
    made = copied(proto)
    values = _values(made)
    makers = {name: node for node in made.graph.node for name in node.output}
    nodes = []
    for node in made.graph.node:
        conv = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        stored = conv is not None and {*node.input[1:], *conv.input[1:]} <= set(values)
        if not stored or conv.op_type not in ("Conv", "ConvTranspose"):
            nodes.append(node)
            continue
        scale, shift, mean, variance = (values[name].astype(np.float64) for name in node.input[1:])
        epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        weight = values[conv.input[1]]
        axis = 1 if conv.op_type == "ConvTranspose" else 0
        along = [-1 if place == axis else 1 for place in range(weight.ndim)]
        bias = values[conv.input[2]] if len(conv.input) > 2 else 0
        names = [f"{conv.output[0]}/folded", f"{conv.output[0]}/folded/bias"]
        values[names[0]] = (weight * factor.reshape(along)).astype(np.float32)
        values[names[1]] = ((bias - mean) * factor + shift).astype(np.float32)
        conv.input[:] = [conv.input[0], *names]
        conv.output[0] = node.output[0]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    _store(made, {name: array for name, array in values.items() if name in read})
    return made


def half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Weights, inputs, outputs and constants in half precision."""
    made = copied(proto)
    _store(made, {k: v.astype(np.float16) if v.dtype == np.float32 else v for k, v in _values(made).items()})
    for node in made.graph.node:
        for one in node.attribute:
            if one.HasField("t") and one.t.data_type == TensorProto.FLOAT:
                one.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one.t).astype(np.float16)))
    del made.graph.value_info[:]
    for value in (*made.graph.input, *made.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return made


def inserted(proto: onnx.ModelProto, place: int, seed: int = 11) -> onnx.ModelProto:
    """A 3x3 convolution and a Relu more, of as many channels, behind the convolution at `place`."""
    made = copied(proto)
    values = _values(made)
    convolutions = [number for number, node in enumerate(made.graph.node) if node.op_type == "Conv"]
    node = made.graph.node[convolutions[place]]
    channels = len(values[node.input[1]])
    result, name = node.output[0], f"more{place}"
    node.output[0] = f"{name}/in"
    weight = np.random.default_rng(seed + place).normal(0, 0.1, (channels, channels, 3, 3)).astype(np.float32)
    made.graph.initializer.append(numpy_helper.from_array(weight, f"{name}.weight"))
    made.graph.node.insert(
        convolutions[place] + 1, helper.make_node("Conv", [f"{name}/in", f"{name}.weight"], [f"{name}/c"], pads=[1] * 4)
    )
    made.graph.node.insert(convolutions[place] + 2, helper.make_node("Relu", [f"{name}/c"], [result]))
    return made


# ---------------------------------------------------------------- quantised


def _noise(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    stored = {tensor.name for tensor in proto.graph.initializer}
    fed = {
        value.name: [dim.dim_value or (64 if axis else 1) for axis, dim in enumerate(value.type.tensor_type.shape.dim)]
        for value in proto.graph.input
        if value.name not in stored
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in fed.items()}


def quantised(folder: Path, *, per_channel: bool, operators: bool) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    """onnxruntime's own quantiser: QLinearConv and its like, or Conv between QuantizeLinear and DequantizeLinear."""
    form, types = "QOperator" if operators else "QDQ", ("QUInt8", "QInt8" if per_channel else "QUInt8")

    def made(proto: onnx.ModelProto) -> onnx.ModelProto:
        source = _stored(proto, folder)
        return onnx.load(
            quantise(
                source, folder / "quantised.onnx", [_noise(proto)], form=form, per_channel=per_channel, types=types
            )
        )

    return made


def dynamically_quantised(folder: Path) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    """ConvInteger, with the scale of its input found when it runs."""

    def made(proto: onnx.ModelProto) -> onnx.ModelProto:
        target = folder / "integer.onnx"
        with unadvised():
            quantization.quantize_dynamic(_stored(proto, folder), target, weight_type=quantization.QuantType.QUInt8)
        return onnx.load(target)

    return made


def fused(folder: Path) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    """onnxruntime's own optimisation: activations in FusedConv, constants folded."""
    return lambda proto: onnx.load(optimised(_stored(proto, folder), folder / "fused.onnx", "EXTENDED"))


def _stored(proto: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "plain.onnx"
    onnx.save(proto, path)
    return path
