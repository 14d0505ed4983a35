"""Larger models for tests and benchmarks: VGG16 by its published architecture, and those that packages ship."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def vgg16(*, zeros: bool = False) -> onnx.ModelProto:
    """VGG16 (Simonyan & Zisserman 2014, configuration D), named and laid out as Keras does.

    138,357,544 parameters, NHWC input of 224x224x3, 1,000 classes. Weights are drawn, which takes seconds, or zeros.
    """
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Transpose", ["image"], ["nchw"], name="nchw", perm=[0, 3, 1, 2])]
    weights: list[onnx.TensorProto] = []

    def weight(name: str, shape: tuple[int, ...], fan_in: int) -> None:
        outputs = shape[0] if len(shape) == 4 else shape[1]
        if zeros:
            kernel, bias = np.zeros(shape, np.float32), np.zeros(outputs, np.float32)
        else:
            kernel = rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2 / fan_in))
            bias = rng.uniform(-0.1, 0.1, outputs).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"{name}/kernel"))
        weights.append(numpy_helper.from_array(bias, f"{name}/bias"))

    last, channels = "nchw", 3
    for block, (width, depth) in enumerate(BLOCKS, 1):
        for index in range(1, depth + 1):
            name = f"block{block}_conv{index}"
            weight(name, (width, channels, 3, 3), channels * 9)
            inputs = [last, f"{name}/kernel", f"{name}/bias"]
            nodes.append(helper.make_node("Conv", inputs, [name], name=name, kernel_shape=[3, 3], pads=[1] * 4))
            nodes.append(helper.make_node("Relu", [name], [f"{name}/relu"], name=f"{name}/relu"))
            last, channels = f"{name}/relu", width
        pool = f"block{block}_pool"
        nodes.append(helper.make_node("MaxPool", [last], [pool], name=pool, kernel_shape=[2, 2], strides=[2, 2]))
        last = pool
    nodes.append(helper.make_node("Transpose", [last], ["nhwc"], name="nhwc", perm=[0, 2, 3, 1]))
    nodes.append(helper.make_node("Flatten", ["nhwc"], ["flatten"], name="flatten"))
    last = "flatten"
    for name, inputs, outputs in (("fc1", 25088, 4096), ("fc2", 4096, 4096), ("predictions", 4096, 1000)):
        weight(name, (inputs, outputs), inputs)
        nodes.append(helper.make_node("Gemm", [last, f"{name}/kernel", f"{name}/bias"], [name], name=name))
        activation = "Softmax" if name == "predictions" else "Relu"
        last = f"{name}/{activation.lower()}"
        nodes.append(helper.make_node(activation, [name], [last], name=last))
    graph = helper.make_graph(
        nodes,
        "vgg16",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 224, 224, 3])],
        [helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, ["batch", 1000])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def light() -> list[Path]:
    """The nine classic architectures that the onnx wheel ships, with constant weights."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return sorted(folder.glob("light_*.onnx"))


def filled(proto):
    """Random weights for the wheel's networks, whose own are constants such as 0.02 everywhere.

    They keep the scale: fan-in for kernels, about one for variances. Names of what ConstantOfShape makes.
    """
    rng = np.random.default_rng(0)
    shapes = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    readers = {name: (node, index) for node in proto.graph.node for index, name in enumerate(node.input)}
    found = {}
    for node in proto.graph.node:
        if node.op_type != "ConstantOfShape":
            continue
        shape = tuple(int(size) for size in shapes[node.input[0]])
        reader, index = readers[node.output[0]]
        if reader.op_type == "Unsqueeze":
            reader, index = readers[reader.output[0]]
        if len(shape) > 1:
            fan_in = int(np.prod(shape[1:]))
            found[node.output[0]] = rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)
        elif reader.op_type == "Mul" or (reader.op_type == "BatchNormalization" and index in (1, 4)):
            found[node.output[0]] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            found[node.output[0]] = rng.uniform(-0.1, 0.1, shape).astype(np.float32)
    return found


def with_weights(proto, weights):
    """The model with initializers in the place of the nodes that made constants."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    nodes = [node for node in copy.graph.node if node.output[0] not in weights]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del copy.graph.node[:]
    copy.graph.node.extend(copies)
    copy.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return copy


def silero() -> list[Path]:
    """silero-vad's models: 1-D convolutions, some inside If. Found without importing the package, which needs torch."""
    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        return []
    return sorted((Path(next(iter(spec.submodule_search_locations))) / "data").glob("*.onnx"))
