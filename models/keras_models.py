"""Keras CNNs to convert: one factory a network, ``models.keras_models:sd_unet`` for a command.

A factory takes keyword arguments only, all with defaults, and returns a freshly built model. Weights are drawn, not
trained: kernels keep the signal's variance (He et al. 2015), biases, scales, offsets and moving statistics all differ
from 0 and 1, so that a wrong axis, a swapped weight or a lost bias changes the output. Equal seeds give equal
weights; no global random state is read or changed. Every layer has a name of its own choosing, so two builds have
the same names. The code imports Keras alone and keeps to what all its backends do.
"""

from __future__ import annotations

import inspect
import random
from typing import Any

import keras
from keras import layers

# Example inputs of every factory, batch first, channels last; float32 of about -2...2 unless its docstring says more.
INPUT_SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "cats_and_dogs": ((1, 150, 150, 3),),
    "sd_unet": ((1, 128, 128, 3),),
    "two_in_two_out": ((1, 48, 64, 3), (1, 6)),
    "open_size": ((1, 45, 62, 3),),
    "subclassed": ((1, 48, 40, 3),),
    "signals": ((1, 256, 4),),
    "volumes": ((1, 16, 24, 20, 2),),
    "grouped": ((1, 64, 48, 3),),
}

TRANSPOSED = {layers.Conv1DTranspose: 1, layers.Conv2DTranspose: 2, layers.Conv3DTranspose: 3}  # and their ranks


