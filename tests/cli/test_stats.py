"""`onnxviz stats`: the table, the JSON document, files, what is skipped and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.metadata import version

import numpy as np
import onnx
import pytest
from command_line import PHOTO, error_of, files_in, truth, unit

from onnxviz import Statistics


@pytest.fixture
def folder(photo, tmp_path):
    """Two pictures and one that cannot be read."""
    place = tmp_path / "photos"
    place.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(photo, place / name)
    return place


def test_the_table(run_command, classifier, folder, tmp_path):
    before = files_in(tmp_path)
    ran = run_command("stats", classifier, folder)
    assert ran.code == 0
    assert "2 images" in ran.out
    heading = next(line for line in ran.lines if line.startswith("layer"))
    assert heading.split()[:7] == ["layer", "channels", "mean", "deviation", "lowest", "highest", "zeros"]
    assert any(line.startswith("block1_conv1 ") for line in ran.lines)
    assert "assumed 'unit'" in ran.err
    assert files_in(tmp_path) == before


def test_the_document(run_command, classifier, photo):
    document = run_command("stats", classifier, photo, "--complete", "--json").document
    assert (document["version"], document["images"], document["at"]) == (1, 1, "activation")
    first = document["layers"][0]
    (maps,) = truth(unit(PHOTO), [first["tensor"]])
    maps = maps.astype(np.float64)
    assert first["count"] == maps[0, 0].size
    np.testing.assert_allclose(first["max"], maps.max((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(first["min"], maps.min((0, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(first["zeros"], (maps == 0).sum((0, 2, 3)))
    np.testing.assert_allclose(first["mean"], maps.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(first["var"], maps.var((0, 2, 3)), rtol=1e-4)
    assert first["nonfinite"] == [0] * first["channels"]


def test_what_gave_the_highest_value(run_command, classifier, folder, tmp_path):
    ran = run_command("stats", classifier, folder, "--extremes")
    assert next(line for line in ran.lines if line.startswith("layer")).endswith("highest in")
    assert "a.png" in next(line for line in ran.lines if line.startswith("block1_conv1 "))
    np.save(tmp_path / "x.npy", np.concatenate([unit(PHOTO), 2 * unit(PHOTO)]))
    first = run_command("stats", classifier, "x.npy", "--json").document["layers"][0]
    (maps,) = truth(np.load(tmp_path / "x.npy"), [first["tensor"]])
    assert first["top_sample"] == [f"x.npy[{number}]" for number in maps.max((2, 3)).argmax(0)]


def test_files(run_command, classifier, folder, tmp_path):
    ran = run_command("stats", classifier, folder, "-o", "st", "--save", "s.npz", "-q")
    assert ran.code == 0
    assert ran.err == ""
    assert ran.lines[-4:] == ["st/statistics.png", "st/manifest.json", "s.npz", "s.npz.manifest.json"]
    manifest = json.loads((tmp_path / "st" / "manifest.json").read_text())
    assert manifest["layers"] == Statistics.load("s.npz").as_dict()["layers"]
    assert manifest["preprocessing"]["assumed"]
    digest = hashlib.sha256(classifier.read_bytes()).hexdigest()
    assert manifest["model"] == {
        "path": str(classifier),
        "sha256": digest,
        "opset": {"": onnx.load(classifier).opset_import[0].version},
    }
    assert manifest["versions"] == {name: version(name) for name in ("onnxviz", "onnx", "onnxruntime", "numpy")}
    assert (manifest["version"], manifest["provider"]) == (1, "cpu")


def test_a_picture_that_cannot_be_read_is_skipped_and_said(run_command, classifier, folder):
    (folder / "c.png").write_bytes(b"nothing")
    ran = run_command("stats", classifier, folder, "--json")
    assert ran.code == 1
    assert ran.document["images"] == 2
    assert [one["input"] for one in ran.document["failed"]] == ["c.png"]
    assert "skipped c.png" in ran.err
    assert "1 of 3 inputs could not be used" in ran.err


def test_nothing_that_can_be_read(run_command, classifier, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    assert "none of 1 inputs could be used" in error_of(run_command("stats", classifier, "bad.png"))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--format", "svg"], "nothing is drawn without --output: leave out --format"),
        (["-o", "st.png"], "statistics are drawn into a folder: st.png looks like a file"),
        (["--save", "s.txt"], "not as s.txt"),
        (["--layers", "nothing"], "no layer"),
        (["--extremes", "--json"], "--json names them anyway: leave out --extremes"),
        (["--memory", "1KiB"], "a memory budget of 1,024 bytes is too small; give 1 MiB or more"),
    ],
)
def test_refusals(run_command, classifier, photo, tmp_path, arguments, match):
    before = files_in(tmp_path)
    assert match in error_of(run_command("stats", classifier, photo, *arguments))
    assert files_in(tmp_path) == before
