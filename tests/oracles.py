"""Independent answers: onnx's own numpy reading, onnx.reference, and onnxruntime on a model nobody rewrote."""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator


def giving(proto: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """The whole model with each tensor added to its outputs, as anyone would do it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    there = {value.name for value in copy.graph.output}
    for name in dict.fromkeys(tensors):
        if name not in there:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy


def untouched(proto: onnx.ModelProto, tensors: list[str], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors' values from onnxruntime on the whole model."""
    copy = giving(proto, tensors)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(tensors, session.run(tensors, feeds), strict=True))


def referenced(proto: onnx.ModelProto, tensors: list[str], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors' values from onnx's reference implementation in numpy."""
    copy = giving(proto, tensors)
    return dict(zip(tensors, ReferenceEvaluator(copy).run(tensors, feeds), strict=True))


def relative(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest expected magnitude; infinite where shapes differ."""
    if actual.shape != expected.shape:
        return float("inf")
    largest = np.abs(expected.astype(np.float64)).max() if expected.size else 0.0
    gap = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max() if expected.size else 0.0
    return float(gap / largest) if largest else float(gap)


def angle(one: np.ndarray, other: np.ndarray) -> float:
    """1 − cosine between two gradients."""
    one, other = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    return float(1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def neighbour_correlation(filters: np.ndarray) -> np.ndarray:
    """Correlation of each weight with the one to its right and the one below, one number a filter (O,).

    1 for a smooth filter, about 0 for noise; the mean over the whole filter is removed from every weight first.
    """
    centred = filters - filters.mean((1, 2, 3), keepdims=True)
    right = (centred[..., :, 1:] * centred[..., :, :-1]).mean((1, 2, 3))
    below = (centred[..., 1:, :] * centred[..., :-1, :]).mean((1, 2, 3))
    return (right + below) / 2 / centred.var((1, 2, 3))
