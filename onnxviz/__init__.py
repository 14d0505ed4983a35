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
    from onnxviz.convert import convert
    from onnxviz.errors import (
        CodeExecution,
        ConversionError,
        InputError,
        ModelError,
        OnnxvizError,
        ProviderError,
        SelectionError,
        UnsupportedGradientError,
    )
    from onnxviz.explain import Explanation, explain, explain_each, explain_faithfulness, explain_sanity
    from onnxviz.featuremaps import FeatureMaps
    from onnxviz.gradients import add_gradient, grad_support
    from onnxviz.images import Preprocessing
    from onnxviz.layer import Layer
    from onnxviz.maximize import maximize
    from onnxviz.model import Model, load
    from onnxviz.patches import TopPatches, top_patches
    from onnxviz.plots import (
        plot_explanation,
        plot_faithfulness,
        plot_filters,
        plot_maps,
        plot_patches,
        plot_sanity,
        plot_synthetic,
        save_figure,
    )
    from onnxviz.receptive import ReceptiveField
    from onnxviz.synthetic import SyntheticInputs

__version__ = "0.1.0"

_HOMES = {
    "CodeExecution": "errors",
    "ConversionError": "errors",
    "Explanation": "explain",
    "FeatureMaps": "featuremaps",
    "InputError": "errors",
    "Layer": "layer",
    "Model": "model",
    "ModelError": "errors",
    "OnnxvizError": "errors",
    "Preprocessing": "images",
    "ProviderError": "errors",
    "ReceptiveField": "receptive",
    "SelectionError": "errors",
    "SyntheticInputs": "synthetic",
    "TopPatches": "patches",
    "UnsupportedGradientError": "errors",
    "add_gradient": "gradients",
    "capture": "capture",
    "convert": "convert",
    "explain": "explain",
    "explain_each": "explain",
    "explain_faithfulness": "explain",
    "explain_sanity": "explain",
    "grad_support": "gradients",
    "load": "model",
    "maximize": "maximize",
    "plot_explanation": "plots",
    "plot_faithfulness": "plots",
    "plot_filters": "plots",
    "plot_maps": "plots",
    "plot_patches": "plots",
    "plot_sanity": "plots",
    "plot_synthetic": "plots",
    "save_figure": "plots",
    "stream": "capture",
    "top_patches": "patches",
}

__all__ = [
    "CodeExecution",
    "ConversionError",
    "Explanation",
    "FeatureMaps",
    "InputError",
    "Layer",
    "Model",
    "ModelError",
    "OnnxvizError",
    "Preprocessing",
    "ProviderError",
    "ReceptiveField",
    "SelectionError",
    "SyntheticInputs",
    "TopPatches",
    "UnsupportedGradientError",
    "add_gradient",
    "capture",
    "convert",
    "explain",
    "explain_each",
    "explain_faithfulness",
    "explain_sanity",
    "grad_support",
    "load",
    "maximize",
    "plot_explanation",
    "plot_faithfulness",
    "plot_filters",
    "plot_maps",
    "plot_patches",
    "plot_sanity",
    "plot_synthetic",
    "save_figure",
    "stream",
    "top_patches",
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
