"""Keras layers of every kind, converted: convolutions, activations, loops, what only training does."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from keras_checks import (
    CHANNELS_FIRST,
    TRANSPOSED,
    channels_first,
    check_batch_norms,
    check_filters,
    check_model,
    conversion,
    flat_convolutions,
    keras,
    layers,
    operators,
    outputs_of,
    randomised,
    relative,
    run_untouched,
    sequential,
)
from onnxviz_converters.keras import KerasSource
from search_path import search_path

import onnxviz
from onnxviz.conversion.converter import Unverifiable
from onnxviz.model.naming import LAYER_KEY


def test_layers_keep_their_places_in_keras_list():
    """`model.layers[n]`: an InputLayer counts where the list has it; what lies inside a layer has no place there."""
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 3, name="conv")], name="inner")
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.SeparableConv2D(4, 3, padding="same", name="separable")(x)
    model = keras.Model(image, layers.Conv2D(2, 1, name="last")(inner(x)))
    assert [one.name for one in model.layers[1:]] == ["first", "dropout", "separable", "inner", "last"]
    found = {layer.name: layer.keras_index for layer in onnxviz.convert(model).layers}
    separable = {"separable/depthwise": 3, "separable/pointwise": 3}
    assert found == {"first": 1, **separable, "inner/conv": None, "last": 5}
    model = sequential(layers.Conv2D(4, 3, name="one"), layers.MaxPooling2D(), layers.Conv2D(4, 3, name="two"))
    found = {layer.name: layer.keras_index for layer in onnxviz.convert(model).layers}
    assert found == {name: model.layers.index(model.get_layer(name)) for name in ("one", "two")} == {"one": 0, "two": 2}


def test_channels_first(tmp_path):
    model = channels_first()
    done = conversion(model, output=tmp_path / "m.onnx")
    assert done.model.inputs[0].shape == ("batch", 3, 16, 20)
    assert (done.verification.maps, operators(done.model)["Transpose"]) == (4, 0)
    check_filters(done.model, flat_convolutions(model))


@pytest.mark.parametrize(
    ("layer", "rank"),
    [
        (layers.Conv1D(4, 3, name="c", **CHANNELS_FIRST), 1),
        (layers.Conv3D(4, 3, name="c", **CHANNELS_FIRST), 3),
        (layers.SeparableConv2D(4, 3, name="c", **CHANNELS_FIRST), 2),
        (layers.Conv1DTranspose(4, 3, strides=2, name="c", **CHANNELS_FIRST), 1),
        (layers.Conv3DTranspose(4, 2, strides=2, name="c", **CHANNELS_FIRST), 3),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, layers.Layer) else "",
)
def test_biases_of_channels_first(tmp_path, layer, rank):
    model = sequential(layer, shape=(3, *[7, 8, 9][:rank]))
    done = conversion(randomised(model), output=tmp_path / "m.onnx")
    assert done.verification.max_rel_diff < 1e-5
    check_filters(done.model, flat_convolutions(model))


# In a program of its own: TensorFlow reads the option when it is loaded, here before onnxviz.
KERNELS_OF_CHANNELS_FIRST = """
import os, sys
import keras, tensorflow as tf, numpy as np
import onnxviz
from keras_checks import channels_first
from onnxviz.conversion.convert import conversion
model = channels_first()
try:
    model(np.zeros((1, 3, 16, 20), "float32"))
except tf.errors.OpError:
    print("no kernels")
done = conversion(model)
print(done.verification.maps, done.verification.max_rel_diff < 1e-5, sum("XLA" in note for note in done.notes))

