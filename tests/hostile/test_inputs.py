"""Inputs of a model that no picture fits: odd types, sequences, several, none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile import array, conv, info, model, node, small, weight
from hostile_inputs import FITS, PNG, RGB, encoded, maps, npy, refused
from onnx import TensorProto, helper

pytestmark = pytest.mark.usefixtures("deadline", "room")


@pytest.mark.parametrize(
    "data_type",
    [TensorProto.STRING, TensorProto.BOOL, TensorProto.COMPLEX64, TensorProto.BFLOAT16, TensorProto.INT4,
     TensorProto.FLOAT8E4M3FN, 0, 99],
)  # fmt: skip
def test_inputs_of_odd_types(data_type: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = small()
    made.graph.input[0].type.tensor_type.elem_type = data_type
    (tmp_path / "x.png").write_bytes(PNG)
    (tmp_path / "x.npy").write_bytes(npy(FITS))
    (tmp_path / "s.npy").write_bytes(npy(np.full((1, 3, 8, 8), "a")))
    for name in ("x.png", "x.npy", "s.npy"):
        refused(capsys, tmp_path, tmp_path / name, made=made, match="type|onnxruntime cannot run|image")


def test_integer_inputs_take_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.png").write_bytes(encoded(RGB.resize((8, 8)), "PNG"))
    (tmp_path / "x.npy").write_bytes(npy(FITS))
    for data_type in (TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64):
        nodes = [node("Cast", ["x"], ["f"], to=1), node("Conv", ["f", "c.weight"], ["y"])]
        made = model(nodes, [weight("c.weight")], [info("x", [1, 3, 8, 8], data_type)])
        assert maps(tmp_path, tmp_path / "x.png", made=made) == 0
        assert np.load("maps.npz")["c"].std() > 1  # 0…255, not 0…1 rounded
        for path in Path.cwd().iterdir():
            path.unlink()
        capsys.readouterr()
        refused(capsys, tmp_path, tmp_path / "x.npy", made=made, match="type float32; input 'x' takes u?int")


def test_sequences_and_optionals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [1, 3, 8, 8])
    sequence = onnx.ValueInfoProto(name="s", type=helper.make_sequence_type_proto(tensor))
    optional = onnx.ValueInfoProto(name="s", type=helper.make_optional_type_proto(tensor))
    (tmp_path / "x.png").write_bytes(PNG)
    (tmp_path / "x.npy").write_bytes(npy(FITS))
    at = array("i", 0, np.int64)
    for value, first in (
        (sequence, node("SequenceAt", ["s", "i"], ["x"])),
        (optional, node("OptionalGetElement", ["s"], ["x"])),
    ):
        made = model([first, conv()], [weight(), at], [value])
        for name in ("x.png", "x.npy") if value is sequence else ("x.png",):  # an array is a fine optional
            refused(capsys, tmp_path, tmp_path / name, made=made, match="'s'|onnxruntime cannot run|could not run")


def test_outputs_that_are_sequences_can_be_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = small()
    made.graph.node.append(node("SequenceConstruct", ["x", "y"], ["both"]))
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    made.graph.output.append(onnx.ValueInfoProto(name="both", type=kind))
    (tmp_path / "x.png").write_bytes(PNG)
    assert maps(tmp_path, tmp_path / "x.png", made=made, options=("--verify",)) in (0, 2)
    assert len(capsys.readouterr().err.splitlines()) <= 1


def test_several_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = model(
        [node("Add", ["x", "z"], ["a"]), node("Conv", ["a", "w"], ["y"])],
        [weight()],
        [info("x", [1, 3, 8, 8]), info("z", [1, 3, 8, 8])],
    )
    image = tmp_path / "x.png"
    image.write_bytes(PNG)
    (tmp_path / "bad.npy").write_bytes(npy(np.zeros((1, 3, 8, 9), np.float32)))
    for given, match in (
        ([image], r"2 inputs \(x, z\): give each as NAME=PATH"),
        ([f"x={image}"], "also needs z"),
        ([f"q={image}"], "no input called 'q'; it has x, z"),
        ([f"x={image}", image], "either every input is given as NAME=PATH, or none|2 inputs"),
        ([f"x={image}", f"z={tmp_path}/none.png"], "there is no file"),
        ([f"x={image}", f"z={tmp_path}/bad.npy"], "shape 1x3x8x9; input 'z' takes 1x3x8x8"),
    ):
        refused(capsys, tmp_path, *given, made=made, match=match)
    assert maps(tmp_path, f"x={image}", f"z={image}", made=made) == 0


def test_model_without_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = model([conv()], [weight(), array("x", FITS)], [])
    (tmp_path / "x.png").write_bytes(PNG)
    refused(capsys, tmp_path, tmp_path / "x.png", made=made, match=r"has 0 inputs|no inputs")
