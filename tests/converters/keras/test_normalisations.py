"""Normalisations of Keras models, converted: one operator each, where the operator set has one that is the same."""

import numpy as np
import onnx
import oracles
import pytest
from keras_checks import (
    CHANNELS_FIRST,
    check_filters,
    check_maps,
    conversion,
    flat_convolutions,
    keras,
    layers,
    operators,
    outputs_of,
    randomised,
    relative,
    run_untouched,
    taped,
)

import onnxviz
from onnxviz.gradients.add_gradient import add_gradient

INSTANCE = {"InstanceNormalization": 1}
GROUPED = {"Reshape": 2, "InstanceNormalization": 1}
LAYER = {"LayerNormalization": 1}
UNIT = {"Mul": 2, "ReduceSum": 1, "Sqrt": 1, "Reciprocal": 1, "Min": 1}
KINDS = {
    "groups": (lambda: layers.GroupNormalization(2), {**GROUPED, "Mul": 1, "Add": 1}),
    "groups, bare": (lambda: layers.GroupNormalization(3, center=False, scale=False), GROUPED),
    "a group": (lambda: layers.GroupNormalization(1, center=False), {**GROUPED, "Mul": 1}),
    "instance": (lambda: layers.GroupNormalization(-1), INSTANCE),
    "channels": (lambda: layers.LayerNormalization(), {**LAYER, "Transpose": 2}),
    "channels, unshifted": (lambda: layers.LayerNormalization(center=False), {**LAYER, "Transpose": 2}),
    "whole": (lambda: layers.LayerNormalization(axis=(1, 2, 3)), LAYER),
    "positions": (lambda: layers.LayerNormalization(axis=(1, 2)), LAYER),
    # LpNormalization has no least norm, and what it makes of 0 every runtime decides for itself.
    "unit": (lambda: layers.UnitNormalization(), UNIT),
    "unit, whole": (lambda: layers.UnitNormalization(axis=(1, 2, 3)), UNIT),
}


def network(norm, size=(12, 10)):
    """A convolution, the normalisation, its activation, another convolution."""
    image = keras.Input((*size, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", name="first")(image)
    x = layers.ReLU(name="active")(norm(x))
    return randomised(keras.Model(image, layers.Conv2D(4, 3, name="second")(x), name="m"))


@pytest.mark.parametrize("kind", KINDS)
def test_one_operator_and_no_transpose_that_it_does_not_need(tmp_path, kind):
    norm, expected = KINDS[kind]
    model = network(norm())
    done = conversion(model, output=tmp_path / "m.onnx")
    there = operators(done.model)
    there.subtract({"Conv": 2, "Relu": 1, "Transpose": 2})  # it is fed and answers channels last
    assert {op: count for op, count in there.items() if count} == expected
    x = np.random.default_rng(1).normal(size=(2, 12, 10, 3)).astype(np.float32)
    (keras_says,) = outputs_of(model, [x])
    assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], keras_says) < 1e-5
    reference = oracles.referenced(onnx.load(tmp_path / "m.onnx"), [done.model.outputs[0].name], {"image": x})
    assert relative(next(iter(reference.values())), keras_says) < 1e-5
    check_filters(done.model, flat_convolutions(model))
    check_maps(done.model, model, {"second": model.get_layer("second")}, [x])
    tapped = np.moveaxis(onnxviz.capture(done.model, x, layers=["first"])["first"], 1, -1)
    active = keras.Model(model.inputs[0], model.get_layer("active").output)
    assert relative(tapped, outputs_of(active, [x])[0]) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_tape(kind):
    model = network(KINDS[kind][0]())
    x = np.random.default_rng(2).normal(size=(2, 12, 10, 3)).astype(np.float32)
    expected, _, weights = taped(model, x)
    found = add_gradient(onnxviz.convert(model, verify=False)).session(threads=1).run({"image": x}, weights)
    assert relative(found.gradients["image"], expected) < 1e-4


