"""Clips through Keras' TimeDistributed: every frame has a map, that of the gradient on TensorFlow's tape."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from oracles import relative

import onnxviz

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
tf = pytest.importorskip("tensorflow", reason="the oracle is TensorFlow: pip install tensorflow")
keras = pytest.importorskip("keras", reason="the networks are Keras': pip install keras")
pytest.importorskip("tf2onnx", reason="the converter needs it: pip install tf2onnx")
pytestmark = pytest.mark.framework

FRAMES, CLASS = 3, 1


def network(head: str) -> tuple[Any, Any, list[Any]]:
    """A convolution for each frame by TimeDistributed; the network of a frame, the whole, the layers over time."""
    layers = keras.layers
    keras.utils.set_random_seed(2)
    picture = keras.Input((8, 10, 3))
    maps = layers.Conv2D(4, 3, padding="same", activation="tanh", name="conv")(picture)
    frame = keras.Model(picture, layers.GlobalAveragePooling2D()(maps), name="frame")
    clip = keras.Input((FRAMES, 8, 10, 3), name="clip")
    over_time = {
        "mean": [layers.GlobalAveragePooling1D()],
        "dense": [layers.Flatten()],
        "convolution": [layers.Conv1D(5, 2, activation="tanh"), layers.GlobalMaxPooling1D()],
        "dense for each frame": [layers.TimeDistributed(layers.Dense(5, activation="tanh")), layers.Flatten()],
    }[head]
    behind = [*over_time, layers.Dense(3)]
    x = layers.TimeDistributed(frame, name="each")(clip)
    for layer in behind:
        x = layer(x)
    return frame, keras.Model(clip, x), behind


@pytest.mark.parametrize("head", ["mean", "dense", "convolution", "dense for each frame"])
def test_every_frame_of_a_clip_has_the_map_of_the_tape(head: str) -> None:
    frame, model, behind = network(head)
    clip = np.random.default_rng(0).random((1, FRAMES, 8, 10, 3), np.float32)
    convolution = frame.get_layer("conv")
    with tf.GradientTape() as tape:
        maps = convolution(clip[0])
        tape.watch(maps)
        x = tf.reduce_mean(maps, (1, 2))[None]
        for layer in behind:
            x = layer(x)
        score = x[0, CLASS]
    slopes, maps = tape.gradient(score, maps).numpy(), maps.numpy()
    expected = np.maximum(np.einsum("tc,thwc->thw", slopes.mean((1, 2)), maps), 0)
    assert abs(float(score) - float(model(clip)[0, CLASS])) < 1e-5

    converted = onnxviz.convert(model, verify=False)
    assert converted.inputs[0].layout == "NTHWC"
    found = onnxviz.explain(converted, clip, class_=CLASS)
    assert found.map.shape == (FRAMES, 8, 10)
    assert found.labels == tuple(f"frame {number}" for number in range(FRAMES))
    assert relative(found.map, expected) < 1e-4
    if head == "convolution":  # by name, the one over time
        over_time = onnxviz.explain(converted, clip, class_=CLASS, layer=converted.layers[-1].name)
        assert (over_time.map.shape, over_time.axes.letters) == ((2,), "W")
