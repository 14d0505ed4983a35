"""The networks of models/keras_models.py and models/torch_models.py: layers, names, weights, reproducibility."""

import inspect
import itertools
import random
import re
from pathlib import Path

import examples
import numpy as np
import pytest
from examples import representatives
from factories import keras_inputs, waves

# Stand for the others in what costs several networks each; all of them are for `make test-all`.
SMALL_KERAS = {"two_in_two_out", "signals", "open_size"}
SMALL_TORCH = {"shared_twice", "signal_net", "mobilenet"}
# TensorFlow's variables do not know the argument `copy` that NumPy 2 asks of __array__; Keras reads weights that way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[2]

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
TORCH = {
    "resnet": 384_042,
    "unet": 479_874,
    "mobilenet": 218_002,
    "densenet": 182_186,
    "inception": 375_234,
    "convnext": 553_066,
    "yolo_like": 755_153,
    "signal_net": 66_317,
    "volume_net": 86_201,
    "shared_twice": 29_282,
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


def torch_inputs(module, name, seed=0):
    import torch

    return [torch.from_numpy(waves(shape, 1, seed)) for shape in module.INPUT_SHAPES[name]]


def torch_outputs(model, inputs):
    import torch

    with torch.no_grad():
        outputs = model(*inputs)
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    return [output.numpy().copy() for output in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


def torch_weights(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def furthest(ours, theirs):
    """The largest difference of each output, over the largest magnitude in it; the smallest of these."""
    return min(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(ours, theirs, strict=True))


def check_factories(module, expected):
    """Every public function that the module itself defines is a factory with an example input and keywords alone."""
    found = {name for name, _ in inspect.getmembers(module, inspect.isfunction) if not name.startswith("_")}
    assert {name for name in found if getattr(module, name).__module__ == module.__name__} == set(expected)
    assert set(module.INPUT_SHAPES) == set(expected)
    for name in expected:
        parameters = inspect.signature(getattr(module, name)).parameters
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters.values())
        assert parameters["seed"].default == 0
        assert getattr(module, name).__doc__
        assert all(shape[0] == 1 for shape in module.INPUT_SHAPES[name])


def check_weights(weights, again, other):
    """Two builds are equal bit for bit, another seed changes every tensor, no value is a bare 0 or 1."""
    assert list(weights) == list(again) == list(other)
    for name, values in weights.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name, strict=True)
        assert (values != other[name]).mean() > 0.99, name
        assert np.isin(values, [0, 1]).mean() < 0.001, name
        assert values.size == 1 or values.std() > 0.01 * np.abs(values).max(), name


def check_outputs(outputs):
    """Finite, of a size that softmax and sigmoid can bear, varied, and others for other inputs; one list an input."""
    for several in zip(*outputs, strict=True):
        for output in several:
            assert output.dtype == np.float32
            assert np.isfinite(output).all()
            assert 0.01 < np.abs(output).max() < 100
            assert output.size == 1 or output.std() > 0.01 * np.abs(output).max()
        changes = [np.abs(a - b).max() / np.abs(a).max() for a, b in itertools.combinations(several, 2)]
        assert min(changes) > 1e-3
        assert max(changes) > 0.1


# --- Keras ---------------------------------------------------------------------------------------------------------


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


# --- PyTorch -------------------------------------------------------------------------------------------------------


def test_torch_factories_take_keywords_only(torch_models):
    check_factories(torch_models, TORCH)


@pytest.mark.parametrize("name", representatives(TORCH, SMALL_TORCH))
def test_torch_weights_follow_from_the_seed_alone(torch_models, name):
    import torch

    factory = getattr(torch_models, name)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    weights = torch_weights(factory())
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        check_weights(weights, torch_weights(factory(seed=0)), torch_weights(factory(seed=1)))


@pytest.mark.parametrize("name", TORCH)
def test_torch_parameters_and_outputs(torch_models, name):
    model = getattr(torch_models, name)()
    assert not any(module.training for module in model.modules())
    assert sum(parameter.numel() for parameter in model.parameters()) == TORCH[name]
    check_outputs([torch_outputs(model, torch_inputs(torch_models, name, seed)) for seed in range(3)])


@pytest.mark.parametrize("name", representatives(TORCH, SMALL_TORCH))
def test_torch_every_weight_matters(torch_models, name):
    import torch

    model = getattr(torch_models, name)()
    inputs = torch_inputs(torch_models, name)
    reference = torch_outputs(model, inputs)
    for path, tensor in model.state_dict().items():  # shares its memory with the module
        if not tensor.is_floating_point():
            continue
        kept = tensor.clone()
        scale = path.endswith(("running_var", "original0")) or (path.endswith("weight") and tensor.ndim == 1)
        with torch.no_grad():
            tensor.copy_(torch.ones_like(tensor) if scale else kept.flip(0) if tensor.ndim > 1 else 0 * kept)
            if path.endswith("weight") and tensor.ndim > 1 and len(tensor) == 1:
                tensor.zero_()
        changed = torch_outputs(model, inputs)
        most = max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(reference, changed, strict=True))
        assert most > 1e-4, path
        tensor.copy_(kept)
    assert furthest(reference, torch_outputs(model, inputs)) == 0