# What the converter saw is what Keras gives with the channels moved to the end, by itself.
last = keras.Sequential([keras.Input((16, 20, 3)), keras.layers.Conv2D(4, 3, strides=2, padding="same", name="c")])
last.set_weights(model.get_layer("c").get_weights())
x = np.random.default_rng(0).normal(size=(2, 3, 16, 20)).astype("float32")
truth = np.moveaxis(np.asarray(last(np.moveaxis(x, 1, -1))), -1, 1)
maps = onnxviz.capture(done.model, x, layers="c", at="conv")["c"]
print(np.abs(maps - truth).max() < 1e-5 * np.abs(truth).max())

class Own(keras.layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 3, 3, 4), initializer="random_normal", name="kernel")
    def call(self, x):
        return tf.nn.conv2d(x, self.kernel, 1, "SAME", data_format="NCHW")

own = keras.Sequential([keras.Input((3, 8, 8)), Own(name="own")], name="own")
print(conversion(own).verification.max_rel_diff < 1e-5)
own.export(sys.argv[1], verbose=False)
done = conversion(sys.argv[1], allow_code_execution=True)
print(done.verification.maps, done.verification.max_rel_diff < 1e-5)
print(os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
"""


@pytest.mark.parametrize("option", ["0", "1", None])
def test_channels_first_without_kernels_for_it(tmp_path, option):
    """A right conversion is accepted whatever TensorFlow can run, and no option is set behind the user's back."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    environment["PYTHONPATH"] = search_path(Path(__file__).resolve().parents[2])
    if option is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = option
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KERNELS_OF_CHANNELS_FIRST, str(tmp_path / "saved")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    lacking = lines[0] == "no kernels"
    assert lacking or option != "0"
    assert lines[lacking:] == [f"4 True {int(lacking)}", "True", "True", "1 True", str(option)]


@pytest.mark.parametrize(
    ("error", "said", "words"),
    [
        ("UnimplementedError", "The Conv2D op currently only supports the NHWC format",
         r"no channels-first kernels of its own for this processor.*TF_ENABLE_ONEDNN_OPTS=1"),
        ("AbortedError", "could not create a primitive descriptor for the convolution",
         r"oneDNN, as it is set up, has no kernel.*TF_ENABLE_ONEDNN_OPTS=0"),
    ],
)  # fmt: skip
def test_what_nothing_can_run(monkeypatch, error, said, words):
    """What cannot be compared is said to be the machine's fault, with what to do; it converts unverified."""
    tf = pytest.importorskip("tensorflow")

    class Lacking(layers.Layer):
        refuse = False

        def call(self, x):
            if tf.executing_eagerly():
                raise getattr(tf.errors, error)(None, None, said)
            if self.refuse:
                raise ValueError("XLA has no such operation")
            return x

    model = sequential(Lacking(name="lacking"), layers.Conv2D(2, 3, name="c"))
    assert "compared through XLA" in " ".join(conversion(model).notes)
    traced = KerasSource.trace

    def trace(self, opset):
        result = traced(self, opset)
        model.layers[0].refuse = True
        return result

    monkeypatch.setattr(KerasSource, "trace", trace)
    with pytest.raises(Unverifiable, match=words):
        conversion(model)
    model.layers[0].refuse = False
    assert [layer.name for layer in conversion(model, verify=False).model.layers] == ["c"]


@pytest.mark.parametrize("activation", ["softmax", "glu", "celu", "squareplus", "hard_silu", "mish", "log_softmax"])
def test_an_activation_inside_the_layer(tmp_path, activation):
    check_model(sequential(layers.Conv2D(4, 3, activation=activation, name="c")), tmp_path)


def test_an_activation_of_ones_own(tmp_path):
    model = sequential(layers.Conv2D(4, 3, activation=lambda x: keras.ops.sin(x) * x, name="c"))
    assert check_model(model, tmp_path).verification.maps == 1


def test_a_layer_with_weights_as_activation(tmp_path):
    model = sequential(layers.Conv2D(4, 3, activation=layers.PReLU(alpha_initializer="uniform"), name="c"))
    assert check_model(model, tmp_path, maps=False).verification.maps == 1


KERNELS = [(1, 2), (2, 2), (3, 2), (4, 2), (2, 3), (5, 2), (3, 1), ((3, 2), (1, 2))]


@pytest.mark.parametrize("size", [(9, 11, 3), (None, None, 3)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_transposed_convolutions_of_any_kernel_stride_and_size(tmp_path, size, padding):
    image = keras.Input(size)
    made = [
        layers.Conv2DTranspose(2, kernel, strides=strides, padding=padding, name=f"t{index}")(image)
        for index, (kernel, strides) in enumerate(KERNELS)
    ]
    if padding == "same":
        made += [
            layers.Conv2DTranspose(2, 3, strides=2, padding="same", output_padding=extra, name=f"extra{extra}")(image)
            for extra in (0, 1)
        ]
    done = check_model(keras.Model(image, made), tmp_path)
    assert done.verification.maps == len(made)
    assert [layer.name for layer in done.model.layers] == [one._keras_history.operation.name for one in made]


@pytest.mark.parametrize(("rank", "kernel", "strides"), [(1, 3, 2), (1, 2, 3), (3, 3, 2), (3, 2, (1, 2, 3))])
def test_transposed_convolutions_of_other_ranks(tmp_path, rank, kernel, strides):
    kind = TRANSPOSED[{1: 0, 3: 2}[rank]]
    model = sequential(kind(4, kernel, strides=strides, padding="same", name="t"), shape=(*[None] * rank, 3))
    check_model(model, tmp_path, shape=(None, *[6] * rank, 3))


def test_grouped_dilated_depthwise_and_separable(tmp_path):
    model = sequential(
        layers.Conv2D(8, 3, dilation_rate=(2, 1), name="dilated"),
        layers.Conv2D(8, 3, groups=4, padding="same", activation="relu", name="grouped"),
        layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same", name="depthwise"),
        layers.DepthwiseConv2D(3, dilation_rate=2, padding="same", name="spread"),
        layers.SeparableConv2D(6, 3, depth_multiplier=2, padding="same", activation="gelu", name="separable"),
    )
    done = check_model(model, tmp_path)
    assert done.model.layer("depthwise").group == 8
    assert done.model.layer("spread").dilations == (2, 2)


def test_layers_that_only_do_something_in_training(tmp_path):
    inert = [
        layers.RandomFlip(), layers.RandomRotation(0.2), layers.RandomZoom(0.2), layers.RandomContrast(0.2),
        layers.GaussianNoise(0.3), layers.Dropout(0.5), layers.SpatialDropout2D(0.4), layers.GaussianDropout(0.2),
        layers.AlphaDropout(0.2),
    ]  # fmt: skip
    made = check_model(sequential(*inert, layers.Conv2D(4, 3, name="c")), tmp_path).model
    assert set(operators(made)) <= {"Transpose", "Conv"}


def test_preprocessing_inside_the_model(tmp_path):
    norm = layers.Normalization(mean=[0.2, -0.1, 0.4], variance=[1.5, 0.7, 2.0], name="norm")
    model = sequential(
        layers.Resizing(32, 32), layers.CenterCrop(28, 28), norm, layers.Rescaling(0.5, 0.1), layers.ZeroPadding2D(2),
        layers.Conv2D(4, 3, name="c"), shape=(None, None, 3),
    )  # fmt: skip
    check_model(model, tmp_path)


def test_a_layer_called_twice(tmp_path):
    image = keras.Input((12, 14, 3))
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    done = check_model(keras.Model(image, shared(keras.ops.relu(shared(image)))), tmp_path, maps=False)
    assert [layer.name for layer in done.model.layers] == ["shared", "shared_2"]
    assert done.verification.maps == 2
    assert done.model.parameters == 84


def test_a_layer_at_every_time_step(tmp_path):
    inner = layers.Conv2D(4, 3, name="inner")
    model = sequential(layers.TimeDistributed(inner, name="steps"), shape=(4, 12, 12, 3))
    done = conversion(randomised(model))
    check_filters(done.model, {"steps/inner": inner})
    assert done.verification.maps == 4


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_layers_become_loops(tmp_path, cell):
    recurrent = getattr(layers, cell)
    model = sequential(
        layers.Conv1D(4, 3, name="c"),
        layers.Bidirectional(recurrent(5, return_sequences=True)),
        recurrent(3),
        shape=(12, 4),
    )
    made = check_model(model, tmp_path).model
    assert "Loop" in operators(made)


def test_control_flow_of_ones_own(tmp_path):
    class Flow(layers.Layer):
        def call(self, x):
            x = keras.ops.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 1.5), (0, x))[1]
            return keras.ops.cond(keras.ops.sum(x) > 0, lambda: x * 2, lambda: x * 3)

    check_model(sequential(layers.Conv2D(4, 3, name="c"), Flow()), tmp_path)


def test_layers_numbered_by_keras_are_told_apart():
    """TensorFlow numbers in the same way what it enters again: conv_1 is a layer, or the layer conv once more."""
    names = [f"{kind}{number}" for number in ("", "_1", "_2", "_1_1") for kind in ("conv", "norm", "act")]
    kinds = {
        "conv": lambda name: layers.Conv2D(3, 3, name=name),
        "norm": lambda name: layers.BatchNormalization(name=name),
        "act": lambda name: layers.Activation("relu", name=name),
    }
    model = randomised(sequential(*(kinds[name.partition("_")[0]](name) for name in names)))
    made = onnxviz.convert(model)
    signed = [entry.value for node in made.proto.graph.node for entry in node.metadata_props if entry.key == LAYER_KEY]
    assert signed == names
    check_batch_norms(made, model, [one for one in model.layers if isinstance(one, layers.BatchNormalization)])
    check_filters(made, flat_convolutions(model))


def test_quantised_dense_layers(tmp_path):
    model = randomised(sequential(layers.Conv2D(4, 3, name="c"), layers.Flatten(), layers.Dense(5, name="d")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize("int8")
    made = onnxviz.convert(model, output=tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(2, 12, 14, 3)).astype(np.float32)
    assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-4
    check_filters(made, flat_convolutions(model))


def test_a_model_without_a_convolution(tmp_path):
    model = sequential(layers.Dense(4), shape=(5,))
    done = check_model(model, tmp_path)
    assert done.notes == ["m has no convolution"]


def test_weights_made_from_others_are_told_and_not_claimed():
    class Standardised(layers.Conv2D):
        def call(self, x):
            kernel = self.kernel - keras.ops.mean(self.kernel, (0, 1, 2))
            return keras.ops.conv(x, kernel, padding="valid") + self.bias

    done = conversion(sequential(Standardised(4, 3, name="c")))
    assert done.verification.unused == ("c",)
    assert done.verification.layers == 0
    assert "filters not compared" in done.notes[-1]


def test_two_layers_of_one_name_in_two_models(tmp_path):
    image = keras.Input((12, 14, 3))
    inner = [keras.Sequential([layers.Conv2D(3, 3, name="same")], name=name) for name in "ab"]
    made = onnxviz.convert(keras.Model(image, inner[0](image) - inner[1](image)))
    assert [layer.name for layer in made.layers] == ["a/same", "b/same"]
    check_filters(made, {f"{one.name}/same": one.layers[0] for one in inner})


def test_every_opset(tmp_path):
    model = randomised(sequential(layers.Conv2D(4, 3, activation="gelu", name="c"), layers.GroupNormalization(2)))
    x = np.random.default_rng(0).normal(size=(2, 12, 14, 3)).astype(np.float32)
    for opset in (13, 15, 17, 18):
        made = onnxviz.convert(model, opset=opset, output=tmp_path / "m.onnx")
        assert made.opset[""] == opset
        assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-4
