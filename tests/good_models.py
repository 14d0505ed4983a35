"""Networks of Keras and torchvision that nothing is wrong with: drawn weights, statistics of photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from samples import photo_crops

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_PHOTOS, _CLASSES = 16, 10


def as_input(side: int, preprocess: str) -> np.ndarray:
    """Crops of eight photos as a network wants them, (16, side, side, 3) float32."""
    pixels = photo_crops(_PHOTOS, side, 1, more=True).astype(np.float64)
    made = {"raw": pixels, "signed": pixels / 127.5 - 1, "torch": (pixels / 255 - MEAN) / STD}[preprocess]
    return made.astype(np.float32)


def keras_network(name: str, side: int, preprocess: str, target: Path) -> Path:
    """Writes `target` with `convert`: an architecture of keras.applications, with ten classes."""
    import keras
    from keras_networks import numbers, shaken

    import onnxviz

    model = shaken(name, input_shape=(side, side, 3), classes=_CLASSES)
    x = as_input(side, preprocess)
    norms = [one for one in model._flatten_layers(include_self=False) if hasattr(one, "moving_variance")]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(x, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    last = model.layers[-1]
    activation, last.activation = getattr(last, "activation", None), keras.activations.linear
    factor = 2 / np.asarray(model(x, training=False)).std()
    last.activation = activation
    for variable in last.variables:
        variable.assign(numbers(variable) * factor)
    onnxviz.convert(model, output=target, preprocess=preprocess)
    return target


def torch_network(name: str, side: int, target: Path, *, dynamo: bool) -> Path:
    """Writes `target` with one of PyTorch's exporters: an architecture of torchvision, with ten classes."""
    import torch
    from accuracy.torchvision_networks import draw, import_torchvision

    torch.manual_seed(0)
    module = getattr(import_torchvision().models, name)(num_classes=_CLASSES).eval()
    draw(module)
    x = torch.tensor(as_input(side, "torch").transpose(0, 3, 1, 2))
    norms = [one for one in module.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        module(x)
        module.eval()
        last = [one for one in module.modules() if isinstance(one, torch.nn.Linear | torch.nn.Conv2d)][-1]
        factor = 2 / module(x).std()
        last.weight *= factor
        last.bias *= factor
    options = {"input_names": ["image"], "output_names": ["scores"]}
    if dynamo:
        batch = ({0: torch.export.Dim("n")},)
        torch.onnx.export(module, (x[:2],), target, dynamo=True, dynamic_shapes=batch, verbose=False, **options)
    else:
        batch = {"image": {0: "n"}, "scores": {0: "n"}}
        torch.onnx.export(module, (x[:1],), target, dynamo=False, dynamic_axes=batch, **options)
    return target
