"""Explanations: where the map lies, and what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cross_finder import finder, scene
from explained import centre
from oracles import relative
from protos import normal
from samples import CAT, CLASSIFIER, DOG
from small_detector import SIZE, small_detector

import onnxviz
from onnxviz import explain, explain_each, load
from onnxviz.explanations.methods import METHODS
from onnxviz.runtime.session import Session


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


def test_the_verbs_are_public():
    assert onnxviz.explain is explain
    assert onnxviz.explain_each is explain_each
    assert onnxviz.Explanation is type(explain(finder(), scene(9, 9)))


@pytest.mark.parametrize(("model", "x"), [(finder, scene(9, 9)), (small_detector, normal(3, SIZE, SIZE))])
@pytest.mark.parametrize(("method", "most"), [("grad-cam", 3), ("saliency", 3), ("eigen-cam", 2)])
def test_a_sample_is_not_run_again_for_what_is_known(model, x, method, most, monkeypatch):
    """One run gives the answer, one the maps, one the gradient; the self-check runs with the first sample only."""
    run, runs = Session.run, []

    def counted(self, tensors, feeds):
        runs.append(tensors)
        return run(self, tensors, feeds)

    monkeypatch.setattr(Session, "run", counted)
    found = explain_each(model(), np.stack([x, x / 2, x]), class_=1, method=method)
    first = next(found)
    runs.clear()
    second = next(found)
    assert 1 < len(runs) <= most, runs
    assert first.score != second.score
    assert next(found).score == first.score
