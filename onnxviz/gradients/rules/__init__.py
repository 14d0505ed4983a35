"""The rules, one file for each family of operators; importing this fills the table."""

from onnxviz.gradients.rules import (
    activations,
    convolution,
    elementwise,
    linear,
    normalisation,
    pooling,
    quantisation,
    reductions,
    resampling,
    reshaping,
    selection,
)

__all__ = [
    "activations",
    "convolution",
    "elementwise",
    "linear",
    "normalisation",
    "pooling",
    "quantisation",
    "reductions",
    "resampling",
    "reshaping",
    "selection",
]
