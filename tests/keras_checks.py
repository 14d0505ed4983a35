"""Keras models against their conversions, by code of this file alone: numpy, Keras and an onnxruntime session.

`onnxviz.conversion.verify` is on, so that a refusal without reason is a failure here too, but nothing it says
is believed.
"""

import importlib
import os
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import onnxviz

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")
pytest.importorskip("tf2onnx")
from keras_networks import images, numbers, shaken  # noqa: E402, F401 - of no use without Keras

layers = keras.layers
conversion = importlib.import_module("onnxviz.conversion.convert").conversion
ROOT = Path(__file__).resolve().parent.parent
SESSION = onnxruntime.InferenceSession
ORDINARY = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
# Activations that a tap follows; the others are applied here to the convolution's own output.
FOLLOWED = {"relu", "relu6", "sigmoid", "tanh", "leaky_relu", "silu", "gelu", "elu"}


def outputs_of(model, inputs):
    """Keras' own outputs, flattened."""
    result = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
    return [np.asarray(one) for one in keras.tree.flatten(result)]


def taped(model, x, seed=2):
    """TensorFlow's gradient with respect to `x` of a random sum of the output; the output, and the sum's weights."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        point = tf.constant(x)
        tape.watch(point)
        value = model(point, training=False)
        weights = np.random.default_rng(seed).normal(size=value.shape).astype(np.float32)
        objective = tf.reduce_sum(value * weights)
    return tape.gradient(objective, point).numpy(), value.numpy(), weights


def relative(ours, theirs):
    """The largest difference over the largest magnitude."""
    assert ours.shape == theirs.shape
    assert np.isfinite(theirs).all()
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def run_untouched(path, inputs):
    """The outputs of the file as it is."""
    session = SESSION(str(path))
    return session.run(None, {port.name: array for port, array in zip(session.get_inputs(), inputs, strict=True)})


def in_onnx_order(layer, kernel):
    """A kernel of Keras as (O, I/group, spatial…), by the definition of each kind of layer."""
    if isinstance(layer, DEPTHWISE):
        channels, multiplier = kernel.shape[-2:]
        result = np.empty((channels * multiplier, 1, *kernel.shape[:-2]), kernel.dtype)
        for channel in range(channels):
            for copy in range(multiplier):
                result[channel * multiplier + copy, 0] = kernel[..., channel, copy]
        return result
    if isinstance(layer, TRANSPOSED):  # (spatial…, O, I)
        return kernel.transpose({3: (1, 2, 0), 4: (2, 3, 0, 1), 5: (3, 4, 0, 1, 2)}[kernel.ndim])
    return kernel.transpose({3: (2, 1, 0), 4: (3, 2, 0, 1), 5: (4, 3, 0, 1, 2)}[kernel.ndim])


def source_filters(convolutions):
    """Filters by the name that the ONNX layer is to have, from each layer's weights."""
    found = {}
    for path, layer in convolutions.items():
        if isinstance(layer, SEPARABLE):
            depthwise = layers.DepthwiseConv2D(1)  # only for its kind
            found[f"{path}/depthwise"] = in_onnx_order(depthwise, numbers(layer.depthwise_kernel))
            found[f"{path}/pointwise"] = in_onnx_order(layer, numbers(layer.pointwise_kernel))
        else:
            found[path] = in_onnx_order(layer, numbers(layer.kernel))
    return found


def check_filters(model, convolutions):
    """Every filter of every layer, bit for bit."""
    expected = source_filters(convolutions)
    assert {layer.name for layer in model.layers} >= set(expected)
    for name, filters in expected.items():
        layer = model.layer(name)
        np.testing.assert_array_equal(layer.weight.reshape(filters.shape), filters, err_msg=name, strict=True)
        assert layer.weight_source == "initializer"
        assert layer.folded_batch_norm is not True


def applied(layer, array):
    return np.asarray(layer.activation(keras.ops.convert_to_tensor(array)))


def cut_off(model, outputs):
    """The model that ends at these tensors."""
    return keras.Model(model.inputs if len(model.inputs) > 1 else model.inputs[0], outputs)


