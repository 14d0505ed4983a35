"""The layer table against independent counts, published tables and closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import oracles
import pytest
import specimens
import zoo
from onnx import helper, numpy_helper

from onnxviz.errors import ModelError, SelectionError
from onnxviz.model.graph import shapes
from onnxviz.model.graph.operators import CONVOLUTIONS
from onnxviz.model.graph.shapes import Inference
from onnxviz.model.listing import output_shape, weight_shape
from onnxviz.model.model import Model, load

# S1: what Keras prints for VGG16: position among Keras' layers, name, filters (HWIO), output.
VGG16 = [
    ("block1_conv1", (3, 3, 3, 64), (224, 224, 64)),
    ("block1_conv2", (3, 3, 64, 64), (224, 224, 64)),
    ("block2_conv1", (3, 3, 64, 128), (112, 112, 128)),
    ("block2_conv2", (3, 3, 128, 128), (112, 112, 128)),
    ("block3_conv1", (3, 3, 128, 256), (56, 56, 256)),
    ("block3_conv2", (3, 3, 256, 256), (56, 56, 256)),
    ("block3_conv3", (3, 3, 256, 256), (56, 56, 256)),
    ("block4_conv1", (3, 3, 256, 512), (28, 28, 512)),
    ("block4_conv2", (3, 3, 512, 512), (28, 28, 512)),
    ("block4_conv3", (3, 3, 512, 512), (28, 28, 512)),
    ("block5_conv1", (3, 3, 512, 512), (14, 14, 512)),
    ("block5_conv2", (3, 3, 512, 512), (14, 14, 512)),
    ("block5_conv3", (3, 3, 512, 512), (14, 14, 512)),
]


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("vgg") / "vgg16.onnx"
    onnx.save(specimens.vgg16(zeros=True), path)
    return load(path)


@pytest.mark.dear
def test_vgg16_table(vgg16: Model) -> None:
    table = [(x.name, weight_shape(x, "keras"), output_shape(x, "keras")) for x in vgg16.layers]
    assert table == [(name, kernel, ("batch", *size)) for name, kernel, size in VGG16]
    assert [x.weight_shape for x in vgg16.layers] == [(o, i, h, w) for _, (h, w, i, o), _ in VGG16]
    assert vgg16.parameters == 138_357_544
    assert vgg16.layers[0].parameters == 1_792
    assert all(x.has_bias and x.pads == (1, 1, 1, 1) and x.strides == (1, 1) for x in vgg16.layers)
    assert vgg16.inputs[0].layout == "NHWC"


def test_vgg16_is_opened_without_its_weights(vgg16: Model) -> None:
    assert vgg16.proto.ByteSize() < 20_000


def conv_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """A count of our own: every convolution, subgraphs included, in order."""
    found = []
    for node in graph.node:
        if (node.domain, node.op_type) in CONVOLUTIONS:
            found.append(node)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found.extend(conv_nodes(attribute.g))
    return found


@pytest.mark.parametrize("path", specimens.light() + specimens.silero(), ids=lambda path: path.stem)
def test_shipped_models_agree_with_an_independent_count(path: Path) -> None:
    nodes, layers = conv_nodes(onnx.load(path).graph), load(path).layers
    assert [layer.taps["conv"] for layer in layers] == [node.output[0] for node in nodes]
    assert len({layer.name for layer in layers}) == len(layers) > 0
    for layer, node in zip(layers, nodes, strict=True):
        given = {a.name: list(a.ints) or a.i for a in node.attribute}
        assert layer.group == given.get("group", 1)
        if "strides" in given:
            assert list(layer.strides) == given["strides"]
        if "dilations" in given:
            assert list(layer.dilations) == given["dilations"]
        if "pads" in given:
            assert list(layer.pads) == given["pads"]
        if "kernel_shape" in given:
            assert list(layer.kernel) == given["kernel_shape"]
        assert layer.has_bias == (len(node.input) > 2)


@pytest.mark.parametrize(
    ("name", "parameters"),
    # Published: VGG19 143,667,240; SqueezeNet 1.1 1,235,496; AlexNet (two groups) 60,965,224.
    [("light_vgg19", 143_667_240), ("light_squeezenet", 1_235_496), ("light_bvlc_alexnet", 60_965_224)],
)
def test_published_parameter_counts(name: str, parameters: int) -> None:
    assert load(next(p for p in specimens.light() if p.stem == name)).parameters == parameters


@pytest.mark.parametrize("name", [n for n in zoo.NAMES if n not in ("dynamic_weight", "subgraphs")])
def test_shapes_are_those_of_a_run(name: str) -> None:
    proto = zoo.model(name)
    model = load(proto)
    outputs = [layer.taps["conv"] for layer in model.layers]
    runnable = model.proto if proto.functions else proto
    sizes = [v.shape for v in oracles.untouched(runnable, outputs, zoo.feeds(proto)).values()]
    for layer, size in zip(model.layers, sizes, strict=True):
        assert [2 if dim == "batch" else dim for dim in layer.output_shape] == list(size)


@pytest.mark.parametrize("layer", load(zoo.model("geometry")).layers, ids=lambda layer: layer.name)
def test_explicit_pads_give_what_auto_pad_gives(layer) -> None:
    """Runs the node again with `auto_pad` replaced by the pads of the table."""
    proto = zoo.model("geometry")
    node = next(n for n in proto.graph.node if n.output[0] == layer.taps["conv"])
    expected = oracles.untouched(proto, [node.output[0]], zoo.feeds(proto))[node.output[0]]
    kept = [a for a in node.attribute if a.name not in ("auto_pad", "pads")]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.append(helper.make_attribute("pads", layer.pads))
    again = oracles.untouched(proto, [node.output[0]], zoo.feeds(proto))[node.output[0]]
    np.testing.assert_array_equal(again, expected)


def test_keras_shapes_of_depthwise_and_transposed() -> None:
    model = load(zoo.model("geometry"))
    assert weight_shape(model.layer("depthwise"), "keras") == (3, 3, 4, 2)  # kernel, channels, multiplier
    assert weight_shape(model.layer("up"), "keras") == (3, 3, 5, 4)  # kernel, outputs, inputs
    assert weight_shape(model.layer("volume"), "keras") == (2, 3, 2, 4, 5)


def test_subgraphs_and_functions_say_where_a_layer_is() -> None:
    scopes = {layer.name: layer.scope for layer in load(zoo.model("subgraphs")).layers}
    assert scopes == {
        "stem": "",
        "then": "choose/then_branch",
        "inner": "choose/then_branch/nested/then_branch",
        "else": "choose/else_branch",
        "loop": "repeat/body",
        "scan": "each/body",
    }
    scopes = {layer.name: layer.scope for layer in load(zoo.model("functions")).layers}
    assert scopes == {
        "block1.conv": "block1",
        "block2.conv": "block2",
        "pair/inner/block3.conv": "pair/inner",
        "pair/block3.conv": "pair",
    }


def test_functions_are_the_layers_written_out_by_hand() -> None:
    called, written = load(zoo.model("functions")).layers, load(zoo.model("functions_by_hand")).layers
    assert len(called) == len(written) == 4
    for one, other in zip(called, written, strict=True):
        assert (one.op, one.pads, one.weight_shape, one.output_shape) == (
            (other.op, other.pads, other.weight_shape, other.output_shape)
        )
        np.testing.assert_array_equal(one.weight, other.weight)


def test_fused_convolution() -> None:
    proto = zoo.model("classifier")
    del proto.graph.node[1:3]
    proto.graph.node[0].op_type, proto.graph.node[0].domain = "FusedConv", "com.microsoft"
    proto.graph.node[0].output[0] = "r1"
    proto.graph.node[0].attribute.append(helper.make_attribute("activation", "Relu"))
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    layer = load(proto).layers[0]
    assert (layer.op, layer.name, layer.weight_shape) == ("com.microsoft::FusedConv", "stem/conv1", (8, 3, 5, 5))


def test_batch_norm_flag() -> None:
    model = load(zoo.model("classifier"))
    assert [layer.folded_batch_norm for layer in model.layers] == [False, None, None]
    proto = zoo.model("classifier")
    proto.graph.node[4].metadata_props.add(key="pkg.onnxscript.rewriter.rule_name", value="FuseBatchNormIntoConv")
    assert load(proto).layers[1].folded_batch_norm is True


def test_all_layers_keep_the_names_of_convolutions() -> None:
    model = load(zoo.model("classifier"))
    names = {layer.taps["conv"]: layer.name for layer in model.layers}
    everything = model.all_layers
    assert [x.op for x in everything] == (
        "Conv BatchNormalization Clip MaxPool Conv LeakyRelu Conv GlobalAveragePool Gemm".split()
    )
    assert all(layer.name == names[layer.taps["conv"]] for layer in everything if layer.is_convolution)
    assert len({layer.name for layer in everything}) == len(everything)
    assert everything[1].name == "bn1"
    assert everything[-1].name == "fc"


def test_operators_that_the_model_does_not_have() -> None:
    with pytest.raises(SelectionError, match=r"has no Konv; did you mean Conv\? it has BatchNormalization"):
        load(zoo.model("classifier")).layers_of(["Konv"])


def test_parameters_leave_out_settings() -> None:
    proto = zoo.model("classifier")
    gathered = [name for node in proto.graph.node if node.op_type == "BatchNormalization" for name in node.input[3:]]
    others = {"six", "zero", *gathered}
    assert len(gathered) == 2
    learned = sum(numpy_helper.to_array(t).size for t in proto.graph.initializer if t.name not in others)
    assert load(proto).parameters == learned


@pytest.mark.parametrize("name", ["classifier", "unet"])
def test_parameters_are_those_that_pytorch_trains_and_rows_add_up_to_them(name: str) -> None:
    path = Path(__file__).resolve().parents[2] / "models" / f"{name}.onnx"
    graph = onnx.load(path).graph
    stored = {one.name: numpy_helper.to_array(one).size for one in graph.initializer}
    norms = [node for node in graph.node if node.op_type == "BatchNormalization"]
    assert norms
    gathered = sum(stored[name] for node in norms for name in node.input[3:])
    model = load(path)
    assert model.parameters == sum(stored.values()) - gathered
    assert sum(layer.parameters for layer in model.all_layers) == model.parameters


@pytest.mark.parametrize(
    ("attribute", "value", "says"),
    [("group", 0, "group 0"), ("strides", [0, 1], r"strides \[0, 1\]"), ("strides", [1], "1 strides for 2")],
)
def test_impossible_geometry(attribute: str, value: object, says: str) -> None:
    proto = zoo.model("classifier")
    proto.graph.node[0].attribute.append(helper.make_attribute(attribute, value))
    with pytest.raises(ModelError, match=says):
        _ = load(proto).layers


@pytest.mark.inference_worker
def test_shapes_survive_a_crash_of_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxviz.model.graph.shapes._WORKER", "import os; os.abort()  # {path}")
    model = load(zoo.model("classifier"))
    assert model.layers[0].output_shape is None
    assert "shape inference failed" in model.shapes.failure


@pytest.mark.inference_worker
@pytest.mark.parametrize("native", ["the worker's own", "not there", "another module's"])
def test_shapes_are_the_same_with_and_without_the_package(native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker loads onnx's native module alone; where that fails, the package."""
    path = {"not there": "/nothing.so", "another module's": onnx.checker.__file__}.get(native)
    if path is not None:
        monkeypatch.setattr(onnx.onnx_cpp2py_export, "__file__", path)
    program = shapes._WORKER + "print('numpy' in sys.modules, file=sys.stderr); sys.exit(1)\n"
    monkeypatch.setattr(shapes, "_WORKER", program)
    proto = zoo.model("classifier")
    with Inference() as inference:
        found, failure = inference.infer(proto)
        assert failure == ""
        assert found == onnx.shape_inference.infer_shapes(proto, data_prop=True)
        inference._process.stdin.close()
        assert inference._ended() == str(path is not None)


