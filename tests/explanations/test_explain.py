"""Explanations: what is explained, where its map lies, what is refused, and how."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from cross_finder import finder, scene
from onnx import numpy_helper
from oracles import relative, untouched
from protos import classifier_proto, normal, parsed
from samples import CAT, CLASSIFIER, DOG, UNET

import onnxviz
from onnxviz import explain, explain_each, explain_sanity, load
from onnxviz.cli import run
from onnxviz.errors import InputError, ModelError, SelectionError, UnsupportedGradientError
from onnxviz.explanations.explain import Explainer
from onnxviz.explanations.methods import METHODS
from onnxviz.explanations.methods.cam import choose_layer
from onnxviz.explanations.target import Target
from onnxviz.gradients.table import RULES
from onnxviz.model.scores import class_names

GRADIENT_FREE = [name for name, method in METHODS.items() if method.gradient_free]
CAMS = [name for name, method in METHODS.items() if method.of_layer]


def few(method: str, count: int) -> dict[str, int]:
    """The option that makes a method quick, where it has it."""
    return {"samples": count} if "samples" in METHODS[method].options else {}


def centre(heat: np.ndarray) -> np.ndarray:
    """Of mass, of what is above half the greatest."""
    heat = np.abs(heat) * (np.abs(heat) >= np.abs(heat).max() / 2)
    grid = np.indices(heat.shape)
    return (grid * heat).sum(tuple(range(1, grid.ndim))) / heat.sum()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", [(8, 9), (30, 37), (20, 24)])
def test_the_map_lies_on_what_the_model_finds(method, place):
    options = {"rise": {"samples": 1500, "cells": 6}, "occlusion": {"window": 5, "stride": 2}}.get(method, {})
    found = explain(finder(), scene(*place), method=method, **options)
    assert found.class_ == 1
    distance = np.hypot(*(centre(found.upsampled() - (found.map.min() if method == "rise" else 0)) - place))
    assert distance < (4 if method == "rise" else 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", ["1", "4"])
def test_a_batch_that_the_model_insists_on_changes_nothing(method, batch):
    x = scene(10, 12)
    options = {"rise": {"samples": 30}, "occlusion": {"window": 9}}.get(method, {})
    found, expected = (explain(finder(size), x, method=method, **options) for size in (batch, "n"))
    assert relative(found.map, expected.map) < 1e-5
    assert found.score == pytest.approx(expected.score)


def test_a_small_budget_changes_nothing():
    x = scene(10, 12)
    one, other = (explain(finder(), x, method="occlusion", memory=size) for size in (2**20, 2**30))
    assert relative(one.map, other.map) < 1e-5


# What the explanation says.


def test_explanation_of_a_photo(tmp_path):
    found = explain(CLASSIFIER, DOG)
    assert (found.method, found.layer, found.tensor) == ("grad-cam", "conv5", "relu5")
    assert (found.class_, found.class_name, found.classes, found.title) == (4, "dog", 11, "dog")
    assert found.probability > 0.9
    assert found.map.shape == (12, 12)
    assert found.map.min() >= 0
    assert found.upsampled().shape == found.size == (96, 96)
    assert found.photo().shape == (336, 448, 3)
    assert repr(found) == f"Explanation('dog.jpg', dog, score {found.score:.4g}, grad-cam at 'conv5')"
    with pytest.raises(ValueError, match="read-only"):
        found.map[0, 0] = 1
    with pytest.raises(AttributeError):
        found.score = 0
    path = found.save(tmp_path / "dog.npz")
    with np.load(path) as saved:
        assert list(saved) == ["map"]
        assert np.array_equal(saved["map"], found.map)
    manifest = json.loads((tmp_path / "dog.npz.manifest.json").read_text())
    assert manifest["class"] == 4
    assert manifest["layer"] == "conv5"
    assert manifest["method"] == "grad-cam"
    assert manifest["score"] == pytest.approx(found.score)
    assert manifest["model"]["sha256"] == load(CLASSIFIER).sha256
    assert manifest["preprocessing"]["name"] == "signed"


def test_maps_of_the_input_keep_their_channels(tmp_path):
    found = explain(CLASSIFIER, DOG, method="input-x-gradient")
    assert found.attribution.shape == (3, 96, 96)
    assert relative(found.attribution.sum(0), found.map) < 1e-5
    with np.load(found.save(tmp_path / "dog.npz")) as saved:
        assert set(saved) == {"map", "attribution"}


def test_another_class_gives_another_map():
    dog, cat = explain(CLASSIFIER, DOG), explain(CLASSIFIER, DOG, class_=2)
    assert cat.class_name == "cat"
    assert cat.score < dog.score
    assert not np.allclose(dog.map, cat.map)


def test_each_sample_has_its_own():
    found = list(explain_each(CLASSIFIER, [DOG, CAT]))
    assert [one.class_name for one in found] == ["dog", "cat"]
    assert np.array_equal(found[1].map, explain(CLASSIFIER, CAT).map)
    x = np.stack([scene(8, 9), scene(30, 37)])
    both = list(explain_each(finder("2"), x))
    assert [one.sample for one in both] == ["array[0]", "array[1]"]
    assert np.hypot(*(centre(both[1].upsampled()) - (30, 37))) < 2


def test_names_of_classes():
    assert class_names(load(CLASSIFIER))[4] == "dog"
    proto = finder()
    for text, expected in (
        ("{0: 'square', 1: 'cross'}", ("square", "cross")),
        ('["square", "cross"]', ("square", "cross")),
        ('{"0": "square", "1": "cross"}', ("square", "cross")),
        ("__import__('os')", ()),
        ("[1, 2]", ()),
        ("{" * 5000, ()),
    ):
        del proto.metadata_props[:]
        proto.metadata_props.add(key="names", value=text)
        assert class_names(load(proto)) == expected
    assert explain(finder(), scene(9, 9), labels=["square", "cross"]).title == "cross"
    with pytest.raises(InputError, match="3 names were given for 2 classes"):
        explain(finder(), scene(9, 9), labels=["a", "b", "c"])


# What is explained.


def ended(tail: str, **weights: np.ndarray) -> onnx.ModelProto:
    """A convolution and whatever follows its tensor `r`, (n, 4, 8, 8)."""
    return parsed(
        "g (float[n,3,8,8] x) => (float[k] y) { c = Conv <pads=[1,1,1,1]> (x, w) r = Relu (c) " + tail + " }",
        w=normal(4, 3, 3, 3),
        **weights,
    )


HEAD = "m = ReduceMean <keepdims=0> (r, a) z = MatMul (m, d) "
DENSE = {"a": np.array([2, 3]), "d": normal(4, 5)}


@pytest.mark.parametrize(
    ("tail", "tensor", "link"),
    [
        ("y = Identity (z)", "y", ""),
        ("y = Softmax (z)", "z", "softmax"),
        ("s = Softmax (z) y = Identity (s)", "z", "softmax"),
        ("y = LogSoftmax (z)", "z", "softmax"),
        ("y = Sigmoid (z)", "z", "sigmoid"),
        ("s = Softmax <axis=1> (z) y = Reshape (s, q)", "z", "softmax"),
    ],
)
def test_scores_are_those_before_the_softmax(tail, tensor, link):
    proto = ended(HEAD + tail, **DENSE, q=np.array([-1, 5]))
    x = normal(3, 8, 8)
    found = explain(proto, x, method="saliency", class_=2)
    logits = untouched(proto, ["z"], {"x": x[None]})["z"][0]
    assert found.target == tensor
    assert found.score == pytest.approx(logits[2], rel=1e-5)
    shares = np.exp(logits) / np.exp(logits).sum()
    expected = 1 / (1 + np.exp(-logits[2])) if link == "sigmoid" else shares[2]
    assert found.probability == pytest.approx(expected, rel=1e-5)
    assert (f"before the {link}" in found.what) == bool(link)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_logit_has_two_classes(sign):
    proto = ended(HEAD + "y = Sigmoid (z)", a=np.array([2, 3]), d=np.abs(normal(4, 1)) * sign)
    x = normal(3, 8, 8)
    logit = float(untouched(proto, ["z"], {"x": x[None]})["z"][0, 0])
    assert np.sign(logit) == sign
    top = explain(proto, x, method="input-x-gradient")
    assert top.class_ == int(sign > 0)
    assert top.score == pytest.approx(abs(logit), rel=1e-5)
    assert top.probability > 0.5
    other = explain(proto, x, method="input-x-gradient", class_=1 - top.class_)
    assert relative(other.map, -top.map) < 1e-6
    with pytest.raises(SelectionError, match="no class 2; 'z' has 2, 0 to 1"):
        explain(proto, x, class_=2)


@dataclass(frozen=True)
class Margin:
    """By how much a class leads another; written as a user would."""

    first: int
    second: int

    def __call__(self, scores, value):
        weights = np.zeros(value.shape, np.float32)
        weights[self.first], weights[self.second] = 1, -1
        return Target(weights, f"class {self.first} minus class {self.second}")


@pytest.mark.parametrize("method", ["input-x-gradient", "occlusion"])
def test_a_target_of_ones_own(method):
    """Both maps are linear in the score, so the margin's is the difference of the classes'."""
    proto, x = ended(HEAD + "y = Softmax (z)", **DENSE), normal(3, 8, 8)
    found = explain(proto, x, method=method, class_=Margin(3, 1))
    third, first = (explain(proto, x, method=method, class_=number) for number in (3, 1))
    assert found.score == pytest.approx(third.score - first.score, rel=1e-5)
    assert relative(found.map, third.map - first.map) < 1e-4
    assert (found.what, found.class_, found.probability) == ("class 3 minus class 1", None, None)
    assert explain_sanity(found, stages=2).stages[-1].randomised == 2


def test_a_target_of_ones_own_that_does_not_fit_is_refused():
    proto, x = ended(HEAD + "y = Softmax (z)", **DENSE), normal(3, 8, 8)
    with pytest.raises(InputError, match="weighs values of shape 4, but 'z' has 5"):
        explain(proto, x, class_=lambda scores, value: Target(value[:4], "four of five"))
    with pytest.raises(InputError, match="leave the region out"):
        explain(proto, x, class_=Margin(0, 1), region="all")


SEGMENTED = "z = Conv (r, v) "
FIRST = {"v": normal(5, 4, 1, 1, seed=4)}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("softmax", [False, True])
def test_a_class_over_a_region(last, softmax):
    tail = SEGMENTED + ("t = Transpose <perm=[0,2,3,1]> (z) " if last else "t = Identity (z) ")
    tail += f"y = Softmax <axis={-1 if last else 1}> (t)" if softmax else "y = Identity (t)"
    proto, x = ended(tail, **FIRST), normal(3, 8, 8)
    scores = untouched(proto, ["z"], {"x": x[None]})["z"][0]
    winners = scores.argmax(0)
    top = explain(proto, x, method="saliency")
    assert top.class_ == np.bincount(winners.ravel()).argmax()
    assert top.score == pytest.approx(scores[top.class_][winners == top.class_].sum(), rel=1e-4)
    boxed = explain(proto, x, method="saliency", class_=3, region=(1, 2, 4, 7))
    assert boxed.score == pytest.approx(scores[3, 1:4, 2:7].sum(), rel=1e-4)
    assert not boxed.map[6:].any()
    assert boxed.map[1:4, 2:7].any()
    mask = np.zeros((8, 8), bool)
    mask[5, 5] = True
    assert explain(proto, x, class_=0, region=mask).score == pytest.approx(scores[0, 5, 5], rel=1e-4)
    assert explain(proto, x, class_=1, region="all").score == pytest.approx(scores[1].sum(), rel=1e-3)


def test_labels_of_pixels_are_explained_by_their_scores():
    proto, x = ended(SEGMENTED + "y = ArgMax <axis=1, keepdims=0> (z)", **FIRST), normal(3, 8, 8)
    assert explain(proto, x, method="saliency").target == "z"


def test_scores_are_those_before_their_rounding():
    """A quantised classifier ends in a rounding that saturates: its gradient would be zero."""
    tail = HEAD + "q = QuantizeLinear (z, s, o) y = DequantizeLinear (q, s, o)"
    proto = ended(tail, **DENSE, s=np.float32(1e-3), o=np.int8(0))
    found = explain(proto, normal(3, 8, 8), method="saliency")
    assert found.target == "z"
    assert found.map.any()


def test_segmentation_of_a_photo():
    found = explain(UNET, DOG, size=(120, 160))
    assert (found.target, found.class_, found.layer, found.tensor) == ("head", 1, "up1.conv2", "up1.relu2")
    assert found.map.shape == (120, 160)
    mask = untouched(onnx.load(UNET), ["mask"], {"image": found.input[None]})["mask"][0, 0] > 0.5
    assert found.score > 0
    assert found.map[mask].mean() > 5 * found.map[~mask].mean()
    deep = explain(UNET, DOG, size=(120, 160), layer="bottom.conv2", region=(40, 60, 80, 100))
    assert deep.map.shape == (15, 20)
    saliency = explain(UNET, DOG, size=(120, 160), method="saliency", region=(100, 10, 110, 20), class_=1)
    assert saliency.map[:40, 120:].sum() < 0.1 * saliency.map.sum()


def test_any_tensor():
    proto, x = ended(HEAD + "y = Identity (z)", **DENSE), normal(3, 8, 8)
    values = untouched(proto, ["r"], {"x": x[None]})["r"][0]
    found = explain(proto, x, target="r", class_=2, method="saliency")
    assert found.score == pytest.approx(values[2].sum(), rel=1e-4)
    assert explain(proto, x, target="r", method="saliency").class_ == values.mean((1, 2)).argmax()


def test_images_with_channels_last():
    proto = parsed(
        "g (float[n,8,10,3] x) => (float[n,5] y) { t = Transpose <perm=[0,3,1,2]> (x) c = Conv (t, w) r = Relu (c)"
        " m = ReduceMean <keepdims=0> (r, a) y = MatMul (m, d) }",
        w=normal(4, 3, 3, 3),
        **DENSE,
    )
    first = parsed(
        "g (float[n,3,8,10] t) => (float[n,5] y) { c = Conv (t, w) r = Relu (c)"
        " m = ReduceMean <keepdims=0> (r, a) y = MatMul (m, d) }",
        w=normal(4, 3, 3, 3),
        **DENSE,
    )
    x = normal(8, 10, 3)
    for method in METHODS:
        options = {"samples": 20} if method == "rise" else {}
        found, expected = (
            explain(proto, x, method=method, class_=2, **options),
            explain(first, x.transpose(2, 0, 1), method=method, class_=2, **options),
        )
        assert found.size == (8, 10)
        if method != "smooth-grad":  # whose noise is drawn in the input's order
            assert relative(found.map, expected.map) < 1e-4, method


def test_signals():
    proto = parsed(
        "g (float[n,2,30] x) => (float[n,3] y) { c = Conv (x, w) r = Relu (c) m = ReduceMean <keepdims=0> (r, a)"
        " y = MatMul (m, d) }",
        w=normal(4, 2, 5),
        a=np.array([2]),
        d=normal(4, 3),
    )
    for method in METHODS:
        found = explain(proto, normal(2, 30), method=method, **few(method, 20))
        assert found.map.shape == ((26,) if METHODS[method].of_layer else (30,))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", [6, 15, 24])
def test_the_map_of_a_signal_lies_on_what_the_model_finds(method, place):
    """A network by hand that finds a peak in a signal, as the one that finds a cross in a picture."""
    peak = np.array([-1, 1, 3, 1, -1], np.float32)
    proto = parsed(
        "g (float[n,2,30] x) => (float[n,2] y) { c = Conv <pads=[2,2]> (x, w, b) r = Relu (c)"
        " m = ReduceMax <keepdims=0> (r, a) y = MatMul (m, d) }",
        w=np.stack([peak, -peak])[:, None].repeat(2, 1) / 10,
        b=np.array([-0.5, -0.5], np.float32),
        a=np.array([2]),
        d=np.eye(2, dtype=np.float32) * 4,
    )
    x = np.random.default_rng(place).uniform(0, 0.25, (2, 30)).astype(np.float32)
    x[:, place - 2 : place + 3] += peak
    options = {"rise": {"samples": 600, "cells": 6}, "occlusion": {"window": 3, "stride": 1}}.get(method, {})
    found = explain(proto, x, method=method, class_=0, **options)
    heat = found.upsampled() - (found.map.min() if method == "rise" else 0)
    assert abs(centre(heat)[0] - place) < 2


def test_a_second_input_stays_as_it_is():
    proto = parsed(
        "g (float[n,3,8,8] x, float[n,4] s) => (float[n,5] y) { c = Conv (x, w) r = Relu (c)"
        " m = ReduceMean <keepdims=0> (r, a) p = Mul (m, s) y = MatMul (p, d) }",
        w=normal(4, 3, 3, 3),
        **DENSE,
    )
    feeds = {"x": normal(3, 8, 8), "s": normal(4, seed=9)}
    for method in METHODS:
        assert explain(proto, feeds, method=method, **few(method, 10)).map.any(), method
    with pytest.raises(InputError, match="also needs s"):
        explain(proto, {"x": feeds["x"]}, method="rise")
    assert explain(proto, feeds, method="saliency", wrt="s").map.shape == (4,)


def test_two_images_ask_which(two_inputs):
    feeds = {"left": normal(3, 4, 4), "right": normal(3, 4, 4, seed=2)}
    with pytest.raises(SelectionError, match=r"2 inputs \(left, right\)"):
        explain(two_inputs, feeds, method="saliency", class_=0)
    found = explain(two_inputs, feeds, method="saliency", class_=0, wrt="right")
    assert found.map.shape == (4, 4)
    with pytest.raises(SelectionError, match="no input 'middle'; it has left, right"):
        explain(two_inputs, feeds, wrt="middle")


# Which layer.


def chosen(proto: onnx.ModelProto, x: np.ndarray) -> tuple[str, str]:
    explainer = Explainer(proto)
    case, _ = explainer.case({"x": x[None]})
    return choose_layer(explainer.probe, case, None)


def test_the_last_tensor_before_positions_are_lost():
    x = normal(3, 8, 8)
    assert chosen(ended(HEAD + "y = Identity (z)", **DENSE), x)[1] == "r"
    end = " m = GlobalAveragePool (o) y = Flatten (m)"
    summed = ended("e = Conv <pads=[1,1,1,1]> (r, v) q = Add (e, r) o = Relu (q)" + end, v=normal(4, 4, 3, 3))
    assert chosen(summed, x)[1] == "o"
    grown = "e = Conv <pads=[1,1,1,1]> (r, v) q = Concat <axis=1> (r, e) o = Relu (q)"
    assert chosen(ended(grown + end, v=normal(2, 4, 3, 3)), x)[1] == "o"
    pooled = ended("p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r) m = GlobalAveragePool (p) y = Flatten (m)")
    assert chosen(pooled, x)[1] == "r"
    gated = ended(
        "p = GlobalAveragePool (r) e = Conv (p, v) s = Sigmoid (e) q = Mul (r, s) m = GlobalAveragePool (q)"
        " u = Conv (m, v) y = Flatten (u)",
        v=normal(4, 4, 1, 1),
    )
    assert chosen(gated, x)[1] == "q"
    swish = ended("e = Conv (r, v) s = Sigmoid (e) q = Mul (e, s) m = GlobalAveragePool (q) y = Flatten (m)",
                  v=normal(4, 4, 3, 3))  # fmt: skip
    assert chosen(swish, x)[1] == "q"


def test_a_layer_by_name_position_or_tensor():
    for layer, tensor in (("conv3", "relu3"), (2, "relu3"), ("relu2", "relu2"), ("bn1", "bn1"), ("pool1", "pool1")):
        assert explain(CLASSIFIER, DOG, layer=layer).tensor == tensor


# What is refused.


def test_no_such_class():
    for bad in (11, -1, 1000):
        with pytest.raises(SelectionError, match=f"no class {bad}; 'logits' has 11, 0 to 10"):
            explain(CLASSIFIER, DOG, class_=bad)
    with pytest.raises(SelectionError, match="number or 'top', not 'dog'"):
        explain(CLASSIFIER, DOG, class_="dog")


def test_no_such_layer_method_or_target():
    with pytest.raises(SelectionError, match=r"no layer is called 'conv9'.*conv1, conv2, conv3"):
        explain(CLASSIFIER, DOG, layer="conv9")
    with pytest.raises(SelectionError, match="no method 'gradcam'; there are grad-cam, grad-cam"):
        explain(CLASSIFIER, DOG, method="gradcam")
    with pytest.raises(SelectionError, match="no tensor 'nowhere' that a node makes; its outputs are logits"):
        explain(CLASSIFIER, DOG, target="nowhere")
    with pytest.raises(SelectionError, match=r"saliency takes no layer \(grad-cam, .*score-cam do\)"):
        explain(CLASSIFIER, DOG, method="saliency", layer="conv3")
    with pytest.raises(SelectionError, match="'relu2' does not depend on layer 'conv3'"):
        explain(CLASSIFIER, DOG, target="relu2", layer="conv3")


def test_regions_that_do_not_fit():
    x = normal(3, 8, 8)
    proto = ended(SEGMENTED + "y = Identity (z)", **FIRST)
    with pytest.raises(InputError, match=r"box \(0, 0, 9, 8\) is not inside the 8×8 positions"):
        explain(proto, x, region=(0, 0, 9, 8))
    with pytest.raises(InputError, match="shape 4x4, but 'y' has 8x8"):
        explain(proto, x, region=np.ones((4, 4)))
    with pytest.raises(InputError, match="region is empty"):
        explain(proto, x, region=np.zeros((8, 8)))
    proto = ended(SEGMENTED + "y = Identity (z)", v=np.concatenate([FIRST["v"], FIRST["v"][:1] * 0 - 100]))
    with pytest.raises(InputError, match=r"class 5 has the largest score at no position.*the classes that do"):
        explain(proto, x, class_=5)


def unsupported() -> onnx.ModelProto:
    return ended("h = Round (r) m = ReduceMean <keepdims=0> (h, a) y = MatMul (m, d)", **DENSE)


def test_a_model_without_gradient_offers_what_works():
    x = normal(3, 8, 8)
    with pytest.raises(UnsupportedGradientError, match=r"Round(.|\n)*Gradient-free methods that work.*occlusion, rise"):
        explain(unsupported(), x, method="saliency")
    for method in GRADIENT_FREE:
        assert explain(unsupported(), x * 3, method=method, **few(method, 30)).map.shape == (8, 8)


def test_integers_have_no_gradient_but_can_be_covered():
    proto = parsed(
        "g (uint8[n,3,8,8] x) => (float[n,5] y) { f = Cast <to=1> (x) c = Conv (f, w) r = Relu (c)"
        " m = ReduceMean <keepdims=0> (r, a) y = MatMul (m, d) }",
        w=normal(4, 3, 3, 3) / 100,
        **DENSE,
    )
    x = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    with pytest.raises(UnsupportedGradientError, match=r"uint8.*only floating point"):
        explain(proto, x, method="saliency")
    for method in (*CAMS, "occlusion", "rise"):
        assert np.isfinite(explain(proto, x, method=method, **few(method, 20)).map).all()


def test_a_gradient_that_is_not_finite_says_where_that_begins():
    proto = ended("q = Sqrt (r) m = ReduceMean <keepdims=0> (q, a) y = MatMul (m, d)", **DENSE)
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w"))
    with pytest.raises(InputError, match="not finite: it becomes so at Sqrt"):
        explain(proto, normal(3, 8, 8), method="saliency")


def test_values_that_are_not_finite():
    proto = ended(HEAD + "y = Identity (z)", **DENSE)
    x = normal(3, 8, 8)
    x[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="'y' on this input are not finite"):
        explain(proto, x)


@pytest.mark.parametrize("method", ["saliency", "grad-cam"])
def test_a_gradient_of_zero_is_said(method):
    proto = ended("k = Clip (r, zero, one) j = Relu (k) m = ReduceMean <keepdims=0> (j, a) y = MatMul (m, d)",
                  zero=np.float32(-1), one=np.float32(-0.5), **DENSE)  # fmt: skip
    found = explain(proto, normal(3, 8, 8), method=method, layer="conv_0" if method == "grad-cam" else None)
    assert not found.map.any()
    assert any("zero everywhere: it vanishes at" in text for text in found.warnings)


def test_what_is_no_single_sample():
    with pytest.raises(InputError, match="2 samples were given; explain takes one"):
        explain(CLASSIFIER, [DOG, CAT])
    with pytest.raises(InputError, match="2 samples were given"):
        explain(finder("2"), np.stack([scene(8, 9), scene(9, 9)]))
    with pytest.raises(InputError, match="no file"):
        explain(CLASSIFIER, "nowhere.jpg")
    with pytest.raises(InputError, match="96x96"):
        explain(CLASSIFIER, normal(3, 32, 32))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(({"method": name, "samples": 0}, "samples is 0") for name in ("rise", "smooth-grad", "integrated-gradients")),
        ({"method": "occlusion", "window": 0}, "window is 0"),
        ({"method": "occlusion", "stride": 0}, "stride is 0"),
        ({"method": "occlusion", "window": 3, "stride": 5}, "would leave gaps"),
        ({"method": "rise", "keep": 0}, "keep is 0"),
        ({"method": "rise", "keep": 1.5}, "keep is 1.5"),
        ({"method": "rise", "cells": 0}, "cells is 0"),
        ({"method": "rise", "seed": -1}, "seed is -1"),
        ({"method": "smooth-grad", "seed": -1}, "seed is -1"),
        ({"method": "smooth-grad", "noise": -0.1}, "noise is -0.1"),
        ({"method": "smooth-grad", "noise": float("nan")}, "noise is nan"),
        ({"region": "here"}, "'here' is not a region"),
        ({"region": (0, 0, 1, 1)}, "'logits' has one number a class and no positions"),
    ],
)
def test_numbers_that_make_no_sense(options, words):
    with pytest.raises(InputError, match=words):
        explain(CLASSIFIER, DOG, **options)


def test_a_model_that_changed_is_noticed(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(finder(), path)
    model = load(path)
    explain(model, scene(9, 9))
    onnx.save(finder("1"), path)
    with pytest.raises(ModelError, match="changed"):
        explain(model, scene(9, 9), method="saliency")


# The command.


def test_command(tmp_path, capsys):
    assert (
        run(["explain", str(CLASSIFIER), str(DOG), "-o", str(tmp_path / "dog.png"), "--save", str(tmp_path / "d.npz")])
        == 0
    )
    out, err = capsys.readouterr()
    assert out.split() == [str(tmp_path / name) for name in ("dog.png", "d.npz", "d.npz.manifest.json")]
    assert "dog (class 4)" in err
    assert "grad-cam at conv5" in err
    with np.load(tmp_path / "d.npz") as saved:
        assert np.array_equal(saved["map"], explain(CLASSIFIER, DOG).map)


def test_command_on_several_inputs(tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    arguments = ["explain", str(CLASSIFIER), str(DOG), str(bad), str(CAT), "-o", str(tmp_path / "out"), "--json", "-q"]
    assert run([*arguments, "--method", "hires-cam", "--class", "2"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [entry["class_name"] for entry in document["explanations"]] == ["cat", "cat"]
    assert [Path(entry["file"]).name for entry in document["explanations"]] == [
        "000-dog-hires-cam.png",
        "001-cat-hires-cam.png",
    ]
    assert document["failed"][0]["input"] == "bad.jpg"
    assert all(Path(path).exists() for path in document["files"])
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["explanations"][0]["layer"] == "conv5"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--class", "12"], "no class 12; 'logits' has 11, 0 to 10"),
        (["--class", "dog"], "'dog' is not a class"),
        (["--layer", "conv9"], "no layer is called 'conv9'"),
        (["--method", "magic"], "no method 'magic'"),
        (["--region", "here"], "'here' is not a region"),
        (["--labels", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--cmap", "pink lady"], "no colour map 'pink lady'"),
        (["--save", "maps.txt"], "saved as .npz"),
    ],
)
def test_command_refuses(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["explain", str(CLASSIFIER), str(DOG), *arguments]) == 2
    out, err = capsys.readouterr()
    assert words in " ".join(err.split())
    assert not out
    assert not list(tmp_path.iterdir())


def test_command_lists_what_blocks_a_gradient(tmp_path, capsys):
    path = tmp_path / "round.onnx"
    onnx.save(unsupported(), path)
    np.save(tmp_path / "x.npy", normal(3, 8, 8))
    assert run(["explain", str(path), str(tmp_path / "x.npy"), "--method", "saliency"]) == 2
    err = capsys.readouterr().err
    assert "\n  1. Round" in err
    assert "occlusion, rise, score-cam, eigen-cam" in err


def test_labels_from_a_file(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("\n".join(f"name {n}" for n in range(11)) + "\n\n")
    assert (
        run(["explain", str(CLASSIFIER), str(DOG), "--labels", str(tmp_path / "names.txt"), "-o", str(tmp_path)]) == 0
    )
    assert "name 4 (class 4)" in capsys.readouterr().err


def test_the_verbs_are_public():
    assert onnxviz.explain is explain
    assert onnxviz.explain_each is explain_each
    assert onnxviz.Explanation is type(explain(finder(), scene(9, 9)))


def test_a_wrong_gradient_is_told(monkeypatch):
    """It is held against the model's own slope when it is first used."""
    rule = RULES["", "Conv"]
    x = np.random.default_rng(0).normal(size=(1, 3, 16, 12)).astype(np.float32)
    for method in ("saliency", "smooth-grad"):
        assert not explain(classifier_proto(), x, method=method, **few(method, 2)).warnings
    monkeypatch.setitem(RULES, ("", "Conv"), replace(rule, apply=lambda step: rule.apply(step) * 1.3))
    for method in ("saliency", "smooth-grad"):
        (warning,) = explain(classifier_proto(), x, method=method, **few(method, 2)).warnings
        assert "off the model's own slope" in warning