class _Maker:
    """Makes layers of which every initial value has a seed of its own, drawn from the network's seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _seed(self) -> int:
        return self._random.randrange(1, 2**31)

    def _initializer(self, name: str, layer: type[keras.Layer], options: dict[str, Any]) -> keras.Initializer:
        pick = keras.initializers
        match name:
            case "kernel_initializer" if layer in TRANSPOSED:
                # (space, out, in): Keras' fan out is what one output element sums, times the stride in each direction.
                gain = 2.0 if options.get("activation") else 1.0
                scale = gain * options.get("strides", 1) ** TRANSPOSED[layer]
                return pick.VarianceScaling(scale, "fan_out", "truncated_normal", seed=self._seed())
            case "depthwise_initializer":  # (space, channels, multiplier): fan out is one channel's receptive field
                return pick.VarianceScaling(1.0, "fan_out", "truncated_normal", seed=self._seed())
            case "kernel_initializer" | "pointwise_initializer":
                return pick.VarianceScaling(2.0, "fan_in", "truncated_normal", seed=self._seed())
            case "gamma_initializer":
                return pick.RandomUniform(0.6, 1.4, seed=self._seed())
            case "moving_variance_initializer":
                return pick.RandomUniform(0.5, 1.5, seed=self._seed())
            case "moving_mean_initializer":
                return pick.RandomNormal(0.0, 0.2, seed=self._seed())
            case "alpha_initializer":
                return pick.RandomUniform(0.05, 0.4, seed=self._seed())
            case "bias_initializer" | "beta_initializer":
                return pick.RandomNormal(0.0, 0.1, seed=self._seed())
        raise ValueError(f"{layer.__name__} has {name}, for which no initial values are defined here")

    def __call__(self, layer: type[keras.Layer], *arguments: Any, **options: Any) -> keras.Layer:
        """The layer, with seeded initial values for every weight, and a seed for dropout."""
        for name in inspect.signature(layer.__init__).parameters:
            if name.endswith("_initializer"):
                options.setdefault(name, self._initializer(name, layer, options))
            elif name == "seed":
                options.setdefault(name, self._seed())
        return layer(*arguments, **options)


def cats_and_dogs(*, seed: int = 0) -> keras.Model:
    """Three convolutions, two dense layers, one logit: above 0 for a dog; input 150x150 RGB, pixels in 0...1.

    10.6 million parameters, nearly all in the first dense layer. The ReLU is part of each layer.
    """
    make = _Maker(seed)
    return keras.Sequential(
        [
            keras.Input((150, 150, 3), name="image"),
            make(layers.Conv2D, 16, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(name="pool1"),
            make(layers.Dropout, 0.2, name="dropout1"),
            make(layers.Conv2D, 32, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(name="pool2"),
            make(layers.Conv2D, 64, 3, padding="same", activation="relu", name="conv3"),
            layers.MaxPooling2D(name="pool3"),
            make(layers.Dropout, 0.2, name="dropout2"),
            layers.Flatten(name="flatten"),
            make(layers.Dense, 512, activation="relu", name="dense"),
            make(layers.Dense, 1, name="logit"),
        ],
        name="cats_and_dogs",
    )


ASPP_RATES = (3, 6, 12, 18, 24)


def sd_unet(*, seed: int = 0, classes: int = 3) -> keras.Model:
    """A stripped-down U-Net with a densely connected ASPP; 128x128 RGB in, class probabilities of every pixel out.

    Depthwise-separable convolutions and group normalisation as in SD-UNet (Gadosey et al. 2020, arXiv 2004.03466),
    between them dense atrous spatial pyramid pooling (DenseASPP, Yang et al., CVPR 2018). The map keeps a quarter of
    the input's size at the bottleneck, 32x32, where each rate still reaches other pixels than its own; deeper layers
    widen their view by dilation, as in DeepLab (Chen et al. 2017).

    51 convolutions; a separable one counts twice, for it is a depthwise convolution and a pointwise one:

    ==============  =========================================================================  ==
    Part            Convolutions                                                               51
    ==============  =========================================================================  ==
    ``enc1``        one plain, one separable, 128x128                                           3
    ``enc2``        two separable, 64x64                                                        4
    ``enc3``        two separable, 32x32                                                        4
    ``enc4``        two separable of dilation 2, 32x32                                          4
    ``bottleneck``  two separable of dilation 4, 32x32                                          4
    ``aspp``        five rates of three (1x1, dilated depthwise, pointwise), one to project    16
    ``dec3``        two separable, 32x32                                                        4
    ``dec2``        one transposed, two separable, 64x64                                        5
    ``dec1``        one after bilinear upsampling, two separable, 128x128                       5
    ``head``        one plain, one 1x1 to the classes                                           2
    ==============  =========================================================================  ==
    """
    make = _Maker(seed)

    def finish(x: Any, name: str) -> Any:
        x = make(layers.GroupNormalization, 8, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    def conv(x: Any, filters: int, size: int, name: str) -> Any:
        return finish(make(layers.Conv2D, filters, size, padding="same", name=name)(x), name)

    def separable(x: Any, filters: int, name: str, rate: int = 1) -> Any:
        x = make(layers.SeparableConv2D, filters, 3, padding="same", dilation_rate=rate, name=name)(x)
        return finish(x, name)

    def pair(x: Any, filters: int, name: str, rate: int = 1) -> Any:
        return separable(separable(x, filters, f"{name}_conv1", rate), filters, f"{name}_conv2", rate)

    image = keras.Input((128, 128, 3), name="image")
    x = conv(image, 32, 3, "enc1_conv1")
    skip1 = separable(x, 32, "enc1_conv2")
    skip2 = pair(layers.MaxPooling2D(name="enc1_pool")(skip1), 48, "enc2")
    skip3 = pair(layers.MaxPooling2D(name="enc2_pool")(skip2), 64, "enc3")
    x = pair(skip3, 96, "enc4", rate=2)
    x = pair(x, 128, "bottleneck", rate=4)

    for rate in ASPP_RATES:  # each rate sees the bottleneck and all smaller rates' outputs
        name = f"aspp_rate{rate}"
        y = conv(x, 64, 1, f"{name}_reduce")
        y = make(layers.DepthwiseConv2D, 3, padding="same", dilation_rate=rate, name=f"{name}_depthwise")(y)
        y = conv(y, 32, 1, f"{name}_pointwise")
        x = layers.Concatenate(name=f"{name}_concat")([x, y])
    x = conv(x, 96, 1, "aspp_project")

    x = pair(layers.Concatenate(name="dec3_concat")([x, skip3]), 64, "dec3")
    x = make(layers.Conv2DTranspose, 48, 3, strides=2, padding="same", name="dec2_up")(x)
    x = pair(layers.Concatenate(name="dec2_concat")([x, skip2]), 48, "dec2")
    x = layers.UpSampling2D(interpolation="bilinear", name="dec1_resize")(x)
    x = make(layers.Conv2D, 32, 3, padding="same", activation="relu", name="dec1_up")(x)
    x = pair(layers.Concatenate(name="dec1_concat")([x, skip1]), 32, "dec1")
    x = conv(x, 32, 3, "head_conv")
    mask = make(layers.Conv2D, classes, 1, activation="softmax", name="head_mask")(x)
    return keras.Model(image, mask, name="sd_unet")


def two_in_two_out(*, seed: int = 0, classes: int = 5) -> keras.Model:
    """Photo (48x64 RGB, pixels in 0...255) and six readings in; a map (48x64, 0...1) and class probabilities out.

    The scaling of both inputs is part of the model. ``shared`` is one convolution called on two tensors, the image at
    full and at half size; ``trunk`` is a model used as a layer, its own block another one inside it. The readings
    steer the features channel by channel (FiLM, Perez et al. 2018).
    """
    make = _Maker(seed)

    block = keras.Sequential(
        [
            keras.Input((24, 32, 32), name="block_input"),
            make(layers.Conv2D, 32, 3, padding="same", use_bias=False, name="conv"),
            make(layers.BatchNormalization, name="norm"),
            layers.Activation("relu", name="relu"),
        ],
        name="block",
    )
    trunk_input = keras.Input((24, 32, 24), name="features")
    x = make(layers.Conv2D, 32, 1, name="expand")(trunk_input)
    y = block(x)
    y = make(layers.Conv2D, 32, 3, padding="same", name="refine")(y)
    trunk = keras.Model(trunk_input, layers.Add(name="residual")([x, y]), name="trunk")

    image = keras.Input((48, 64, 3), name="image")
    readings = keras.Input((6,), name="readings")
    pixels = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(image)
    numbers = layers.Normalization(
        mean=[0.5, -0.3, 0.1, 0.2, -0.6, 0.4], variance=[0.8, 1.4, 0.6, 2.0, 1.1, 0.5], name="standardise"
    )(readings)

    shared = make(layers.Conv2D, 12, 3, padding="same", activation="relu", name="shared")
    fine = shared(pixels)
    coarse = shared(layers.AveragePooling2D(2, name="half")(pixels))
    fine_half = layers.MaxPooling2D(name="pool")(fine)
    x = trunk(layers.Concatenate(name="scales")([fine_half, coarse]))

    hidden = make(layers.Dense, 16, activation="tanh", name="film_hidden")(numbers)
    scale = layers.Reshape((1, 1, 32), name="film_scale_map")(make(layers.Dense, 32, name="film_scale")(hidden))
    shift = layers.Reshape((1, 1, 32), name="film_shift_map")(make(layers.Dense, 32, name="film_shift")(hidden))
    x = layers.Add(name="film_add")([layers.Multiply(name="film_multiply")([x, scale]), shift])

    up = make(layers.Conv2DTranspose, 12, 2, strides=2, activation="relu", name="up")(x)
    joined = layers.Concatenate(name="join")([up, fine])
    where = make(layers.Conv2D, 1, 3, padding="same", activation="sigmoid", name="map")(joined)
    pooled = layers.GlobalAveragePooling2D(name="average")(x)
    what = make(layers.Dense, classes, activation="softmax", name="class")(pooled)
    return keras.Model([image, readings], [where, what], name="two_in_two_out")


def open_size(*, seed: int = 0) -> keras.Model:
    """Descriptors of an RGB image of any size: at every pixel 24 numbers of Euclidean length 1.

    Fully convolutional, as the descriptor head of SuperPoint (DeTone et al. 2018). Height comes out
    as 3 ceil(2 ceil(height / 2) / 3), width as 2 ceil(width / 2): how much the strided convolutions pad, and on which
    side, follows from the input's size. Keras 3.15 on TensorFlow computes it for any size when the model is called,
    but cannot trace ``enlarge`` for an unknown size: ``predict`` fails at the second size it meets.
    """
    make = _Maker(seed)
    image = keras.Input((None, None, 3), name="image")
    x = make(layers.Conv2D, 24, 5, padding="same", activation="leaky_relu", name="stem")(image)
    x = make(layers.Conv2D, 32, 3, strides=2, padding="same", activation="swish", name="down1")(x)
    skip = x
    x = make(layers.LayerNormalization, name="norm1")(x)
    x = make(layers.Conv2D, 32, 3, padding="same", dilation_rate=2, activation="gelu", name="dilated2")(x)
    x = make(layers.Conv2D, 32, 3, padding="same", dilation_rate=(3, 5), activation="elu", name="dilated3x5")(x)
    x = layers.Add(name="residual")([x, skip])
    x = layers.UpSampling2D(interpolation="bilinear", name="enlarge")(x)
    x = make(layers.Conv2D, 48, (4, 2), strides=(3, 2), padding="same", activation="relu6", name="down2")(x)
    x = layers.UpSampling2D((3, 2), interpolation="nearest", name="repeat")(x)
    x = make(layers.Conv2D, 24, 3, padding="same", name="descriptor")(x)
    return keras.Model(image, layers.UnitNormalization(name="unit")(x), name="open_size")


@keras.saving.register_keras_serializable("onnxviz_models")
class ResidualBlock(layers.Layer):
    """Pre-activation residual block (He et al. 2016): normalise, ReLU, convolve, twice; a 1x1 shortcut if it widens."""

    def __init__(self, filters: int, strides: int = 1, project: bool = False, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.filters, self.strides, self.project, self.seed = filters, strides, project, seed
        make = _Maker(seed)
        self.norms = [make(layers.BatchNormalization, name=f"norm{i}") for i in (1, 2)]
        self.convs = [
            make(layers.Conv2D, filters, 3, strides=strides, padding="same", use_bias=False, name="conv1"),
            make(layers.Conv2D, filters, 3, padding="same", name="conv2"),
        ]
        self.relu = layers.ReLU(name="relu")
        self.shortcut = make(layers.Conv2D, filters, 1, strides=strides, name="shortcut") if project else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = input_shape
        for norm, conv in zip(self.norms, self.convs, strict=True):
            norm.build(shape)
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
        if self.shortcut is not None:
            self.shortcut.build(input_shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(self.relu(norm(y, training=training)))
        return y + (x if self.shortcut is None else self.shortcut(x))

    def get_config(self) -> dict[str, Any]:
        own = {"filters": self.filters, "strides": self.strides, "project": self.project, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("onnxviz_models")
class ResidualTower(keras.Model):
    """A stem, residual blocks in a list, a dense layer: the network written as a class."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96), classes: int = 7, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.widths, self.classes, self.seed = tuple(widths), classes, seed
        make = _Maker(seed)
        self.stem = make(layers.Conv2D, widths[0], 3, padding="same", name="stem")
        self.blocks = []
        for stage, width in enumerate(widths, start=1):
            first = {"strides": 1 if stage == 1 else 2, "project": stage > 1}
            self.blocks.append(make(ResidualBlock, width, **first, name=f"stage{stage}_block1"))
            self.blocks.append(make(ResidualBlock, width, name=f"stage{stage}_block2"))
        self.norm = make(layers.BatchNormalization, name="norm")
        self.relu = layers.ReLU(name="relu")
        self.average = layers.GlobalAveragePooling2D(name="average")
        self.dropout = make(layers.Dropout, 0.3, name="dropout")
        self.classifier = make(layers.Dense, classes, name="classifier")

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, training=training)
        x = self.average(self.relu(self.norm(x, training=training)))
        return self.classifier(self.dropout(x, training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "widths": self.widths, "classes": self.classes, "seed": self.seed}


def subclassed(*, seed: int = 0) -> keras.Model:
    """A residual network written as a subclass of ``keras.Model``, built by one call on an image of 48x40 zeros."""
    model = ResidualTower(seed=seed, name="tower")
    model(keras.ops.zeros(INPUT_SHAPES["subclassed"][0]))
    return model


def signals(*, seed: int = 0, classes: int = 6) -> keras.Model:
    """Class probabilities of a signal of 256 samples and 4 channels.

    Causal, dilated residual blocks (temporal convolutional network, Bai et al. 2018), then strided, depthwise and
    separable convolutions.
    """
    make = _Maker(seed)
    signal = keras.Input((256, 4), name="signal")
    x = make(layers.Conv1D, 32, 7, padding="same", activation="relu", name="stem")(signal)
    for rate in (1, 2, 4, 8):
        name = f"causal{rate}"
        y = make(layers.Conv1D, 32, 3, padding="causal", dilation_rate=rate, name=f"{name}_conv1")(x)
        y = make(layers.BatchNormalization, name=f"{name}_norm")(y)
        y = layers.Activation("relu", name=f"{name}_relu")(y)
        y = make(layers.Conv1D, 32, 3, padding="causal", dilation_rate=rate, activation="tanh", name=f"{name}_conv2")(y)
        x = layers.Add(name=f"{name}_add")([x, y])
    x = make(layers.Conv1D, 48, 4, strides=3, padding="same", activation="relu", name="strided")(x)
    x = make(layers.DepthwiseConv1D, 5, padding="same", depth_multiplier=2, activation="relu", name="depthwise")(x)
    x = layers.MaxPooling1D(2, name="pool")(x)
    x = make(layers.SeparableConv1D, 64, 3, padding="valid", activation="relu", name="separable")(x)
    x = layers.GlobalAveragePooling1D(name="average")(x)
    x = make(layers.Dense, classes, activation="softmax", name="classifier")(x)
    return keras.Model(signal, x, name="signals")


def volumes(*, seed: int = 0) -> keras.Model:
    """Probability of foreground of every voxel of a 16x24x20 volume with 2 channels (3D U-Net, Çiçek et al. 2016)."""
    make = _Maker(seed)

    def block(x: Any, filters: int, name: str) -> Any:
        for i in (1, 2):
            x = make(layers.Conv3D, filters, 3, padding="same", use_bias=False, name=f"{name}_conv{i}")(x)
            x = make(layers.BatchNormalization, name=f"{name}_norm{i}")(x)
            x = layers.ReLU(name=f"{name}_relu{i}")(x)
        return x

    volume = keras.Input((16, 24, 20, 2), name="volume")
    skip1 = block(volume, 8, "enc1")
    skip2 = block(layers.MaxPooling3D(name="enc1_pool")(skip1), 16, "enc2")
    x = block(layers.MaxPooling3D(name="enc2_pool")(skip2), 32, "bottom")
    x = make(layers.Conv3DTranspose, 16, 2, strides=2, name="dec2_up")(x)
    x = block(layers.Concatenate(name="dec2_concat")([x, skip2]), 16, "dec2")
    x = make(layers.Conv3DTranspose, 8, 3, strides=2, padding="same", name="dec1_up")(x)
    x = block(layers.Concatenate(name="dec1_concat")([x, skip1]), 8, "dec1")
    x = make(layers.Conv3D, 1, 1, activation="sigmoid", name="mask")(x)
    return keras.Model(volume, x, name="volumes")


def grouped(*, seed: int = 0, classes: int = 10) -> keras.Model:
    """Logits of a 64x48 RGB image: ResNeXt blocks of 4 groups (Xie et al. 2017) with squeeze-and-excitation.

    Squeeze-and-excitation: Hu et al. 2018. Parametric ReLU with one slope a channel: He et al. 2015.
    """
    make = _Maker(seed)

    def prelu(x: Any, name: str) -> Any:
        return make(layers.PReLU, shared_axes=[1, 2], name=f"{name}_prelu")(x)

    def normed(x: Any, filters: int, size: int, name: str, **options: Any) -> Any:
        x = make(layers.Conv2D, filters, size, padding="same", use_bias=False, name=name, **options)(x)
        return make(layers.BatchNormalization, name=f"{name}_norm")(x)

    def block(x: Any, filters: int, strides: int, name: str) -> Any:
        y = prelu(normed(x, filters // 2, 1, f"{name}_reduce"), f"{name}_reduce")
        y = prelu(normed(y, filters // 2, 3, f"{name}_grouped", strides=strides, groups=4), f"{name}_grouped")
        y = normed(y, filters, 1, f"{name}_expand")
        gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(y)
        gate = make(layers.Conv2D, filters // 8, 1, activation="relu", name=f"{name}_excite1")(gate)
        gate = make(layers.Conv2D, filters, 1, activation="sigmoid", name=f"{name}_excite2")(gate)
        y = layers.Multiply(name=f"{name}_gate")([y, gate])
        if strides > 1 or x.shape[-1] != filters:
            x = normed(x, filters, 1, f"{name}_shortcut", strides=strides)
        return prelu(layers.Add(name=f"{name}_add")([x, y]), name)

    image = keras.Input((64, 48, 3), name="image")
    x = prelu(normed(image, 32, 7, "stem", strides=2), "stem")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for stage, filters in enumerate((64, 128, 256), start=1):
        x = block(x, filters, 1 if stage == 1 else 2, f"stage{stage}_block1")
        x = block(x, filters, 1, f"stage{stage}_block2")
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(image, make(layers.Dense, classes, name="classifier")(x), name="grouped")
