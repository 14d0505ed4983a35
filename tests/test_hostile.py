"""Models that a stranger made to break the reader: each works, or is refused in one line and leaves nothing behind."""

# ruff: noqa: F401, F811 - fixtures are imported, and asked for by name
from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hostile import (
    UNSAFE,
    aborting,
    array,
    conv,
    deadline,
    doubling_functions,
    endless_loop,
    external,
    graph,
    info,
    model,
    nested_ifs,
    node,
    recursive_function,
    renamed,
    room,
    small,
    sparse,
    unchecked,
    weight,
    write,
)
from onnx import TensorProto, helper
from PIL import Image

import onnxviz
from onnxviz.cli import run

LONGEST_LINE = 1200
MEMORY = 1500 * 2**20


@pytest.fixture
def no_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker for shapes returns the model as it got it: starting it costs half a second."""

    def echo(*arguments: Any, input: bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(arguments, 0, input, b"")

    monkeypatch.setattr("onnxviz.shapes.subprocess.run", echo)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return path


def there(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*"))
    return {ascii(str(p)): p.read_bytes() if stat.S_ISREG(p.lstat().st_mode) else b"" for p in found}


def assert_one_error(text: str, match: str) -> None:
    assert text.startswith("error: "), ascii(text)
    assert text.endswith("\n")
    assert text.count("\n") == 1, ascii(text)
    assert not UNSAFE.search(text), ascii(text)
    assert len(text) <= LONGEST_LINE, f"{len(text)} characters"
    assert re.search(match, text), ascii(text)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, match: str) -> str:
    """Exit code 2, one line that says `match`, and the current folder as it was."""
    before = there(Path.cwd())
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 2, (code, ascii(err))
    assert_one_error(err, match)
    assert out == ""
    assert there(Path.cwd()) == before
    return err


def accepted(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, str]:
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 0, ascii(err)
    assert not UNSAFE.search(out + err), ascii(out + err)
    return out, err


def works_or_refused(capsys: pytest.CaptureFixture[str], *arguments: object, match: str = "") -> bool:
    before = there(Path.cwd())
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code in (0, 2), (code, ascii(err))
    if code == 2:
        assert_one_error(err, match)
        assert there(Path.cwd()) == before
    assert not UNSAFE.search(out + err), ascii(out + err)
    return code == 0


def process(
    *arguments: object, seconds: float = 15, setup: Callable[[], None] | None = None, **options: Any
) -> tuple[int, str, str, int]:
    """Exit code, stdout, stderr and the largest resident memory in bytes of the command in a process of its own."""
    files = [open(name, "w+b") for name in ("../stdout", "../stderr")]  # noqa: SIM115, PTH123

    def prepare() -> None:
        os.setsid()
        if setup is not None:
            setup()

    command = [sys.executable, "-c", "from onnxviz.cli import main; main()", *map(str, arguments)]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, preexec_fn=prepare, **{"stdout": files[0], "stderr": files[1], **options}
    )
    end = time.monotonic() + seconds
    while True:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            os.killpg(child.pid, signal.SIGKILL)
            os.wait4(child.pid, 0)
            child.returncode = -9
            for file in files:
                file.close()
            pytest.fail(f"took more than {seconds} s")
        time.sleep(0.01)
    child.returncode = os.waitstatus_to_exitcode(status)
    texts = []
    for file in files:
        file.seek(0)
        texts.append(file.read().decode(errors="replace"))
        file.close()
    return child.returncode, texts[0], texts[1], usage.ru_maxrss * 1024


def bounded(*arguments: object, match: str = "", seconds: float = 15) -> int:
    """The command works or is refused, in bounded time and memory."""
    before = there(Path.cwd())
    code, _, err, memory = process(*arguments, seconds=seconds)
    assert code in (0, 2), (code, ascii(err))
    if code == 2:
        assert_one_error(err, match)
        assert there(Path.cwd()) == before
    assert memory < MEMORY, f"{memory >> 20} MiB"
    return code


# ---------------------------------------------------------------------------------------------------- not a model

NOT_MODELS = {
    "empty": (b"", "is empty"),
    "cut in a tag": (small().SerializeToString()[:1], "truncated"),
    "cut in the graph": (small().SerializeToString()[:60], "truncated.* at byte .* of 60"),
    "cut in the weight": (small().SerializeToString()[:-80], "truncated"),
    "cut at the end": (small().SerializeToString()[:-1], "truncated"),
    "random": (random.Random(3).randbytes(4000), "not an ONNX model"),
    "zeros": (bytes(4000), "not an ONNX model"),
    "text": (b"hello, this is a readme\n" * 9, "not an ONNX model"),
    "html": (b"\n<!DOCTYPE html><html>404", "HTML page"),
    "html with a mark": (b"\xef\xbb\xbf<html>", "HTML page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git-LFS pointer.*git lfs pull"),
    "keras": (b"PK\x03\x04" + bytes(99), "zip archive.*convert"),
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5.*convert"),
    "xml": (b"<?xml version='1.0'?>", "XML"),
    "json": (b'{"a": 1}', "JSON"),
    "no graph": (onnx.ModelProto(ir_version=8).SerializeToString(), "has no graph"),
    "number of 11 bytes": (b"\x08" + b"\xff" * 11, "longer than 64 bits"),
    "nodes": (b"\x08\x08\x3a\x84\xf9\x7a" + b"\x0a\x00" * 1_007_170, "more than 200,000 nodes"),
}


@pytest.mark.parametrize("case", NOT_MODELS)
@pytest.mark.parametrize("command", ["layers", "annotate"])
def test_not_a_model(case: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, match = NOT_MODELS[case]
    rest = ["--preprocess", "unit", "-o", "out.onnx"] if command == "annotate" else []
    refused(capsys, command, write(tmp_path, data), *rest, match=match)


def test_not_a_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    for name, match in (
        ("fifo", "not a regular file"),
        ("loop", "loop|symbolic"),
        ("", "is a folder"),
        ("none.onnx", "there is no file"),
        ("file/x.onnx", "there is no file|cannot be read"),
        ("n" * 300, "cannot be read|there is no file"),
    ):
        refused(capsys, "layers", f"{tmp_path}/{name}", match=match)


def test_models_given_as_bytes_are_refused_without_leaving_a_folder() -> None:
    for data, match in NOT_MODELS.values():
        with pytest.raises(onnxviz.ModelError, match=match):
            onnxviz.load(data)
    with pytest.raises(onnxviz.ModelError, match=r"in memory|no file|missing|outside|plain"):
        onnxviz.load(model([conv()], [external("w", [2, 3, 3, 3], entries=[("location", "../x")])]))


# -------------------------------------------------------------------------------------------------------- tensors

W = [2, 3, 3, 3]
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


# -------------------------------------------------------------------------------------------------- external data

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
def test_external_data(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path) -> None:
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
    for arguments in (["layers", path], ["maps", path, photo], ["annotate", path, "--preprocess", "unit", "-o", "o"]):
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


# --------------------------------------------------------------------------------------------------------- graphs

GEOMETRY = {
    "group 0": ({"group": 0}, "Conv 'conv' has group 0"),
    "group below zero": ({"group": -1}, "group -1"),
    "group that does not divide": ({"group": 5}, "2 output channels in 5 groups"),
    "stride 0": ({"strides": [0, 0]}, r"strides \[0, 0\]"),
    "stride below zero": ({"strides": [-1, 1]}, "strides"),
    "too many strides": ({"strides": [1, 1, 1]}, "3 strides for 2 spatial axes"),
    "dilation 0": ({"dilations": [0, 0]}, "dilations"),
}


@pytest.mark.parametrize("case", GEOMETRY)
def test_geometry(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attributes, match = GEOMETRY[case]
    refused(capsys, "layers", write(tmp_path, model([conv(**attributes)], [weight()])), match=match)


RUN_GEOMETRY: dict[str, dict[str, Any]] = {
    "pads": {"pads": [1, 1, 1]},
    "pads below zero": {"pads": [-20] * 4},
    "pads huge": {"pads": [2**40] * 4},
    "dilations huge": {"dilations": [2**62] * 2},
    "kernel": {"kernel_shape": [5, 5]},
    "auto_pad": {"auto_pad": "FOO"},
}


@pytest.mark.parametrize("case", RUN_GEOMETRY)
def test_geometry_that_onnxruntime_refuses(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, no_inference: None
) -> None:
    path = write(tmp_path, model([conv(**RUN_GEOMETRY[case])], [weight()]))
    accepted(capsys, "layers", path)
    refused(capsys, "maps", path, photo, "-q", match="Conv|AutoPad")


GRAPHS: dict[str, tuple[onnx.ModelProto, str]] = {
    "cycle": (
        model([node("Conv", ["b", "w"], ["a"]), node("Relu", ["a"], ["b"], name="back")], [weight()]),
        "cycle through 2 nodes: .*'back'",
    ),
    "itself": (model([node("Relu", ["y"], ["y"])]), "cycle"),
    "cycle in a branch": (
        model([node("If", ["x"], ["y"], then_branch=graph([node("Relu", ["a"], ["a"])], []))]),
        "cycle",
    ),
    "made twice": (model([node("Relu", ["x"], ["y"]), conv()], [weight()]), "'y' is made by two nodes"),
    "made twice by one": (model([node("Split", ["x"], ["y", "y"])]), "'y' is made"),
    "function of itself": (recursive_function(), "function 'f' calls itself"),
    "doubling functions": (doubling_functions(29), "functions expand to .* nodes"),
    "functions without end": (doubling_functions(200, 3), "functions expand|nested too deep"),
    "function chain": (doubling_functions(2000, 1), "nested too deep|functions"),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_graphs(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, match = GRAPHS[case]
    refused(capsys, "layers", write(tmp_path, made), match=match)


@pytest.mark.parametrize("depth", [100, 300, 440, 460, 480])
def test_deep_chains_of_functions(
    depth: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_inference: None
) -> None:
    works_or_refused(capsys, "layers", write(tmp_path, doubling_functions(depth, 1)), match="nested too deep")


@pytest.mark.parametrize("depth", [8, 24, 30, 32])
def test_deep_subgraphs(depth: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_inference: None) -> None:
    works_or_refused(capsys, "layers", write(tmp_path, nested_ifs(depth)), match="nested")


def test_messages_nested_without_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def field(number: int, body: bytes) -> bytes:
        size, length = len(body), bytearray()
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        return bytes([number << 3 | 2, *length, size]) + body

    data = field(10, bytes(2000))
    for _ in range(300):
        data = field(1, field(5, field(6, data)))  # a graph in an attribute in a node
    refused(capsys, "layers", write(tmp_path, field(7, data)), match="nested|not an ONNX model")


def test_unsorted_nodes_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, no_inference: None
) -> None:
    made = model([node("Relu", ["a"], ["y"]), node("Conv", ["x", "w"], ["a"], name="first")], [weight()])
    path = write(tmp_path, made)
    out, _ = accepted(capsys, "layers", path, "--json")
    assert json.loads(out)["layers"][0]["taps"] == {"conv": "a", "activation": "y"}
    accepted(capsys, "maps", path, photo, "--save", "maps.npz")
    maps = np.load("maps.npz")["first"]
    assert maps.shape == (1, 2, 6, 6)
    assert maps.min() >= 0


def test_two_branches_of_one_name_keep_their_shapes(tmp_path: Path) -> None:
    def branch(name: str, outputs: int) -> onnx.GraphProto:
        convolution = node("Conv", ["x", name], ["o"])
        return graph([convolution], [info("o", None)], initializers=[weight(name, (outputs, 3, 1, 1))])

    empty = graph([node("Identity", ["x"], ["e"])], [info("e", None)])
    ifs = [
        node("If", ["true"], [f"y{i}"], name="same", then_branch=branch(f"w{i}", i), else_branch=empty) for i in (2, 5)
    ]
    made = model(ifs, [array("true", True, np.bool_)], outputs=[info("y2", None), info("y5", None)])
    opened = onnxviz.load(write(tmp_path, made))
    assert [layer.output_shape for layer in opened.layers] == [(1, 2, 8, 8), (1, 5, 8, 8)]
    maps = onnxviz.capture(opened, np.ones((1, 3, 8, 8), np.float32))
    assert [array.shape[1] for array in maps.values()] == [2, 5]


NOTHING = {
    "no convolution": (model([node("Relu", ["x"], ["y"])]), "no such layers|no convolution"),
    "no nodes": (model([], outputs=[]), "no such layers|no convolution"),
    "no output of its own": (model([node("Conv", ["x", "w"], [])], [weight()]), "no such layers|no convolution"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_models_without_convolutions(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, no_inference: None
) -> None:
    made, match = NOTHING[case]
    path = write(tmp_path, made)
    _, err = accepted(capsys, "layers", path)
    assert "no convolution" in err
    refused(capsys, "filters", path, match=match)
    refused(capsys, "maps", path, photo, match=match)


UNRUNNABLE = {
    "custom domain": (
        model(
            [node("Frob", ["x"], ["a"], domain="my.ops"), node("Conv", ["a", "w"], ["y"])],
            [weight()],
            domains=["my.ops"],
        ),
        r"operators that onnxruntime does not have: my\.ops::Frob",
    ),
    "custom operator": (
        model([node("Frob", ["x"], ["a"]), node("Conv", ["a", "w"], ["y"])], [weight()]),
        "does not have: Frob",
    ),
    "custom in com.microsoft": (
        model(
            [node("Frob", ["x"], ["a"], domain="com.microsoft"), node("Conv", ["a", "w"], ["y"])],
            [weight()],
            domains=["com.microsoft"],
        ),
        "does not have: com.microsoft::Frob",
    ),
    "custom with escapes": (
        model(
            [node("F\x1b[1m\n", ["x"], ["a"], domain="\u202ed"), node("Conv", ["a", "w"], ["y"])],
            [weight()],
            domains=["\u202ed"],
        ),
        "does not have: .*F",
    ),
    "custom in a kept function": (
        model(
            [node("f", ["x"], ["a"], domain="d"), node("Conv", ["a", "w"], ["y"])],
            [weight()],
            domains=["d"],
            functions=[
                helper.make_function(
                    "d", "f", ["a"], ["b"], [node("Frob", ["a"], ["b"], domain="my.ops")],
                    [helper.make_opsetid("", 11), helper.make_opsetid("my.ops", 1)],
                )
            ],
        ),
        "does not have: my.ops::Frob",
    ),
    "opset 99": (model([conv()], [weight()], opset=99), "opset 99; onnxruntime .* knows opsets up to"),
    "opset 6": (
        model([node("Add", ["x", "x"], ["a"]), node("Conv", ["a", "w"], ["y"])], [weight()], opset=6),
        "opset 6.*needs Add of opset 6.*version_converter",
    ),
    "IR 99": (model([conv()], [weight()], ir=99), "IR version 99; .*up to"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNRUNNABLE)
def test_models_that_onnxruntime_cannot_run(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, no_inference: None
) -> None:
    made, match = UNRUNNABLE[case]
    path = write(tmp_path, made)
    accepted(capsys, "layers", path)
    refused(capsys, "maps", path, photo, "--save", "maps.npz", "-o", "pictures", match=match)


# ---------------------------------------------------------------------------------------------------------- bombs


def heavy(nodes: Sequence[onnx.NodeProto], initializers: Sequence[TensorProto]) -> onnx.ModelProto:
    """`nodes` make a scalar `r`, which is added to the input of a Conv."""
    after = [node("Add", ["x", "r"], ["xr"]), node("Conv", ["xr", "w"], ["y"])]
    return model([*nodes, *after], [weight(), *initializers])


BOMBS: dict[str, Callable[[], onnx.ModelProto]] = {
    "fill of 3.6 GB": lambda: heavy(
        [node("ConstantOfShape", ["s"], ["b"]), node("ReduceSum", ["b"], ["r"], keepdims=0)],
        [array("s", [30_000, 30_000], np.int64)],
    ),
    "range of 8 GB": lambda: heavy(
        [node("Range", ["a", "b", "c"], ["i"]), node("ReduceSum", ["i"], ["j"]), node("Cast", ["j"], ["r"], to=1)],
        [array("a", 0, np.int64), array("b", 10**9, np.int64), array("c", 1, np.int64)],
    ),
    "cast of 2**31 elements": lambda: model(
        [node("ConstantOfShape", ["s"], ["c"]), node("Cast", ["c"], ["w"], to=11), conv()],
        [array("s", [2048, 1024, 32, 32], np.int64)],
    ),
    "fill of 8 GB as a weight": lambda: model(
        [node("ConstantOfShape", ["s"], ["w"]), conv()], [array("s", [2048, 1024, 32, 32], np.int64)]
    ),
}


@pytest.mark.parametrize("command", ["filters", "maps"])
@pytest.mark.parametrize("case", BOMBS)
def test_bombs(case: str, command: str, tmp_path: Path, photo: Path) -> None:
    path = write(tmp_path, BOMBS[case]())
    bounded(command, path, *([photo] if command == "maps" else []), seconds=12)


def test_bytes_that_functions_multiply(tmp_path: Path) -> None:
    """A megabyte in a function that is called 3,000 times."""
    big = helper.make_tensor("t", TensorProto.FLOAT, [250_000], np.zeros(250_000))
    opsets = [helper.make_opsetid("", 17)]
    body = [node("Constant", [], ["k"], value=big), node("Identity", ["a"], ["b"])]
    function = helper.make_function("d", "f", ["a"], ["b"], body, opsets)
    calls = [node("f", ["x"], [f"o{i}"], domain="d") for i in range(3000)]
    bounded("layers", write(tmp_path, model([*calls, conv()], [weight()], domains=["d"], functions=[function])))


@pytest.mark.parametrize("count", [10_000])
def test_many_things_of_one_name(count: int, tmp_path: Path, no_inference: None) -> None:
    """Names are made distinct in time that grows with their number, not with its square."""
    start = time.monotonic()
    convolutions = [node("Conv", ["x", "w"], [f"o{i}"], name="same") for i in range(count)]
    opened = onnxviz.load(write(tmp_path, model(convolutions, [weight()], outputs=[info("o0", None)])))
    assert len({layer.name for layer in opened.layers}) == count
    function = helper.make_function("d", "f", ["a"], ["b"], [node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 17)])
    calls = [node("f", ["x"], [f"o{i}"], domain="d") for i in range(count)]
    opened = onnxviz.load(write(tmp_path, model(calls, [], domains=["d"], functions=[function])))
    assert len(opened.proto.graph.node) == count
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "tag", [b"\x2a", b"\x5a", b"\x6a", b"\x7a"], ids=["initializers", "inputs", "values", "sparse"]
)
def test_a_million_empty_entries(tag: bytes, tmp_path: Path) -> None:
    body = (tag + b"\x00") * 1_000_000
    size = len(body)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])
    bounded("layers", write(tmp_path, b"\x08\x08\x3a" + length + body))


def test_batches_of_any_size_are_not_filled_up(tmp_path: Path, photo: Path) -> None:
    made = small()
    made.graph.input[0].CopyFrom(info("x", [10**9, 3, 8, 8]))
    assert bounded("maps", write(tmp_path, made), photo, match="1000000000|10,?00|batch|memory") == 2


# ------------------------------------------------------------------------------------------------ crash, interrupt


def test_native_crash_is_one_line(tmp_path: Path, photo: Path, room: Path) -> None:
    path = write(tmp_path, aborting())
    Path("maps.npz").write_bytes(b"old")
    code, out, err, _ = process("maps", path, photo, "--save", "maps.npz", "-o", "pictures")
    assert code == 2
    assert_one_error(err, "crashed on this model with SIGABRT")
    assert out == ""
    assert there(room) == {ascii(str(room / "maps.npz")): b"old"}


def test_shape_inference_that_crashes_costs_only_the_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = aborting()
    for dim in made.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = -1
    out, _ = accepted(capsys, "layers", write(tmp_path, made), "--json")
    document = json.loads(out)
    assert [layer["weight"]["shape"] for layer in document["layers"]] == [W, [2, 2, 1, 1]]


@pytest.mark.parametrize(
    ("signals", "group"),
    [
        ([signal.SIGINT], False),
        ([signal.SIGINT], True),
        ([signal.SIGTERM], False),
        ([signal.SIGINT, signal.SIGINT, signal.SIGINT], False),
        ([signal.SIGINT, signal.SIGINT, signal.SIGTERM], True),
    ],
    ids=["int", "int to all", "term", "int thrice", "int twice and term to all"],
)
def test_interrupt(signals: list[signal.Signals], group: bool, tmp_path: Path, photo: Path, room: Path) -> None:
    path = write(tmp_path, endless_loop())
    Path("maps.npz").write_bytes(b"old")
    command = [sys.executable, "-c", "from onnxviz.cli import main; main()"]
    child = subprocess.Popen(
        [*command, "maps", path, photo, "-q", "--save", "maps.npz"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        time.sleep(2.5)
        start = time.monotonic()
        for number in signals:
            (os.killpg if group else os.kill)(child.pid, number)
            time.sleep(0.05)
        _, err = child.communicate(timeout=8)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    assert time.monotonic() - start < 5
    assert child.returncode == 130, err
    assert b"Traceback" not in err
    assert err.count(b"\n") <= 1
    assert there(room) == {ascii(str(room / "maps.npz")): b"old"}
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)  # nothing of it goes on running


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    """What is nobody's input's fault must not vanish with the child process."""
    code = "import onnxviz.cli as c, onnxviz.model as m; m.load = None; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "layers", write(tmp_path, small())], capture_output=True, check=False, text=True
    )
    assert done.returncode not in (0, 2, 130)
    assert "TypeError: 'NoneType' object is not callable" in done.stderr


# ---------------------------------------------------------------------------------------------------------- names

NAMES = {
    "escape": "\x1b]0;owned\x07\x1b[31mred",
    "csi": "a\x9b31m",
    "bidi": "a\u202eb\u2066c",
    "newline": "a\nb\r\nc",
    "separator": "a\u2028b",
    "slash": "a/b\\c",
    "parent": "../../../etc/passwd",
    "dots": "..",
    "absolute": "/etc/passwd",
    "nul": "a\0b",
    "long": "n" * 5000,
    "reserved": "CON",
    "emoji": "😀漢字",
    "markup": "[bold red]x[/bold red]",
    "mathtext": r"conv$\evil{$1",
    "html": "<script>alert(1)</script>",
    "formula": "=1+1",
    "blank": "   ",
}


@pytest.mark.parametrize("case", NAMES)
def test_layer_names(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, room: Path, no_inference: None
) -> None:
    name = NAMES[case]
    path = write(tmp_path, model([conv(name=name)], [weight()]))
    accepted(capsys, "layers", path)
    out, _ = accepted(capsys, "layers", path, "--json")
    assert json.loads(out)["layers"][0]["node"] == name
    out, err = accepted(capsys, "filters", path, "-q", "--first", "1", "--channels", "0")
    assert err == ""
    assert len(out.splitlines()) == 1
    (picture,) = (room / "filters").iterdir()
    assert re.fullmatch(r"000-[A-Za-z0-9._-]{1,80}\.png", picture.name)
    accepted(capsys, "maps", path, photo, "-q", "--save", "m.npz")
    assert len(np.load("m.npz").files) == 1
    assert {p.name for p in room.iterdir()} == {"filters", "m.npz", "m.npz.manifest.json"}


def test_names_that_differ_by_case_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], room: Path, no_inference: None
) -> None:
    nodes = [node("Conv", ["x", "w"], [name + "o"], name=name) for name in ("Conv", "conv", "CONV", "conv")]
    nodes[3].output[0] = "y"
    path = write(tmp_path, model(nodes, [weight()]))
    accepted(capsys, "filters", path, "*", "--first", "1")
    assert len({picture.name.lower() for picture in (room / "filters").iterdir()}) == 4


@pytest.mark.parametrize("case", ["escape", "newline", "bidi", "nul", "emoji", "long", "mathtext"])
def test_names_of_tensors_inputs_and_notes(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, no_inference: None
) -> None:
    name = NAMES[case]
    made = model(
        [node("Conv", [name, "w" + name], ["o" + name])],
        [weight("w" + name)],
        [info(name, [1, 3, 8, 8])],
        [info("o" + name, [name, 2, None, None])],
        metadata=[(name, name)],
        producer_name=name,
        producer_version=name,
    )
    made.opset_import.add(domain=name, version=1)
    made.graph.node[0].metadata_props.add(key="onnxviz.scope", value=name)
    path = write(tmp_path, made)
    accepted(capsys, "layers", path)
    json.loads(accepted(capsys, "layers", path, "--json")[0])
    works_or_refused(capsys, "maps", path, photo, "-q", "--save", "m.npz")
    refused(capsys, "maps", path, f"no such input={photo}", match="no input called 'no such input'")


NOTES = {
    "escapes": '{"name":"\\u001b[31mevil\\nline\\u202e","scale":1,"mean":[1,2],"std":[1]}',
    "too large": '{"name":"x","scale":1' + "0" * 400 + ',"mean":[0],"std":[1]}',
    "digits": '{"name":"x","scale":1' + "0" * 5000 + ',"mean":[0],"std":[1]}',
    "list": "[1]",
    "text": "hello",
    "deep": "[" * 100_000,
    "nan": '{"name":"x","scale":NaN,"mean":[0],"std":[1]}',
    "mean": '{"name":"x","scale":1,"mean":5,"std":[1]}',
    "std 0": '{"name":"x","scale":1,"mean":[0],"std":[0]}',
    "no order": '{"name":"x","scale":1,"mean":[0],"std":[1],"order":"\\u001b[1m"}',
}


@pytest.mark.parametrize("case", NOTES)
def test_preprocessing_notes(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, no_inference: None
) -> None:
    made = small()
    made.metadata_props.add(key="onnxviz.preprocessing", value=NOTES[case])
    path = write(tmp_path, made)
    accepted(capsys, "layers", path)
    accepted(capsys, "layers", path, "--json")
    refused(capsys, "maps", path, photo, match="preprocess|channel order")


def texts() -> onnx.ModelProto:
    made = model(
        [node("Conv", ["inputname", "weightname"], ["outputname"], name="nodename", auto_pad="SAME_UPPER")],
        [weight("weightname")],
        [info("inputname", ["batchname", 3, 8, 8])],
        [info("outputname", None)],
        metadata=[("metakey", "metavalue")],
        producer_name="producername",
        producer_version="producerversion",
        domain="modeldomain",
        doc_string="modeldoc",
    )
    made.graph.name = "graphname"
    made.opset_import.add(domain="opsetdomain", version=1)
    made.graph.node[0].doc_string = "nodedoc"
    for key, value in (("onnxviz.scope", "scopevalue"), ("onnxviz.layer", "layervalue"), ("otherkey", "v")):
        made.graph.node[0].metadata_props.add(key=key, value=value)
    made.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value="torchscopes")
    made.graph.node[0].metadata_props.add(key="pkg.onnxscript.rewriter.rule_name", value="rulename")
    made.graph.node[0].attribute.add(name="other", ref_attr_name="refattr", type=onnx.AttributeProto.INT)
    return made


@pytest.mark.parametrize(
    "text",
    "inputname weightname outputname nodename SAME_UPPER batchname metakey metavalue producername producerversion "
    "modeldomain modeldoc graphname opsetdomain nodedoc scopevalue layervalue otherkey torchscopes rulename "
    "refattr onnxviz.scope".split(),
)
def test_text_that_is_not_utf8(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_inference: None
) -> None:
    old = text.encode()
    path = write(tmp_path, renamed(texts(), old, b"\xff" + old[1:]))
    for command in (["layers", path], ["layers", path, "--json", "--all"], ["filters", path, "--save", "w.npz"]):
        works_or_refused(capsys, *command, match="not UTF-8")


# -------------------------------------------------------------------------------------------------------- outputs


def annotate(path: Path, output: object) -> list[object]:
    return ["annotate", path, "--preprocess", "unit", "-o", output]


def test_outputs_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, room: Path, no_inference: None
) -> None:
    path = write(tmp_path, small())
    file = room / "file"
    file.write_text("old")
    (room / "folder.png").mkdir()
    (room / "folder.npz").mkdir()
    refused(capsys, *annotate(path, "file/x.onnx"), match="no folder file|cannot be written")
    refused(capsys, *annotate(path, "none/x.onnx"), match="there is no folder none")
    refused(capsys, *annotate(path, room), match="is a folder")
    refused(capsys, *annotate(path, "n" * 300), match="cannot be written")
    refused(capsys, "filters", path, "-o", "file", match="file")
    refused(capsys, "filters", path, "-o", "file/under", match="file/under")
    refused(capsys, "filters", path, "-o", "none/x.png", match="no folder none")
    refused(capsys, "filters", path, "-o", "x.gif", match="png, .svg, .pdf")
    refused(capsys, "filters", path, "--save", "x.txt", match="npz")
    refused(capsys, "filters", path, "--save", "folder.npz", match="is a folder")
    refused(capsys, "filters", path, "--save", "none/x.npz", match="no folder none")
    refused(capsys, "maps", path, photo, "-q", "-o", "file", match="file")
    refused(capsys, "maps", path, photo, "-q", "-o", "file/under", match="file/under")
    refused(capsys, "maps", path, photo, "-q", "--save", "x.txt", match="npz")
    refused(capsys, "maps", path, photo, "-q", "--save", "none/x.npz", match="no folder none")


def test_a_device_or_pipe_is_not_replaced_by_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As root, `-o /dev/null` would take the machine's null device away."""
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    refused(capsys, *annotate(write(tmp_path, small()), pipe), match="not a regular file|cannot be written")
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_failure_leaves_no_folder_and_no_half_of_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, no_inference: None
) -> None:
    path = write(
        tmp_path,
        model([node("Conv", ["x", "w"], ["a"], name="good"), node("Conv", ["a", "v"], ["y"], name="bad")], [weight()],
              [info("x", [1, 3, 8, 8]), info("v", [2, 2, 1, 1])]),
    )  # fmt: skip
    refused(capsys, "filters", path, "good", "bad", "-o", "new", match="'bad'")
    refused(capsys, "filters", path, "--cmap", "nope", "-o", "new", match="colour map 'nope'")
    refused(capsys, "filters", path, "--filters", "99", "-o", "new", match="99")
    refused(capsys, "filters", path, "--channels", "99", "-o", "new", match="99")
    good = write(tmp_path, small(), "good.onnx")
    refused(capsys, "maps", good, photo, "-q", "--channels", "99", "-o", "new", match="99")
    refused(capsys, "maps", good, photo, "-q", "--cmap", "nope", "-o", "new", match="nope")


