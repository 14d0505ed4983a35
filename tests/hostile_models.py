"""Hostile models by kind: what crashes, hangs, floods or misleads libraries that open them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from hostile import (
    aborting,
    array,
    conv,
    doubling_functions,
    endless_loop,
    external,
    info,
    model,
    node,
    recursive_function,
    renamed,
    small,
    sparse,
    unchecked,
    weight,
    write,
)
from onnx import TensorProto, helper

Made = onnx.ModelProto | bytes


def negative_sides() -> onnx.ModelProto:
    """An input of size −1 before a Slice: shape inference aborts."""
    made = aborting()
    for dim in made.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = -1
    return made


def flooding() -> onnx.ModelProto:
    """Asks for 8 GB while it runs, in a size that the graph does not say."""
    nodes = [
        node("Shape", ["x"], ["s"]), node("ReduceProd", ["s"], ["p"], keepdims=1),
        node("Mul", ["p", "factor"], ["n"]), node("ConstantOfShape", ["n"], ["big"]),
        node("ReduceSum", ["big"], ["r"], keepdims=0), node("Add", ["x", "r"], ["xr"]),
        node("Conv", ["xr", "w"], ["y"]),
    ]  # fmt: skip
    return model(nodes, [weight(), array("factor", [2_000_000_000 // 192], np.int64)])


def folding(count: int = 3000, side: int = 512) -> onnx.ModelProto:
    """Products of constants that a session folds when it opens: 1.6 TFLOP."""
    nodes = [node("ConstantOfShape", ["s"], ["m0"], value=array("", [1e-3]))]
    nodes += [node("MatMul", [f"m{step}", "m0"], [f"m{step + 1}"]) for step in range(count)]
    nodes += [node("ReduceMean", [f"m{count}"], ["r"], keepdims=0), node("Add", ["x", "r"], ["xr"])]
    return model([*nodes, node("Conv", ["xr", "w"], ["y"])], [weight(), array("s", [side, side], np.int64)])


def filled(sizes: list[int]) -> onnx.ModelProto:
    """A ConstantOfShape of so many elements, which a session folds when it opens."""
    nodes = [node("ConstantOfShape", ["s"], ["b"]), node("ReduceSum", ["b"], ["r"], keepdims=0)]
    return model([*nodes, node("Add", ["x", "r"], ["xr"]), node("Conv", ["xr", "w"], ["y"])],
                 [weight(), array("s", sizes, np.int64)])  # fmt: skip


def with_weight(tensor: TensorProto) -> onnx.ModelProto:
    return model([conv()], [tensor])


def sparse_weight() -> onnx.ModelProto:
    made = model([conv()], [])
    made.graph.sparse_initializer.append(sparse("w", [40_000, 3, 100, 100]))
    return made


def unknown_operator() -> onnx.ModelProto:
    return model([helper.make_node("Nowhere", ["x"], ["y"], domain="their.domain")], domains=["their.domain"])


def cyclic() -> onnx.ModelProto:
    return model([node("Conv", ["b", "w"], ["a"]), node("Relu", ["a"], ["b"])], [weight()], outputs=[info("b", None)])


def many_nodes() -> bytes:
    """4 MB of nodes without content."""
    graph = b"\x0a\x00" * 2_000_000
    return small().SerializeToString() + helper_field(7, graph)


def helper_field(number: int, body: bytes) -> bytes:
    """A field of a protobuf message that holds another message."""
    length, size = bytearray(), len(body)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + body


WHOLE = small().SerializeToString()
KINDS: dict[str, Callable[[], Made]] = {
    "empty": lambda: b"",
    "text": lambda: b"no model\n",
    "cut short": lambda: WHOLE[: len(WHOLE) // 2],
    "random bytes": lambda: np.random.default_rng(0).bytes(4000),
    "page": lambda: b"<!DOCTYPE html><html>404</html>",
    "pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
    "many empty nodes": many_nodes,
    "sizes that overflow": lambda: with_weight(unchecked("w", [2**62, 3, 3, 3], raw_data=b"\0" * 216)),
    "sizes that are huge": lambda: with_weight(unchecked("w", [2**20, 2**10, 3, 3], raw_data=b"\0" * 216)),
    "sizes unlike the bytes": lambda: with_weight(unchecked("w", [2, 3, 3, 3], raw_data=b"\0" * 212)),
    "negative sizes": lambda: with_weight(unchecked("w", [-2, 3, 3, 3], raw_data=b"\0" * 216)),
    "negative sides": negative_sides,
    "aborting": aborting,
    "sparse flood": sparse_weight,
    "fill": lambda: filled([30_000, 30_000]),
    "fill within the limit": lambda: filled([16_000, 16_000]),
    "folding": folding,
    "functions": lambda: doubling_functions(30),
    "recursion": recursive_function,
    "endless": endless_loop,
    "endless with a convolution": lambda: endless_loop(with_conv_inside=True),
    "cycle": cyclic,
    "group 0": lambda: model([conv(group=0)], [weight()]),
    "stride 0": lambda: model([conv(strides=[0, 0])], [weight()]),
    "flood": flooding,
    "unknown operator": unknown_operator,
    "no text": lambda: renamed(small(), b"c.weight", b"\xff\xfe.eight"),
    "outside": lambda: with_weight(external("w", [2, 3, 3, 3], entries=[("location", "../outside.bin")])),
    "absolute": lambda: with_weight(external("w", [2, 3, 3, 3], entries=[("location", "/etc/passwd")])),
    "symbolic link": lambda: with_weight(external("w", [2, 3, 3, 3], entries=[("location", "link.bin")])),
    "hard link": lambda: with_weight(external("w", [2, 3, 3, 3], entries=[("location", "hard.bin")])),
    "pipe": lambda: with_weight(external("w", [2, 3, 3, 3], entries=[("location", "pipe.bin")])),
    "wrong checksum": lambda: with_weight(
        external("w", [2, 3, 3, 3], entries=[("location", "own.bin"), ("checksum", "0" * 40)])
    ),
}  # fmt: skip


def write_kinds(folder: Path) -> dict[str, Path]:
    """A file of each kind in the folder, whose names are hostile too, and what they lead to; their paths by kind."""
    (folder.parent / "outside.bin").write_bytes(b"\0" * 216)
    (folder / "own.bin").write_bytes(b"\0" * 216)
    (folder / "link.bin").symlink_to(folder.parent / "outside.bin")
    os.link(folder.parent / "outside.bin", folder / "hard.bin")
    os.mkfifo(folder / "pipe.bin")
    return {kind: write(folder, made(), f"{kind}\x1b[31m\u202e.onnx") for kind, made in KINDS.items()}