def check_maps(model, keras_model, convolutions, inputs):
    """Every map at the layer's end against the output of that layer in a Keras model cut off there."""
    names = {
        path: f"{path}/pointwise" if isinstance(layer, SEPARABLE) else path for path, layer in convolutions.items()
    }
    ends = cut_off(keras_model, [layer.output for layer in convolutions.values()])
    expected = dict(zip(convolutions, outputs_of(ends, inputs), strict=True))
    feeds = inputs[0] if len(inputs) == 1 else dict(zip([p.name for p in model.inputs], inputs, strict=True))
    chosen = list(names.values())
    at = {where: onnxviz.capture(model, feeds, layers=chosen, at=where) for where in ("conv", "activation")}
    for path, layer in convolutions.items():
        activation = layer.activation.__name__ if hasattr(layer.activation, "__name__") else "?"
        last = np.moveaxis(at["activation" if activation in FOLLOWED else "conv"][names[path]], 1, -1)
        if activation not in {*FOLLOWED, "linear"}:
            last = applied(layer, last)
        assert relative(last.reshape(expected[path].shape), expected[path]) < 1e-4, path


def check_batch_norms(model, keras_model, expected):
    """Each is a node of its own that reads the four variables under their names."""
    nodes = [node for node in model.proto.graph.node if node.op_type == "BatchNormalization"]
    assert len(nodes) == len(expected)
    values = {}
    for node in nodes:
        parts = [name.rpartition("/")[2] for name in node.input[1:]]
        assert parts[1:] == ["beta", "moving_mean", "moving_variance"]
        values.update({name: model.constants.value(model.scope, name) for name in node.input[1:]})
    for layer in expected:
        assert len(layer.variables) == 3 + layer.scale
        for variable in layer.variables:
            np.testing.assert_array_equal(values[f"{layer.name}/{variable.name}"], numbers(variable), strict=True)


def flat_convolutions(model):
    """The convolutions of a model without models inside, by name, in the model's order."""
    kinds = ORDINARY + TRANSPOSED + DEPTHWISE + SEPARABLE
    return {layer.name: layer for layer in model.layers if isinstance(layer, kinds)}


def operators(model):
    return Counter(node.op_type for node in model.proto.graph.node)


def sequential(*inner, shape=(12, 14, 3), **options):
    return keras.Sequential([keras.Input(shape, **options), *inner], name="m")


def randomised(model, seed=0):
    """The model with no weight left at 0 or 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in ("bias", "beta", "moving_mean", "alpha"):
            weight.assign(rng.normal(0, 0.2, tuple(weight.shape)))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.6, 1.4, tuple(weight.shape)))
    return model


def check_model(model, tmp_path, *, shape=None, maps=True, tolerance=1e-4, **options):
    """Converts a one-input model and compares outputs, filters and maps."""
    model = randomised(model)
    done = conversion(model, output=tmp_path / "m.onnx", **options)
    rng = np.random.default_rng(1)
    fixed = [size or 14 for size in (shape or model.input_shape)[1:]]
    for batch in (1, 3):
        x = rng.normal(size=(batch, *fixed)).astype(np.float32)
        for ours, theirs in zip(run_untouched(tmp_path / "m.onnx", [x]), outputs_of(model, [x]), strict=True):
            assert relative(ours.astype(np.float64), theirs.astype(np.float64)) < tolerance
    convolutions = flat_convolutions(model)
    check_filters(done.model, convolutions)
    if maps and convolutions:
        check_maps(done.model, model, convolutions, [x])
    return done


CHANNELS_FIRST = {"data_format": "channels_first"}


def channels_first():
    """A network of the kinds of layers that TensorFlow can run channels first with oneDNN's kernels only."""
    image = keras.Input((3, 16, 20))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="c", **CHANNELS_FIRST)(image)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.Conv2D(4, 3, padding="same", activation="softmax", name="soft", **CHANNELS_FIRST)(x)
    x = layers.MaxPooling2D(**CHANNELS_FIRST)(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="d", **CHANNELS_FIRST)(x)
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same", name="t", **CHANNELS_FIRST)(x)
    x = layers.AveragePooling2D(2, **CHANNELS_FIRST)(x)
    return randomised(keras.Model(image, x, name="m"))
