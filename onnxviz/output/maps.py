"""Feature maps on disk: pictures by layer and input, arrays, and a manifest that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.files import check_archive, make_folder, safe_name, write_manifest
from onnxviz.inputs.failures import nothing_usable
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import Feeds
from onnxviz.maps.feature_maps import FeatureMaps
from onnxviz.maps.folded import MapsBatch
from onnxviz.maps.map_store import MapStore
from onnxviz.maps.tapped_run import TappedRun
from onnxviz.model.axes.arrangement import Entries
from onnxviz.model.layer import Layer
from onnxviz.output.maps_input import MapsInput
from onnxviz.output.picture_options import PictureOptions
from onnxviz.output.shown_inputs import ShownInputs
from onnxviz.plots import Photo, are_bars, plot_maps, refuse_look_of_bars


@dataclass(frozen=True)
class Look:
    """How maps are drawn; see `onnxviz.plots.plot_maps`. `sort` may also be "weight-norm"."""

    first: int | None = 64
    channels: Sequence[int] | None = None
    sort: str | None = None
    style: str | None = None
    scale: str | None = None
    cmap: str | None = None

    @property
    def by_weights(self) -> bool:
        """Whether channels are in the order of their filters, which is the same for all inputs."""
        return self.sort == "weight-norm"

    @property
    def measure(self) -> Any:
        """By what of the maps channels are sorted; None where it is not by the maps."""
        return None if self.by_weights else self.sort


@dataclass(frozen=True)
class _Drawing:
    """A picture to be drawn: of which layer, for which input (its arrays, and a row of them), where to, beside what."""

    layer: Layer
    label: str
    fed: tuple[Feeds, int]
    path: Path
    photo: Photo


class MapsWriter:
    """Draws what a run captures, batch by batch, and keeps nothing that was drawn.

    Args:
        run: what captures.
        folder: for pictures and `manifest.json`; None to draw nothing.
        look: how maps are drawn.
        pictures: how they are written.
        save: an `.npz` for the arrays; None not to keep them.
        shown: the photos and answers beside the maps; None for maps alone.

    Attributes:
        way: how several inputs are drawn, where that is not each alone.
    """

    way: str | None = None

    def __init__(
        self,
        run: TappedRun,
        folder: Path | None,
        look: Look,
        pictures: PictureOptions,
        save: Path | None = None,
        shown: ShownInputs | None = None,
    ) -> None:
        check_archive(save)
        self.run = run
        self.folder = folder
        self.look = look
        self.options = pictures
        self.shown = shown
        self._photos = {sample.label: sample.photo for sample in run.samples}
        self.save = save
        self.store = MapStore(run.options.memory, run.axes) if save is not None else None
        self.labels: list[str] = []
        self.pictures: list[dict[str, Any]] = []
        self._input = MapsInput(run)
        self._rows: dict[str, list[int]] = {}
        self._parts: dict[str, list[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open here."""

    def add(self, batch: MapsBatch) -> None:
        """Draws one batch, and keeps its arrays if they are to be saved."""
        if self.store is not None:
            self.store.add(batch.maps, len(self.labels), len(batch.labels), batch.entries)
        for name, entries in batch.entries.items():
            self._rows.setdefault(name, []).extend(len(self.labels) + sample for sample in entries.samples)
            self._parts.setdefault(name, []).extend(entries.labels)
        if not self.labels and self.folder is not None:
            self._refuse_look(batch.maps)
        for position, label in enumerate(batch.labels):
            self.labels.append(label)
            if self.folder is not None:
                photo = Photo() if self.shown is None else self.shown.of(batch, position)
                self._draw(position, batch, photo)

    def _refuse_look(self, maps: Mapping[str, NDArray[Any]]) -> None:
        """Refuses options that would change no picture, before there is one: those of maps where all are numbers."""
        axes = self.run.axes
        shown = [one_row(maps[name], 0, axes[name], several_rows=False)[0] for name in axes if maps[name].size]
        if shown and all(map(are_bars, shown)):
            look = {"style": self.look.style, "scale": self.look.scale, "cmap": self.look.cmap}
            refuse_look_of_bars(**look, photos=self.way)

    def _draw(self, position: int, batch: MapsBatch, photo: Photo) -> None:
        """Draws what was captured of the label at that position of a batch, the last of `labels`."""
        assert self.folder is not None
        label, number = batch.labels[position], len(self.labels) - 1
        # Rows of an array have labels of their own.
        alone = len(self.run.samples) == 1 and self.run.samples[0].label == label
        folder = self.folder if alone else self.folder / safe_name(number, label)
        _, feeds, row = batch.source(position)
        for layer in self.run.layers:
            array = batch.maps[layer.name]
            stem = safe_name(layer.index, layer.name)
            if array.size == 0:
                self._note_missing(layer, label)
                continue
            entries = batch.entries.get(layer.name)
            drawing = _Drawing(layer, label, (feeds, row), folder / f"{stem}.{self.options.format}", photo)
            if entries is None:
                several_rows = len(batch.labels) == 1
                shown, note = one_row(array, position, self.run.axes[layer.name], several_rows=several_rows)
                self._save(drawing, shown, note)
                continue
            own = entries.picked([place for place, sample in enumerate(entries.samples) if sample == position])
            parts = array[[place for place, sample in enumerate(entries.samples) if sample == position]]
            note = f"{own.labels[0]}, first of {len(own.labels)}" if len(own.labels) > 1 else own.labels[0]
            self._save(drawing, parts[0], note)
            if len(own.labels) > 1 and parts.ndim < 5:
                path = folder / f"{stem}-{own.plural}.{self.options.format}"
                rows = np.moveaxis(parts, 0, 1)
                rows = rows.reshape(rows.shape[:2]) if parts[0].size == len(parts[0]) else rows
                self._save(replace(drawing, path=path), rows, f"all {own.plural}", own)

    def _note_missing(self, layer: Layer, label: str) -> None:
        """Notes a layer that an input has no maps of."""
        entry = {"layer": layer.name, "index": layer.index, "input": label}
        self.pictures.append({**entry, "file": None, "why": "its branch of the model did not run"})

    def _save(self, drawing: _Drawing, shown: NDArray[Any], note: str, parts: Entries | None = None) -> None:
        """Draws maps (C, spatial…) or, of several views, frames or branches, (C, parts, spatial…)."""
        layer, photo = drawing.layer, drawing.photo
        bars = are_bars(shown)  # beside other layers' maps, whose look it is
        label = drawing.label if photo.pixels is None else ""
        figure = plot_maps(
            shown,
            spatial=shown.ndim - 1,
            first=self.look.first,
            channels=self.channels(layer, shown),
            sort=self.look.measure,
            style=None if bars else "grid" if parts else self.look.style,  # type: ignore[arg-type]
            scale=None if bars else self.look.scale,  # type: ignore[arg-type]
            cmap=None if bars else self.look.cmap,
            parts=parts.labels if parts else None,
            behind=self._input.of(*drawing.fed, shown.ndim - 1) if parts is None and not bars else None,
            title=layer.name,
            subtitle=self.subtitle(", ".join(filter(None, (label, note)))),
            photo=photo.pixels,
            photo_name=photo.name if photo.pixels is not None else None,
            answer=photo.answer,
        )
        self.write(figure, drawing.path, layer, [drawing.label], photo.answer)

    def subtitle(self, words: str = "") -> str:
        """What stands before a figure's own facts: words, the order by weights, and what was assumed of the images."""
        order = "largest weight norm first" if self.look.by_weights else ""
        mark = self.run.images.expected.mark if self.run.reads_images else ""
        return " · ".join(filter(None, (words, order, mark)))

    def write(self, figure: Any, path: Path, layer: Layer, labels: Sequence[str], answer: str = "") -> None:
        """Writes a figure of a layer for these inputs, and notes it."""
        make_folder(path.parent)  # not before something can be drawn
        self.options.save(figure, path, self.record(labels))
        self.note(path, layer, labels, answer)

    def record(self, labels: Sequence[str]) -> dict[str, Any]:
        """What the metadata of a picture of these inputs say."""
        return Provenance(self.run.model).picture_record([self._photos.get(label, "") for label in labels])

    def note(self, path: Path, layer: Layer, labels: Sequence[str], answer: str = "") -> None:
        """Notes a picture of a layer for these inputs."""
        assert self.folder is not None
        entry = {"layer": layer.name, "index": layer.index}
        whose = {"input": labels[0], "answer": answer or None} if len(labels) == 1 else {"inputs": list(labels)}
        self.pictures.append({**entry, **whose, "file": path})

    def channels(self, layer: Layer, maps: NDArray[Any]) -> Sequence[int] | None:
        """The maps that were asked for, by number or by the Euclidean norm of their filters."""
        if not self.look.by_weights:
            return self.look.channels
        norms = np.linalg.norm(layer.weight.astype(np.float64).reshape(layer.weight.shape[0], -1), axis=1)
        if maps.shape[0] != norms.size:
            raise InputError(f"'{layer.name}' has {norms.size} filters but {maps.shape[0]} maps: sort by mean instead")
        allowed = self.look.channels if self.look.channels is not None else range(norms.size)
        order = sorted(allowed, key=lambda channel: (-norms[channel] if channel < norms.size else 0, channel))
        return order[: self.look.first]

    def finish(self) -> None:
        """Draws what is drawn of all inputs, after the last; here nothing."""

    def close(self, failed: Sequence[tuple[str, str]]) -> list[Path]:
        """Writes the manifest and the arrays; the files that were written."""
        if not self.labels:
            raise nothing_usable(failed)
        if self.folder is not None:
            self.finish()
        written = []
        rows = self.store.rows if self.store is not None else self._rows
        origin = self.run.origin(self.labels, failed, rows, self._parts)
        if self.folder is not None:
            written = [entry["file"] for entry in self.pictures if entry["file"]]
            manifest = {**origin.manifest(), "look": asdict(self.look), **self.answers, "pictures": self.pictures}
            written.append(write_manifest(self.folder, "maps", written, manifest))
        if self.store is not None and self.save is not None:
            written.extend(FeatureMaps(self.store.arrays(), origin).write(self.save))
        return written

    @property
    def answers(self) -> dict[str, Any]:
        """What the model says, as JSON types; nothing where it was not drawn."""
        return self.shown.as_dict() if self.shown is not None and self.folder is not None else {}

    def document(self, failed: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """What `--json` prints, but for the list of files."""
        model = self.run.model
        return {
            "model": model.label,
            "layers": [layer.name for layer in self.run.layers],
            "inputs": self.labels,
            "failed": [{"input": label, "error": error} for label, error in failed],
            "preprocessing": self.run.images.as_dict() if self.run.reads_images else None,
            **Provenance(model, self.run.options).placement,
            **self.answers,
            "pictures": self.pictures,
            "not_finite": [found.as_dict() for found in self.run.not_finite],
            "verification": self.run.observer_effect,
        }


def one_row(array: NDArray[Any], row: int, axis: int, *, several_rows: bool) -> tuple[NDArray[Any], str]:
    """The maps of one sample, (C, spatial…), and what of them that is where there is more."""
    turns = array.shape[:axis]
    rows = array.shape[axis] if array.ndim > axis else 1
    shown = array.take(row, axis=axis) if array.ndim > axis else array
    for _ in turns:
        shown = shown[-1]  # the last turn of a loop
    notes = [f"last of {count} turns" for count in turns]
    if rows > 1 and several_rows:
        notes.append(f"row 1 of {rows}")
    return shown, ", ".join(notes)
