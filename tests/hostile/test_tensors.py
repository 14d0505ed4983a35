"""Tensors that lie about themselves, and files of weights that lie elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile import array, conv, external, graph, info, model, node, sparse, unchecked, weight, write
from hostile_runs import W, refused, works_or_refused
from onnx import TensorProto, helper

pytestmark = [pytest.mark.usefixtures("deadline", "room"), pytest.mark.inference_worker]

# ---------------------------------------------------------------- tensors

BAD_TENSORS = {
    "negative": (unchecked("w", [-2, 3, 3, 3]), "'w'.*negative dimension.*-2x3x3x3"),
    "overflow": (unchecked("w", [2**62, 2**62, 3, 3]), "'w' declares the shape"),
    "overflow to zero": (unchecked("w", [2**32, 2**32, 1]), "'w' declares the shape"),
    "huge": (unchecked("w", [2**41, 1, 1], raw_data=b"abcd"), "'w' declares the shape"),
    "many digits": (unchecked("w", [2**62] * 300), "'w'"),
    "many dimensions": (unchecked("w", [1] * 100, raw_data=bytes(4)), "'w'"),
    "very many dimensions": (unchecked("w", [2**62] * 200_000), "'w'"),
    "huge but empty": (unchecked("w", [0, 2**62, 2**62, 3]), "'w'|weight"),
    "too few bytes": (unchecked("w", W, raw_data=bytes(100)), "2x3x3x3 = 216 bytes but holds 100"),
    "too many bytes": (unchecked("w", W, raw_data=bytes(2000)), "2x3x3x3 = 216 bytes but holds 2,000"),
    "no bytes": (unchecked("w", W), "54 elements but holds 0"),
    "too few floats": (unchecked("w", W, float_data=[1.0] * 53), "54 elements but holds 53"),
    "too many halves": (unchecked("w", W, TensorProto.FLOAT16, int32_data=[1] * 55), "54 elements but holds 55"),
    "wrong field": (unchecked("w", W, TensorProto.DOUBLE, float_data=[1.0] * 54), "54 elements but holds 0"),
    "too few nibbles": (unchecked("w", W, TensorProto.INT4, int32_data=[1] * 26), "54 elements but holds 26"),
    "no type": (unchecked("w", W, 0, raw_data=bytes(216)), "type"),
    "type from the future": (unchecked("w", W, 99, raw_data=bytes(216)), "type"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
@pytest.mark.parametrize("place", ["initializer", "constant", "branch", "function"])
def test_tensors_that_lie(case: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensor, match = BAD_TENSORS[case]
    constant = node("Constant", [], ["w"], value=tensor)
    if place == "initializer":
        made = model([conv()], [tensor])
    elif place == "constant":
        made = model([constant, conv()])
    elif place == "branch":
        branch = graph([conv()], [info("y", None)], initializers=[tensor])
        made = model(
            [node("If", ["true"], ["z"], then_branch=branch, else_branch=branch)], [array("true", True, np.bool_)]
        )
    else:
        opsets = [helper.make_opsetid("", 17)]
        function = helper.make_function("d", "f", ["x"], ["y"], [constant, conv()], opsets)
        made = model([node("f", ["x"], ["y"], domain="d")], domains=["d"], functions=[function])
    refused(capsys, "layers", write(tmp_path, made), match=match)


WEIGHT_RULES: dict[str, onnx.ModelProto] = {
    "string weight": model([conv()], [helper.make_tensor("w", TensorProto.STRING, [2, 1, 1, 1], [b"a", b"b"])]),
    "no filters": model([conv()], [weight("w", (0, 3, 3, 3))]),
    "empty kernel": model([conv()], [weight("w", (2, 3, 0, 0))]),
    "no weight": model([node("Conv", ["x", ""], ["y"])]),
    "undefined weight": model([node("Conv", ["x", "nowhere"], ["y"])]),
    "scale too long": model(
        [node("DequantizeLinear", ["q", "s"], ["w"], axis=0), conv()],
        [array("q", np.zeros(W), np.int8), array("s", np.ones(7))],
    ),
    "axis of a scalar": model(
        [node("DequantizeLinear", ["q", "s"], ["w"]), conv()], [array("q", 1, np.int8), array("s", [1, 2])]
    ),
    "endless block": model(
        [node("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=2**40), conv()],
        [array("q", np.zeros(W), np.int8), array("s", np.zeros(W))],
    ),
    "QLinearConv scale": model(
        [node("QLinearConv", ["x", "s", "z", "w", "ws", "z", "s", "z"], ["y"])],
        [array("s", 1), array("z", 0, np.int8), array("w", np.zeros(W), np.int8), array("ws", np.ones(7))],
    ),
    "ConvInteger zero": model(
        [node("ConvInteger", ["x", "w", "", "z"], ["y"])],
        [array("w", np.zeros(W), np.uint8), array("z", np.ones(7), np.uint8)],
    ),
    "Reshape": model([node("Reshape", ["v", "s"], ["w"]), conv()], [weight("v"), array("s", [7], np.int64)]),
    "Reshape of rank 0": model([node("Reshape", ["v", "s"], ["w"]), conv()], [weight("v"), array("s", 7, np.int64)]),
    "Transpose": model([node("Transpose", ["v"], ["w"], perm=[0, 0, 9, 1]), conv()], [weight("v")]),
    "Cast to nothing": model([node("Cast", ["v"], ["w"], to=99), conv()], [weight("v")]),
    "Cast without to": model([node("Cast", ["v"], ["w"]), conv()], [weight("v")]),
    "Squeeze": model([node("Squeeze", ["v", "s"], ["w"]), conv()], [weight("v"), array("s", [0], np.int64)]),
    "fill of rank 70": model([node("ConstantOfShape", ["s"], ["w"]), conv()], [array("s", [1] * 70, np.int64)]),
    "fill without end": model([node("ConstantOfShape", ["s"], ["w"]), conv()], [array("s", [2**40, 1, 1], np.int64)]),
    "negative fill": model([node("ConstantOfShape", ["s"], ["w"]), conv()], [array("s", [-1, 3, 3, 3], np.int64)]),
    "fill of no length": model([node("ConstantOfShape", ["s"], ["w"]), conv()], [array("s", 3, np.int64)]),
    "fill of half a length": model([node("ConstantOfShape", ["s"], ["w"]), conv()], [array("s", [1.5])]),
    "fill with two values": model(
        [node("ConstantOfShape", ["s"], ["w"], value=array("v", [1, 2])), conv()], [array("s", W, np.int64)]
    ),
    "rank 2": model([conv()], [weight("w", (2, 3))]),
    "rank 0": model([conv()], [array("w", 1.0)]),
    "one input": model([node("Conv", ["x"], ["y"])]),
}


@pytest.mark.parametrize("case", WEIGHT_RULES)
def test_weights_that_cannot_be(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_inference: None
) -> None:
    path = write(tmp_path, WEIGHT_RULES[case])
    works_or_refused(capsys, "layers", path, "--json")
    refused(capsys, "filters", path, match="weight|constant|ConstantOfShape|scale|zero|values|conv")
    refused(capsys, "filters", path, "--save", "w.npz", "-o", "w.png", match="")


@pytest.mark.parametrize("depth", [100, 3000])
def test_weights_behind_a_long_chain(
    depth: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_inference: None
) -> None:
    chain = [node("Identity", [f"i{i}"], [f"i{i + 1}"]) for i in range(depth)]
    made = model([*chain, node("Conv", ["x", f"i{depth}"], ["y"])], [weight("i0")])
    path = write(tmp_path, made)
    works_or_refused(capsys, "layers", path, match="nested too deep|too long|too many|recursion")


def test_constants_that_double_at_each_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_inference: None
) -> None:
    """Each operand is followed twice: without a memory that is 2**60 steps."""
    chain = [node("Reshape", [f"r{i}", f"r{i}"], [f"r{i + 1}"]) for i in range(60)]
    path = write(tmp_path, model([*chain, node("Conv", ["x", "r60"], ["y"])], [array("r0", [1], np.int64)]))
    refused(capsys, "layers", path, match="weight")


SPARSE = {
    "bomb": (sparse("w", [100_000, 100_000, 3, 3]), "sparse tensor 'w'.*100000x100000x3x3"),
    "very many dimensions": (sparse("w", [2**62] * 100_000), "'w'"),
    "rank 70": (sparse("w", [1] * 70), "'w'|dimension"),
    "huge but empty": (sparse("w", [0, 2**62, 2**62, 3]), "'w'"),
    "index outside": (sparse("w", W, at=[1000]), "'w'.*indices outside"),
    "index below zero": (sparse("w", W, at=[-1]), "'w'.*indices outside"),
    "values without indices": (sparse("w", W, values=[1, 2, 3], at=[0]), "'w'"),
}


@pytest.mark.parametrize("case", SPARSE)
@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_sparse_tensors(
    case: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_inference: None
) -> None:
    tensor, match = SPARSE[case]
    if place == "initializer":
        made = model([conv()])
        made.graph.sparse_initializer.append(tensor)
    else:
        made = model([node("Constant", [], ["w"], sparse_value=tensor), conv()])
    path = write(tmp_path, made)
    works_or_refused(capsys, "layers", path, match=match)
    refused(capsys, "filters", path, match=match)


def test_sparse_tensor_of_unknown_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = model([conv()])
    tensor = sparse("w", W)
    tensor.values.data_type = 99
    made.graph.sparse_initializer.append(tensor)
    refused(capsys, "layers", write(tmp_path, made), match="'w'.*type|type.*'w'")


# ---------------------------------------------------------------- external data

ENTRIES: dict[str, tuple[list[tuple[str, str]], str]] = {
    "parent": ([("location", "../outside.bin")], "not a plain relative path"),
    "absolute": ([("location", "/etc/passwd")], "not a plain relative path"),
    "backslash": ([("location", "C:\\w.bin")], "not a plain relative path"),
    "empty": ([("location", "")], "not a plain relative path"),
    "none": ([], "not a plain relative path"),
    "nul": ([("location", "w.bin\0x")], "not a plain relative path"),
    "missing": ([("location", "gone.bin")], "'gone.bin'.*is missing.*beside the model"),
    "escapes": ([("location", "\x1b[31m\n\u202e.bin")], "missing"),
    "long": ([("location", "n" * 5000)], "cannot be read|missing"),
    "folder": ([("location", "sub")], "not a regular file"),
    "symlink": ([("location", "symlink")], "outside.*or is a symbolic link"),
    "symlinked folder": ([("location", "away/outside.bin")], "outside the model's folder"),
    "hard link": ([("location", "hardlink")], "hard links"),
    "fifo": ([("location", "fifo")], "not a regular file"),
    "short": ([("location", "short.bin")], "needs bytes up to 216 .*'short.bin'.* has 100"),
    "empty file": ([("location", "empty.bin")], "has 0"),
    "offset past the end": ([("location", "w.bin"), ("offset", "100")], "needs bytes up to 316"),
    "negative offset": ([("location", "w.bin"), ("offset", "-1")], "offset '-1'"),
    "offset no number": ([("location", "w.bin"), ("offset", "1e3")], "offset '1e3'"),
    "offset superscript": ([("location", "w.bin"), ("offset", "²")], "offset"),
    "offset huge": ([("location", "w.bin"), ("offset", "9" * 30)], "offset|needs bytes"),
    "offset endless": ([("location", "w.bin"), ("offset", "9" * 5000)], "offset|needs bytes"),
    "length too small": ([("location", "w.bin"), ("length", "10")], "216 bytes but holds 10"),
    "negative length": ([("location", "w.bin"), ("length", "-216")], "216 bytes"),
    "length no number": ([("location", "w.bin"), ("length", "216x")], "216 bytes"),
    "length superscript": ([("location", "w.bin"), ("length", "²")], "length|216 bytes"),
    "length endless": ([("location", "w.bin"), ("length", "9" * 5000)], "length|216 bytes"),
    "two locations": ([("location", "w.bin"), ("location", "hardlink")], "'w'"),
    "two offsets": ([("location", "w.bin"), ("offset", "0"), ("offset", "999999")], "'w'"),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_external_data(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path) -> None:
    entries, match = ENTRIES[case]
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "outside.bin").write_bytes(bytes(216))
    (folder / "w.bin").write_bytes(bytes(216))
    (folder / "short.bin").write_bytes(bytes(100))
    (folder / "empty.bin").touch()
    (folder / "symlink").symlink_to(tmp_path / "outside.bin")
    (folder / "away").symlink_to(tmp_path)
    os.link(tmp_path / "outside.bin", folder / "hardlink")
    os.mkfifo(folder / "fifo")
    path = write(folder, model([conv()], [external("w", W, entries=entries)]))
    for arguments in (
        ["layers", path],
        ["maps", path, small_photo],
        ["annotate", path, "--preprocess", "unit", "-o", "o"],
    ):
        refused(capsys, *arguments, match=match)


def test_external_data_of_sparse_and_function_tensors_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = [("location", "../x")]
    made = model([conv()])
    tensor = sparse("w", W)
    tensor.values.CopyFrom(external("w", [1], entries=outside))
    made.graph.sparse_initializer.append(tensor)
    refused(capsys, "layers", write(tmp_path, made), match="plain relative path")
    constant = node("Constant", [], ["w"], value=external("t", W, entries=outside))
    function = helper.make_function("d", "f", ["x"], ["y"], [constant, conv()], [helper.make_opsetid("", 17)])
    made = model([node("f", ["x"], ["y"], domain="d")], domains=["d"], functions=[function])
    refused(capsys, "layers", write(tmp_path, made), match="plain relative path")


@pytest.mark.parametrize("data_type", [TensorProto.STRING, 99])
def test_external_data_of_a_type_that_cannot_be(
    data_type: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    path = write(tmp_path, model([conv()], [external("w", W, data_type, [("location", "w.bin")])]))
    refused(capsys, "filters", path, match="'w'.*type|type.*'w'")
