"""The architectures of `keras.applications` with drawn weights; to be imported where Keras is."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers


def numbers(variable):
    """A copy of a variable's value, read past Keras, whose own way warns under NumPy 2."""
    return np.array(variable.value.numpy())


def shaken(factory, seed=0, **options):
    """The architecture with weights that are neither 0 nor 1 and keep the signal's strength, as training does.

    Kernels after He et al. 2015; moving statistics near those of one batch of noise. `options` are the factory's.
    """
    model = getattr(keras.applications, factory)(weights=None, **options)
    rng = np.random.default_rng(seed)
    flat = list(model._flatten_layers(include_self=False))
    for layer in flat:
        if isinstance(layer, layers.Normalization):
            continue
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            shape, name = tuple(variable.shape), variable.name
            if "kernel" in name:
                depthwise = "depthwise" in name or isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D)
                fan = np.prod(shape[:-2] if depthwise else shape[:-1])
                values = rng.standard_normal(shape, np.float32) * np.float32(
                    np.sqrt((2 if len(shape) > 2 else 1) / fan)
                )
            elif name in ("bias", "beta", "moving_mean"):
                values = rng.normal(0, 0.1, shape)
            else:  # gamma, moving_variance, the scale of a ConvNeXt layer
                values = rng.uniform(0.5, 1.5, shape) * (0.3 if name.startswith("variable") else 1)
            variable.assign(values.astype(np.float32))
    # Residual branches add little each, as in trained networks; else rounding errors grow from block to block.
    for joint in (layer for layer in flat if isinstance(layer, layers.Add)):
        for branch in (tensor._keras_history.operation for tensor in joint.input):
            if isinstance(branch, layers.BatchNormalization | layers.Conv1D | layers.Conv2D | layers.Conv3D):
                strength = branch.gamma if isinstance(branch, layers.BatchNormalization) else branch.kernel
                strength.assign(0.3 * numbers(strength))
    x = images(model, 2, seed)
    norms = [layer for layer in flat if isinstance(layer, layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    if norms:
        model(x, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        variance = numbers(norm.moving_variance)
        floor = 1e-3 * variance.mean() + 1e-4
        norm.moving_mean.assign(numbers(norm.moving_mean) + rng.normal(0, 0.1, variance.shape) * np.sqrt(variance))
        norm.moving_variance.assign((variance + floor) * rng.uniform(0.7, 1.4, variance.shape))
    last = model.layers[-1]
    if isinstance(last, layers.Dense):  # logits of a size at which no class has all the probability
        activation, last.activation = last.activation, keras.activations.linear
        factor = 2 / np.asarray(model(x, training=False)).std()
        last.activation = activation
        for variable in last.variables:
            variable.assign(numbers(variable) * factor)
    return model


def images(model, batch, seed):
    """Noise as it comes out of the architecture's own preprocessing, roughly."""
    rng = np.random.default_rng(seed)
    shape = (batch, *(size or 224 for size in model.input_shape[1:]))
    if any(isinstance(layer, layers.Rescaling | layers.Normalization) for layer in model.layers):
        return rng.uniform(0, 255, shape).astype(np.float32)
    return rng.uniform(-1.5, 1.5, shape).astype(np.float32)
