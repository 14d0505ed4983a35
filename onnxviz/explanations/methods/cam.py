"""Class activation maps: a layer's maps, weighted by what they mean for the score.

A are the layer's maps (C, spatial…), G = ∂S/∂A; raw maps, before any scaling, after the ReLU of the papers. Views,
frames and branches that share a batch, or run one after the other, are pictures of their own: each has its own map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, SelectionError
from onnxviz.explanations.case import Case, spatial_sizes
from onnxviz.explanations.layer_maps import LayerMaps, copies
from onnxviz.explanations.method import Method, MethodResult, Needs
from onnxviz.explanations.probe import Probe
from onnxviz.messages import printable
from onnxviz.model.arrangement import PartAxis
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model


@dataclass(frozen=True)
class _Cam(Method):
    """A map over a layer's positions.

    Attributes:
        layer: a layer's name or position, or a tensor's name; None for the last convolution with positions before the
            target, see `choose_layer`.
    """

    needs: ClassVar[Needs] = "layer"
    layer: str | int | None = None

    def __call__(self, case: Case) -> MethodResult:
        """The map of the layer."""
        name, tensors, stacked = choose_tensors(case, self.layer)
        layer = LayerMaps.of(case, tensors, stacked)
        found = self._mapped(case, layer)
        notes = tuple(dict.fromkeys((*found.warnings, *layer.notes)))
        return replace(found, layer=name, tensor=", ".join(tensors), axes=layer.axes, warnings=notes)

    def _mapped(self, case: Case, layer: LayerMaps) -> MethodResult:
        """The map over the positions of a layer, of each of its parts."""
        raise NotImplementedError


@dataclass(frozen=True)
class _GradientCam(_Cam):
    """A map that weighs the layer's maps by the gradient of the score."""

    needs: ClassVar[Needs] = "layer-gradient"

    def _mapped(self, case: Case, layer: LayerMaps) -> MethodResult:
        slopes, notes = layer.slopes()
        return MethodResult(map=layer.each(self.weigh, slopes), warnings=notes, approximations=layer.approximations)

    def weigh(self, maps: NDArray[Any], slopes: NDArray[Any]) -> NDArray[Any]:
        """The map (spatial…) of maps A and gradients G, (C, spatial…) each."""
        raise NotImplementedError


@dataclass(frozen=True)
class GradCam(_GradientCam):
    """ReLU(Σₖ mean(Gₖ) Aₖ) (Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2)."""

    name: ClassVar[str] = "grad-cam"
    source: ClassVar[str] = "Selvaraju et al. 2017"

    def weigh(self, maps: NDArray[Any], slopes: NDArray[Any]) -> NDArray[Any]:
        """The map (spatial…)."""
        return _weighted(maps, _over_positions(slopes).mean(axis=1))


@dataclass(frozen=True)
class GradCamPlusPlus(_GradientCam):
    """ReLU(Σₖ wₖ Aₖ), wₖ = Σ α·ReLU(Gₖ), α = G² / (2G² + ΣAₖ G³) (Chattopadhay et al. 2018, 1710.11063, equation 19).

    The score is taken as the exponent that the paper assumes; 1e-6 in the denominator, and α = 0 where G is, as in
    pytorch-grad-cam.
    """

    name: ClassVar[str] = "grad-cam++"
    source: ClassVar[str] = "Chattopadhay et al. 2018"

    def weigh(self, maps: NDArray[Any], slopes: NDArray[Any]) -> NDArray[Any]:
        """The map (spatial…)."""
        square = slopes**2
        sums = _over_positions(maps).sum(axis=1).reshape(-1, *[1] * (maps.ndim - 1))
        shares = np.where(slopes != 0, square / (2 * square + sums * square * slopes + 1e-6), 0)
        return _weighted(maps, _over_positions(np.maximum(slopes, 0) * shares).sum(axis=1))


@dataclass(frozen=True)
class LayerCam(_GradientCam):
    """ReLU(Σₖ ReLU(Gₖ)·Aₖ), position by position (Jiang et al. 2021, IEEE TIP, "LayerCAM")."""

    name: ClassVar[str] = "layer-cam"
    source: ClassVar[str] = "Jiang et al. 2021"

    def weigh(self, maps: NDArray[Any], slopes: NDArray[Any]) -> NDArray[Any]:
        """The map (spatial…)."""
        mapped: NDArray[Any] = np.maximum((np.maximum(slopes, 0) * maps).sum(axis=0), 0)
        return mapped


