"""Folding: what is computed from constants alone, how it is called, and what is taken out."""

from __future__ import annotations

import numpy as np
import onnx
import oracles
import pytest
import rewriting
from onnx import TensorProto, helper, numpy_helper
from rewriting import graph_of, node, rewritten, value

from onnxviz.passes.fold_weights import fold
from onnxviz.passes.values import as_tensor, element_type


def array(*shape: int, seed: int = 0, dtype: object = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(dtype)


def convolution(*nodes: onnx.NodeProto, opset: int = 18, **options: object) -> onnx.ModelProto:
    """A convolution of 3 → 4 channels whose kernel `k` the nodes make."""
    return graph_of([*nodes, node("Conv", "x k", "y", name="conv")], {"x": ["n", 3, 9, 9]}, "y", opset=opset, **options)


FEEDS = {"x": array(2, 3, 9, 9, seed=9)}
HWIO = [node("Transpose", "conv/kernel", "k", perm=(3, 2, 0, 1))]


# ---- kernels


def test_a_kernel_in_another_order_is_a_view_that_keeps_its_name() -> None:
    weights = {"conv/kernel": array(9, 9, 3, 4)}
    folded = fold(convolution(*HWIO), weights)
    assert list(folded.arrays) == ["conv/kernel"]
    assert np.shares_memory(folded.arrays["conv/kernel"], weights["conv/kernel"])
    result = rewritten(convolution(*HWIO), weights, FEEDS)
    assert rewriting.operators(result) == {"Conv": 1}
    np.testing.assert_array_equal(rewriting.stored(result)["conv/kernel"], weights["conv/kernel"].transpose(3, 2, 0, 1))


@pytest.mark.parametrize("opset", range(13, 24))
def test_every_way_of_arranging_gives_a_view(opset: int) -> None:
    weights = {"conv/kernel": array(1, 3 * 9 * 4 * 4)}
    nodes = [
        node("Constant", "", "sizes", value=numpy_helper.from_array(np.array([12, 1, -1, 4]))),
        node("Constant", "", "one", value_ints=[1]),
        node("Constant", "", "zero", value_ints=[0]),
        node("Squeeze", "conv/kernel zero", "flat"),
        node("Reshape", "flat sizes", "square"),
        node("Squeeze", "square one", "thin"),
        node("Unsqueeze", "thin zero", "wide"),
        node("Squeeze", "wide", "again"),
        node("Identity", "again", "same"),
        node("Constant", "", "last", value=numpy_helper.from_array(np.array([4, 3, -1, 4]))),
        node("Reshape", "same last", "k"),
    ]
    proto = convolution(*nodes, opset=opset)
    folded = fold(proto, weights)
    assert np.shares_memory(folded.arrays["conv/kernel"], weights["conv/kernel"])
    assert rewriting.operators(rewritten(proto, weights, FEEDS)) == {"Conv": 1}


def test_weights_fed_as_inputs_are_no_inputs_any_more() -> None:
    proto = convolution(*HWIO)
    proto.graph.input.insert(0, value("conv/kernel", [3, 3, 3, 4]))
    result = rewritten(proto, {"conv/kernel": array(3, 3, 3, 4)}, FEEDS)
    assert [one.name for one in result.graph.input] == ["x"]


def test_equal_weights_are_never_merged() -> None:
    weights = {"a/kernel": array(3, 3, 3, 4), "b/kernel": array(3, 3, 3, 4)}
    weights |= {"a/bias": np.zeros(4, np.float32), "b/bias": np.zeros(4, np.float32)}
    nodes = [
        *(node("Transpose", f"{one}/kernel", f"{one}_k", perm=(3, 2, 0, 1)) for one in "ab"),
        *(node("Conv", f"x {one}_k {one}/bias", f"{one}_y") for one in "ab"),
        node("Add", "a_y b_y", "y"),
    ]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y"), weights, FEEDS)
    assert set(rewriting.stored(result)) == set(weights)


def test_one_weight_read_in_two_orders_is_stored_in_both() -> None:
    weights = {"conv/kernel": array(4, 4, 4, 4)}
    nodes = [
        node("Transpose", "conv/kernel", "k", perm=(3, 2, 0, 1)),
        node("Transpose", "conv/kernel", "l", perm=(3, 2, 1, 0)),
        node("Transpose", "conv/kernel", "m", perm=(3, 2, 0, 1)),
        *(node("Conv", f"x {kernel}", f"y_{kernel}") for kernel in "klm"),
        node("Sum", "y_k y_l y_m", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 4, 9, 9]}, "y")
    result = rewritten(proto, weights, {"x": array(1, 4, 9, 9)})
    first, second, third = (one.input[1] for one in result.graph.node if one.op_type == "Conv")
    assert first == third == "conv/kernel"
    assert second == "conv/kernel_2"
    folded = fold(proto, weights)
    assert all(np.shares_memory(one, weights["conv/kernel"]) for one in folded.arrays.values())


