"""Keras files without code of their own, which are converted; the lists of what is allowed."""

import importlib
import inspect
import json

import pytest
from keras_checks import conversion, keras, layers, sequential
from onnxviz_converters import keras_archive
from onnxviz_converters.keras_allowed import CLASSES, FUNCTIONS
from onnxviz_converters.keras_config import code_in, parsed

import onnxviz
from onnxviz import CodeExecution

# Keras calls .h5 legacy, and uses what numpy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore")
h5py = pytest.importorskip("h5py")

# What is left out of the allow-list, and why.
LEFT_OUT = {
    "keras.layers": {
        "Lambda": "calls what it is given",
        "TFSMLayer": "loads a program",
        "TorchModuleWrapper": "unpickles",
        "JaxLayer": "calls what it is given",
        "FlaxLayer": "calls what it is given",
        "StringLookup": "may read a file, and text is no input of a network of numbers",
        "IntegerLookup": "may read a file",
        "TextVectorization": "may read a file",
        "Layer": "does nothing by itself",
        "InputSpec": "is never saved",
    },
    "keras.initializers": {"Initializer": "is abstract"},
    "keras.regularizers": {"Regularizer": "is abstract"},
    "keras.constraints": {"Constraint": "is abstract"},
    "keras.losses": {"Loss": "is abstract"},
    "keras.metrics": {"Metric": "is abstract"},
    "keras.optimizers": {"Optimizer": "is abstract", "OptimizerMap": "holds optimizers by variable"},
    "keras.optimizers.schedules": {"LearningRateSchedule": "is abstract"},
    "keras.quantizers": {
        "Quantizer": "is abstract",
        "AWQConfig": "takes a data set and a tokenizer",
        "GPTQConfig": "takes a data set and a tokenizer",
    },
    "keras.src.ops.core": {
        **dict.fromkeys(("Map", "Scan", "AssociativeScan", "VectorizedMap"), "calls what it is given"),
        **dict.fromkeys(("Cond", "Switch", "WhileLoop", "ForiLoop"), "calls what it is given"),
    },
    "keras.src.ops.linalg": {"JVP": "calls what it is given"},
}
GET = {"get", "serialize", "deserialize"}


@pytest.mark.parametrize(
    "module",
    [name for name in CLASSES if not set(name.split(".")) & {"models", "engine", "applications"} and name != "keras"],
)
def test_every_class_of_keras_is_in_one_of_the_lists(module):
    """A new version of Keras that brings a class fails here: is it data?"""
    home = importlib.import_module(module)
    from keras.src.ops.operation import Operation

    there = {name for name, one in vars(home).items() if inspect.isclass(one)}
    if module.startswith("keras.src.ops."):
        there = {name for name in there if vars(home)[name].__module__ == module}
        there = {name for name in there if issubclass(vars(home)[name], Operation)}
    assert there == CLASSES[module] | set(LEFT_OUT.get(module, ()))
    assert not CLASSES[module] & set(LEFT_OUT.get(module, ()))


@pytest.mark.parametrize("module", FUNCTIONS)
def test_every_function_of_keras_is_in_the_list(module):
    home = importlib.import_module(module)
    assert {name for name, one in vars(home).items() if inspect.isfunction(one)} == FUNCTIONS[module] | GET


def configurations_of(model, path):
    for suffix in (".keras", ".h5"):
        model.save(path.with_suffix(suffix))
        keras_archive.check(path.with_suffix(suffix))
        yield from keras_archive.configurations(path.with_suffix(suffix))


def harmless(model, path):
    return [code_in(config, name) for name, config in configurations_of(model, path)]


QUICK = {"MobileNetV2", "EfficientNetV2B0", "ConvNeXtTiny"}
ARCHITECTURES = sorted(name for name, one in vars(keras.applications).items() if name[0].isupper() and callable(one))


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in ARCHITECTURES]
)
def test_an_architecture_is_data(name):
    """Its configuration, as it is saved; the weights do not matter."""
    from keras.src.legacy.saving import serialization as legacy
    from keras.src.saving import serialization_lib

    model = getattr(keras.applications, name)(weights=None)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    assert code_in(parsed(json.dumps(serialization_lib.serialize_keras_object(model)), "c"), "c") == ""
    assert code_in(parsed(json.dumps(legacy.serialize_keras_object(model)), "c"), "c") == ""


def test_layers_of_every_kind_are_data(tmp_path):
    image = keras.Input((16, 16, 3))
    x = layers.RandomFlip()(layers.Rescaling(1 / 255)(image))
    x = layers.Normalization(mean=[0.1] * 3, variance=[1.0] * 3)(layers.RandomRotation(0.1)(x))
    x = layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2", kernel_constraint="max_norm")(x)
    x = layers.SpectralNormalization(layers.Conv2D(4, 3, activation=layers.PReLU()))(x)
    x = layers.Activation("silu")(keras.ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) * 2 + 1)
    inner = sequential(layers.Conv2D(4, 3, activation=keras.activations.gelu), shape=(12, 12, 4))
    x = inner(layers.Resizing(12, 12)(x))
    x = layers.TimeDistributed(layers.Dense(3, dtype="mixed_bfloat16"))(layers.Reshape((10, 40))(x))
    x = layers.Bidirectional(layers.LSTM(3))(x)
    model = keras.Model(image, layers.Dense(2, activation="softmax", kernel_initializer="he_normal")(x))
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(keras.optimizers.AdamW(schedule), loss, metrics=[keras.metrics.AUC(), "accuracy"])
    # The legacy format cannot write operations; it is read for the inner model.
    model.save(tmp_path / "m.keras")
    keras_archive.check(tmp_path / "m.keras")
    assert [code_in(c, n) for n, c in keras_archive.configurations(tmp_path / "m.keras")] == [""]
    inner.compile("sgd", "mse")
    assert harmless(inner, tmp_path / "inner") == ["", "", ""]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_projects_own_networks_are_data(keras_models, tmp_path, suffix):
    for name in ("cats_and_dogs", "sd_unet", "two_in_two_out", "open_size", "signals", "volumes", "grouped"):
        path = tmp_path / f"m{suffix}"
        getattr(keras_models, name)().save(path)
        keras_archive.check(path)
        found = [code_in(config, document) for document, config in keras_archive.configurations(path)]
        assert set(found) == {""} or "Standardise" in found[0], name


def test_code_that_the_program_registered_is_its_own(tmp_path):
    @keras.saving.register_keras_serializable("onnxviz_tests")
    class Doubled(layers.Layer):
        def call(self, x):
            return x * 2

    model = sequential(layers.Conv2D(4, 3, name="c"), Doubled(name="own"))
    model.save(tmp_path / "m.keras")
    try:
        assert conversion(tmp_path / "m.keras").model.layer("c").weight.shape == (4, 3, 3, 3)
    finally:
        keras.saving.get_custom_objects().pop("onnxviz_tests>Doubled")
    with pytest.raises(CodeExecution, match=r"layer 'own' of config.json: \S*Doubled: .*module:factory"):
        onnxviz.convert(tmp_path / "m.keras")
