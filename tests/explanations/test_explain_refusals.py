"""Explanations that are refused, or given with a warning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import pytest
from cross_finder import finder, scene
from explained import DENSE, FIRST, HEAD, SEGMENTED, ended, few, unsupported
from onnx import numpy_helper
from protos import classifier_proto, normal, parsed
from samples import CAT, CLASSIFIER, DOG

from onnxviz import explain, load
from onnxviz.errors import InputError, ModelError, SelectionError, UnsupportedGradientError
from onnxviz.explanations.methods import METHODS
from onnxviz.gradients.table import RULES

GRADIENT_FREE = [name for name, method in METHODS.items() if method.gradient_free]
CAMS = [name for name, method in METHODS.items() if method.of_layer]


def test_no_such_class():
    for bad in (11, -1, 1000):
        with pytest.raises(SelectionError, match=f"no class {bad}; 'logits' has 11, 0 to 10"):
            explain(CLASSIFIER, DOG, class_=bad)
    with pytest.raises(
        SelectionError, match=r"there is no class 'dgo'; did you mean dog\? there are 11, such as .*dog"
    ):
        explain(CLASSIFIER, DOG, class_="dgo")


def test_no_such_layer_method_or_target():
    with pytest.raises(SelectionError, match=r"no layer is called 'conv9'.*conv1, conv2, conv3"):
        explain(CLASSIFIER, DOG, layer="conv9")
    with pytest.raises(
        SelectionError, match=r"no method 'gradcam'; did you mean grad-cam\? there are grad-cam, grad-cam"
    ):
        explain(CLASSIFIER, DOG, method="gradcam")
    with pytest.raises(SelectionError, match="no tensor 'nowhere' that a node makes; its outputs are logits"):
        explain(CLASSIFIER, DOG, target="nowhere")
    with pytest.raises(SelectionError, match=r"saliency takes no layer= \(grad-cam, .*score-cam do\)"):
        explain(CLASSIFIER, DOG, method="saliency", layer="conv3")
    with pytest.raises(SelectionError, match="'relu2' does not depend on layer 'conv3'"):
        explain(CLASSIFIER, DOG, target="relu2", layer="conv3")


def test_regions_that_do_not_fit():
    x = normal(3, 8, 8)
    proto = ended(SEGMENTED + "y = Identity (z)", **FIRST)
    with pytest.raises(InputError, match=r"region \(0, 0, 9, 8\) is not inside the 8×8 positions"):
        explain(proto, x, region=(0, 0, 9, 8))
    with pytest.raises(InputError, match="shape 4x4, but 'y' has 8x8"):
        explain(proto, x, region=np.ones((4, 4)))
    with pytest.raises(InputError, match="region is empty"):
        explain(proto, x, region=np.zeros((8, 8)))
    proto = ended(SEGMENTED + "y = Identity (z)", v=np.concatenate([FIRST["v"], FIRST["v"][:1] * 0 - 100]))
    with pytest.raises(InputError, match=r"class 5 has the largest score at no position.*the classes that do"):
        explain(proto, x, class_=5)


def test_a_model_without_gradient_offers_what_works():
    x = normal(3, 8, 8)
    works = "methods that need no gradient: eigen-cam, score-cam, occlusion, rise"
    with pytest.raises(UnsupportedGradientError, match=rf"Round(.|\n)*{works}\.$"):
        explain(unsupported(), x, method="saliency")
    for method in GRADIENT_FREE:
        assert explain(unsupported(), x * 3, method=method, **few(method, 30)).map.shape == (8, 8)


# A network that reads its input as a picture, though it is given as a row of numbers, or as one without channels.
RESHAPED = {
    "n,64": "q = Reshape (x, s)",
    "n,8,8": "q = Unsqueeze (x, one)",
}


def reshaped(size: str, then: str = "h = Identity (r)") -> onnx.ModelProto:
    return parsed(
        f"g (float[{size}] x) => (float[n,5] y) {{ {RESHAPED[size]} c = Conv (q, w) r = Relu (c) {then}"
        " m = ReduceMean <keepdims=0> (h, a) y = MatMul (m, d) }",
        w=normal(4, 1, 3, 3), s=np.array([-1, 1, 8, 8]), one=np.array([1]), **DENSE,
    )  # fmt: skip


@pytest.mark.parametrize("size", RESHAPED)
def test_score_cam_of_a_layer_that_does_not_lie_on_the_input(size):
    x = normal(*(int(side) for side in size.split(",")[1:]))
    words = r"score-cam masks the input.*\(HW, 6x6\) are not those of input 'x' .*: take eigen-cam,.* occlusion or rise"
    with pytest.raises(InputError, match=words):
        explain(reshaped(size), x, method="score-cam")
    with pytest.raises(UnsupportedGradientError, match=r"need no gradient: eigen-cam, occlusion, rise\.$"):
        explain(reshaped(size, "h = Round (r)"), x, method="saliency")
    for method in ("eigen-cam", "occlusion", "rise"):
        assert np.isfinite(explain(reshaped(size, "h = Round (r)"), x, method=method, **few(method, 20)).map).all()


def test_what_is_offered_without_a_layer_to_map():
    proto = parsed("g (float[n,3,8,8] x) => (float[n,5] y) { r = Round (x) f = Flatten (r) y = MatMul (f, d) }",
                   d=normal(192, 5))  # fmt: skip
    with pytest.raises(UnsupportedGradientError, match=r"need no gradient: occlusion, rise\.$"):
        explain(proto, normal(3, 8, 8), method="saliency")


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


def test_numbers_that_are_not_finite_are_refused():
    for method, name in (("occlusion", "baseline"), ("integrated-gradients", "baseline"), ("smooth-grad", "noise")):
        for value in (float("nan"), float("inf")):
            with pytest.raises(InputError, match="it must be a finite number"):
                explain(CLASSIFIER, CAT, method=method, **{name: value})
