"""A Keras model is after its conversion as it was before."""

import importlib
import logging
import os
import random
import warnings

import numpy as np
import pytest
from keras_checks import conversion, keras, layers, numbers, outputs_of, relative, run_untouched

import onnxviz
from onnxviz import ConversionError


def state_of(model):
    """Everything about the model, Keras, tf2onnx and the process that a conversion could have changed."""
    from keras.src import backend
    from keras.src.ops import image
    from tf2onnx import tfonnx

    flat = [model, *model._flatten_layers(include_self=False)]
    return {
        "weights": [numbers(weight).tobytes() for weight in model.weights],
        "attributes": [(id(layer), sorted(layer.__dict__), layer.trainable, layer.built) for layer in flat],
        "backend": {name: id(value) for name, value in vars(backend.nn).items()},
        "image": {name: id(value) for name, value in vars(image).items()},
        "scope": id(keras.src.backend.name_scope),
        "tfonnx": {name: id(value) for name, value in vars(tfonnx).items()},
        "policy": (keras.config.floatx(), keras.config.dtype_policy().name, keras.config.image_data_format()),
        "random": (random.getstate(), np.random.get_state()[1].tobytes()),  # noqa: NPY002 - it is what is watched
        "levels": {name: logging.getLogger(name).level for name in ("tensorflow", "tf2onnx", "absl", "keras")},
        "filters": list(warnings.filters),
        "environment": dict(os.environ),
    }


class Counting(layers.Layer):
    """Adds how often it was called to its input: a state that changes with every call, training or not."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x):
        self.calls.assign_add(1.0)
        return x + self.calls


def stateful():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.RandomFlip(seed=1),
            layers.Conv2D(4, 3, padding="same", name="c"),
            layers.BatchNormalization(),
            layers.Conv2DTranspose(4, 3, strides=2, name="t"),
            layers.Dropout(0.5, seed=2),
            Counting(),
        ]
    )


def test_the_model_is_as_it_was_afterwards():
    model = stateful()
    before = state_of(model)
    done = conversion(model)
    after = state_of(model)
    for key, value in before.items():
        assert after[key] == value, key
    # What counts its calls gives in ONNX what it gives at its next call.
    x = np.random.default_rng(0).normal(size=(1, 12, 12, 3)).astype(np.float32)
    ours = run_untouched(done.model.file, [x])[0]
    assert relative(ours, outputs_of(model, [x])[0]) < 1e-4


@pytest.mark.parametrize("where", ["converted", "traced", "compare", "convert_to_numpy"])
def test_the_model_is_as_it_was_after_a_failure(monkeypatch, where):
    model = stateful()
    homes = {
        "converted": importlib.import_module("onnxviz_converters.keras_graph"),
        "traced": importlib.import_module("onnxviz_converters.keras_graph"),
        "compare": importlib.import_module("onnxviz.conversion.convert"),
        "convert_to_numpy": keras.ops,
    }

    def fail(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(homes[where], where, fail)
        before = state_of(model)
        with pytest.raises(KeyboardInterrupt):
            conversion(model)
        after = state_of(model)
    for key, value in before.items():
        assert after[key] == value, key


def test_a_failing_layer_leaves_the_others_as_they_were(monkeypatch):
    class Failing(layers.Layer):
        fails = False

        def call(self, x):
            if Failing.fails:
                raise ValueError("not today")
            return x

    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3, name="c"), Failing(name="f")])
    Failing.fails = True
    before = state_of(model)
    with pytest.raises(ConversionError, match=r"cannot be traced: .*not today"):
        onnxviz.convert(model)
    assert state_of(model) == before
