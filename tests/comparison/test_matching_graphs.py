"""Small graphs whose layers are told apart by one kind of evidence, or by none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import zoo
from deadlines import processor_seconds
from disguises import copied, shuffled
from rewriting import array, graph_of, node

import onnxviz
from onnxviz.comparison.matching import match_layers
from onnxviz.errors import SelectionError

UNET = Path(__file__).resolve().parents[2] / "models" / "unet.onnx"
Weights = Callable[[int], np.ndarray]


def chain(count: int, weights: Weights, operator: str = "Conv", rank: int = 2, group: int = 1) -> onnx.ModelProto:
    """Convolutions one behind the other; the tensor behind the first is `y0`."""
    nodes, stored, tensor = [], {}, "x"
    for number in range(count):
        stored[f"k{number}"] = weights(number)
        pads = [1] * 2 * rank
        nodes.append(node(operator, f"{tensor} k{number}", f"y{number}", pads=pads, group=group))
        nodes.append(node("Relu", f"y{number}", f"r{number}"))
        tensor = f"r{number}"
    channels = weights(0).shape[0 if operator == "ConvTranspose" else 1] * group
    return graph_of(nodes, {"x": ["n", channels, *[9] * rank]}, tensor, stored=stored)


def drawn(seed: int, *shape: int) -> Weights:
    return lambda number: array(*(shape or (8, 8, 3, 3)), seed=seed + number)


def unnamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = copied(proto)
    for one in made.graph.node:
        one.name = ""
    return made


def found(a: onnx.ModelProto, b: onnx.ModelProto, ops: list[str] | None = None) -> dict[str, str]:
    """What is matched, by the tensors that the layers make; nodes have no names."""
    matching = match_layers(onnxviz.load(unnamed(a)), onnxviz.load(unnamed(b)), ops)
    return {pair.a.taps["conv"]: pair.b.taps["conv"] for pair in matching.pairs}


def same(count: int) -> dict[str, str]:
    return {f"y{number}": f"y{number}" for number in range(count)}


def zero(number: int) -> np.ndarray:
    return np.zeros((8, 8, 3, 3), np.float32)


def constant(number: int) -> np.ndarray:
    return np.full((8, 8, 3, 3), 0.5, np.float32)


def shared(number: int) -> np.ndarray:
    return array(8, 8, 3, 3, seed=1)


@pytest.mark.parametrize("weights", [zero, constant, shared, drawn(0)], ids=["zero", "constant", "shared", "drawn"])
def test_equal_layers_in_a_row(weights: Weights) -> None:
    assert found(chain(5, weights), chain(5, weights)) == same(5)
    more = found(chain(5, weights), chain(6, weights))
    assert more == (same(5) if weights(0).any() and (weights(0) != weights(1)).any() else {})


def test_another_layer_among_equal_ones() -> None:
    """What is before it is where it was, counted from the input, and what is behind it, counted from the output."""

    def other(number: int) -> np.ndarray:
        return array(8, 8, 5, 5) if number == 4 else drawn(90)(number)

    assert found(chain(9, drawn(0)), chain(10, other)) == {f"y{n}": f"y{n + (n >= 4)}" for n in range(9)}


def test_layers_that_changed_places() -> None:
    order = [2, 0, 1, 4, 3]
    swapped = chain(5, lambda number: drawn(0)(order[number]))
    assert found(chain(5, drawn(0)), swapped) == {f"y{order[place]}": f"y{place}" for place in range(5)}


def test_signs_and_scales_of_filters_and_noise() -> None:
    rng = np.random.default_rng(0)

    def changed(number: int) -> np.ndarray:
        scale = rng.choice([-1, 1], 8) * rng.uniform(0.01, 30, 8)
        noisy = drawn(0)(number) + rng.normal(0, 0.1, (8, 8, 3, 3))
        return (noisy * scale[:, None, None, None]).astype(np.float32)

    matching = match_layers(onnxviz.load(chain(5, drawn(0))), onnxviz.load(shuffled(chain(5, changed))))
    assert {pair.by for pair in matching.pairs} == {"weights"}
    assert [(pair.a.taps["conv"], pair.b.taps["conv"]) for pair in matching.pairs] == list(same(5).items())


def test_a_retrained_part_is_matched_between_what_is_known() -> None:
    def ends(last: int) -> Weights:
        return lambda number: {0: drawn(0)(0), last: drawn(0)(4)}.get(number, drawn(90)(number))

    assert found(chain(5, drawn(0)), chain(5, ends(4))) == same(5)
    assert found(chain(5, drawn(0)), chain(6, ends(5))) == {"y0": "y0", "y4": "y5"}


def test_one_of_two_layers_of_one_weight_is_gone() -> None:
    """Which of them is left is told by what lies between."""
    between = drawn(50)(0)
    before = chain(3, lambda number: between if number == 1 else shared(0))
    after = chain(2, lambda number: between if number == 0 else shared(0))
    assert found(before, after) == {"y1": "y0", "y2": "y1"}
    assert found(chain(2, shared), chain(1, shared)) == {}


def siamese(left: str, right: str, *, turned: bool = False, channels: int = 4) -> onnx.ModelProto:
    nodes = [node("Conv", f"{left} k", "a"), node("Conv", f"{right} k", "b")]
    nodes += [node("Concat", "a b", "c", axis=1), node("Conv", "c h", "y")]
    stored = {"k": array(channels, 3, 3, 3, seed=1), "h": array(4, 2 * channels, 1, 1, seed=2)}
    if turned:
        nodes[:2] = nodes[1::-1]
    inputs = sorted([left, right])
    return graph_of(nodes, {name: ["n", 3, 9, 9] for name in inputs}, "y", stored=stored)


def test_branches_of_one_weight_are_told_apart_by_their_inputs() -> None:
    plain = siamese("left", "right")
    assert found(plain, siamese("left", "right", turned=True)) == {"a": "a", "b": "b", "y": "y"}
    assert found(plain, siamese("right", "left", turned=True)) == {"a": "b", "b": "a", "y": "y"}
    assert found(plain, siamese("first", "second")) == {"a": "a", "b": "b", "y": "y"}  # in the order of inputs


def parallel(one: str, other: str, seed: int, *, turned: bool = False) -> onnx.ModelProto:
    nodes = [node("Conv", f"x {one}.weight", "a"), node("Conv", f"x {other}.weight", "b"), node("Add", "a b", "y")]
    if turned:
        nodes[:2] = nodes[1::-1]
    stored = {f"{one}.weight": array(4, 3, 3, 3, seed=seed), f"{other}.weight": array(4, 3, 3, 3, seed=seed + 1)}
    return graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y", stored=stored)


def test_branches_alike_are_told_apart_by_names_that_are_names() -> None:
    plain = parallel("alpha", "beta", 1)
    matching = match_layers(onnxviz.load(plain), onnxviz.load(parallel("alpha", "beta", 7, turned=True)))
    assert [(pair.a.name, pair.b.name, pair.by) for pair in matching.pairs] == [
        ("alpha", "alpha", "name"),
        ("beta", "beta", "name"),
    ]
    assert found(parallel("conv1", "conv2", 1), parallel("conv2", "conv1", 7)) == {"a": "b", "b": "a"}
    assert found(parallel("conv_1", "conv_2", 1), parallel("conv_2", "conv_1", 7)) == {}  # some exporter's count
    assert found(parallel("m.1", "m.2", 1), parallel("m.2", "m.3", 7)) == {}  # one more before them, perhaps
    assert found(plain, parallel("gamma", "delta", 7)) == {}


@pytest.mark.parametrize("pooling", ["AveragePool", "MaxPool"])
def test_branches_alike_are_told_apart_by_a_pooling(pooling: str) -> None:
    """As in an Inception block (Szegedy et al. 2016)."""

    def block(seed: int, *, turned: bool = False) -> onnx.ModelProto:
        nodes = [node("Conv", "x k", "a"), node("Conv", "p h", "b"), node("Concat", "a b", "y", axis=1)]
        if turned:
            nodes[:2] = nodes[1::-1]
        nodes.insert(0, node(pooling, "x", "p", kernel_shape=[3, 3], pads=[1] * 4))
        stored = {"k": array(4, 3, 1, 1, seed=seed), "h": array(4, 3, 1, 1, seed=seed + 1)}
        return graph_of(nodes, {"x": ["n", 3, 9, 9]}, "y", stored=stored)

    assert found(block(1), block(7, turned=True)) == {"a": "a", "b": "b"}
    assert found(block(1), block(7, turned=True), [pooling]) == {"p": "p"}


def test_two_models_that_have_nothing_in_common() -> None:
    other = chain(2, drawn(0, 8, 8, 5, 5))
    matching = match_layers(onnxviz.load(chain(3, drawn(0))), onnxviz.load(other))
    assert matching.pairs == ()
    assert [layer.taps["conv"] for layer in matching.only_a] == ["y0", "y1", "y2"]
    assert [layer.taps["conv"] for layer in matching.only_b] == ["y0", "y1"]
    assert found(chain(3, drawn(0)), chain(3, drawn(0), "ConvTranspose")) == {}
    assert found(onnx.load(UNET), chain(5, drawn(0))) == {}


@pytest.mark.parametrize(
    ("weights", "options"),
    [
        (drawn(0, 8, 8, 3), {"rank": 1}),
        (drawn(0, 4, 4, 3, 3, 3), {"rank": 3}),
        (drawn(0, 8, 8, 3, 3), {"operator": "ConvTranspose"}),
        (drawn(0, 8, 1, 3, 3), {"group": 8}),
        (drawn(0, 8, 4, 3, 3), {"operator": "ConvTranspose", "group": 8}),
    ],
    ids=["1-D", "3-D", "transposed", "depthwise", "transposed in groups"],
)
def test_convolutions_of_all_kinds(weights: Weights, options: dict) -> None:
    if options.get("operator") == "ConvTranspose" and "group" in options:
        weights = drawn(0, 8, 1, 3, 3)
    plain = chain(4, weights, **options)
    back = chain(4, lambda number: weights(3 - number), **options)
    assert found(plain, plain) == same(4)
    assert found(plain, back) == {f"y{number}": f"y{3 - number}" for number in range(4)}
    assert found(plain, chain(4, lambda number: weights(number + 20), **options)) == same(4)


def test_a_1d_convolution_written_in_2d() -> None:
    flat = chain(3, drawn(0, 8, 8, 3), rank=1)
    nodes = [node("Unsqueeze", "x axis", "x2")]
    for number, tensor in enumerate(("x2", "r0", "r1")):
        nodes += [node("Conv", f"{tensor} k{number}", f"y{number}", pads=[0, 1, 0, 1])]
        nodes += [node("Relu", f"y{number}", f"r{number}")]
    nodes.append(node("Squeeze", "r2 axis", "y"))
    for seed in (0, 30):
        stored: dict[str, object] = {f"k{n}": drawn(seed, 8, 8, 3)(n)[:, :, None] for n in range(3)}
        stored["axis"] = np.array([2])
        assert found(flat, graph_of(nodes, {"x": ["n", 8, 9]}, "y", stored=stored)) == same(3)


def test_dense_layers() -> None:
    def dense(seed: int) -> onnx.ModelProto:
        nodes = [node("Flatten", "x", "f"), node("Gemm", "f a", "g", transB=1), node("Relu", "g", "r")]
        nodes += [node("MatMul", "r b", "m"), node("MatMul", "m c", "n"), node("Softmax", "n", "y")]
        stored = {"a": array(20, 100, seed=seed), "b": array(20, 7, seed=seed + 1), "c": array(7, 7, seed=seed + 2)}
        return graph_of(nodes, {"x": ["n", 4, 5, 5]}, "y", stored=stored)

    for seed in (0, 8):
        assert found(dense(0), dense(seed), ["Gemm", "MatMul"]) == {"g": "g", "m": "m", "n": "n"}
    matching = match_layers(onnxviz.load(dense(0)), onnxviz.load(dense(0)), ["MatMul"])
    assert [pair.by for pair in matching.pairs] == ["weights", "weights"]


@pytest.mark.parametrize("name", zoo.NAMES)
def test_a_model_and_itself(name: str) -> None:
    """Subgraphs, functions, weights that are computed."""
    model = onnxviz.load(zoo.model(name))
    for ops in (None, model.operators):
        matching = match_layers(model, onnxviz.load(zoo.model(name)), ops)
        places = [[(one.graph_scope.name, one.taps["conv"]) for one in (pair.a, pair.b)] for pair in matching.pairs]
        assert places == [[(one.graph_scope.name, one.taps["conv"])] * 2 for one in model.layers_of(ops)]
        assert matching.only_a == matching.only_b == ()


def test_an_operator_that_no_model_has() -> None:
    a, b = onnxviz.load(parallel("a", "b", 1)), onnxviz.load(chain(2, drawn(0)))
    assert match_layers(a, b, ["Add"]).only_b == ()
    with pytest.raises(SelectionError, match="neither model has LSTM; they have Add, Conv, Relu"):
        match_layers(a, b, ["LSTM", "Add"])
    with pytest.raises(SelectionError, match="no operator was named"):
        match_layers(a, b, [])


# ---------------------------------------------------------------- cost


@pytest.mark.parametrize("seed", [0, 500], ids=["weights", "position"])
def test_three_hundred_layers(seed: int) -> None:
    plain, other = chain(300, drawn(0, 32, 32, 3, 3)), chain(300, drawn(seed, 32, 32, 3, 3))
    a, b = onnxviz.load(plain), onnxviz.load(shuffled(other))
    with processor_seconds(6):
        assert len(match_layers(a, b).pairs) == 300
