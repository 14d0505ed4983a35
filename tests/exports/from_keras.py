"""Exports from Keras: tf2onnx and onnxviz's own converter."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
from keras import activations, layers

from exports.rows import Traced, fed

C = 4
NORMALISATIONS: dict[str, Callable] = {
    "batch": layers.BatchNormalization,
    "batch_no_affine": lambda: layers.BatchNormalization(center=False, scale=False),
    "group": lambda: layers.GroupNormalization(2),
    "group_no_affine": lambda: layers.GroupNormalization(2, center=False, scale=False),
    "group_one": lambda: layers.GroupNormalization(1),
    "instance": lambda: layers.GroupNormalization(-1),
    "layer": lambda: layers.LayerNormalization(axis=[1, 2, 3]),
    "layer_channels": layers.LayerNormalization,
    "layer_no_affine": lambda: layers.LayerNormalization(center=False, scale=False),
    "rms_channels": layers.RMSNormalization,
    "unit": layers.UnitNormalization,
}
NAMED = (
    "celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu log_sigmoid log_softmax "
    "mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax "
    "squareplus tanh tanh_shrink threshold"
).split()
OPTIONS = {"threshold": {"threshold": 0.1, "default_value": -2.0}}


def named(name: str) -> layers.Layer:
    """An activation by its name; as a function, since not all of them are found by name."""
    function, options = getattr(activations, name), OPTIONS.get(name, {})
    if name == "glu":  # halves the channels, which Activation does not expect
        return layers.Lambda(function, output_shape=lambda shape: (*shape[:-1], shape[-1] // 2))
    return layers.Activation(lambda x: function(x, **options))


ACTIVATIONS: dict[str, Callable] = {name: lambda name=name: named(name) for name in NAMED}
ACTIVATIONS |= {
    "gelu_tanh": lambda: layers.Activation(lambda x: activations.gelu(x, approximate=True)),
    "layer_elu": lambda: layers.ELU(0.7),
    "layer_leaky_relu": lambda: layers.LeakyReLU(0.2),
    "layer_prelu": layers.PReLU,
    "layer_prelu_shared": lambda: layers.PReLU(shared_axes=[1, 2]),
    "layer_relu": layers.ReLU,
    "layer_relu_all": lambda: layers.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.2),
    "layer_relu_six": lambda: layers.ReLU(6.0),
    "layer_relu_two": lambda: layers.ReLU(max_value=2.0),
    "layer_softmax": layers.Softmax,
    "layer_threshold": lambda: layers.ReLU(threshold=0.5),
}


def conv(name: str) -> layers.Layer:
    return layers.Conv2D(C, 1, name=f"{name}_conv")


def chains() -> dict[str, list[layers.Layer]]:
    """By row of the table, a convolution and the layers behind it."""
    made = {f"{name}__relu": [module(), layers.ReLU()] for name, module in NORMALISATIONS.items()}
    made |= {f"none__{name}": [module()] for name, module in ACTIVATIONS.items()}
    made |= {f"batch__{name}": [layers.BatchNormalization(), module()] for name, module in ACTIVATIONS.items()}
    made |= {"dropout__relu": [layers.Dropout(0.5), layers.ReLU()], "batch__alone": [layers.BatchNormalization()]}
    found = {row: [conv(row), *behind] for row, behind in made.items()}
    found["depthwise_batch__relu6"] = [layers.DepthwiseConv2D(2), layers.BatchNormalization(), layers.ReLU(6.0)]
    found["separable_layer__relu"] = [layers.SeparableConv2D(C, 2), layers.LayerNormalization(), layers.ReLU()]
    found["transposed_group__relu"] = [layers.Conv2DTranspose(C, 2, 2), layers.GroupNormalization(2), layers.ReLU()]
    found["line_batch__relu"] = [
        layers.Reshape((30, 2)), layers.Conv1D(C, 3), layers.BatchNormalization(), layers.ReLU()
    ]  # fmt: skip
    found["line_layer__silu"] = [
        layers.Reshape((30, 2)),
        layers.Conv1D(C, 3),
        layers.LayerNormalization(),
        named("silu"),
    ]
    found["volume_group__relu"] = [
        layers.Reshape((1, 5, 6, 2)), layers.Conv3D(C, 1), layers.GroupNormalization(2), layers.ReLU()
    ]  # fmt: skip
    return found


def network(tail: str, rows=None) -> tuple[keras.Model, keras.Model]:
    """The network with seeded weights, and one that gives what each chain gives.

    Args:
        tail: "conv", another convolution behind each chain, or "pool", a mean over its positions.
        rows: those of the table to build; None for all.
    """
    x = keras.Input((5, 6, 2), name="x")
    ends, seen = [], {}
    for row, chain in chains().items():
        if rows is not None and row not in rows:
            continue
        y = x
        for layer in chain:
            y = layer(y)
        seen[row] = y
        rank = len(y.shape) - 2
        if tail == "conv":
            y = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[rank - 1](1, 1, name=f"{row}_tail")(y)
            ends.append(layers.Flatten()(y))
        else:
            pools = (layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D)
            ends.append(pools[rank - 1]()(y))
    model = keras.Model(x, layers.Concatenate(name="y")(ends))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        positive = variable.name in ("gamma", "moving_variance", "scale")
        drawn = rng.uniform(0.5, 1.5, variable.shape) if positive else rng.standard_normal(variable.shape)
        if "seed" not in variable.name:
            variable.assign(drawn.astype(np.float32))
    return model, keras.Model(x, seen)


def exported(exporter: str, tail: str = "conv", rows=None) -> Traced:
    """The network as "tf2onnx" or "convert" writes it."""
    model, seen = network(tail, rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        if exporter == "tf2onnx":
            import tf2onnx

            spec = [tf.TensorSpec((None, 5, 6, 2), tf.float32, name="x")]
            tf2onnx.convert.from_keras(model, spec, opset=18, output_path=str(path))
            version = f"tf2onnx {tf2onnx.__version__}"
        else:
            import onnxviz

            onnxviz.convert(model, output=path, verify=False)
            version = exporter
        proto = onnx.load(path)
    x = np.moveaxis(fed(), 1, -1)
    given = {row: np.moveaxis(np.asarray(value), -1, 1) for row, value in seen(x).items()}
    bare = frozenset(row for row in given if row.endswith("__alone"))
    return Traced(f"keras {keras.__version__}, {version}, {tail}", proto, given, bare, {})
