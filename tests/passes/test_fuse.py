"""What an exporter took apart: biases, 1-D convolutions, reshapes, padding; together where it is sure, else apart."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import rewriting
from onnx import NodeProto, helper
from rewriting import graph_of, node, rewritten, value

NHWC = (0, 2, 3, 1)
NCHW = (0, 3, 1, 2)
HWIO = (3, 2, 0, 1)


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)


# ---- biases


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("opset", [13, 18, 21, 23])
def test_a_trained_vector_is_the_bias(shape: tuple[int, ...], first: bool, opset: int) -> None:
    weights = {"conv/kernel": array(4, 3, 3, 3), "conv/bias": array(4)}
    nodes = [
        node("Reshape", "conv/bias sizes", "b"),
        node("Conv", "x conv/kernel", "c", name="conv"),
        node("Add", "c b" if first else "b c", "a"),
        node("Relu", "a", "y"),
    ]
    proto = graph_of(nodes, {"x": ["n", 3, 8, 8]}, "y", opset=opset, stored={"sizes": np.array(shape)})
    result = rewritten(proto, weights, {"x": array(2, 3, 8, 8)})
    assert rewriting.operators(result) == {"Conv": 1, "Relu": 1}
    assert [*rewriting.the(result, "Conv").input] == ["x", "conv/kernel", "conv/bias"]
    assert rewriting.the(result, "Conv").name == "conv"
    np.testing.assert_array_equal(rewriting.stored(result)["conv/bias"], weights["conv/bias"])


@pytest.mark.parametrize(("groups", "kernel"), [(1, (3, 4, 2, 2)), (3, (3, 2, 2, 2)), (3, (6, 1, 2, 2))])
def test_transposed_convolutions_with_groups(groups: int, kernel: tuple[int, ...]) -> None:
    channels = kernel[1] * groups
    weights = {"up/kernel": array(*kernel), "up/bias": array(channels, 1, 1)}
    nodes = [node("ConvTranspose", "x up/kernel", "c", group=groups, strides=[2, 2]), node("Add", "c up/bias", "y")]
    proto = graph_of(nodes, {"x": ["n", kernel[0], 4, 4]}, "y")
    feeds = {"x": array(2, kernel[0], 4, 4)}
    result = rewritten(proto, weights, feeds, asked=["onnxruntime"])  # the reference knows no groups here
    assert rewriting.operators(result) == {"ConvTranspose": 1}
    assert rewriting.stored(result)["up/bias"].shape == (channels,)


def test_a_bias_after_the_transpose_of_a_channels_last_exporter() -> None:
    weights = {"conv/kernel": array(3, 3, 3, 4), "conv/bias": array(4)}
    nodes = [
        node("Transpose", "conv/kernel", "k", perm=HWIO),
        node("Transpose", "x", "t", perm=NCHW),
        node("Conv", "t k", "c"),
        node("Transpose", "c", "u", perm=NHWC),
        node("Add", "u conv/bias", "y"),
    ]
    result = rewritten(graph_of(nodes, {"x": ["n", 8, 8, 3]}, "y"), weights, {"x": array(2, 8, 8, 3)})
    assert [one.op_type for one in result.graph.node] == ["Transpose", "Conv", "Transpose"]
    assert rewriting.the(result, "Conv").input[2] == "conv/bias"


PLAIN = [node("Conv", "x k", "c"), node("Add", "c b", "y")]
FOUR = {"k": array(4, 3, 3, 3)}


@pytest.mark.parametrize(
    ("nodes", "weights", "outputs"),
    [
        pytest.param(PLAIN, FOUR | {"b": array(4, 6, 6)}, "y", id="one number a place"),
        pytest.param(PLAIN, FOUR | {"b": array(1, 1, 1)}, "y", id="one number for all"),
        pytest.param(PLAIN, {"k": array(6, 3, 3, 3), "b": array(6)}, "y", id="along the width"),
        pytest.param(PLAIN, {"k": array(1, 3, 3, 3), "b": array(4, 1, 1)}, "y", id="more channels than filters"),
        pytest.param(PLAIN, FOUR | {"b": array(1, 1, 4, 1, 1)}, "y", id="an axis more"),
        pytest.param(PLAIN, FOUR | {"b": array(2, 4, 1, 1)}, "y", id="one vector an image"),
        pytest.param(PLAIN, FOUR | {"b": array(4, 1, 1)}, "y c", id="an output"),
        pytest.param(
            [*PLAIN[:1], node("Relu", "c", "r"), node("Add", "c b", "a"), node("Add", "a r", "y")],
            FOUR | {"b": array(4, 1, 1)},
            "y",
            id="another reader",
        ),
        pytest.param(
            [node("Conv", "x k own", "c"), node("Add", "c b", "y")],
            FOUR | {"b": array(4, 1, 1), "own": array(4)},
            "y",
            id="a bias already",
        ),
        pytest.param(
            [node("Exp", "b", "e"), *PLAIN[:1], node("Add", "c e", "y")],
            FOUR | {"b": array(4, 1, 1)},
            "y",
            id="computed",
        ),
    ],
)
def test_what_is_no_bias_is_added(nodes: list[NodeProto], weights: dict[str, np.ndarray], outputs: str) -> None:
    proto = graph_of(nodes, {"x": ["n", 3, 8, 8]}, outputs)
    result = rewritten(proto, weights, {"x": array(2, 3, 8, 8)})
    assert "Add" in rewriting.operators(result)
    assert len(rewriting.the(result, "Conv").input) == len(nodes[0].input if nodes[0].op_type == "Conv" else "xk")


def test_an_untrained_vector_is_no_bias() -> None:
    """Such as the mean that a preprocessing step takes off: the layer's bias would be something nobody trained."""
    proto = graph_of(PLAIN, {"x": ["n", 3, 8, 8]}, "y", stored={"b": array(4, 1, 1)})
    assert rewriting.operators(rewritten(proto, FOUR, {"x": array(2, 3, 8, 8)})) == {"Conv": 1, "Add": 1}


