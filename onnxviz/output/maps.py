"""Feature maps on disk: pictures by layer and input, arrays, and a manifest that names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.files import check_archive, make_folder, safe_name, write_manifest
from onnxviz.inputs.failures import nothing_usable
from onnxviz.inputs.provenance import Provenance
from onnxviz.maps.feature_maps import FeatureMaps
from onnxviz.maps.folded import MapsBatch
from onnxviz.maps.map_store import MapStore
from onnxviz.maps.tapped_run import TappedRun
from onnxviz.model.axes.arrangement import Entries
from onnxviz.model.layer import Layer
from onnxviz.output.picture_options import PictureOptions
from onnxviz.plots import are_bars, plot_maps, refuse_look_of_bars


@dataclass(frozen=True)
class Look:
    """How maps are drawn; see `onnxviz.plots.plot_maps`. `sort` may also be "weight-norm"."""

    first: int | None = 64
    channels: Sequence[int] | None = None
    sort: str | None = None
    style: str | None = None
    scale: str | None = None
    cmap: str | None = None


class MapsWriter:
    """Draws what a run captures, batch by batch, and keeps nothing that was drawn.

    Args:
        run: what captures.
        folder: for pictures and `manifest.json`; None to draw nothing.
        look: how maps are drawn.
        pictures: how they are written.
        save: an `.npz` for the arrays; None not to keep them.
    """

    def __init__(
        self, run: TappedRun, folder: Path | None, look: Look, pictures: PictureOptions, save: Path | None
    ) -> None:
        check_archive(save)
        self.run = run
        self.folder = folder
        self.look = look
        self.options = pictures
        self._photos = {sample.label: sample.photo for sample in run.samples}
        self.save = save
        self.store = MapStore(run.options.memory, run.axes) if save is not None else None
        self.labels: list[str] = []
        self.pictures: list[dict[str, Any]] = []
        self._rows: dict[str, list[int]] = {}
        self._parts: dict[str, list[str]] = {}

    def add(self, batch: MapsBatch) -> None:
        """Draws one batch, and keeps its arrays if they are to be saved."""
        if self.store is not None:
            self.store.add(batch.maps, len(self.labels), len(batch.labels), batch.entries)
        for name, entries in batch.entries.items():
            self._rows.setdefault(name, []).extend(len(self.labels) + sample for sample in entries.samples)
            self._parts.setdefault(name, []).extend(entries.labels)
        if not self.labels and self.folder is not None:
            self._refuse_look(batch.maps)
        given = [sample.label for sample in self.run.samples]
        for position, label in enumerate(batch.labels):
            number = len(self.labels)
            self.labels.append(label)
            if self.folder is not None:
                alone = given == [label]  # rows of an array have labels of their own
                folder = self.folder if alone else self.folder / safe_name(number, label)
                self._draw(label, position, batch, folder)

    def _refuse_look(self, maps: Mapping[str, NDArray[Any]]) -> None:
        """Refuses options that would change no picture, before there is one: those of maps where all are numbers."""
        axes = self.run.axes
        shown = [_one_row(maps[name], 0, axes[name], several_rows=False)[0] for name in axes if maps[name].size]
        if shown and all(map(are_bars, shown)):
            refuse_look_of_bars(style=self.look.style, scale=self.look.scale, cmap=self.look.cmap)

    def _draw(self, label: str, row: int, batch: MapsBatch, folder: Path) -> None:
        for layer in self.run.layers:
            array = batch.maps[layer.name]
            stem = safe_name(layer.index, layer.name)
            if array.size == 0:
                entry = {"layer": layer.name, "index": layer.index, "input": label}
                self.pictures.append({**entry, "file": None, "why": "its branch of the model did not run"})
                continue
            entries = batch.entries.get(layer.name)
            if entries is None:
                shown, note = _one_row(array, row, self.run.axes[layer.name], several_rows=len(batch.labels) == 1)
                self._save(layer, label, folder / f"{stem}.{self.options.format}", shown, note)
                continue
            own = entries.picked([place for place, sample in enumerate(entries.samples) if sample == row])
            parts = array[[place for place, sample in enumerate(entries.samples) if sample == row]]
            note = f"{own.labels[0]}, first of {len(own.labels)}" if len(own.labels) > 1 else own.labels[0]
            self._save(layer, label, folder / f"{stem}.{self.options.format}", parts[0], note)
            if len(own.labels) > 1 and parts.ndim < 5:
                path = folder / f"{stem}-{own.plural}.{self.options.format}"
                rows = np.moveaxis(parts, 0, 1)
                rows = rows.reshape(rows.shape[:2]) if parts[0].size == len(parts[0]) else rows
                self._save(layer, label, path, rows, f"all {own.plural}", own)

    def _save(
        self, layer: Layer, label: str, path: Path, shown: NDArray[Any], note: str, parts: Entries | None = None
    ) -> None:
        """Draws maps (C, spatial…) or, of several views, frames or branches, (C, parts, spatial…)."""
        assert self.folder is not None
        mark = self.run.images.expected.mark if self.run.reads_images else ""
        bars = are_bars(shown)  # beside other layers' maps, whose look it is
        figure = plot_maps(
            shown,
            spatial=shown.ndim - 1,
            first=self.look.first,
            channels=self._channels(layer, shown),
            sort=None if self.look.sort == "weight-norm" else self.look.sort,  # type: ignore[arg-type]
            style=None if bars else "grid" if parts else self.look.style,  # type: ignore[arg-type]
            scale=None if bars else self.look.scale,  # type: ignore[arg-type]
            cmap=None if bars else self.look.cmap,
            parts=parts.labels if parts else None,
            title=layer.name,
            subtitle=" · ".join(filter(None, (f"{label}, {note}" if note else label, mark))),
        )
        make_folder(path.parent)  # not before something can be drawn
        record = Provenance(self.run.model).picture_record([self._photos.get(label, "")])
        self.options.save(figure, path, record)
        file = path.relative_to(self.folder).as_posix()
        self.pictures.append({"layer": layer.name, "index": layer.index, "input": label, "file": file})

    def _channels(self, layer: Layer, maps: NDArray[Any]) -> Sequence[int] | None:
        """The maps that were asked for, by number or by the Euclidean norm of their filters."""
        if self.look.sort != "weight-norm":
            return self.look.channels
        norms = np.linalg.norm(layer.weight.astype(np.float64).reshape(layer.weight.shape[0], -1), axis=1)
        if maps.shape[0] != norms.size:
            raise InputError(f"'{layer.name}' has {norms.size} filters but {maps.shape[0]} maps: sort by mean instead")
        allowed = self.look.channels if self.look.channels is not None else range(norms.size)
        order = sorted(allowed, key=lambda channel: (-norms[channel] if channel < norms.size else 0, channel))
        return order[: self.look.first]

    def close(self, failed: Sequence[tuple[str, str]]) -> list[Path]:
        """Writes the manifest and the arrays; the files that were written."""
        if not self.labels:
            raise nothing_usable(failed)
        written = []
        rows = self.store.rows if self.store is not None else self._rows
        origin = self.run.origin(self.labels, failed, rows, self._parts)
        if self.folder is not None:
            written = [self.folder / entry["file"] for entry in self.pictures if entry["file"]]
            manifest = {**origin.manifest(), "look": asdict(self.look), "pictures": self.pictures}
            written.append(write_manifest(self.folder, "maps", written, manifest))
        if self.store is not None and self.save is not None:
            written.extend(FeatureMaps(self.store.arrays(), origin).write(self.save))
        return written

    def document(self, failed: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """What `--json` prints, but for the list of files."""
        model = self.run.model
        folder = self.folder or Path()
        return {
            "model": model.label,
            "layers": [layer.name for layer in self.run.layers],
            "inputs": self.labels,
            "failed": [{"input": label, "error": error} for label, error in failed],
            "preprocessing": self.run.images.as_dict() if self.run.reads_images else None,
            **Provenance(model, self.run.options).placement,
            "pictures": [
                {**entry, "file": str(folder / entry["file"]) if entry["file"] else None} for entry in self.pictures
            ],
            "not_finite": [found.as_dict() for found in self.run.not_finite],
            "verification": self.run.observer_effect,
        }


def _one_row(array: NDArray[Any], row: int, axis: int, *, several_rows: bool) -> tuple[NDArray[Any], str]:
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
