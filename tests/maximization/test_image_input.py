"""Pictures as a model is fed them: preprocessing and layout, there and back."""

import numpy as np
import pytest
from adjoints import SIZES, dot, noise
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from protos import classifier_proto

from onnxviz.errors import InputError
from onnxviz.inputs.expectation import Expectation
from onnxviz.inputs.preprocessing import NAMED, Preprocessing
from onnxviz.maximization.image_input import ImageInput, image_input
from onnxviz.model.model import load
from onnxviz.model.ports import Port

HOWS = st.one_of(
    st.sampled_from(list(NAMED.values())),
    st.builds(
        Preprocessing,
        st.just("custom"),
        st.floats(0.001, 2),
        st.just((0.1, 0.2, 0.3)),
        st.just((0.5, 2.0, 3.0)),
        st.sampled_from(["RGB", "BGR"]),
    ),
)


@given(how=HOWS, last=st.booleans(), size=SIZES)
@settings(max_examples=examples(20, 60), deadline=None)
def test_preprocessing_and_layout_have_their_adjoint(how, last, size):
    axes = "DHW"[-len(size) :]
    port = Port("x", "float32", (None,) * (len(size) + 2), f"N{axes}C" if last else f"NC{axes}")
    frame = ImageInput(port, 3, size, Expectation(how))
    constant = frame.feed(np.zeros((1, 3, *size), np.float32))
    x = noise(2, 3, *size)
    assert frame.model_shape(2) == (2, *constant.shape[1:])
    y = noise(*frame.model_shape(2), seed=1)
    # Offsets of a hundred leave few digits to differences.
    assert dot(frame.feed(x).astype(np.float64) - constant, y) == pytest.approx(
        dot(x, frame.pull(y)),
        abs=1e-4 * np.abs(constant).max() * np.sqrt(y.size) + 1e-3 * np.linalg.norm(frame.pull(y)),
    )


@given(how=HOWS, last=st.booleans(), size=SIZES)
@settings(max_examples=examples(20, 60), deadline=None)
def test_what_is_fed_is_seen_again(how, last, size):
    axes = "DHW"[-len(size) :]
    port = Port("x", "float32", (None,) * (len(size) + 2), f"N{axes}C" if last else f"NC{axes}")
    frame = ImageInput(port, 3, size, Expectation(how))
    pictures = np.random.default_rng(0).random((2, 3, *size), np.float32)
    np.testing.assert_allclose(frame.seen(frame.feed(pictures)), pictures, atol=2e-4)


def test_display_space_is_before_preprocessing():
    port = Port("x", "float32", (1, 3, 2, 2), "NCHW")
    picture = np.zeros((1, 3, 2, 2), np.float32)
    picture[:, 0] = 1  # red
    fed = ImageInput(port, 3, (2, 2), Expectation(NAMED["caffe"])).feed(picture)
    np.testing.assert_allclose(fed[0, :, 0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-5)


def with_input(shape, dtype=1):
    proto = classifier_proto()
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", dtype, shape))
    return proto


def test_the_canvas_is_the_models_input():
    frame = image_input(load(with_input(["n", 3, 16, 12])))
    assert (frame.channels, frame.size) == (3, (16, 12))
    assert (frame.preprocessing.name, frame.expected.assumed) == ("unit", True)
    open_sides = load(with_input([1, 3, "h", "w"]))
    assert image_input(open_sides).size == (128, 128)
    assert image_input(open_sides, (20, 10)).size == (20, 10)
    assert image_input(load(with_input([1, 3, 24, "w"]))).size == (24, 24)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (with_input(["n", 3, 16, 12]), (16, 16), "16x12, not of 16x16"),
        (with_input(["n", 3, "h", 12]), (16, 16), "hx12, not of 16x16"),
        (with_input(["n", 3, "h", "w"]), (10**5, 10**5), "100000x100000 are too large"),
        (with_input(["n", 3, 0, 0]), None, "no pixels"),
        (with_input(["n", 7]), None, "no input for pictures"),
    ],
)
def test_what_cannot_be_a_canvas_is_refused(model, size, message):
    with pytest.raises(InputError, match=message):
        image_input(load(model), size)


def test_a_preprocessing_for_other_channels_is_refused():
    with pytest.raises(InputError, match="3 mean values for 1 channels"):
        image_input(load(with_input(["n", 1, 8, 8])), preprocess="torch")


def test_signals_are_not_taken_for_brightnesses():
    frame = image_input(load(with_input(["n", 3, 64])))
    assert (frame.size, frame.preprocessing.name) == ((64,), "signed")
