"""Feature maps: a model run on inputs, with the tensors of chosen layers kept.

Samples are read, run and handed on in batches that follow from a byte budget; what does not fit the budget is kept on
disk. Memory therefore does not grow with the number of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxviz.errors import InputError, OnnxvizError, SelectionError
from onnxviz.featuremaps import FeatureMaps, MapStore, Origin, Tapped
from onnxviz.graph import Tap, expose
from onnxviz.images import Fit, Preprocessing
from onnxviz.inputs import Feeds, Given, Reading, Sample, reading, samples
from onnxviz.layers import Layer, TapKind, find_layers
from onnxviz.model import Model, load
from onnxviz.runtime import Session
from onnxviz.select import select
from onnxviz.shapes import Shapes
from onnxviz.taps import quantization
from onnxviz.weights import Array, dequantize

DEFAULT_MEMORY = 2**30
# Maps of several batches are kept in memory up to this; beyond, a file costs little and memory stays flat.
KEPT_BYTES = 64 * 2**20
# Larger batches are no faster on a CPU, and a failed one costs more.
MAX_BATCH = 32

Progress = Callable[[int, int], None]
Failed = Callable[[str, OnnxvizError], None]


def capture(
    model: Model | str,
    x: Given,
    *,
    layers: str | int | Sequence[str | int] = "all",
    ops: Sequence[str] | None = None,
    at: TapKind = "activation",
    preprocess: str | Preprocessing = "auto",
    size: tuple[int, int] | None = None,
    fit: Fit = "stretch",
    background: str = "white",
    provider: str = "cpu",
    memory: int = DEFAULT_MEMORY,
    verify: bool = False,
    threads: int = 0,
    errors: Literal["raise", "skip"] = "raise",
    progress: Progress | None = None,
) -> FeatureMaps:
    """The feature maps of `x`.

    Args:
        model: an opened model, or what `load` opens.
        x: an image, a folder of images, an array in the model's layout, a mapping by input name, or a sequence of
            those; see `onnxviz.inputs.samples`.
        layers: a selection; see `onnxviz.select.select`.
        ops: operators to choose among, such as `["Conv", "MaxPool"]`; None for the convolutions.
        at: "activation" for the layer's output as its source framework has it, "conv" for the operator's own.
        preprocess: what is done to images; `auto` asks the model's metadata.
        size: (height, width) of images where the model leaves it open.
        fit: "stretch" images to the size, or "crop" them.
        background: colour behind transparent pixels.
        provider: "cpu" or "cuda".
        memory: bytes that batches and kept maps may take, about; more is kept on disk.
        verify: whether the model also runs untapped, to say by how much the taps moved its outputs.
        threads: of onnxruntime; 0 for its own choice.
        errors: "raise" at the first input that fails, or "skip" it and list it in `failed`.
        progress: called with (samples done, samples in all).

    Returns:
        A mapping from layer name to an array (N, C, spatial…), in graph order.

    Raises:
        OnnxvizError: model, selection or input cannot be used.
    """
    opened = load(model)
    how = reading(opened, preprocess, size, fit, background)
    run = Run(opened, x, layers, ops, at, how, provider=provider, memory=memory, verify=verify, threads=threads)
    failed: list[tuple[str, str]] = []
    store = MapStore(min(memory // 4, KEPT_BYTES))
    labels: list[str] = []
    note = (lambda label, error: failed.append((label, str(error)))) if errors == "skip" else None
    for names, maps in run.batches(on_error=note, progress=progress):
        labels.extend(names)
        store.add(maps)
    if not labels:
        raise InputError(f"none of {len(failed)} inputs could be used; the first: {failed[0][1]}")
    return FeatureMaps(store.arrays(), run.origin(labels, failed))


def stream(model: Model | str, x: Given, **options: Any) -> Iterator[FeatureMaps]:
    """Feature maps batch by batch, for more inputs than one would keep; options and errors as for `capture`."""
    chosen = {"layers": "all", "ops": None, "at": "activation"} | options
    how = {key: chosen.pop(key) for key in ("preprocess", "size", "fit", "background") if key in chosen}
    progress, errors = chosen.pop("progress", None), chosen.pop("errors", "raise")
    opened = load(model)
    run = Run(opened, x, chosen.pop("layers"), chosen.pop("ops"), chosen.pop("at"), reading(opened, **how), **chosen)
    failed: list[tuple[str, str]] = []
    note = (lambda label, error: failed.append((label, str(error)))) if errors == "skip" else None
    for labels, maps in run.batches(on_error=note, progress=progress):
        yield FeatureMaps(maps, run.origin(labels, failed))


@dataclass(frozen=True)
class _Plan:
    """What one layer's tensor goes through after the run."""

    layer: Layer
    tap: Tap
    output: str
    scale: Array | None
    zero_point: Array | None


