"""Where a model scores its classes: one answer for whoever explains and whoever maximises."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import onnx.parser
import pytest
from explained import HEAD, ended
from onnx import helper, numpy_helper
from oracles import untouched
from protos import classifier_proto, normal

from onnxviz import explain, load, maximize
from onnxviz.cli import run
from onnxviz.errors import SelectionError
from onnxviz.maximization.objectives import Class
from onnxviz.model.scores import Scores, class_names, find_scores, name_of, sample_axis, with_both

STILL = {"transforms": "none", "leak": 0.0}
RNG = np.random.default_rng(3)
KERNELS = RNG.standard_normal((5, 3, 1, 1)).astype(np.float32)


def parsed(text: str, opset: int = 18, **weights: np.ndarray) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>' + text)
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def segmenter(tail: str, kind: str = "float", opset: int = 18, size: str = "8,6", **weights) -> onnx.ModelProto:
    """Five classes a pixel, by a 1x1 convolution `c` (n, 5, 8, 6) and what follows it up to `y`."""
    proto = parsed(
        f"g (float[n,3,{size}] x) => ({kind}[k] y) {{ c = Conv (x, w) {tail} }}",
        opset,
        w=KERNELS,
        **{"s": np.array(0.05, np.float32), "o": np.array(128, np.uint8), **weights},
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


LAST = "t = Transpose <perm=[0,2,3,1]> (c) "
ROUNDED = "q = QuantizeLinear (%s, s, o) y = DequantizeLinear (q, s, o)"
PLACES = [
    (LAST + "y = Softmax <axis=-1> (t)", "t", "softmax", -1, {}),
    (LAST + "y = Softmax <axis=3> (t)", "t", "softmax", 3, {}),
    (LAST + "y = Sigmoid (t)", "t", "sigmoid", -1, {}),
    (LAST + "y = Identity (t)", "y", "", -1, {}),
    (LAST + "y = ArgMax <axis=3> (t)", "t", "", 3, {"kind": "int64"}),
    ("y = ArgMax <axis=1> (c)", "c", "", 1, {"kind": "int64"}),
    ("v, y = TopK <axis=1> (c, one)", "c", "", 1, {"kind": "int64", "one": np.array([1])}),
    (LAST + "v, y = TopK (t, one)", "t", "", -1, {"kind": "int64", "one": np.array([1])}),
    ("y = Softmax <axis=1> (c)", "c", "softmax", 1, {}),
    ("p = Softmax <axis=1> (c) y = Transpose <perm=[0,2,3,1]> (p)", "c", "softmax", 1, {}),
    ("y = Softmax (c)", "c", "softmax", 1, {"opset": 11}),
    ("p = Softmax <axis=1> (c) " + ROUNDED % "p", "c", "softmax", 1, {}),
    (ROUNDED % "c", "c", "", 1, {}),
    ("y = Neg (c)", "y", "", 1, {}),
]


@pytest.mark.parametrize(("tail", "tensor", "link", "axis", "options"), PLACES)
def test_explain_and_maximize_take_the_same_scores(tail, tensor, link, axis, options):
    """Held against the untouched model: the class's own channel, whatever stands behind it and wherever it lies."""
    proto = segmenter(tail, **options)
    scores = find_scores(load(proto))
    assert (scores.tensor, scores.link, scores.axis) == (tensor, link, axis)
    assert Class(1).tensor(load(proto)) == tensor
    pixels = RNG.random((3, 8, 6)).astype(np.float32)
    sign = -1 if "Neg" in tail else 1
    channel = sign * untouched(proto, ["c"], {"x": pixels[None]})["c"][0, 1]
    found = explain(proto, pixels, class_=1, method="input-x-gradient", region="all")
    assert found.target == tensor
    assert found.classes == 5
    assert found.score == pytest.approx(channel.sum(), rel=1e-4)


@pytest.mark.parametrize(("tail", "options"), [(case[0], case[-1]) for case in PLACES if "Neg" not in case[0]])
def test_maximize_climbs_the_class_and_no_row_of_the_picture(tail, options):
    proto = segmenter(tail, **options)
    made = maximize(proto, class_=1, steps=30, preprocess="unit", **STILL)
    given = np.ascontiguousarray(made.images.transpose(0, 3, 1, 2), np.float32)
    scored = untouched(proto, ["c"], {"x": given})["c"]
    assert made.after[0] == pytest.approx(scored[0, 1].mean(), rel=1e-4)
    # The class's mean is linear in the pixels: at its best, each channel is 1 where its weight is above 0.
    best = float(np.maximum(KERNELS[1], 0).sum())
    assert made.after[0] > made.before[0]
    assert made.after[0] <= best + 1e-5
    assert made.targets[0].class_ == 1