def test_a_branch_is_a_reader() -> None:
    inner = {
        key: helper.make_graph([node("Relu", "c", "p")], key, [], [value("p", None)])
        for key in ("then_branch", "else_branch")
    }
    nodes = [*PLAIN[:1], node("Add", "c b", "a"), node("If", "flag", "i", **inner), node("Add", "a i", "y")]
    proto = graph_of(nodes, [value("x", ["n", 3, 8, 8]), value("flag", [], bool)], "y")
    feeds = {"x": array(2, 3, 8, 8), "flag": np.array(True)}
    assert rewriting.operators(rewritten(proto, FOUR | {"b": array(4, 1, 1)}, feeds))["Add"] == 2


def test_one_bias_in_two_layers() -> None:
    weights = FOUR | {"b": array(4, 1, 1), "l": array(4, 3, 3, 3, seed=1)}
    nodes = [
        *PLAIN[:1],
        node("Add", "c b", "a"),
        node("Conv", "x l", "d"),
        node("Add", "b d", "e"),
        node("Mul", "a e", "y"),
    ]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, 8, 8]}, "y"), weights, {"x": array(2, 3, 8, 8)})
    assert rewriting.operators(result) == {"Conv": 2, "Mul": 1}
    assert [*rewriting.stored(result)] == ["k", "b", "l"]


def test_an_addition_of_another_domain_is_not_ours() -> None:
    nodes = [*PLAIN[:1], node("Add", "c b", "y", domain="own")]
    proto = graph_of(nodes, {"x": ["n", 3, 8, 8]}, "y", domains=["own"])
    assert rewriting.operators(rewritten(proto, FOUR | {"b": array(4, 1, 1)})) == {"Conv": 1, "Add": 1}