@pytest.mark.parametrize("limit", [100, 300])
@pytest.mark.parametrize("what", ["annotate", "picture", "arrays", "maps", "map arrays"])
def test_full_disk(limit: int, what: str, tmp_path: Path, photo: Path, room: Path) -> None:
    """A limit on the size of files stands for a disk that is full."""
    path = write(tmp_path, small())
    commands: dict[str, list[object]] = {
        "annotate": annotate(path, "old.onnx"),
        "picture": ["filters", path, "-o", "old.png"],
        "arrays": ["filters", path, "--save", "old.npz"],
        "maps": ["maps", path, photo, "-q", "-o", "."],
        "map arrays": ["maps", path, photo, "-q", "--save", "old.npz"],
    }
    for name in ("old.onnx", "old.png", "old.npz", "old.npz.manifest.json", "manifest.json"):
        (room / name).write_bytes(b"old")
    before = there(room)
    setup = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # noqa: E731
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE) as cat:
        code, _, _, _ = process(*commands[what], setup=setup, stderr=cat.stdin)
        assert cat.stdin is not None
        cat.stdin.close()
        assert cat.stdout is not None
        err = cat.stdout.read().decode()
    assert code == 2, err
    assert_one_error(err, "cannot be written|File too large|disk|space")
    assert there(room) == before


