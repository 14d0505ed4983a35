"""Metadata that the sample models have, taken away or made wrong."""

from __future__ import annotations

import json

import onnx
import pytest
import zoo
from planted import MODELS, audited, found, sample

from onnxviz import extract


def without(*keys, of=None, **others):
    model = of or sample()
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key not in keys}
    del model.metadata_props[:]
    for key, value in {**kept, **others}.items():
        model.metadata_props.add(key=key, value=value)
    return model


@pytest.mark.parametrize("name", ["classifier", "unet"])
def test_the_sample_models_say_what_is_needed(name):
    assert audited(MODELS / f"{name}.onnx", "I03").passed == ("I03",)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_zoo_has_no_error(name):
    assert not [severity for _, severity in found(zoo.model(name), "I03") if severity != "note"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("classes",), ["logits"]),
        (("onnxviz.preprocessing",), ["onnxviz.preprocessing"]),
        (("classes", "onnxviz.preprocessing"), ["onnxviz.preprocessing", "logits"]),
    ],
)
def test_what_the_file_does_not_tell(keys, expected):
    findings = audited(without(*keys), "I03").findings
    assert [(one.code, one.severity.value, one.where) for one in findings] == [("I03", "note", key) for key in expected]


@pytest.mark.parametrize("count", [1, 10, 12])
def test_names_of_another_number_of_classes(count):
    (one,) = audited(without(classes=json.dumps([f"c{number}" for number in range(count)])), "I03").findings
    assert (one.severity.value, one.where, one.value, one.threshold) == ("warning", "logits", count, 11)


def test_as_many_names_as_scores():
    assert found(without(classes=json.dumps([f"c{number}" for number in range(11)])), "I03") == []


@pytest.mark.parametrize(("layer", "expected"), [("conv3", []), ("dense", [("I03", "note")])])
def test_feature_maps_want_no_names(tmp_path, layer, expected):
    body = extract(MODELS / "classifier.onnx", layer).save(tmp_path / "body.onnx")
    assert found(without("classes", of=onnx.load(body)), "I03") == expected
