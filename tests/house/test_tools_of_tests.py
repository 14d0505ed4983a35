"""The tools of the tests: a fixture that does nothing, or a mark that is missing, must not go unseen."""

import ast
import re
from importlib.metadata import EntryPoint, PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import examples
import frameworks
import installed
import lowest
import pytest
import stand_in
from protos import classifier_proto

import onnxviz

HERE = Path(__file__).resolve().parents[1]


# ---------------------------------------------------------------- is the package installed


def test_the_package_is_installed():
    assert installed.missing() == ""


def test_a_package_that_is_not_installed_is_said_once(monkeypatch):
    asked = []

    def absent(name):
        asked.append(name)
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installed, "distribution", absent)
    assert "pip install -e . first" in installed.missing()
    assert asked == ["onnxviz"]


def test_an_old_installation_is_told_by_its_entry_points(monkeypatch):
    entries = [EntryPoint("onnxviz", "onnxviz.cli:main", "console_scripts")]
    monkeypatch.setattr(installed, "distribution", lambda name: SimpleNamespace(entry_points=entries))
    assert "lacks onnxviz.converters: keras, onnxviz.converters: pytorch" in installed.missing()


# ---------------------------------------------------------------- which tests need a framework


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("import numpy\ndef test(): pass", False),
        ("import torch\ndef test(): pass", True),
        ("import pytest\nkeras = pytest.importorskip('keras')\ndef test(): pass", True),
        ("from keras_checks import layers\ndef test(): pass", True),
        ("import accuracy.kinks\ndef test(): pass", True),
        ("def test():\n    import tensorflow as tf", True),
        ("def other():\n    import torch\ndef test(): pass", False),
        ("def other():\n    import torch\ndef test(): other()", True),
        ("def given():\n    import torch\ndef test(given): pass", True),
        ("def test(keras_models): pass", True),  # a fixture of conftest.py
        ("PROGRAM = 'import keras, sys'\ndef test(): run(PROGRAM)", True),
        ("def test(): run('import os')", False),
    ],
)
def test_what_needs_a_framework_is_seen(tmp_path, source, needs):
    path = tmp_path / "test_it.py"
    path.write_text(source)
    assert frameworks.item_needs(path, "test") is needs


def test_both_kinds_of_tests_are_there():
    needing = {path.name for path in HERE.rglob("test_*.py") if frameworks.module_needs(path)}
    assert {"test_keras.py", "test_pytorch.py", "test_explain_oracles.py"} <= needing
    assert not {"test_program.py", "test_naming.py", "test_capture.py", "test_table.py"} & needing


# ---------------------------------------------------------------- fixtures that replace what is private


def test_shapes_in_process_starts_no_worker(shapes_in_process):
    assert onnxviz.load(classifier_proto()).layers[0].output_shape == ("batch", 6, 16, 12)
    assert shapes_in_process == ["classifier"]


@pytest.mark.inference_worker
def test_no_inference_infers_nothing(no_inference):
    assert onnxviz.load(classifier_proto()).layers[0].output_shape is None
    assert no_inference == ["classifier"]


def test_the_toy_converter_is_the_only_one(toy):
    from onnxviz.errors import ConversionError

    toy("")
    with pytest.raises(ConversionError, match="there are converters for Toy"):
        onnxviz.convert(5)
    assert toy.asked == ["converters", "converters", "_loaded"]


# ---------------------------------------------------------------- what tests may import


@pytest.mark.parametrize("path", sorted(HERE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_module_is_imported_and_no_rule_is_switched_off_for_a_file(path):
    """Tables of cases are in cases_*.py, fixtures in conftest.py: they need not be imported by name."""
    source = path.read_text(encoding="utf-8")
    imported = [name for node in ast.walk(ast.parse(source)) for name in frameworks.imported(node)]
    assert not [name for name in imported if name.rpartition(".")[2].startswith("test_")]
    assert not re.search(r"^# (ruff|flake8): *noqa", source, re.MULTILINE)


# ---------------------------------------------------------------- how much is tried


def test_representatives_stay_and_the_others_are_slow():
    marks = {one.values[0]: [mark.name for mark in one.marks] for one in examples.representatives("abc", {"b"})}
    assert marks == {"a": ["slow"], "b": [], "c": ["slow"]}


def test_a_representative_that_is_no_case_stands_for_nothing():
    with pytest.raises(ValueError, match="d: no such case"):
        examples.representatives("abc", {"b", "d"})


def test_examples_are_few_unless_slow_tests_run(monkeypatch):
    monkeypatch.setattr(examples, "thorough", False)
    assert examples.examples(20, 60) == 20
    monkeypatch.setattr(examples, "thorough", True)
    assert examples.examples(20, 60) == 60


def test_what_stands_in_for_onnxruntime_takes_its_place():
    assert stand_in.requirements(["onnx>=1.19", "onnxruntime>=1.24.1"], "onnxruntime-x") == [
        "onnx>=1.19",
        "onnxruntime-x",
    ]
    with pytest.raises(ValueError, match="onnxruntime is not among"):
        stand_in.requirements(["onnxruntime-gpu>=1"], "onnxruntime-x")


def test_the_lowest_versions_are_those_of_the_project():
    assert lowest.lowest(["onnx>=1.18", "onnxruntime>=1.24.1"]) == ["onnx==1.18", "onnxruntime==1.24.1"]
    with pytest.raises(ValueError, match="numpy is not of the form"):
        lowest.lowest(["numpy"])
