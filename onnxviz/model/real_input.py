"""Real-valued inputs: an input of whole numbers that a Cast alone makes real, opened to all real numbers."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import node_attributes, reads, walk
from onnxviz.model.model import Model

_REAL = (TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def with_real_input(model: Model, name: str) -> Model | None:
    """The model whose input `name` takes float32 in place of whole numbers; on whole numbers it gives the same.

    Args:
        model: it is not changed.
        name: of an input.

    Returns:
        None where other nodes than a Cast to floats, behind nodes that move elements at most, read the input.
    """
    carrying = _carrying(model, name)
    if carrying is None:
        return None
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    (value,) = (one for one in proto.graph.input if one.name == name)
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    for one in [one for one in proto.graph.value_info if one.name in carrying]:
        proto.graph.value_info.remove(one)
    return model.with_graph(proto)


def _carrying(model: Model, name: str) -> set[str] | None:
    """The tensors that hold the input's numbers as they are; None where any is read by what wants whole numbers."""
    inner = {tensor for scope, node in walk(model.scope) if scope.parent for tensor in reads(node)}
    found, waiting = {name}, [name]
    while waiting:
        tensor = waiting.pop()
        readers = model.scope.consumers.get(tensor, [])
        if tensor in inner or tensor in model.scope.outputs or not readers:
            return None
        for node in readers:
            if node.op_type == "Cast" and node_attributes(node)["to"].i in _REAL:
                continue
            moves = belongs(node, Family.ARRANGING | Family.PICKING) or node.op_type == "Identity"
            if not moves or list(node.input).count(tensor) > 1 or node.input[0] != tensor or len(node.output) > 1:
                return None
            found.add(node.output[0])
            waiting.append(node.output[0])
    return found