@pytest.mark.parametrize(("tail", "options"), [(tail, options) for tail, _, _, _, options in PLACES])
def test_a_class_that_is_not_there_is_refused_with_the_count_of_classes(tail, options):
    """Not with the count of rows, 8."""
    for number in (5, 7, -1):
        with pytest.raises(SelectionError, match=f"no class {number}; it has 5 classes, 0 to 4"):
            maximize(segmenter(tail, **options), class_=number, steps=1)


def test_a_negative_class_is_refused_where_the_count_is_not_known():
    proto = segmenter("y = Reshape (c, r)")
    proto.graph.input.append(helper.make_tensor_value_info("r", onnx.TensorProto.INT64, ["k"]))
    with pytest.raises(SelectionError, match="no class -1; classes are counted from 0"):
        maximize(proto, class_=-1, steps=1)


def test_the_count_is_looked_at_when_the_model_runs_too():
    """Where inference does not tell it."""
    values = np.zeros((1, 8, 6, 5))
    for axis, count in ((-1, 5), (1, 8)):
        with pytest.raises(SelectionError, match=f"no class {count}; it has {count} classes"):
            Class(count, axis=axis).value(values)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_the_slope_of_a_class_is_that_of_its_value(axis):
    values = RNG.standard_normal((2, 4, 5, 6))
    term = Class(3, axis=axis)
    step = RNG.standard_normal(values.shape)
    rise = term.value(values + step) - term.value(values)
    assert rise.sum() == pytest.approx((term.slope(values) * step).sum())
    assert term.value(values) == pytest.approx(np.moveaxis(values, axis, 1)[:, 3].mean(axis=(1, 2)))


@pytest.mark.parametrize("end", ["y = Identity (z)", "y = Sigmoid (z)"])
def test_one_logit_scores_two_classes_for_both(end):
    proto = parsed(
        "g (float[n,3,8,6] x) => (float[k] y) { c = Conv (x, w) m = ReduceMean <keepdims=0> (c, a) "
        "z = MatMul (m, d) " + end + " }",
        w=KERNELS,
        a=np.array([2, 3]),
        d=RNG.standard_normal((5, 1)).astype(np.float32),
    )
    for number, sign in ((0, -1), (1, 1)):
        made = maximize(proto, class_=number, steps=20, preprocess="unit", **STILL)
        given = np.ascontiguousarray(made.images.transpose(0, 3, 1, 2), np.float32)
        logit = untouched(proto, ["z"], {"x": given})["z"][0, 0]
        assert made.after[0] == pytest.approx(sign * logit, rel=1e-4)
        assert made.after[0] > made.before[0]
        assert explain(proto, given[0], class_=number, method="saliency").score == pytest.approx(sign * logit, rel=1e-4)
    with pytest.raises(SelectionError, match="no class 2; it has 2 classes, 0 to 1"):
        maximize(proto, class_=2, steps=1)


def test_one_logit_means_the_same_to_both_commands(tmp_path, capsys):
    proto = parsed(
        "g (float[n,3,8,6] x) => (float[n,1] y) { c = Conv (x, w) m = ReduceMean <keepdims=0> (c, a) "
        "z = MatMul (m, d) y = Sigmoid (z) }",
        w=KERNELS,
        a=np.array([2, 3]),
        d=RNG.standard_normal((5, 1)).astype(np.float32),
    )
    path, save = tmp_path / "m.onnx", tmp_path / "made.npz"
    onnx.save(proto, path)
    asked = ["--class", "0,1", "--steps", "4", "--transforms", "none", "--leak", "0", "--preprocess", "unit"]
    assert run(["maximize", str(path), *asked, "--save", str(save), "--json", "-q"]) == 0
    made = json.loads(capsys.readouterr().out)["pictures"]
    with np.load(save) as saved:
        images = saved["images"]
    for number, target in enumerate(made):
        np.save(tmp_path / "x.npy", np.ascontiguousarray(images[number : number + 1].transpose(0, 3, 1, 2), np.float32))
        told = ["explain", str(path), str(tmp_path / "x.npy"), "--class", str(number), "--method", "saliency"]
        assert run([*told, "-o", str(tmp_path / "x.png"), "--json", "-q"]) == 0
        score = json.loads(capsys.readouterr().out)["explanations"][0]["score"]
        assert score == pytest.approx(target["after"], rel=1e-4)


