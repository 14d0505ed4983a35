"""Builders of models that a stranger could have made to break a reader: contradictions, bombs, odd names."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
node = helper.make_node


def info(name: str, shape: Sequence[int | str | None] | None, kind: int = FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def array(name: str, values: Any, dtype: Any = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def weight(name: str = "w", shape: Sequence[int] = (2, 3, 3, 3)) -> TensorProto:
    values = np.random.default_rng(0).normal(size=tuple(shape)).astype(np.float32)
    return numpy_helper.from_array(values, name)


def unchecked(name: str, dims: Sequence[int], data_type: int = FLOAT, **fields: Any) -> TensorProto:
    """A TensorProto that says what it is told to, true or not."""
    return TensorProto(name=name, dims=dims, data_type=data_type, **fields)


def external(
    name: str, shape: Sequence[int], data_type: int = FLOAT, entries: Sequence[tuple[str, str]] = ()
) -> TensorProto:
    tensor = TensorProto(name=name, dims=shape, data_type=data_type, data_location=TensorProto.EXTERNAL)
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(
    nodes: Sequence[NodeProto],
    initializers: Sequence[TensorProto] = (),
    inputs: Sequence[ValueInfoProto] | None = None,
    outputs: Sequence[ValueInfoProto] | None = None,
    *,
    opset: int = 17,
    ir: int = 8,
    domains: Sequence[str] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    metadata: Sequence[tuple[str, str]] = (),
    **fields: Any,
) -> onnx.ModelProto:
    """A model, not checked; input `x` 1x3x8x8 and output `y` unless told otherwise."""
    made = onnx.ModelProto(ir_version=ir, functions=functions, **fields)
    made.opset_import.append(helper.make_opsetid("", opset))
    for domain in domains:
        made.opset_import.append(helper.make_opsetid(domain, 1))
    made.graph.name = "g"
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(initializers)
    made.graph.input.extend([info("x", [1, 3, 8, 8])] if inputs is None else inputs)
    made.graph.output.extend([info("y", None)] if outputs is None else outputs)
    for key, value in metadata:
        made.metadata_props.add(key=key, value=value)
    return made


def conv(**attributes: Any) -> NodeProto:
    name = attributes.pop("name", "conv")
    return node("Conv", ["x", "w"], ["y"], name=name, **attributes)


def small() -> onnx.ModelProto:
    """A model with nothing wrong: Conv and Relu on 1x3x8x8."""
    return model(
        [node("Conv", ["x", "c.weight", "c.bias"], ["a"], name="c"), node("Relu", ["a"], ["y"], name="r")],
        [weight("c.weight"), array("c.bias", [0.0, 1.0])],
        outputs=[info("y", [1, 2, 6, 6])],
    )


def graph(
    nodes: Sequence[NodeProto],
    outputs: Sequence[ValueInfoProto],
    inputs: Sequence[ValueInfoProto] = (),
    initializers: Sequence[TensorProto] = (),
) -> GraphProto:
    return helper.make_graph(list(nodes), "body", list(inputs), list(outputs), list(initializers))


def endless_loop(*, with_conv_inside: bool = False) -> onnx.ModelProto:
    """A Loop of INT64_MAX turns, then a Conv on what it leaves."""
    turn = [node("Identity", ["cond"], ["cond_out"]), node("Relu", ["v"], ["v_out"])]
    if with_conv_inside:
        turn[1] = node("Conv", ["v", "k"], ["v_out"], pads=[1, 1, 1, 1])
    body = graph(
        turn,
        [info("cond_out", [], TensorProto.BOOL), info("v_out", None)],
        [info("i", [], TensorProto.INT64), info("cond", [], TensorProto.BOOL), info("v", None)],
    )
    return model(
        [node("Loop", ["turns", "true", "x"], ["a"], body=body, name="loop"), node("Conv", ["a", "w"], ["y"])],
        [array("turns", 2**63 - 1, np.int64), array("true", True, np.bool_), weight(), weight("k", (3, 3, 3, 3))],
    )


def aborting() -> onnx.ModelProto:
    """Pad(-20) before a Slice aborts native code of onnx and onnxruntime."""
    return model(
        [
            node("Conv", ["x", "w"], ["a"]),
            node("Pad", ["a", "pads"], ["p"]),
            node("Slice", ["p", "starts", "ends"], ["s"]),
            node("Conv", ["s", "v"], ["y"], name="after"),
        ],
        [
            weight(),
            weight("v", (2, 2, 1, 1)),
            array("pads", [0, 0, -20, 0, 0, 0, 0, 0], np.int64),
            array("starts", [0, 0, 0, 0], np.int64),
            array("ends", [1, 1, 1, 1], np.int64),
        ],
    )


def doubling_functions(depth: int, calls: int = 2) -> onnx.ModelProto:
    """Functions that call each other: `calls ** depth` nodes from a few hundred bytes."""
    functions = []
    for level in range(depth):
        called = "Relu" if level == 0 else f"f{level - 1}"
        domain = "" if level == 0 else "d"
        names = ["a", *(f"t{i}" for i in range(calls - 1)), "b"]
        body = [node(called, [names[i]], [names[i + 1]], domain=domain) for i in range(calls)]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
        functions.append(helper.make_function("d", f"f{level}", ["a"], ["b"], body, opsets))
    return model(
        [node(f"f{depth - 1}", ["x"], ["a"], domain="d"), node("Conv", ["a", "w"], ["y"])],
        [weight()],
        domains=["d"],
        functions=functions,
    )


def recursive_function() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    function = helper.make_function("d", "f", ["a"], ["b"], [node("f", ["a"], ["b"], domain="d")], opsets)
    return model([node("f", ["x"], ["y"], domain="d")], domains=["d"], functions=[function])


def nested_ifs(depth: int) -> onnx.ModelProto:
    inner = [node("Conv", ["x", "w"], ["o0"])]
    for level in range(depth):
        branch = graph(inner, [info(f"o{level}", None)])
        inner = [node("If", ["true"], [f"o{level + 1}"], then_branch=branch, else_branch=graph([], []))]
    return model(inner, [weight(), array("true", True, np.bool_)], outputs=[info(f"o{depth}", None)])


def renamed(source: onnx.ModelProto, old: bytes, new: bytes) -> bytes:
    """The model's bytes with a name replaced by another of the same length, which need not be text."""
    assert len(old) == len(new)
    data = source.SerializeToString()
    assert old in data
    return data.replace(old, new)


def sparse(name: str, dims: Sequence[int], values: Sequence[float] = (1.0,), at: Sequence[int] = (0,)) -> Any:
    made = onnx.SparseTensorProto(dims=dims)
    made.values.CopyFrom(array(name, values))
    made.indices.CopyFrom(array("", at, np.int64))
    return made


def graph_attribute(name: str, value: GraphProto) -> AttributeProto:
    return AttributeProto(name=name, type=AttributeProto.GRAPH, g=value)


def write(folder: Path, made: onnx.ModelProto | bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    """A PNG file made of raw scan lines, which need not be as many as it declares."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    packed = zlib.compress(rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


# What must not reach a terminal: control and bidirectional characters.
UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
