"""Excerpts: the part of a graph between one tensor, which becomes an input, and others."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper

from onnxviz.model.graph.names import FreshNames
from onnxviz.model.model import Model
from onnxviz.passes.expose import pruned


def excerpt(model: Model, start: str, ends: Sequence[str], element_type: int = 0) -> onnx.ModelProto:
    """A model that computes `ends` from `start`, and from the model's own inputs where they are needed besides.

    Args:
        model: not changed.
        start: a tensor of its main graph, which becomes an input; what makes it is left out.
        ends: other tensors of its main graph.
        element_type: `TensorProto.DataType` of `start`; 0 for the one that shape inference tells, else float32.

    Returns:
        The excerpt; its outputs are `ends` in order. `start` is no input of it where no end depends on it.
    """
    source = model.proto.graph
    made = model.scope.producers.get(start)
    graph = GraphProto(initializer=source.initializer, sparse_initializer=source.sparse_initializer)
    graph.input.extend(source.input)
    graph.output.extend(source.output)
    if made is not None:
        kind = element_type or model.shapes.element_type(start) or TensorProto.FLOAT
        graph.input.append(helper.make_tensor_value_info(start, kind, None))
    for node in source.node:
        if node is made:
            others = [name for name in node.output if name != start]
            if not any(others):
                continue
            node = NodeProto.FromString(node.SerializeToString())
            place = list(node.output).index(start)
            node.output[place] = FreshNames(source).tensor(f"{start}/made")
        graph.node.append(node)
    return pruned(model.proto, graph, ends)
