"""Names of layers: the order of sources that the design fixes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxviz import load
from onnxviz.model.naming import INDEX_KEY, LAYER_KEY, keras_index, layer_name, weight_parent

SCOPES = "pkg.torch.onnx.name_scopes"


def node(name="", **metadata):
    made = helper.make_node("Conv", ["x", "w"], ["y"], name=name)
    for key, value in metadata.items():
        made.metadata_props.add(key={"layer": LAYER_KEY, "scopes": SCOPES}[key], value=value)
    return made


@pytest.mark.parametrize(
    ("weight", "name"),
    [
        ("block1_conv1/kernel", "block1_conv1"),
        ("block1_conv1/kernel:0", "block1_conv1"),
        ("model/block1/conv/kernel", "model/block1/conv"),
        ("layers.0.conv.weight", "layers.0.conv"),
        ("conv1.weight", "conv1"),
        ("conv1.weight_quantized", "conv1"),
        ("mobilenet/dw/depthwise_kernel", "mobilenet/dw"),
        # tf2onnx
        ("model/block1_conv1/convolution/ReadVariableOp:0", "model/block1_conv1"),
        ("StatefulPartitionedCall/net/conv1/Conv2D/ReadVariableOp:0", "StatefulPartitionedCall/net/conv1"),
        ("net/sep/separable_conv2d/ReadVariableOp_1:0", "net/sep"),
        ("net/dw/depthwise/ReadVariableOp:0", "net/dw"),
        # Caffe2, MXNet
        ("conv1_w_0", "conv1"),
        ("fire2/squeeze1x1_w_0", "fire2/squeeze1x1"),
        ("vgg0_conv0_weight", "vgg0_conv0"),
    ],
)
def test_weight_names_its_layer(weight, name):
    assert weight_parent(weight) == name
    assert layer_name(node("the_node", scopes="['', 'scope', 'op']"), weight) == name


@pytest.mark.parametrize(
    "weight", ["onnx::Conv_41", "weight", "kernel", "W", "123", "", "/weight", ".weight", "conv1.bias", "onnx::Conv_w"]
)
def test_weight_without_a_parent_names_nothing(weight):
    assert weight_parent(weight) == ""
    assert layer_name(node("the_node"), weight) == "the_node"


def test_sources_come_in_the_order_of_the_design():
    scopes = "['', 'layers', 'layers.0', 'layers.0.conv', 'conv2d_1']"
    full = {"layer": "ours", "scopes": scopes}
    assert layer_name(node("its_node", **full), "block1/kernel") == "ours"
    assert layer_name(node("its_node", scopes=scopes), "block1/kernel") == "block1"
    assert layer_name(node("its_node", scopes=scopes), "onnx::Conv_41") == "layers.0.conv"
    assert layer_name(node("its_node", scopes=scopes), None) == "layers.0.conv"
    assert layer_name(node("its_node"), "onnx::Conv_41") == "its_node"
    assert layer_name(node(), "onnx::Conv_41") == ""


@pytest.mark.parametrize(
    "scopes", ["", "[", "layers.0", "['only the op']", "[1, 2]", "{}", "['', 'op']", "(" * 5000, "__import__('os')"]
)
def test_odd_scopes_fall_back_to_the_node(scopes):
    assert layer_name(node("its_node", scopes=scopes), None) == "its_node"


def model_of(convolutions, tmp_path):
    """A chain of 1x1 convolutions: (node name, weight name) each; a weight used twice is stored once."""
    nodes = [
        helper.make_node("Conv", [f"t{i}", weight], [f"t{i + 1}"], name=name)
        for i, (name, weight) in enumerate(convolutions)
    ]
    kernel = np.ones((2, 2, 1, 1), np.float32)
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, 2, 4, 4])],
        [helper.make_tensor_value_info(f"t{len(nodes)}", TensorProto.FLOAT, [1, 2, 4, 4])],
        [numpy_helper.from_array(kernel, weight) for weight in dict.fromkeys(w for _, w in convolutions)],
    )
    path = tmp_path / "chain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return load(path)


@pytest.mark.parametrize(
    ("convolutions", "names"),
    [
        ([("", "onnx::Conv_1"), ("", "onnx::Conv_2")], ["conv_0", "conv_1"]),
        ([("a", "shared/kernel"), ("b", "shared/kernel")], ["shared", "shared_2"]),
        ([("conv_0", "onnx::Conv_1"), ("", "onnx::Conv_2")], ["conv_0", "conv_0_2"]),
        ([("x", "onnx::Conv_1"), ("y", "stem.weight")], ["x", "stem"]),
        ([("", "conv1.weight"), ("", "conv1/kernel"), ("conv1_2", "9")], ["conv1", "conv1_3", "conv1_2"]),
    ],
)
def test_layers_of_a_model_are_called_apart(convolutions, names, tmp_path):
    layers = model_of(convolutions, tmp_path).layers
    assert [layer.name for layer in layers] == names
    assert [layer.index for layer in layers] == list(range(len(names)))


def test_the_table_calls_a_convolution_the_same_with_and_without_all(tmp_path):
    model = model_of([("", "onnx::Conv_1"), ("", "onnx::Conv_2")], tmp_path)
    convolutions = [layer.name for layer in model.all_layers if layer.is_convolution]
    assert convolutions == [layer.name for layer in model.layers]


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path):
    (layer,) = model_of([("evil\x1b[2J\u202e", "1")], tmp_path).layers
    assert layer.name.isprintable()
    assert layer.name.startswith("evil")


@pytest.mark.parametrize(
    ("noted", "index"),
    [("0", 0), ("17", 17), (None, None), ("", None), ("-1", None), ("1.0", None), ("٣", None), ("9" * 5000, None)],
)
def test_a_place_in_keras_list_is_a_number_or_is_not_told(noted, index):
    made = node()
    if noted is not None:
        made.metadata_props.add(key=INDEX_KEY, value=noted)
    assert keras_index(made) == index
