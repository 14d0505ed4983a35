"""Methods of explanation as values: their options, what refuses an option, and methods that others write."""

from __future__ import annotations

import inspect
import json
from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar

import numpy as np
import onnx
import pytest
from protos import classifier_proto

from onnxviz import explain, explain_each, explain_faithfulness, explain_sanity, load
from onnxviz.cli import run
from onnxviz.cli.program import load_commands
from onnxviz.errors import InputError, SelectionError, UnheededOptionError
from onnxviz.explanations.explain import ExplainOptions
from onnxviz.explanations.method import Method, MethodResult
from onnxviz.explanations.methods import METHODS, MethodOptions, choose_method
from onnxviz.explanations.methods.cam import GradCam
from onnxviz.explanations.methods.perturbation import Occlusion, Rise
from onnxviz.explanations.methods.saliency import IntegratedGradients, SmoothGrad

MODEL = load(classifier_proto())
X = np.random.default_rng(5).random((3, 16, 12)).astype(np.float32)
# A value of each option that is nobody's default.
OTHER = {
    "layer": "block1_conv1", "samples": 7, "noise": 0.4, "baseline": 0.7, "window": 5, "stride": 2, "cells": 3,
    "keep": 0.8, "seed": 9,
}  # fmt: skip
PAIRS = [(method, option) for method in METHODS for option in OTHER]
HEEDED = {
    "grad-cam": {"layer"}, "grad-cam++": {"layer"}, "layer-cam": {"layer"}, "hires-cam": {"layer"},
    "xgrad-cam": {"layer"}, "eigen-cam": {"layer"}, "score-cam": {"layer"},
    "saliency": set(), "input-x-gradient": set(), "guided": set(),
    "integrated-gradients": {"samples", "baseline"}, "smooth-grad": {"samples", "noise", "seed"},
    "occlusion": {"window", "stride", "baseline"}, "rise": {"samples", "cells", "keep", "seed"},
}  # fmt: skip


def test_every_method_has_the_options_that_it_heeds_and_no_more():
    assert {name: {*method.options} for name, method in METHODS.items()} == HEEDED
    assert {*OTHER} == {*MethodOptions.__annotations__}


@pytest.mark.parametrize(("method", "option"), [pair for pair in PAIRS if pair[1] in HEEDED[pair[0]]])
def test_an_option_that_is_taken_changes_the_map(method, option):
    usual = {"samples": 20} if "samples" in HEEDED[method] else {}
    plain = explain(MODEL, X, method=method, **usual)
    found = explain(MODEL, X, method=method, **{**usual, option: OTHER[option]})
    assert found.options[option] == OTHER[option]
    assert found.manifest()["settings"] == found.options
    if option == "samples" and method == "integrated-gradients":  # another sum of the same integral
        assert not np.array_equal(found.map, plain.map)
    else:
        assert found.map.shape != plain.map.shape or not np.allclose(found.map, plain.map, rtol=1e-3)


@pytest.mark.parametrize(("method", "option"), [pair for pair in PAIRS if pair[1] not in HEEDED[pair[0]]])
def test_an_option_that_a_method_does_not_heed_is_refused(method, option):
    others = [name for name in METHODS if option in HEEDED[name]]
    for given in (method, METHODS[method]):
        with pytest.raises(UnheededOptionError) as error:
            explain(MODEL, X, method=given, **{option: OTHER[option]})
        assert f"{method} takes no {option}= ({', '.join(others)} do" in str(error.value)
    with pytest.raises(SelectionError, match=f"takes no {option}"):
        explain_each(MODEL, X, method=method, **{option: OTHER[option]})
    explain(MODEL, X, method=method, **({"samples": 3} if "samples" in HEEDED[method] else {}), **{option: None})


