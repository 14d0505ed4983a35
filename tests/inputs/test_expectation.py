"""What is done to a model's images: who says so, who wins, what is said about it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx.parser
import pytest
from fed import fed
from onnx import TensorProto, numpy_helper
from PIL import Image

from onnxviz import InputError, annotate, load
from onnxviz.inputs.expectation import Expectation
from onnxviz.inputs.preprocessing import NAMED, Preprocessing
from onnxviz.inputs.samples import ImageOptions, samples
from onnxviz.messages import for_command_lines

PHOTO = np.random.default_rng(5).integers(0, 256, (8, 6, 3), np.uint8)


def rescaling(inputs="float[n,3,8,6] x", text="z = Div (x, a)", **constants):
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 18]> g ({inputs}) => (float[n,k,h,w] y) {{ {text} y = Conv (z, w) }}'
    )
    for name, value in {"a": 255.0, "w": np.ones((1, 3, 1, 1)), **constants}.items():
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def noted(proto, words):
    note = words if words.startswith("{") else Preprocessing.parse(words).to_json()
    proto.metadata_props.add(key="onnxviz.preprocessing", value=note)
    return proto


def told(proto, preprocess="auto"):
    return Expectation.of(load(proto), preprocess)


def test_the_graph_tells_where_nothing_else_does():
    found = told(rescaling())
    assert (found.preprocessing, found.source, found.assumed) == (NAMED["raw"], "graph", False)
    assert found.remark == "the model divides by 255 itself"
    assert found.words("m.onnx") == "m.onnx: images are prepared as 'raw': the model divides by 255 itself"
    assert found.mark == ""
    assert found.as_dict() == {
        **NAMED["raw"].as_dict(), "assumed": False, "source": "graph", "remark": "the model divides by 255 itself",
    }  # fmt: skip


def test_the_metadata_win_and_a_contradiction_is_said():
    found = told(noted(rescaling(), "unit"))
    assert (found.preprocessing, found.source, found.assumed) == (NAMED["unit"], "metadata", False)
    assert found.conflict == (
        "the metadata say 'unit', but 'raw' is what the graph expects, since the model divides by 255 itself: the "
        "metadata win (preprocess='raw' follows the graph)"
    )
    assert found.words("m.onnx") == f"m.onnx: {found.conflict}"
    assert found.as_dict()["remark"] == found.conflict


@pytest.mark.parametrize("words", ["raw", "scale=1", "scale=1.004", "order=BGR"])
def test_metadata_that_agree_need_no_word(words):
    found = told(noted(rescaling(), words))
    assert (found.source, found.conflict, found.remark) == ("metadata", "", "the model divides by 255 itself")
    assert found.words("m.onnx") == ""


@pytest.mark.parametrize("words", ["unit", "signed", "torch", "caffe", "mean=20", "scale=1.1"])
def test_metadata_that_say_something_else_are_contradicted(words):
    assert "'raw' is what the graph expects" in told(noted(rescaling(), words)).conflict


def test_an_order_that_the_means_tell_is_held_against_the_metadata():
    text = "t = Gather <axis=1> (x, i) z = Sub (t, m)"
    caffe = rescaling(text=text, i=np.array([2, 1, 0]), m=np.array([103.939, 116.779, 123.68]).reshape(3, 1, 1))
    assert "but 'raw' is what" in told(noted(caffe, "order=BGR")).conflict
    del caffe.metadata_props[:]
    assert told(noted(caffe, "raw")).conflict == ""


def test_an_open_order_is_not_contradicted():
    proto = rescaling(text="t = Gather <axis=1> (x, i) z = Div (t, a)", i=np.array([2, 1, 0]))
    for words in ("raw", "order=BGR"):
        assert told(noted(onnx.ModelProto.FromString(proto.SerializeToString()), words)).conflict == ""
    assert told(noted(proto, "unit")).conflict


def test_what_is_asked_for_wins_over_both():
    for proto in (rescaling(), noted(rescaling(), "unit")):
        found = told(proto, "caffe")
        assert (found.preprocessing, found.source, found.words("m.onnx")) == (NAMED["caffe"], "option", "")
        mine = Preprocessing("mine", 2.0)
        assert told(proto, mine).preprocessing is mine


def test_where_nothing_tells_it_is_assumed_and_the_way_out_is_named():
    found = told(rescaling(text="z = Identity (x)"))
    assert (found.preprocessing, found.source, found.assumed) == (NAMED["unit"], "assumption", True)
    assert found.mark == "preprocessing assumed: unit"
    said = found.words("m.onnx")
    assert said.startswith("m.onnx does not say how images are prepared; assumed 'unit': preprocess= settles it")
    assert "annotate(model, preprocess, output) keeps it" in said
    assert (found.as_dict()["assumed"], found.as_dict()["source"]) == (True, "assumption")
    assert "annotate" in found.as_dict()["remark"]


def test_the_command_that_keeps_it_settles_it(tmp_path, run_command):
    onnx.save(rescaling(text="z = Identity (x)"), tmp_path / "m.onnx")
    with for_command_lines():
        remark = Expectation.of(load(tmp_path / "m.onnx")).remark
    command = remark.partition("'")[2].partition("'")[0]
    words = [{"P": "signed", "OUT": str(tmp_path / "kept.onnx")}.get(word, word) for word in command.split()[1:]]
    assert run_command(*words).code == 0
    assert Expectation.of(load(tmp_path / "kept.onnx")) == Expectation(NAMED["signed"], "metadata")


def test_a_reversal_alone_is_an_assumption_about_the_order():
    proto = rescaling(text="t = Gather <axis=1> (x, i) z = Div (t, a)", i=np.array([2, 1, 0]))
    found = told(proto)
    assert (found.preprocessing, found.assumed) == (NAMED["raw"], True)
    assert found.remark.startswith(
        "the model divides by 255 and reverses the channels itself, so that RGB may be BGR; preprocess= settles it"
    )


def test_integers_without_arithmetic_are_assumed_raw(one_conv):
    found = Expectation.of(load(one_conv((1, 3, 8, 6), dtype=TensorProto.UINT8)))
    assert (found.preprocessing, found.assumed) == (NAMED["raw"], True)


def test_a_model_without_pictures():
    found = Expectation.of(load(rescaling(inputs="float[n,3] x")))
    assert (found.preprocessing, found.assumed) == (NAMED["unit"], True)


TWO = "float[n,3,8,6] left, float[n,3,8,6] right"


def test_each_of_two_inputs_is_prepared_as_it_expects(tmp_path):
    proto = rescaling(TWO, "p = Div (left, a) q = Sub (right, h) z = Concat <axis=0> (p, q)", h=0.5)
    found = told(proto)
    assert (found.preprocessing, found.assumed) == (NAMED["raw"], False)
    assert found.others == (("right", NAMED["unit"]),)
    assert found.of_input("left") == NAMED["raw"]
    assert found.as_dict()["others"] == {"right": NAMED["unit"].as_dict()}
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    model, path = load(proto), str(tmp_path / "a.png")
    (sample,) = samples(model, {"left": path, "right": path}, ImageOptions.of(model))
    pixels = PHOTO.transpose(2, 0, 1)[None]
    np.testing.assert_allclose(sample.read()["left"], pixels, rtol=1e-6)
    np.testing.assert_allclose(sample.read()["right"], pixels / 255, rtol=1e-6)


def test_one_of_two_inputs_that_tells_nothing_is_assumed():
    found = told(rescaling(TWO, "p = Div (left, a) z = Concat <axis=0> (p, right)"))
    assert (found.preprocessing, found.assumed) == (NAMED["raw"], True)
    assert found.others == (("right", NAMED["unit"]),)


def test_a_photo_is_fed_as_the_graph_expects(tmp_path):
    """The oracle is the closed form: the mean of the channels of pixels / 255."""
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    _, (array,) = fed(rescaling(), tmp_path / "a.png")
    np.testing.assert_array_equal(array, PHOTO.transpose(2, 0, 1)[None])


def test_a_note_that_cannot_be_used_is_refused_whatever_the_graph_says():
    with pytest.raises(InputError, match="note on preprocessing cannot be used, give preprocess="):
        told(noted(rescaling(), '{"name": "unit", "scale": 1e39, "mean": [0], "std": [1]}'))
    assert told(noted(rescaling(), '{"name": "u", "scale": 1e39, "mean": [0], "std": [1]}'), "unit").source == "option"


@pytest.mark.parametrize("note", ["{", "[]", '{"scale": "wide"}', '{"name": "torch"}', '{"name": 3, "mean": [1]}'])
def test_an_unreadable_note_leaves_the_listing_whole(note):
    proto = rescaling()
    proto.metadata_props.add(key="onnxviz.preprocessing", value=note)
    model = load(proto)
    assert model.preprocessing_conflict == ""
    assert model.preprocessing is None or isinstance(model.preprocessing, dict)


def test_a_note_called_torch_with_other_numbers_is_those_numbers(tmp_path):
    note = json.dumps({**NAMED["torch"].as_dict(), "mean": [0.5, 0.5, 0.5]})
    model = load(noted(rescaling(text="z = Identity (x)"), note))
    assert model.preprocessing["name"] == "custom"
    assert Expectation.of(model).preprocessing.name == "custom"
    kept = annotate(rescaling(), "torch", tmp_path / "m.onnx")
    assert load(kept).preprocessing["name"] == "torch"
