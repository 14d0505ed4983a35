"""Keras networks by way of tf2onnx, channels last, against TensorFlow's tape."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own imports warn
    keras = pytest.importorskip("keras", reason="the oracle is TensorFlow's tape: pip install onnxviz[keras]")
    tf = pytest.importorskip("tensorflow", reason="the oracle is TensorFlow's tape: pip install onnxviz[keras]")
    from keras_checks import taped

    tf2onnx = pytest.importorskip("tf2onnx", reason="it exports: pip install onnxviz[keras]")


def network(name):
    """Small networks with Keras' own ways: same padding at stride 2, swish, separable and transposed convolutions."""
    k = keras.layers
    keras.utils.set_random_seed(sum(name.encode()))
    x = inputs = k.Input((32, 30, 3))
    if name == "vgg":
        for width in (6, 8):
            x = k.Conv2D(width, 3, padding="same", activation="relu")(x)
            x = k.MaxPooling2D()(x)
        x = k.Dense(5)(k.Flatten()(x))
    elif name == "mobilenet":
        x = k.ReLU(6.0)(k.BatchNormalization()(k.Conv2D(6, 3, 2, padding="same", use_bias=False)(x)))
        y = k.DepthwiseConv2D(3, padding="same")(x)
        x = k.Add()([x, k.BatchNormalization()(k.Conv2D(6, 1)(k.LeakyReLU(0.1)(y)))])
        x = k.SeparableConv2D(8, 5, 2, padding="same", activation="swish")(k.ZeroPadding2D(((0, 1), (1, 0)))(x))
        x = k.Dense(5, activation="softmax")(k.GlobalAveragePooling2D()(x))
    elif name == "gates":
        x = k.Conv2D(6, 3, 2, padding="same", activation="silu")(x)
        gate = k.GlobalAveragePooling2D(keepdims=True)(x)
        x = k.Multiply()([x, k.Conv2D(6, 1, activation="sigmoid")(gate)])
        x = k.AveragePooling2D(3, 2, padding="same")(k.LayerNormalization()(x))
        x = k.Concatenate()([x, k.MaxPooling2D(3, 1, padding="same")(x)])
        x = k.Dense(4, activation="tanh")(k.GlobalMaxPooling2D()(x))
    elif name == "unet":
        top = k.Conv2D(6, 3, padding="same", activation="elu")(k.Cropping2D(((0, 0), (1, 1)))(x))
        low = k.Conv2D(8, 3, padding="same", activation="selu")(k.MaxPooling2D()(top))
        up = k.Conv2DTranspose(6, 3, 2, padding="same")(low)
        far = k.UpSampling2D(interpolation="bilinear")(low)
        x = k.Conv2D(2, 1)(k.Concatenate()([top, up, k.UpSampling2D()(low), far]))
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, k.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, beta, rng.uniform(-0.3, 0.3, mean.shape), rng.uniform(0.5, 1.5, variance.shape)])
    return model


@pytest.mark.filterwarnings("ignore")  # TensorFlow and tf2onnx use what numpy and protobuf deprecate
@pytest.mark.parametrize("name", ["vgg", "mobilenet", "gates", "unet"])
def test_network(name, tmp_path):
    model = network(name)
    spec = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")]
    tf2onnx.convert.from_function(
        tf.function(lambda image: model(image, training=False)),
        input_signature=spec,
        opset=17,
        output_path=str(tmp_path / "m.onnx"),
    )
    gradient = add_gradient(onnxviz.load(tmp_path / "m.onnx"))
    assert gradient.wrt == ("image",)
    x = np.random.default_rng(2).normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    expected, value, seed = taped(model, x)
    found = gradient.session(threads=1).run({"image": x}, seed)
    np.testing.assert_allclose(found.value, value, rtol=1e-3, atol=1e-5)
    one, other = found.gradients["image"].astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    assert 1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other) < 1e-4
    assert abs(np.linalg.norm(one) / np.linalg.norm(other) - 1) < 1e-3
