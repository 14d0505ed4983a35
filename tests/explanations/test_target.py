"""The target of an explanation: a class, a region, any tensor, one of several inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx.parser
import pytest
from cross_finder import finder, scene
from explained import DENSE, FIRST, HEAD, SEGMENTED, centre, ended, few, named
from oracles import relative, untouched
from protos import classifier_proto, normal, parsed
from samples import CLASSIFIER, DOG, UNET

from onnxviz import explain, explain_sanity, load
from onnxviz.errors import InputError, SelectionError
from onnxviz.explanations.methods import METHODS
from onnxviz.explanations.target import Target
from onnxviz.model.scores import class_names


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
    for names in (["a", "b", "c"], ["a"], []):
        with pytest.raises(InputError, match=f"{len(names)} labels were given for 2 scores of"):
            explain(finder(), scene(9, 9), labels=names)


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
    with pytest.raises(InputError, match="leave out region"):
        explain(proto, x, class_=Margin(0, 1), region="all")


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


def test_names_of_classes_are_not_those_of_channels_inside():
    x = np.random.default_rng(0).normal(size=(1, 3, 16, 12)).astype(np.float32)
    names = list("abcde")
    assert explain(named(classifier_proto(), names), x, class_=2, method="saliency").class_name == "c"
    inner = explain(named(classifier_proto(), names), x, target="r1", region="all", class_=2, method="saliency")
    assert inner.class_name == ""


NUMBERS = {
    "a sample": ("n", "float[n] y", "y = Squeeze (k, one)"),
    "a batch of one": ("1", "float y", "y = ReduceMean <keepdims=0> (k)"),
    "a batch of one, as a list": ("1", "float[1] y", "q = ReduceMean <keepdims=0> (k) y = Unsqueeze (q, zero)"),
    "whatever the batch": ("n", "float y", "y = ReduceMean <keepdims=0> (k)"),
    "a sample, before a sigmoid": ("n", "float[n] y", "q = Squeeze (k, one) y = Sigmoid (q)"),
}


@pytest.mark.parametrize("form", NUMBERS)
@pytest.mark.parametrize("method", METHODS)
def test_one_number_without_an_axis_is_a_score(form, method):
    """As a regression's or a binary classifier's; the map is that of the same number along an axis of size 1."""

    def network(batch, port, tail):
        return parsed(
            f"g (float[{batch},3,8,8] x) => ({port}) {{ c = Conv <pads=[1,1,1,1]> (x, w) r = Relu (c)"
            f" m = ReduceMean <keepdims=0> (r, a) k = MatMul (m, d) {tail} }}",
            w=normal(4, 3, 3, 3), a=np.array([2, 3]), d=normal(4, 1), one=np.array([1]), zero=np.array([0]),
        )  # fmt: skip

    x = normal(3, 8, 8)
    found = explain(network(*NUMBERS[form]), x, method=method, **few(method, 20))
    expected = explain(network("n", "float[n,1] y", "y = Identity (k)"), x, method=method, **few(method, 20))
    assert (found.class_, found.classes, found.score) == (1, 2, pytest.approx(expected.score))
    if method != "rise" or "sigmoid" not in form:  # RISE weighs by probabilities where there are some
        assert relative(found.map, expected.map) < 1e-5
    negative = explain(network(*NUMBERS[form]), x, class_=0)
    assert negative.score == pytest.approx(-expected.score)
