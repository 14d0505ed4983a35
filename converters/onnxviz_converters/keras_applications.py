"""How images are prepared for the models of `keras.applications` (its `preprocess_input` functions, Keras 3.15)."""

from __future__ import annotations

from typing import Any

from onnxviz.inputs.preprocessing import Preprocessing

# (what the model's name begins with, a layer it must have, preprocessing); a longer name before its beginning.
# None: preparation is part of the model where it has a Rescaling layer.
_KNOWN: tuple[tuple[str, str, str | None], ...] = (
    ("vgg16", "block1_conv1", "caffe"),
    ("vgg19", "block1_conv1", "caffe"),
    ("resnet50v2", "conv1_conv", "signed"),
    ("resnet101v2", "conv1_conv", "signed"),
    ("resnet152v2", "conv1_conv", "signed"),
    ("resnet", "conv1_conv", "caffe"),
    ("densenet", "conv1_conv", "torch"),
    ("mobilenetv2", "Conv1", "signed"),
    ("mobilenetv3", "conv", None),
    ("mobilenet_", "conv1", "signed"),
    ("inception_v3", "mixed0", "signed"),
    ("inception_resnet_v2", "mixed_5b", "signed"),
    ("xception", "block1_conv1", "signed"),
    ("nasnet", "stem_conv1", "signed"),
    ("efficientnetv2", "stem_conv", None),
    ("efficientnet", "stem_conv", None),
    ("convnext", "", None),
)


def known_preprocessing(model: Any) -> tuple[Preprocessing, str] | None:
    """The preprocessing of a `keras.applications` model, recognised by its name and a layer, and a note that says so.

    None for any other model. Models that rescale images themselves (EfficientNet, MobileNetV3 …) take them raw.
    """
    import keras

    name = str(model.name).lower()
    layers = {layer.name for layer in model.layers} if hasattr(model, "layers") else set()
    for beginning, marker, preset in _KNOWN:
        if not name.startswith(beginning):
            continue
        if marker and marker not in layers:
            return None
        if preset is None:
            rescales = any(
                isinstance(one, keras.layers.Rescaling | keras.layers.Normalization)
                for one in model._flatten_layers(include_self=False)
            )
            if not rescales:
                return None
            preset = "raw"
        return (
            Preprocessing.parse(preset),
            f"images are prepared as '{preset}', as keras.applications does for {model.name} (--preprocess changes it)",
        )
    return None
