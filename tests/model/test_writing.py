"""Models written with their weights: whole or not at all, wherever the path leads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import zoo
from onnx import helper, numpy_helper

import onnxviz
from onnxviz import ModelError, add_gradient
from onnxviz.model.model import load
from onnxviz.model.writing import whole_model, write_files, write_model

WEIGHTS = [
    numpy_helper.from_array(np.random.default_rng(n).standard_normal((30, 33)).astype(np.float32), f"w{n}")
    for n in range(3)
]


@pytest.fixture
def small_messages(monkeypatch):
    """Messages of 8,000 bytes are too large, as those of 2 GiB are."""
    monkeypatch.setattr("onnxviz.model.skeleton.MAX_MESSAGE_BYTES", 8000)


@pytest.fixture
def large(tmp_path):
    """A model that needs a second file where messages are small."""
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "m.onnx"
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], WEIGHTS)), path)
    return load(path)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def holds_the_weights(path: Path) -> bool:
    stored = onnx.load(path).graph.initializer
    return [t.name for t in stored] == ["w0", "w1", "w2"] and all(
        np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))
        for one, other in zip(stored, WEIGHTS, strict=True)
    )


def test_a_link_is_followed_and_the_weights_lie_beside_the_file(large, tmp_path, small_messages):
    """References in a model are read from where the file is, not from where the link is."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "link.onnx").symlink_to(there / "blob")
    assert large.save(here / "link.onnx") == here / "link.onnx"
    assert files_in(here) == ["link.onnx"]
    assert (here / "link.onnx").is_symlink()
    assert files_in(there) == ["blob", "blob.data"]
    assert holds_the_weights(there / "blob")
    found = load(here / "link.onnx")
    np.testing.assert_array_equal(found.constants.value(found.scope, "w1"), numpy_helper.to_array(WEIGHTS[1]))


@pytest.mark.parametrize("there_before", [True, False])
def test_what_fails_in_the_middle_leaves_everything_as_it_was(large, tmp_path, small_messages, there_before):
    target = tmp_path / "target"
    target.mkdir()
    path = target / "m.onnx"
    if there_before:
        path.write_bytes(b"before")
        path.with_name("m.onnx.data").write_bytes(b"weights before")
    before = {one.name: one.read_bytes() for one in target.iterdir()}
    fetched = []

    def fetch(tensor):
        fetched.append(tensor.name)
        if len(fetched) == 5:
            raise ModelError("it changed")
        return memoryview(large.constants.file.bytes_of(tensor))

    with pytest.raises(ModelError, match="it changed"):
        write_model(large.proto, fetch, path)
    assert {one.name: one.read_bytes() for one in target.iterdir()} == before


@pytest.mark.parametrize("file", ["out.onnx", "out.onnx.data"])
def test_a_full_disk_leaves_nothing(large, tmp_path, small_messages, monkeypatch, file):
    target = tmp_path / "target"
    target.mkdir()
    opened, plain = [], Path.open

    def full(path, *arguments, **options):
        if path.name == file:
            opened.append(path)
            plain(path, "wb").close()
            raise OSError(28, "No space left on device")
        return plain(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ModelError, match=r"out\.onnx cannot be written: No space left"):
        large.save(target / "out.onnx")
    assert opened
    assert files_in(target) == []


@pytest.mark.parametrize("verb", ["save", "gradient"])
def test_where_nothing_can_be_written_is_a_model_error(tmp_path, verb):
    """One kind of error from both."""
    model = load(zoo.model("classifier"))
    what = model if verb == "save" else add_gradient(model, of=model.layers[0].taps["conv"])
    (tmp_path / "folder").mkdir()
    for path, message in (("folder", "it is a folder"), ("nowhere/m.onnx", "there is no folder")):
        with pytest.raises(ModelError, match=message):
            what.save(tmp_path / path)
    assert files_in(tmp_path) == ["folder"]


def test_one_file_is_refused_where_two_are_needed(large, tmp_path, small_messages):
    target = tmp_path / "target"
    target.mkdir()
    fetch = large.constants.file.bytes_of
    with pytest.raises(ModelError, match=r"m\.onnx would be larger than 2 GiB"):
        write_model(large.proto, fetch, target / "m.onnx", one_file=True)
    assert files_in(target) == []
    assert [path.name for path in write_files(large.proto, fetch, target / "m.onnx")] == ["m.onnx", "m.onnx.data"]
    assert holds_the_weights(target / "m.onnx")
    with pytest.raises(ModelError, match="m has more than 2 GiB of weights, too many to randomise"):
        whole_model(large.proto, fetch, "m", "randomise")


def test_a_model_is_whole_in_memory(large):
    found = whole_model(large.proto, large.constants.file.bytes_of, "m", "randomise").graph.initializer
    assert [numpy_helper.to_array(t).tolist() for t in found] == [numpy_helper.to_array(t).tolist() for t in WEIGHTS]


def test_a_model_can_be_saved_over_its_own_file(large):
    path = large.folder / "m.onnx"
    assert onnxviz.load(path).save(path) == path
    assert files_in(large.folder) == ["m.onnx"]
    assert holds_the_weights(path)
