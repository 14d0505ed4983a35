"""Graphs that a stranger made to break the reader: odd geometry, depth, order, what no runtime takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hostile import (
    array,
    conv,
    doubling_functions,
    graph,
    info,
    model,
    nested_ifs,
    node,
    recursive_function,
    weight,
    write,
)
from hostile_runs import accepted, refused, works_or_refused
from onnx import helper

import onnxviz

pytestmark = [pytest.mark.usefixtures("deadline", "room"), pytest.mark.inference_worker]

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
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path, no_inference: None
) -> None:
    path = write(tmp_path, model([conv(**RUN_GEOMETRY[case])], [weight()]))
    accepted(capsys, "layers", path)
    refused(capsys, "maps", path, small_photo, "-q", match="Conv|AutoPad")


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
    tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path, no_inference: None
) -> None:
    made = model([node("Relu", ["a"], ["y"]), node("Conv", ["x", "w"], ["a"], name="first")], [weight()])
    path = write(tmp_path, made)
    out, _ = accepted(capsys, "layers", path, "--json")
    assert json.loads(out)["layers"][0]["taps"] == {"conv": "a", "activation": "y"}
    accepted(capsys, "maps", path, small_photo, "--save", "maps.npz")
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
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path, no_inference: None
) -> None:
    made, match = NOTHING[case]
    path = write(tmp_path, made)
    _, err = accepted(capsys, "layers", path)
    assert "no convolution" in err
    refused(capsys, "filters", path, match=match)
    refused(capsys, "maps", path, small_photo, match=match)


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
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_photo: Path, no_inference: None
) -> None:
    made, match = UNRUNNABLE[case]
    path = write(tmp_path, made)
    accepted(capsys, "layers", path)
    refused(capsys, "maps", path, small_photo, "--save", "maps.npz", "-o", "pictures", match=match)
