"""Small files that want much memory or time: bounded, or refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from deadlines import allowed
from hostile import array, conv, info, model, node, small, weight, write
from hostile_runs import assert_one_error, process, there
from onnx import TensorProto, helper

import onnxviz

pytestmark = [pytest.mark.usefixtures("deadline", "room"), pytest.mark.inference_worker]

MEMORY = 1500 * 2**20


def bounded(*arguments: object, match: str = "", seconds: float = 30) -> int:
    """The command works or is refused, in bounded time and memory."""
    before = there(Path.cwd())
    code, _, err, memory = process(*arguments, seconds=seconds)
    assert code in (0, 2), (code, ascii(err))
    if code == 2:
        assert_one_error(err, match)
        assert there(Path.cwd()) == before
    assert memory < MEMORY, f"{memory >> 20} MiB"
    return code


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
def test_bombs(case: str, command: str, tmp_path: Path, small_photo: Path) -> None:
    path = write(tmp_path, BOMBS[case]())
    bounded(command, path, *([small_photo] if command == "maps" else []), seconds=24)


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
    start = time.process_time()
    convolutions = [node("Conv", ["x", "w"], [f"o{i}"], name="same") for i in range(count)]
    opened = onnxviz.load(write(tmp_path, model(convolutions, [weight()], outputs=[info("o0", None)])))
    assert len({layer.name for layer in opened.layers}) == count
    function = helper.make_function("d", "f", ["a"], ["b"], [node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 17)])
    calls = [node("f", ["x"], [f"o{i}"], domain="d") for i in range(count)]
    opened = onnxviz.load(write(tmp_path, model(calls, [], domains=["d"], functions=[function])))
    assert len(opened.proto.graph.node) == count
    assert time.process_time() - start < allowed(10)


@pytest.mark.parametrize(
    "tag", [b"\x2a", b"\x5a", b"\x6a", b"\x7a"], ids=["initializers", "inputs", "values", "sparse"]
)
def test_a_million_empty_entries(tag: bytes, tmp_path: Path) -> None:
    body = (tag + b"\x00") * 1_000_000
    size = len(body)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])
    bounded("layers", write(tmp_path, b"\x08\x08\x3a" + length + body))


def test_batches_of_any_size_are_not_filled_up(tmp_path: Path, small_photo: Path) -> None:
    made = small()
    made.graph.input[0].CopyFrom(info("x", [10**9, 3, 8, 8]))
    assert bounded("maps", write(tmp_path, made), small_photo, match="1000000000|10,?00|batch|memory") == 2
