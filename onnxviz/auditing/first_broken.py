"""The first broken tensor: the node of a graph that makes NaN or infinity of finite numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from onnxviz.inputs.samples import Feeds
from onnxviz.messages import printable
from onnxviz.model.model import Model
from onnxviz.runtime.batching import Batching
from onnxviz.runtime.session import RunOptions, Session

# So many tensors leave onnxruntime at once; a graph may have thousands.
_AT_ONCE = 32
_REAL = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class BrokenTensor:
    """A tensor with values that are not finite, made of finite ones.

    Attributes:
        tensor: its name.
        node: name of the node that makes it.
        op: its operator.
        layer: the layer whose output it is, or through which it runs; "" where there is none.
        broken, values: how many of its values are not finite, and how many it has.
        weights: whether the node reads weights that are not finite.
    """

    tensor: str
    node: str
    op: str
    layer: str
    broken: int
    values: int
    weights: bool

    @property
    def words(self) -> str:
        """Where it begins, in words."""
        made = f"{self.op} '{printable(self.node or self.tensor)}'"
        return f"it begins in {made}, in {self.broken:,} of {self.values:,} values"


def first_broken(model: Model, options: RunOptions, feeds: Feeds) -> BrokenTensor | None:
    """The first tensor of the main graph, in its order, that is not finite on a sample; None where all are.

    Args:
        model: the model.
        options: where it runs.
        feeds: the sample; finite itself.

    Raises:
        InputError: the model cannot run on it.
    """
    nodes = {
        name: node
        for node in model.proto.graph.node
        for name in node.output
        if name and model.shapes.element_type(name) in _REAL and model.constants.find(model.scope, name) is None
    }
    names = list(nodes)
    fed = Batching.of(model, options.memory).padded(feeds)
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        session = Session.of(model, some, options)
        for name, values in zip(some, session.run(some, session.own(fed)), strict=True):
            broken = int(values.size - np.isfinite(values.astype(np.float64)).sum())
            if broken:
                node = nodes[name]
                constants = [model.constants.value(model.scope, one) for one in node.input if one]
                weights = any(one is not None and one.dtype.kind == "f" and not np.isfinite(one).all()
                              for one in constants)  # fmt: skip
                return BrokenTensor(name, node.name, node.op_type, _layer_of(model, name), broken, values.size, weights)
    return None


def _layer_of(model: Model, tensor: str) -> str:
    for layer in model.all_layers:
        if tensor in (*layer.producer.output, *layer.taps.values()) and not layer.scope:
            return layer.name
    return ""