@pytest.mark.parametrize("count", [4, 400])
def test_equal_constants_that_nobody_trained_are_one(count: int) -> None:
    stored = {"p": np.full(count, 2, np.float32), "q": np.full(count, 2, np.float32)}
    nodes = [node("Mul", "x p", "a"), node("Mul", "a q", "y")]
    result = rewritten(graph_of(nodes, {"x": ["n", count]}, "y", stored=stored), {}, {"x": array(2, count)})
    assert len(rewriting.stored(result)) == (1 if count == 4 else 2)  # large ones are not compared


def test_what_several_weights_make_is_called_after_their_layer() -> None:
    weights = {"conv/kernel": array(4, 3, 1, 1), "conv/scale": array(4, 1, 1, 1), "other/scale": array(1)}
    nodes = [
        node("Mul", "conv/kernel conv/scale", "k"),
        node("Conv", "x k", "c"),
        node("Mul", "conv/scale other/scale", "s"),
    ]
    nodes += [node("Squeeze", "s", "v"), node("Add", "c v", "y")]
    nodes[3] = node("Reshape", "s sizes", "v")
    proto = graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y", stored={"sizes": np.array([1, 4, 1, 1])})
    result = rewritten(proto, weights, FEEDS)
    assert set(rewriting.stored(result)) == {"conv/folded", "v"}


def test_a_shape_does_not_count_as_trained() -> None:
    """A bias that is given the shape of another weight is still that one bias."""
    weights = {"conv/kernel": array(4, 3, 1, 1), "conv/bias": array(4), "norm/bias": array(1, 4, 1, 1)}
    nodes = [node("Shape", "norm/bias", "sizes"), node("Reshape", "conv/bias sizes", "b")]
    nodes += [node("Conv", "x conv/kernel", "c"), node("Add", "c b", "y")]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y"), weights, FEEDS)
    assert [*rewriting.the(result, "Conv").input] == ["x", "conv/kernel", "conv/bias"]


# ---- types and bytes


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


# ---- what is not folded


@pytest.mark.parametrize("opset", [13, 19, 21])
def test_quantisation_stays(opset: int) -> None:
    weights = {"w": array(3, 4), "s": np.float32(0.1).reshape(())}
    nodes = [
        node("QuantizeLinear", "w s zero", "q"),
        node("DequantizeLinear", "q s zero", "d"),
        node("MatMul", "x d", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3]}, "y", opset=opset, stored={"zero": np.int8(0)})
    result = rewritten(proto, weights, {"x": array(2, 3)}, asked=["onnxruntime"])  # onnxruntime multiplies less exactly
    assert rewriting.operators(result) == rewriting.operators(proto)


