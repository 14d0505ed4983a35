"""Networks with a head of one's choice, to be explained, and how heat is located."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx.parser
from protos import normal, parsed

from onnxviz.explanations.methods import METHODS


def few(method: str, count: int) -> dict[str, int]:
    """The option that makes a method quick, where it has it."""
    return {"samples": count} if "samples" in METHODS[method].options else {}


def centre(heat: np.ndarray) -> np.ndarray:
    """Of mass, of what is above half the greatest."""
    heat = np.abs(heat) * (np.abs(heat) >= np.abs(heat).max() / 2)
    grid = np.indices(heat.shape)
    return (grid * heat).sum(tuple(range(1, grid.ndim))) / heat.sum()


def ended(tail: str, **weights: np.ndarray) -> onnx.ModelProto:
    """A convolution and whatever follows its tensor `r`, (n, 4, 8, 8)."""
    return parsed(
        "g (float[n,3,8,8] x) => (float[k] y) { c = Conv <pads=[1,1,1,1]> (x, w) r = Relu (c) " + tail + " }",
        w=normal(4, 3, 3, 3),
        **weights,
    )


HEAD = "m = ReduceMean <keepdims=0> (r, a) z = MatMul (m, d) "
DENSE = {"a": np.array([2, 3]), "d": normal(4, 5)}
SEGMENTED = "z = Conv (r, v) "
FIRST = {"v": normal(5, 4, 1, 1, seed=4)}


def unsupported() -> onnx.ModelProto:
    return ended("h = Round (r) m = ReduceMean <keepdims=0> (h, a) y = MatMul (m, d)", **DENSE)


def named(proto, names):
    """The model with names of classes in its metadata."""
    proto.metadata_props.add(key="classes", value=json.dumps(names))
    return proto
