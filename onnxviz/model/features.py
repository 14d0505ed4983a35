"""Features: outputs that are a network's feature maps, as of a body without its head, and no scores of classes."""

from __future__ import annotations

from functools import partial

from onnx import NodeProto

from onnxviz.messages import dims, printable
from onnxviz.model.graph.operator_bounds import bounds_of
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import operator
from onnxviz.model.model import Model

# They only move or convert numbers.
_CARRIERS = Family.IDENTITY | Family.DROPOUT | Family.DEQUANTISING | Family.QUANTISING


def feature_maps(model: Model, tensor: str) -> str:
    """What to say of a tensor whose channels are a network's feature maps; "" where they may be scores of classes.

    They have more than one position, and come out of a pooling window or of a Relu, which rules out a negative score:
    so end VGG, ResNet and MobileNet without their heads.

    Args:
        model: the model.
        tensor: what makes no probabilities or labels, and has no names of classes.
    """
    shape = model.shapes.of(tensor)
    if shape is None or sum(size != 1 for size in shape[1:]) < 2:
        return ""
    seen = tensor
    while (node := model.scope.producers.get(seen)) is not None and node.input:
        if belongs(node, Family.POOLING) or (belongs(node, Family.RECTIFIER) and _cuts_above_one(model, node)):
            return (
                f"the output of {model.label} does not look like scores of classes: {printable(tensor)} "
                f"({dims(shape)}) comes out of {operator(node)}, as feature maps do"
            )
        if not belongs(node, _CARRIERS) and operator(node) != "Transpose":
            return ""
        seen = node.input[0]
    return ""


def _cuts_above_one(model: Model, node: NodeProto) -> bool:
    """Whether a node gives 0 to more than 1, as Relu and Relu6 do: 0 to 1 are probabilities."""
    low, high = bounds_of(node, partial(model.constants.value, model.scope))
    return low == 0 and high > 1