def test_infinity_and_nan_are_folded_in_silence() -> None:
    weights = {"norm/w": np.float32([0, -1, 1e30])}
    nodes = [node("Log", "norm/w", "a"), node("Mul", "norm/w norm/w", "b"), node("Sum", "x a b", "y")]
    result = rewritten(graph_of(nodes, {"x": [3]}, "y"), weights, {"x": array(3)})
    assert rewriting.operators(result) == {"Sum": 1}


def test_chance_stays() -> None:
    nodes = [
        node("RandomNormal", "", "a", shape=[3]),
        node("RandomUniformLike", "w", "b"),
        node("Bernoulli", "w", "c"),
        node("Dropout", "w ratio training", "d e"),
        node("Sum", "x a b c d", "y"),
    ]
    stored = {"w": np.full(3, 0.5, np.float32), "ratio": np.float32(0.5), "training": np.array(True)}
    result = rewritten(graph_of(nodes, {"x": [3]}, "y", stored=stored))
    assert rewriting.operators(result) == {one.op_type: 1 for one in nodes}


def test_dropout_of_a_constant_that_drops_nothing() -> None:
    nodes = [node("Dropout", "w ratio training", "d"), node("Dropout", "d", "e -"), node("Add", "x e", "y")]
    stored = {"w": array(3), "ratio": np.float32(0.5), "training": np.array(False)}
    result = rewritten(graph_of(nodes, {"x": [3]}, "y", stored=stored), {}, {"x": array(3)})
    assert rewriting.operators(result) == {"Add": 1}


@pytest.mark.parametrize(("size", "folded"), [(2**16, True), (2**16 + 1, False)])
def test_little_is_not_made_much(size: int, folded: bool) -> None:
    nodes = [node("Expand", "w sizes", "wide"), node("Add", "x wide", "y")]
    proto = graph_of(nodes, {"x": ["n"]}, "y", stored={"sizes": np.array([size]), "w": np.float32([2])})
    result = rewritten(proto, {}, {"x": array(size)})
    assert ("Expand" in rewriting.operators(result)) is not folded


def test_a_large_constant_node_is_a_constant() -> None:
    kernel = array(3, 3, 3, 2**13)
    nodes = [
        node("Constant", "", "w", value=numpy_helper.from_array(kernel)),
        node("Transpose", "w", "k", perm=(3, 2, 0, 1)),
    ]
    assert rewriting.operators(rewritten(convolution(*nodes), {}, FEEDS)) == {"Conv": 1}


def test_a_sequence_of_constants_stays_one() -> None:
    nodes = [
        node("SequenceConstruct", "v w", "s"),
        node("SequenceAt", "s index", "picked"),
        node("Add", "x picked", "y"),
    ]
    proto = graph_of(nodes, {"x": [3]}, "y", stored={"v": array(3), "w": array(3, seed=1), "index": np.array(1)})
    result = rewritten(proto, {}, {"x": array(3)})
    assert rewriting.operators(result)["SequenceConstruct"] == 1


def test_an_operator_of_another_domain_is_not_ours() -> None:
    nodes = [
        node("Identity", "w", "v", domain="own"),
        node("Identity", "x", "a", domain="own"),
        node("Add", "a v", "y"),
    ]
    proto = graph_of(nodes, {"x": [3]}, "y", stored={"w": array(3)}, domains=["own"])
    assert rewriting.operators(rewritten(proto)) == {"Identity": 2, "Add": 1}


def test_the_default_of_an_input_stays_a_default() -> None:
    proto = graph_of(
        [node("Mul", "x scale", "a"), node("Neg", "scale", "b"), node("Add", "a b", "y")],
        {"x": [3], "scale": [3]},
        "y",
        stored={"scale": np.float32([1, 2, 3])},
    )
    result = rewritten(proto, {}, {"x": array(3)})
    assert [one.name for one in result.graph.initializer] == ["scale"]
    rewritten(proto, {}, {"x": array(3), "scale": array(3)})


# ---- outputs