def test_full_disk_under_kept_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_inference: None
) -> None:
    import onnxviz.featuremaps

    class Full:
        def __init__(self, *arguments: object, **options: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnxviz.featuremaps.tempfile, "TemporaryFile", Full)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (300, 300), (i, i, i)).save(folder / f"{i}.png")
    made = small()
    made.graph.input[0].CopyFrom(info("x", ["n", 3, "h", "w"]))
    made.graph.output[0].CopyFrom(info("y", None))
    path = write(tmp_path, made)
    refused(capsys, "maps", path, folder, "-q", "--save", "m.npz", "--memory", "1MiB", match="[Nn]o space left")


@pytest.mark.parametrize("arguments", [["layers"], ["layers", "--json"]])
def test_full_disk_under_stdout(arguments: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        code, _, err, _ = process(arguments[0], write(tmp_path, small()), *arguments[1:], stdout=full)
    assert code == 2, (code, ascii(err))
    assert_one_error(err, "space|written")


def test_paths_that_are_not_plain_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], room: Path, no_inference: None
) -> None:
    for name in ("a\x1b[31m", "a\nb", "a\u202eb", "[bold]x[b]", "$\\evil{$"):
        path = write(tmp_path, small(), name + ".onnx")
        accepted(capsys, "layers", path)
        json.loads(accepted(capsys, "layers", path, "--json")[0])
        refused(capsys, "filters", path, "nolayer", match="no layer is called 'nolayer'")
        refused(capsys, "layers", str(path) + "x", match="there is no file")
        refused(capsys, "layers", write(tmp_path, b"x", name + ".bad"), match="not an ONNX model")
        accepted(capsys, "filters", path, "-o", name + ".png")
        assert (room / (name + ".png")).is_file()


