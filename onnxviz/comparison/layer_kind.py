"""The kind of a layer: one for all operators that do the same, quantised, fused or plain; and its geometry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.model.graph.operators import CONVOLUTIONS, DENSE, Family, belongs, key_of
from onnxviz.model.layer import Layer
from onnxviz.model.taps import dense_weight


def kind(operator: str) -> str:
    """The kind of an operator, which may have its domain before it: "Conv" for `QLinearConv`, "MatMul" for `Gemm`."""
    name = operator.rpartition(":")[2]
    for (_, convolution), form in CONVOLUTIONS.items():
        if name == convolution:
            return "ConvTranspose" if form.transposed else "Conv"
    return "MatMul" if any(name == dense for _, dense in DENSE) else name.removeprefix("QLinear")


def kind_of(layer: Layer) -> str:
    """The kind of a layer; a stranger's operator is of its own."""
    known = layer.is_convolution or belongs(layer.producer, ~Family(0))
    return kind(layer.op) if known else layer.op


def of_kind(wanted: str, operators: Iterable[str]) -> list[str]:
    """Those of the operators that are of a kind."""
    return [name for name in operators if kind(name) == wanted]


def dense_shape(layer: Layer) -> tuple[int, int] | None:
    """(O, I) of a dense layer; None where it is none, or its matrix is not constant."""
    name, turned = dense_weight(layer.producer)
    shape = layer.constant_shape(name) if name else None
    if shape is None or len(shape) != 2:
        return None
    return (shape[0], shape[1]) if turned else (shape[1], shape[0])


def dense_matrix(layer: Layer) -> NDArray[Any] | None:
    """The weight of a dense layer, (O, I), up to a factor for each row; None where `dense_shape` is."""
    if dense_shape(layer) is None:
        return None
    node = layer.producer
    name, turned = dense_weight(layer.producer)
    matrix = layer.constant(name)
    if matrix is None or matrix.dtype.kind not in "fiu":
        return None
    rows = matrix if turned else matrix.T
    place = DENSE[key_of(node)].weight_zero
    zero = layer.constant(node.input[place]) if place is not None and place < len(node.input) else None
    return rows if zero is None else rows.astype(np.int32) - zero.astype(np.int32).reshape(-1, 1)


@dataclass(frozen=True)
class Geometry:
    """What two layers must have in common to be one.

    Attributes:
        kind: as `kind` gives it.
        window: of each spatial axis kernel, stride and dilation; leading axes over which it does not move left out, as
            a 1-D convolution may be written in 2-D. Padding may be an operator of its own, and is not here.
        grouping: the number of groups, or "depthwise"; None where the operator has none.
        channels: (O, I/group); () where they are not known, or the layer has no weights.
    """

    kind: str
    window: tuple[tuple[int, int, int], ...]
    grouping: int | str | None
    channels: tuple[int, ...]


def geometry(layer: Layer) -> Geometry:
    """The geometry of a layer; reads no weights."""
    shape = layer.weight_shape if layer.is_convolution else dense_shape(layer)
    kernel = layer.kernel or ()
    ones = (1,) * len(kernel)
    window = list(zip(kernel, layer.strides or ones, layer.dilations or ones, strict=False))
    while window and window[0][:2] == (1, 1):
        del window[0]
    depthwise = shape is not None and layer.group not in (None, 1) and shape[1] == 1
    return Geometry(kind_of(layer), tuple(window), "depthwise" if depthwise else layer.group, (shape or ())[:2])