def test_outputs_that_are_constants() -> None:
    weights = {"a/w": array(3, 4), "b": array(400, 3)}
    nodes = [
        node("Transpose", "a/w", "turned", perm=(1, 0)),
        node("Identity", "b", "same"),
        node("Gemm", "x a/w", "y"),
        node("Exp", "a/w", "made"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3]}, "same y turned made b")
    result = rewritten(proto, weights, {"x": array(2, 3)})
    assert rewriting.operators(result) == {"Gemm": 1}
    assert rewriting.the(result, "Gemm").input[1] == "a/w"


def test_an_output_called_as_a_weight_keeps_the_name() -> None:
    weights = {"conv/kernel": array(4, 3, 3, 3)}
    nodes = [node("Transpose", "conv/kernel", "k", perm=(0, 1, 3, 2)), node("Conv", "x k", "y")]
    proto = graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y conv/kernel")
    rewritten(proto, weights, FEEDS)


def test_identities_to_outputs_go() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("Identity", "a", "first"),
        node("Identity", "a", "second"),
        node("Identity", "first", "third"),
        node("Neg", "a", "fourth"),
        node("Identity", "x", "fifth"),
    ]
    proto = graph_of(nodes, {"x": [3]}, "third first second fourth fifth")
    result = rewritten(proto, {}, {"x": array(3)})
    assert rewriting.operators(result) == {"Relu": 1, "Neg": 1, "Identity": 3}


# ---- what does nothing


@pytest.mark.parametrize("opset", [13, 15, 19, 21])
def test_what_gives_its_input_on_is_taken_out(opset: int) -> None:
    nodes = [
        node("Identity", "x", "a"),
        node("Dropout", "a", "b"),
        node("Dropout", "b - off", "c -"),
        node("Cast", "c", "d", to=TensorProto.FLOAT),
        node("Transpose", "d", "e", perm=(0, 1)),
        node("Mul", "one e", "f"),
        node("Mul", "f one", "g"),
        node("Div", "g one", "h"),
        node("Relu", "h", "i"),
        node("Cast", "i", "j", to=TensorProto.FLOAT),
        *([node("CastLike", "j x", "k")] if opset >= 15 else [node("Identity", "j", "k")]),
        node("Neg", "k", "y"),
    ]
    proto = graph_of(nodes, {"x": [2, 3]}, "y", opset=opset, stored={"one": np.float32(1), "off": np.array(False)})
    special = np.float32([[np.nan, -0.0, np.inf], [-np.inf, 1e-42, 0.0]])
    result = rewritten(proto, {}, {"x": special})
    assert rewriting.operators(result) == {"Relu": 1, "Neg": 1}


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Mul", "x wide_one", "a"), node("Neg", "a", "y")],  # broadcasts
        [node("Div", "one x", "a"), node("Neg", "a", "y")],
        [node("Mul", "x two", "a"), node("Neg", "a", "y")],
        [node("Add", "x zero", "a"), node("Identity", "a", "b"), node("Neg", "b", "y")],  # −0.0 + 0.0 is 0.0
        [node("Cast", "x", "a", to=TensorProto.FLOAT16), node("Cast", "a", "y", to=TensorProto.FLOAT)],
        [node("CastLike", "x half", "a"), node("CastLike", "a one", "y")],
        [node("Transpose", "x", "a", perm=(1, 0)), node("Neg", "a", "y")],
        [node("Transpose", "x", "a"), node("Neg", "a", "y")],
        [node("Dropout", "x", "a b"), node("Cast", "b", "c", to=TensorProto.FLOAT), node("Add", "a c", "y")],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_what_does_something_stays(nodes: list[onnx.NodeProto]) -> None:
    one = np.float32(1)
    stored = {"one": one, "wide_one": one.reshape(1, 1, 1, 1), "two": one * 2, "zero": one * 0, "half": np.float16(1)}
    proto = graph_of(nodes, {"x": [2, 3]}, "y", stored=stored)
    special = np.float32([[np.nan, -0.0, 0.3], [-np.inf, 1.00001, 0.0]])
    result = rewritten(proto, {}, {"x": special})
    names = ["y"]
    got = oracles.untouched(result, names, {"x": special})["y"]
    expected = oracles.untouched(proto, names, {"x": special})["y"]
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


