"""Baselines on disk: read as they were written, several models by their paths; what is broken is one line."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import MODELS, audited
from planted_images import crops
from protos import normal, parsed

import onnxviz
from onnxviz.auditing.baseline import Baseline, ModelRecord
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.layer_record import layer_changes
from onnxviz.auditing.trained_weights import trained_weights
from onnxviz.errors import InputError, OnnxvizError


def record(name="classifier", select="W02,R03", **options) -> ModelRecord:
    found = audited(MODELS / f"{name}.onnx", select, keep=True, **options).record
    assert found is not None
    return found


@pytest.fixture(scope="module")
def classifier() -> ModelRecord:
    return record()


@pytest.fixture
def file(classifier, tmp_path):
    return Baseline.of(classifier).save(tmp_path / "release.baseline")


def test_read_as_it_was_written(tmp_path):
    made = record(data=crops(tmp_path, 9, 96))
    path = Baseline.of(made).save(tmp_path / "release.baseline")
    (again,) = Baseline.load(path).models
    assert json.dumps(again.as_dict()) == json.dumps(made.as_dict())
    for one, other in zip(again.layers.layers, made.layers.layers, strict=True):
        assert np.array_equal(one.sketch.packed(), other.sketch.packed())
    assert len(again.photos) == 9
    assert again.silent.samples == 9


def test_it_is_small_and_the_same_models_make_the_same_bytes(classifier, file):
    assert file.stat().st_size < 0.1 * (MODELS / "classifier.onnx").stat().st_size
    assert file.read_bytes() == Baseline.of(classifier).to_bytes()


def test_several_models_by_their_paths(classifier, tmp_path):
    path = Baseline.of(record("unet"), classifier).save(tmp_path / "release.baseline")
    found = Baseline.load(path)
    label = str(MODELS / "classifier.onnx")
    assert found.model(label).label == label
    with pytest.raises(InputError, match=r"release.baseline holds no baseline of other.onnx; it holds those of .*unet"):
        found.model("other.onnx")
    assert audited(MODELS / "unet.onnx", "R01", baseline=path).passed == ("R01",)


def test_one_model_may_be_called_otherwise(classifier, file, tmp_path):
    (tmp_path / "v2.onnx").write_bytes((MODELS / "classifier.onnx").read_bytes())
    found = audited(tmp_path / "v2.onnx", "R01", baseline=file)
    assert found.passed == ("R01",)
    assert found.since.label == classifier.label


def test_an_audit_that_kept_nothing(classifier):
    with pytest.raises(InputError, match="only with keep=True"):
        Baseline.of(audited(MODELS / "classifier.onnx", "G00").record)
    with pytest.raises(InputError, match="is there twice"):
        Baseline.of(classifier, classifier)
    with pytest.raises(InputError, match="keep=True"):
        Baseline.of()


def test_a_baseline_of_another_model(file):
    with pytest.raises(InputError, match=r"release.baseline is of another model, .*classifier.onnx: none of its 6 lay"):
        audited(MODELS / "unet.onnx", "R01", baseline=file)


def rewritten(path, change):
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(parts["baseline.json"])
    change(document, parts)
    parts["baseline.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def later(document, parts):
    document["baseline"] = 2


def other_numbers(document, parts):
    packed = io.BytesIO()
    np.save(packed, np.zeros(5, np.float32))
    parts["0.npy"] = packed.getvalue()


def wide_numbers(document, parts):
    packed = io.BytesIO()
    np.save(packed, np.load(io.BytesIO(parts["0.npy"])).astype(np.float64))
    parts["0.npy"] = packed.getvalue()


def pickled(document, parts):
    packed = io.BytesIO()
    np.save(packed, np.array([print], object), allow_pickle=True)
    parts["0.npy"] = packed.getvalue()


BROKEN = {
    "pickle": (pickled, "holds a broken baseline: ValueError: Object arrays cannot be loaded"),
    "later": (later, "holds a baseline of version 2, written by a later onnxviz; this one reads version 1"),
    "numbers": (other_numbers, "holds a broken baseline: it has 5 numbers for sketches of other layers"),
    "types": (wide_numbers, "holds a broken baseline: the sketch of a layer"),
    "no models": (lambda document, parts: document.pop("models"), "holds a broken baseline: KeyError"),
    "none": (lambda document, parts: document["models"].clear(), "holds a broken baseline: an audit keeps"),
    "no numbers": (lambda document, parts: parts.pop("0.npy"), "holds a broken baseline: KeyError"),
    "shape": (
        lambda document, parts: document["models"][0]["layers"]["layers"][0]["sketch"].update(shape=[0, 3]),
        "holds a broken baseline: ",
    ),
    "fed by itself": (
        lambda document, parts: document["models"][0]["layers"]["layers"][0].update(fed_by=[99]),
        "holds a broken baseline: IndexError",
    ),
    "layer": (
        lambda document, parts: document["models"][0].update(
            findings=[Finding("W01", Severity.NOTE, "m", "d").as_dict() | {"layer": 5}]
        ),
        "holds a broken baseline: TypeError: a finding is broken",
    ),
    "severity": (
        lambda document, parts: document["models"][0].update(findings=[{"code": "W01"}]),
        "holds a broken baseline: KeyError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_line(file, name):
    change, words = BROKEN[name]
    with pytest.raises(InputError) as error:
        Baseline.load(rewritten(file, change))
    assert str(error.value).startswith(f"{file} {words}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "is no baseline, or was cut short"), (b"text\n", "is no baseline, or was cut short"), (None, "is no base")],
)
def test_what_is_none(tmp_path, data, words):
    path = tmp_path / "x"
    if data is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", b"")
    else:
        path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        Baseline.load(path)
    with pytest.raises(InputError, match=r"there is no file .*: Baseline\.of\(.* makes one"):
        Baseline.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="cannot be read"):
        Baseline.load(tmp_path)


@given(st.data())
def test_bytes_that_were_changed_are_no_crash(classifier_bytes, data):
    """Anything, or the baseline that it was; never another exception."""
    changed = bytearray(classifier_bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    with suppress(InputError):
        assert Baseline.read(io.BytesIO(bytes(changed)), "x.baseline").models


@pytest.fixture(scope="module")
def classifier_bytes() -> bytes:
    proto = parsed("g (float[n,3,8,8] x) => (float[n,4,6,6] y) { y = Conv (x, w) }", w=normal(4, 3, 3, 3))
    return Baseline.of(audited(proto, "W02", keep=True).record).to_bytes()


def test_what_cannot_be_written_leaves_the_old(classifier, file, monkeypatch, tmp_path):
    before = file.read_bytes()

    def full(archive, name, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OnnxvizError, match=r"release.baseline cannot be written: No space left"):
        Baseline.of(classifier).save(file)
    assert file.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["release.baseline"]


def test_layers_are_those_that_the_records_of_the_open_model_give(classifier, file):
    """What is read again matches as what was never written."""
    model = onnxviz.load(MODELS / "classifier.onnx")
    weights = trained_weights(model)
    (again,) = Baseline.load(file).models
    for before in (classifier, again):
        found = layer_changes(before.layers, classifier.layers, weights)
        assert [(one.before.name, one.after.name) for one in found.pairs] == [
            (one.name, one.name) for one in classifier.layers.layers
        ]
        assert (found.gone, found.added) == ((), ())
