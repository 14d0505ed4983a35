"""Box scores: one tensor (N, boxes, classes) of a detector's scores, added to its graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxviz.model.detection.columns import Link, Part, Piece, known_shape
from onnxviz.model.detection.heads import Head
from onnxviz.model.model import Model

BOX_SCORES = "onnxviz/box_scores"
"""Each box's score of each class, before what makes probabilities of it; with objectness the product of both
probabilities."""
BOX_PROBABILITIES = "onnxviz/box_probabilities"
"""Each box's probability of each class, times objectness where there is one: what the detector ranks boxes by."""


def with_box_scores(model: Model, head: Head) -> Model:
    """The model with `BOX_SCORES` and `BOX_PROBABILITIES`, which nothing reads; as it is where it has them."""
    if BOX_SCORES in model.scope.producers:
        return model
    adding = _Adding(model)
    scores = adding.columns(head.classes, "")
    if head.objectness is None:
        adding.named("Identity", [scores], BOX_SCORES)
        adding.named("Identity", [adding.columns(head.classes, head.link) if head.link else scores], BOX_PROBABILITIES)
    else:
        objectness = adding.columns(head.objectness, head.objectness.link or head.link)
        product = adding.node("Mul", [adding.columns(head.classes, head.link), objectness])
        adding.named("Identity", [product], BOX_SCORES)
        adding.named("Identity", [product], BOX_PROBABILITIES)
    return model.with_nodes(adding.nodes, adding.weights)


class _Adding:
    """Nodes that are added to a model's graph, in operators that every opset has in this form."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def columns(self, piece: Piece, link: Link) -> str:
        """The piece's columns (N, boxes, columns), behind `link`."""
        parts = [self._part(part, link) for part in piece.parts]
        return parts[0] if len(parts) == 1 else self.node("Concat", parts, axis=1)

    def _part(self, part: Part, link: Link) -> str:
        shape = known_shape(self.model, part.tensor) or ()
        tensor, axis, rank, size = part.tensor, part.axis, len(shape), shape[part.axis]
        assert isinstance(size, int), "columns are counted before they are used"
        if part.split > 1:
            size //= part.split
            tensor = self.node("Reshape", [tensor, self.integers([0, part.split, size, -1])])
            axis, rank = 2, 4
        if axis != rank - 1:
            order = [place for place in range(rank) if place != axis]
            tensor = self.node("Transpose", [tensor], perm=[*order, axis])
        if rank != 3:
            tensor = self.node("Reshape", [tensor, self.integers([0, -1, size])])
        if link:
            softmax = link == "softmax"
            tensor = self.node("Softmax", [tensor], axis=2) if softmax else self.node("Sigmoid", [tensor])
        if (part.start, part.stop) == (0, size):
            return tensor
        return self.node("Gather", [tensor, self.integers(range(part.start, part.stop))], axis=2)

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """The output of a new node."""
        return self.named(kind, inputs, f"{BOX_SCORES}/{len(self.nodes)}", **attributes)

    def named(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """The output of a new node, called so."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def integers(self, values: Sequence[int]) -> str:
        """The name of a constant."""
        name = f"{BOX_SCORES}/c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name
