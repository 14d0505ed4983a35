"""See inside the CNN you ship: layers, filters and feature maps of any `.onnx`, with onnx, onnxruntime and numpy.

The public names are loaded on first use, so that `import onnxviz` stays light.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxviz.capture import capture, stream
    from onnxviz.errors import (
        InputError,
        ModelError,
        OnnxvizError,
        ProviderError,
        SelectionError,
        UnsupportedGradientError,
    )
    from onnxviz.explain import Explanation, explain, explain_each
    from onnxviz.featuremaps import FeatureMaps
    from onnxviz.gradients import add_gradient, grad_support
    from onnxviz.images import Preprocessing
    from onnxviz.layer import Layer
    from onnxviz.model import Model, load
    from onnxviz.plots import plot_explanation, plot_filters, plot_maps, save_figure

__version__ = "0.1.0"

_HOMES = {
    "Explanation": "explain",
    "FeatureMaps": "featuremaps",
    "InputError": "errors",
    "Layer": "layer",
    "Model": "model",
    "ModelError": "errors",
    "OnnxvizError": "errors",
    "Preprocessing": "images",
    "ProviderError": "errors",
    "SelectionError": "errors",
    "UnsupportedGradientError": "errors",
    "add_gradient": "gradients",
    "capture": "capture",
    "explain": "explain",
    "explain_each": "explain",
    "grad_support": "gradients",
    "load": "model",
    "plot_explanation": "plots",
    "plot_filters": "plots",
    "plot_maps": "plots",
    "save_figure": "plots",
    "stream": "capture",
}

__all__ = [
    "Explanation",
    "FeatureMaps",
    "InputError",
    "Layer",
    "Model",
    "ModelError",
    "OnnxvizError",
    "Preprocessing",
    "ProviderError",
    "SelectionError",
    "UnsupportedGradientError",
    "add_gradient",
    "capture",
    "explain",
    "explain_each",
    "grad_support",
    "load",
    "plot_explanation",
    "plot_filters",
    "plot_maps",
    "save_figure",
    "stream",
]


class _Package(ModuleType):
    """The package, where a verb means the function, not the module of the same name that it lives in."""

    def __setattr__(self, name: str, value: object) -> None:
        # Importing `onnxviz.capture` would bind the module over the function `onnxviz.capture`.
        if not (isinstance(value, ModuleType) and name in _HOMES):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'onnxviz' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"onnxviz.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
