"""What the families of operators decide, seen from outside: operators that one list knew and another did not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import oracles
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxviz import capture
from onnxviz.explanations.sanity import learnt_layers
from onnxviz.model.model import Model, load
from onnxviz.model.taps import quantization

RNG = np.random.default_rng(5)
KERNEL = RNG.standard_normal((2, 3, 3, 3)).astype(np.float32)


def model(body: str, opset: int = 24, **constants: np.ndarray) -> Model:
    """Nodes from `x`, (n, 3, h, w), to `y`."""
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]>'
        " g (float[n,3,h,w] x) => (float[n,2,a,b] y) {" + body + "}"
    )
    for name, value in ({"k": KERNEL} | constants).items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    for dim in proto.graph.output[0].type.tensor_type.shape.dim:
        dim.ClearField("dim_param")
    return load(proto)


ACTIVATIONS = {
    "Swish": "y = Swish (c)",
    "LogSoftmax": "y = LogSoftmax <axis=1> (c)",
    "Shrink": "y = Shrink <lambd=0.5> (c)",
    "ThresholdedRelu": "y = ThresholdedRelu (c)",
    "FastGelu": "y = com.microsoft.FastGelu (c)",
    "QuickGelu": "y = com.microsoft.QuickGelu (c)",
    "BiasGelu": "y = com.microsoft.BiasGelu (c, b)",
    "Gelu": "y = com.microsoft.Gelu (c)",
}


@pytest.mark.parametrize("op", ACTIVATIONS)
def test_an_activation_is_the_layer_s_output_and_a_layer(op: str) -> None:
    made = model(f"c = Conv (x, k) {ACTIVATIONS[op]}", b=np.float32([1]))
    (conv,) = made.layers
    assert conv.taps == {"conv": "c", "activation": "y"}
    assert [layer.op.rpartition(":")[2] for layer in made.all_layers] == ["Conv", op]


def test_a_stranger_s_operator_is_no_activation() -> None:
    made = model("c = Conv (x, k) y = strange.Relu (c)")
    assert made.layers[0].taps["activation"] == "c"


@pytest.mark.parametrize("op", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_quantised_activations_are_layers(op: str) -> None:
    body = (
        "q = QuantizeLinear (x, s, z) c = QLinearConv (q, s, z, w, s, z, s, z)"
        f" a = com.microsoft.{op} (c, s, z, s, z) y = DequantizeLinear (a, s, z)"
    )
    made = model(body, w=np.ones((2, 3, 3, 3), np.uint8), s=np.float32(0.1), z=np.uint8(3))
    assert [layer.op.rpartition(":")[2] for layer in made.all_layers] == ["QLinearConv", op]
    assert made.layers[0].taps["activation"] == "a"


NORMALISATIONS = {
    "LpNormalization": "LpNormalization (c)",
    "RMSNormalization": "RMSNormalization (c, one)",
    "MeanVarianceNormalization": "MeanVarianceNormalization (c)",
}


@pytest.mark.parametrize("op", NORMALISATIONS)
def test_normalisations_are_layers(op: str) -> None:
    made = model(f"c = Conv (x, k) y = {NORMALISATIONS[op]}", one=np.float32([1]))
    assert [layer.op for layer in made.all_layers] == ["Conv", op]


@pytest.mark.parametrize("op", ["ThresholdedRelu", "Swish", "Floor", "IsNaN", "Not", "Equal"])
def test_the_names_of_open_sizes_go_on(op: str) -> None:
    """onnx's inference loses them at the convolution; they go on through every operator that keeps the size."""
    before = {"Not": "t = IsNaN (c)"}.get(op, "t = Identity (c)")
    after = {"IsNaN", "Not", "Equal"} & {op}
    made = f"t2 = {op} (t{', t' if op == 'Equal' else ''}) y = " + ("Cast <to=1> (t2)" if after else "Identity (t2)")
    shapes = model(f"c = Conv <pads=[1,1,1,1]> (x, k) {before} {made}").shapes
    assert shapes.of("t2") == ("n", 2, "h", "w")


@pytest.mark.parametrize(
    "move",
    [
        "m = Slice (q, one, two, one)",
        "m, rest = Split <axis=1, num_outputs=2> (q)",
        "m = Gather <axis=1> (q, one)",
        "m = DepthToSpace <blocksize=1> (q)",
        "m = Tile (q, times)",
    ],
)
def test_quantised_elements_that_are_moved_keep_their_scale(move: str) -> None:
    made = model(
        f"c = Conv (x, k) q = QuantizeLinear (c, s, z) {move} y = Identity (c)",
        s=np.float32(0.1), z=np.uint8(3), one=np.int64([1]), two=np.int64([2]), times=np.int64([1, 1, 2, 1]),
    )  # fmt: skip
    found = quantization(made.scope, "m")
    assert found is not None
    assert (found.scale, found.zero_point) == ("s", "z")


def test_zero_points_and_values_to_set_are_no_parameters() -> None:
    made = model(
        "c = Conv (x, k) o = OneHot <axis=1> (i, d, v) q = MatMulInteger (p, w, z, z2) y = Identity (c)",
        i=np.int64([0, 1]),
        d=np.int64([4]),
        v=np.float32([0, 1]),
        p=np.ones((2, 3), np.uint8),
        w=np.ones((3, 4), np.uint8),
        z=np.uint8([1, 2]),
        z2=np.uint8([1, 2, 3, 4]),
    )
    assert made.parameters == KERNEL.size + 6 + 12


def test_what_shares_its_range_by_a_matrix_product_is_run_alone() -> None:
    """onnxruntime's DynamicQuantizeMatMul takes the range of its input over all samples that run together."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "k"], ["c"]),
            helper.make_node("DynamicQuantizeMatMul", ["c", "b", "s"], ["d"], domain="com.microsoft"),
            helper.make_node("Conv", ["d", "one"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2, 4, 4])],
        [
            numpy_helper.from_array(KERNEL, "k"),
            numpy_helper.from_array(RNG.integers(0, 9, (4, 4)).astype(np.uint8), "b"),
            numpy_helper.from_array(np.float32(0.1), "s"),
            numpy_helper.from_array(np.eye(2, dtype=np.float32)[:, :, None, None], "one"),
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    x = RNG.standard_normal((4, 3, 6, 6)).astype(np.float32) * np.float32([1, 100, 0.01, 10]).reshape(4, 1, 1, 1)
    maps = list(capture(load(proto), [x]).values())[-1]
    for index in range(4):
        alone = oracles.untouched(proto, ["y"], {"x": x[index : index + 1]})["y"]
        assert oracles.relative(maps[index : index + 1], alone) < 1e-6


def test_fused_layers_are_learnt() -> None:
    made = model('c = com.microsoft.FusedConv <activation="Relu"> (x, k) y = Identity (c)')
    assert [weights for _, weights in learnt_layers(made, "y")] == [("k",)]