def test_a_layer_of_another_inputs_branch_is_refused_and_never_chosen():
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(4, 3, 3, 3)).astype(np.float32) for name in "wv"}
    model = parsed(
        """m (float[n, 3, 8, 8] x, float[n, 3, 8, 8] y) => (float[n, 4] z) {
            a = Conv<pads=[1, 1, 1, 1]>(x, w)
            b = Conv<pads=[1, 1, 1, 1]>(y, v)
            s = Add(a, b)
            p = GlobalAveragePool(s)
            z = Flatten(p)
        }""",
        **weights,
    )
    fed = {name: rng.normal(size=(1, 3, 8, 8)).astype(np.float32) for name in "xy"}
    for wrt, place in (("x", 0), ("y", 1)):
        assert explain(model, fed, wrt=wrt, class_=1).layer == load(model).layer(place).name
    with pytest.raises(SelectionError, match="does not depend on input 'x', which is explained"):
        explain(model, fed, wrt="x", class_=1, layer=1)


def test_numbers_that_are_not_finite_are_refused():
    for method, name in (("occlusion", "baseline"), ("integrated-gradients", "baseline"), ("smooth-grad", "noise")):
        for value in (float("nan"), float("inf")):
            with pytest.raises(InputError, match="it must be a finite number"):
                explain(CLASSIFIER, CAT, method=method, **{name: value})