def test_paths_that_are_not_utf8(tmp_path: Path, photo: Path, room: Path) -> None:
    """In a process of its own: pytest-xdist cannot carry such text."""
    path = write(tmp_path, small(), os.fsdecode(b"a\xff.onnx"))
    other = tmp_path / os.fsdecode(b"b\xff.png")
    other.write_bytes(photo.read_bytes())
    for arguments in (
        ["layers", path],
        ["layers", path, "--json"],
        ["filters", path, "-o", os.fsdecode(b"c\xff.png")],
        ["maps", path, other, "-q"],
    ):
        code, _, err, _ = process(*arguments)
        assert code == 0, ascii(err)
    code, _, err, _ = process("layers", os.fsdecode(b"none\xff.onnx"))
    assert code == 2
    assert_one_error(err, "there is no file none")


# ----------------------------------------------------------------------------------------------------- selections


SELECTIONS = [
    ("nolayer", "no layer is called 'nolayer'.*it has c "),
    ("99", "position 99.*it has c "),
    ("5-9", "no positions 5-9"),
    ("9-3", "no positions 9-3"),
    ("every:0", "N of every:N"),
    ("every:x", "no layer is called"),
    ("*zz", "no layer is called"),
    ("[", "no layer is called"),
    ("", "empty"),
    (",", "empty"),
    ("0,nope", "'nope'"),
    ("9" * 5000, "position|no layer"),
    ("every:" + "9" * 5000, "every|no layer"),
    ("0-" + "9" * 5000, "positions|no layer"),
    ("a\x1b[31mb\u202e", "no layer is called"),
    ("n" * 5000, "no layer is called"),
]


