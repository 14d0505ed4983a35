"""Leaky gradients of activations that clip, so that gradient ascent can wake a unit that is silent.

Where a Relu gives 0 it has no slope, and a picture that excites a filter nowhere, or only in a corner, would stay so.
The slope of the target's own activation is therefore made `leak` there; deeper ones stay as they are. (A leaky
rectifier, Maas et al. 2013, in the gradient alone; lucid's redirected Relu, 2017, serves the same end.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxviz.gradients.gradient import Gradient
from onnxviz.model.graph.names import FreshNames, made_in
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import node_attributes
from onnxviz.model.model import Model


@dataclass(frozen=True)
class Clipping:
    """An activation that cuts, and what it cuts.

    Attributes:
        tensor: what it gives.
        before: what it is given.
        low: what is below becomes this.
        high: what is above becomes this; infinite for Relu.
    """

    tensor: str
    before: str
    low: float
    high: float


@dataclass(frozen=True)
class LeakyGradient:
    """A gradient with an extra input, the leak.

    Attributes:
        gradient: of the cut tensor; leaks where `leak` is not 0.
        leak: the extra input, (N, 1, …): for each picture the slope below the cut, 0…1; 0 for the true gradient.
        rank: number of its axes.
    """

    gradient: Gradient
    leak: str
    rank: int

    def feed(self, leaks: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The extra input for pictures (N,)."""
        return {self.leak: np.asarray(leaks, np.float32).reshape(-1, *[1] * (self.rank - 1))}


def cut_of(model: Model, tensor: str) -> Clipping | None:
    """The Relu or Clip with a lower bound that gives `tensor`; None where it comes from anything else."""
    node = model.scope.producers.get(tensor)
    if node is None or not belongs(node, Family.RECTIFIER):
        return None
    low, high = 0.0, math.inf
    if node.op_type == "Clip":
        attributes = node_attributes(node)
        bounds = []
        for place, (name, usual) in enumerate((("min", -math.inf), ("max", math.inf)), 1):
            given: Any = attributes[name].f if name in attributes else None
            if len(node.input) > place and node.input[place]:
                given = model.constants.value(model.scope, node.input[place])
                if given is None or given.size != 1:
                    return None
            bounds.append(usual if given is None else float(np.reshape(given, ())))
        low, high = bounds
    return Clipping(tensor, node.input[0], low, high) if math.isfinite(low) else None


def leaky(gradient: Gradient, cut: Clipping) -> LeakyGradient | None:
    """The gradient of `cut.tensor`, from that of `cut.before`.

    Args:
        gradient: of `cut.before`, with respect to anything. Not changed.
        cut: the activation.

    Returns:
        None where the tensor's rank is not known.
    """
    shape = gradient.shapes[cut.before]
    if not shape:
        return None
    proto = onnx.ModelProto()
    proto.CopyFrom(gradient.proto)
    graph = proto.graph
    if cut.tensor in made_in(graph):
        return None
    names = FreshNames(graph, also=[cut.tensor])
    port = next(value for value in graph.input if value.name == gradient.seed)
    kind = port.type.tensor_type.elem_type
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    seed, leak = names.tensor(f"{cut.tensor}/seed"), names.tensor(f"{cut.tensor}/leak")
    nodes: list[onnx.NodeProto] = []

    def op(kind_of: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or names.tensor(f"{cut.tensor}/{kind_of}")
        nodes.append(helper.make_node(kind_of, list(inputs), [output], **attributes))
        return output

    def constant(value: float, name: str) -> str:
        name = names.tensor(f"{cut.tensor}/{name}")
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    low = constant(cut.low, "low")
    above = op("Cast", op("Greater", cut.before, low), to=kind)
    slope = op("Max", above, op("Cast", leak, to=kind))
    if math.isinf(cut.high) and cut.low == 0:
        op("Relu", cut.before, output=cut.tensor)
    else:
        high = constant(min(cut.high, float(np.finfo(dtype).max)), "high")
        op("Clip", cut.before, low, high, output=cut.tensor)
        slope = op("Mul", slope, op("Cast", op("Less", cut.before, high), to=kind))
    op("Mul", seed, slope, output=gradient.seed)

    made = next((i + 1 for i, node in enumerate(graph.node) if cut.before in node.output), 0)
    listed = [*graph.node[:made], *nodes, *graph.node[made:]]
    ports = [value for value in graph.input if value.name != gradient.seed]
    ports.append(helper.make_tensor_value_info(seed, kind, shape))
    ports.append(helper.make_tensor_value_info(leak, onnx.TensorProto.FLOAT, [None] + [1] * (len(shape) - 1)))
    outputs = [value for value in graph.output if value.name != cut.before]
    outputs.append(helper.make_tensor_value_info(cut.tensor, kind, shape))
    for field, values in (("node", listed), ("input", ports), ("output", outputs)):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del getattr(graph, field)[:]
        getattr(graph, field).extend(copies)
    shapes = {**gradient.shapes, cut.tensor: shape}
    return LeakyGradient(replace(gradient, proto=proto, of=cut.tensor, seed=seed, shapes=shapes), leak, len(shape))
