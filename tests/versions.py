"""Later versions of a model: fine-tuned, pruned, its channels in another order, and exported again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from disguises import anonymous, copied, shuffled
from onnx import numpy_helper
from protos import parsed

Kept = Callable[[np.random.Generator, int], np.ndarray]
"""Of so many channels those that are kept, in their new order."""
_CHANNELWISE = {"Relu", "Clip", "MaxPool", "GlobalAveragePool", "BatchNormalization", "Flatten", "Reshape", "Pad"}


def convolution(weight: np.ndarray) -> onnx.ModelProto:
    """A model of one convolution."""
    return parsed(f"g (float[n,{weight.shape[1]},h,w] x) => (float[n,m,a,b] y) {{ y = Conv (x, w) }}", w=weight)


def exported_again(proto: onnx.ModelProto, seed: int = 3) -> onnx.ModelProto:
    """Other names of nodes, weights and tensors, in another order; inputs and outputs are called as they were."""
    made, _ = anonymous(shuffled(proto, seed), seed)
    new = {}
    for old, now in ((proto.graph.input, made.graph.input), (proto.graph.output, made.graph.output)):
        new |= {two.name: one.name for one, two in zip(old, now, strict=True)}
    for node in made.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in (*made.graph.input, *made.graph.output):
        value.name = new[value.name]
    made.metadata_props.extend(proto.metadata_props)
    return made


def moved(proto: onnx.ModelProto, distance: float, only: str = "", seed: int = 1) -> onnx.ModelProto:
    """Each weight tensor moved by this share of its norm, in a random direction; `only` of one whose name has this."""
    rng = np.random.default_rng(seed)
    made = copied(proto)
    for tensor in made.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim > 1 and array.dtype == np.float32 and only in tensor.name:
            step = rng.normal(size=array.shape)
            step *= distance * np.linalg.norm(array) / np.linalg.norm(step)
            tensor.CopyFrom(numpy_helper.from_array((array + step).astype(np.float32), tensor.name))
    return made


def shuffle(rng: np.random.Generator, count: int) -> np.ndarray:
    """All channels in another order."""
    return rng.permutation(count)


def quarter_gone(rng: np.random.Generator, count: int) -> np.ndarray:
    """Three quarters of the channels, in their order."""
    return np.sort(rng.permutation(count)[: count - count // 4])


def with_channels(
    proto: onnx.ModelProto, kept: Kept, seed: int = 2
) -> tuple[onnx.ModelProto, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The model with the channels of every inner tensor chosen and ordered anew, consistently.

    Returns:
        The model; and by the name of a layer's weight the places of its filters, and of its input channels. What feeds
        an output, and what is read from an input of the model, stays.
    """
    rng = np.random.default_rng(seed)
    made = copied(proto)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    owner: dict[str, str] = {}

    def root(name: str) -> str:
        while owner.setdefault(name, name) != name:
            name = owner[name]
        return name

    sizes, fixed = {}, {one.name for one in (*made.graph.input, *made.graph.output)}
    for node in made.graph.node:
        if node.op_type in ("Conv", "Gemm") and not _depthwise(node, values):
            sizes[node.output[0]] = len(values[node.input[1]])
        elif node.op_type == "Add" or node.op_type in (*_CHANNELWISE, "Conv"):
            for name in node.input if node.op_type == "Add" else node.input[:1]:
                owner[root(name)] = root(node.output[0])
    chosen = {root(name): np.arange(size) for name, size in sizes.items()}
    held = {root(name) for name in fixed}
    for place in chosen:
        if place not in held:
            chosen[place] = kept(rng, len(chosen[place]))
    rows, inputs = {}, {}
    for node in made.graph.node:
        names = [name for name in node.input[1:] if name in values]
        out = chosen.get(root(node.output[0]))
        if node.op_type in ("Conv", "Gemm"):
            rows[node.input[1]] = out
            own = chosen.get(root(node.input[0]))
            weight = values[node.input[1]][out]
            if not _depthwise(node, values) and own is not None:
                weight = weight[:, own]
                inputs[node.input[1]] = own
            if _depthwise(node, values):
                next(one for one in node.attribute if one.name == "group").i = len(out)
            names = node.input[2:]
            values[node.input[1]] = weight
        if node.op_type in ("Conv", "Gemm", "BatchNormalization"):
            for name in names:
                values[name] = values[name][out]
    del made.graph.initializer[:], made.graph.value_info[:]
    made.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in values.items())
    return made, rows, inputs


def _depthwise(node: onnx.NodeProto, values: dict[str, np.ndarray]) -> bool:
    group = next((one.i for one in node.attribute if one.name == "group"), 1)
    return group > 1 and values[node.input[1]].shape[1] == 1
