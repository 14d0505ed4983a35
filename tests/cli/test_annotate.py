"""`onnxviz annotate`: the note, and everything else as it was."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import PHOTO, RNG, error_of, files_in, holds, noted, truth
from protos import classifier_proto


def outputs(path, array):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": array})[0]


@pytest.mark.parametrize("in_place", [False, True])
def test_annotate_keeps_everything_else(run_command, classifier, tmp_path, in_place):
    before = onnx.load(classifier)
    content = classifier.read_bytes()
    array = RNG.random((2, 3, 16, 12), np.float32)
    expected = outputs(classifier, array)
    target = classifier if in_place else tmp_path / "new.onnx"
    ran = run_command("annotate", classifier, "--preprocess", "torch", "-o", target)
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines == [str(target)]
    if not in_place:
        assert classifier.read_bytes() == content
    assert outputs(target, array).tobytes() == expected.tobytes()
    after = onnx.load(target)
    onnx.checker.check_model(after, full_check=True)
    note = {entry.key: entry.value for entry in after.metadata_props}
    assert list(note) == ["onnxviz.preprocessing"]
    assert json.loads(note["onnxviz.preprocessing"])["mean"] == [0.485, 0.456, 0.406]
    del after.metadata_props[:]
    assert after == before  # weights, names, order, producer: all
    assert files_in(tmp_path) == (["classifier.onnx"] if in_place else ["classifier.onnx", "new.onnx"])


def test_annotate_replaces_its_own_note_and_keeps_others(run_command, tmp_path):
    path = noted(tmp_path / "m.onnx", "kept", key="author")
    for name in ("torch", "caffe"):
        assert run_command("annotate", path, "--preprocess", name, "-o", path).code == 0
    note = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert set(note) == {"author", "onnxviz.preprocessing"}
    assert note["author"] == "kept"
    assert json.loads(note["onnxviz.preprocessing"])["name"] == "caffe"
    assert len(onnx.load(path).metadata_props) == 2


def test_what_annotate_wrote_is_what_maps_uses(run_command, classifier, photo, tmp_path):
    written = run_command("annotate", classifier, "--preprocess", "scale=0.5,mean=1:2:3", "-o", "a.onnx", "--json")
    assert written.document["preprocessing"]["scale"] == 0.5
    assert written.document["files"] == ["a.onnx"]
    assert run_command("layers", "a.onnx", "--json").document["preprocessing"] == written.document["preprocessing"]
    ran = run_command("maps", "a.onnx", photo, "--layers", "0", "--save", "m.npz", "--json")
    assert (ran.code, ran.err) == (0, "")  # nothing was assumed
    holds(ran.document["preprocessing"], {"name": "custom", "assumed": False, "mean": [1, 2, 3]})
    (expected,) = truth((PHOTO * 0.5 - np.array([1, 2, 3])).transpose(2, 0, 1)[None], ["r1"])
    with np.load(tmp_path / "m.npz") as archive:
        np.testing.assert_allclose(archive["block1_conv1"], expected, rtol=1e-3, atol=1e-3)


def test_annotate_takes_external_data_along(run_command, tmp_path):
    proto = classifier_proto()
    (tmp_path / "in").mkdir()
    onnx.save(proto, tmp_path / "in" / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "out").mkdir()
    array = RNG.random((1, 3, 16, 12), np.float32)
    expected = outputs(tmp_path / "in" / "m.onnx", array)
    assert run_command("annotate", "in/m.onnx", "--preprocess", "unit", "-o", "out/m.onnx").code == 0
    shutil.rmtree(tmp_path / "in")
    assert outputs(tmp_path / "out" / "m.onnx", array).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preprocess", "nope", "-o", "a.onnx"], "'nope'"),
        (["--preprocess", "auto", "-o", "a.onnx"], "'auto'"),
        (["--preprocess", "unit", "-o", "nowhere/a.onnx"], "nowhere"),
        (["--preprocess", "unit", "-o", "."], "folder"),
    ],
)
def test_errors_of_annotate_write_nothing(run_command, classifier, tmp_path, options, said):
    content = classifier.read_bytes()
    assert said in error_of(run_command("annotate", classifier, *options))
    assert files_in(tmp_path) == ["classifier.onnx"]
    assert classifier.read_bytes() == content
