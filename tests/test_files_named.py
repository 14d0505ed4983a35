"""Files that documents name: as seen from the folder of the document, on stdout from the working folder."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_framework import MODULE, ToyConverter

from onnxviz.cli.program import COMMANDS
from onnxviz.conversion import sources
from onnxviz.files import save_arrays, write_json

SHOWN = ["--layers", "block1_conv1"]
# Of each command the way in which it names most files; arguments and the files that it writes.
RUNS = {
    "layers": [["sub/m.onnx"]],
    "predict": [["sub/m.onnx", "photos"], ["sub/m.onnx", "photos/a.png"]],
    "maps": [
        ["sub/m.onnx", "photos", *SHOWN, "-o", "out/maps", "--save", "far/maps.npz"],
        ["sub/m.onnx", "photos/a.png", *SHOWN, "-o", "out/one"],
        ["sub/m.onnx", "photos", *SHOWN, "--top-patches", "1", "-o", "out/patches", "--save", "far/patches.npz"],
    ],
    "stats": [["sub/m.onnx", "photos", *SHOWN, "-o", "out/stats", "--save", "far/stats.npz"]],
    "filters": [["sub/m.onnx", "block1_conv1", "-o", "out/filters", "--save", "far/filters.npz"]],
    "explain": [
        ["sub/m.onnx", "photos", "-o", "out/explain", "--save", "far/explain.npz"],
        ["sub/m.onnx", "photos/a.png", "-o", "out/cat.png", "--save", "far/cat.npz"],
    ],
    "maximize": [
        ["sub/m.onnx", "block1_conv1", "--filters", "0,2", "--steps", "1", "-o", "out/made", "--save", "far/made.npz"]
    ],
    "compare": [["sub/m.onnx", "sub/m.onnx", "--data", "photos", "-o", "out/compared"]],
    "audit": [["sub/m.onnx", "--select", "W", "-o", "out/audit.json"]],
    "report": [["sub/m.onnx", "photos/a.png", "-o", "out/report.html", "--seconds", "5"]],
    "annotate": [["sub/m.onnx", "--preprocess", "unit", "-o", "out/kept.onnx"]],
    "extract": [["sub/m.onnx", "block1_conv1", "-o", "out/part.onnx"]],
    "convert": [["toys:factory", "-o", "out/toy.onnx"]],
}  # fmt: skip
NAMES = {"file", "files", "sheet", "folder"}
# What inputs are called; the same everywhere, whatever lies where.
LABELS = {"input", "inputs", "samples", "sample", "label", "labels", "images", "top_sample"}


def named(value: Any, key: str = "") -> Iterator[str]:
    """The files that a document names."""
    if isinstance(value, dict):
        for inner, one in value.items():
            if inner in LABELS:
                continue
            yield from named(one, "file" if key == "written" else inner)
    elif isinstance(value, list):
        for one in value:
            yield from named(one, key)
    elif isinstance(value, str) and (key in NAMES or value.endswith((".png", ".npz"))):
        yield value


@pytest.fixture
def place(tmp_path, classifier, photos, monkeypatch):
    """Folders beside each other, so that no two ways of naming a file mean the same."""
    for folder in ("sub", "out", "far"):
        (tmp_path / folder).mkdir()
    classifier.rename(tmp_path / "sub" / "m.onnx")
    monkeypatch.setattr(sources, "converters", lambda: [ToyConverter()])
    (tmp_path / "toys.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("toys", None)


def test_every_command_is_walked():
    assert RUNS.keys() == {*COMMANDS}


@pytest.mark.parametrize("command", RUNS)
def test_a_document_names_files_as_seen_from_where_it_lies(command, place, run_command):
    for arguments in RUNS[command]:
        ran = run_command(command, *arguments, "--json", "-q")
        assert ran.code in (0, 1), ran
        said = [*named(ran.document)]
        assert not [one for one in said if not Path(one).exists()], "stdout"
        if command not in ("layers", "predict", "audit"):
            assert any(one.startswith("out/") for one in said), "nothing that was written is named"
    for document in [*place.rglob("*.json")]:
        for one in named(json.loads(document.read_text(encoding="utf-8"))):
            assert (document.parent / one).exists(), f"{document.relative_to(place)} names {one}"


def test_a_path_is_written_as_seen_from_the_folder_and_nothing_else_is_a_type_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    write_json(Path("a/m.json"), {"file": Path("b/c d.png"), "inner": [{"file": Path("a/x.png")}, None, "a/x.png"]})
    assert json.loads(Path("a/m.json").read_text()) == {
        "file": "../b/c d.png",
        "inner": [{"file": "x.png"}, None, "a/x.png"],
    }
    save_arrays({}, Path("a/m.npz"), {"file": tmp_path / "y.png"})
    assert json.loads(Path("a/m.npz.manifest.json").read_text()) == {"file": "../y.png"}
    with pytest.raises(TypeError, match="set is no type of JSON"):
        write_json(Path("a/m.json"), {"file": {1}})