def test_a_trained_one_stays() -> None:
    proto = graph_of([node("Mul", "x scale", "a"), node("Neg", "a", "y")], {"x": [3]}, "y")
    assert rewriting.operators(rewritten(proto, {"scale": np.array(1, np.float32)}, {"x": array(3)}))["Mul"] == 1


def test_what_no_output_needs_goes_and_holds_nothing_up() -> None:
    weights = {"k": array(4, 3, 1, 1), "b": array(4, 1, 1)}
    nodes = [node("Conv", "x k", "c"), node("Add", "c b", "y"), node("Relu", "c", "dead"), node("Neg", "dead", "too")]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y"), weights, FEEDS)
    assert rewriting.operators(result) == {"Conv": 1}


# ---- targets of Reshape


def test_flattening_that_keeps_the_batch_is_a_constant() -> None:
    nodes = [
        node("Shape", "x", "sizes"),
        node("Slice", "sizes begin end", "batch"),
        node("Concat", "batch rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    stored = {"begin": np.array([0]), "end": np.array([1]), "rest": np.array([12])}
    proto = graph_of(nodes, {"x": ["n", 3, 2, 2]}, "y", stored=stored)
    for batch in (1, 3, 0):
        result = rewritten(proto, {}, {"x": array(batch, 3, 2, 2)})
    assert rewriting.operators(result) == {"Reshape": 1}
    (target,) = rewriting.stored(result).values()
    assert target.tolist() == [-1, 12]


@pytest.mark.parametrize("opset", [13, 15, 18, 21])
def test_each_way_to_a_target(opset: int) -> None:
    """Of x: (n, 3, 2, 5), made (n, 30, 1)."""
    nodes = [
        node("Shape", "x", "sizes"),
        node("Cast", "sizes", "short", to=TensorProto.INT32),
        node("Cast", "short", "long", to=TensorProto.INT64),
        node("Gather", "long zero", "n"),
        node("Gather", "long last", "width"),
        node("Slice", "long low high - steps", "between"),
        node("ReduceProd", "between", "product", keepdims=0),
        node("Mul", "product width", "all"),
        node("Unsqueeze", "n first", "n1"),
        node("Unsqueeze", "all first", "all1"),
        node("Concat", "ones all1 n1", "target", axis=0),
        node("Slice", "target end begin first back", "reversed"),
        node("Identity", "reversed", "same"),
        node("Reshape", "x same", "y"),
    ]
    stored = {"zero": np.array(0), "last": np.array(-1), "low": np.array([-3]), "high": np.array([3])}
    stored |= {"steps": np.array([1]), "first": np.array([0]), "ones": np.array([1])}
    stored |= {"end": np.array([-1]), "begin": np.array([-(2**31)]), "back": np.array([-1])}
    proto = graph_of(nodes, {"x": ["n", 3, 2, 5]}, "y", opset=opset, stored=stored)
    result = rewritten(proto, {}, {"x": array(2, 3, 2, 5)})
    assert rewriting.operators(result) == {"Reshape": 1}
    (target,) = rewriting.stored(result).values()
    assert target.tolist() == [-1, 30, 1]


def test_a_product_whose_axes_are_named_is_no_empty_one() -> None:
    """tf2onnx marks every reduction noop_with_empty_axes, and names the axes."""
    nodes = [
        node("Shape", "x", "sizes"),
        node("Slice", "sizes low high", "between"),
        node("ReduceProd", "between first", "product", keepdims=1, noop_with_empty_axes=1),
        node("Slice", "sizes first low", "batch"),
        node("Concat", "batch product", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    stored = {"low": np.array([1]), "high": np.array([4]), "first": np.array([0])}
    proto = graph_of(nodes, {"x": ["n", 3, 2, 5]}, "y", stored=stored)
    result = rewritten(proto, {}, {"x": array(2, 3, 2, 5)})
    assert rewriting.operators(result) == {"Reshape": 1}


def test_sizes_along_two_axes_are_not_mixed_up() -> None:
    """Of x: (n, 3, 5, 7), whose sizes make the matrix [[n, 3], [5, 7]]."""
    nodes = [
        node("Shape", "x", "sizes"),
        node("Reshape", "sizes square", "matrix"),
        node("Transpose", "matrix", "turned", perm=(1, 0)),
        node("Concat", "matrix turned", "both", axis=1),  # [[n, 3, n, 5], [5, 7, 3, 7]]
        node("Reshape", "both line", "eight"),
        node("Gather", "eight picked", "target"),
        node("Gather", "matrix one", "column", axis=1),
        node("Concat", "column rest", "other", axis=0),
        node("Reshape", "x target", "y"),
        node("Reshape", "x other", "z"),
    ]
    stored = {"square": np.array([2, 2]), "line": np.array([8]), "one": np.array(1), "rest": np.array([10])}
    stored["picked"] = np.array([3, 1, 5, 2])
    proto = graph_of(nodes, {"x": ["n", 3, 5, 7]}, "y z", stored=stored)
    result = rewritten(proto, {}, {"x": array(2, 3, 5, 7)})
    assert rewriting.operators(result) == {"Reshape": 2}
    assert sorted(one.tolist() for one in rewriting.stored(result).values()) == [[3, 7, 10], [5, 3, 7, -1]]


@pytest.mark.parametrize(
    ("shape", "target", "settled"),
    [
        (["n", "m", 4], [0, 4], False),  # 0 is "as the input's"
        (["n", "m", 4], [-1], False),  # two open sizes
        (["n", 3, 4], [-1], True),
        ([2, 3, 4], [6, 2], True),
    ],
)
def test_when_a_target_is_settled(shape: list[int | str], target: list[int], settled: bool) -> None:
    nodes = [node("Shape", "x", "sizes", name="s"), node("Gather", "sizes zero", "n")]
    nodes += [node("Concat", "n rest", "target", axis=0), node("Reshape", "x target", "y")]
    proto = graph_of(nodes, {"x": shape}, "y", stored={"zero": np.array([0]), "rest": np.array(target)})
    feeds = {"x": array(*(size if isinstance(size, int) else 2 for size in shape))}
    result = rewritten(proto, {}, feeds)
    assert ("Shape" not in rewriting.operators(result)) is (settled and target != [-1])


def test_two_open_sizes_are_not_settled() -> None:
    nodes = [node("Shape", "x", "sizes"), node("Gather", "sizes order", "target"), node("Reshape", "x target", "y")]
    proto = graph_of(nodes, {"x": ["n", "m", 4]}, "y", stored={"order": np.array([1, 0, 2])})
    assert rewriting.operators(rewritten(proto, {}, {"x": array(2, 3, 4)})) == rewriting.operators(proto)


def test_allowzero_is_left_alone() -> None:
    nodes = [node("Shape", "x", "sizes"), node("Reshape", "x sizes", "y", allowzero=1)]
    proto = graph_of(nodes, {"x": ["n", 3]}, "y")
    assert rewriting.operators(rewritten(proto, {}, {"x": array(0, 3)})) == {"Shape": 1, "Reshape": 1}
    stored = {"zero": np.array([0, 5]), "w": np.zeros((0, 7), np.float32)}
    nodes = [node("Reshape", "w zero", "v", allowzero=1), node("Concat", "x v", "y", axis=0)]
    rewritten(graph_of(nodes, {"x": ["n", 5]}, "y", stored=stored), {}, {"x": array(2, 5)})


def test_a_cast_to_truth_values_changes_sizes() -> None:
    nodes = [
        node("Shape", "x", "sizes"),
        node("Slice", "sizes one two", "channels"),
        node("Cast", "channels", "flag", to=TensorProto.BOOL),
        node("Cast", "flag", "single", to=TensorProto.INT64),
        node("Concat", "single sizes", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3]}, "y", stored={"one": np.array([1]), "two": np.array([2])})
    rewritten(proto, {}, {"x": array(2, 3)})


def test_doubling_sizes_is_quick() -> None:
    nodes = [node("Shape", "x", "s0"), node("Squeeze", "s0", "m0")]
    nodes += [node("Mul", f"m{k} m{k}", f"m{k + 1}") for k in range(30)]
    nodes += [node("Unsqueeze", "m30 zero", "target"), node("Reshape", "x target", "y")]
    proto = graph_of(nodes, {"x": ["n"]}, "y", stored={"zero": np.array([0])})
    result = rewritten(proto, {}, {"x": array(1)})
    assert rewriting.operators(result) == {"Reshape": 1}


# ---- subgraphs and names


def test_subgraphs_read_what_was_folded() -> None:
    weights = {"dense/kernel": array(4, 3), "plain": array(4)}
    then_branch = helper.make_graph([node("MatMul", "x k", "p")], "t", [], [value("p", None)])
    else_branch = helper.make_graph([node("Add", "a plain", "q")], "e", [], [value("q", None)])
    nodes = [
        node("Transpose", "dense/kernel", "k", perm=(1, 0)),
        node("Identity", "x", "passed"),
        node("Mul", "passed one", "again"),
        node("MatMul", "again k", "a"),
        node("If", "flag", "y", then_branch=then_branch, else_branch=else_branch),
    ]
    inputs = [value("x", ["n", 3]), value("flag", [], bool)]
    proto = graph_of(nodes, inputs, "y", stored={"one": np.float32(1)})
    for flag in (True, False):
        result = rewritten(proto, weights, {"x": array(2, 3), "flag": np.array(flag)})
    assert rewriting.operators(result) == {"MatMul": 1, "If": 1}
    assert set(rewriting.stored(result)) == {"dense/kernel", "plain"}


def test_names_in_subgraphs_are_taken() -> None:
    """The folded kernel would be called as a tensor that a branch has of its own."""
    branches = []
    for op in ("Relu", "Abs"):
        inner = [node(op, "a", "dense/folded"), node("Add", "dense/folded k", f"{op}_y")]
        branches.append(helper.make_graph(inner, op, [], [value(f"{op}_y", None)]))
    nodes = [
        node("Mul", "dense/kernel dense/scale", "k"),
        node("MatMul", "x k", "a"),
        node("If", "flag", "y", then_branch=branches[0], else_branch=branches[1]),
    ]
    proto = graph_of(nodes, [value("x", ["n", 3]), value("flag", [], bool)], "y")
    weights = {"dense/kernel": array(3, 3), "dense/scale": array(3)}
    result = rewritten(proto, weights, {"x": array(3, 3), "flag": np.array(True)})
    assert [*rewriting.stored(result)] == ["dense/folded_2"]


def test_the_name_of_a_target_may_be_taken() -> None:
    nodes = [
        node("Shape", "x", "sizes"),
        node("Gather", "sizes zero", "n"),
        node("Concat", "n rest", "target", axis=0),
        node("Reshape", "x target", "r", name="flat"),
        node("Relu", "x", "flat/shape"),
        node("Flatten", "flat/shape", "f"),
        node("Add", "r f", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3, 2]}, "y", stored={"zero": np.array([0]), "rest": np.array([6])})
    rewritten(proto, {}, {"x": array(2, 3, 2)})


def test_the_source_is_not_changed_and_nothing_is_lost_without_weights() -> None:
    proto = convolution(stored={"k": array(4, 3, 3, 3)})
    result = rewritten(proto, {}, FEEDS)
    assert rewriting.stored(result)["k"].tolist() == rewriting.stored(proto)["k"].tolist()
