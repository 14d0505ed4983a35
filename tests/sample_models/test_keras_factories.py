"""The networks of models/keras_models.py: reproducible, varied, and as their docstrings say."""

import random
import re

import examples
import numpy as np
import pytest
from examples import representatives
from factories import keras_inputs, waves
from factory_checks import check_factories, check_outputs, check_weights, furthest

# TensorFlow's variables do not know the argument `copy` that NumPy 2 asks of __array__; Keras reads weights that way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
# Stand for the others in what costs several networks each; all of them are for `make test-all`.
SMALL_KERAS = {"two_in_two_out", "signals", "open_size"}
# Written out, so that collecting the tests imports no framework; parameters without running statistics for PyTorch.
KERAS = {
    "cats_and_dogs": 10_641_441,
    "sd_unet": 249_187,
    "two_in_two_out": 22_858,
    "open_size": 50_056,
    "subclassed": 393_991,
    "signals": 39_926,
    "volumes": 88_145,
    "grouped": 352_506,
}


def keras_outputs(model, inputs):
    import keras

    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [keras.ops.convert_to_numpy(output) for output in outputs]


def numbers(weight):
    """A copy of the Keras variable's values."""
    import keras

    return np.array(keras.ops.convert_to_numpy(weight))


def keras_weights(model):
    return {weight.path: numbers(weight) for weight in model.weights}


def test_keras_factories_take_keywords_only(keras_models):
    check_factories(keras_models, KERAS)


@pytest.mark.parametrize("name", representatives(KERAS, SMALL_KERAS))
def test_keras_weights_follow_from_the_seed_alone(keras_models, name):
    factory = getattr(keras_models, name)
    weights = keras_weights(factory())
    check_weights(weights, keras_weights(factory(seed=0)), keras_weights(factory(seed=1)))


@pytest.mark.parametrize("name", KERAS)
def test_keras_parameters_and_outputs(keras_models, name):
    model = getattr(keras_models, name)()
    assert model.built
    assert model.count_params() == KERAS[name]
    check_outputs([keras_outputs(model, keras_inputs(keras_models, name, seed)) for seed in range(3)])


NEUTRAL = {"gamma": 1, "moving_variance": 1}


@pytest.mark.parametrize("name", representatives(KERAS, SMALL_KERAS))
def test_keras_every_kind_of_weight_matters(keras_models, name):
    model = getattr(keras_models, name)()
    inputs = keras_inputs(keras_models, name)
    reference = keras_outputs(model, inputs)
    for kind in sorted({weight.name for weight in model.weights}):
        kept = [(weight, numbers(weight)) for weight in model.weights if weight.name == kind]
        for weight, values in kept:
            weight.assign(np.full_like(values, NEUTRAL.get(kind, 0)))
        assert furthest(reference, keras_outputs(model, inputs)) > 1e-3, kind
        for weight, values in kept:
            weight.assign(values)
    assert furthest(reference, keras_outputs(model, inputs)) == 0


def test_keras_global_random_state_is_neither_read_nor_changed(keras_models):
    import keras

    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        keras.utils.set_random_seed(5)
        expected = keras.ops.convert_to_numpy(keras.random.normal((4,)))
        names = [name for name in KERAS if examples.thorough or name in SMALL_KERAS]
        weights = [keras_weights(getattr(keras_models, name)()) for name in names]
        keras.utils.set_random_seed(5)
        before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        for name, values in zip(names, weights, strict=True):
            for path, value in keras_weights(getattr(keras_models, name)()).items():
                np.testing.assert_array_equal(value, values[path])
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(keras.random.normal((4,))), expected)
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def all_layers(model):
    """Every layer, also those inside other layers."""
    return list(model._flatten_layers(include_self=False))


@pytest.mark.parametrize("name", representatives(KERAS, SMALL_KERAS))
def test_keras_layers_have_names_of_their_own_choosing(keras_models, name):
    first, second = (getattr(keras_models, name)() for _ in range(2))
    names = [layer.name for layer in all_layers(first)]
    assert names == [layer.name for layer in all_layers(second)]
    paths = [weight.path for weight in first.weights]
    assert len(set(paths)) == len(paths)
    if name != "subclassed":
        assert len(set(names)) == len(names)


def test_cats_and_dogs_has_the_layers_it_is_known_for(keras_models):
    import keras

    model = keras_models.cats_and_dogs()
    assert isinstance(model, keras.Sequential)
    assert [(layer.name, *layer.output.shape[1:]) for layer in model.layers] == [
        ("conv1", 150, 150, 16),
        ("pool1", 75, 75, 16),
        ("dropout1", 75, 75, 16),
        ("conv2", 75, 75, 32),
        ("pool2", 37, 37, 32),
        ("conv3", 37, 37, 64),
        ("pool3", 18, 18, 64),
        ("dropout2", 18, 18, 64),
        ("flatten", 20736),
        ("dense", 512),
        ("logit", 1),
    ]
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel.shape for layer in convolutions] == [(3, 3, 3, 16), (3, 3, 16, 32), (3, 3, 32, 64)]
    assert all(layer.padding == "same" and layer.activation is keras.activations.relu for layer in convolutions)
    assert model.get_layer("dense").activation is keras.activations.relu
    assert model.get_layer("logit").activation is keras.activations.linear


def convolution_operators(layer):
    """As many as ONNX needs for the layer: two for a separable one, none for a layer that is no convolution."""
    import keras

    if isinstance(layer, keras.layers.SeparableConv2D):
        return 2
    plain = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose)
    return int(isinstance(layer, plain))