@dataclass(frozen=True)
class HiResCam(_GradientCam):
    """ReLU(Σₖ Gₖ·Aₖ), position by position (Draelos & Carin 2020, arXiv 2011.08891)."""

    name: ClassVar[str] = "hires-cam"
    source: ClassVar[str] = "Draelos & Carin 2020"

    def weigh(self, maps: NDArray[Any], slopes: NDArray[Any]) -> NDArray[Any]:
        """The map (spatial…)."""
        mapped: NDArray[Any] = np.maximum((slopes * maps).sum(axis=0), 0)
        return mapped


@dataclass(frozen=True)
class XGradCam(_GradientCam):
    """ReLU(Σₖ wₖ Aₖ), wₖ = Σ(Gₖ·Aₖ) / (ΣAₖ + 1e-7) (Fu et al. 2020, arXiv 2008.02312)."""

    name: ClassVar[str] = "xgrad-cam"
    source: ClassVar[str] = "Fu et al. 2020"

    def weigh(self, maps: NDArray[Any], slopes: NDArray[Any]) -> NDArray[Any]:
        """The map (spatial…)."""
        sums = _over_positions(maps).sum(axis=1)
        return _weighted(maps, _over_positions(slopes * maps).sum(axis=1) / (sums + 1e-7))


@dataclass(frozen=True)
class EigenCam(_Cam):
    """The maps projected on their first principal component over the positions (Muhammad & Yeasin 2020, 2008.00299).

    Which sign a component has is arbitrary; here the larger end is positive (Chung & Ying 2025, Seg-Eigen-CAM,
    equation 13). It does not depend on the class, and is returned signed, without a ReLU.
    """

    name: ClassVar[str] = "eigen-cam"
    source: ClassVar[str] = "Muhammad & Yeasin 2020"
    warning: ClassVar[str] = "eigen-cam does not depend on the class: it shows what the layer responds to most"

    def _mapped(self, case: Case, layer: LayerMaps) -> MethodResult:
        return MethodResult(map=layer.each(_principal))


@dataclass(frozen=True)
class ScoreCam(_Cam):
    """ReLU(Σₖ wₖ Aₖ), w = softmax of S(x·Mₖ), Mₖ the map enlarged and stretched to 0…1 (Wang et al. 2020, 1910.01279).

    As in pytorch-grad-cam: no score of a blank input is subtracted, and maps are enlarged with aligned corners. Views
    and frames are masked together, each by its own part of the channel.
    """

    name: ClassVar[str] = "score-cam"
    source: ClassVar[str] = "Wang et al. 2020"

    def _mapped(self, case: Case, layer: LayerMaps) -> MethodResult:
        maps = layer.masks()
        count = len(maps)
        scores = np.empty(count)
        for first in range(0, count, case.batch):
            part = maps[first : first + case.batch]
            mask = np.stack([layer.axes.over(one, case.spatial, case.axes, corners=True) for one in part])
            flat = _over_positions(mask)
            low, high = (end.reshape(-1, *[1] * (mask.ndim - 1)) for end in (flat.min(axis=1), flat.max(axis=1)))
            mask = (mask - low) / (high - low + 1e-8)
            scores[first : first + len(mask)] = case.scores(case.x * case.over_channels(mask))
            if case.progress is not None:
                case.progress(first + len(mask), count)
        powers = np.exp(scores - scores.max())
        return MethodResult(map=_weighted(maps, powers / powers.sum()))


def _principal(maps: NDArray[Any]) -> NDArray[Any]:
    """Maps (C, spatial…) projected on their first principal component, (spatial…)."""
    flat = _over_positions(maps).T
    flat = flat - flat.mean(axis=0)
    axes = np.linalg.svd(flat, full_matrices=False)[2]
    projected = (flat @ axes[0]).reshape(maps.shape[1:])
    found: NDArray[Any] = -projected if abs(projected.min()) > abs(projected.max()) else projected
    return found


