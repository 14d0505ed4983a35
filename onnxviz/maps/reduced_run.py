"""Samples through a model whose taps are reduced to a number a channel before they leave onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxviz.errors import InputError
from onnxviz.inputs.samples import Feeds
from onnxviz.maps.histogram import histogram
from onnxviz.maps.moments import Moments
from onnxviz.maps.reduced_layout import ReducedLayout
from onnxviz.maps.tapped_model import TappedModel, TapPlan
from onnxviz.messages import dims
from onnxviz.model.graph.constants import dequantize
from onnxviz.model.graph.operator_bounds import bounds_of
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.passes.reductions import Reduction, reduce_channels
from onnxviz.runtime.session import Session

# A float32 sum of as many equal values is off by 4e-6; more are added line by line where there are lines.
_AT_ONCE = 4096


@dataclass(frozen=True)
class SampleValues:
    """What one sample's maps were reduced to.

    Attributes:
        moments: of the channels of all layers, one layer behind the other.
        channels: how many each layer has.
        histograms: int64 (channels, bins) of each layer; empty where they were not asked for.
        size: bytes of all the maps, as float32.
    """

    moments: Moments
    channels: tuple[int, ...]
    histograms: list[NDArray[Any]]
    size: int

    def of_layers(self) -> list[Moments]:
        """The moments of each layer."""
        return [self.moments.part(slice(*span)) for span in pairwise(accumulate(self.channels, initial=0))]


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
        self.options = replace(tapped.options, threads=1)
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
        self._opening = Lock()
        self._whole: Session | None = None
        if self.inside:
            self.centre()

    @property
    def whole(self) -> Session:
        """Gives maps whole; opened when a sample needs it."""
        with self._opening:
            if self._whole is None:
                self._whole = Session.of(self.tapped.model, self.tapped.proto, self.options)
            return self._whole

    def values(self, feeds: Feeds, sample: int) -> SampleValues:
        """What one sample gives.

        Args:
            feeds: one sample, batch axis included.
            sample: its number, kept with the maxima that it gives.

        Raises:
            InputError: the model cannot run on it.
        """
        fed, rows = self._fed(feeds)
        parts: dict[int, Moments] = {}
        size = 0
        if self.inside:
            (vector,) = self.reduced.run_here(self.reduced_output, fed)
            layout = self._layout(vector, rows)
            moments, told = layout.moments(vector, sample)
            if told.all() and len(self.inside) == len(self.tapped.plans):
                return SampleValues(moments, layout.channels, [], layout.size)
            there = SampleValues(moments, layout.channels, [], layout.size).of_layers()
            parts = {place: one for place, one, known in zip(self.inside, there, told, strict=True) if known}
            size = layout.size
        left = [place for place in range(len(self.tapped.plans)) if place not in parts]
        histograms: list[NDArray[Any]] = []
        for place, maps in zip(left, self._maps(left, fed, rows), strict=True):
            parts[place] = Moments.of(maps, sample)
            size += 4 * maps.size
            if self.histograms:
                histograms.append(histogram(maps))
        ordered = [parts[place] for place in sorted(parts)]
        return SampleValues(Moments.joined(ordered), tuple(len(one.count) for one in ordered), histograms, size)

    def look(self, values: SampleValues, share: float) -> bool:
        """Notes the channels that vary little around their mean, for `centre`; says if there are new ones.

        Args:
            values: of one sample, or of several.
            share: of the square of the mean, below which a variance is little.
        """
        new = False
        moments = values.of_layers()
        for place in self.inside:
            one = moments[place]
            centres = self.centres.setdefault(place, np.full(len(one.mean), np.nan))
            little = (one.variance < one.mean**2 * share) & (one.mean != 0) & np.isnan(centres)
            # The highest is exact: what is constant becomes 0.
            close = (one.highest - one.mean) ** 2 <= one.variance + 1e-6 * one.mean**2
            centres[:] = np.where(little, np.where(close, one.highest, one.mean), centres)
            new |= bool(little.any())
        return new

    def centre(self) -> None:
        """Opens the session that reduces, channels that `look` noted relative to what they vary around."""
        tapped = self.tapped
        reductions = []
        self._centred = []
        for place in self.inside:
            plan, centres = tapped.plans[place], self.centres.get(place)
            some = np.zeros(0, np.int64) if centres is None else np.flatnonzero(~np.isnan(centres))
            centre = np.zeros(0, np.float32) if centres is None else centres[some].astype(np.float32)
            self._centred.append((some, centre))
            relative = (some, centre) if some.size else (None, None)
            last = _last_axis(tapped.model.shapes.of(plan.tap.tensor))
            reductions.append(
                Reduction(plan.output, self.rectified[place], last, plan.scale, plan.zero_point, *relative)
            )
        proto = reduce_channels(tapped.proto, reductions, complete=self.complete)
        self.reduced_output = [proto.graph.output[0].name]
        self.reduced = Session.of(tapped.model, proto, self.options)
        self._last: tuple[bytes, int, ReducedLayout | None] = b"", 0, None

    def _layout(self, vector: NDArray[Any], rows: int) -> ReducedLayout:
        """Where numbers stand in the vector of a sample; that of the last one is kept, most are of one size."""
        tail = vector[-4 * len(self.inside) :]
        key = tail.tobytes()
        last_key, last_rows, layout = self._last
        if layout is None or (last_key, last_rows) != (key, rows):
            shapes = tail.reshape(-1, 4).astype(np.int64)
            own = [
                self._own(np.arange(count), rows, self.tapped.plans[place])
                for place, count in zip(self.inside, shapes[:, 0], strict=True)
            ]
            rectified = [self.rectified[place] for place in self.inside]
            layout = ReducedLayout(shapes, own, rectified, self._centred, complete=self.complete)
            self._last = key, rows, layout
        return layout

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
        there = dict(zip(names, self.whole.run_here(names, fed), strict=True))
        return [self._as_rows(plan, there[plan.output], rows) for plan in plans]

    def _as_rows(self, plan: TapPlan, values: NDArray[Any], rows: int) -> NDArray[Any]:
        if plan.scale is not None:
            values = dequantize(values, plan.scale, plan.zero_point)
        values = self._own(values, rows, plan)
        if values.ndim < plan.axis + 2 and not values.size:
            raise InputError(
                f"'{plan.layer.name}' is in a branch that does not run on this input: leave it out of layers"
            )
        if values.ndim < plan.axis + 2:
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
    return bounds_of(node, plan.layer.constant)[0] == 0


def _last_axis(shape: Sequence[Dim] | None) -> int | None:
    """The last axis of maps that are, or may be, too large to be averaged at once."""
    if shape is None or len(shape) < 4:
        return None
    sizes = [size for size in shape[2:] if isinstance(size, int)]
    small = len(sizes) == len(shape) - 2 and math.prod(sizes) <= _AT_ONCE
    return None if small else len(shape) - 1