@pytest.mark.parametrize(("selection", "match"), SELECTIONS, ids=[s[:12] for s, _ in SELECTIONS])
def test_layers_that_do_not_exist(
    selection: str, match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, no_inference: None
) -> None:
    path = write(tmp_path, small())
    refused(capsys, "filters", path, "--", selection, match=match)
    refused(capsys, "maps", path, photo, "-q", f"--layers={selection}", match=match)


OPTIONS = [
    (["--ops", "Nope"], "no Nope; it has Conv, Relu"),
    (["--ops", "\x1b[31m\u202e"], "it has Conv, Relu"),
    (["--ops", ""], "op|layers"),
    (["--memory", "x"], "number of bytes"),
    (["--memory", "9" * 400], "bytes"),
    (["--memory", "1"], "too small"),
    (["--size", "0x0"], "not a size"),
    (["--size", "9x9"], "8x8, not of 9x9"),
    (["--preprocess", "z\x1b[31m"], "not a preprocessing"),
    (["--preprocess", "scale=1e400"], "finite"),
    (["--preprocess", "mean=1:2"], "2 mean values for 3 channels"),
    (["--cmap", "no\x1b[31m"], "no colour map"),
    (["--channels", "99"], "99"),
    (["--channels", "9-1"], "count upwards"),
    (["--channels", "9" * 5000], "channels"),
    (["--channels", "²"], "not a number"),
    (["--provider", "tpu"], "provider|cpu"),
    (["--first", "0"], "--first.*1"),
    (["--save", "x.txt"], "npz"),
    (["--nope\x1b[31m"], "[Nn]o such option"),
]


