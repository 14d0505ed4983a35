"""Changes of filters: places found again whatever was reordered, pruned or moved, and how far each filter moved."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protos import normal, parsed
from versions import convolution

import onnxviz
from onnxviz.auditing.filter_change import ROUNDING, FilterChange, filter_change
from onnxviz.auditing.filter_sketch import sketch
from onnxviz.auditing.trained_weights import trained_weights


def changed(before: onnx.ModelProto, after: onnx.ModelProto) -> FilterChange | None:
    one, other = (trained_weights(onnxviz.load(proto))[0] for proto in (before, after))
    return filter_change(sketch(one), sketch(other), other)


def change(before: np.ndarray, after: np.ndarray) -> FilterChange:
    found = changed(convolution(before), convolution(after))
    assert found is not None
    return found


def depthwise(weight: np.ndarray) -> onnx.ModelProto:
    count = len(weight)
    return parsed(f"g (float[n,{count},h,w] x) => (float[n,m,a,b] y) {{ y = Conv <group = {count}> (x, w) }}", w=weight)


SIZES = st.tuples(st.integers(8, 48), st.integers(8, 40), st.sampled_from([1, 3]), st.integers(0, 10**6))


@given(SIZES)
def test_reordered_filters_and_channels_are_found_again(sizes):
    """Zeros among them too: a filter and an input channel of zeros, which no number tells."""
    count, inputs, window, seed = sizes
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(count, inputs, window, window)).astype(np.float32)
    weight[rng.integers(count)] = 0
    weight[:, rng.integers(inputs)] = 0
    rows, columns = rng.permutation(count), rng.permutation(inputs)
    found = change(weight, weight[rows][:, columns])
    assert found.rows.tolist() == rows.tolist()
    assert found.inputs.tolist() == columns.tolist()
    assert not found.is_moved()
    assert found.bias_distance == 0


@given(SIZES, st.booleans(), st.booleans())
def test_pruned_filters_and_channels_are_told(sizes, filters, channels):
    count, inputs, window, seed = sizes
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(count, inputs, window, window)).astype(np.float32)
    rows = np.sort(rng.permutation(count)[: count - filters * (count // 4)])
    columns = np.sort(rng.permutation(inputs)[: inputs - channels * (inputs // 4)])
    found = change(weight, np.ascontiguousarray(weight[rows][:, columns]))
    assert found.rows.tolist() == rows.tolist()
    assert found.inputs.tolist() == columns.tolist()
    assert found.gone.tolist() == sorted({*range(count)} - {*rows.tolist()})
    assert found.inputs_gone == inputs - len(columns)
    assert (found.is_moved(), found.is_reordered, found.inputs_reordered) == (False, False, False)


@given(st.integers(8, 64), st.integers(0, 10**6))
def test_depthwise_filters_are_found_again(count, seed):
    rng = np.random.default_rng(seed)
    weight, rows = rng.normal(size=(count, 1, 3, 3)).astype(np.float32), rng.permutation(count)
    found = changed(depthwise(weight), depthwise(weight[rows]))
    assert found is not None
    assert found.rows.tolist() == rows.tolist()
    assert not found.is_moved()


@pytest.mark.parametrize("distance", [1e-4, 0.01, 0.25])
def test_a_layer_that_was_trained_on_stays_in_its_order(distance):
    weight, step = normal(64, 16, 3, 3), normal(64, 16, 3, 3, seed=2)
    step *= distance * np.linalg.norm(weight) / np.linalg.norm(step)
    found = change(weight, weight + step)
    assert found.rows.tolist() == list(range(64))
    assert found.distance == pytest.approx(distance, rel=5 * np.sqrt(1 / (2 * 16 * 64)))
    assert (found.is_reordered, found.is_moved(), found.is_sampled) == (False, True, False)


def test_reordered_and_trained_on():
    """Input channels in their order: the filters are found by what is nearest."""
    rng = np.random.default_rng(3)
    weight, rows = normal(64, 16, 3, 3), rng.permutation(64)
    after = weight[rows] + 0.02 * normal(64, 16, 3, 3, seed=2)
    found = change(weight, after)
    assert found.rows.tolist() == rows.tolist()
    true = np.linalg.norm(after - weight[rows]) / np.linalg.norm(weight)
    assert found.distance == pytest.approx(true, rel=0.08)


def test_two_filters_that_changed_places():
    weight = normal(32, 16, 3, 3)
    order = np.arange(32)
    order[[4, 20]] = 20, 4
    found = change(weight, weight[order])
    assert found.rows.tolist() == order.tolist()
    assert not found.is_moved()


def test_other_filters_are_far():
    """Weights drawn anew are √2 of their norm from what they were, each in its place."""
    found = change(normal(64, 16, 3, 3), normal(64, 16, 3, 3, seed=9))
    assert found.rows.tolist() == list(range(64))
    assert found.distance == pytest.approx(np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("shape", [(64, 16, 5, 5), (48, 12, 3, 3)])
def test_which_filter_is_which_is_not_guessed(shape):
    assert changed(convolution(normal(64, 16, 3, 3)), convolution(normal(*shape, seed=9))) is None


@pytest.mark.parametrize("distance", [1e-3, 1e-2, 0.1])
def test_what_is_left_of_a_pruned_layer_and_moved(distance):
    """Found by numbers that the other filters still have, measured on the sampled channels."""
    weight, rows = normal(40, 32, 3, 3), np.arange(0, 40, 2)
    after = weight[rows][:, 4:]
    after[5] += distance * np.linalg.norm(after[5]) / np.sqrt(after[5].size) * normal(*after[5].shape, seed=4)
    found = change(weight, np.ascontiguousarray(after))
    assert found.is_sampled
    assert found.inputs.tolist() == list(range(4, 32))
    others = [place for place in range(20) if place != 5]
    assert found.rows[others].tolist() == rows[others].tolist()
    assert found.moved[others].max() < ROUNDING
    assert found.rows[5] == 10
    assert found.moved[5] == pytest.approx(distance, rel=0.9)  # of 8 numbers at most: 25 % is one standard error


def test_biases_move_too():
    def biased(bias: np.ndarray) -> onnx.ModelProto:
        return parsed("g (float[n,4,h,w] x) => (float[n,m,a,b] y) { y = Conv (x, w, b) }", w=normal(8, 4, 3, 3), b=bias)

    bias = normal(8, seed=5)
    found = changed(biased(bias), biased(bias * np.float32(1.5)))
    assert found is not None
    assert found.bias_distance == pytest.approx(0.5, rel=1e-6)
    assert not found.moved.any()
    still = changed(biased(bias), biased(bias))
    assert still is not None
    assert still.bias_distance == 0