def _weighted(maps: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = np.maximum(np.tensordot(weights, maps, 1), 0)
    return found


def _over_positions(maps: NDArray[Any]) -> NDArray[Any]:
    """(C, spatial…) as (C, positions)."""
    return maps.reshape(len(maps), -1)


def choose_tensors(case: Case, asked: str | int | None) -> tuple[str, tuple[str, ...], PartAxis | None]:
    """(name, tensors, what tells them apart) of the layer to map: one tensor, or one for each frame, view or branch.

    Args: as for `choose_layer`; what is asked for by name is that alone.
    """
    name, tensor = choose_layer(case.probe, case, asked)
    layers = {layer.name: layer for layer in case.probe.model.layers}
    if asked is not None or name not in layers:
        return name, (tensor,), None
    alike, stacked = copies(case, layers[name], _between(case))
    if stacked is None:
        return name, (tensor,), None
    scope = case.probe.model.scope
    before = scope.ancestors([case.probe.target]).tensors
    tensors = []
    for layer in alike:  # each before it meets another
        others = scope.descendants([other.taps["conv"] for other in alike if other is not layer])
        tensors.append(_bottleneck(case, layer, before, others))
    return alike[0].name, tuple(tensors), stacked


def _between(case: Case) -> list[Layer]:
    """The convolutions of the main graph between the explained input and the target."""
    model = case.probe.model
    before = model.scope.ancestors([case.probe.target]).tensors
    wanted = model.scope.descendants([case.probe.port.name]) & {*before, case.probe.target}
    there = [layer for layer in model.layers if not layer.graph_scope.name]
    return [layer for layer in there if layer.taps["conv"] in wanted]


def choose_layer(probe: Probe, case: Case, asked: str | int | None) -> tuple[str, str]:
    """(name, tensor) of the layer to map.

    Args:
        probe: the model and the target.
        case: a sample, for the sizes that the model leaves open.
        asked: a layer's name or position, or a tensor's name; None for the last convolution with positions before
            the target, followed to the last tensor of its size that all its ways to the target pass: behind its
            activation and a residual sum, before the pooling. Before a target that is a picture itself, the last
            convolution is its head, and the one before is taken.

    Raises:
        SelectionError: there is no such layer, or none between the explained input and the target.
    """
    model = probe.model
    behind = model.scope.descendants([probe.port.name])
    if asked is not None:
        name, tensor = _named_layer(model, asked)
        if tensor != probe.target and tensor not in model.scope.ancestors([probe.target]).tensors:
            raise SelectionError(f"'{printable(probe.target)}' does not depend on layer '{name}'; choose another")
        if tensor not in behind:
            raise SelectionError(
                f"layer '{name}' does not depend on input '{printable(probe.port.name)}', which is explained; "
                "choose another layer, or another input (--wrt NAME, wrt=…)"
            )
        return name, tensor
    before = model.scope.ancestors([probe.target]).tensors
    found = [layer for layer in _between(case) if math.prod(_positions(case, layer.taps["conv"])) > 1]
    if case.axes.parts:  # of views or frames, those with pictures: a convolution over time has none
        found = [layer for layer in found if _is_pictured(case, layer)] or found
    picture = case.base.ndim > 2 and math.prod(case.base.shape) > max(case.base.shape)
    if picture and len(found) > 1:
        found = found[:-1]
    if not found:
        raise SelectionError(
            f"{model.label} has no convolution with positions before '{printable(probe.target)}': "
            "name a tensor with --layer, or use occlusion, rise or a method of the input"
        )
    return found[-1].name, _bottleneck(case, found[-1], before)


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


def _bottleneck(case: Case, layer: Layer, before: frozenset[str], beyond: frozenset[str] = frozenset()) -> str:
    """The last tensor of the layer's size that all its ways to the target pass; no other convolution is between.

    Args:
        case: a sample.
        layer: the layer.
        before: what the target depends on.
        beyond: tensors that are not taken.
    """
    scope, start = case.probe.model.scope, layer.taps["conv"]
    shapes, wanted = case.probe.shapes(case.sizes), tuple(_positions(case, start))
    wayside = {*before, case.probe.target}

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
