"""`--method` of explain with several methods: one table of each photo, and the maps of single calls."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import error_of, files_in, pages_in
from explained import unsupported
from protos import classifier_proto, normal

import onnxviz
from onnxviz.explanations.explainer import Explainer
from onnxviz.explanations.methods import METHODS
from onnxviz.explanations.methods.perturbation import Rise
from onnxviz.explanations.probe import Probe
from onnxviz.gradients.gradient import GradientSession
from onnxviz.model import model as models

X = np.random.default_rng(5).random((3, 16, 12)).astype(np.float32)
FEW = {"samples": 8, "cells": 3, "window": 5}


def test_each_map_is_bit_for_bit_that_of_a_single_call():
    proto = classifier_proto()
    found = list(onnxviz.explain_each(proto, X, class_=[3, 1], method=[*METHODS], **FEW))
    assert [(one.class_, one.method) for one in found] == [(class_, name) for class_ in (3, 1) for name in METHODS]
    for one in found:
        own = {name: value for name, value in FEW.items() if name in METHODS[one.method].options}
        alone = onnxviz.explain(proto, X, class_=one.class_, method=one.method, **own)
        assert one.map.tobytes() == alone.map.tobytes(), one.method
        assert one.score == alone.score
        assert one.options == alone.options
        assert (one.attribution is None) == (alone.attribution is None)
        if one.attribution is not None:
            assert one.attribution.tobytes() == alone.attribution.tobytes()


def test_the_model_is_opened_once_and_gradients_are_shared(monkeypatch):
    opened, ran, scored = [], [], []
    load, run, raw = models.load, GradientSession.run, Explainer.case
    monkeypatch.setattr("onnxviz.explanations.explainer.load", lambda *a, **k: opened.append(a) or load(*a, **k))
    monkeypatch.setattr(GradientSession, "run", lambda self, *a: ran.append(self) or run(self, *a))
    monkeypatch.setattr(Explainer, "case", lambda self, *a, **k: scored.append(a) or raw(self, *a, **k))
    cams = ["grad-cam", "grad-cam++", "layer-cam", "hires-cam", "xgrad-cam", "saliency", "input-x-gradient"]
    found = list(onnxviz.explain_each(classifier_proto(), X, class_="0,1", method=cams))
    assert len(found) == 14
    assert len(opened) == 1
    # Of each class one gradient of the layer and one of the input, and once for each the check against the slope.
    assert len({*ran}) == 2
    assert len(ran) <= 2 * 2 + 2
    assert len(scored) == 2
    assert all(one.case.shared is None for one in found)  # what was shared is not kept
    assert len({id(one.case.probe) for one in found}) == 1
    assert isinstance(found[0].case.probe, Probe)


def test_on_the_command_line_too(run_command, classifier, photo):
    asked = ("explain", classifier, photo, "--class", "3,1", "--method", "grad-cam,occlusion", "--window", "5")
    ran = run_command(*asked, "--save", "m.npz", "-o", "t.png", "--json")
    told = ran.document["explanations"]
    assert [(one["class"], one["method"]) for one in told] == [
        (3, "grad-cam"), (3, "occlusion"), (1, "grad-cam"), (1, "occlusion"),
    ]  # fmt: skip
    assert {one["file"] for one in told} == {"t.png"}
    assert [one["settings"].get("window") for one in told] == [None, 5, None, 5]
    each = list(onnxviz.explain_each(classifier, photo, class_="3,1", method="grad-cam,occlusion", window=5))
    with np.load("m.npz") as saved:
        assert [name for one in told for name in one["arrays"]] == saved.files
        for one, entry in zip(each, told, strict=True):
            assert saved[entry["arrays"][0]].tobytes() == one.map.tobytes()
        assert [re.sub(r"^\d+-", "", name) for name in saved.files][:2] == [
            "photo.png-class3-grad-cam/map", "photo.png-class3-occlusion/map",
        ]  # fmt: skip
    manifest = json.loads(Path("m.npz.manifest.json").read_text())
    assert [one["arrays"] for one in manifest["explanations"]] == [one["arrays"] for one in told]


def test_several_photos_have_a_table_each_or_a_page_each(run_command, classifier, photos):
    asked = ("explain", classifier, photos, "--method", "grad-cam,saliency", "--json")
    told = run_command(*asked).document["explanations"]
    count = len({one["input"] for one in told})
    assert count > 1
    assert len({one["file"] for one in told}) == count
    assert all(Path(one["file"]).name.endswith("-table.png") for one in told)
    told = run_command(*asked, "-o", "all.pdf").document
    assert told["files"] == ["all.pdf"]
    assert [one["page"] for one in told["explanations"]] == [1 + place // 2 for place in range(2 * count)]
    assert pages_in(Path("all.pdf").read_bytes()) == count
    one = run_command("explain", classifier, photos, "-o", "one.pdf", "--json").document
    assert one["files"] == ["one.pdf"]
    said = error_of(run_command("explain", classifier, photos, "-o", "one.png"))
    assert "several inputs were given for the one file one.png; give a folder, or a .pdf" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "grad-cam,magic"], "no method 'magic'"),
        (["--method", "grad-cam,"], "no method ''"),
        (["--method", "grad-cam,guided", "--window", "3"], "grad-cam, guided take no --window (occlusion does)"),
        (["--method", "saliency,guided", "--layer", "0"], "saliency, guided take no --layer"),
        (["--method", "grad-cam,occlusion", "--layer", "nowhere"], "grad-cam: no layer is called 'nowhere'"),
        (["--method", "grad-cam,occlusion", "--layer", "nowhere"], "leave grad-cam out (--method occlusion)"),
        (["--method", "occlusion,saliency", "--window", "0"], "window is 0; it must be 1 or more"),
    ],
)
def test_what_several_methods_refuse_is_one_line(run_command, classifier, photo, tmp_path, options, words):
    before = files_in(tmp_path)
    said = error_of(run_command("explain", classifier, photo, *options))
    assert words in said
    assert said.strip().count("\n") == 0
    assert files_in(tmp_path) == before


def test_a_method_without_its_gradient_is_named_and_the_others_offered(run_command, tmp_path):
    onnx.save(unsupported(), "round.onnx")
    np.save("x.npy", normal(3, 8, 8))
    ran = run_command("explain", "round.onnx", "x.npy", "--method", "occlusion,saliency")
    assert ran.code == 2
    assert "saliency: " in ran.err
    assert "\n  1. Round" in ran.err
    assert "Or leave saliency out (--method occlusion)." in ran.err
    assert not [name for name in files_in(tmp_path) if name.endswith(".png")]
    with pytest.raises(onnxviz.UnsupportedGradientError, match=r"leave saliency out \(method=\['occlusion'\]\)"):
        list(onnxviz.explain_each("round.onnx", "x.npy", method=["occlusion", "saliency"]))


def test_a_photo_of_which_a_method_fails_is_left_out_whole(run_command, classifier, photos, monkeypatch):
    from onnxviz.explanations.methods.perturbation import Occlusion

    whole, calls = Occlusion.__call__, []

    def call(self, case):
        calls.append(case)
        if len(calls) == 1:
            raise onnxviz.InputError("not this one")
        return whole(self, case)

    monkeypatch.setattr(Occlusion, "__call__", call)
    ran = run_command("explain", classifier, photos, "--method", "saliency,occlusion", "--json")
    assert ran.code == 1
    assert "occlusion: not this one" in ran.document["failed"][0]["error"]
    left = {one["input"] for one in ran.document["explanations"]}
    assert ran.document["failed"][0]["input"] not in left
    assert len(ran.document["explanations"]) == 2 * len(left)


def test_python_takes_names_values_and_both():
    proto = classifier_proto()
    found = list(onnxviz.explain_each(proto, X, class_=1, method=["saliency", Rise(samples=9, cells=3)], seed=4))
    assert [one.settings for one in found] == [METHODS["saliency"], Rise(samples=9, cells=3, seed=4)]
    assert [one.way for one in found] == ["saliency", "rise, samples 9, cells 3, seed 4"]
    each = list(onnxviz.explain_each(proto, X, class_=1, method="saliency, saliency,guided"))
    assert [one.method for one in each] == ["saliency", "guided"]
    both = [Rise(samples=9, cells=3), Rise(samples=12, cells=3)]
    twice = list(onnxviz.explain_each(proto, X, class_=1, method=both))
    figure = onnxviz.plot_explanation(twice)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert {"samples 9, cells 3 · map of 16×12", "samples 12, cells 3 · map of 16×12"} <= {*said}
    with pytest.raises(onnxviz.InputError, match="2 methods were given; explain takes one, explain_each several"):
        onnxviz.explain(proto, X, method="saliency,guided")
    with pytest.raises(onnxviz.SelectionError, match="no method is named"):
        onnxviz.explain_each(proto, X, method=[])
    with pytest.raises(TypeError, match="no option 'frobnicate'; saliency, occlusion have window, stride, baseline"):
        onnxviz.explain_each(proto, X, method=["saliency", "occlusion"], frobnicate=3)


def test_a_forecast_is_of_each_method(run_command, classifier, photo, monkeypatch):
    from onnxviz.cli import progress

    monkeypatch.setattr(progress, "_LONG", 0)
    asked = ("--class", "0,1", "--method", "occlusion,rise,saliency", "--samples", "20", "--save", "x.npz")
    said = run_command("explain", classifier, photo, *asked).err
    assert re.search(r"occlusion: [\d,]+ runs of the model for each of 2 maps, about .*; a larger --stride", said)
    assert re.search(r"rise: 20 runs of the model for each of 2 maps, about .*; fewer --samples shorten it", said)
    assert "saliency: " not in said.replace("photo.png: ", "")
