"""See inside the CNN you ship: layers, filters and feature maps of any `.onnx`, with onnx, onnxruntime and numpy.

The public names are loaded on first use, so that `import onnxviz` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxviz.auditing.audit import Audit, audit
    from onnxviz.auditing.baseline import Baseline
    from onnxviz.auditing.finding import Finding
    from onnxviz.auditing.golden import Golden
    from onnxviz.comparison.compare import compare
    from onnxviz.comparison.comparison import Comparison
    from onnxviz.conversion.convert import convert
    from onnxviz.errors import (
        CodeExecution,
        ConversionError,
        InputError,
        ModelError,
        OnnxvizError,
        ProviderError,
        SelectionError,
        UnheededOptionError,
        UnsupportedGradientError,
    )
    from onnxviz.explanations.explain import explain, explain_each
    from onnxviz.explanations.explanation import Explanation
    from onnxviz.explanations.faithfulness import explain_faithfulness
    from onnxviz.explanations.sanity import explain_sanity
    from onnxviz.gradients.add_gradient import add_gradient, grad_support
    from onnxviz.inputs.annotate import annotate
    from onnxviz.inputs.preprocessing import Preprocessing
    from onnxviz.maps.capture import capture, stream
    from onnxviz.maps.channel_statistics import Statistics
    from onnxviz.maps.feature_maps import FeatureMaps
    from onnxviz.maps.receptive.field import ReceptiveField
    from onnxviz.maps.statistics import statistics
    from onnxviz.maps.top_patches import TopPatches, top_patches
    from onnxviz.maximization.maximize import maximize
    from onnxviz.maximization.synthetic import SyntheticInputs
    from onnxviz.model.layer import Layer
    from onnxviz.model.listing import layers
    from onnxviz.model.model import Model, load
    from onnxviz.output.filters import filters
    from onnxviz.passes.extract import extract
    from onnxviz.plots import (
        ContactRow,
        Photo,
        plot_comparison,
        plot_contact_sheet,
        plot_difference,
        plot_explanation,
        plot_faithfulness,
        plot_filters,
        plot_maps,
        plot_maps_together,
        plot_patches,
        plot_prediction,
        plot_predictions,
        plot_sanity,
        plot_statistics,
        plot_synthetic,
        save_figure,
    )
    from onnxviz.predictions.predict import predict
    from onnxviz.predictions.prediction import Prediction, Predictions
    from onnxviz.reports.report import Report, report

__version__ = "0.1.0"

_HOMES = {
    "Audit": "auditing.audit",
    "Baseline": "auditing.baseline",
    "CodeExecution": "errors",
    "Comparison": "comparison.comparison",
    "ContactRow": "plots",
    "ConversionError": "errors",
    "Explanation": "explanations.explanation",
    "FeatureMaps": "maps.feature_maps",
    "Finding": "auditing.finding",
    "Golden": "auditing.golden",
    "InputError": "errors",
    "Layer": "model.layer",
    "Model": "model.model",
    "ModelError": "errors",
    "OnnxvizError": "errors",
    "Photo": "plots",
    "Prediction": "predictions.prediction",
    "Predictions": "predictions.prediction",
    "Preprocessing": "inputs.preprocessing",
    "ProviderError": "errors",
    "ReceptiveField": "maps.receptive.field",
    "Report": "reports.report",
    "SelectionError": "errors",
    "Statistics": "maps.channel_statistics",
    "SyntheticInputs": "maximization.synthetic",
    "TopPatches": "maps.top_patches",
    "UnheededOptionError": "errors",
    "UnsupportedGradientError": "errors",
    "add_gradient": "gradients.add_gradient",
    "annotate": "inputs.annotate",
    "audit": "auditing.audit",
    "capture": "maps.capture",
    "compare": "comparison.compare",
    "convert": "conversion.convert",
    "explain": "explanations.explain",
    "explain_each": "explanations.explain",
    "explain_faithfulness": "explanations.faithfulness",
    "explain_sanity": "explanations.sanity",
    "extract": "passes.extract",
    "filters": "output.filters",
    "grad_support": "gradients.add_gradient",
    "layers": "model.listing",
    "load": "model.model",
    "maximize": "maximization.maximize",
    "plot_comparison": "plots",
    "plot_contact_sheet": "plots",
    "plot_difference": "plots",
    "plot_explanation": "plots",
    "plot_faithfulness": "plots",
    "plot_filters": "plots",
    "plot_maps": "plots",
    "plot_maps_together": "plots",
    "plot_patches": "plots",
    "plot_prediction": "plots",
    "plot_predictions": "plots",
    "plot_sanity": "plots",
    "plot_statistics": "plots",
    "plot_synthetic": "plots",
    "predict": "predictions.predict",
    "report": "reports.report",
    "save_figure": "plots",
    "statistics": "maps.statistics",
    "stream": "maps.capture",
    "top_patches": "maps.top_patches",
}

__all__ = [
    "Audit",
    "Baseline",
    "CodeExecution",
    "Comparison",
    "ContactRow",
    "ConversionError",
    "Explanation",
    "FeatureMaps",
    "Finding",
    "Golden",
    "InputError",
    "Layer",
    "Model",
    "ModelError",
    "OnnxvizError",
    "Photo",
    "Prediction",
    "Predictions",
    "Preprocessing",
    "ProviderError",
    "ReceptiveField",
    "Report",
    "SelectionError",
    "Statistics",
    "SyntheticInputs",
    "TopPatches",
    "UnheededOptionError",
    "UnsupportedGradientError",
    "add_gradient",
    "annotate",
    "audit",
    "capture",
    "compare",
    "convert",
    "explain",
    "explain_each",
    "explain_faithfulness",
    "explain_sanity",
    "extract",
    "filters",
    "grad_support",
    "layers",
    "load",
    "maximize",
    "plot_comparison",
    "plot_contact_sheet",
    "plot_difference",
    "plot_explanation",
    "plot_faithfulness",
    "plot_filters",
    "plot_maps",
    "plot_maps_together",
    "plot_patches",
    "plot_prediction",
    "plot_predictions",
    "plot_sanity",
    "plot_statistics",
    "plot_synthetic",
    "predict",
    "report",
    "save_figure",
    "statistics",
    "stream",
    "top_patches",
]


# What a command does that has another name: `onnxviz.maps` is the folder of `capture`.
_VERBS = {"stats": "statistics", "filters": "plot_filters"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        hint = f"; did you mean {_VERBS[name]}?" if name in _VERBS else ""
        raise AttributeError(f"module 'onnxviz' has no attribute '{name}'{hint}")
    value = getattr(importlib.import_module(f"onnxviz.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