@pytest.mark.parametrize(
    ("value", "name", "options"),
    [
        (Rise(samples=30, cells=4, keep=0.4, seed=5), "rise", {"samples": 30, "cells": 4, "keep": 0.4, "seed": 5}),
        (Occlusion(window=5, stride=2, baseline=0.2), "occlusion", {"window": 5, "stride": 2, "baseline": 0.2}),
        (GradCam(layer=1), "grad-cam", {"layer": 1}),
        (GradCam("block1_conv1"), "grad-cam", {"layer": "block1_conv1"}),
        (SmoothGrad(samples=4, noise=0.3, seed=2), "smooth-grad", {"samples": 4, "noise": 0.3, "seed": 2}),
        (IntegratedGradients(samples=9, baseline=0.1), "integrated-gradients", {"samples": 9, "baseline": 0.1}),
    ],
)
def test_a_method_as_a_value_gives_what_its_name_and_options_give(value, name, options):
    found, named = explain(MODEL, X, method=value), explain(MODEL, X, method=name, **options)
    assert np.array_equal(found.map, named.map)
    assert found.method == named.method == name
    assert found.settings == named.settings == value
    (each,) = explain_each(MODEL, X, method=value)
    assert np.array_equal(each.map, found.map)
    with pytest.raises(FrozenInstanceError):
        setattr(value, next(iter(options)), 1)


def test_options_change_a_value_given():
    assert choose_method(Rise(samples=30, seed=4), {"seed": 5}) == Rise(samples=30, seed=5)
    assert choose_method("rise", {}) == Rise()
    with pytest.raises(InputError, match="samples is 0"):
        choose_method(Rise(), {"samples": 0})


def test_what_is_no_method_or_no_option():
    with pytest.raises(InputError, match="explain takes text or a Method as method, not <class"):
        explain(MODEL, X, method=Rise)
    with pytest.raises(TypeError, match=r"no argument 'widnow'; did you mean window\?"):
        explain(MODEL, X, method="occlusion", widnow=3)
    with pytest.raises(TypeError, match="no option 'frobnicate'; occlusion has window, stride, baseline"):
        explain(MODEL, X, method="occlusion", frobnicate=3)


# Methods that others write.


@dataclass(frozen=True)
class Brightness(Method):
    """As a user would write it: it needs nothing of ours but `Method`, `MethodResult` and the case."""

    name: ClassVar[str] = "brightness"
    source: ClassVar[str] = "nobody"
    power: float = 1.0
    window: int = 4

    def __call__(self, case):
        return MethodResult(map=case.channels_first(case.x).mean(axis=0) ** self.power * case.score)


def test_a_method_of_ones_own():
    found = explain(MODEL, X, class_=2, method=Brightness(power=2))
    assert found.method == "brightness"
    np.testing.assert_allclose(found.map, X.mean(axis=0) ** 2 * found.score, rtol=1e-5)
    assert np.array_equal(explain(MODEL, X, class_=2, method=Brightness(), power=2).map, found.map)
    assert found.manifest()["settings"] == {"power": 2, "window": 4}
    assert not found.approximations
    assert not found.layer
    with pytest.raises(SelectionError, match="brightness takes no samples"):
        explain(MODEL, X, method=Brightness(), samples=3)


def test_a_method_of_ones_own_can_be_checked(tmp_path):
    found = explain(MODEL, X, class_=2, method=Brightness())
    sanity = explain_sanity(found, stages=2)
    assert sanity.method == "brightness"
    assert [abs(stage.rank_correlation) for stage in sanity.stages] == pytest.approx([1, 1])  # it knows the photo only
    assert not sanity.passed
    assert explain_faithfulness(found, steps=4).shares.shape == (5,)
    found.save(tmp_path / "b.npz")
    assert json.loads((tmp_path / "b.npz.manifest.json").read_text())["settings"]["power"] == 1.0


def test_sanity_explains_as_the_explanation_was():
    """The layer and the options go with the method to the random models."""
    found = explain(MODEL, X, class_=1, method=GradCam(layer="block1_conv1"))
    assert explain_sanity(found, stages=1).stages[0].map.shape == found.size
    coarse, fine = (explain(MODEL, X, class_=1, method=Occlusion(window, window)) for window in (8, 2))
    parts = [len(np.unique(explain_sanity(one, stages=1).stages[0].map)) for one in (coarse, fine)]
    assert parts[0] <= 4 < parts[1]