@pytest.mark.parametrize("kind", ["groups", "instance", "channels", "channels, unshifted"])
def test_images_of_any_size(tmp_path, kind):
    model = network(KINDS[kind][0](), size=(None, None))
    done = conversion(model, output=tmp_path / "m.onnx")
    there = operators(done.model)
    assert there["ReduceMean"] == there["Slice"] == there["Concat"] == 0
    for size in ((9, 14), (20, 7)):
        x = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
        assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-5


@pytest.mark.parametrize("opset", [13, 17, 18])
def test_every_operator_set_has_groups(tmp_path, opset):
    """GroupNormalization came with 18, with a scale for each group, and was withdrawn; layers came with 17."""
    image = keras.Input((8, 9, 4))
    x = layers.GroupNormalization(2)(layers.Conv2D(6, 3, name="c")(image))
    model = randomised(keras.Model(image, layers.Conv2D(2, 1, name="d")(layers.LayerNormalization()(x)), name="m"))
    there = operators(conversion(model, output=tmp_path / "m.onnx", opset=opset).model)
    assert there["InstanceNormalization"] == 1
    assert there["LayerNormalization"] == (opset >= 17)
    x = np.random.default_rng(1).normal(size=(2, 8, 9, 4)).astype(np.float32)
    assert relative(run_untouched(tmp_path / "m.onnx", [x])[0], outputs_of(model, [x])[0]) < 1e-5


def test_half_precision_is_normalised_in_float32(tmp_path):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        image = keras.Input((8, 9, 4))
        x = layers.GroupNormalization(2)(layers.Conv2D(6, 3, name="c")(image))
        model = keras.Model(image, layers.Conv2D(2, 1, name="d")(layers.LayerNormalization()(x)), name="m")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    there = operators(conversion(randomised(model), output=tmp_path / "m.onnx").model)
    assert (there["InstanceNormalization"], there["LayerNormalization"], there["ReduceMean"]) == (1, 1, 0)


def test_groups_of_channels_that_come_first():
    image = keras.Input((4, 8, 9))
    x = layers.GroupNormalization(2, axis=1)(layers.Conv2D(6, 3, name="c", **CHANNELS_FIRST)(image))
    made = onnxviz.convert(randomised(keras.Model(image, layers.ReLU()(x), name="m")))
    assert operators(made) == {"Conv": 1, **GROUPED, "Mul": 1, "Add": 1, "Relu": 1}


def test_a_dense_layer_of_an_image_is_one_product():
    for sizes in ((8, 9), (None, None)):
        image = keras.Input((*sizes, 4))
        x = layers.Dense(3, activation="relu", name="d")(layers.Conv2D(6, 3, name="c")(image))
        made = onnxviz.convert(randomised(keras.Model(image, x, name="m")))
        assert operators(made) == {"Transpose": 2, "Conv": 1, "MatMul": 1, "Add": 1, "Relu": 1}


def test_a_convnext_block():
    """Its dense layers and normalisation are channels last between two convolutions: turned there and back, once."""
    image = keras.Input((16, 16, 3))
    x = layers.LayerNormalization(name="n")(layers.Conv2D(8, 4, 4, name="stem")(image))
    for k in range(2):
        y = layers.LayerNormalization(name=f"n{k}")(layers.DepthwiseConv2D(7, padding="same", name=f"c{k}")(x))
        y = layers.Dense(8, name=f"b{k}")(layers.Dense(32, activation="gelu", name=f"a{k}")(y))
        x = layers.Add(name=f"s{k}")([x, y])
    model = randomised(keras.Model(image, x, name="m"))
    done = conversion(model)
    there = operators(done.model)
    assert (there["LayerNormalization"], there["MatMul"], there["Reshape"]) == (3, 4, 0)
    assert there["Transpose"] == 2 * 3  # around each convolution
    check_filters(done.model, flat_convolutions(model))
