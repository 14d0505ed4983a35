"""onnx's checker and strict inference in a process of their own, beside both called here."""

from __future__ import annotations

import onnx
import pytest
import zoo
from onnx import helper
from protos import classifier_proto

from onnxviz.model.graph import conformance
from onnxviz.model.graph.conformance import violation


@pytest.mark.parametrize("name", zoo.NAMES)
def test_what_onnx_itself_accepts(tmp_path, name):
    model = zoo.model(name)
    onnx.checker.check_model(model)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert violation(model, tmp_path) == ("", "")


def test_what_the_checker_says(tmp_path):
    model = classifier_proto()
    model.graph.node[0].attribute.append(helper.make_attribute("colour", 3))
    with pytest.raises(onnx.checker.ValidationError) as refused:
        onnx.checker.check_model(model)
    who, what = violation(model, tmp_path)
    assert who == "checker"
    assert what == " ".join(str(refused.value).split())


def test_what_strict_inference_says(tmp_path):
    model = classifier_proto()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    with pytest.raises(onnx.shape_inference.InferenceError) as refused:
        onnx.shape_inference.infer_shapes(model, strict_mode=True)
    who, what = violation(model, tmp_path)
    assert who == "shape inference"
    assert what == " ".join(str(refused.value).split())


def test_a_process_that_takes_too_long_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(conformance, "TIMEOUT_SECONDS", 0.001)
    who, what = violation(classifier_proto(), tmp_path)
    assert who == ""
    assert "took more than" in what


def test_a_process_that_dies_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(conformance, "_WORKER", "import os; {native!r}; {path!r}; {folder!r}; os.abort()")
    who, what = violation(classifier_proto(), tmp_path)
    assert who == ""
    assert "died" in what