def test_deletion_uses_the_methods_baseline_unless_told():
    plain = explain(MODEL, X, class_=1, method="occlusion")
    grey = explain(MODEL, X, class_=1, method="occlusion", baseline=0.5)
    assert explain_faithfulness(grey).deletion[-1] != explain_faithfulness(plain).deletion[-1]
    assert explain_faithfulness(plain, baseline=0.5).deletion[-1] == explain_faithfulness(grey).deletion[-1]
    other = explain(MODEL, X, class_=1, method="saliency")
    assert explain_faithfulness(other).deletion[-1] == explain_faithfulness(plain).deletion[-1]


# The command.


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(classifier_proto(), "m.onnx")
    np.save("x.npy", X[None])
    return tmp_path


def parameters(command):
    (found,) = (info.callback for info in load_commands().registered_commands if info.callback.__name__ == command)
    return {*inspect.signature(found).parameters}


@pytest.mark.parametrize("arguments", [["--window", "5"], ["--stride", "3"], ["--samples", "7"], ["--seed", "1"]])
def test_the_command_refuses_what_the_method_does_not_heed(files, capsys, arguments):
    assert run(["explain", "m.onnx", "x.npy", "--method", "grad-cam", *arguments, "-o", "x.png"]) == 2
    out, err = capsys.readouterr()
    assert f"grad-cam takes no {arguments[0]} (" in err
    assert len(err.splitlines()) == 1
    assert not out
    assert not (files / "x.png").exists()


def test_the_command_names_all_that_is_not_heeded_at_once(files, capsys):
    assert run(["explain", "m.onnx", "x.npy", "--window", "5", "--samples", "7", "-q"]) == 2
    assert (
        "no --samples (integrated-gradients, smooth-grad, rise do), no --window (occlusion does)"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("option", ["--samples", "--cells", "--keep", "--seed"])
def test_the_command_gives_what_python_gives(files, option):
    name = option.removeprefix("--")
    given = {"samples": 20, name: OTHER[name]}
    options = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    assert run(["explain", "m.onnx", "x.npy", "--method", "rise", *options, "--save", "x.npz", "-q"]) == 0
    with np.load("x.npz") as saved:
        assert np.array_equal(saved["map"], explain(MODEL, X, method="rise", **given).map)


def test_checks_use_seed_and_baseline_whatever_the_method(files):
    """Else there would be no way to set them."""
    base = ["explain", "m.onnx", "x.npy", "--method", "grad-cam", "--class", "1", "--sanity", "-q", "--save", "x.npz"]
    found = []
    for options in ([], ["--baseline", "0.5"], ["--seed", "4"]):
        assert run([*base, *options]) == 0
        (one,) = json.loads((files / "x.npz.manifest.json").read_text())["explanations"]
        found.append((one["faithfulness"]["deletion_auc"], one["sanity"]["seed"]))
    assert found[0] != found[1]
    assert found[0][1] == 0
    assert found[2] == (found[0][0], 4)
    assert run([*base[:-4], "-q", "--save", "y.npz", "--seed", "4"]) == 2


def test_explain_has_the_same_options_on_both_sides():
    """Those of the command alone are what Python has other verbs for, or what it prints and where to."""
    python = {*inspect.signature(explain).parameters, *MethodOptions.__annotations__} - {"options"}
    shell = parameters("explain")
    of_figures = {"cmap", "smooth", "bands", "picture", "dpi", "title", "captions"}
    assert python - shell == {"x", "progress"}
    assert shell - python == {"inputs", "sanity", "output", "save", "as_json", "quiet", "context"} | of_figures
    each = {*inspect.signature(explain_each).parameters, *ExplainOptions.__annotations__} | {
        *MethodOptions.__annotations__
    }
    assert {*python} - each == {"progress"}
