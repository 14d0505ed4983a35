"""Golden vectors on disk: ONNX test data that onnx itself reads, of the answers that onnxruntime alone gives."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from planted import MODELS
from planted_images import crop_inputs, crops
from protos import normal, one_conv_proto, parsed, two_inputs_proto

import onnxviz
from onnxviz.auditing.golden import HEAD, Golden
from onnxviz.comparison.reading import Precision
from onnxviz.errors import InputError, OnnxvizError

CLASSIFIER = MODELS / "classifier.onnx"


def read(path) -> np.ndarray:
    return onnx.numpy_helper.to_array(onnx.load_tensor(path))


@pytest.fixture
def folder(tmp_path):
    return Golden.of(CLASSIFIER, crop_inputs(3)).save(tmp_path / "golden")


def test_onnx_reads_them_and_onnxruntime_answers_so(folder):
    session = onnxruntime.InferenceSession(CLASSIFIER, providers=["CPUExecutionProvider"])
    inputs = crop_inputs(3)
    for number in range(3):
        place = folder / f"test_data_set_{number}"
        assert sorted(one.name for one in place.iterdir()) == ["input_0.pb", "output_0.pb"]
        assert np.array_equal(read(place / "input_0.pb"), inputs[number : number + 1])
        assert onnx.load_tensor(place / "input_0.pb").name == "image"
        (logits,) = session.run(None, {"image": inputs[number : number + 1]})
        assert np.abs(read(place / "output_0.pb") - logits).max() < 1e-5 * np.ptp(logits)
    document = json.loads((folder / HEAD).read_text())
    assert document["model"]["sha256"] == onnxviz.load(CLASSIFIER).sha256
    assert document["provider"] == "cpu"
    assert document["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["batch", 3, 96, 96]}]
    assert [one["folder"] for one in document["vectors"]] == [f"test_data_set_{number}" for number in range(3)]


def test_read_again(folder):
    made, again = Golden.of(CLASSIFIER, crop_inputs(3)), Golden.load(folder)
    assert again.precision is Precision.FULL
    assert again.path == str(folder)
    assert (again.inputs, again.outputs) == (made.inputs, made.outputs)
    for one, other in zip(made.vectors, again.vectors, strict=True):
        assert one.label == other.label
        assert np.array_equal(one.inputs["image"], other.inputs["image"])
        assert np.array_equal(one.outputs["logits"], other.outputs["logits"])


def test_eight_of_many_photos_are_taken_evenly(tmp_path):
    paths = crops(tmp_path, 20)
    found = Golden.of(CLASSIFIER, paths)
    assert [one.label for one in found.vectors] == [f"crop{20 * place // 8:02}.png" for place in range(8)]


def test_noise_without_data_and_every_input():
    found = Golden.of(two_inputs_proto())
    assert len(found.vectors) == 8
    assert {*found.vectors[0].inputs} == {one.name for one in onnxviz.load(two_inputs_proto()).inputs}
    assert not np.array_equal(*(next(iter(one.inputs.values())) for one in found.vectors[:2]))


def test_a_fixed_batch_is_whole(tmp_path):
    """What is kept is what a device is fed: all rows."""
    proto = parsed("g (float[4,3,8,8] x) => (float[4,2,6,6] y) { y = Conv (x, w) }", w=normal(2, 3, 3, 3))
    found = Golden.of(proto, normal(1, 3, 8, 8))
    assert found.vectors[0].inputs["x"].shape == (4, 3, 8, 8)
    assert found.vectors[0].outputs["y"].shape == (4, 2, 6, 6)
    found.check_fits(onnxviz.load(proto))


OTHERS = {
    "input": (one_conv_proto((1, 3, 96, 96)), "it has the inputs x, and the vectors are of image"),
    "output": (
        parsed("g (float[n,3,96,96] image) => (float[n,2,94,94] y) { y = Conv (image, w) }", w=normal(2, 3, 3, 3)),
        "it has the outputs y, and the vectors are of logits",
    ),
    "type": (
        parsed("g (float16[n,3,96,96] image) => (float16[n,k] logits) { logits = Flatten (image) }"),
        "its input 'image' is nx3x96x96 float16, and the vectors hold 1x3x96x96 float32",
    ),
    "size": (
        parsed("g (float[n,3,64,64] image) => (float[n,k] logits) { logits = Flatten (image) }"),
        "its input 'image' is nx3x64x64 float32, and the vectors hold 1x3x96x96 float32",
    ),
    "classes": (
        parsed("g (float[n,3,96,96] image) => (float[n,9] logits) { logits = Flatten (image) }"),
        "its output 'logits' is nx9 float32, and the vectors hold 1x11 float32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_interface_is_refused_with_one_line(folder, name):
    proto, words = OTHERS[name]
    with pytest.raises(InputError) as error:
        onnxviz.audit(proto, golden=folder, select=["R02"])
    assert words in str(error.value)
    assert str(error.value).startswith(f"{folder} cannot be replayed on ")
    assert "\n" not in str(error.value)


def later(folder):
    document = json.loads((folder / HEAD).read_text())
    (folder / HEAD).write_text(json.dumps({**document, "golden": 2}))


def outside(folder):
    """A tensor whose bytes lie in another file."""
    path = folder / "test_data_set_0" / "input_0.pb"
    tensor = onnx.load_tensor(path)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    path.write_bytes(tensor.SerializeToString())


BROKEN = {
    "later": (later, "holds golden vectors of version 2, written by a later onnxviz; this one reads version 1"),
    "no JSON": (lambda folder: (folder / HEAD).write_text("{"), "holds broken golden vectors: JSONDecodeError"),
    "empty": (lambda folder: (folder / HEAD).write_text("{}"), "holds broken golden vectors: KeyError"),
    "a file less": (
        lambda folder: (folder / "test_data_set_1" / "output_0.pb").unlink(),
        "holds broken golden vectors: FileNotFoundError",
    ),
    "no tensor": (
        lambda folder: (folder / "test_data_set_1" / "output_0.pb").write_bytes(b"\xff\xff"),
        "holds broken golden vectors: DecodeError",
    ),
    "outside": (outside, "holds broken golden vectors: test_data_set_0/input_0.pb does not hold the tensor 'image'"),
    "no head": (lambda folder: (folder / HEAD).unlink(), "holds no golden vectors (golden.json is not there)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_line(folder, name):
    change, words = BROKEN[name]
    change(folder)
    with pytest.raises(InputError) as error:
        Golden.load(folder)
    assert str(error.value).startswith(f"{folder} {words}")
    assert "\n" not in str(error.value)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"there is no folder .*nowhere of golden vectors"):
        Golden.load(tmp_path / "nowhere")


def test_a_folder_of_them_is_replaced_and_no_other(folder, tmp_path):
    Golden.of(CLASSIFIER, crop_inputs(1)).save(folder)
    assert len(Golden.load(folder).vectors) == 1
    assert sorted(one.name for one in folder.iterdir()) == [HEAD, "test_data_set_0"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(OnnxvizError, match="mine cannot be written: it holds other files; name a new folder"):
        Golden.load(folder).save(tmp_path / "mine")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OnnxvizError, match="file cannot be written: it is a file, not a folder"):
        Golden.load(folder).save(tmp_path / "file")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "golden", "mine"]


def test_what_cannot_be_written_leaves_the_old(folder, tmp_path, monkeypatch):
    made = Golden.load(folder)
    before = {one: one.read_bytes() for one in folder.rglob("*.pb")}

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OnnxvizError, match="golden cannot be written: No space left"):
        made.save(folder)
    monkeypatch.undo()
    assert {one: one.read_bytes() for one in folder.rglob("*.pb")} == before
    assert [one.name for one in tmp_path.iterdir()] == ["golden"]
