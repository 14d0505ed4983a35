"""Weights: what onnx itself reads or computes for the same tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import oracles
import pytest
import specimens
import zoo
from onnx import TensorProto, helper, numpy_helper

from onnxviz.errors import ModelError
from onnxviz.model.graph.constants import dequantize
from onnxviz.model.model import load

SOURCES = {
    "plain": "initializer",
    "plain_2": "initializer",
    "hwio": "computed",
    "flat": "computed",
    "hwio_2": "computed",
    "squeezed": "computed",
    "line": "computed",
    "half": "computed",
    "conv_0": "computed",
    "tensor_q": "dequantized",
    "channel_q": "dequantized",
    "blocked_q": "dequantized",
    "qat": "dequantized",
    "int4": "dequantized",
    "channel_q_2": "dequantized",
}


def test_each_operator_a_weight_can_come_through() -> None:
    proto = zoo.model("weights")
    model = load(proto)
    tensors = [layer._proto.input[1] for layer in model.layers]
    nodes = {name: node for node in proto.graph.node for name in node.output}
    expected = oracles.referenced(proto, [t for t in tensors if t in nodes], zoo.feeds(proto))
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    assert {layer.name: layer.weight_source for layer in model.layers} == SOURCES
    for layer, tensor in zip(model.layers, tensors, strict=True):
        value = expected[tensor] if tensor in expected else stored[tensor]
        assert layer.weight.dtype == value.dtype == layer.dtype
        assert layer.weight_shape == value.shape == layer.weight.shape
        # Bit for bit: moving and casting change nothing, and dequantising is one multiplication.
        np.testing.assert_array_equal(layer.weight, value, err_msg=layer.name)


@pytest.mark.parametrize("path", specimens.light() + specimens.silero(), ids=lambda path: path.stem)
def test_stored_weights_equal_onnx_own_reading(path: Path) -> None:
    proto = onnx.load(path)
    stored = {}
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        stored.update({t.name: t for t in graph.initializer})
        for node in graph.node:
            graphs.extend(a.g for a in node.attribute if a.HasField("g"))
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                stored[node.output[0]] = node.attribute[0].t
            if node.op_type == "ConstantOfShape" and node.input[0] in stored:
                shape = numpy_helper.to_array(stored[node.input[0]])
                fill = numpy_helper.to_array(node.attribute[0].t) if node.attribute else np.zeros(1, np.float32)
                stored[node.output[0]] = np.full(shape, fill[0])
    for layer in load(path).layers:
        value = stored[layer.source.tensor]
        value = numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
        np.testing.assert_array_equal(layer.weight, value)
        assert not layer.weight.flags.writeable


def test_transposed_convolutions_are_listed_by_output() -> None:
    proto = zoo.model("geometry")
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    model = load(proto)
    np.testing.assert_array_equal(model.layer("up").weight, stored["up.weight"].swapaxes(0, 1))
    grouped, weight = stored["up_grouped.weight"], model.layer("up_grouped").weight
    assert weight.shape == (6, 2, 2, 2)
    for out in range(6):  # filter `out` belongs to group out // 3, which reads inputs 2g and 2g + 1
        group, within = divmod(out, 3)
        for channel in range(2):
            np.testing.assert_array_equal(weight[out, channel], grouped[2 * group + channel, within])


def test_filters_are_what_the_layer_responds_to() -> None:
    """The response to a single bright pixel is the filter itself, flipped for Conv: an oracle for the axis order."""
    proto = zoo.model("geometry")
    model = load(proto)
    pixel = np.zeros((1, 4, 11, 12), np.float32)
    pixel[0, 2, 5, 6] = 1
    feeds = zoo.feeds(proto, batch=1) | {"x": pixel}
    out = oracles.untouched(proto, ["y3", "y7"], feeds)
    grouped = model.layer("grouped").weight  # channel 2 is the first of group 1, which makes outputs 3…5
    np.testing.assert_allclose(out["y3"][0, 3:, 3:6, 4:7], grouped[3:, 0, ::-1, ::-1], rtol=1e-6)
    up = model.layer("up").weight
    np.testing.assert_allclose(out["y7"][0, :, 9:12, 11:14], up[:, 2], rtol=1e-6)


def test_quantised_operators() -> None:
    proto = zoo.model("quantized")
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    model = load(proto)
    scale = np.array([0.01, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016, 0.017], np.float32)
    expected = stored["q1.weight_quantized"].astype(np.float32) * scale[:, None, None, None]
    np.testing.assert_array_equal(model.layer("q1").weight, expected)
    expected = (stored["q2.weight"].astype(np.float32) - 2) * np.float32(0.02)
    np.testing.assert_array_equal(model.layer("q2").weight, expected)
    expected = (stored["i1.weight"].astype(np.float32) - 130) * np.float32(0.02)  # the factor behind it is xs · 0.02
    np.testing.assert_array_equal(model.layer("i1").weight, expected)
    np.testing.assert_allclose(model.layer("q1").bias, stored["q1.bias"] * (np.float32(0.01) * scale), rtol=1e-6)


@pytest.mark.parametrize("block", [0, 2, 3])
def test_dequantize_against_loops(block: int) -> None:
    rng = np.random.default_rng(block)
    values = rng.integers(-128, 128, (3, 5, 2)).astype(np.int8)
    count = -(-5 // block) if block else 5
    shape = (3, count, 2) if block else (5,)
    scale = rng.uniform(0.01, 1, shape).astype(np.float32)
    zero = rng.integers(-5, 5, shape).astype(np.int8)
    result = dequantize(values, scale, zero, axis=1, block=block)
    for i, j, k in np.ndindex(3, 5, 2):
        place = (i, j // block, k) if block else (j,)
        assert result[i, j, k] == np.float32(int(values[i, j, k]) - int(zero[place])) * scale[place]


def test_weights_are_views_into_the_file(tmp_path: Path) -> None:
    proto = zoo.model("classifier")
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    weight = load(path).layer("layers.0.conv").weight
    base = weight
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert not isinstance(base, np.ndarray)  # the mapped file
    stored = next(t for t in proto.graph.initializer if t.name == "layers.0.conv.weight")
    np.testing.assert_array_equal(weight, numpy_helper.to_array(stored))


def test_sparse_weight() -> None:
    dense = np.zeros((2, 3, 3, 3), np.float32)
    places = np.array([1, 7, 30, 53])
    dense.reshape(-1)[places] = [1, 2, 3, 4]
    values = numpy_helper.from_array(np.array([1, 2, 3, 4], np.float32), "w")
    for indices in (places.astype(np.int64), np.stack(np.unravel_index(places, dense.shape), 1).astype(np.int64)):
        sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(indices), list(dense.shape))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [x], [y])
        graph.sparse_initializer.append(sparse)
        model = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
        np.testing.assert_array_equal(model.layers[0].weight, dense)


def test_a_weight_that_is_an_input_is_said_not_to_be_constant() -> None:
    layer = load(zoo.model("dynamic_weight")).layers[0]
    assert layer.row()["weight"]["shape"] is None
    with pytest.raises(ModelError, match="convolve"):
        _ = layer.weight
