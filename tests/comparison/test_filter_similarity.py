"""Groups of layers of the same weights, beside full cosines; and what comparing costs."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from rewriting import array, graph_of, node

import onnxviz
from onnxviz.comparison.filter_similarity import alike
from onnxviz.model.layer import Layer


def layers(*weights: np.ndarray) -> tuple[Layer, ...]:
    """Of convolutions side by side on one input; the first is `y0`."""
    nodes = [node("Conv", f"x k{number}", f"y{number}") for number in range(len(weights))]
    stored = {f"k{number}": weight.astype(np.float32) for number, weight in enumerate(weights)}
    inputs = {"x": ["n", weights[0].shape[1], 9, 9]}
    return onnxviz.load(graph_of(nodes, inputs, " ".join(f"y{n}" for n in range(len(weights))), stored=stored)).layers


def groups(a: tuple[Layer, ...], b: tuple[Layer, ...]) -> set[tuple[str, str]]:
    """By the numbers of the layers."""
    return {tuple("".join(layer.taps["conv"][1:] for layer in ones) for ones in group) for group in alike(a, b)}


W = [array(8, 4, 3, 3, seed=seed) for seed in range(4)]


def test_each_layer_is_found_among_others_of_its_shape() -> None:
    assert groups(layers(*W), layers(W[2], W[0], W[3])) == {("0", "1"), ("2", "0"), ("3", "2")}


def test_layers_of_one_weight_are_one_group() -> None:
    assert groups(layers(W[0], W[1], W[0]), layers(W[1], W[0])) == {("02", "1"), ("1", "0")}
    assert groups(layers(W[0], -2 * W[0]), layers(W[0], 3 * W[0])) == {("01", "01")}


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2, 0.5, 1.0])
def test_noise_is_borne_while_a_fifth_of_the_cosine_is_left(noise: float) -> None:
    rng = np.random.default_rng(3)
    spoilt = W[0] + noise * rng.normal(0, W[0].std(), W[0].shape)
    rows = [weight.reshape(8, -1).astype(np.float64) for weight in (W[0], spoilt)]
    lengths = [np.linalg.norm(row, axis=1) for row in rows]
    weights = np.minimum(*(length / length.max() for length in lengths))
    distance = 1 - np.average(np.abs((rows[0] * rows[1]).sum(1)) / (lengths[0] * lengths[1]), weights=weights)
    assert groups(layers(W[0]), layers(spoilt)) == ({("0", "0")} if distance < 0.2 else set())
    assert (distance < 0.2) == (noise < 1)


def test_a_layer_hardly_nearer_than_another_is_told_by_weights_only_where_the_margin_allows() -> None:
    near, far = (W[0] + part * W[1] for part in (0.1, 0.5))
    assert groups(layers(W[0]), layers(near, far)) == {("0", "0")}
    assert groups(layers(W[0]), layers(W[0] + 0.3 * W[1], W[0] + 0.35 * W[2])) == {("0", "01")}


@pytest.mark.parametrize(
    "weight",
    [
        np.zeros((8, 4, 3, 3)),
        np.ones((8, 4, 3, 3)),
        np.linspace(1, 9, 8).reshape(8, 1, 1, 1) * np.ones((8, 4, 3, 3)),
        np.full((8, 4, 3, 3), np.nan),
        array(8, 1, 1, 1),
        array(1, 3, 1, 1),
        np.tile(array(1, 1, 3, 3), (8, 1, 1, 1)),
    ],
    ids=["zero", "one", "constant filters", "not a number", "a number a filter", "three numbers", "one blur"],
)
def test_weights_that_say_little(weight: np.ndarray) -> None:
    assert alike(layers(weight), layers(weight)) == []


def test_one_weight_in_another_shape_is_another() -> None:
    assert alike(layers(W[0]), layers(W[0].swapaxes(0, 1))) == []
    assert alike(layers(array(8, 4, 1, 3)), layers(array(8, 4, 1, 3)[..., :2])) == []


def test_weights_are_not_held(tmp_path: Path) -> None:
    """Of 75 MB in each file, a sample of each layer is read, and a layer forgets what it was."""
    nodes, stored, tensor = [], {}, "x"
    for number, shape in enumerate([(4096, 64, 1, 1), (4096, 4096, 1, 1), (512, 64, 3, 3), (512, 512, 3, 3)]):
        stored[f"k{number}"] = np.random.default_rng(number).standard_normal(shape, dtype=np.float32)
        nodes.append(node("Conv", f"{'x' if shape[1] == 64 else tensor} k{number}", f"y{number}"))
        tensor = f"y{number}"
    onnx.save(graph_of(nodes, {"x": [1, 64, 9, 9]}, "y1 y3", stored=stored), tmp_path / "wide.onnx")
    a, b = onnxviz.load(tmp_path / "wide.onnx"), onnxviz.load(tmp_path / "wide.onnx")
    assert len(a.layers) == len(b.layers) == 4
    tracemalloc.start()
    try:
        found = alike(a.layers, b.layers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 4
    assert peak < 4e6
    assert not any("weight" in vars(layer) for layer in a.layers)
