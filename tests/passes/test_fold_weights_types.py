"""Constants of every type: each keeps its bits."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import rewriting
from onnx import TensorProto, helper, numpy_helper
from rewriting import array, graph_of, node, rewritten, value

from onnxviz.passes.values import as_tensor, element_type


@pytest.mark.parametrize(
    "name", ["float16", "bfloat16", "float64", "int8", "int64", "bool", "float8_e4m3fn", "int4", "uint4"]
)
@pytest.mark.parametrize("rows", [2, 700], ids=["inline", "external"])
def test_every_type_keeps_its_bits(name: str, rows: int) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    weights = {"layer/w": np.random.default_rng(1).integers(0, 7, (3, rows)).astype(dtype)}
    element = element_type(weights["layer/w"])
    nodes = [node("Transpose", "layer/w", "t", perm=(1, 0)), node("Concat", "t x", "y", axis=0)]
    ports = [helper.make_tensor_value_info(port, element, [None, 3]) for port in "xy"]
    proto = graph_of(nodes, ports[:1], ports[1:], opset=21)
    result = rewritten(proto, weights)
    (tensor,) = result.graph.initializer
    assert (tensor.name, tensor.data_type, [*tensor.dims]) == ("layer/w", element, [rows, 3])
    expected = numpy_helper.from_array(np.ascontiguousarray(weights["layer/w"].T), "layer/w")
    assert tensor.raw_data == expected.raw_data


@pytest.mark.parametrize("rows", [2, 700])
def test_big_endian_weights(rows: int) -> None:
    weights = {"dense/kernel": array(rows, 3, dtype=">f4"), "dense/bias": array(3, dtype=">f4")}
    proto = graph_of([node("Gemm", "x dense/kernel dense/bias", "y")], {"x": ["n", rows]}, "y")
    result = rewritten(proto, weights, {"x": array(2, rows)})
    assert rewriting.stored(result)["dense/kernel"].tolist() == weights["dense/kernel"].tolist()
    assert as_tensor(weights["dense/bias"], "b").raw_data == weights["dense/bias"].astype("<f4").tobytes()


def test_zero_sizes_and_scalars() -> None:
    weights = {"empty": np.zeros((0, 3), np.float32), "scalar": np.float32(2).reshape(())}
    nodes = [node("Concat", "x empty", "a", axis=0), node("Mul", "a scalar", "y")]
    result = rewritten(graph_of(nodes, {"x": ["n", 3]}, "y"), weights, {"x": array(2, 3)})
    assert {name: one.shape for name, one in rewriting.stored(result).items()} == {"empty": (0, 3), "scalar": ()}


def test_a_scalar_is_one_to_shape_inference() -> None:
    """A rank that is one too high would turn an operand that has no such axes."""
    nodes = [
        node("Gather", "x index", "row", axis=0),
        node("Transpose", "z", "t", perm=(0, 2, 3, 1)),
        node("Add", "t row", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 2, 2, 3], "z": ["n", 3, 2, 2]}, "y", stored={"index": np.array(0)})
    rewritten(proto, {}, {"x": array(2, 2, 2, 3), "z": array(2, 3, 2, 2)})


def test_text_stays() -> None:
    stored = {"words": np.array(["a", "b"], object), "index": np.array([1, 0])}
    nodes = [node("Gather", "words index", "turned"), node("Gather", "turned x", "y")]
    proto = graph_of(
        nodes,
        [value("x", ["n"], np.int64)],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["n"])],
        stored=stored,
    )
    result = rewritten(proto)
    assert rewriting.operators(result) == {"Gather": 2}
    options = {"x": np.array([0, 1])}
    assert oracles.untouched(result, ["y"], options)["y"].tolist() == ["b", "a"]


def test_equal_bytes_of_different_types_are_two_constants() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    stored = {name: np.ones(4, np.uint8).view(getattr(ml_dtypes, f"float8_{name}")) for name in ("e4m3fn", "e4m3fnuz")}
    nodes = [node("Concat", f"x_{name} {name}", f"y_{name}", axis=0) for name in stored]
    ports = [
        helper.make_tensor_value_info(f"{port}_{name}", element_type(one), [size])
        for port, size in (("x", 1), ("y", 5))
        for name, one in stored.items()
    ]
    result = rewritten(graph_of(nodes, ports[:2], ports[2:], opset=21, stored=stored))
    assert len(result.graph.initializer) == 2