def test_names_of_classes_are_not_those_of_channels_inside():
    x = np.random.default_rng(0).normal(size=(1, 3, 16, 12)).astype(np.float32)
    names = list("abcde")
    assert explain(named(classifier_proto(), names), x, class_=2, method="saliency").class_name == "c"
    inner = explain(named(classifier_proto(), names), x, target="r1", region="all", class_=2, method="saliency")
    assert inner.class_name == ""


def named(proto, names):
    """The model with names of classes in its metadata."""
    proto.metadata_props.add(key="classes", value=json.dumps(names))
    return proto


def test_rows_that_a_model_takes_at_once_have_a_picture_each(tmp_path):
    model = classifier_proto()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "m.onnx")
    rows = np.random.default_rng(0).normal(
        size=(2, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]))
    )
    np.save(tmp_path / "x.npy", rows.astype(np.float32))
    for output, names in ((tmp_path / "out", ["x-saliency-1.png", "x-saliency.png"]), (tmp_path / "one.png", [])):
        arguments = [str(tmp_path / "m.onnx"), str(tmp_path / "x.npy"), "--method", "saliency", "--class", "1", "-q"]
        assert run(["explain", *arguments, "-o", str(output), "--save", str(tmp_path / "x.npz")]) == 0
        assert not names or sorted(path.name for path in output.glob("*.png")) == names
    assert sorted(path.name for path in tmp_path.glob("one*.png")) == ["one-1.png", "one.png"]
    with np.load(tmp_path / "x.npz") as arrays:
        assert len([name for name in arrays.files if name.endswith("map")]) == 2