class Run:
    """One model, one set of taps, many samples; the machinery under `capture` and the command line.

    Args:
        model: the model.
        x, layers, ops, at: as for `capture`.
        how: how image files are read.
        provider, memory, verify, threads: as for `capture`.
    """

    def __init__(
        self,
        model: Model,
        x: Given,
        layers: str | int | Sequence[str | int],
        ops: Sequence[str] | None,
        at: TapKind,
        how: Reading,
        *,
        provider: str = "cpu",
        memory: int = DEFAULT_MEMORY,
        verify: bool = False,
        threads: int = 0,
    ) -> None:
        if at not in ("activation", "conv"):
            raise InputError(f"'{at}' is not a tap; there are activation and conv")
        if memory < 2**20:
            raise InputError(f"a memory budget of {memory:,} bytes is too small; give 1 MiB or more")
        self.model = model
        self.how = how
        self.at: TapKind = at
        self.memory = memory
        self.verify = verify
        self.samples = samples(model, x, how)
        self.layers = self._select(layers, ops)
        taps = [Tap(layer.taps[at], layer.graph_scope.name) for layer in self.layers]
        exposed = expose(model, taps, keep_outputs=verify)
        self.plans = [
            _plan(layer, tap, output) for layer, tap, output in zip(self.layers, taps, exposed.outputs, strict=True)
        ]
        self.sometimes = exposed.sometimes
        self.outputs = list(dict.fromkeys(exposed.outputs))
        self.session = Session(exposed.proto, model.folder, model.label, provider=provider, threads=threads)
        self.untapped = (
            Session(model.proto, model.folder, model.label, provider=provider, threads=threads) if verify else None
        )
        self.moved: dict[str, float] | None = {"max_abs_diff": 0.0, "max_rel_diff": 0.0} if verify else None

    @property
    def reads_images(self) -> bool:
        """Whether any sample is an image file, to which preprocessing applies."""
        return any(sample.path for sample in self.samples)

    def _select(self, selection: str | int | Sequence[str | int], ops: Sequence[str] | None) -> tuple[Layer, ...]:
        model = self.model
        there = model.layers if ops is None else model.layers_of(ops)
        if "block-ends" in str(selection):
            # Sizes that the model leaves open are those of the first sample.
            sizes = {name: array.shape for name, array in self.samples[0].read().items()}
            there = find_layers(model.scope, model.constants, Shapes(model.proto, sizes), ops)
        try:
            return select(selection, there, model.label)
        except SelectionError:
            named = {layer.name: layer for layer in model.all_layers}
            for part in str(selection).split(","):
                other = named.get(part.strip())
                if other is not None:
                    raise SelectionError(
                        f"'{other.name}' of {model.label} is a {other.op}, not among the operators chosen: "
                        f"give --ops {other.op} (several: --ops Conv,{other.op})"
                    ) from None
            raise

    def batches(
        self, on_error: Failed | None = None, progress: Progress | None = None
    ) -> Iterator[tuple[list[str], dict[str, Array]]]:
        """Yields (labels of the samples, {layer name: (N, C, spatial…)}) until all samples are done.

        Args:
            on_error: called with a sample's label and error; None to raise the first.
            progress: called with (samples done, samples in all).
        """
        total = len(self.samples)
        batch, done, size = [], 0, 1
        pending: list[tuple[str, Feeds]] = []
        for sample in self.samples:
            try:
                feeds = sample.read()
                self._check_inputs(feeds)
                pending.append((sample.label, feeds))
            except OnnxvizError as error:
                if on_error is None:
                    raise
                on_error(sample.label, error)
                done += 1
            full = len(pending) >= size or not sample.batchable
            alone = len({_shapes(feeds) for _, feeds in pending}) > 1
            if alone:  # pictures of different sizes do not share a batch
                batch, pending = pending[:-1], pending[-1:]
                yield from self._attempt(batch, on_error)
                done += len(batch)
            elif full and pending:
                batch, pending = pending, []
                for result in self._attempt(batch, on_error):
                    size = self._batch_size(sample, result[1], batch[0][1])
                    yield result
                done += len(batch)
            if progress is not None:
                progress(done, total)
        if pending:
            yield from self._attempt(pending, on_error)
            if progress is not None:
                progress(total, total)

    def _check_inputs(self, feeds: Feeds) -> None:
        missing = [name for name in self._needed() if name not in feeds]
        if missing:
            raise InputError(
                f"{self.model.label} also needs {', '.join(missing)} for these layers: give each as NAME=PATH"
            )

    def _needed(self) -> list[str]:
        needed = dict.fromkeys((*self.session.inputs, *(self.untapped.inputs if self.untapped else ())))
        given = {port.name for port in self.model.inputs}
        return [name for name in needed if name in given]

    def _attempt(
        self, batch: list[tuple[str, Feeds]], on_error: Failed | None
    ) -> Iterator[tuple[list[str], dict[str, Array]]]:
        """The batch's maps; where it fails, one sample at a time, so that one bad input does not take others along."""
        try:
            yield [label for label, _ in batch], self._run(batch)
        except OnnxvizError as error:
            if on_error is None:
                raise
            if len(batch) == 1:
                on_error(batch[0][0], error)
                return
            for item in batch:
                yield from self._attempt([item], on_error)

    def _run(self, batch: list[tuple[str, Feeds]]) -> dict[str, Array]:
        names = [name for name in self._needed() if name in batch[0][1]]
        feeds = {name: np.concatenate([feeds[name] for _, feeds in batch]) if len(batch) > 1 else batch[0][1][name]
                 for name in names}  # fmt: skip
        fixed = self._fixed_batch()
        filled = len(batch)
        each = sum(array[:1].nbytes for array in feeds.values() if array.ndim)
        if fixed is not None and fixed * each > self.memory:
            raise InputError(
                f"{self.model.label} takes batches of {fixed:,} only, {fixed * each:,} bytes; raise --memory"
            )
        if fixed is not None and all(len(array) < fixed for array in feeds.values()):
            feeds = {name: np.concatenate([a, np.repeat(a[-1:], fixed - len(a), 0)]) for name, a in feeds.items()}
        else:
            fixed = None
        values = dict(zip(self.outputs, self._run_checked(feeds), strict=True))
        maps = {}
        for plan in self.plans:
            array = values[plan.output]
            if fixed is not None:
                array = array[:filled]
            if plan.scale is not None:
                array = dequantize(array, plan.scale, plan.zero_point)
            maps[plan.layer.name] = array
        return maps

    def _run_checked(self, feeds: Feeds) -> list[Array]:
        """The taps' values; compares the final outputs with an untapped run where that was asked for."""
        if self.untapped is None or self.moved is None:
            try:
                return self.session.run(self.outputs, {n: a for n, a in feeds.items() if n in self.session.inputs})
            except InputError as error:
                if not self.reads_images or self._takes_one_size():
                    raise
                raise InputError(
                    f"{error}; images may need sides that the model's strides divide: try --size HxW"
                ) from None
        finals = [port.name for port in self.model.outputs if port.dtype]  # sequences and maps are not compared
        given = {name: array for name, array in feeds.items() if name in self.untapped.inputs}
        values = self.session.run([*self.outputs, *finals], given)
        expected = self.untapped.run(finals, given)
        for tapped, untapped in zip(values[len(self.outputs) :], expected, strict=True):
            absolute, relative = difference(tapped, untapped)
            self.moved["max_abs_diff"] = max(self.moved["max_abs_diff"], absolute)
            self.moved["max_rel_diff"] = max(self.moved["max_rel_diff"], relative)
        return values[: len(self.outputs)]

    def _takes_one_size(self) -> bool:
        return all(isinstance(dim, int) for port in self.model.inputs for dim in (port.shape or ())[1:])

    def _fixed_batch(self) -> int | None:
        shapes = [port.shape for port in self.model.inputs if port.shape]
        sizes = {shape[0] for shape in shapes}
        fixed = next(iter(sizes)) if len(sizes) == 1 else None
        return fixed if isinstance(fixed, int) and fixed > 1 else None

    def _batch_size(self, sample: Sample, maps: dict[str, Array], feeds: Feeds) -> int:
        """How many samples the next batch may have: by the fixed batch of the model, or by the byte budget."""
        shapes = [port.shape for port in self.model.inputs]
        first = {shape[0] if shape else None for shape in shapes}
        if not sample.batchable or len(self.samples) == 1:
            return 1
        if all(isinstance(size, int) for size in first):
            return self._fixed_batch() or 1
        count = next(iter(feeds.values())).shape[0]
        if any(array.ndim == 0 or array.shape[0] % max(count, 1) for array in maps.values()):
            return 1  # the batch is not the maps' first axis: they could not be told apart again
        # What is kept, what is fed, and about as much again for the tensors in between.
        bytes_each = sum(array.nbytes for array in (*maps.values(), *feeds.values())) / max(count, 1)
        between = self._largest_tensor(feeds) * 3
        return max(1, min(MAX_BATCH, int(self.memory / 2 / max(1.0, bytes_each + between))))

    def _largest_tensor(self, feeds: Feeds) -> int:
        """Bytes of the largest float tensor on the way for one sample, by shape inference; 0 if unknown."""
        if not hasattr(self, "_largest"):
            sizes = {name: (1, *array.shape[1:]) for name, array in feeds.items()}
            self._largest = Shapes(self.model.proto, sizes).largest * 4
        return self._largest

    def origin(self, labels: Sequence[str], failed: Sequence[tuple[str, str]] = ()) -> Origin:
        """What made the maps of these samples."""
        tapped = {
            plan.layer.name: Tapped(
                tensor=plan.tap.tensor,
                scope=plan.tap.scope,
                op=plan.layer.op,
                dequantized=plan.scale is not None,
                sometimes=plan.tap in self.sometimes,
            )
            for plan in self.plans
        }
        return Origin(
            model=self.model,
            provider=self.session.provider,
            at=self.at,
            how=self.how if self.reads_images else None,
            layers=tapped,
            samples=tuple(labels),
            failed=tuple(failed),
            moved=self.moved,
        )


def difference(a: Array, b: Array) -> tuple[float, float]:
    """Largest |a − b|, and that over the largest |b|; infinite where one is NaN and the other not."""
    if a.shape != b.shape:
        return math.inf, math.inf
    if a.dtype.kind not in "fc" or a.size == 0:
        return (0.0, 0.0) if np.array_equal(a, b) else (math.inf, math.inf)
    one, other = a.astype(np.float64), b.astype(np.float64)
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    if same.all():
        return 0.0, 0.0
    gap = np.where(same, 0.0, np.abs(one - other))
    absolute = float(np.inf if np.isnan(gap).any() else gap.max())
    largest = float(np.nanmax(np.abs(other)))
    return absolute, absolute / largest if largest > 0 else math.inf


def _plan(layer: Layer, tap: Tap, output: str) -> _Plan:
    found = quantization(layer.graph_scope, tap.tensor)
    scale = zero = None
    if found is not None:
        scale = layer.constant(found.scale)
        zero = layer.constant(found.zero_point)
    return _Plan(layer, tap, output, scale, zero)


def _shapes(feeds: Feeds) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape[1:] for array in feeds.values())
