"""Samples through a model whose taps are reduced to a number a channel before they leave onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxviz.errors import InputError
from onnxviz.inputs.samples import Feeds
from onnxviz.maps.histogram import histogram
from onnxviz.maps.moments import Moments
from onnxviz.maps.tapped_model import TappedModel, TapPlan
from onnxviz.messages import dims
from onnxviz.model.graph.constants import dequantize
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.passes.reductions import TINY, ReducedOutputs, Reduction, reduce_channels
from onnxviz.runtime.session import RunOptions, Session

# Where the variance is a smaller part of the mean's square than this, sums of float32 do not tell it to a thousandth.
_NEARLY_CONSTANT = 1 / 250
# Longer rows of positions are not counted exactly in float32.
_MOST_POSITIONS = 2**23


@dataclass(frozen=True)
class SampleValues:
    """What one sample's maps were reduced to, layer by layer.

    Attributes:
        moments: of each layer's channels.
        histograms: int64 (channels, bins) of each layer; empty where they were not asked for.
    """

    moments: list[Moments]
    histograms: list[NDArray[Any]]


class ReducedRun:
    """One model, one set of taps, one sample at a time; several threads may run samples at once.

    One session with one thread serves all: two samples side by side on two cores take less time than both together on
    two threads, and a sample's numbers do not depend on what runs beside it.

    Args:
        tapped: the model, its taps, and the samples.
        complete: whether zeros of what may be negative, and minima of what is rectified, are computed as well.
        histograms: whether the values are counted in bins too; the maps then leave onnxruntime.
    """

    def __init__(self, tapped: TappedModel, *, complete: bool, histograms: bool) -> None:
        self.tapped = tapped
        self.histograms = histograms
        self.options = RunOptions(tapped.options.provider, tapped.options.memory, threads=1)
        self.rectified = [_is_rectified(plan) for plan in tapped.plans]
        self.complete = complete
        types = [tapped.model.shapes.element_type(plan.tap.tensor, plan.tap.scope) for plan in tapped.plans]
        # The others leave onnxruntime whole.
        self.inside = [
            place
            for place, (plan, kind) in enumerate(zip(tapped.plans, types, strict=True))
            if not histograms and _can_be_reduced(plan, kind)
        ]
        # Of each channel the number that its values are taken relative to, NaN where they are taken as they are.
        self.centres: dict[int, NDArray[Any]] = {}
        self.outputs: dict[int, ReducedOutputs] = {}
        if self.inside:
            self._reduce()

    @cached_property
    def whole(self) -> Session:
        """Gives maps whole; opened when a sample needs it."""
        return Session.of(self.tapped.model, self.tapped.proto, self.options)

    def values(self, feeds: Feeds, sample: int) -> SampleValues:
        """What one sample gives.

        Args:
            feeds: one sample, batch axis included.
            sample: its number, kept with the maxima that it gives.

        Raises:
            InputError: the model cannot run on it.
        """
        fed, rows = self._fed(feeds)
        moments: list[Moments | None] = [None] * len(self.tapped.plans)
        if self.inside:
            names = [name for place in self.inside for name in self.outputs[place].all]
            found = dict(zip(names, self.reduced.run(names, fed), strict=True))
            for place in self.inside:
                moments[place] = self._moments(place, found, rows, sample)
        left = [place for place, known in enumerate(moments) if known is None]
        histograms: list[NDArray[Any]] = []
        for place, maps in zip(left, self._maps(left, fed, rows), strict=True):
            moments[place] = Moments.of(maps, sample)
            if self.histograms:
                histograms.append(histogram(maps))
        return SampleValues([one for one in moments if one is not None], histograms)

    def centre(self, gathered: Sequence[Moments]) -> bool:
        """Has channels that vary little around their mean reduced relative to it from now on; says if there are more.

        Args:
            gathered: of each layer, over some samples.
        """
        more = False
        for place in self.inside:
            one = gathered[place]
            centres = self.centres.setdefault(place, np.full(len(one.mean), np.nan))
            nearly = (one.variance < one.mean**2 * _NEARLY_CONSTANT) & (one.mean != 0) & np.isnan(centres)
            centres[:] = np.where(nearly, one.mean, centres)
            more |= bool(nearly.any())
        if more:
            self._reduce()
        return more

    def _reduce(self) -> None:
        """Opens the session that reduces."""
        tapped = self.tapped
        reductions = []
        for place in self.inside:
            plan, centres = tapped.plans[place], self.centres.get(place)
            some = np.zeros(0, np.int64) if centres is None else np.flatnonzero(~np.isnan(centres))
            centred, centre = (some, centres[some]) if centres is not None and some.size else (None, None)
            reductions.append(
                Reduction(
                    plan.output, self.rectified[place], self.complete, plan.scale, plan.zero_point, centred, centre
                )
            )
        proto, made = reduce_channels(tapped.proto, reductions)
        self.outputs = dict(zip(self.inside, made, strict=True))
        self.reduced = Session.of(tapped.model, proto, self.options)

    def _fed(self, feeds: Feeds) -> tuple[Feeds, int]:
        """What is run for a sample, and how many rows of it are the sample's own."""
        self.tapped.check_inputs(feeds)
        batching = self.tapped.batching
        needed = {port.name: feeds[port.name] for port in self.tapped.needed}
        return batching.padded(needed), batching.count(feeds)

    def _maps(self, places: Sequence[int], fed: Feeds, rows: int) -> Sequence[NDArray[Any]]:
        """The maps of some taps as (rows, channels, …), dequantised."""
        if not places:
            return []
        plans = [self.tapped.plans[place] for place in places]
        names = list(dict.fromkeys(plan.output for plan in plans))
        there = dict(zip(names, self.whole.run(names, fed), strict=True))
        return [self._as_rows(plan, there[plan.output], rows) for plan in plans]

    def _as_rows(self, plan: TapPlan, values: NDArray[Any], rows: int) -> NDArray[Any]:
        if plan.scale is not None:
            values = dequantize(values, plan.scale, plan.zero_point)
        values = self._own(values, rows, plan)
        if values.ndim < plan.axis + 2 and values.size:
            raise InputError(
                f"'{plan.layer.name}' gives {dims(values.shape)}, which has no axis of channels: leave it out of layers"
            )
        return values.reshape(-1, *values.shape[plan.axis + 1 :])  # turns of a loop count as samples do

    def _own(self, values: NDArray[Any], rows: int, plan: TapPlan) -> NDArray[Any]:
        """Values without those of the copies that fill a fixed batch."""
        fixed = self.tapped.batching.fixed
        count = values.shape[plan.axis : plan.axis + 1]
        if fixed is not None and rows < fixed and count != (fixed,):
            raise InputError(
                f"'{plan.layer.name}' has {dims(count)} entries for a batch of {fixed}, which copies of one sample "
                "fill: they cannot be told apart; leave it out of layers"
            )
        return self.tapped.batching.unpadded(values, rows, plan.axis)

    def _moments(self, place: int, found: dict[str, NDArray[Any]], rows: int, sample: int) -> Moments | None:
        """Those of a layer that was reduced inside; None where something is not finite, or cannot be counted so."""
        names = self.outputs[place]
        plan = self.tapped.plans[place]

        def of(name: str) -> NDArray[Any]:
            return self._own(found[name], rows, plan).astype(np.float64)

        positions = int(found[names.shape][2])
        mean, highest = of(names.mean), of(names.highest)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            squares = 1 / of(names.inverse_rms) ** 2
        lowest = of(names.lowest) if names.lowest else np.zeros_like(mean)
        told = np.isfinite(mean) & np.isfinite(squares) & np.isfinite(highest) & np.isfinite(lowest)
        if not told.all() or not 0 < positions < _MOST_POSITIONS:
            return None
        if names.positives:
            positive = of(names.positives) * (positions / TINY)
            zeros = positions - np.rint(positive)
            if np.abs(positive - np.rint(positive)).max(initial=0) > 0.1:  # some are smaller than what counts as one
                return None
        else:
            zeros = positions - of(names.nonzeros) if names.nonzeros else np.zeros_like(mean)
        deviations = np.maximum(squares - mean**2, 0) * positions
        if names.centred_mean:
            some = np.flatnonzero(~np.isnan(self.centres[place]))
            apart = of(names.centred_mean)
            with np.errstate(divide="ignore"):
                deviations[:, some] = np.maximum(1 / of(names.centred_inverse_rms) ** 2 - apart**2, 0) * positions
            mean[:, some] = self.centres[place][some].astype(np.float32) + apart
        total = Moments.none(mean.shape[1])
        for row in range(len(mean)):
            total.add(
                Moments(
                    count=np.full(mean.shape[1], positions, np.int64),
                    nonfinite=np.zeros(mean.shape[1], np.int64),
                    mean=mean[row],
                    deviations=deviations[row],
                    lowest=lowest[row],
                    highest=highest[row],
                    zeros=zeros[row].astype(np.int64),
                    sample=np.full(mean.shape[1], sample, np.int64),
                )
            )
        return total


def _can_be_reduced(plan: TapPlan, element_type: int) -> bool:
    """Whether nodes behind the tensor see what it holds: float32 in the main graph, or integers that stand for such.

    Behind float16, onnxruntime leaves out the rounding: it computes in float32, and takes Cast and Cast back together.
    """
    real = element_type == TensorProto.FLOAT
    quantised = plan.scale is not None and plan.scale.dtype == np.float32 and element_type != TensorProto.UNDEFINED
    return plan.axis == 0 and not plan.tap.scope and (real or quantised)


def _is_rectified(plan: TapPlan) -> bool:
    """Whether the tap's values cannot be negative, since a Relu, or a Clip from zero, makes them."""
    node = plan.layer.graph_scope.producers.get(plan.tap.tensor)
    if node is None or plan.scale is not None or not belongs(node, Family.RECTIFIER):
        return False
    if node.op_type == "Relu":
        return True
    low = [a.f for a in node.attribute if a.name == "min"]
    if len(node.input) > 1 and node.input[1]:
        bound = plan.layer.constant(node.input[1])
        low = [] if bound is None or bound.size != 1 else [float(bound.reshape(()))]
    return low == [0.0]
