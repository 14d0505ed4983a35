"""The choice of a layer to map: the last convolution with positions before the target, and the tensor behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxviz.errors import InputError, SelectionError
from onnxviz.explanations.case import Case, spatial_sizes
from onnxviz.explanations.layer_maps import copies
from onnxviz.messages import option, printable
from onnxviz.model.axes.arrangement import PartAxis
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model


def choose_tensors(case: Case, asked: str | int | None) -> tuple[str, tuple[str, ...], PartAxis | None]:
    """(name, tensors, what tells them apart) of the layer to map: one tensor, or one for each frame, view or branch.

    Args: as for `choose_layer`; what is asked for by name is that alone.
    """
    name, tensor = choose_layer(case, asked)
    layers = {layer.name: layer for layer in case.probe.model.layers}
    if asked is not None or name not in layers:
        return name, (tensor,), None
    alike, stacked = copies(case, layers[name], _between(case))
    if stacked is None:
        return name, (tensor,), None
    scope = case.probe.model.scope
    tensors = []
    for layer in alike:  # each before it meets another
        others = scope.descendants([other.taps["conv"] for other in alike if other is not layer])
        tensors.append(_bottleneck(case, layer, (case.probe.target,), others))
    return alike[0].name, tuple(tensors), stacked


def _between(case: Case, goals: tuple[str, ...] = ()) -> list[Layer]:
    """The convolutions of the main graph between the explained input and the target, or all of the goals."""
    model, target = case.probe.model, case.probe.target
    ways = [model.scope.ancestors([end]).tensors for end in goals or (target,)]
    wanted = frozenset.intersection(*ways) | ({target} if not goals else set())
    wanted &= model.scope.descendants([case.probe.port.name])
    there = [layer for layer in model.layers if not layer.graph_scope.name and not _fixed(layer)]
    return [layer for layer in there if layer.taps["conv"] in wanted]


def choose_layer(case: Case, asked: str | int | None, goals: tuple[str, ...] = ()) -> tuple[str, str]:
    """(name, tensor) of the layer to map.

    Args:
        case: a sample of the model and its target.
        asked: a layer's name or position, or a tensor's name; None for the last convolution with positions before
            the target, followed to the last tensor of its size that all its ways to the target pass: behind its
            activation and a residual sum, before the pooling. Before a target that is a picture itself, the last
            convolution is its head, and the one before is taken. A convolution whose weights are not trained is none.
        goals: tensors in place of the target: what the convolutions at the end of a detector's stride give. All of
            them depend on the layer, and the convolutions at the end are its head.

    Raises:
        SelectionError: there is no such layer, or none between the explained input and the target.
    """
    probe, model = case.probe, case.probe.model
    behind = model.scope.descendants([probe.port.name])
    if asked is not None:
        name, tensor = _named_layer(model, asked)
        if tensor != probe.target and tensor not in model.scope.ancestors([probe.target]).tensors:
            raise SelectionError(f"'{printable(probe.target)}' does not depend on layer '{name}'; choose another")
        if tensor not in behind:
            raise SelectionError(
                f"layer '{name}' does not depend on input '{printable(probe.port.name)}', which is explained; "
                f"choose another layer, or another input ({option('wrt', 'NAME')})"
            )
        return name, tensor
    found = [layer for layer in _between(case, goals) if math.prod(_positions(case, layer.taps["conv"])) > 1]
    if case.axes.parts:  # of views or frames, those with pictures: a convolution over time has none
        found = [layer for layer in found if _is_pictured(case, layer)] or found
    picture = case.base.ndim > 2 and math.prod(case.base.shape) > max(case.base.shape)
    if goals:
        makers = {tensor for end in goals for tensor in _moved_only(model, end)}
        found = [layer for layer in found if layer.taps["conv"] not in makers] or found
    elif picture and len(found) > 1:
        found = found[:-1]
    if not found:
        raise SelectionError(
            f"{model.label} has no convolution with positions before '{printable(probe.target)}': "
            f"name a tensor with {option('layer')}, or use occlusion, rise or a method of the input"
        )
    return found[-1].name, _bottleneck(case, found[-1], goals or (probe.target,))


def _fixed(layer: Layer) -> bool:
    """Whether a convolution has weights that nobody trained: one filter 0, 1, 2, …, which takes a distribution's mean.

    (Li et al. 2020, Generalized Focal Loss, arXiv 2006.04388: the distances to a box's sides.)
    """
    shape = layer.weight_shape
    if shape is None or shape[0] != 1 or math.prod(shape) != shape[1] or shape[1] < 3 or layer.source is None:
        return False
    return bool(np.array_equal(layer.weight.reshape(-1), np.arange(shape[1])))


def _moved_only(model: Model, tensor: str) -> set[str]:
    """The tensors that a tensor is, but for moves."""
    found, waiting = {tensor}, [tensor]
    while waiting:
        node = model.scope.producers.get(waiting.pop())
        if node is not None and node.input and belongs(node, Family.ARRANGING | Family.IDENTITY):
            waiting.append(node.input[0])
            found.add(node.input[0])
    return found


def _is_pictured(case: Case, layer: Layer) -> bool:
    """Whether a layer has the positions that the input's pictures have."""
    tensor = layer.taps["conv"]
    try:
        return case.arrangement(tensor).positions == case.axes.positions
    except InputError:
        return len(_positions(case, tensor)) == len(case.axes.positions)


def _named_layer(model: Model, asked: str | int) -> tuple[str, str]:
    named = {layer.name: layer for layer in reversed(model.all_layers)}
    if isinstance(asked, str) and asked in named:
        layer = named[asked]
    elif isinstance(asked, str) and asked in model.scope.producers:
        return asked, asked
    else:
        layer = model.layer(asked)
    if layer.graph_scope.name:
        raise SelectionError(f"layer '{layer.name}' is inside {layer.graph_scope.name}; choose one of the main graph")
    return layer.name, layer.taps["activation"]


def _positions(case: Case, tensor: str) -> Sequence[int]:
    """The spatial sizes of a convolution's output, measured where inference does not tell."""
    sizes = spatial_sizes(case.probe.shapes(case.sizes).of(tensor))
    return sizes if sizes is not None else case.values(tensor).shape[1:]


def _alike(case: Case, first: str, second: str) -> bool:
    """Whether two tensors are set out alike, as far as can be told: of the same axes, positions behind channels."""
    shapes = case.probe.shapes(case.sizes)
    ranks = [len(shapes.of(tensor) or ()) for tensor in (first, second)]
    try:
        one = case.arrangement(first)
    except InputError:
        return ranks[0] == ranks[1]
    try:
        other = case.arrangement(second)
    except InputError:
        return False
    return ranks[0] == ranks[1] and (one.parts, one.positions) == (other.parts, other.positions)


def _bottleneck(case: Case, layer: Layer, ends: tuple[str, ...], beyond: frozenset[str] = frozenset()) -> str:
    """The last tensor of the layer's size that all its ways to the ends pass; no other convolution is between.

    Args:
        case: a sample.
        layer: the layer.
        ends: what depends on the layer.
        beyond: tensors that are not taken.
    """
    scope, start = case.probe.model.scope, layer.taps["conv"]
    shapes, wanted = case.probe.shapes(case.sizes), tuple(_positions(case, start))
    before = frozenset[str]().union(*(scope.ancestors([end]).tensors for end in ends))
    wayside = {*before, *ends}

    def readers(tensor: str) -> set[str]:
        nodes = scope.consumers.get(tensor, [])
        return {node.output[0] for node in nodes if wayside.intersection(node.output)}

    found, unread = start, {start: readers(start)}
    for node in scope.graph.node:
        if not any(node.output[0] in waiting for waiting in unread.values()):
            continue
        for waiting in unread.values():
            waiting.discard(node.output[0])
        if belongs(node, Family.CONVOLUTION) and math.prod(_positions(case, node.output[0])) > 1:
            break  # the head of a picture
        unread.update({name: readers(name) for name in node.output if name in before})
        live = [name for name, waiting in unread.items() if waiting]
        if live == [node.output[0]] and live[0] not in beyond:
            found = live[0] if spatial_sizes(shapes.of(live[0])) == wanted and _alike(case, start, live[0]) else found
    return found
