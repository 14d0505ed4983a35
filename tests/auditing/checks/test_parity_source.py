"""Parity with the source: the record that a conversion keeps, a model changed later, the comparison done again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from samples import CLASSIFIER
from toy_framework import Toy

from onnxviz import convert
from onnxviz.auditing.audit import audit
from onnxviz.conversion.verification_record import VERIFICATION_KEY, weights_hash
from onnxviz.inputs.annotate import annotate
from onnxviz.model.model import load


@pytest.fixture
def converted(toy, tmp_path: Path) -> tuple[Toy, Path]:
    """A model of the toy framework, and the file that it became."""
    toy("")
    source = Toy()
    convert(source, output=tmp_path / "toy.onnx")
    return source, tmp_path / "toy.onnx"


def judged(model, **options):
    """(severity, value) of each finding, and whether it was not run."""
    result = audit(model, select=["P01"], **options)
    return [(one.severity.value, one.value) for one in result.findings], [one.why for one in result.not_run]


def changed(path: Path, change) -> Path:
    """A copy whose filters went through a function."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if len(tensor.dims) == 4:
            values = change(numpy_helper.to_array(tensor).copy())
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(proto, path.with_name("changed.onnx"))
    return path.with_name("changed.onnx")


def one_bit(values: np.ndarray) -> np.ndarray:
    values.view(np.uint32)[1, 0, 1, 1] ^= 1
    return values


def one_filter(values: np.ndarray) -> np.ndarray:
    values[1] = 0
    return values


def test_a_conversion_keeps_what_it_found(converted) -> None:
    _, path = converted
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    told = json.loads(next(one.value for one in proto.metadata_props if one.key == VERIFICATION_KEY))
    assert told["version"] == 1
    assert (told["framework"], told["versions"]["toy"]) == ("Toy", "1.5")
    assert {"onnxviz", "onnx", "onnxruntime"} < told["versions"].keys()
    assert told["verification"]["filters_identical"] is True
    assert 0 <= told["verification"]["max_rel_diff"] <= told["verification"]["tolerance"] == 1e-4
    heads = []
    for one in proto.graph.initializer:
        head = json.dumps([one.name, one.data_type, list(one.dims)])
        heads.append(f"{head} {hashlib.sha256(head.encode() + one.raw_data).hexdigest()}")
    assert told["weights"] == hashlib.sha256("\n".join(sorted(heads)).encode()).hexdigest()


def test_the_record_is_written_once_and_whole(converted, tmp_path: Path) -> None:
    """What is put behind the message adds up: no key is there twice, and nothing else is changed."""
    proto = onnx.load(converted[1])
    keys = [one.key for one in proto.metadata_props]
    assert len(keys) == len(set(keys))
    assert {"onnxviz.source", VERIFICATION_KEY} <= set(keys)
    in_memory = convert(converted[0])
    assert VERIFICATION_KEY in in_memory.metadata
    assert weights_hash(in_memory) == weights_hash(load(converted[1]))
    assert VERIFICATION_KEY not in convert(converted[0], verify=False).metadata


def test_a_model_as_it_was_converted_is_clean(converted, tmp_path: Path) -> None:
    _, path = converted
    assert judged(path) == ([], [])
    notes = annotate(path, "unit", tmp_path / "noted.onnx")
    assert judged(notes) == ([], [])
    onnx.save(onnx.load(path), tmp_path / "external.onnx", save_as_external_data=True, size_threshold=0)
    assert judged(tmp_path / "external.onnx") == ([], [])


@pytest.mark.parametrize("change", [one_bit, one_filter, lambda values: values * 1.5])
def test_weights_that_were_changed_are_a_warning(converted, change) -> None:
    assert judged(changed(converted[1], change)) == ([("warning", None)], [])


def with_record(path: Path, name: str, value: object) -> Path:
    proto = onnx.load(path)
    (entry,) = (one for one in proto.metadata_props if one.key == VERIFICATION_KEY)
    told = json.loads(entry.value)
    told["verification"][name] = value
    entry.value = json.dumps(told)
    onnx.save(proto, path.with_name("other.onnx"))
    return path.with_name("other.onnx")


@pytest.mark.parametrize("name", ["max_rel_diff", "maps_max_rel_diff"])
@pytest.mark.parametrize("value", [1.05e-4, 1e-2, 0.5])
def test_a_record_beyond_its_tolerance_is_an_error(converted, name: str, value: float) -> None:
    assert judged(with_record(converted[1], name, value)) == ([("error", value)], [])
    assert judged(with_record(converted[1], name, 0.95e-4)) == ([], [])


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 1}', '{"version": 2}', "null"])
def test_a_record_that_cannot_be_read_is_not_run(converted, text: str) -> None:
    proto = onnx.load(converted[1])
    (entry,) = (one for one in proto.metadata_props if one.key == VERIFICATION_KEY)
    entry.value = text
    findings, why = judged(proto)
    assert findings == []
    assert "has a record of its verification" in why[0]


# ---------------------------------------------------------------- with the source


def test_the_source_itself_is_clean(converted) -> None:
    source, path = converted
    assert judged(path, source=source) == ([], [])


@pytest.mark.parametrize("change", [one_bit, one_filter, lambda values: values * 1.5])
def test_filters_unlike_the_source_are_an_error(converted, change) -> None:
    source, path = converted
    result = audit(changed(path, change), source=source, select=["P01"])
    (one,) = result.findings
    assert one.severity.value == "error"
    assert "the filters of 'body/first' (4x3x3x3) are not the layer's own" in one.message


@pytest.mark.parametrize("share", [1.1e-4, 1e-3, 0.1])
def test_an_output_unlike_the_source_is_an_error(converted, share: float, tmp_path: Path) -> None:
    """Scaled behind the last layer, by just more than rounding explains; by less it is clean."""
    source, path = converted

    def scaled(factor: float) -> Path:
        proto = onnx.load(path)
        proto.graph.node[-1].output[0] = "unscaled"
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
        proto.graph.node.append(onnx.helper.make_node("Mul", ["unscaled", "factor"], ["score"]))
        onnx.save(proto, tmp_path / "scaled.onnx")
        return tmp_path / "scaled.onnx"

    result = audit(scaled(1 + share), source=source, select=["P01"])
    (one,) = result.findings
    assert "output 'score' by" in one.message
    assert judged(scaled(1 + 0.9e-4), source=source) == ([], [])


def test_not_run_says_why(toy, converted) -> None:
    assert judged(CLASSIFIER)[1] == [
        "the model has no record of a verification (`onnxviz convert` keeps one), and no source was given "
        "(onnxviz.audit(source=))"
    ]
    assert "there is no file none.toy" in judged(converted[1], source="none.toy")[1][0]
    toy("unsteady")
    findings, _ = judged(changed(converted[1], one_filter), source=converted[0])
    assert [one[0] for one in findings] == ["error"]
    toy("code")
    assert "would run code" in judged(converted[1], source=converted[0])[1][0]
