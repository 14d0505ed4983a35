"""What goes into a Keras model that is converted: names, shapes, types."""

import numpy as np
import pytest
from keras_checks import (
    SESSION,
    check_model,
    conversion,
    in_onnx_order,
    keras,
    layers,
    numbers,
    outputs_of,
    randomised,
    relative,
    run_untouched,
    sequential,
)

import onnxviz
from onnxviz import ConversionError


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


class Written(keras.Model):
    """A model written as a class, which does not say what it takes until it is called."""

    def __init__(self):
        super().__init__(name="written")
        self.body = layers.Conv2D(4, 3, name="body")

    def call(self, x):
        return self.body(x)


def test_a_class_has_to_be_told_its_input():
    with pytest.raises(ConversionError, match=r"written is a Written that does not say .* give input_shape=, as 1x"):
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


def test_two_shapes_for_two_inputs(keras_models):
    model = keras_models.two_in_two_out()
    with pytest.raises(ConversionError, match=r"has 2 inputs \(image, readings\): give each shape as NAME="):
        onnxviz.convert(model, input_shape="1x48x64x3")