@pytest.mark.inference_worker
def test_a_worker_that_dies_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """This one gives back the first model it gets and ends."""
    echo = "import sys; n = sys.stdin.buffer.read(8); m = sys.stdin.buffer.read(int.from_bytes(n, 'little'))\n"
    monkeypatch.setattr("onnxviz.model.graph.shapes._WORKER", echo + "sys.stdout.buffer.write(n + m)  # {path}")
    proto = zoo.model("classifier")
    with Inference() as inference:
        answers = [inference.infer(proto) for _ in range(3)]
    assert [bool(failure) for _, failure in answers] == [False, True, False]
    assert "exit 0" in answers[1][1]
    assert all(found == proto for found, _ in answers)


@pytest.mark.inference_worker
def test_inference_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxviz.model.graph.shapes._WORKER", "import time; time.sleep(100)  # {path}")
    monkeypatch.setattr("onnxviz.model.graph.shapes.TIMEOUT_SECONDS", 0.3)
    with Inference() as inference:
        assert "took more than" in inference.infer(zoo.model("classifier"))[1]


@pytest.mark.inference_worker
def test_one_worker_for_all_shapes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started once, for two models and sizes, and ended behind them."""
    started = []

    def noted(*given: object, **options: object) -> object:
        started.append(popen(*given, **options))
        return started[-1]

    popen = shapes.subprocess.Popen
    monkeypatch.setattr(shapes.subprocess, "Popen", noted)
    models = [load(zoo.model("classifier")), load(zoo.model("classifier"))]
    with shapes.shared_inference():
        assert [model.layers[0].output_shape for model in models] == [("batch", 8, 32, 32)] * 2
        assert models[0].shapes_at({"x": (3, 3, 32, 32)}).of(models[0].layers[0].taps["conv"]) == (3, 8, 32, 32)
        assert [one.returncode for one in started] == [None]
    assert len(started) == 1
    assert started[0].returncode is not None
    assert load(zoo.model("classifier")).layers[0].output_shape == ("batch", 8, 32, 32)
    assert len(started) == 2


def test_unsorted_nodes_are_sorted() -> None:
    proto = zoo.model("classifier")
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[::-1])
    model = load(proto)
    assert [layer.name for layer in model.layers] == ["stem/conv1", "layers.0.conv", "layers.1.conv"]
    assert model.layers[0].output_shape == ("batch", 8, 32, 32)