def test_names_that_a_detector_brings_are_known_to_both():
    """Ultralytics writes a Python dict under the key `names`."""
    proto = segmenter("y = Identity (c)")
    names = ["sky", "sea", "sand", "rock", "tree"]
    proto.metadata_props.add(key="names", value=str(dict(enumerate(names))))
    assert maximize(proto, class_=1, steps=1, **STILL).targets[0].name == "sea"
    pixels = RNG.random((3, 8, 6)).astype(np.float32)
    assert explain(proto, pixels, class_=1, method="saliency", region="all").class_name == "sea"


def test_names_of_other_classes_are_left_out():
    proto = classifier_proto()
    proto.metadata_props.add(key="classes", value='["a", "b", "c"]')
    assert find_scores(load(proto)).names == ("a", "b", "c")
    assert maximize(proto, class_=2, steps=1, **STILL).targets[0].name == ""
    assert name_of(1, ("a", "b", "c"), 3) == "b"
    assert name_of(1, ("a", "b", "c"), 4) == ""
    assert name_of(1, ("a", "b", "c"), None) == "b"
    assert name_of(3, ("a", "b", "c"), None) == ""
    assert name_of(-1, ("a", "b", "c"), None) == ""
    # One name is none of two scores; of one logit it is what the logit speaks for.
    assert [name_of(number, ("a",), 2) for number in (0, 1)] == ["", ""]
    assert [name_of(number, ("a",), 1) for number in (0, 1)] == ["", "a"]
    assert [name_of(number, ("a", "b"), 1) for number in (0, 1)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{1: 'a', 2: 'b'}", ("", "a", "b")),  # counted from 1, with a background
        ('{"2": "c", "0": "a", "1": "b"}', ("a", "b", "c")),
        ("{0: 'a', 2: 'c'}", ("a", "", "c")),
        ("{-1: 'a', 0: 'b'}", ()),
        ("{0: 'a', 10: 'b'}", ()),
        ("{0: 'a', 1000000000: 'b'}", ()),
        ("{'x': 'a'}", ()),
        ("{0: 1}", ()),
        ("{}", ()),
    ],
)
def test_names_stand_at_their_numbers(text, names):
    assert class_names(load(classifier_proto()).with_metadata({"names": text})) == names


@pytest.mark.parametrize("given", [1, 4, 6, 18])
def test_names_of_another_number_of_classes_are_said_with_both_numbers(given):
    """Five scores: a class short, one more for a background, one name for all."""
    proto = classifier_proto()
    proto.metadata_props.add(key="classes", value=json.dumps([f"name{number}" for number in range(given)]))
    said = rf"the model's metadata name {given} classes, but '.*' has 5 scores: the names are left out"
    made = maximize(proto, class_=[0, 3], steps=1, **STILL)
    assert [target.name for target in made.targets] == ["", ""]
    assert [re.fullmatch(said, text) is not None for text in made.warnings] == [True]
    pixels = RNG.random((3, 16, 12)).astype(np.float32)
    found = explain(proto, pixels, class_=0, method="saliency")
    assert (found.class_name, found.what.split(",")[0], found.title) == ("", "class 0", "class 0")
    assert [text for text in found.warnings if re.fullmatch(said, text)]
    # Names that are given take their place; channels inside have none to miss.
    named = explain(proto, pixels, class_=0, method="saliency", labels=list("abcde"))
    assert (named.class_name, named.warnings) == ("a", ())
    assert not explain(proto, pixels, target="r1", region="all", class_=0, method="saliency").warnings


def test_names_that_fit_are_not_spoken_of():
    proto = classifier_proto()
    proto.metadata_props.add(key="classes", value='["a", "b", "c", "d", "e"]')
    assert maximize(proto, class_=0, steps=1, **STILL).warnings == ()
    assert explain(proto, RNG.random((3, 16, 12)).astype(np.float32), method="saliency").warnings == ()