def test_the_name_of_a_bias_may_be_taken() -> None:
    nodes = [*PLAIN, node("Relu", "y", "b/bias"), node("Neg", "b/bias", "z")]
    proto = graph_of(nodes, {"x": ["n", 3, 8, 8]}, "z y")
    rewritten(proto, FOUR | {"b": array(4, 1, 1)}, {"x": array(2, 3, 8, 8)})


# ---- 1-D convolutions


def one_dimensional(
    convolutions: list[NodeProto], *, opset: int = 18, axis: int = 1, perms: tuple[object, object] = (NCHW, NHWC)
) -> list[NodeProto]:
    """1-D convolutions (of `in K`, making `out K`) as TensorFlow's graphs have them: x to y, channels last."""
    nodes = [node("Constant", "", "axis", value_ints=[axis]), node("Unsqueeze", "x axis", "wide")]
    source = "wide"
    for k, conv in enumerate(convolutions):
        options = [{"perm": perm} if perm is not None else {} for perm in perms]
        nodes += [node("Transpose", source, f"in{k}", **options[0]), conv]
        nodes += [node("Transpose", f"out{k}", f"back{k}", **options[1])]
        source = f"back{k}"
    return [*nodes, node("Squeeze", f"{source} axis", "y")]


@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ((4, 3, 1, 5), {}),
        ((4, 3, 1, 5), {"strides": [1, 2], "pads": [0, 3, 0, 1]}),
        ((4, 3, 1, 5), {"strides": [2, 2], "kernel_shape": [1, 5]}),
        ((4, 3, 1, 3), {"dilations": [1, 2], "pads": [0, 4, 0, 0]}),
        ((6, 1, 1, 3), {"group": 3, "auto_pad": "SAME_UPPER"}),
        ((4, 3, 1, 4), {"auto_pad": "SAME_LOWER", "strides": [1, 3]}),
        ((4, 3, 1, 4), {"auto_pad": "VALID"}),
    ],
)
@pytest.mark.parametrize("axis", [1, -3])
def test_convolutions_of_one_dimension(kernel: tuple[int, ...], attributes: dict[str, object], axis: int) -> None:
    weights = {"conv/kernel": array(*kernel), "conv/bias": array(kernel[0])}
    nodes = one_dimensional([node("Conv", "in0 conv/kernel", "out0", **attributes)], axis=axis)
    nodes[-1].name = nodes[-1].output[0] = "flat"
    nodes += [node("Add", "flat conv/bias", "b"), node("Relu", "b", "y")]
    result = rewritten(graph_of(nodes, {"x": ["n", 20, 3]}, "y"), weights, {"x": array(2, 20, 3)})
    assert [one.op_type for one in result.graph.node] == ["Transpose", "Conv", "Relu", "Transpose"]
    assert [*rewriting.the(result, "Conv").input[1:]] == ["conv/kernel", "conv/bias"]
    stored = rewriting.stored(result)["conv/kernel"]
    np.testing.assert_array_equal(stored, weights["conv/kernel"][:, :, 0])


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [1, 2], "pads": [0, 1, 0, 1]},
        {"strides": [1, 2], "output_padding": [0, 1]},
        {"strides": [1, 2], "output_shape": [1, 12]},
    ],
)
def test_transposed_convolutions_of_one_dimension(attributes: dict[str, object]) -> None:
    weights = {"up/kernel": array(3, 4, 1, 3)}
    nodes = one_dimensional([node("ConvTranspose", "in0 up/kernel", "out0", **attributes)])
    feeds = {"x": array(2, 6, 3)}
    result = rewritten(graph_of(nodes, {"x": ["n", 6, 3]}, "y"), weights, feeds, asked=["onnxruntime"])
    assert [one.op_type for one in result.graph.node] == ["Transpose", "ConvTranspose", "Transpose"]
    assert rewriting.stored(result)["up/kernel"].shape == (3, 4, 3)