@pytest.mark.parametrize(
    ("name", "convolutions", "transposed"),
    [
        ("resnet", 24, 0),
        ("unet", 16, 2),
        ("mobilenet", 33, 0),
        ("densenet", 27, 0),
        ("inception", 38, 0),
        ("convnext", 10, 0),
        ("yolo_like", 58, 0),
        ("signal_net", 10, 0),
        ("volume_net", 11, 2),
        ("shared_twice", 5, 0),
    ],
)
def test_torch_convolutions(torch_models, name, convolutions, transposed):
    modules = list(getattr(torch_models, name)().modules())
    assert sum(isinstance(module, torch_models.CONVOLUTIONS) for module in modules) == convolutions
    assert sum(isinstance(module, torch_models.TRANSPOSED) for module in modules) == transposed


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("resnet", ["BasicBlock", "Bottleneck", "BatchNorm2d", "MaxPool2d"]),
        ("unet", ["ConvTranspose2d", "Upsample", "GroupNorm"]),
        ("mobilenet", ["Hardswish", "ReLU6", "Hardsigmoid", "SqueezeExcite"]),
        ("densenet", ["DenseLayer", "AvgPool2d"]),
        ("inception", ["AvgPool2d", "MaxPool2d"]),
        ("convnext", ["LayerNorm", "GELU", "Linear"]),
        ("yolo_like", ["CSP", "SPP", "SiLU", "Upsample"]),
        ("signal_net", ["ParametrizedConv1d", "BatchNorm1d", "ELU"]),
        ("volume_net", ["Conv3d", "ConvTranspose3d", "MaxPool3d", "BatchNorm3d"]),
    ],
)
def test_torch_kinds_of_modules(torch_models, name, kinds):
    assert set(kinds) <= {type(module).__name__ for module in getattr(torch_models, name)().modules()}


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet", [(1, 10)]),
        ("unet", [(1, 2, 64, 96)]),
        ("yolo_like", [(1, 27, 16, 12), (1, 27, 8, 6), (1, 27, 4, 3)]),
        ("volume_net", [(1, 1, 16, 24, 20)]),
        ("shared_twice", [(1, 1, 46, 62), (1, 1)]),
    ],
)
def test_torch_output_shapes(torch_models, name, shapes):
    outputs = torch_outputs(getattr(torch_models, name)(), torch_inputs(torch_models, name))
    assert [output.shape for output in outputs] == shapes


def test_inception_pools_over_the_edge(torch_models):
    model = torch_models.inception()
    sizes = {}
    for name in ("stem2", "pool", "reduction"):
        getattr(model, name).register_forward_hook(
            lambda module, inputs, output, name=name: sizes.update({name: tuple(output.shape[2:])})
        )
    torch_outputs(model, torch_inputs(torch_models, "inception"))
    assert sizes == {"stem2": (35, 35), "pool": (18, 18), "reduction": (9, 9)}
    assert (model.pool.ceil_mode, model.pool.count_include_pad) == (True, False)
    kernels = {
        tuple(module.kernel_size)
        for module in model.modules()
        if hasattr(module, "weight") and hasattr(module, "groups")
    }
    assert {(1, 7), (7, 1)} <= kernels


def test_shared_twice_applies_one_convolution_to_both_inputs(torch_models):
    model = torch_models.shared_twice()
    sizes = []
    model.shared.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[2:])))
    torch_outputs(model, torch_inputs(torch_models, "shared_twice"))
    assert sizes == [(48, 64), (24, 32)]
    assert [model.reflected.padding_mode, model.around.padding_mode] == ["reflect", "circular"]
    assert [model.same.padding, model.map.padding] == ["same", "valid"]
    assert list(model(*torch_inputs(torch_models, "shared_twice"))) == ["map", "score"]


def test_signal_net_keeps_length_and_direction_of_its_filters_apart(torch_models):
    import torch

    convolution = torch_models.signal_net().blocks[1].conv1
    length = convolution.parametrizations.weight.original0.detach()
    direction = convolution.parametrizations.weight.original1.detach()
    norm = direction.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(convolution.weight.detach(), length * direction / norm)
    assert not torch.allclose(length, norm, rtol=0.01)
