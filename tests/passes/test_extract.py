"""`extract`: every layer of every sample model, beside onnxruntime on the whole model; and what the parts keep."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import zoo
from onnx import TensorProto
from oracles import untouched
from protos import classifier_proto, normal, parsed

import onnxviz
from onnxviz.errors import SelectionError

IMAGE = {"image": normal(2, 3, 16, 12)}


def saved(part, folder):
    """The file that is written, checked by onnx; every input and output has a type."""
    path = part.save(folder / "part.onnx")
    proto = onnx.load(path)
    onnx.checker.check_model(proto)
    return path


def answers(path, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def same(found, expected):
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in zoo.NAMES if name != "subgraphs"])
@pytest.mark.parametrize("at", ["activation", "conv"])
def test_each_layer_gives_what_the_whole_model_gives(name, at, tmp_path):
    proto = zoo.model(name)
    model, feeds = onnxviz.load(proto), zoo.feeds(proto)
    layers = [layer for layer in model.layers if not layer.scope]
    own = {name for node in proto.graph.node for name in node.output}
    known = [layer.taps[at] for layer in layers if layer.taps[at] in own]
    truth = untouched(proto, known, feeds) if known else {}
    maps = onnxviz.capture(model, feeds, at=at)  # of a function's layers, whose tensors the file does not name
    for layer in layers:
        path = saved(onnxviz.extract(model, layer.name, at=at), tmp_path)
        read = {value.name for value in onnx.load(path).graph.input}
        (found,) = answers(path, {key: value for key, value in feeds.items() if key in read}).values()
        same(found, truth.get(layer.taps[at], maps[layer.name]))
        again = onnxviz.load(path).layer(layer.name)
        assert again.weight_shape == layer.weight_shape
        if layer.source is not None and layer.op != "ConvInteger":  # whose scale is behind it
            assert again.weight.tobytes() == layer.weight.tobytes()


def test_several_layers_are_several_outputs_in_graph_order(tmp_path):
    path = saved(onnxviz.extract(classifier_proto(), ["block2_conv1", 0]), tmp_path)
    found = answers(path, IMAGE)
    assert list(found) == ["r1", "r3"]
    for name, expected in untouched(classifier_proto(), ["r1", "r3"], IMAGE).items():
        same(found[name], expected)


def test_what_the_layers_do_not_need_is_gone(tmp_path):
    whole = onnxviz.load(classifier_proto())
    part = onnxviz.load(saved(onnxviz.extract(whole, 0), tmp_path))
    assert part.parameters == 3 * 3 * 3 * 6 + 6
    assert [layer.name for layer in part.all_layers] == [layer.name for layer in whole.all_layers[:2]]
    assert set(part.scope.initializers) == {name for name in whole.scope.initializers if "block1_conv1" in name}


def test_a_part_that_begins_later_gives_the_same_from_the_value_in_between(tmp_path):
    truth = untouched(classifier_proto(), ["r1", "r2", "r3"], IMAGE)
    path = saved(onnxviz.extract(classifier_proto(), [1, 2], from_=1), tmp_path)
    model = onnx.load(path)
    (value,) = model.graph.input
    assert value.name == "r1"
    assert [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] == ["batch", 6, 16, 12]
    found = answers(path, {"r1": truth["r1"]})
    same(found["r2"], truth["r2"])
    same(found["r3"], truth["r3"])


def noted():
    proto = classifier_proto()
    for key, text in {
        "onnxviz.preprocessing": json.dumps({"scale": 1.0, "mean": [1.0], "std": [1.0], "order": "RGB"}),
        "onnxviz.verification": "{}", "classes": '["a", "b", "c", "d", "e"]', "names": "{0: 'a'}", "author": "me",
    }.items():  # fmt: skip
        proto.metadata_props.add(key=key, value=text)
    proto.producer_name, proto.producer_version = "their own", "2.0"
    return proto


@pytest.mark.parametrize(
    ("from_", "kept"),
    [(None, {"onnxviz.preprocessing", "author"}), (1, {"author"}), (0, {"onnxviz.preprocessing", "author"})],
)
def test_notes_stay_as_far_as_they_hold(from_, kept, tmp_path):
    part = onnx.load(saved(onnxviz.extract(noted(), 2, from_=from_), tmp_path))
    assert {entry.key for entry in part.metadata_props} == kept
    assert (part.producer_name, part.producer_version) == ("their own", "2.0")


def test_names_of_classes_stay_where_the_answer_is_given_out(tmp_path):
    part = onnx.load(saved(onnxviz.extract(noted(), "dense"), tmp_path))
    assert [value.name for value in part.graph.output] == ["logits"]
    assert {"classes", "names"} <= {entry.key for entry in part.metadata_props}
    assert "onnxviz.verification" not in {entry.key for entry in part.metadata_props}


def test_domains_that_the_part_does_not_use_are_not_imported(tmp_path):
    proto = parsed(
        "g (float[n,3,6,5] x) => (float[n,3,6,5] y) { c = Conv (x, w) y = com.microsoft.Gelu (c) }",
        w=normal(3, 3, 1, 1),
    )
    proto.opset_import.add(domain="com.microsoft", version=1)
    domains = [entry.domain for entry in onnx.load(saved(onnxviz.extract(proto, 0, at="conv"), tmp_path)).opset_import]
    assert domains == [""]


RESIDUAL = (
    "g (float[n,3,6,5] x) => (float[n,3,6,5] y) { a = Conv (x, w) b = Conv (a, w) s = Add (b, x) y = Conv (s, w) }"
)


@pytest.mark.parametrize(
    ("layers", "from_", "said"),
    [
        (2, 1, r"other ways than through 'conv_1' lead .* to 'conv_2'; a part can begin with 'conv_0', 'conv_2'"),
        (0, 1, "'conv_0' does not follow 'conv_1', with which the part begins"),
        ([0, 1], 1, "'conv_0' does not follow 'conv_1'"),
        (2, 7, "no layer has position 7"),
        ("nope", None, "no layer is called 'nope'"),
        ([], None, "is empty"),
    ],
)
def test_what_cannot_be_cut_is_refused(layers, from_, said):
    proto = parsed(RESIDUAL, w=normal(3, 3, 1, 1))
    with pytest.raises(SelectionError, match=said):
        onnxviz.extract(proto, layers, from_=from_)


def test_what_a_refusal_proposes_can_be_done(tmp_path):
    proto = parsed(RESIDUAL, w=normal(3, 3, 1, 1))
    feeds = {"x": normal(2, 3, 6, 5)}
    truth = untouched(proto, ["s", "y"], feeds)
    same(answers(saved(onnxviz.extract(proto, 2, from_=0), tmp_path), feeds)["y"], truth["y"])
    same(answers(saved(onnxviz.extract(proto, 2, from_=2), tmp_path), {"s": truth["s"]})["y"], truth["y"])


def test_layers_of_a_loop_come_out_with_their_turns_and_those_of_an_if_are_refused(tmp_path):
    proto = zoo.model("subgraphs")
    model, feeds = onnxviz.load(proto), zoo.feeds(proto)
    inner = [layer for layer in model.layers if layer.scope]
    branch = [layer for layer in inner if "branch" in layer.scope]
    assert branch
    for layer in branch:
        with pytest.raises(SelectionError, match="inside an If"):
            onnxviz.extract(model, layer.name)
    for layer in inner:
        with pytest.raises(SelectionError, match="inside"):
            onnxviz.extract(model, layer.name, from_=0)
        if layer not in branch:
            path = saved(onnxviz.extract(model, layer.name), tmp_path)
            read = {value.name for value in onnx.load(path).graph.input}
            (found,) = answers(path, {key: value for key, value in feeds.items() if key in read}).values()
            maps = onnxviz.capture(model, feeds, layers=layer.name)
            known = maps[layer.name]  # (turns, N, …); a loop over samples turns once for each that is fed
            same(found if found.shape == known.shape else np.moveaxis(found, 0, 1), known)


def test_the_model_is_unchanged_and_a_quantised_tap_is_as_the_graph_has_it(tmp_path):
    proto = zoo.model("quantized")
    before = proto.SerializeToString()
    model = onnxviz.load(proto)
    kept = model.proto.SerializeToString()
    for layer in model.layers:
        part = onnx.load(saved(onnxviz.extract(model, layer.name, at="conv"), tmp_path))
        kind = part.graph.output[0].type.tensor_type.elem_type
        assert (kind in (TensorProto.UINT8, TensorProto.INT8)) is (layer.op == "QLinearConv")
    assert model.proto.SerializeToString() == kept
    assert proto.SerializeToString() == before


def test_weights_in_another_file_come_along(tmp_path):
    onnx.save(classifier_proto(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    path = saved(onnxviz.extract(tmp_path / "m.onnx", 1), tmp_path / "..")
    (tmp_path / "m.data").unlink()
    same(answers(path, IMAGE)["r2"], untouched(classifier_proto(), ["r2"], IMAGE)["r2"])
    path.unlink()
