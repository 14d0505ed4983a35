"""Taps: the tensors of a layer that can be captured, its operator's output and its activation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from onnxviz.model.graph.constants import Constants
from onnxviz.model.graph.operators import Family, belongs, output_scale
from onnxviz.model.graph.scopes import Scope

# Steps between a convolution and its activation that only scale, shift or convert.
_LINKS = Family.AFFINE | Family.IDENTITY | Family.DEQUANTISING
# What x·sigmoid(x), x·tanh(softplus(x)), x·relu6(x+3)/6 and x·(1+erf(x/√2))/2 are made of.
_PLACE_BY_PLACE = Family.ELEMENTWISE | Family.BROADCASTING
_NONLINEAR = Family.ACTIVATION | Family.NONLINEAR
_MAX_REGION = 16


@dataclass(frozen=True)
class Quantization:
    """How the numbers of a quantised tensor are read: (value − zero point) · scale, names seen from its scope."""

    scale: str
    zero_point: str


def activation_tap(scope: Scope, node: NodeProto, constants: Constants) -> str:
    """The output of the layer that begins with `node`, as its source framework has it.

    Follows the operator's output through batch normalisation and constant Add, Mul … to the activation, while each
    link has one consumer; pairs of QuantizeLinear and DequantizeLinear on the way only round.

    Returns:
        The tensor's name; the operator's own output where no activation follows.
    """
    start = tensor = node.output[0]
    while tensor not in scope.outputs:
        consumers = _readers(scope, tensor)
        if len(consumers) == 1:
            follower = consumers[0]
            if not _stays_here(follower):
                return start
            if belongs(follower, Family.ACTIVATION):
                return follower.output[0] if follower.input[0] == tensor else start
            if follower.op_type == "QuantizeLinear":
                rounded = _rounded(scope, follower)
                if rounded is None:
                    return start
                if _saturates_at_zero(scope, follower, constants):
                    return rounded
                tensor = rounded
                continue
            if not belongs(follower, _LINKS) or not _is_link(scope, follower, tensor, node, constants):
                return start
            tensor = follower.output[0]
        else:
            return _diamond_tap(scope, tensor, constants) or start
    return start


def quantization(scope: Scope, tensor: str) -> Quantization | None:
    """How to read `tensor` if it is quantised: from the operator that makes it, or from the one that reads it."""
    node = scope.producers.get(tensor)
    seen = 0
    while node is not None and seen < _MAX_REGION:
        stated = output_scale(node)
        if stated is not None:
            return Quantization(*stated) if stated[0] else None
        if not belongs(node, Family.MOVING) or belongs(node, Family.MERGING):
            break
        node = scope.producers.get(node.input[0])
        seen += 1
    for reader in scope.consumers.get(tensor, []):
        if reader.op_type == "DequantizeLinear" and reader.input[0] == tensor:
            return Quantization(reader.input[1], reader.input[2] if len(reader.input) > 2 else "")
    return None


def _stays_here(node: NodeProto) -> bool:
    """Whether the node reads the tensor itself, not through a subgraph, and makes something."""
    return bool(node.output) and not belongs(node, Family.CONTROL_FLOW)


def _is_link(scope: Scope, node: NodeProto, tensor: str, layer: NodeProto, constants: Constants) -> bool:
    if belongs(node, Family.PER_AXIS):
        return node.input[0] == tensor
    others = [name for name in node.input if name and name != tensor]
    if len(others) == len(node.input):
        return False
    # ConvInteger's result is scaled by a factor that dynamic quantisation computes from the input.
    dynamic_scale = layer.op_type == "ConvInteger" and node.op_type == "Mul"
    return dynamic_scale or all(constants.find(scope, name) is not None for name in others)


def _readers(scope: Scope, tensor: str) -> list[NodeProto]:
    """The nodes that read the values of `tensor`, not only its type or shape."""
    return [
        node
        for node in scope.consumers.get(tensor, [])
        if not belongs(node, Family.MEASURING) and not (node.op_type == "CastLike" and node.input[0] != tensor)
    ]


def _rounded(scope: Scope, quantize: NodeProto) -> str | None:
    """The real values after a Quantize–Dequantize pair, None where another operator reads the quantised ones."""
    readers = scope.consumers.get(quantize.output[0], [])
    alone = len(readers) == 1 and readers[0].op_type == "DequantizeLinear" and quantize.output[0] not in scope.outputs
    return readers[0].output[0] if alone else None


def _saturates_at_zero(scope: Scope, quantize: NodeProto, constants: Constants) -> bool:
    """Whether a QuantizeLinear acts as a ReLU: its zero point is the smallest number of the type.

    Quantisation tools remove a ReLU where the saturation already cuts at zero.
    """
    name = quantize.input[2] if len(quantize.input) > 2 else ""
    if not name:  # the default is uint8 with zero point 0
        return not any(a.name == "output_dtype" for a in quantize.attribute)
    zero = constants.value(scope, name)
    return zero is not None and zero.dtype.kind in "iu" and bool((zero == np.iinfo(zero.dtype).min).all())


def _diamond_tap(scope: Scope, tensor: str, constants: Constants) -> str | None:
    """The end of an activation written in several nodes that read `tensor` more than once, such as x·sigmoid(x).

    Grows the set of elementwise nodes that depend on `tensor` and constants only, until one node's output is all
    that the rest of the graph sees of it.
    """
    region = {tensor}
    order: list[NodeProto] = []
    pending = _readers(scope, tensor)
    while pending and len(order) < _MAX_REGION:
        node = next((n for n in pending if _closed(scope, n, region, constants)), None)
        if node is None:
            return None
        pending.remove(node)
        order.append(node)
        region.add(node.output[0])
        inside = {id(n) for n in order}
        others = region - {node.output[0]}
        open_ends = any(
            name in scope.outputs or any(id(reader) not in inside for reader in _readers(scope, name))
            for name in others
        )
        if not open_ends:
            # All of them end in a product: x·sigmoid(x), (x/2)·(1+erf(x/√2)), …
            gate = belongs(node, Family.SCALING) and any(belongs(n, _NONLINEAR) for n in order)
            if not gate:
                return None
            made_of = {n.op_type for n in order}
            halved = "Erf" in made_of or "Clip" in made_of or ("Tanh" in made_of and "Softplus" not in made_of)
            return _scaled(scope, node.output[0], constants) if halved else node.output[0]
        queued = {id(n) for n in pending} | inside
        pending.extend(n for n in _readers(scope, node.output[0]) if id(n) not in queued)
    return None


def _scaled(scope: Scope, tensor: str, constants: Constants) -> str:
    """Past the constant factor that ends some activations: x·relu6(x+3) **/ 6**, x·(1+erf(x/√2)) **/ 2**."""
    readers = _readers(scope, tensor)
    if tensor in scope.outputs or len(readers) != 1 or not belongs(readers[0], Family.SCALING):
        return tensor
    factors = [constants.find(scope, name) for name in readers[0].input if name != tensor]
    scalar = len(factors) == 1 and factors[0] is not None and max(factors[0].shape, default=1) == 1
    return readers[0].output[0] if scalar else tensor


def _closed(scope: Scope, node: NodeProto, region: set[str], constants: Constants) -> bool:
    return (
        belongs(node, _PLACE_BY_PLACE)
        and len(node.output) == 1
        and all(not name or name in region or constants.find(scope, name) is not None for name in node.input)
    )
