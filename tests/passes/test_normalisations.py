"""Normalisations in arithmetic become one operator, however the arithmetic is ordered; what only looks so stays."""

from __future__ import annotations

import numpy as np
import pytest
import rewriting
from onnx import NodeProto
from rewriting import array, graph_of, node, rewritten, value
from transposes import NCHW, conv

ONE = {"LayerNormalization": 1}
STATISTICS = [
    node("ReduceMean", "x axes", "m"),
    node("Sub", "x m", "d"),
    node("Mul", "d d", "q"),
    node("ReduceMean", "q axes", "v"),
    node("Add", "v eps", "e"),
    node("Sqrt", "e", "s"),
]
KERAS = [
    node("Reciprocal", "s", "i"),
    node("Mul", "i gamma", "j"),
    node("Neg", "m", "n"),
    node("Mul", "n j", "k"),
    node("Add", "k beta", "o"),
    node("Mul", "x j", "p"),
    node("Add", "p o", "y"),
]
TENSORFLOW = [
    node("Reciprocal", "s", "i"),
    node("Mul", "gamma i", "j"),
    node("Mul", "j m", "k"),
    node("Sub", "beta k", "o"),
    node("Mul", "j x", "p"),
    node("Add", "o p", "y"),
]
FORMULA = [node("Div", "d s", "i"), node("Mul", "i gamma", "j"), node("Add", "j beta", "y")]
SIZES = (2, 4, 5, 6)
STORED = {"axes": np.array([3]), "eps": np.float32(1e-2)}


def weights(*shape: int) -> dict[str, np.ndarray]:
    return {"norm/gamma": array(*shape) + 1, "norm/beta": array(*shape, seed=1)}


def named(nodes: list[NodeProto], names: dict[str, str]) -> list[NodeProto]:
    """The nodes, reading and making tensors of other names."""
    made = []
    for one in nodes:
        copy = NodeProto.FromString(one.SerializeToString())
        for field in (copy.input, copy.output):
            for index, name in enumerate(field):
                field[index] = names.get(name, name)
        copy.name = copy.output[0]
        made.append(copy)
    return made


def normalised(nodes: list[NodeProto], **names: str) -> list[NodeProto]:
    """Statistics and arithmetic, with the weights' own names."""
    return named([*STATISTICS, *nodes], {"gamma": "norm/gamma", "beta": "norm/beta", **names})


# ---- over the last axes


@pytest.mark.parametrize("opset", [17, 18, 21, 23])
@pytest.mark.parametrize("arithmetic", [KERAS, TENSORFLOW, FORMULA], ids=["Keras", "TensorFlow", "formula"])
@pytest.mark.parametrize("axes", [(3,), (2, 3), (1, 2, 3)])
def test_over_the_last_axes(opset: int, arithmetic: list[NodeProto], axes: tuple[int, ...]) -> None:
    nodes = normalised(arithmetic)
    if opset < 18:  # an attribute then
        for one in nodes:
            if one.op_type == "ReduceMean":
                del one.input[1:]
                one.attribute.extend(node("ReduceMean", "x", "y", axes=[axis - 4 for axis in axes]).attribute)
    own = weights(*SIZES[axes[0] :])
    proto = graph_of(nodes, {"x": ["n", *SIZES[1:]]}, "y", opset=opset, stored=STORED | {"axes": np.array(axes)})
    result = rewritten(proto, own, {"x": array(*SIZES)}, tolerance=1e-5)
    assert rewriting.operators(result) == ONE
    assert [*rewriting.the(result, "LayerNormalization").input] == ["x", "norm/gamma", "norm/beta"]
    for name, values in own.items():
        np.testing.assert_array_equal(rewriting.stored(result)[name], values)


