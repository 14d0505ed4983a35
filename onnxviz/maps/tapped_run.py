"""Batches of samples through a model whose layers are tapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from onnxviz.errors import InputError, OnnxvizError
from onnxviz.inputs.failures import Failed, Progress
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import Feeds, ImageOptions, InputLike, Sample
from onnxviz.maps.finite import FiniteWatch, NotFinite
from onnxviz.maps.folded import FoldedBatches, MapsBatch
from onnxviz.maps.origin import MapsOrigin, TapOrigin
from onnxviz.maps.tapped_model import LayerChoice, TappedModel
from onnxviz.messages import option
from onnxviz.model.axes.arrangement import Entries
from onnxviz.model.graph.constants import dequantize
from onnxviz.model.model import Model
from onnxviz.runtime.difference import difference
from onnxviz.runtime.session import RunOptions, Session


class TappedRun(TappedModel):
    """One model, one set of taps, many samples.

    Args:
        model: the model.
        x: as for `capture`.
        choice: which layers, and where they are tapped.
        images: how image files are read.
        options: how the model is run.
        verify: as for `capture`.
    """

    def __init__(
        self,
        model: Model,
        x: InputLike,
        choice: LayerChoice,
        images: ImageOptions,
        options: RunOptions,
        *,
        verify: bool = False,
    ) -> None:
        super().__init__(model, x, choice, images, options, keep_outputs=verify)
        self.session = Session.of(model, self.proto, options)
        self.untapped = Session.of(model, options=options) if verify else None
        # By the form of a sample: whether it gives the same in a batch as alone.
        self._independent: dict[tuple[tuple[int, ...], ...], bool] = {}
        self._alone = False
        self.watch = FiniteWatch()
        self._largest: tuple[tuple[tuple[int, ...], ...], int] = ((), 0)
        self._folded = FoldedBatches(model, self.batching, options)
        self.observer_effect: dict[str, float] | None = {"max_abs_diff": 0.0, "max_rel_diff": 0.0} if verify else None

    def batches(self, on_error: Failed | None = None, progress: Progress | None = None) -> Iterator[MapsBatch]:
        """Runs all samples, batch by batch.

        Args:
            on_error: called with a sample's label and error; None to raise the first.
            progress: called with (samples done, samples in all).

        Yields:
            Labels and maps. Along the layer's sample axis (`TapPlan.axis`) the maps have one entry for each label; or
            none at all, in a branch that did not run; or what `MapsBatch.entries` says; or any number, where there is
            one label.
        """
        pending: list[tuple[Sample, Feeds]] = []
        form: tuple[tuple[int, ...], ...] = ()
        done, size = 0, 1
        for sample in self.samples:
            try:
                feeds = sample.read()
                self.check_inputs(feeds)
            except OnnxvizError as error:
                if on_error is None:
                    raise
                on_error(sample.label, error)
                done += 1
                continue
            if pending and (self._form(feeds) != form or not sample.batchable):
                yield from self._attempt(pending, on_error)
                done, pending = done + len(pending), []
            if self._form(feeds) != form:
                form, size = self._form(feeds), 1  # what one takes is measured anew for each size
            pending.append((sample, feeds))
            if len(pending) >= size or not sample.batchable:
                last: tuple[int, dict[str, NDArray[Any]]] = 1, {}
                for batch in self._attempt(pending, on_error):
                    last = len(batch.labels), batch.maps
                    yield batch
                done, pending = done + len(pending), []
                left = len(self.samples) - done
                size = self._batch_size(feeds, *last) if sample.batchable and left > 1 else 1
            if progress is not None:
                progress(done, len(self.samples))
        if pending:
            yield from self._attempt(pending, on_error)
        if progress is not None:
            progress(len(self.samples), len(self.samples))

    def _attempt(self, batch: list[tuple[Sample, Feeds]], on_error: Failed | None) -> Iterator[MapsBatch]:
        """The batch's maps; where it fails, one sample at a time, so that one bad input does not take others along."""
        try:
            result = self._run(batch)
        except _NotRowsError:
            self._alone = True
        except OnnxvizError as error:
            if on_error is None:
                raise
            if len(batch) == 1:
                on_error(batch[0][0].label, error)
                return
        else:
            yield result
            return
        for item in batch:
            yield from self._attempt([item], on_error)

    def _run(self, batch: list[tuple[Sample, Feeds]]) -> MapsBatch:
        names = [port.name for port in self.needed]
        feeds = self.batching.joined([{name: feeds[name] for name in names} for _, feeds in batch])
        rows, padded = self.batching.count(feeds), self.batching.padded(feeds)
        found = self._maps(self._run_checked(padded))
        maps = {plan.layer.name: self.batching.unpadded(found[plan.layer.name], rows, plan.axis) for plan in self.plans}
        labels = [sample.label for sample, _ in batch]
        if len(batch) > 1 and not self._are_rows(maps, len(batch)):
            raise _NotRowsError
        tensors = {plan.layer.name: plan.tap.tensor for plan in self.plans if not plan.tap.scope}
        entries = self._folded.entries({name: (tensor, found[name]) for name, tensor in tensors.items()}, padded)
        for name, known in entries.items():  # those of the copies that fill a batch are left out
            own = [place for place, sample in enumerate(known.samples) if sample < rows]
            maps[name], entries[name] = found[name].take(own, 0), known.picked(own)
        others = {name: array for name, array in maps.items() if name not in entries}
        if len(batch) == 1 and rows > 1 and self._are_rows(others, rows):
            labels = [f"{labels[0]}[{row}]" for row in range(rows)]
        self._alone |= not self._are_rows(maps, rows)
        self._look(feeds, maps, labels, entries)
        return MapsBatch(labels, maps, entries, batch)

    def _look(
        self, feeds: Feeds, maps: Mapping[str, NDArray[Any]], labels: Sequence[str], entries: Mapping[str, Entries]
    ) -> None:
        """Notes where values are not finite."""
        for name, array in feeds.items():
            self.watch.see("input", name, array, labels)
        for plan in self.plans:
            name = plan.layer.name
            if name not in entries:
                self.watch.see("layer", name, maps[name], labels, plan.axis)
                continue
            whose = entries[name].samples
            for sample, label in enumerate(labels):
                own = [place for place, one in enumerate(whose) if one == sample]
                self.watch.see("layer", name, maps[name][own], [label])

    @property
    def not_finite(self) -> tuple[NotFinite, ...]:
        """What of the samples so far was not finite, from where it begins."""
        return self.watch.found([layer.name for layer in self.layers])

    def _maps(self, values: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The maps by layer, dequantised where they are quantised; `values` as `outputs`."""
        there = dict(zip(self.outputs, values, strict=True))
        return {
            plan.layer.name: there[plan.output]
            if plan.scale is None
            else dequantize(there[plan.output], plan.scale, plan.zero_point)
            for plan in self.plans
        }

    def _are_rows(self, maps: Mapping[str, NDArray[Any]], rows: int) -> bool:
        """Whether each layer's maps have one entry for each of that many samples."""
        arrays = [(maps[plan.layer.name], plan.axis) for plan in self.plans if plan.layer.name in maps]
        return all(not array.size or (array.ndim > axis and array.shape[axis] == rows) for array, axis in arrays)

    def _run_checked(self, feeds: Feeds) -> list[NDArray[Any]]:
        """The taps' values; compares the final outputs with an untapped run where that was asked for."""
        tapped = {name: array for name, array in feeds.items() if name in self.session.inputs}
        if self.untapped is None or self.observer_effect is None:
            return self._run_explained(tapped)
        # Sequences and maps are not compared.
        finals = [port.name for port in self.model.outputs if port.dtype]
        values = self.session.run([*self.outputs, *finals], tapped)
        if finals:
            given = {name: array for name, array in feeds.items() if name in self.untapped.inputs}
            expected = self.untapped.run(finals, given)
            for one, other in zip(values[len(self.outputs) :], expected, strict=True):
                absolute, relative = difference(one, other)
                self.observer_effect["max_abs_diff"] = max(self.observer_effect["max_abs_diff"], absolute)
                self.observer_effect["max_rel_diff"] = max(self.observer_effect["max_rel_diff"], relative)
        return values[: len(self.outputs)]

    def _run_explained(self, feeds: Feeds) -> list[NDArray[Any]]:
        try:
            return self.session.run(self.outputs, feeds)
        except InputError as error:
            one_size = all(isinstance(dim, int) for port in self.needed for dim in (port.shape or ())[1:])
            if not self.reads_images or one_size:
                raise
            hint = f"images may need sides that the model's strides divide: try {option('size', 'HxW')}"
            raise InputError(f"{error}; {hint}") from None

    def _batch_size(self, feeds: Feeds, samples: int, maps: Mapping[str, NDArray[Any]]) -> int:
        """How many samples the next batch may have: the fixed batch of the model, or by the byte budget.

        Args:
            feeds: the last batch's last sample.
            samples: how many it had.
            maps: its maps; none where it failed.
        """
        if self._alone or not maps:
            return 1
        each = sum(array.nbytes for array in maps.values()) / samples
        fed = sum(array.nbytes for array in feeds.values())
        # What is kept, what is fed, and about as much again for the tensors in between.
        size = self.batching.size(each + fed + 3 * self._largest_tensor(feeds))
        return size if size > 1 and self._is_independent(feeds, maps) else 1

    def _is_independent(self, feeds: Feeds, maps: Mapping[str, NDArray[Any]]) -> bool:
        """Whether such a sample has the same maps in a batch as alone; tried once for each form, after its first."""
        form = self._form(feeds)
        if form not in self._independent:
            alone = [(maps[plan.layer.name], plan.axis) for plan in self.plans]
            read = {name: feeds[name] for name in self.session.inputs}

            def run(pair: Feeds) -> list[NDArray[Any]]:
                found = self._maps(self.session.run(self.outputs, pair))
                return [found[plan.layer.name] for plan in self.plans]

            self._independent[form] = self.batching.independent(self.proto, read, alone, run)
        return self._independent[form]

    def _form(self, feeds: Feeds) -> tuple[tuple[int, ...], ...]:
        """The shapes of one sample's arrays without the batch axis."""
        return tuple(a.shape[1:] if name in self.batching.inputs else a.shape for name, a in feeds.items())

    def _largest_tensor(self, feeds: Feeds) -> int:
        """Bytes of the largest float tensor on the way for such a sample, by shape inference; 0 if unknown."""
        form = self._form(feeds)
        if self._largest[0] != form:
            sizes = {name: array.shape for name, array in feeds.items()}
            self._largest = (form, self.model.shapes_at(sizes).largest * 4)
        return self._largest[1]

    def origin(
        self,
        labels: Sequence[str],
        failed: Sequence[tuple[str, str]] = (),
        rows: Mapping[str, Sequence[int]] | None = None,
        parts: Mapping[str, Sequence[str]] | None = None,
    ) -> MapsOrigin:
        """What made the maps of these samples.

        Args:
            labels: of the samples.
            failed: (label, error) of the others.
            rows: of each layer's entries, which sample each belongs to.
            parts: of each layer's entries, which view, frame or branch each is, where there are several.
        """
        in_order = list(range(len(labels)))
        tapped = {}
        for plan in self.plans:
            mine = list((rows or {}).get(plan.layer.name, in_order))
            tapped[plan.layer.name] = TapOrigin(
                tensor=plan.tap.tensor,
                scope=plan.tap.scope,
                op=plan.layer.op,
                what=plan.layer.tapped(self.at),
                dequantized=plan.scale is not None,
                conditional=plan.tap in self.conditional,
                sample_axis=plan.axis,
                rows=None if mine == in_order else tuple(mine),
                parts=tuple(parts[plan.layer.name]) if parts and plan.layer.name in parts else None,
            )
        return MapsOrigin(
            provenance=Provenance(self.model, self.options, self.images if self.reads_images else None),
            at=self.at,
            layers=tapped,
            samples=tuple(labels),
            failed=tuple(failed),
            observer_effect=None if self.observer_effect is None else dict(self.observer_effect),
            not_finite=self.not_finite,
        )

    @property
    def axes(self) -> dict[str, int]:
        """Which axis of each layer's maps counts the samples."""
        return {plan.layer.name: plan.axis for plan in self.plans}


class _NotRowsError(Exception):
    """A batch's maps do not have one entry for each of its samples."""
