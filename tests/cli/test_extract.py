"""`onnxviz extract`: the part, what is said of it, and errors that write nothing."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import RNG, error_of, files_in
from hostile_runs import process
from oracles import untouched
from protos import classifier_proto
from specimens import vgg16


def test_the_part_and_what_is_said_of_it(run_command, classifier, tmp_path):
    ran = run_command("extract", classifier, "block1_conv2", "-o", "part.onnx")
    assert (ran.code, ran.err) == (0, "")
    count = 6 * 3 * 9 + 6 + 8 * 6 * 9 + 8
    assert ran.lines == ["part.onnx", f"{count} parameters: image batch×3×16×12 to r2 batch×8×16×12"]
    array = RNG.random((2, 3, 16, 12), np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "part.onnx", providers=["CPUExecutionProvider"])
    expected = untouched(classifier_proto(), ["r2"], {"image": array})["r2"]
    np.testing.assert_allclose(session.run(None, {"image": array})[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.dear
def test_the_rest_of_a_large_model_is_never_in_memory(tmp_path, room):
    """VGG16, 553 MB: peaks of the whole process beyond the weights that stay, measured at 55 to 58 MB."""
    onnx.save(vgg16(zeros=True), "vgg16.onnx")
    for layer, parameters, size in (("block1_conv1", "1,792", 1), ("block5_conv3", "14,714,688", 59)):
        code, out, err, peak = process("extract", "vgg16.onnx", layer, "-o", "part.onnx")
        assert (code, err) == (0, "")
        assert f"{parameters} parameters: image batch×224×224×3 to {layer}/relu batch×" in out
        assert Path("part.onnx").stat().st_size < (size + 1) * 1e6
        assert peak < (size + 150) * 1e6, f"{peak / 1e6:.0f} MB"


def test_it_is_called_as_the_pictures_of_the_layer_unless_told(run_command, classifier, tmp_path):
    ran = run_command("extract", classifier, "0", "block1_conv2", "--json")
    assert ran.document["files"] == ["001-block1_conv2.onnx"]
    assert [one["name"] for one in ran.document["outputs"]] == ["r1", "r2"]
    assert [one["name"] for one in ran.document["layers"]] == ["block1_conv1", "block1_conv2"]
    assert "001-block1_conv2.onnx" in files_in(tmp_path)


def test_what_was_extracted_is_a_model_for_every_command(run_command, classifier, photo, tmp_path):
    run_command("annotate", classifier, "--preprocess", "torch", "-o", "noted.onnx")
    assert run_command("extract", "noted.onnx", "block1_conv2", "-o", "part.onnx").code == 0
    for name in ("noted.onnx", "part.onnx"):
        ran = run_command("maps", name, photo, "--layers", "block1_conv2", "--save", f"{name}.npz", "--json")
        assert (ran.code, ran.err) == (0, "")
        assert ran.document["preprocessing"]["name"] == "torch"
    whole, part = (np.load(tmp_path / f"{name}.npz")["block1_conv2"] for name in ("noted.onnx", "part.onnx"))
    np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nope"], "no layer is called 'nope'"),
        (["0", "--from", "1"], "'block1_conv1' does not follow 'block1_conv2'"),
        (["0", "-o", "no/such/folder.onnx"], "no/such"),
        (["0", "--at", "middle"], "middle"),
        ([], "LAYER"),
    ],
)
def test_errors_write_nothing(run_command, classifier, tmp_path, options, said):
    before = files_in(tmp_path)
    assert said in error_of(run_command("extract", classifier, *options))
    assert files_in(tmp_path) == before
