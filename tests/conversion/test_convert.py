"""The core of `convert`, on a toy framework: what a conversion gives, and how the input's shape is written."""

import json

import onnx
import pytest
from toy_framework import STAGES, Toy, files_below, saved_toy

import onnxviz
from onnxviz import ConversionError, OnnxvizError, Preprocessing
from onnxviz.conversion.convert import conversion
from onnxviz.model.naming import LAYER_KEY

# ---------------------------------------------------------------- what a conversion gives


def test_its_stages_and_the_one_file_are_told(toy, tmp_path):
    stages = []
    toy("")
    done = conversion(Toy(), output=tmp_path / "toy.onnx", on_stage=stages.append)
    assert stages == STAGES == list(done.seconds)
    assert done.files == [tmp_path / "toy.onnx"] == list(tmp_path.iterdir())


def test_without_an_output_the_file_lives_as_long_as_the_model(toy, scratch):
    toy("")
    model = onnxviz.convert(Toy())
    assert isinstance(model, onnxviz.Model)
    (folder,) = scratch.iterdir()
    assert files_below(folder) == ["model.onnx"]
    assert model.layer("body/first").weight.shape == (4, 3, 3, 3)
    assert repr(model).startswith("Model('Toy'")
    del model
    assert files_below(scratch) == []


def test_the_model_says_what_it_comes_from(toy, tmp_path):
    toy("")
    onnxviz.convert(Toy(preprocessing=Preprocessing.parse("caffe")), output=tmp_path / "toy.onnx")
    proto = onnx.load(tmp_path / "toy.onnx")
    assert (proto.producer_name, proto.producer_version) == ("onnxviz", onnxviz.__version__)
    notes = {entry.key: entry.value for entry in proto.metadata_props}
    assert notes["onnxviz.source"] == "Toy, toy 1.5"
    assert json.loads(notes["onnxviz.preprocessing"])["name"] == "caffe"
    assert proto.opset_import[0].version == 18
    signed = {node.op_type: {e.key: e.value for e in node.metadata_props}.get(LAYER_KEY) for node in proto.graph.node}
    assert signed["Conv"] == "body/second"
    assert {tensor.name for tensor in proto.graph.initializer} == {
        f"body/{layer}/{part}" for layer in ("first", "second") for part in ("kernel", "bias")
    }


@pytest.mark.parametrize(("asked", "known", "kept"), [("torch", None, "torch"), ("torch", "caffe", "torch")])
def test_a_preprocessing_that_is_asked_for_counts_more_than_a_known_one(toy, asked, known, kept):
    toy("")
    model = Toy(preprocessing=known and Preprocessing.parse(known))
    done = conversion(model, preprocess=asked)
    assert done.model.preprocessing["name"] == kept
    assert done.verification.inputs.startswith("noise images")
    assert done.as_dict()["preprocessing"]["name"] == kept


def test_an_unknown_preprocessing_is_refused_before_anything_is_opened(toy):
    converter = toy("opening")
    with pytest.raises(OnnxvizError, match="sideways"):
        onnxviz.convert(Toy(), preprocess="sideways")
    assert converter.asked == {}


@pytest.mark.parametrize("opset", [13, 18, 23])
def test_every_opset_of_the_range(toy, opset):
    toy("")
    assert onnxviz.convert(Toy(), opset=opset).opset == {"": opset}


@pytest.mark.parametrize("opset", [0, 12, 24])
def test_other_opsets_are_refused(toy, opset):
    toy("")
    with pytest.raises(ConversionError, match=rf"opset {opset} is not supported; there are 13 to 23"):
        onnxviz.convert(Toy(), opset=opset)


# ---------------------------------------------------------------- the input's shape


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("1x3x224x192", {"": (1, 3, 224, 192)}),
        ("?X3×64x?", {"": (None, 3, 64, None)}),
        ("7", {"": (7,)}),
        ("a=1x3x8x8,b=1x10", {"a": (1, 3, 8, 8), "b": (1, 10)}),
        ("a = x=1x2", {"a = x": (1, 2)}),
        ((1, 3, 8, None), {"": (1, 3, 8, None)}),
        ([1, 3], {"": (1, 3)}),
        ({"a": [1, 3], "b": (None, 2)}, {"a": (1, 3), "b": (None, 2)}),
    ],
)
def test_how_a_shape_is_written(toy, given, expected):
    converter = toy("opening")
    with pytest.raises(ConversionError, match="the toy is broken"):
        onnxviz.convert(Toy(), input_shape=given)
    assert converter.asked["input_shapes"] == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", r"'' is not a shape"),
        ("1x3xax4", r"'1x3xax4' is not a shape; write sizes with the batch first"),
        ("1x-3", r"'1x-3' is not a shape"),
        ("0x3", r"'0x3' is not a shape"),
        ("1,3,224,224", r"gives two shapes without names"),
        ("a=1x3,a=1x4", r"names an input twice"),
        ("a=1x3,b", r"'b' is not a shape"),
        ("1x3.5", r"is not a shape"),
        ("1x9999999", r"is not a shape"),
        ((1, 3, "x"), r"convert takes .* as input_shape, not \(1, 3, 'x'\)"),
        ((1, -3), r"is not a shape"),
        ((1, 2.5), r"convert takes .* as input_shape, not \(1, 2\.5\)"),
        ({"a": 5}, r"convert takes .* as input_shape, not \{'a': 5\}"),
        (224, r"convert takes .* as input_shape, not 224"),
    ],
)
def test_a_shape_that_is_none(toy, given, message):
    toy("")
    with pytest.raises((ConversionError, onnxviz.InputError), match=message):
        onnxviz.convert(Toy(), input_shape=given)


def test_options_reach_the_converter(toy, tmp_path):
    converter = toy("")
    weights = saved_toy(Toy(), tmp_path / "w.bin")
    onnxviz.convert(Toy(), weights=str(weights), allow_code_execution=True, verify=False)
    assert converter.asked == {"weights": weights, "input_shapes": None, "allow": True}
