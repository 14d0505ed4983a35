"""`statistics`: minima, maxima, means, variances and zeros of each channel over a data set.

Per sample, a number a channel leaves onnxruntime instead of its map. Samples are gathered in blocks whose borders
depend on the data alone, and merged in order: the result has the same bytes however the work was split.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Literal

from onnxviz.errors import InputError, OnnxvizError
from onnxviz.inputs.failures import Progress, nothing_usable
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import ImageOptions, InputLike
from onnxviz.maps.channel_statistics import LayerStatistics, Statistics
from onnxviz.maps.reduced_run import ReducedRun, SampleValues
from onnxviz.maps.tapped_model import LayerChoice, TappedModel
from onnxviz.messages import one_of
from onnxviz.model.layer import TapKind
from onnxviz.model.model import Source, load
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.session import RunOptions

BLOCK = 64
"""Samples that are gathered before they are merged with those before."""
PILOT = 8
"""Samples that are run first."""


def statistics(
    model: Source,
    x: InputLike,
    *,
    layers: str | int | Sequence[str | int] = "all",
    ops: Sequence[str] | None = None,
    at: TapKind = "activation",
    complete: bool = False,
    histogram: bool = False,
    preprocess: str | Preprocessing = "auto",
    size: tuple[int, int] | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    threads: int = 0,
    errors: Literal["raise", "skip"] = "raise",
    progress: Progress | None = None,
) -> Statistics:
    """Statistics of each channel of the chosen layers over a data set.

    Args:
        model: an opened model, or what `load` opens.
        x: as for `capture`.
        layers: a selection; see `onnxviz.model.selection.select`.
        ops: operators to choose among; None for the convolutions.
        at: "activation" for the layer's output as its source framework has it, "conv" for the operator's own.
        complete: also count zeros of what may be negative, and find the minima of what is rectified where none is 0.
        histogram: also count values in bins (`onnxviz.maps.histogram`); the maps then leave onnxruntime.
        preprocess: what is done to images; `auto` asks the model's metadata, then its graph.
        size: (height, width) of images where the model leaves it open.
        fit: "stretch" images to the size (None), or "crop" them.
        background: colour behind transparent pixels; None for white.
        provider: an execution provider of onnxruntime by its short name, as "cpu", "cuda",
            "openvino:device_type=CPU"; there is no fallback from one that cannot start.
        threads: how many samples run side by side; 0 for as many as there are cores.
        errors: "raise" at the first input that fails, or "skip" it and list it in `failed`.
        progress: called with (samples done, samples in all).

    Raises:
        OnnxvizError: model, selection or input cannot be used.
    """
    one_of("way to treat errors", errors, ("raise", "skip"))
    if threads < 0:
        raise InputError(f"threads are 0 or more, not {threads}")
    opened = load(model)
    images = ImageOptions.of(opened, preprocess, size, fit, background)
    tapped = TappedModel(opened, x, LayerChoice(layers, ops, at), images, RunOptions(provider, DEFAULT_MEMORY, 1))
    if not tapped.layers:
        raise InputError(f"{opened.label} has none of these layers")
    run = ReducedRun(tapped, complete=complete, histograms=histogram)
    return gather(run, threads or _cores(), skip=errors == "skip", progress=progress)


def gather(run: ReducedRun, threads: int, *, skip: bool, progress: Progress | None = None) -> Statistics:
    """The statistics over a run's samples.

    Some samples are run first, for channels that vary little around their mean; all are run again where others show in
    the end.

    Args:
        run: the model, its taps and the samples.
        threads: how many samples run side by side.
        skip: whether a sample that fails is left out.
        progress: called with (samples done, samples in all).

    Raises:
        OnnxvizError: a sample fails, or none can be used.
    """
    tapped = run.tapped
    numbers = range(len(tapped.samples))
    with ThreadPoolExecutor(threads, "onnxviz-statistics") as pool:

        def gathered(some: range) -> _Gathered:
            found = _Gathered()
            for first in range(some.start, some.stop, BLOCK):
                found.add(_block(run, pool, threads, some[first - some.start :][:BLOCK], skip))
                if progress is not None:
                    progress(min(first + BLOCK, some.stop), len(numbers))
            return found

        done = gathered(numbers[:PILOT])
        more = done.total is not None and run.centre(done.total.moments)
        while more or (len(done.labels) + len(done.failed) < len(numbers)):
            done = gathered(numbers)
            more = done.total is not None and run.centre(done.total.moments)
    if done.total is None:
        raise nothing_usable(done.failed)
    found = {}
    complete = run.complete or run.histograms
    bins = done.total.histograms if run.histograms else [None] * len(tapped.plans)
    for plan, rectified, moments, counted in zip(tapped.plans, run.rectified, done.total.moments, bins, strict=True):
        layer = plan.layer
        found[layer.name] = LayerStatistics(
            layer.name, layer.op, plan.tap.tensor, rectified, complete, moments, counted
        )
    reads_images = any(sample.path for sample in tapped.samples)
    provenance = Provenance(tapped.model, run.options, tapped.images if reads_images else None)
    return Statistics(found, len(done.labels), done.labels, provenance.as_dict(), tapped.at, tuple(done.failed))


class _Gathered:
    """What some samples gave: `total`, None where none could be used, their `labels` by number, and who `failed`."""

    def __init__(self) -> None:
        self.total: SampleValues | None = None
        self.labels: dict[int, str] = {}
        self.failed: list[tuple[str, str]] = []

    def take(self, values: SampleValues, number: int, label: str) -> None:
        """Adds a sample behind those there are.

        Raises:
            InputError: a layer has another number of channels.
        """
        self.total = _sum(self.total, values)
        self.labels[number] = label

    def add(self, later: _Gathered) -> None:
        """Adds samples behind those there are."""
        if later.total is not None:
            self.total = _sum(self.total, later.total)
        self.labels.update(later.labels)
        self.failed.extend(later.failed)


def _block(run: ReducedRun, pool: ThreadPoolExecutor, threads: int, numbers: range, skip: bool) -> _Gathered:
    """What a block of samples gives, `threads` of them at once, added in order."""
    samples = run.tapped.samples
    left = iter(numbers)
    ahead: deque[tuple[int, Future[SampleValues]]] = deque()
    found = _Gathered()

    def work(number: int) -> SampleValues:
        return run.values(samples[number].read(), number)

    try:
        while True:
            ahead.extend((number, pool.submit(work, number)) for number in islice(left, 2 * threads - len(ahead)))
            if not ahead:
                return found
            number, result = ahead.popleft()
            try:
                found.take(result.result(), number, samples[number].label)
            except OnnxvizError as error:
                if not skip:
                    raise
                found.failed.append((samples[number].label, str(error)))
    finally:
        for _, waiting in ahead:
            waiting.cancel()


def _sum(before: SampleValues | None, later: SampleValues) -> SampleValues:
    """Both together; what came before is changed.

    Raises:
        InputError: a layer has another number of channels.
    """
    if before is None:
        return later
    for mine, theirs in zip(before.moments, later.moments, strict=True):
        if len(mine.count) != len(theirs.count):
            counts = f"{len(mine.count)} channels for one input and {len(theirs.count)} for another"
            raise InputError(f"a layer has {counts}: its second axis is not one of channels; leave it out of layers")
        mine.add(theirs)
    for bins, more in zip(before.histograms, later.histograms, strict=True):
        bins += more
    return before


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
