"""`onnxviz layers`: the table for people and the document for scripts."""

import json
import re

import onnx
import pytest
from command_line import PHOTO, error_of, holds, noted
from onnx import TensorProto, helper
from PIL import Image
from protos import CLASSIFIER_NAMES, classifier_proto

CONV = {"strides": [1, 1], "group": 1, "scope": "", "op": "Conv", "auto_pad": "NOTSET", "folded_batch_norm": None}
EXPECTED_LAYERS = [
    {
        **CONV,
        "index": 0,
        "name": "block1_conv1",
        "node": "n1",
        "weight": {"shape": [6, 3, 3, 3], "dtype": "float32", "source": "initializer", "tensor": "block1_conv1/kernel"},
        "bias": True,
        "pads": [1, 1, 1, 1],
        "dilations": [1, 1],
        "taps": {"conv": "c1", "activation": "r1"},
        "activation": {"through": ["Relu"], "ends": ""},
        "output_shape": ["batch", 6, 16, 12],
        "parameters": 6 * 3 * 9 + 6,
    },
    {
        **CONV,
        "index": 1,
        "name": "block1_conv2",
        "node": "n2",
        "weight": {"shape": [8, 6, 3, 3], "dtype": "float32", "source": "initializer", "tensor": "block1_conv2/kernel"},
        "bias": True,
        "pads": [1, 1, 1, 1],
        "dilations": [1, 1],
        "taps": {"conv": "c2", "activation": "r2"},
        "output_shape": ["batch", 8, 16, 12],
        "parameters": 8 * 6 * 9 + 8,
    },
    {
        **CONV,
        "index": 2,
        "name": "block2_conv1",
        "node": "n3",
        "weight": {"shape": [4, 8, 3, 3], "dtype": "float32", "source": "initializer", "tensor": "block2_conv1/kernel"},
        "bias": False,
        "pads": [2, 2, 2, 2],
        "dilations": [2, 2],
        "taps": {"conv": "c3", "activation": "r3"},
        "output_shape": ["batch", 4, 8, 6],
        "parameters": 4 * 8 * 9,
    },
]


def test_layers_as_json(run_command, classifier):
    ran = run_command("layers", classifier, "--json")
    assert (ran.code, ran.err) == (0, "")
    document = ran.document
    holds(
        document,
        {
            "model": str(classifier),
            "producer": "tests 1.2",
            "ir_version": 9,
            "opset": {"": 18},
            "parameters": 168 + 440 + 288 + 20,
            "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 3, 16, 12], "layout": "NCHW"}],
            "preprocessing": None,
        },
    )
    (output,) = document["outputs"]
    holds(output, {"name": "logits", "dtype": "float32", "shape": ["batch", 5]})
    assert len(document["layers"]) == 3
    for found, expected in zip(document["layers"], EXPECTED_LAYERS, strict=True):
        holds(found, expected)


def test_layers_in_keras_order(run_command, classifier):
    rows = run_command("layers", classifier, "--json", "--layout", "keras").document["layers"]
    assert [row["weight"]["shape"] for row in rows] == [[3, 3, 3, 6], [3, 3, 6, 8], [3, 3, 8, 4]]
    assert [row["output_shape"] for row in rows] == [["batch", 16, 12, 6], ["batch", 16, 12, 8], ["batch", 8, 6, 4]]


def test_places_in_keras_list_stand_beside_the_positions(run_command, classifier, tmp_path):
    assert "Keras #" not in run_command("layers", classifier, "--layout", "keras").out
    rows = run_command("layers", classifier, "--json").document["layers"]
    assert [row["keras_index"] for row in rows] == [None, None, None]
    proto = classifier_proto()
    for node, place in (("n1", 1), ("n3", 4)):  # n2 lies inside another layer
        (found,) = (one for one in proto.graph.node if one.name == node)
        found.metadata_props.add(key="onnxviz.keras_index", value=str(place))
    onnx.save(proto, tmp_path / "noted.onnx")
    rows = run_command("layers", "noted.onnx", "--json").document["layers"]
    assert [(row["index"], row["keras_index"]) for row in rows] == [(0, 1), (1, None), (2, 4)]
    assert "Keras #" not in run_command("layers", "noted.onnx").out
    shown = run_command("layers", "noted.onnx", "--layout", "keras").lines
    (heading,) = (line for line in shown if "Keras #" in line)
    assert heading.split()[:4] == ["#", "Keras", "#", "layer"]
    starts = [line.split()[:3] for line in shown if re.search(r"block\d_conv", line)]
    assert [one[: one.index(name) + 1] for one, name in zip(starts, CLASSIFIER_NAMES, strict=True)] == [
        ["0", "1", CLASSIFIER_NAMES[0]], ["1", CLASSIFIER_NAMES[1]], ["2", "4", CLASSIFIER_NAMES[2]],
    ]  # fmt: skip


