"""Small models that many tests look into, and numbers for them; onnx and numpy alone, nothing of onnxviz."""

import numpy as np
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

CLASSIFIER_NAMES = ("block1_conv1", "block1_conv2", "block2_conv1")


def classifier_proto(size=(16, 12), batch="batch"):
    """Three convolutions with ReLU and one max pooling, a dense layer after a global average; NCHW, 5 classes.

    Weights are named as Keras names them; the second convolution has stride 1, the third dilation 2.
    """
    rng = np.random.default_rng(7)

    def stored(name, *shape):
        return numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)

    weights = [
        stored("block1_conv1/kernel", 6, 3, 3, 3),
        stored("block1_conv1/bias", 6),
        stored("block1_conv2/kernel", 8, 6, 3, 3),
        stored("block1_conv2/bias", 8),
        stored("block2_conv1/kernel", 4, 8, 3, 3),
        stored("dense/kernel", 4, 5),
    ]
    nodes = [
        helper.make_node(
            "Conv", ["image", "block1_conv1/kernel", "block1_conv1/bias"], ["c1"], name="n1", pads=[1] * 4
        ),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "block1_conv2/kernel", "block1_conv2/bias"], ["c2"], name="n2", pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("MaxPool", ["r2"], ["p1"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "block2_conv1/kernel"], ["c3"], name="n3", pads=[2] * 4, dilations=[2, 2]),
        helper.make_node("Relu", ["c3"], ["r3"], name="relu3"),
        helper.make_node("GlobalAveragePool", ["r3"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "dense/kernel"], ["logits"], name="dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 5])],
        weights,
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
        producer_name="tests",
        producer_version="1.2",
    )


def one_conv_proto(shape, *, layout="NCHW", dtype=TensorProto.FLOAT, channels=None, name="x", filters=2):
    """One 1x1 convolution named `conv` on an input of the given shape; a Cast and a Transpose before it if need be."""
    channels = channels or shape[layout.index("C")]
    rng = np.random.default_rng(3)
    kernel = numpy_helper.from_array(rng.normal(size=(filters, channels, 1, 1)).astype(np.float32), "conv/kernel")
    nodes, tensor = [], name
    if dtype != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [tensor], ["float"], to=TensorProto.FLOAT))
        tensor = "float"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [tensor], ["first"], perm=[0, 3, 1, 2]))
        tensor = "first"
    nodes.append(helper.make_node("Conv", [tensor, "conv/kernel"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info(name, dtype, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [kernel],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def two_inputs_proto(batch="batch"):
    """Two convolutions, one on each input (`left`, `right`: N, 3, 4, 4), and their sum."""
    rng = np.random.default_rng(5)
    kernels = [
        numpy_helper.from_array(rng.normal(size=(2, 3, 1, 1)).astype(np.float32), f"{side}_conv/kernel")
        for side in ("left", "right")
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["left", "left_conv/kernel"], ["l"]),
            helper.make_node("Conv", ["right", "right_conv/kernel"], ["r"]),
            helper.make_node("Add", ["l", "r"], ["sum"]),
        ],
        "two",
        [helper.make_tensor_value_info(side, TensorProto.FLOAT, [batch, 3, 4, 4]) for side in ("left", "right")],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [batch, 2, 4, 4])],
        kernels,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def parsed(text: str, opset: int = 18, **weights: np.ndarray) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>' + text)
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
