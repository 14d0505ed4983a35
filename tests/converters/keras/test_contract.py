"""The contract of converters, fulfilled by Keras'."""

import warnings

import numpy as np
from converter_contract import ConverterContract
from keras_checks import in_onnx_order, keras, layers, numbers, outputs_of

RNG = np.random.default_rng(3)


class Odd(layers.Layer):
    """Does what it is told once the model is made."""

    def call(self, x):
        return self.doing(x) if hasattr(self, "doing") else x


def around(body, *before, size=9, name="m"):
    image = keras.Input((size, size, 3), name="image")
    x = image
    for layer in before:
        x = layer(x)
    return keras.Model(image, layers.GlobalAveragePooling2D()(body(x)), name=name)


def body():
    inner = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, activation="relu", bias_initializer="uniform", name="first")(inner)
    x = layers.Conv2D(5, 3, activation="relu", bias_initializer="uniform", name="second")(x)
    return keras.Model(inner, x, name="body")


def quietly(save, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy 2, and of the older format
        save(path)
    return path


def with_odd(doing):
    odd = Odd(name="odd")
    model = around(layers.Conv2D(5, 3, name="c"), odd)
    odd.__dict__["doing"] = doing
    return model


class TestKeras(ConverterContract):
    module, framework = "onnxviz_converters.keras", "Keras"
    axes = (0, 3, 1, 2)
    suffixes, weights_suffix = (".keras", ".h5"), ".weights.h5"
    stranger = 21

    def network(self, seed=0, size=9):
        keras.utils.set_random_seed(seed)
        return around(body(), size=size)

    def scaled(self):
        return around(body(), layers.Rescaling(1 / 255))

    def shared(self):
        again = layers.Conv2D(3, 3, name="again")
        return around(lambda x: again(again(x)))

    def unsteady(self):
        return with_odd(lambda x: x * float(RNG.normal()))

    def untraceable(self):
        return with_odd(lambda x: keras.ops.fft2((x, x))[0])

    def saved(self, model, path):
        return quietly(model.save, path)

    def saved_weights(self, model, path):
        return quietly(model.save_weights, path)

    def saved_code(self, path):
        return self.saved(around(body(), layers.Lambda(lambda x: x * 3, name="code")), path)

    def kernels(self, model):
        inner = model.get_layer("body")
        return {one.name: in_onnx_order(one, numbers(one.kernel)) for one in inner.layers[1:]}

    def biases(self, model):
        return {one.name: numbers(one.bias) for one in model.get_layer("body").layers[1:]}

    def answers(self, model, x):
        maps, features = {}, x
        for one in model.get_layer("body").layers[1:]:
            linear = keras.ops.conv(features, one.kernel, padding="valid") + one.bias
            maps[one.name] = np.moveaxis(np.asarray(linear), -1, 1)
            features = one(features)
        return outputs_of(model, [x])[0], maps

    def state(self, model):
        from keras.src import backend

        flat = model._flatten_layers()
        return {
            "weights": [numbers(weight).tobytes() for weight in model.weights],
            "attributes": [(id(one), sorted(one.__dict__), one.trainable, one.built) for one in flat],
            "backend": {name: id(value) for name, value in vars(backend.nn).items()},
        }