def test_all_layers(run_command, classifier):
    rows = run_command("layers", classifier, "--all", "--json").document["layers"]
    assert [row["op"] for row in rows] == [
        "Conv", "Relu", "Conv", "Relu", "MaxPool", "Conv", "Relu", "GlobalAveragePool", "MatMul",
    ]  # fmt: skip
    assert [row["index"] for row in rows] == list(range(9))
    assert len({row["name"] for row in rows}) == 9
    names = [row["name"] for row in rows]
    assert [names[0], names[2], names[5]] == list(CLASSIFIER_NAMES)
    assert rows[4]["output_shape"] == ["batch", 8, 8, 6]


def test_the_table_for_people(run_command, classifier):
    ran = run_command("layers", classifier)
    assert (ran.code, ran.err) == (0, "")
    for name in CLASSIFIER_NAMES:
        (line,) = (line for line in ran.lines if re.search(rf"\b{name}\b", line))
        assert "Conv" in line
    for said in (str(classifier), "916", "tests", "18", "image", "logits", "6×3×3×3", "batch×8×16×12", "440"):
        assert said in ran.out
    keras = run_command("layers", classifier, "--layout", "keras").out
    assert "3×3×3×6" in keras


def test_a_model_without_convolutions(run_command, tmp_path):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="act")], "relu",
        [value("x", TensorProto.FLOAT, [2, 3])], [value("y", TensorProto.FLOAT, [2, 3])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=9), tmp_path / "relu.onnx")
    ran = run_command("layers", "relu.onnx")
    assert ran.code == 0
    assert "relu.onnx has no convolution; --all lists its other layers" in ran.err
    assert run_command("layers", "relu.onnx", "-q").err == ""
    assert run_command("layers", "relu.onnx", "--json").document["layers"] == []
    assert "act" in run_command("layers", "relu.onnx", "--all").out
    assert "no convolution" in error_of(run_command("filters", "relu.onnx"))


@pytest.mark.parametrize("note", ['{"scale": NaN}', '{"name": "x", "scale": Infinity}', "{", "[]", "5", '"\x1b[2J"'])
def test_an_odd_note_still_gives_json(run_command, tmp_path, note):
    ran = run_command("layers", noted(tmp_path / "m.onnx", note), "--json")
    assert ran.code == 0
    assert "preprocessing" in ran.document


@pytest.mark.parametrize("where", ["note", "producer", "layer", "input"])
def test_control_characters_of_a_model_do_not_reach_the_terminal(run_command, tmp_path, where):
    evil = "evil\x1b]0;owned\x07\x1b[2J"
    proto = classifier_proto()
    if where == "note":
        note = {"name": evil, "scale": 1, "mean": [0], "std": [1], "order": "RGB"}
        proto.metadata_props.add(key="onnxviz.preprocessing", value=json.dumps(note))
    elif where == "producer":
        proto.producer_name = evil
    elif where == "layer":
        proto.graph.node[0].input[1] = proto.graph.initializer[0].name = f"{evil}/kernel"
    else:
        proto.graph.node[0].input[0] = proto.graph.input[0].name = evil
    onnx.save(proto, tmp_path / "m.onnx")
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    for arguments in (["layers"], ["filters", "-o", "f"], ["maps", "photo.png", "-o", "m"], ["maps", "no.png"]):
        ran = run_command(arguments[0], "m.onnx", *arguments[1:])
        assert "evil" in ran.out or arguments[0] != "layers"
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", ran.out + ran.err), arguments