@pytest.mark.parametrize(("options", "match"), OPTIONS, ids=[" ".join(o)[:24] for o, _ in OPTIONS])
def test_options_that_cannot_be(
    options: list[str], match: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], photo: Path, no_inference: None
) -> None:
    refused(capsys, "maps", write(tmp_path, small()), photo, "-q", *options, match=match)


# ----------------------------------------------------------------------------------------------------------- fuzz


def seeds() -> list[bytes]:
    q = [array("s", [1, 2]), array("q", np.zeros(W), np.int8), array("z", [0, 0], np.int8)]
    with_sparse = model([conv()])
    with_sparse.graph.sparse_initializer.append(sparse("w", W, at=[1]))
    made = [
        small(),
        texts(),
        aborting(),
        endless_loop(with_conv_inside=True),
        doubling_functions(3),
        nested_ifs(4),
        with_sparse,
        model([node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0), conv()], q),
        model(
            [
                node("Constant", [], ["v"], value=weight("v")),
                node("Transpose", ["v"], ["w"], perm=[0, 1, 3, 2]),
                node("Conv", ["x", "w"], ["a"], auto_pad="SAME_UPPER"),
                node("ConvTranspose", ["a", "u"], ["y"], group=2),
            ],
            [weight("u")],
        ),
        model([node("ConstantOfShape", ["s"], ["w"]), conv()], [array("s", W, np.int64)]),
        model(
            [node("Reshape", ["v", "s"], ["w"]), conv()], [weight("v", (6, 9)), array("s", W, np.int64)],
            metadata=[("onnxviz.preprocessing", '{"name":"unit","scale":1,"mean":[0],"std":[1]}')],
        ),
        model(
            [node("QLinearConv", ["x", "s1", "z1", "q", "s", "z", "s1", "z1", "b"], ["y"])],
            [*q, array("s1", 1), array("z1", 0, np.uint8), array("b", [1, 2], np.int32)],
        ),
    ]  # fmt: skip
    return [m.SerializeToString() for m in made]


