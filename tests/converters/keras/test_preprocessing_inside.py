"""Keras models that normalise inside, as tutorials and keras.applications do: Keras' own answer is ours by `auto`."""

from __future__ import annotations

import numpy as np
import pytest
from keras_checks import conversion, keras, layers, relative, run_untouched
from PIL import Image

import onnxviz
from onnxviz.inputs.expectation import Expectation

PHOTO = np.random.default_rng(8).integers(0, 256, (32, 32, 3), np.uint8)
IMAGENET, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE = (103.939, 116.779, 123.68)


def functional(inside):
    """A small convolution behind `inside`."""
    image = keras.Input((32, 32, 3))
    return keras.Model(image, layers.Conv2D(3, 3, name="conv")(inside(image)))


def variances():
    return [one**2 for one in SPREAD]


def augmentation():
    return keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomContrast(0.1)])


def split_bgr(x):
    """TensorFlow's old VGG16: 0…1, split, subtracted, joined the other way round."""
    red, green, blue = keras.ops.split(x * 255.0, 3, axis=-1)
    return keras.ops.concatenate([blue - CAFFE[0], green - CAFFE[1], red - CAFFE[2]], axis=-1)


def application(name):
    return getattr(keras.applications, name).preprocess_input


def dense(*front):
    return keras.Sequential([keras.Input((32, 32, 3)), *front, layers.Dense(3)])


RAW, UNIT = (lambda pixels: pixels), (lambda pixels: pixels / 255)
WAYS = {
    "Rescaling(1/255)": (lambda: functional(layers.Rescaling(1 / 255)), RAW),
    "augmentation, then Rescaling(1/127.5, -1)": (
        lambda: functional(lambda x: layers.Rescaling(1 / 127.5, offset=-1)(augmentation()(x))), RAW,
    ),
    "Rescaling with a list": (
        lambda: functional(layers.Rescaling([1 / 58.4, 1 / 57.1, 1 / 57.4], [-2.118, -2.036, -1.804])), RAW,
    ),
    "Rescaling, then Normalization": (
        lambda: functional(lambda x: layers.Normalization(mean=IMAGENET, variance=variances())(
            layers.Rescaling(1 / 255)(x))), RAW,
    ),
    "Normalization of pixels": (
        lambda: functional(layers.Normalization(mean=[120.0, 115.0, 104.0], variance=[3400.0, 3300.0, 3500.0])), RAW,
    ),
    "Normalization of 0…1": (lambda: functional(layers.Normalization(mean=IMAGENET, variance=variances())), UNIT),
    "preprocess_input, tf": (lambda: functional(application("mobilenet_v2")), RAW),
    "preprocess_input, caffe": (lambda: functional(application("vgg16")), RAW),
    "preprocess_input, torch": (lambda: functional(application("densenet")), RAW),
    "x / 255": (lambda: functional(lambda x: x / 255.0), RAW),
    "Resizing, then Rescaling": (
        lambda: functional(lambda x: layers.Rescaling(1 / 255)(layers.Resizing(16, 16)(x))), RAW,
    ),
    "0…1, split and joined as BGR": (lambda: functional(split_bgr), UNIT),
    "flattened, then rescaled": (lambda: dense(layers.Flatten(), layers.Rescaling(1 / 255)), RAW),
    "a cast first": (lambda: functional(lambda x: keras.ops.cast(x, "float32") / 127.5 - 1), RAW),
}  # fmt: skip
SILENT = {
    "nothing": lambda: functional(lambda x: x),
    "augmentation alone": lambda: functional(augmentation()),
    "each picture by its own": lambda: functional(
        lambda x: (x - keras.ops.mean(x, (1, 2, 3), keepdims=True)) / keras.ops.std(x, (1, 2, 3), keepdims=True)
    ),
    "a fresh batch normalisation": lambda: functional(layers.BatchNormalization()),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_photo_gets_keras_own_answer(way, tmp_path):
    build, people_feed = WAYS[way]
    keras.utils.set_random_seed(3)
    model = build()
    fed = people_feed(PHOTO[None].astype(np.float32))
    truth = np.asarray(model(fed, training=False))
    done = conversion(model, output=tmp_path / "m.onnx", verify=False)
    assert relative(run_untouched(tmp_path / "m.onnx", [fed])[0], truth) < 1e-5
    found = Expectation.of(done.model)
    assert (found.source, found.conflict) == ("metadata", "")
    assert found.remark.startswith("the model ")
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    if not done.model.layers:
        np.testing.assert_array_equal(found.preprocessing.apply(PHOTO), fed[0])
        return
    ours = next(iter(onnxviz.capture(done.model, tmp_path / "photo.png", layers="last", at="conv").values()))
    assert relative(np.moveaxis(ours, 1, -1), truth) < 1e-4


@pytest.mark.parametrize("way", SILENT)
def test_what_tells_nothing_is_assumed(way, tmp_path):
    done = conversion(SILENT[way](), output=tmp_path / "m.onnx", verify=False)
    assert done.preprocessing is None
    assert Expectation.of(done.model).assumed


def backbone():
    return keras.applications.MobileNetV2(input_shape=(32, 32, 3), include_top=False, weights=None, alpha=0.35)


def on_photos(front):
    image = keras.Input((32, 32, 3))
    return keras.Model(image, layers.GlobalAveragePooling2D()(backbone()(front(image))))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: keras.Sequential([backbone(), layers.GlobalAveragePooling2D()]), "signed"),
        (lambda: on_photos(augmentation()), "signed"),
        (lambda: on_photos(application("mobilenet_v2")), "raw"),
        (lambda: on_photos(keras.ops.sqrt), None),  # what that makes of pixels is not known
    ],
    ids=["first in a Sequential", "behind augmentation", "behind its preprocess_input", "behind something else"],
)
def test_a_nested_application_model_is_fed_as_what_stands_before_it_says(build, words):
    done = conversion(build(), verify=False)
    assert (done.preprocessing.words if done.preprocessing else None) == words
    if words:
        assert any(f"images are prepared as '{words}'" in note for note in done.notes)
