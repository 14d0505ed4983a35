"""Noise: what its distribution is, that it is the same each time, and what it is not drawn for."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from protos import normal, one_conv_proto, parsed, two_inputs_proto

from onnxviz import InputError, load
from onnxviz.inputs.noise import noise_samples
from onnxviz.inputs.samples import ImageOptions


def drawn(proto, count: int = 2, order=None, seed: int = 0, **options) -> list[dict]:
    model = load(proto)
    return [one.read() for one in noise_samples(model, ImageOptions.of(model, **options), count, order, seed)]


def test_pixels_are_whole_numbers_of_0_to_255_evenly() -> None:
    """By chi squared: of 256 values, its deviation from 255 is below 5·√510 but for one in a million."""
    (fed,) = drawn(one_conv_proto(("n", 3, 128, 96), dtype=TensorProto.UINT8), 1)
    assert fed["x"].shape == (1, 3, 128, 96)
    counts = np.bincount(fed["x"].reshape(-1), minlength=256)
    expected = fed["x"].size / 256
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 5 * np.sqrt(510)


@pytest.mark.parametrize(
    ("preprocess", "made"), [("raw", lambda p: p), ("unit", lambda p: p / 255), ("signed", lambda p: p / 127.5 - 1)]
)
def test_pixels_are_prepared_as_a_photo_is(preprocess, made) -> None:
    (whole,) = drawn(one_conv_proto(("n", 3, 8, 6), dtype=TensorProto.UINT8), 1)
    (fed,) = drawn(one_conv_proto(("n", 3, 8, 6)), 1, preprocess=preprocess)
    np.testing.assert_allclose(fed["x"], made(whole["x"].astype(np.float64)), rtol=1e-5, atol=1e-6)


def test_other_inputs_are_normal() -> None:
    (fed,) = drawn(parsed("g (float[n,2,9000] x) => (float[n,3,h] y) { y = Conv (x, w) }", w=normal(3, 2, 3)), 1)
    values = np.sort(fed["x"].reshape(-1).astype(np.float64))
    assert fed["x"].dtype == np.float32
    assert abs(values.mean()) < 5 / np.sqrt(values.size)
    assert abs(values.var() - 1) < 5 * np.sqrt(2 / values.size)
    assert abs((np.abs(values) < 1).mean() - 0.6827) < 5 * np.sqrt(0.22 / values.size)


def test_samples_differ_and_come_again() -> None:
    proto = two_inputs_proto()
    one, two = drawn(proto)
    assert all((one[name] != two[name]).any() for name in one)
    for again in (drawn(proto)[1], drawn(proto, 5)[1]):
        np.testing.assert_array_equal(again["left"], two["left"])
    assert (drawn(proto, seed=1)[0]["left"] != one["left"]).any()
    np.testing.assert_array_equal(drawn(proto, order=["right", "left"])[0]["right"], one["left"])


def test_the_size_and_the_batch() -> None:
    assert drawn(one_conv_proto(("n", 3, "h", "w")), size=(5, 4))[0]["x"].shape == (1, 3, 5, 4)
    assert drawn(one_conv_proto(("n", "h", 7, 3), layout="NHWC"), size=(5, 4))[0]["x"].shape == (1, 5, 7, 3)
    assert drawn(one_conv_proto((4, 3, 8, 6)))[0]["x"].shape == (1, 3, 8, 6)


def unsized(text: str):
    return parsed(f"g ({text}) => (float[n,2] y) {{ f = Cast <to=1> (x) y = MatMul (f, w) }}", w=normal(3, 2))


def shapeless():
    proto = unsized("float[n,d] x")
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (one_conv_proto(("n", 3, "h", "w")), "input 'x' of the model is nx3xhxw: give data, or size="),
        (one_conv_proto(("n", "c", 8, 6), channels=3), "input 'x' of the model is nxcx8x6: give data$"),
        (unsized("float[n,d] x"), "input 'x' of the model is nxd: give data$"),
        (shapeless(), "input 'x' of the model does not say its shape: give data"),
        (unsized("int64[n,3] x"), "takes int64, for which no noise is drawn: give data"),
        (unsized("bool[n,3] x"), "takes bool, for which no noise is drawn: give data"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_anything_runs(proto, words) -> None:
    model = load(proto)
    with pytest.raises(InputError, match=words):
        noise_samples(model, ImageOptions.of(model), 1)
