"""Files that are no models, and models with bytes changed at random: each works, or is refused in one line."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile import (
    UNSAFE,
    aborting,
    array,
    conv,
    doubling_functions,
    endless_loop,
    external,
    model,
    nested_ifs,
    node,
    small,
    sparse,
    weight,
    write,
)
from hostile_runs import W, refused, texts

import onnxviz

pytestmark = [pytest.mark.usefixtures("deadline", "room"), pytest.mark.inference_worker]

# ---------------------------------------------------------------- not a model

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


# ---------------------------------------------------------------- fuzz


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