def test_separable_convolutions_are_a_chain() -> None:
    weights = {"sep/depthwise": array(3, 1, 1, 3), "sep/pointwise": array(4, 3, 1, 1)}
    chain = [node("Conv", "in0 sep/depthwise", "out0", group=3), node("Conv", "in1 sep/pointwise", "out1")]
    proto = graph_of(one_dimensional(chain), {"x": ["n", 20, 3]}, "y")
    # Declared shapes of what the chain makes no longer hold.
    proto.graph.value_info.extend([value("out0", ["n", 3, 1, 18]), value("out1", ["n", 4, 1, 18])])
    result = rewritten(proto, weights, {"x": array(2, 20, 3)})
    assert [one.op_type for one in result.graph.node] == ["Transpose", "Conv", "Conv", "Transpose"]
    assert {name: one.shape for name, one in rewriting.stored(result).items()} == {
        "sep/depthwise": (3, 1, 3),
        "sep/pointwise": (4, 3, 1),
    }


def test_layers_in_a_row_share_no_transposes() -> None:
    weights = {f"c{k}/kernel": array(3, 3, 1, 3, seed=k) for k in range(3)}
    nodes: list[NodeProto] = []
    for k in range(3):
        layer = onnx.GraphProto(node=one_dimensional([node("Conv", f"in0 c{k}/kernel", "out0")]))
        names = {"x": f"x{k}", "y": f"f{k}"}
        for one in layer.node:
            one.name = f"{k}/{one.name}"
            for names_of in (one.input, one.output):
                for index, name in enumerate(names_of):
                    names_of[index] = names.get(name, name if "/" in name else f"{k}_{name}")
        nodes += [*layer.node, node("Relu", f"f{k}", f"x{k + 1}")]
    result = rewritten(graph_of(nodes, {"x0": ["n", 20, 3]}, "x3"), weights, {"x0": array(2, 20, 3)})
    assert rewriting.operators(result) == {"Transpose": 2, "Conv": 3, "Relu": 3}


HIGH = node("Conv", "in0 k", "out0", pads=[1, 0, 0, 0])


@pytest.mark.parametrize(
    ("nodes", "kernel", "inputs"),
    [
        pytest.param(one_dimensional([HIGH]), array(4, 3, 2, 3), {}, id="a kernel of height 2"),
        pytest.param(
            one_dimensional([node("Conv", "in0 k", "out0", pads=[1, 0, 1, 0], strides=[3, 1])]),
            array(4, 3, 1, 3),
            {},
            id="height padded",
        ),
        pytest.param(
            one_dimensional([node("Conv", "in0 k", "out0")], perms=(None, None)),
            array(3, 3, 1, 1),
            {"x": [1, 3, 3]},
            id="all axes reversed",
        ),
        pytest.param(
            one_dimensional([node("Conv", "in0 k", "out0")], perms=(NCHW, (0, 2, 1, 3))),
            array(1, 3, 1, 3),
            {},
            id="turned otherwise",
        ),
        pytest.param(
            [*one_dimensional([node("Conv", "in0 k", "out0")]), node("Relu", "in0", "z")],
            array(4, 3, 1, 3),
            {},
            id="read besides",
        ),
    ],
)
def test_what_is_not_one_dimensional_stays(
    nodes: list[NodeProto], kernel: np.ndarray, inputs: dict[str, list[int]]
) -> None:
    outputs = "y z" if nodes[-1].output[0] == "z" else "y"
    shape = inputs.get("x", [2, 20, 3])
    proto = graph_of(nodes, {"x": shape}, outputs)
    result = rewritten(proto, {"k": kernel}, {"x": array(*shape)})
    assert rewriting.stored(result)["k"].ndim == 4


# ---- reshapes


