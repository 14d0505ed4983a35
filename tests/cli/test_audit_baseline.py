"""`onnxviz audit` with baselines and golden vectors: read first, written whole or not at all; faults are one line."""

from __future__ import annotations

import json
import time

import numpy as np
import onnx
import pytest
from audits import registered
from protos import classifier_proto

from onnxviz.auditing.baseline import Baseline
from onnxviz.auditing.golden import Golden

SELECT = ["--select", "W02,R01,R02,R03"]


@pytest.fixture
def dead(tmp_path):
    """The classifier with a filter of zeros in its first layer, in the test's folder."""
    proto = classifier_proto()
    values = onnx.numpy_helper.to_array(proto.graph.initializer[0]).copy()
    values[2] = 0
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, proto.graph.initializer[0].name))
    onnx.save(proto, tmp_path / "dead.onnx")
    return "dead.onnx"


def test_from_release_to_release(run_command, classifier, dead, tmp_path):
    ran = run_command("audit", "classifier.onnx", *SELECT, "--write-baseline", "r.baseline", "--write-golden", "golden")
    assert ran.code == 0, ran
    assert ran.lines[-2:] == ["r.baseline", "golden"]
    same = run_command("audit", "classifier.onnx", *SELECT, "--baseline", "r.baseline", "--golden", "golden")
    assert same.code == 0, same
    assert "✓ passes: no findings" in same.out
    assert "since the baseline, no finding is new or gone" in same.out
    other = run_command("audit", dead, *SELECT, "--baseline", "r.baseline", "--golden", "golden")
    text = " ".join(other.out.split())
    assert "since the baseline, 1 finding new: W02 block1_conv1, channel 2" in text
    assert "R01 block1_conv1 1 of 6 filters moved" in text
    assert "R02" in text
    # One file is read first, then written.
    again = run_command("audit", dead, *SELECT, "--baseline", "r.baseline", "--write-baseline", "r.baseline")
    assert "1 finding new" in " ".join(again.out.split())
    healed = run_command("audit", "classifier.onnx", *SELECT, "--baseline", "r.baseline")
    assert "since the baseline, 1 finding gone: W02 block1_conv1, channel 2" in " ".join(healed.out.split())
    assert Baseline.load(tmp_path / "r.baseline").models[0].label == dead


def test_every_format_says_it(run_command, classifier, dead, tmp_path):
    run_command("audit", "classifier.onnx", *SELECT, "--write-baseline", "r.baseline")
    found = run_command("audit", dead, *SELECT, "--baseline", "r.baseline", "--json")
    (entry,) = found.document["models"]
    assert [one["code"] for one in entry["since_baseline"]["new"]] == ["W02"]
    assert entry["since_baseline"]["gone"] == []
    assert entry["since_baseline"]["path"] == "classifier.onnx"
    markdown = run_command("audit", dead, *SELECT, "--baseline", "r.baseline", "--format", "markdown").out
    assert "New since the baseline:\n\n* W02 `block1_conv1, channel 2`: 1 of 6 filters are dead" in markdown
    assert "Gone" not in markdown


def test_several_models_in_one_file(run_command, classifier, dead, tmp_path):
    ran = run_command("audit", "classifier.onnx", dead, *SELECT, "--write-baseline", "all.baseline", "--jobs", "2")
    assert ran.code == 0, ran
    assert [one.label for one in Baseline.load(tmp_path / "all.baseline").models] == ["classifier.onnx", "dead.onnx"]
    ran = run_command("audit", dead, "classifier.onnx", *SELECT, "--baseline", "all.baseline", "--json")
    for entry in ran.document["models"]:
        assert (entry["since_baseline"]["new"], entry["since_baseline"]["gone"]) == ([], [])
        assert "R01" in entry["passed"]
    onnx.save(classifier_proto(), tmp_path / "more.onnx")
    ran = run_command("audit", "more.onnx", *SELECT, "--baseline", "all.baseline")
    assert ran.code == 2
    assert ran.err == (
        "error: all.baseline holds no baseline of more.onnx; it holds those of classifier.onnx, dead.onnx\n"
    )


