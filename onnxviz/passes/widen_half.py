"""Half precision widened to single, in which gradients are taken.

Products of many derivatives leave the range of float16 (6e-8 … 65,504) long before that of float32.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from onnxviz.model.graph.names import FreshNames
from onnxviz.model.graph.scopes import all_graphs, set_nodes

HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
# Attributes that hold an element type.
_TYPES = frozenset({"to", "dtype", "output_dtype", "stash_type"})


def widen(model: onnx.ModelProto) -> bool:
    """Makes `model`, in place, compute in float32 where it computes in float16 or bfloat16.

    Stored weights stay as they are; a Cast stands behind each.

    Returns:
        Whether there was anything to change.
    """
    names = FreshNames(model)
    changed = False
    for graph in all_graphs(model.graph):
        changed |= _widen_graph(graph, names)
    return changed


def _widen_graph(graph: GraphProto, names: FreshNames) -> bool:
    changed = False
    nodes: list[NodeProto] = []

    def behind(stored: str, wanted: str) -> None:
        nodes.append(helper.make_node("Cast", [stored], [wanted], to=TensorProto.FLOAT))

    for tensor in graph.initializer:
        if tensor.data_type in HALF:
            name, tensor.name = tensor.name, names.tensor(f"{tensor.name}/half")
            behind(tensor.name, name)
            changed = True
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in HALF:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            changed = True
    for node in graph.node:
        nodes.append(node)
        for attribute in node.attribute:
            if attribute.name in _TYPES and attribute.i in HALF:
                attribute.i = TensorProto.FLOAT
                changed = True
            if attribute.HasField("t") and attribute.t.data_type in HALF:
                changed = True
                if node.op_type == "Constant":
                    name, node.output[0] = node.output[0], names.tensor(f"{node.output[0]}/half")
                    behind(node.output[0], name)
                else:  # ConstantOfShape: one value
                    array = numpy_helper.to_array(attribute.t).astype(np.float32)
                    attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
    if changed:
        set_nodes(graph, nodes)
    return changed
