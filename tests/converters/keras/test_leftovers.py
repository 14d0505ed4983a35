"""Files of Keras 2, with options that Keras 3 has no more; and why a file cannot be loaded."""

from __future__ import annotations

import json
import warnings
import zipfile

import keras
import numpy as np
import pytest
from keras_checks import layers
from onnxviz_converters import keras as converter

import onnxviz
from onnxviz.errors import ConversionError

# What Keras 2.12 wrote of each class, by what it inherited.
INHERITED = {
    "DepthwiseConv2D": {"groups": 1},
    "Conv2DTranspose": {"groups": 1},
    "SeparableConv2D": {
        "groups": 1,
        "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None}},
        "kernel_regularizer": None,
        "kernel_constraint": None,
    },
    "LSTM": {"time_major": False},
    "SpatialDropout2D": {"noise_shape": None, "trainable": True},
}


def network():
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 4))
    y = layers.TimeDistributed(layers.SeparableConv1D(3, 3, name="inner"))(x)
    y = layers.Conv2DTranspose(4, 2, name="up")(layers.DepthwiseConv2D(3, activation="relu", name="dw")(y))
    y = layers.SpatialDropout2D(0.1)(layers.SeparableConv2D(5, 3, name="sep")(y))
    y = layers.LSTM(3)(layers.Reshape((-1, 5))(y))
    return keras.Model(x, y)


def saved(path, options):
    """The network in a file, with more options in the configurations of its layers, by class."""

    def inside(value):
        if isinstance(value, dict):
            if value.get("class_name") in options and isinstance(value.get("config"), dict):
                value["config"].update(options[value["class_name"]])
            for part in value.values():
                inside(part)
        elif isinstance(value, list):
            for part in value:
                inside(part)

    model = network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of NumPy 2 and of the older format
        model.save(path)
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            inside(config)
            file.attrs["model_config"] = json.dumps(config)
        return model
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    inside(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_does_nothing_is_left_out_and_said(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    model = saved(path, {**INHERITED, "SeparableConv1D": INHERITED["SeparableConv2D"]})
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    expected = np.asarray(model(x))
    own = {name: getattr(keras.layers, name).__dict__.get("from_config") for name in INHERITED}
    with pytest.raises(Exception, match="Unrecognized keyword"):
        keras.models.load_model(path, compile=False)
    source = converter.open(path)
    assert np.array_equal(source.run({"input": x}).outputs[0], expected)
    assert sorted(source.notes) == [
        f"{what} (1 layer): Keras 3 has it no more, and it changes nothing; left out"
        for what in (
            "groups of Conv2DTranspose",
            "groups of DepthwiseConv2D",
            "groups, kernel_initializer, kernel_regularizer, kernel_constraint of SeparableConv1D",
            "groups, kernel_initializer, kernel_regularizer, kernel_constraint of SeparableConv2D",
            "noise_shape, trainable of SpatialDropout2D",
            "time_major of LSTM",
        )
    ]
    assert {name: getattr(keras.layers, name).__dict__.get("from_config") for name in INHERITED} == own


def test_nothing_is_said_of_a_file_without_leftovers(tmp_path):
    path = tmp_path / "m.keras"
    saved(path, {})
    assert converter.open(path).notes == []


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("options", "layer", "reason"),
    [
        ({"DepthwiseConv2D": {"groups": 2}}, "dw", "{'groups': 2}"),
        ({"LSTM": {"time_major": True}}, "", "{'time_major': True}"),  # Keras does not say of which layer it is
        ({"Conv2DTranspose": {"groups": True}}, "up", "{'groups': True}"),
        ({"DepthwiseConv2D": {"groups": 1, "dilate": 3}}, "dw", "{'groups': 1, 'dilate': 3}"),
        ({"SeparableConv1D": {"kernel_size": -1}}, "inner", "kernel_size"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_which_layer_and_why(tmp_path, suffix, options, layer, reason):
    path = tmp_path / f"m{suffix}"
    saved(path, options)
    with pytest.raises(ConversionError) as caught:
        onnxviz.convert(path)
    text = str(caught.value)
    kind = next(iter(options))
    where = f"layer '{layer}', a {kind}: " if layer else f"Unrecognized keyword arguments passed to {kind}: "
    assert text.startswith(f"{path} cannot be loaded by Keras {keras.__version__}: {where}")
    assert reason in text
    assert text.endswith(f"as module:factory, and give the file as weights={str(path)!r}")
    assert len(text) < 600
    assert "\n" not in text
