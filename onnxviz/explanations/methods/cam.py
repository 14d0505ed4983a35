"""Class activation maps: a layer's maps, weighted by what they mean for the score.

A are the layer's maps (C, spatial…), G = ∂S/∂A; raw maps, before any scaling, after the ReLU of the papers. Views,
frames and branches that share a batch, or run one after the other, are pictures of their own: each has its own map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.explanations.case import Case
from onnxviz.explanations.layer_choice import choose_layer, choose_tensors
from onnxviz.explanations.layer_maps import LayerMaps
from onnxviz.explanations.method import Method, MethodResult, Needs
from onnxviz.inputs.interpolate import resized
from onnxviz.messages import dims, printable
from onnxviz.model.axes.arrangement import PartAxis
from onnxviz.model.probability import softmax


@dataclass(frozen=True)
class _Cam(Method):
    """A map over a layer's positions.

    Attributes:
        layer: a layer's name or position, or a tensor's name; None for the last convolution with positions before the
            target, see `onnxviz.explanations.layer_choice.choose_layer`.
    """

    needs: ClassVar[Needs] = "layer"
    layer: str | int | None = None

    def __call__(self, case: Case) -> MethodResult:
        """The map of the layer; those of a detector's strides added up."""
        found = [self._of_layer(case, *one) for one in self._layers(case)]
        return found[0] if len(found) == 1 else _summed(found)

    def check(self, case: Case) -> None:
        """Refuses a sample of which no layer can be mapped."""
        for _, tensors, stacked in self._layers(case):
            self._check(case, LayerMaps.of(case, tensors, stacked))

    def _layers(self, case: Case) -> list[tuple[str, tuple[str, ...], PartAxis | None]]:
        """The layers to map, one unless a detector has several strides: as `choose_tensors` gives them."""
        strides = case.target.through if case.target is not None and self.layer is None else ()
        if not strides:
            return [choose_tensors(case, self.layer)]
        chosen = dict.fromkeys(choose_layer(case, None, goals) for goals in strides)
        return [(name, (tensor,), None) for name, tensor in chosen]

    def _check(self, case: Case, layer: LayerMaps) -> None:
        """Refuses a layer that the method cannot use."""

    def _of_layer(self, case: Case, name: str, tensors: tuple[str, ...], stacked: PartAxis | None) -> MethodResult:
        """The map of one layer, which may stand in the graph several times."""
        layer = LayerMaps.of(case, tensors, stacked)
        self._check(case, layer)
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
    and frames are masked together, each by its own part of the channel. Along an axis of the input that the layer has
    not, as along one of size 1, a mask is constant; a layer with positions that the input has not is refused.
    """

    name: ClassVar[str] = "score-cam"
    source: ClassVar[str] = "Wang et al. 2020"

    def _check(self, case: Case, layer: LayerMaps) -> None:
        """Refuses a layer whose maps do not lie on the input: there is no place that they could mask."""
        if not layer.axes.lies_on(len(case.spatial), case.axes):
            name = printable(case.probe.port.name)
            raise InputError(
                f"score-cam masks the input with the layer's maps, but their positions ({layer.axes.positions}, "
                f"{dims(layer.maps.shape[len(layer.axes.parts) + 1 :])}) are not those of input '{name}' "
                f"({case.axes.letters or 'axes not told'}, {dims(case.spatial)}): take eigen-cam, whose map "
                "stays on the layer, occlusion or rise"
            )

    def _mapped(self, case: Case, layer: LayerMaps) -> MethodResult:
        maps = layer.masks()
        count = len(maps)
        scores = np.empty(count)
        case.tell(0, count)
        for first in range(0, count, case.batch):
            part = maps[first : first + case.batch]
            mask = np.stack([layer.axes.over(one, case.spatial, case.axes, corners=True) for one in part])
            flat = _over_positions(mask)
            low, high = (end.reshape(-1, *[1] * (mask.ndim - 1)) for end in (flat.min(axis=1), flat.max(axis=1)))
            mask = (mask - low) / (high - low + 1e-8)
            scores[first : first + len(mask)] = case.scores(case.x * case.over_channels(mask))
            case.tell(first + len(mask), count)
        return MethodResult(map=_weighted(maps, softmax(scores)))


def _summed(found: list[MethodResult]) -> MethodResult:
    """The maps of several layers, added at the size of the finest."""
    finest = max(found, key=lambda one: math.prod(one.map.shape))
    total = np.sum([resized(one.map, finest.map.shape) for one in found], axis=0)
    return MethodResult(
        map=total,
        warnings=tuple(text for one in found for text in one.warnings),
        approximations=tuple(dict.fromkeys(text for one in found for text in one.approximations)),
        layer=", ".join(one.layer for one in found),
        tensor=", ".join(one.tensor for one in found),
        axes=finest.axes,
    )


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