@pytest.mark.parametrize(
    ("target", "perm", "together"),
    [
        ([-1, 1, 1, 8], NCHW, True),
        ([0, 1, 1, -1], NCHW, True),
        ([2, 1, 1, 8], (3, 0, 1, 2), False),
        ([-1, 1, 8, 1], (1, 0, 3, 2), True),
        ([-1, 2, 4, 1], (0, 2, 1, 3), False),
        ([1, 0, 1, -1], (1, 0, 2, 3), False),  # 0 is the size of the same axis
    ],
)
def test_a_reshape_that_a_transpose_only_renames(target: list[int], perm: tuple[int, ...], together: bool) -> None:
    nodes = [node("Reshape", "x sizes", "r"), node("Transpose", "r", "t", perm=perm), node("CumSum", "t axis", "y")]
    proto = graph_of(nodes, {"x": ["n", 8]}, "y", stored={"sizes": np.array(target), "axis": np.array(0)})
    result = rewritten(proto, {}, {"x": array(2, 8)})
    assert ("Transpose" not in rewriting.operators(result)) is together


# ---- padding


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("kernel", "dilations"), [((2, 5), [3, 2]), ((3, 4), [1, 1]), ((1, 2), None)])
@pytest.mark.parametrize("size", [(9, 12), (4, 3)])
def test_padding_to_the_same_size(
    mode: str, kernel: tuple[int, int], dilations: list[int] | None, size: tuple[int, int]
) -> None:
    """Against a loop: onnxruntime 1.32 and onnx.reference leave the dilation out of account."""
    weight, x = array(2, 3, *kernel), array(1, 3, *size)
    options = {"dilations": dilations} if dilations else {}
    proto = graph_of([node("Conv", "x k", "y", auto_pad=mode, **options)], {"x": [1, 3, *size]}, "y")
    result = rewritten(proto, {"k": weight})
    steps = dilations or [1, 1]
    totals = [(k - 1) * step for k, step in zip(kernel, steps, strict=True)]
    before = [total // 2 if mode == "SAME_UPPER" else total - total // 2 for total in totals]
    padded = np.pad(x[0], [(0, 0), *((b, t - b) for b, t in zip(before, totals, strict=True))])
    expected = np.zeros((1, 2, *size))
    for out, row, column in np.ndindex(2, *size):
        seen = padded[:, row : row + totals[0] + 1 : steps[0], column : column + totals[1] + 1 : steps[1]]
        expected[0, out, row, column] = (seen.astype(np.float64) * weight[out]).sum()
    got = rewriting.oracles.untouched(result, ["y"], {"x": x})
    rewriting.same(got, [{"y": expected.astype(np.float32)}])
    assert not any(one.name == "auto_pad" for one in rewriting.the(result, "Conv").attribute)


def test_padding_that_depends_on_the_size_stays() -> None:
    nodes = [node("Conv", "x k", "y", auto_pad="SAME_UPPER", strides=[2, 2])]
    result = rewritten(graph_of(nodes, {"x": ["n", 3, "h", "w"]}, "y"), FOUR, {"x": array(2, 3, 7, 8)})
    assert any(one.name == "auto_pad" for one in rewriting.the(result, "Conv").attribute)


def test_metadata_stays_with_the_convolution() -> None:
    chain = one_dimensional([node("Conv", "in0 k", "out0", name="conv", auto_pad="SAME_UPPER")])
    conv = next(one for one in chain if one.op_type == "Conv")
    conv.metadata_props.add(key="onnxviz.layer", value="block/conv")
    chain[-1].name = chain[-1].output[0] = "flat"
    weights = {"k": array(4, 3, 1, 3), "b": array(4)}
    proto = graph_of([*chain, node("Add", "flat b", "y")], {"x": ["n", 20, 3]}, "y", stored={"unused": array(2)})
    conv = rewriting.the(rewritten(proto, weights, {"x": array(2, 20, 3)}), "Conv")
    assert (conv.name, [one.value for one in conv.metadata_props], conv.input[2]) == ("conv", ["block/conv"], "b")
