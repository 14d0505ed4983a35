"""Products of 8-bit activations with int8 weights: where onnxruntime cuts their sums off, and which weights meet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnxviz.model.graph.operators import CONVOLUTIONS, DENSE, Family, belongs, key_of
from onnxviz.model.graph.scopes import Scope, attribute
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model

MOST_SUM = 128
"""255·(w1 + w2) leaves 16 bits where |w1 + w2| is larger."""


def integer_products(model: Model) -> Iterator[tuple[str, NDArray[np.int8]]]:
    """The layers for which onnxruntime multiplies uint8 activations with constant int8 weights on x86 processors.

    They are found as operators of integers, and as floating-point ones between DequantizeLinear and QuantizeLinear,
    which onnxruntime makes operators of integers (`QDQ` format, "Quantize ONNX models" in its documentation). Of these
    it shifts int8 activations to uint8, unless `session.qdqisint8allowed` is 1; operators of int8 it leaves as they
    are (measured with onnxruntime 1.32 on a processor without VNNI).

    Yields:
        The layer's name and its weights, (O, elements), in the order in which onnxruntime adds up their products: of a
        convolution the channels of one position after the other.
    """
    for layer in model.all_layers:
        node, scope = layer.producer, layer.graph_scope
        convolution, dense = CONVOLUTIONS.get(key_of(node)), DENSE.get(key_of(node))
        if convolution is None and dense is None:
            continue
        place = (convolution or dense).weight  # type: ignore[union-attr]
        # In ConvInteger the filters are the first factor, the activations the second: no int8 behind a uint8.
        if place >= len(node.input) or (convolution is not None and convolution.integer):
            continue
        weight, activation = node.input[place], ""
        if belongs(node, Family.INTEGER):
            if not _is_uint8(model, scope, node, place):
                continue
        else:
            weight, activation = _quantised(scope, weight), _quantised(scope, node.input[0])
            if not weight or not activation:
                continue
            if not any(_has_type(model, scope, activation, kind) for kind in (TensorProto.UINT8, TensorProto.INT8)):
                continue
            if convolution is not None and not _is_quantised_again(layer):
                continue
        stored = model.constants.find(scope, weight)
        if stored is None or stored.dtype != "int8":
            continue
        if convolution is None:
            turned = bool(attribute(node, "transB"))
            if len(stored.shape) == 2:
                yield layer.name, stored.array if turned else stored.array.T
        elif len(stored.shape) > 2 and stored.shape[1] > 1 and not convolution.transposed:
            yield layer.name, np.moveaxis(stored.array, 1, -1).reshape(stored.shape[0], -1)


def saturating_pairs(weights: NDArray[np.int8]) -> NDArray[np.int16]:
    """w1 + w2 of each pair that VPMADDUBSW adds, (O, elements // 2): neighbours, the first at an even place."""
    even = weights.shape[1] // 2 * 2
    pairs: NDArray[np.int16] = weights[:, 0:even:2].astype(np.int16) + weights[:, 1:even:2]
    return pairs


def may_saturate(model: Model) -> bool:
    """Whether a processor without VNNI may cut off sums of a model's products."""
    return any((np.abs(saturating_pairs(weights)) > MOST_SUM).any() for _, weights in integer_products(model))


def _is_uint8(model: Model, scope: Scope, node: NodeProto, weight: int) -> bool:
    """Whether an operator of integers takes uint8 activations."""
    if belongs(node, Family.DYNAMIC_RANGE):
        return True  # it makes them itself
    if _has_type(model, scope, node.input[0], TensorProto.UINT8):
        return True
    # what inference does not follow, the zero point tells: it stands before the weight, or behind with the weight's own
    zero = 2 if weight > 1 else _zero_behind(node)
    return zero < len(node.input) and _type_of(model, scope, node.input[zero]) == "uint8"


def _zero_behind(node: NodeProto) -> int:
    form: Any = CONVOLUTIONS.get(key_of(node)) or DENSE.get(key_of(node))
    return int(form.weight_zero) - 1 if form.weight_zero is not None else len(node.input)


def _has_type(model: Model, scope: Scope, tensor: str, wanted: int) -> bool:
    """Whether a tensor is of uint8 or int8, by inference or by the zero point that it was quantised with."""
    known = model.shapes.element_type(tensor, scope.name)
    if known:
        return known == wanted
    maker = scope.producers.get(tensor)
    if maker is None or not belongs(maker, Family.QUANTISING):
        return False
    zero = maker.input[2] if len(maker.input) > 2 else ""
    found = _type_of(model, scope, zero) if zero else "uint8"
    return found == ("uint8" if wanted == TensorProto.UINT8 else "int8")


def _type_of(model: Model, scope: Scope, tensor: str) -> str:
    found = model.constants.find(scope, tensor)
    return "" if found is None else found.dtype


def _quantised(scope: Scope, tensor: str) -> str:
    """The integers behind a tensor that is dequantised; "" where it is not."""
    home = scope.home(tensor)
    maker = home.producers.get(tensor) if home is not None else None
    return str(maker.input[0]) if maker is not None and belongs(maker, Family.DEQUANTISING) else ""


def _is_quantised_again(layer: Layer) -> bool:
    readers = [node for tap in ("conv", "activation") for node in layer.graph_scope.consumers.get(layer.taps[tap], [])]
    return any(belongs(node, Family.QUANTISING) for node in readers)
