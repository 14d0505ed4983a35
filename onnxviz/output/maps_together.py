"""Feature maps of several inputs in one picture: side by side, or as contact sheets of whole folders."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, cast

from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.files import make_folder, safe_name
from onnxviz.maps.folded import MapsBatch
from onnxviz.maps.map_store import MapStore
from onnxviz.messages import for_reader
from onnxviz.model.layer import Layer
from onnxviz.output.maps import MapsWriter, one_row
from onnxviz.plots import (
    MOST_TOGETHER,
    ROWS_ON_A_PAGE,
    ContactRow,
    Photo,
    plot_contact_sheet,
    plot_maps_together,
)


class TogetherWriter(MapsWriter):
    """Draws, when all inputs have run, one picture of each layer: a column an input, a row a channel.

    Raises:
        InputError: there are more inputs than fit side by side.
    """

    way = "together"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        count = len(self.run.samples)
        if count > MOST_TOGETHER:
            raise InputError(
                f"{count:,} inputs do not fit side by side: give up to {MOST_TOGETHER}, or "
                f"{for_reader('--photos contact', 'plot each alone')}"
            )
        self._kept = MapStore(self.run.options.memory, {layer.name: 0 for layer in self.run.layers})
        self._columns: list[Photo] = []

    def _draw(self, position: int, batch: MapsBatch, photo: Photo) -> None:
        maps = {layer.name: maps_of(batch, layer, position, self.run.axes[layer.name]) for layer in self.run.layers}
        self._kept.add({name: array[None] for name, array in maps.items()}, len(self._columns), 1)
        self._columns.append(photo)

    def finish(self) -> None:
        """Draws a picture of each layer."""
        assert self.folder is not None
        arrays = self._kept.arrays()
        for layer in self.run.layers:
            name, array = layer.name, arrays[layer.name]
            figure = plot_maps_together(
                array,
                photos=[photo.pixels for photo in self._columns],
                photo_names=[photo.name or label for photo, label in zip(self._columns, self.labels, strict=True)],
                answers=[photo.answer for photo in self._columns],
                first=self.look.first,
                channels=self.channels(layer, array[0]),
                sort=self.look.measure,
                scale=self.look.scale,  # type: ignore[arg-type]
                cmap=self.look.cmap,
                title=name,
                subtitle=self.subtitle(),
            )
            path = self.folder / f"{safe_name(layer.index, name)}-together.{self.options.format}"
            self.write(figure, path, layer, self.labels)


class ContactSheetWriter(MapsWriter):
    """Draws a row of each input with its strongest channels, page by page, and keeps no more than a page.

    A context: in PDF all pages of a layer are one file, which appears when the block ends well.

    Raises:
        InputError: the order of channels is one of weights, which is the same for all inputs.
    """

    way = "contact"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.look.by_weights:
            raise InputError(
                "a contact sheet shows the channels that are strongest on each input: sort by mean, variance or norm"
            )
        self._drawn: dict[str, list[ContactRow]] = {layer.name: [] for layer in self.run.layers}
        self._waiting: list[str] = []
        self._pages = 0
        self._stack = ExitStack()
        self._files: dict[str, Callable[[Any], None]] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _draw(self, position: int, batch: MapsBatch, photo: Photo) -> None:
        label = batch.labels[position]
        photo = photo if photo.name else Photo(photo.pixels, label, photo.answer)
        for layer in self.run.layers:
            row = ContactRow.of(
                maps_of(batch, layer, position, self.run.axes[layer.name]),
                photo,
                first=self.look.first or 8,
                channels=self.look.channels,
                by=cast("Literal['mean', 'variance', 'norm']", self.look.sort or "mean"),
            )
            self._drawn[layer.name].append(row)
        self._waiting.append(label)
        if len(self._waiting) == ROWS_ON_A_PAGE:
            self._draw_page()

    def _draw_page(self) -> None:
        """Draws the rows that wait, of each layer a page."""
        self._pages += 1
        last = len(self.labels)
        for layer in self.run.layers:
            words = f"inputs {last - len(self._waiting) + 1} to {last} of {len(self.run.samples)}"
            figure = plot_contact_sheet(
                self._drawn[layer.name], cmap=self.look.cmap, title=layer.name, subtitle=self.subtitle(words)
            )
            self._write_page(figure, layer)
            self._drawn[layer.name].clear()
        self._waiting.clear()
        gc.collect()  # figures refer to themselves: without this dozens of pages wait for the collector's own time

    def _write_page(self, figure: Any, layer: Layer) -> None:
        assert self.folder is not None
        stem = f"{safe_name(layer.index, layer.name)}-contact"
        if self.options.format != "pdf":
            path = self.folder / f"{stem}-{self._pages}.{self.options.format}"
            self.write(figure, path, layer, self._waiting)
            return
        if layer.name not in self._files:
            path = make_folder(self.folder) / f"{stem}.pdf"
            pages = self.options.pages(path, self.record(()))
            self._files[layer.name] = self._stack.enter_context(pages)
        self._files[layer.name](figure)

    def finish(self) -> None:
        """Draws the last page, and closes the files."""
        assert self.folder is not None
        if self._waiting:
            self._draw_page()
        self._stack.close()
        for layer in self.run.layers if self.options.format == "pdf" else ():
            self.note(self.folder / f"{safe_name(layer.index, layer.name)}-contact.pdf", layer, self.labels)


def maps_of(batch: MapsBatch, layer: Layer, position: int, axis: int) -> NDArray[Any]:
    """The maps of a layer for one label of a batch, (C, spatial…), where each label has maps of its own.

    Raises:
        InputError: it has none, or several.
    """
    array = batch.maps[layer.name]
    if array.size == 0 or layer.name in batch.entries:
        what = "has no maps of an input whose branch did not run" if array.size == 0 else "has several maps of an input"
        raise InputError(f"'{layer.name}' {what}: draw each input alone{for_reader(', with --photos apart', '')}")
    shown, _ = one_row(array, position, axis, several_rows=False)
    return shown


WRITERS: dict[str, type[MapsWriter]] = {"apart": MapsWriter, "together": TogetherWriter, "contact": ContactSheetWriter}
"""What draws several inputs, by the name of the way."""