def test_the_name_of_one_logit_is_that_of_class_1():
    proto = ended(HEAD + "y = Sigmoid (z)", a=np.array([2, 3]), d=np.abs(normal(4, 1)))
    proto.metadata_props.add(key="classes", value='["cat"]')
    pixels = normal(3, 8, 8)
    assert explain(proto, pixels, class_=1, method="saliency").class_name == "cat"
    negative = explain(proto, pixels, class_=0, method="saliency")
    assert (negative.class_name, negative.what.split(",")[0]) == ("", "class 0")


def test_class_names_come_from_the_model():
    model = load(classifier_proto())
    assert class_names(model) == ()
    assert class_names(model.with_metadata({"classes": '["a", "b"]'})) == ("a", "b")
    assert class_names(model.with_metadata({"classes": "{"})) == ()


def with_tail(*nodes, output):
    proto = classifier_proto()
    proto.graph.node.extend(nodes)
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info(output, 1, None))
    return load(proto)


def place(model, output=None):
    found = find_scores(model, output)
    return found.tensor, found.axis


def test_classes_are_scored_before_the_softmax():
    node = helper.make_node
    assert place(load(classifier_proto())) == ("logits", 1)
    assert place(with_tail(node("Softmax", ["logits"], ["p"]), output="p")) == ("logits", -1)
    tail = [node("Softmax", ["logits"], ["q"], axis=1), node("Identity", ["q"], ["p"])]
    assert place(with_tail(*tail, output="p")) == ("logits", 1)
    assert place(with_tail(node("Sigmoid", ["logits"], ["p"]), output="p")) == ("logits", 1)
    assert place(with_tail(node("Neg", ["logits"], ["p"]), output="p")) == ("p", 1)
    with pytest.raises(SelectionError, match=r"'nothing'.*logits"):
        find_scores(load(classifier_proto()), "nothing")


def test_an_inner_tensor_is_said_to_be_one():
    assert find_scores(load(classifier_proto()), "r3").inner
    assert not find_scores(load(classifier_proto())).inner


@pytest.mark.parametrize(
    ("axis", "shape", "classes", "place"),
    [(1, (None, 5, 8, 6), 5, 0), (-1, ("n", 8, 6, 5), 5, 2), (2, (1, 8, 5, 6), 5, 1), (1, ("n", 1), 2, 0)],
)
def test_the_axis_of_classes(axis, shape, classes, place):
    scores = Scores("y", "y", "", axis, (), False)
    assert scores.classes(shape) == classes
    assert sample_axis(axis, len(shape) - 1) == place
    assert scores.classes(None) is None
    assert scores.classes((3,)) == (None if axis != -1 else 3)
    assert scores.classes(("n",) * 4) is None


@pytest.mark.parametrize(("axis", "shape"), [(1, (5, 2, 3)), (-1, (2, 3, 5)), (2, (2, 5, 3)), (1, (5,)), (-1, (5,))])
def test_scores_of_a_sample_by_class(axis, shape):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    classes = shape.index(5)
    by_hand = [np.take(values, one, classes).reshape(-1) for one in range(5)]
    found = Scores("y", "y", "", axis, (), False).by_class(values)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, by_hand)


def test_one_number_is_one_score_and_one_logit_two_classes():
    scores = Scores("y", "y", "", 1, (), False)
    assert scores.by_class(np.array(3, np.float32)).tolist() == [[3]]
    assert with_both(scores.by_class(np.array([[3, -4]]))).tolist() == [[-3, 4], [3, -4]]
    assert with_both(np.ones((2, 4))).tolist() == np.ones((2, 4)).tolist()


def test_a_layer_is_found_by_name_whatever_it_is():
    model = load(classifier_proto())
    pool = next(layer for layer in model.all_layers if not layer.is_convolution)
    assert model.layer(pool.name, any=True).name == pool.name
    assert model.layer(0, any=True).name == model.layers[0].name
    with pytest.raises(SelectionError, match=pool.name):
        model.layer(pool.name)
    with pytest.raises(SelectionError, match="nowhere"):
        model.layer("nowhere", any=True)
    assert [layer.filters for layer in model.layers] == [6, 8, 4]
