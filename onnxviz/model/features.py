"""Features: outputs that are a network's feature maps, as of a body without its head, and no scores of classes."""

from __future__ import annotations

from functools import partial

from onnx import NodeProto

from onnxviz.messages import dims, printable
from onnxviz.model.graph.operator_bounds import bounds_of
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import operator
from onnxviz.model.model import Model
from onnxviz.model.scores import Scores

# They only move or convert numbers.
_CARRIERS = Family.IDENTITY | Family.DROPOUT | Family.DEQUANTISING | Family.QUANTISING


def feature_maps(model: Model, scores: Scores) -> str:
    """Why what was taken for scores of each position are feature maps; "" where they may be scores.

    Nothing makes probabilities or labels of them, no names of classes fit, and they come out of a pooling window, or of
    a Relu, which rules out a negative score: so end VGG, ResNet and MobileNet without their heads.
    """
    shape = model.shapes.of(scores.tensor)
    if scores.head is not None or scores.link or scores.names or scores.tensor != scores.output:
        return ""
    if shape is None or len(shape) < 3:
        return ""
    seen = scores.tensor
    while (node := model.scope.producers.get(seen)) is not None and node.input:
        if belongs(node, Family.POOLING) or (belongs(node, Family.RECTIFIER) and _cuts_above_one(model, node)):
            return (
                f"the output of {model.label} does not look like scores of classes: {printable(scores.output)} "
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
