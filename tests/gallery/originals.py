"""What the five programs do in Keras themselves: the oracle of the tests, and what the benchmark measures beside ours.

`python tests/gallery/originals.py s1 OUT` is such a program, pictures by matplotlib's pyplot included.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = ROOT / "models" / "photos"

Table = list[tuple[Any, ...]]


def _module(name: str) -> Any:
    """A module of `models/`."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(name)


def vgg16(**options: Any) -> Any:
    """The model of S1, S2 and S5; the programs themselves say `VGG16()`, which fetches its weights."""
    return _module("models.trained_models").vgg16(**options)


def cats_and_dogs() -> Any:
    """The model of S3 before it is trained."""
    return _module("models.keras_models").cats_and_dogs()


def sd_unet() -> Any:
    """The model of S4 before it is trained."""
    return _module("models.keras_models").sd_unet()


def loaded(file: Path) -> Any:
    """A trained model."""
    import keras

    return keras.models.load_model(file, compile=False)


def pixels(photo: Path, side: int) -> NDArray[np.float32]:
    """A photo as Keras reads it, (1, side, side, 3) in 0…255.

    The programs let `load_img` take the nearest pixel, its default; here it blends, as everything else does.
    """
    import keras

    image = keras.utils.load_img(photo, target_size=(side, side), interpolation="bilinear")
    return np.asarray(keras.utils.img_to_array(image))[None]


def prepared(photo: Path) -> NDArray[np.float32]:
    """A photo as VGG16 takes it, (1, 224, 224, 3)."""
    import keras

    return np.asarray(keras.applications.vgg16.preprocess_input(pixels(photo, 224)))


def convolutions(model: Any) -> Table:
    """Index, name, filter shape and output shape of each convolution, as S1 lists them."""
    return [
        (index, layer.name, tuple(layer.get_weights()[0].shape), tuple(layer.output.shape))
        for index, layer in enumerate(model.layers)
        if "conv" in layer.name
    ]


def kernels(model: Any) -> Table:
    """Index, name, filter shape and bias shape of each convolution, as S4 lists them.

    A separable convolution has two filters; the first has no bias.
    """
    import keras

    found: Table = []
    for index, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.SeparableConv2D):
            depthwise, pointwise, bias = (weight.shape for weight in layer.get_weights())
            found += [(index, layer.name, depthwise, None), (index, layer.name, pointwise, bias)]
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose | keras.layers.DepthwiseConv2D):
            kernel, bias = (weight.shape for weight in layer.get_weights())
            found.append((index, layer.name, kernel, bias))
    return found


