"""`statistics`: minima, maxima, means, variances and zeros of each channel over a data set.

Per sample, a number a channel leaves onnxruntime instead of its map. Samples are gathered in blocks whose borders
depend on the data alone, and merged in order: the result has the same bytes however the work was split.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal

from onnxviz.arguments import typed
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.inputs.failures import Progress, nothing_usable
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import Feeds, ImageOptions, InputLike, Sample, Size
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
PILOT = 4
"""Samples that are run first."""
# Where the variance is a smaller part of the mean's square than this, sums of float32 do not tell it to a thousandth.
_LITTLE = 1 / 500
# The same of one of the first samples, so that the others hardly ever show more such channels.
_PERHAPS_LITTLE = 1 / 50


@typed
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
    size: Size | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    threads: int = 0,
    memory: int = DEFAULT_MEMORY,
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
        memory: bytes that the maps of the samples that run side by side may take, about; fewer run at once then.
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
    tapped = TappedModel(opened, x, LayerChoice(layers, ops, at), images, RunOptions(provider, memory, 1))
    if not tapped.layers:
        raise InputError(f"{opened.label} has none of these layers")
    run = ReducedRun(tapped, complete=complete, histograms=histogram)
    return gather(run, threads or _cores(), skip=errors == "skip", progress=progress)


def gather(run: ReducedRun, threads: int, *, skip: bool, progress: Progress | None = None) -> Statistics:
    """The statistics over a run's samples.

    The first samples are looked at for channels that vary little around their mean; where such are found, then or in
    the end, all are run again.

    Args:
        run: the model, its taps and the samples.
        threads: how many samples run side by side, if the memory suffices.
        skip: whether a sample that fails is left out.
        progress: called with (samples done, samples in all).

    Raises:
        OnnxvizError: a sample fails, or none can be used.
    """
    tapped = run.tapped
    numbers = range(len(tapped.samples))
    little = False

    def look(values: SampleValues) -> None:
        nonlocal little
        little |= run.look(values, _PERHAPS_LITTLE)

    done = _Gathered()
    with ThreadPoolExecutor(threads, "onnxviz-statistics") as pool:
        samples = _Samples(run, pool, threads, skip, progress)
        if run.inside:
            samples.take(numbers[:PILOT], done, look)
            if little:
                done = _Gathered()
                run.centre()
        samples.take(numbers[done.tried :], done)
        while (found := done.sum) is not None and run.look(found, _LITTLE):
            done = _Gathered()
            run.centre()
            samples.take(numbers, done)
    if found is None:
        raise nothing_usable(done.failed)
    layers = {}
    complete = run.complete or run.histograms
    bins = found.histograms if run.histograms else [None] * len(tapped.plans)
    for plan, rectified, moments, counted in zip(tapped.plans, run.rectified, found.of_layers(), bins, strict=True):
        layer = plan.layer
        layers[layer.name] = LayerStatistics(
            layer.name, layer.op, plan.tap.tensor, rectified, complete, moments, counted
        )
    reads_images = any(sample.photo for sample in tapped.samples)
    provenance = Provenance(tapped.model, run.options, tapped.images if reads_images else None)
    return Statistics(layers, len(done.labels), done.labels, provenance.as_dict(), tapped.at, tuple(done.failed))


class _Gathered:
    """What some samples gave, added in order and in blocks: `labels` by number, and who `failed`."""

    def __init__(self) -> None:
        self._blocks: SampleValues | None = None
        self._block: SampleValues | None = None
        self.labels: dict[int, str] = {}
        self.failed: list[tuple[str, str]] = []

    @property
    def tried(self) -> int:
        """How many samples there were."""
        return len(self.labels) + len(self.failed)

    @property
    def sum(self) -> SampleValues | None:
        """All together, the last block ended; None where none could be used."""
        self.end_block()
        return self._blocks

    def take(self, values: SampleValues, number: int, label: str) -> None:
        """Adds a sample behind those there are.

        Raises:
            InputError: a layer has another number of channels.
        """
        _check_channels(self._blocks or self._block, values)
        self._block = _sum(self._block, values)
        self.labels[number] = label

    def end_block(self) -> None:
        """What comes next belongs to another block."""
        self._blocks, self._block = _sum(self._blocks, self._block), None


@dataclass
class _Samples:
    """The samples of a run, several at once: at most `threads`, and fewer where the memory is small.

    `room`: how many may wait or run; one until it is known what a sample takes.
    """

    run: ReducedRun
    pool: ThreadPoolExecutor
    threads: int
    skip: bool
    progress: Progress | None
    room: int = 1

    def take(self, numbers: range, done: _Gathered, look: Callable[[SampleValues], None] | None = None) -> None:
        """Adds samples to what is done, in order, and has each looked at."""
        run, samples = self.run, self.run.tapped.samples
        left = iter(numbers)
        ahead: deque[tuple[int, Future[SampleValues]]] = deque()

        def work(number: int, read: Callable[[], Feeds]) -> SampleValues:
            return run.values(read(), number)

        try:
            while True:
                for number in islice(left, self.room - len(ahead)):
                    ahead.append((number, self.pool.submit(work, number, _reader(samples[number]))))
                if not ahead:
                    return
                number, result = ahead.popleft()
                try:
                    values = result.result()
                    affordable = run.tapped.batching.affordable(values.size)
                    self.room = affordable if affordable < self.threads else 2 * self.threads
                    done.take(values, number, samples[number].label)
                    if look is not None:
                        look(values)
                except OnnxvizError as error:
                    if not self.skip:
                        raise
                    done.failed.append((samples[number].label, str(error)))
                if (number + 1) % BLOCK == 0:
                    done.end_block()
                if self.progress is not None:
                    self.progress(done.tried, len(samples))
        finally:
            for _, waiting in ahead:
                waiting.cancel()


def _reader(sample: Sample) -> Callable[[], Feeds]:
    """Reads a sample in any thread; what has to be read in turn is read now."""
    if not sample.in_turn:
        return sample.read
    try:
        feeds = sample.read()
    except OnnxvizError as error:
        return partial(_fail, error)
    return lambda: feeds


def _fail(error: OnnxvizError) -> Feeds:
    raise error


def _check_channels(before: SampleValues | None, values: SampleValues) -> None:
    if before is None:
        return
    for mine, theirs in zip(before.channels, values.channels, strict=True):
        if mine != theirs:
            counts = f"{mine} channels for one input and {theirs} for another"
            raise InputError(f"a layer has {counts}: its second axis is not one of channels; leave it out of layers")


def _sum(before: SampleValues | None, later: SampleValues | None) -> SampleValues | None:
    """Both together; what came before is changed."""
    if before is None or later is None:
        return before or later
    before.moments.add(later.moments)
    for bins, more in zip(before.histograms, later.histograms, strict=True):
        bins += more
    return before


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
