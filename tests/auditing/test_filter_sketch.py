"""Sketches of filters: distances within the error that is said, the same whether or not a normalisation is folded."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import onnx
import pytest
from disguises import batch_norms_folded, with_batch_norms
from hypothesis import given
from hypothesis import strategies as st
from planted import sample
from protos import normal, parsed
from versions import convolution

import onnxviz
from onnxviz.auditing.filter_sketch import PROJECTIONS, Sketch, chosen, signs, sketch
from onnxviz.auditing.trained_weights import trained_weights
from onnxviz.errors import InputError


def sketched(proto: onnx.ModelProto) -> Sketch:
    """Of its first layer."""
    return sketch(trained_weights(onnxviz.load(proto))[0])


def apart(a: Sketch, b: Sketch) -> float:
    """The distance of all filters together, as the projections tell it, over the norm of a's."""
    return float(np.linalg.norm(a.projection - b.projection) / np.linalg.norm(a.norm))


@given(
    st.integers(4, 40), st.integers(1, 12), st.sampled_from([1, 3, 5]), st.floats(1e-4, 1.0), st.integers(0, 10**6),
    st.booleans(),
)  # fmt: skip
def test_distances_are_those_of_the_filters(count, inputs, window, distance, seed, few):
    """Also where a single weight of each filter moved. Five standard errors of √(1/2·16·O), and numpy's own norm."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(count, inputs, window, window))
    step = rng.normal(size=weight.shape)
    if few:
        step *= np.arange(step[0].size).reshape(step[0].shape) == rng.integers(step[0].size)
    step *= distance * np.linalg.norm(weight) / np.linalg.norm(step)
    before, after = weight.astype(np.float32), (weight + step).astype(np.float32)
    true = np.linalg.norm(after - before) / np.linalg.norm(before)
    found = apart(sketched(convolution(before)), sketched(convolution(after)))
    assert abs(found / true - 1) < 5 * math.sqrt(1 / (2 * PROJECTIONS * count))


def test_a_filter_is_measured_with_the_error_that_is_said():
    """18 % of a distance, over 512 filters; they are unbiased in the square."""
    weight, step = normal(512, 8, 3, 3), 0.01 * normal(512, 8, 3, 3, seed=2)
    a, b = sketched(convolution(weight)), sketched(convolution(weight + step))
    found = np.linalg.norm(a.projection - b.projection, axis=1)
    true = np.linalg.norm((weight + step - weight).reshape(512, -1), axis=1)
    assert np.square(found / true).mean() == pytest.approx(1, abs=4 * math.sqrt(2 / 16 / 512))
    assert (found / true).std() == pytest.approx(math.sqrt(1 / 32), rel=0.15)


def test_norms_and_digest_are_of_the_filters():
    weight = normal(6, 4, 3, 3)
    found = sketched(convolution(weight))
    assert np.allclose(found.norm, np.linalg.norm(weight.reshape(6, -1), axis=1), rtol=1e-6)
    assert found.digest == hashlib.sha256(weight.tobytes()).hexdigest()
    assert (found.shape, found.folded, found.dtype) == ((6, 4, 3, 3), False, "float32")
    assert not found.bias.any()


def test_what_is_drawn_stays_what_it_is():
    """A baseline is read by later versions: what its numbers were drawn by is part of the format."""
    assert signs((4, 2, 3)).shape == (2, 3, PROJECTIONS)
    bits = np.packbits(signs((1, 64, 3, 3)).ravel() > 0).tobytes()
    assert hashlib.sha256(bits).hexdigest()[:16] == "12c6f5597cdda9f0"
    assert chosen(100).tolist() == [7, 49, 64, 80, 84, 86, 93, 97]
    assert chosen(5).tolist() == [0, 1, 2, 3, 4]


def test_a_batch_normalisation_is_folded_in():
    """Of factors of both signs: filters and biases are those that folding gives, in float64 here."""
    proto = with_batch_norms(parsed(
        "g (float[n,4,8,8] x) => (float[n,6,6,6] y) { y = Conv (x, w, b) }", w=normal(6, 4, 3, 3), b=normal(6, seed=3)
    ))  # fmt: skip
    apart_, folded = sketched(proto), sketched(batch_norms_folded(proto))
    assert (apart_.folded, folded.folded) == (True, False)
    assert np.abs(apart_.projection - folded.projection).max() < 1e-6 * apart_.norm.max()
    assert np.abs(apart_.bias - folded.bias).max() < 1e-5
    values = {one.name: onnx.numpy_helper.to_array(one).astype(np.float64) for one in proto.graph.initializer}
    scale, shift, mean, variance = (values[f"y/bn/{part}"] for part in ("scale", "shift", "mean", "variance"))
    gain = scale / np.sqrt(variance + 1e-5)
    assert np.allclose(apart_.norm, np.linalg.norm(values["w"].reshape(6, -1), axis=1) * np.abs(gain), rtol=1e-6)
    assert np.allclose(apart_.bias, (values["b"] - mean) * gain + shift, rtol=1e-5)


def test_packed_and_read_again():
    found = sketched(sample())
    again = Sketch.of(found.as_dict(), found.packed())
    for name in ("norm", "bias", "projection", "rows", "columns"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    assert (again.shape, again.digest, again.folded, again.dtype) == (
        found.shape, found.digest, found.folded, found.dtype,
    )  # fmt: skip
    with pytest.raises(InputError, match="has 3 numbers"):
        Sketch.of(found.as_dict(), found.packed()[:3])


def test_what_is_not_finite_counts_as_0():
    weight = normal(6, 4, 3, 3)
    broken = weight.copy()
    broken[2, 1, 1, 1], broken[3, 0, 0, 0] = np.nan, np.inf
    weight[2, 1, 1, 1] = weight[3, 0, 0, 0] = 0
    assert sketched(convolution(broken)).digest == sketched(convolution(weight)).digest


@pytest.mark.parametrize(("share", "dead"), [(5e-4, True), (2e-3, False)])
def test_dead_filters(share, dead):
    weight = normal(20, 4, 3, 3)
    weight[7] *= share * np.sort(np.linalg.norm(weight.reshape(20, -1), axis=1))[-3] / np.linalg.norm(weight[7])
    assert sketched(convolution(weight)).dead.tolist() == [place == 7 and dead for place in range(20)]
