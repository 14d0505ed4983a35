"""`onnxviz.filters`, `layers` and `annotate`: the verbs of the command line, in Python, with the same options."""

import inspect
import json

import numpy as np
import pytest
from protos import classifier_proto

import onnxviz
from onnxviz.cli.annotate import annotate as annotate_command
from onnxviz.cli.filters import filters as filters_command
from onnxviz.cli.layers import layers as layers_command
from onnxviz.errors import InputError, SelectionError

# What only a terminal needs, and the names that an option has because Python's is taken.
SHELL = {"as_json", "quiet"}
OTHERWISE = {"selection": "layers", "numbers": "filters", "picture": "format", "all_layers": "all"}


@pytest.fixture
def file(tmp_path, classifier):
    return classifier


@pytest.mark.parametrize(
    ("verb", "command", "python_only"),
    [
        (onnxviz.filters, filters_command, {"progress"}),
        (onnxviz.layers, layers_command, set()),
        (onnxviz.annotate, annotate_command, set()),
    ],
    ids=["filters", "layers", "annotate"],
)
def test_both_sides_have_the_same_options(verb, command, python_only):
    python, shell = inspect.signature(verb).parameters, inspect.signature(command).parameters
    named = {OTHERWISE.get(name, name) for name in shell} - SHELL
    assert named == {*python} - python_only


def test_pictures_and_arrays_of_filters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reports = []
    model = onnxviz.load(classifier_proto())
    made = onnxviz.filters(
        model, "0-1", first=2, output="out", save="all.npz", progress=lambda done, of: reports.append((done, of))
    )
    assert [path.name for path in made.pictures.values()] == ["000-block1_conv1.png", "001-block1_conv2.png"]
    assert list(made.pictures) == ["block1_conv1", "block1_conv2"]
    assert all(path.is_file() for path in made.written)
    assert reports == [(1, 2), (2, 2)]
    with np.load("all.npz") as arrays:
        for name in made.pictures:
            assert np.array_equal(arrays[name], model.layer(name).weight)
    manifest = json.loads(made.arrays[1].read_text())
    assert manifest["layers"]["block1_conv1"]["shape"] == [6, 3, 3, 3]


def test_where_filters_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    proto = classifier_proto()
    assert onnxviz.filters(proto, save="w.npz").pictures == {}  # arrays alone were asked for
    assert [str(path) for path in onnxviz.filters(proto, 0).pictures.values()] == ["filters/000-block1_conv1.png"]
    assert next(iter(onnxviz.filters(proto, output="one.svg").pictures.values())).read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"style": "wavy"}, InputError, "no style 'wavy'; there are rows, grid, rgb, lines, matrix"),
        ({"format": "gif"}, InputError, "no format 'gif'; there are png, jpg, webp, svg, pdf"),
        ({"filters": "9"}, SelectionError, "'block1_conv1' has no filter 9; there are 6, 0 to 5"),
        ({"channels": [-1]}, SelectionError, "has no channel -1; there are 3"),
        ({"layers": "0-1", "output": "one.png"}, InputError, "2 layers were chosen for the one file one.png"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_anything_is_written(tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        onnxviz.filters(classifier_proto(), **options)
    assert list(tmp_path.iterdir()) == []


def test_layers_as_data(file, run_command):
    for python, shell in (({}, []), ({"all": True}, ["--all"]), ({"ops": ["MaxPool"]}, ["--ops", "MaxPool"]),
                          ({"layout": "keras"}, ["--layout", "keras"])):  # fmt: skip
        assert onnxviz.layers(file, **python) == run_command("layers", file, *shell, "--json").document
    with pytest.raises(InputError, match="leave one of them out"):
        onnxviz.layers(file, all=True, ops=["Conv"])
    with pytest.raises(InputError, match="no layout 'tf'; there are onnx, keras"):
        onnxviz.layers(file, layout="tf")


def test_an_option_that_would_do_nothing_is_refused(file, run_command):
    ran = run_command("layers", file, "--all", "--ops", "Conv")
    assert ran.code == 2
    assert "leave one of them out" in ran.err


def test_a_note_is_kept(tmp_path):
    written = onnxviz.annotate(classifier_proto(), "torch", tmp_path / "noted.onnx")
    assert onnxviz.load(written).preprocessing["name"] == "torch"
    chosen = onnxviz.Preprocessing("custom", 1.0, (1.0, 2.0, 3.0), (1.0,), "BGR")
    written = onnxviz.annotate(written, chosen, tmp_path / "again.onnx")
    assert onnxviz.load(written).preprocessing["order"] == "BGR"
    with pytest.raises(InputError, match="'auto' is none"):
        onnxviz.annotate(classifier_proto(), "auto", tmp_path / "no.onnx")
    assert not (tmp_path / "no.onnx").exists()