def mutant(chance: random.Random, pool: Sequence[bytes]) -> bytes:
    data = bytearray(chance.choice(pool))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        if not data:
            break
        kind, at = chance.randrange(7), chance.randrange(len(data))
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + chance.randrange(1, 20)]
        elif kind == 4:
            start = chance.randrange(len(data))
            data[at:at] = data[start : start + chance.randrange(1, 60)]
        else:
            other = chance.choice(pool)
            start = chance.randrange(len(other))
            data[at : at + chance.randrange(40)] = other[start : start + chance.randrange(1, 60)]
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_mutants_open_or_are_refused(seed: int, tmp_path: Path, no_inference: None) -> None:
    chance, pool = random.Random(seed), seeds()
    opened = 0
    for _ in range(int(os.environ.get("ONNXVIZ_MUTANTS", "150"))):
        path = write(tmp_path, mutant(chance, pool))
        try:
            made = onnxviz.load(path)
            rows = [layer.row() for layer in (*made.layers, *made.all_layers)]
            json.dumps([rows, made.parameters, made.opset, made.preprocessing])
            for layer in made.layers:
                np.array(layer.weight[:1])
            opened += 1
            message = ""
        except onnxviz.OnnxvizError as error:
            message = str(error)
        assert len(message.splitlines()) <= 1
        assert not UNSAFE.search(message)
    assert opened > 5