def test_sd_unet_has_51_convolutions_where_its_docstring_says(keras_models):
    model = keras_models.sd_unet()
    parts = {}
    for layer in model.layers:
        part = layer.name.split("_")[0]
        parts[part] = parts.get(part, 0) + convolution_operators(layer)
    parts = {part: count for part, count in parts.items() if count}
    rows = re.findall(r"^ *``(\w+)`` .* (\d+)$", keras_models.sd_unet.__doc__, re.MULTILINE)
    assert {part: int(count) for part, count in rows} == parts
    assert sum(parts.values()) == 51
    assert list(parts) == ["enc1", "enc2", "enc3", "enc4", "bottleneck", "aspp", "dec3", "dec2", "dec1", "head"]


def test_sd_unet_is_made_of_what_it_is_known_for(keras_models):
    import keras

    model = keras_models.sd_unet()
    layers = keras.layers
    assert {"enc1_conv1", "enc4_conv2", "aspp_rate6_depthwise", "aspp_project", "dec2_up", "head_mask"} <= {
        layer.name for layer in model.layers
    }
    assert model.output.shape == (None, 128, 128, 3)
    for i, rate in enumerate(keras_models.ASPP_RATES):
        depthwise = model.get_layer(f"aspp_rate{rate}_depthwise")
        assert isinstance(depthwise, layers.DepthwiseConv2D)
        assert depthwise.dilation_rate == (rate, rate)
        assert rate < depthwise.input.shape[1] == 32
        # Dense: the bottleneck's 128 maps and 32 of each smaller rate.
        assert model.get_layer(f"aspp_rate{rate}_reduce").input.shape[-1] == 128 + 32 * i
    kinds = (layers.Conv2DTranspose, layers.UpSampling2D, layers.GroupNormalization, layers.SeparableConv2D)
    for kind in kinds:
        assert any(isinstance(layer, kind) for layer in model.layers)
    assert all(layer.use_bias for layer in model.layers if convolution_operators(layer))
    (mask,) = keras_outputs(model, keras_inputs(keras_models, "sd_unet"))
    np.testing.assert_allclose(mask.sum(-1), 1, atol=1e-5)
    assert set(mask.argmax(-1).flat) == {0, 1, 2}


def test_two_in_two_out_shares_a_convolution_and_nests_models(keras_models):
    import keras

    model = keras_models.two_in_two_out()
    assert [tensor.shape for tensor in model.inputs] == [(None, 48, 64, 3), (None, 6)]
    assert [tensor.shape for tensor in model.outputs] == [(None, 48, 64, 1), (None, 5)]
    (shared,) = [layer for layer in model.get_config()["layers"] if layer["name"] == "shared"]
    assert len(shared["inbound_nodes"]) == 2
    trunk = model.get_layer("trunk")
    assert isinstance(trunk, keras.Model)
    assert isinstance(trunk.get_layer("block"), keras.Sequential)
    # The scaling is part of the model: pixels and readings are taken as they come.
    kinds = [type(layer) for layer in model.layers]
    assert keras.layers.Rescaling in kinds
    assert keras.layers.Normalization in kinds


@pytest.mark.parametrize("size", [(45, 62), (24, 24), (31, 33), (7, 50)])
def test_open_size_takes_any_size(keras_models, size):
    model = keras_models.open_size()
    assert model.input.shape == (None, None, None, 3)
    (output,) = keras_outputs(model, [waves((2, *size, 3), -1, 0)])
    height, width = (-(-side // 2) for side in size)
    assert output.shape == (2, 3 * -(-2 * height // 3), 2 * width, 24)
    np.testing.assert_allclose(np.linalg.norm(output, axis=-1), 1, atol=1e-4)


def test_subclassed_is_a_subclass_with_layers_in_lists(keras_models):
    import keras

    model = keras_models.subclassed()
    assert type(model) is keras_models.ResidualTower
    assert not isinstance(model, keras.Sequential)
    assert [block.name for block in model.blocks] == [f"stage{s}_block{b}" for s in (1, 2, 3) for b in (1, 2)]
    assert "tower/stage2_block1/shortcut/kernel" in [weight.path for weight in model.weights]


@pytest.mark.parametrize("name", ["subclassed", "two_in_two_out"])
def test_keras_file_holds_the_same_model(keras_models, name, tmp_path):
    import keras

    model = getattr(keras_models, name)()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    inputs = keras_inputs(keras_models, name)
    for ours, theirs in zip(keras_outputs(model, inputs), keras_outputs(again, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("signals", ["Conv1D", "DepthwiseConv1D", "SeparableConv1D", "MaxPooling1D", "GlobalAveragePooling1D"]),
        ("volumes", ["Conv3D", "Conv3DTranspose", "MaxPooling3D", "BatchNormalization"]),
        ("grouped", ["Conv2D", "PReLU", "Multiply", "GlobalAveragePooling2D"]),
        ("open_size", ["Conv2D", "UpSampling2D", "LayerNormalization", "UnitNormalization"]),
    ],
)
def test_keras_kinds_of_layers(keras_models, name, kinds):
    assert set(kinds) <= {type(layer).__name__ for layer in getattr(keras_models, name)().layers}


def test_keras_geometry_of_convolutions(keras_models):
    import keras

    signals = keras_models.signals()
    causal = [layer for layer in signals.layers if isinstance(layer, keras.layers.Conv1D) and layer.padding == "causal"]
    assert [layer.dilation_rate for layer in causal] == [(1,), (1,), (2,), (2,), (4,), (4,), (8,), (8,)]
    assert signals.get_layer("strided").output.shape == (None, 86, 48)
    grouped = keras_models.grouped().get_layer("stage3_block1_grouped")
    assert (grouped.groups, grouped.strides, tuple(grouped.kernel.shape)) == (4, (2, 2), (3, 3, 32, 128))
    assert keras_models.volumes().get_layer("dec1_up").strides == (2, 2, 2)
