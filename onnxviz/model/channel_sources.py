"""Sources of channels: which filters of which layers make each channel that a convolution reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import NodeProto

from onnxviz.model.graph.operators import Family, belongs, settings_inputs
from onnxviz.model.graph.scopes import Scope, attribute
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model

Sources = tuple[tuple[str, int], ...]
"""(layer or input, filter or channel) of each that a channel is made of: several behind a sum."""

# What keeps a channel at its place: the others neither mix nor move channels.
_KEEPING = (
    Family.ELEMENTWISE | Family.PER_AXIS | Family.NORMALISATION | Family.POOLING | Family.GLOBAL_POOLING
    | Family.RESIZING | Family.IDENTITY | Family.DROPOUT
)  # fmt: skip


def channel_sources(model: Model, layer: Layer) -> tuple[Sources, ...] | None:
    """What makes each of the channels that a convolution of the main graph reads, in their order.

    Followed through activations, normalisations, poolings, resizing, sums, products and concatenations along the
    channels, back to the next convolutions and to inputs. A normalisation counts as if it kept channels apart.

    Args:
        model: the model.
        layer: a convolution of it.

    Returns:
        One entry for each channel of its input, all groups together; None where the graph moves channels in a way that
        is not followed (Reshape, Transpose, a slice), or the layer is inside a subgraph.
    """
    if layer.graph_scope.name or layer.weight_shape is None:
        return None
    known: dict[str, list[Sources] | None] = {}
    for port in model.inputs:
        if port.channel_axis == 0 and port.shape is not None and isinstance(port.shape[1], int):
            known[port.name] = [((port.name, number),) for number in range(port.shape[1])]
    ends = {one.taps["conv"]: one for one in model.layers if not one.graph_scope.name}
    scope = model.scope
    for node in scope.graph.node:
        if node is layer.producer or layer.taps["conv"] in node.output:
            break
        end = ends.get(node.output[0]) if node.output else None
        if end is not None:
            count = end.filters
            known[node.output[0]] = None if count is None else [((end.name, number),) for number in range(count)]
        elif node.output:
            known[node.output[0]] = _through(node, known, scope, model)
    found = known.get(layer.producer.input[0])
    return tuple(found) if found is not None and len(found) == layer.weight_shape[1] * (layer.group or 1) else None


def _through(
    node: NodeProto, known: Mapping[str, list[Sources] | None], scope: Scope, model: Model
) -> list[Sources] | None:
    """What makes the channels of a node's first output."""
    settings = {*settings_inputs(node)}
    fed = [name for name in node.input if name and name not in settings]
    fed = [name for name in fed if model.constants.find(scope, name) is None]
    parts = [known.get(name) for name in fed]
    told = [part for part in parts if part is not None]
    if not told or len(told) < len(parts):
        return None
    if belongs(node, Family.MERGING) and not belongs(node, Family.BROADCASTING):  # a concatenation
        return [one for part in told for one in part] if _along_channels(node, model) else None
    if belongs(node, _KEEPING) or node.op_type == "Pad":
        return told[0]
    if belongs(node, Family.BROADCASTING) and len({len(part) for part in told}) == 1:
        return [_united(sources) for sources in zip(*told, strict=True)]
    return None


def _united(sources: Sequence[Sources]) -> Sources:
    return tuple(dict.fromkeys(one for several in sources for one in several))


def _along_channels(node: NodeProto, model: Model) -> bool:
    axis = attribute(node, "axis") or 0
    shape = model.shapes.of(node.output[0])
    return axis == 1 or (shape is not None and axis + len(shape) == 1)
