"""Names of classes in a file, kept in a model."""

from __future__ import annotations

import json

import onnx
import pytest
from protos import normal, parsed

from onnxviz import annotate, load, predict
from onnxviz.cli import run
from onnxviz.errors import InputError


def scorer(tail="y = Identity (s)"):
    return parsed(
        "g (float[n,2,5,5] x) => (float[n,4] y) { c = Conv (x, w) p = GlobalAveragePool (c) s = Flatten (p)"
        f" {tail} }}",
        w=normal(4, 2, 3, 3),
    )


NAMES = ["a", "b", "é", "d"]


def test_names_are_kept_in_the_model_and_used(tmp_path):
    written = annotate(scorer(), None, tmp_path / "named.onnx", labels=NAMES)
    assert load(written).metadata["classes"] == json.dumps(NAMES, ensure_ascii=False)
    found = predict(written, normal(1, 2, 5, 5))
    assert found.names == "metadata"
    assert [one.name for one in found[0].answer.top] == [NAMES[one.number] for one in found[0].answer.top]
    both = annotate(written, "raw", tmp_path / "both.onnx")
    assert load(both).metadata["classes"] == load(written).metadata["classes"]
    assert load(both).preprocessing["name"] == "raw"


def test_names_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="3 labels were given for 4 scores of 'y'"):
        annotate(scorer(), None, tmp_path / "named.onnx", labels=NAMES[:3])
    with pytest.raises(InputError, match="there is nothing to keep: give preprocess"):
        annotate(scorer(), None, tmp_path / "named.onnx")
    assert not [*tmp_path.iterdir()]


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(scorer(), "m.onnx")
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    assert run(["annotate", "m.onnx", "--labels", "names.txt", "-o", "out.onnx", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["labels"], told["preprocessing"]) == (NAMES, None)
    assert json.loads(load("out.onnx").metadata["classes"]) == NAMES