def test_a_model_that_cannot_be_audited_leaves_the_old_baseline(run_command, classifier, dead, tmp_path):
    run_command("audit", "classifier.onnx", *SELECT, "--write-baseline", "r.baseline")
    before = (tmp_path / "r.baseline").read_bytes()
    (tmp_path / "broken.onnx").write_bytes(b"")
    ran = run_command("audit", dead, "broken.onnx", *SELECT, "--write-baseline", "r.baseline")
    assert ran.code == 2
    assert ran.err == "error: r.baseline was not written: broken.onnx could not be audited\n"
    assert "G00" in ran.out
    assert (tmp_path / "r.baseline").read_bytes() == before


def test_a_model_that_takes_too_long_leaves_the_old_vectors(run_command, classifier, tmp_path):
    """Its process is killed; neither here nor in the temporary folder is anything left."""
    arguments = ("audit", "classifier.onnx", "--select", "Z", "--write-golden", "golden")

    def hang(subject):
        time.sleep(60)
        yield

    assert run_command(*arguments[:2], "--select", "W01", *arguments[4:]).code == 0
    before = {one: one.read_bytes() for one in (tmp_path / "golden").rglob("*") if one.is_file()}
    with registered("Z01", hang):
        ran = run_command(*arguments, "--timeout", "1")
    assert ran.code == 2
    assert ran.err == "error: golden was not written: classifier.onnx could not be audited\n"
    assert {one: one.read_bytes() for one in (tmp_path / "golden").rglob("*") if one.is_file()} == before
    assert {one.name for one in tmp_path.iterdir()} == {"classifier.onnx", "golden"}


def test_golden_vectors_are_of_the_data(run_command, classifier, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(3, 3, 16, 12)).astype(np.float32))
    ran = run_command("audit", "classifier.onnx", "--data", "x.npy", "--select", "R02", "--write-golden", "golden")
    assert ran.code == 0, ran
    found = Golden.load(tmp_path / "golden")
    assert len(found.vectors) == 3
    assert np.array_equal(
        np.concatenate([one.inputs["image"] for one in found.vectors]), np.load(tmp_path / "x.npy")
    )  # fmt: skip
    assert json.loads((tmp_path / "golden" / "golden.json").read_text())["model"]["path"] == "classifier.onnx"


def test_golden_vectors_of_an_open_size_need_data(run_command, tmp_path):
    onnx.save(classifier_proto(("height", "width")), tmp_path / "open.onnx")
    ran = run_command("audit", "open.onnx", "--select", "W01", "--write-golden", "golden")
    assert ran.code == 2
    assert ran.err.startswith("error: no golden vectors can be made for --write-golden: input 'image' of open.onnx is ")
    assert "give data, or --size HxW" in ran.err
    ran = run_command("audit", "open.onnx", "--select", "W01", "--write-golden", "golden", "--size", "20x20")
    assert ran.code == 0, ran
    assert Golden.load(tmp_path / "golden").vectors[0].inputs["image"].shape == (1, 3, 20, 20)


def test_one_line_for_what_cannot_be_meant(run_command, classifier, dead, tmp_path):
    (tmp_path / "text").write_text("no baseline")
    (tmp_path / "folder").mkdir()
    for arguments, words in (
        (["--baseline", "text"], "text is no baseline, or was cut short: --write-baseline makes one"),
        (["--baseline", "nowhere"], "there is no file nowhere: --write-baseline makes one"),
        (["--golden", "nowhere"], "there is no folder nowhere of golden vectors: --write-golden makes one"),
        (["--golden", "folder"], "folder holds no golden vectors (golden.json is not there)"),
        (["--write-baseline", "folder"], "folder cannot be written: it is a folder"),
        (["--write-golden", "text"], "text cannot be written: it is a file, not a folder"),
        ([dead, "--write-golden", "golden"], "golden vectors (golden) are of one model, and 2 are audited: name one"),
    ):
        ran = run_command("audit", "classifier.onnx", *SELECT, *arguments)
        assert ran.code == 2, ran
        assert ran.err.startswith("error: ")
        assert words in ran.err
        assert len(ran.err.splitlines()) == 1
    assert {one.name for one in tmp_path.iterdir()} == {"classifier.onnx", "dead.onnx", "folder", "text"}