def depthwise_maps(model: Any, index: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the first half of a separable convolution gives, (N, H, W, C), which no layer of Keras outputs."""
    import keras

    layer = model.layers[index]
    given = keras.Model(model.inputs, layer.input).predict(x, verbose=0)
    made = keras.ops.depthwise_conv(
        given, layer.depthwise_kernel, strides=layer.strides, padding=layer.padding, dilation_rate=layer.dilation_rate
    )
    return np.asarray(made)


def gradient_of_maps(model: Any, layer: str, x: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The gradient of a Sequential's one number by a layer's output, and that output, (N, H, W, C) each."""
    import tensorflow as tf

    index = model.layers.index(model.get_layer(layer))
    maps = tf.convert_to_tensor(maps_of(model, [index], x)[0])
    with tf.GradientTape() as tape:
        tape.watch(maps)
        answer = maps
        for one in model.layers[index + 1 :]:
            answer = one(answer)
    return np.asarray(tape.gradient(answer, maps)), np.asarray(maps)


def normalised(filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """A layer's filters in 0…1, over the whole layer."""
    return (filters - filters.min()) / (filters.max() - filters.min())


def maps_of(model: Any, layers: list[int], x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The outputs of layers by index, each (N, H, W, C), from one run."""
    import keras

    cut = keras.Model(inputs=model.inputs, outputs=[model.layers[index].output for index in layers])
    found = cut.predict(x, verbose=0)
    return found if isinstance(found, list) else [found]


def in_range(feature_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map as `imshow` without limits shows it: 0…1 over its own range."""
    from matplotlib.colors import Normalize

    return np.asarray(Normalize()(feature_map))


def standardised(feature_map: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map as S3 draws it; the program divides by a deviation of 0 where the map is constant."""
    deviation = feature_map.std()
    x = (feature_map - feature_map.mean()) / (deviation if deviation else 1)
    return np.clip(x * 64 + 128, 0, 255).astype("uint8")


def sheet(maps: NDArray[np.float32], file: Path) -> None:
    """The first 64 maps (N, H, W, C) in an 8x8 grid of subplots, as S1 and S2 draw it."""
    from matplotlib import pyplot

    pyplot.figure(figsize=(12, 12))
    for index in range(64):
        axes = pyplot.subplot(8, 8, index + 1)
        axes.set_xticks([])
        axes.set_yticks([])
        pyplot.imshow(maps[0, :, :, index], cmap="gray")
    pyplot.savefig(file)
    pyplot.close()


def s1(out: Path) -> None:
    """The program S1."""
    from matplotlib import pyplot

    model = vgg16()
    for row in convolutions(model):
        print(*row)
    model.summary()
    filters = normalised(model.layers[1].get_weights()[0])
    pyplot.figure()
    for index in range(6):
        for channel in range(3):
            axes = pyplot.subplot(6, 3, 3 * index + channel + 1)
            axes.set_xticks([])
            axes.set_yticks([])
            pyplot.imshow(filters[:, :, channel, index], cmap="gray")
    pyplot.savefig(out / "filters.png")
    sheet(maps_of(model, [1], prepared(PHOTOS / "cat.jpg"))[0], out / "maps.png")


def s2(out: Path) -> None:
    """The program S2."""
    for index, maps in enumerate(maps_of(vgg16(), [2, 5, 9, 13, 17], prepared(PHOTOS / "cat.jpg"))):
        sheet(maps, out / f"block{index + 1}.png")


def s3(out: Path, trained: Path) -> None:
    """The program S3: a subplot for each filter and input channel, and a strip for each layer and photo."""
    from matplotlib import pyplot

    model = loaded(trained)
    for layer in model.layers:
        if not layer.name.startswith("conv"):
            continue
        filters = normalised(layer.get_weights()[0])
        *_, inputs, count = filters.shape
        pyplot.figure(figsize=(inputs, count))
        for index in range(count):
            for channel in range(inputs):
                axes = pyplot.subplot(count, inputs, index * inputs + channel + 1)
                axes.set_xticks([])
                axes.set_yticks([])
                pyplot.imshow(filters[:, :, channel, index])
        pyplot.savefig(out / f"{layer.name}.png")
        pyplot.close()
    shown = [index for index, layer in enumerate(model.layers) if layer.name.startswith(("conv", "pool"))]
    for photo in ("dog", "cat"):
        for index, maps in zip(shown, maps_of(model, shown, pixels(PHOTOS / f"{photo}.jpg", 150) / 255), strict=True):
            strip = np.hstack([standardised(maps[0, :, :, channel]) for channel in range(maps.shape[-1])])
            pyplot.figure(figsize=(strip.shape[1] / strip.shape[0], 1.5))
            pyplot.title(model.layers[index].name)
            pyplot.imshow(strip, aspect="auto", cmap="viridis")
            pyplot.savefig(out / f"{photo}-{model.layers[index].name}.png")
            pyplot.close()


def s4(out: Path, trained: Path, sample: Path) -> None:
    """The program S4: all convolutions' outputs for an array, and 32 of each of eight of them."""
    from matplotlib import pyplot

    model = loaded(trained)
    table = kernels(model)
    for row in table:
        print(*row)
    maps = maps_of(model, sorted({index for index, *_ in table}), np.load(sample))
    outputs = dict(zip(sorted({index for index, *_ in table}), maps, strict=True))
    for position in (0, 4, 11, 23, 32, 42, 49, 50):
        index, name, _, _ = table[position]
        pyplot.figure(figsize=(16, 8))
        for channel in range(min(32, outputs[index].shape[-1])):
            axes = pyplot.subplot(4, 8, channel + 1)
            axes.set_xticks([])
            axes.set_yticks([])
            pyplot.imshow(outputs[index][0, :, :, channel])
        pyplot.savefig(out / f"{name}.png")
        pyplot.close()


def s5(out: Path) -> None:
    """The program S5: six filters of each of five layers, by tf-keras-vis, which took the place of keras-vis.

    Its defaults but for the jitter, which the program sets, and for as many steps as `s5_looks_for.sh` takes.
    """
    import keras
    import tensorflow as tf
    from PIL import Image
    from tf_keras_vis.activation_maximization import ActivationMaximization
    from tf_keras_vis.activation_maximization.input_modifiers import Jitter, Rotate2D
    from tf_keras_vis.utils.scores import CategoricalScore

    model, rng = vgg16(classes=False), np.random.default_rng(0)
    for layer in ("block1_conv1", "block2_conv1", "block3_conv2", "block4_conv1", "block5_conv2"):
        seen = keras.Input((64, 64, 3))
        maps = keras.Model(model.inputs, model.get_layer(layer).output)
        climb = ActivationMaximization(
            keras.Model(seen, maps(keras.applications.vgg16.preprocess_input(seen))), clone=False
        )
        for number in rng.choice(maps.output.shape[-1], 6, replace=False):
            start = tf.constant(rng.uniform(0, 255, (1, 64, 64, 3)), tf.float32)
            found = climb(
                CategoricalScore([int(number)]), seed_input=start, steps=256,
                input_modifiers=[Jitter(jitter=16), Rotate2D(degree=1)],
            )  # fmt: skip
            Image.fromarray(np.asarray(found)[0].clip(0, 255).astype("uint8")).save(out / f"{layer}_{number}.jpg")


if __name__ == "__main__":
    import matplotlib

    matplotlib.use("agg")
    Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
    {"s1": s1, "s2": s2, "s3": s3, "s4": s4, "s5": s5}[sys.argv[1]](*map(Path, sys.argv[2:]))