def test_one_operator_is_nearer_to_the_truth() -> None:
    """Keras takes the mean off last, which loses digits where it is large; the operator takes it off first."""
    x, own = array(*SIZES) + np.float32(1e3), weights(6)
    proto = graph_of(normalised(KERAS), {"x": SIZES}, "y", stored=STORED)
    exact = x.astype(np.float64)
    exact -= exact.mean(3, keepdims=True)
    exact /= np.sqrt((exact**2).mean(3, keepdims=True) + np.float32(1e-2))
    exact = exact * own["norm/gamma"] + own["norm/beta"]
    errors = [
        np.abs(rewriting.oracles.untouched(model, ["y"], {"x": x})["y"] - exact).max()
        for model in (rewriting.attached(proto, own), rewritten(proto, own))
    ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("left_out", ["gamma", "beta", "both"])
def test_without_scale_or_offset(left_out: str) -> None:
    nodes = normalised(FORMULA)
    if left_out != "beta":
        nodes = [one for one in nodes if "norm/gamma" not in one.input]
    if left_out != "gamma":
        nodes = [one for one in nodes if "norm/beta" not in one.input]
    nodes[-1].output[0] = "y"
    if left_out == "gamma":
        nodes[-1].input[0] = "i"
    read = {name for one in nodes for name in one.input}
    own = {name: values for name, values in weights(6).items() if name in read}
    proto = graph_of(nodes, {"x": ["n", *SIZES[1:]]}, "y", stored=STORED)
    result = rewritten(proto, own, {"x": array(*SIZES)}, tolerance=1e-5)
    assert rewriting.operators(result) == ONE
    assert len(rewriting.the(result, "LayerNormalization").input) == (2 if left_out != "gamma" else 3)


def test_squares_may_be_powers() -> None:
    nodes = [node("Pow", "d two", "q") if one.output[0] == "q" else one for one in normalised(FORMULA)]
    proto = graph_of(nodes, {"x": SIZES}, "y", stored=STORED | {"two": np.float32(2)})
    result = rewritten(proto, weights(6), {"x": array(*SIZES)}, tolerance=1e-5)
    assert rewriting.operators(result) == ONE


def test_an_earlier_operator_set_keeps_the_arithmetic() -> None:
    nodes = normalised(KERAS)
    for one in nodes:
        if one.op_type == "ReduceMean":
            del one.input[1:]
            one.attribute.extend(node("ReduceMean", "x", "y", axes=[3]).attribute)
    stored = {"eps": STORED["eps"]}
    result = rewritten(graph_of(nodes, {"x": SIZES}, "y", opset=16, stored=stored), weights(6), {"x": array(*SIZES)})
    assert len(result.graph.node) == len(nodes)


def test_over_the_positions_of_a_channels_last_graph() -> None:
    """Once channels come first, positions are the last axes."""
    nodes = [*conv("c", "image", "x"), *normalised(KERAS, y="z"), *conv("c2", "z", "y")]
    own = weights(4, 5, 1) | {"c/kernel": array(1, 1, 3, 6), "c2/kernel": array(1, 1, 6, 2)}
    stored = STORED | {"axes": np.array([1, 2])}
    result = rewritten(graph_of(nodes, {"image": [2, 4, 5, 3]}, "y", stored=stored), own, {"image": array(2, 4, 5, 3)})
    assert rewriting.operators(result) == {"Transpose": 2, "Conv": 2, "LayerNormalization": 1}
    assert rewriting.stored(result)["norm/gamma"].shape == (4, 5)


PLAIN = normalised(KERAS)


def with_(changed: dict[str, NodeProto]) -> list[NodeProto]:
    """The Keras form, where the node that makes a tensor is another one."""
    return [changed.get(one.output[0], one) for one in PLAIN]


@pytest.mark.parametrize(
    ("nodes", "outputs", "changed"),
    [
        pytest.param([*PLAIN, node("Relu", "j", "z")], "y z", {}, id="another reader"),
        pytest.param(PLAIN, "y m", {}, id="the mean is an output"),
        pytest.param(with_({"n": node("Identity", "m", "n")}), "y", {}, id="the mean added"),
        pytest.param(with_({"d": node("Sub", "m x", "d")}), "y", {}, id="from the mean"),
        pytest.param(with_({"q": node("Mul", "d x", "q")}), "y", {}, id="no square"),
        pytest.param(with_({"v": node("ReduceMean", "q other", "v")}), "y", {}, id="other axes"),
        pytest.param(with_({"v": node("ReduceMax", "q axes", "v")}), "y", {}, id="no mean"),
        pytest.param(with_({"e": node("Sub", "v eps", "e")}), "y", {}, id="less epsilon"),
        pytest.param(with_({"i": node("Exp", "s", "i")}), "y", {}, id="no quotient"),
        pytest.param(with_({"k": node("Mul", "n i", "k")}), "y", {}, id="the mean unscaled"),
        pytest.param(with_({"p": node("Mul", "x2 j", "p")}), "y", {}, id="of another tensor"),
        pytest.param(with_({"p": node("Mul", "j j", "p")}), "y", {}, id="not of the input"),
        pytest.param(with_({"o": node("Sub", "k norm/beta", "o")}), "y", {}, id="offset taken off"),
        pytest.param(PLAIN, "y", {"norm/gamma": array(5, 6)}, id="scales of other axes"),
        pytest.param(PLAIN, "y", {"norm/beta": array(4, 5, 1)}, id="offsets of other axes"),
        pytest.param(PLAIN, "y", {"norm/beta": array(1)}, id="one offset for all"),
        pytest.param(PLAIN, "y", {"eps": array(6) ** 2 + 1}, id="many epsilons"),
        pytest.param(PLAIN, "y", {"axes": np.array([1])}, id="axes in the middle"),
    ],
)
def test_what_only_looks_so_stays(nodes: list[NodeProto], outputs: str, changed: dict[str, np.ndarray]) -> None:
    own = {name: changed.get(name, values) for name, values in weights(6).items()}
    if "axes" in changed:
        own = weights(4, 1, 1)
    stored = STORED | {"other": np.array([2])} | {k: v for k, v in changed.items() if k in STORED}
    read = {name for one in nodes for name in one.input}
    stored = {name: values for name, values in stored.items() if name in read}
    inputs = {"x": SIZES} | ({"x2": SIZES} if "x2" in read else {})
    feeds = {name: array(*SIZES, seed=seed) for seed, name in enumerate(inputs)}
    result = rewritten(graph_of(nodes, inputs, outputs, stored=stored), own, feeds, tolerance=1e-5)
    assert "LayerNormalization" not in rewriting.operators(result)


def test_another_layer_scales_for_itself() -> None:
    """A factor of the next layer, such as ConvNeXt's layer scale, is not the normalisation's."""
    nodes = [one for one in normalised(FORMULA, y="z") if "norm/beta" not in one.input]
    nodes += [node("Mul", "j next/scale", "y")]
    for one in nodes:
        one.metadata_props.add(key="onnxviz.layer", value="next" if one is nodes[-1] else "norm")
    own = {"norm/gamma": array(6), "next/scale": array(6, seed=2)}
    result = rewritten(graph_of(nodes, {"x": SIZES}, "y", stored=STORED), own, {"x": array(*SIZES)}, tolerance=1e-5)
    assert rewriting.operators(result) == ONE | {"Mul": 1}
    assert [entry.value for one in result.graph.node for entry in one.metadata_props] == ["norm", "next"]


@pytest.mark.parametrize("half", [False, True])
def test_only_float32(half: bool) -> None:
    """The operator's epsilon is a float32, and what it adds up in half precision is its own business."""
    dtype = np.float16 if half else np.float64
    own = {name: values.astype(dtype) for name, values in weights(6).items()}
    stored = STORED | {"eps": dtype(1e-2)}
    proto = graph_of(normalised(KERAS), [value("x", SIZES, dtype)], [value("y", None, dtype)], stored=stored)
    result = rewritten(proto, own, {"x": array(*SIZES, dtype=dtype)}, tolerance=1e-2 if half else 1e-6)
    assert "LayerNormalization" not in rewriting.operators(result)


# ---- by groups of channels


def grouped(source: str, split: str, join: str, casts: bool = False) -> list[NodeProto]:
    """As Keras writes it, to `y`; in half precision with a cast on either side."""
    ends = {"x": "wide", "y": "wider"} if casts else {"y": "flat"}
    nodes = [node("Reshape", f"{source} {split}", "x"), *normalised(KERAS, **ends)]
    if casts:
        nodes.insert(1, node("Cast", "x", "wide", to=rewriting.TensorProto.FLOAT))
        nodes.append(node("Cast", "wider", "flat", to=rewriting.TensorProto.FLOAT16))
    return [*nodes, node("Reshape", f"flat {join}", "y")]


@pytest.mark.parametrize("opset", [18, 21, 23])
@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("space", [(5,), (4, 5)])
def test_groups_of_channels(opset: int, groups: int, channels_last: bool, space: tuple[int, ...]) -> None:
    parts = [groups, 6 // groups]
    if channels_last:
        sizes, split = [*space, 6], [*space, *parts]
        axes, shape = [*range(1, len(space) + 1), len(space) + 2], [*[1] * len(space), *parts]
    else:
        sizes, split = [6, *space], [*parts, *space]
        axes, shape = [*range(2, len(space) + 3)], [*parts, *[1] * len(space)]
    stored = {"split": np.array([-1, *split]), "join": np.array([-1, *sizes]), "eps": STORED["eps"]}
    proto = graph_of(
        grouped("image", "split", "join"),
        {"image": ["n", *sizes]},
        "y",
        opset=opset,
        stored=stored | {"axes": np.array(axes)},
    )
    own = weights(*shape)
    result = rewritten(proto, own, {"image": array(2, *sizes)}, tolerance=1e-5)
    there = rewriting.operators(result)
    assert there.pop("Transpose", 0) == 2 * channels_last
    if groups == 6:
        assert there == {"InstanceNormalization": 1}
    elif opset >= 21:
        assert there == {"GroupNormalization": 1}
    else:
        assert there == {"Reshape": 2, "InstanceNormalization": 1, "Mul": 1, "Add": 1}
    for name, values in own.items():
        np.testing.assert_array_equal(rewriting.stored(result)[name].reshape(-1), values.reshape(-1))


def test_groups_in_half_precision_are_normalised_in_float32() -> None:
    stored = {"split": np.array([-1, 4, 5, 2, 3]), "join": np.array([-1, 4, 5, 6]), "axes": np.array([1, 2, 4])}
    nodes = grouped("image", "split", "join", casts=True)
    proto = graph_of(
        nodes,
        [value("image", ["n", 4, 5, 6], np.float16)],
        [value("y", None, np.float16)],
        stored=stored | {"eps": STORED["eps"]},
    )
    result = rewritten(proto, weights(1, 1, 2, 3), {"image": array(2, 4, 5, 6, dtype=np.float16)}, tolerance=1e-3)
    assert rewriting.operators(result) == {
        "Cast": 2,
        "Transpose": 2,
        "Reshape": 2,
        "InstanceNormalization": 1,
        "Mul": 1,
        "Add": 1,
    }


def of_open_sizes(order: str) -> list[NodeProto]:
    """Groups of an image of open height and width: as Keras asks for the sizes, or the two exchanged."""
    nodes = [node("Shape", "image", "shape")]
    for name, start in (("batch", 0), ("h", 1), ("w", 2)):
        nodes.append(node("Slice", f"shape at{start} at{start + 1}", name))
    nodes += [node("Concat", f"any {order} parts", "split", axis=0)]
    nodes += [node("Concat", f"batch {order} channels", "join", axis=0)]
    return [*nodes, *grouped("image", "split", "join")]


@pytest.mark.parametrize(("order", "found"), [("h w", True), ("w h", False)])
def test_open_sizes_are_told_apart(order: str, found: bool) -> None:
    stored = {f"at{k}": np.array([k]) for k in range(4)}
    stored |= {"any": np.array([-1]), "parts": np.array([2, 3]), "channels": np.array([6])}
    stored |= {"axes": np.array([1, 2, 4]), "eps": STORED["eps"]}
    proto = graph_of(of_open_sizes(order), {"image": ["n", "h", "w", 6]}, "y", stored=stored)
    if order == "w h":
        proto.graph.output[0].CopyFrom(value("y", ["n", "w", "h", 6]))
    result = rewritten(proto, weights(1, 1, 2, 3), {"image": array(2, 4, 5, 6)}, tolerance=1e-5)
    there = rewriting.operators(result)
    assert ("InstanceNormalization" in there) is found
    if found:
        assert (there["Shape"], there["Transpose"], there["Slice"]) == (1, 2, 0)


@pytest.mark.parametrize(
    ("split", "join", "axes"),
    [
        pytest.param([-1, 5, 4, 2, 3], [-1, 4, 5, 6], [1, 2, 4], id="positions rearranged"),
        pytest.param([-1, 4, 5, 2, 3], [-1, 5, 4, 6], [1, 2, 4], id="put together otherwise"),
        pytest.param([-1, 4, 5, 2, 3], [-1, 4, 5, 6], [1, 4], id="rows for themselves"),
        pytest.param([-1, 4, 5, 2, 3], [-1, 4, 5, 6], [0, 1, 2, 4], id="the batch together"),
        pytest.param([-1, 4, 5, 2, 3], [-1, 4, 5, 6], [1, 2, 3], id="every second channel"),
    ],
)
def test_what_is_no_group_stays(split: list[int], join: list[int], axes: list[int]) -> None:
    stored = {"split": np.array(split), "join": np.array(join), "axes": np.array(axes), "eps": STORED["eps"]}
    proto = graph_of(grouped("image", "split", "join"), {"image": ["n", 4, 5, 6]}, "y", stored=stored)
    result = rewritten(proto, weights(1, 1, 2, 3), {"image": array(2, 4, 5, 6)}, tolerance=1e-5)
    assert (
        rewriting.operators(result)
        .keys()
        .isdisjoint({"InstanceNormalization", "GroupNormalization", "LayerNormalization"})
    )


def test_a_layer_by_groups_between_convolutions_needs_no_transpose() -> None:
    nodes = [*conv("c", "image", "a"), *grouped("a", "split", "join"), *conv("c2", "y", "z")]
    own = weights(1, 1, 2, 3) | {"c/kernel": array(1, 1, 3, 6), "c2/kernel": array(1, 1, 6, 2)}
    stored = {"split": np.array([-1, 4, 5, 2, 3]), "join": np.array([-1, 4, 5, 6]), "axes": np.array([1, 2, 4])}
    nodes += [node("Transpose", "z", "out", perm=NCHW)]
    proto = graph_of(nodes, {"image": ["n", 4, 5, 3]}, "out", stored=stored | {"eps": STORED["eps"]})
    result = rewritten(proto, own, {"image": array(2, 4, 5, 3)}, tolerance=1e-5)
    assert rewriting.operators(result)["Transpose"] == 1
