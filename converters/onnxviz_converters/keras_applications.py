"""How images are prepared for the models of `keras.applications` (its `preprocess_input` functions, Keras 3.15)."""

from __future__ import annotations

from typing import Any

from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.messages import option

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


# Layers in front of a network that leave pixels' values as they are when a trained model is used.
_LEAVING = ("InputLayer", "Identity", "Dropout", "GaussianNoise", "Resizing", "CenterCrop", "Cropping2D")


def known_preprocessing(model: Any) -> tuple[Preprocessing, str] | None:
    """The preprocessing of a `keras.applications` model, recognised by its name and a layer, and a note that says so.

    A model that begins with such a model, behind nothing but augmentation and the like, is fed as that one is. None for
    any other. Models that rescale images themselves (EfficientNet, MobileNetV3 …) take them raw.
    """
    known = _of_application(model)
    first = None if known is not None else _first_network(model)
    return known if first is None else _of_application(first)


def _first_network(model: Any) -> Any:
    """The network inside a model that its only input goes to unchanged; None if there is none."""
    import keras

    if isinstance(model, keras.Sequential):
        rest = [layer for layer in model.layers if not _leaves(layer)]
        return rest[0] if rest and isinstance(rest[0], keras.Model) else None
    by_depth = getattr(model, "_nodes_by_depth", {})  # of a functional model
    nodes = [node for some in by_depth.values() for node in some]
    if not nodes or len(model.inputs) != 1:
        return None
    tensors, found = {id(model.inputs[0])}, set()
    while True:
        new: set[int] = set()
        for node in nodes:
            if not any(id(tensor) in tensors for tensor in node.input_tensors):
                continue
            if _leaves(node.operation):
                new |= {id(tensor) for tensor in node.output_tensors} - tensors
            else:
                found.add(node.operation)
        if not new:
            break
        tensors |= new
    first = next(iter(found)) if len(found) == 1 else None
    return first if isinstance(first, keras.Model) else None


def _leaves(layer: Any) -> bool:
    """Whether a layer leaves the values of pixels as they are: augmentation does nothing but in training."""
    import keras

    if isinstance(layer, keras.Sequential):
        return all(_leaves(one) for one in layer.layers)
    name = type(layer).__name__
    return isinstance(layer, keras.layers.Layer) and (name in _LEAVING or name.startswith("Random"))


def _of_application(model: Any) -> tuple[Preprocessing, str] | None:
    """The preprocessing of a model that is one of `keras.applications` itself."""
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
            f"images are prepared as '{preset}', as keras.applications does for {model.name} "
            f"({option('preprocess')} changes it)",
        )
    return None
