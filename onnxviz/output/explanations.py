"""Explanations on disk: an overlay for each input, the raw maps, and a manifest."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.explanations.explanation import Explanation
from onnxviz.explanations.sanity import Sanity
from onnxviz.files import (
    bare_name,
    check_archive,
    check_parent,
    is_picture,
    make_folder,
    safe_name,
    save_arrays,
    write_manifest,
)
from onnxviz.inputs.failures import nothing_usable
from onnxviz.messages import option, refuse_unheeded
from onnxviz.output.picture_options import PictureOptions
from onnxviz.plots import plot_explanation, plot_faithfulness, plot_maps


@dataclass(frozen=True, kw_only=True)
class DrawingOptions:
    """How maps are drawn, each as for `onnxviz.plot_explanation`.

    Attributes:
        cmap: matplotlib colour map; None for the plot's own.
        smooth: how maps are enlarged.
        bands: which channels of the input pictures show.
    """

    cmap: str | None = None
    smooth: Literal["none", "bilinear"] | None = None
    bands: Sequence[int] | None = None


_USUAL_DRAWING = DrawingOptions()


class ExplanationsWriter:
    """Draws explanations one after the other, and keeps only the raw maps that are to be saved.

    A context: a PDF of several pages appears when the block ends well. Several maps of one sample are one table, unless
    each is checked; into a folder, maps that fit no table have a picture each.

    Args:
        output: a picture for a single input, a PDF for several, a page each, or a folder; None to draw nothing.
        save: an `.npz` for the raw maps; None not to keep them.
        several: whether there is more than one input.
        each: how many maps there are of each sample: classes times methods.
        checked: whether each map has its sanity check.
        pictures: how they are written; None for the usual way.
        drawing: how maps are drawn.

    Raises:
        InputError: the names do not fit what they are for.
    """

    def __init__(
        self,
        output: Path | None,
        save: Path | None,
        *,
        several: bool,
        each: int = 1,
        checked: bool = False,
        pictures: PictureOptions | None = None,
        drawing: DrawingOptions = _USUAL_DRAWING,
    ) -> None:
        check_archive(save)
        single = output is not None and is_picture(output)
        self.options = pictures or PictureOptions()
        self.table = each > 1 and not checked
        paged = single and output is not None and output.suffix.lower() == ".pdf"
        if several and single and not paged:
            raise InputError(f"several inputs were given for the one file {output}; give a folder, or a .pdf")
        if each > 1 and checked and single and not paged:
            raise InputError(
                f"with {option('sanity')} each map has a picture of its own: give a folder or a .pdf, not {output}"
            )
        for file in (output if single else None, save):
            if file is not None:
                check_parent(file)
        self.file = output if single else None
        self.folder = None if single else output
        self.several, self.each, self.save, self.drawing = several, each, save, drawing
        self.written: list[Path] = []
        self.entries: list[dict[str, Any]] = []
        self._paged = paged and (several or (each > 1 and checked))
        self._waiting: list[tuple[Explanation, dict[str, Any]]] = []
        self._arrays: dict[str, NDArray[Any]] = {}
        self._manifest: dict[str, Any] = {}
        self._stack = ExitStack()
        self._add_page: Callable[[Any], None] | None = None
        self._pages = 0

    def __enter__(self) -> ExplanationsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, explanation: Explanation, sanity: Sanity | None = None) -> None:
        """Draws one explanation, or keeps it until those of its table are there.

        Args:
            explanation: what is drawn.
            sanity: how far it can be trusted; drawn below it; of several maps, and where the input is no picture,
                the curves alone, as `NAME-deletion`.

        Raises:
            InputError: maps that fit no table are to be one picture.
        """
        number = len(self.entries)
        entry: dict[str, Any] = {**explanation.as_dict(), "file": None}
        if self.each > 1:
            entry["settings"] = explanation.options
        if sanity is not None:
            entry |= {"sanity": sanity.as_dict(), "faithfulness": sanity.faithfulness.as_dict()}
        self.entries.append(entry)
        if not self._manifest:
            own = {} if self.each > 1 else {"settings": explanation.options}
            self._manifest = {**explanation.provenance.as_dict(), **own}
        if self.save is not None:
            prefix = f"{safe_name(number, explanation.sample)}/" if self.several or number else ""
            if self.each > 1:
                prefix = f"{safe_name(number, explanation.sample)}-{_kind(explanation)}/"
            arrays = {f"{prefix}{name}": array for name, array in explanation.arrays().items()}
            self._arrays.update(arrays)
            entry["arrays"] = [*arrays]
        if self.file is None and self.folder is None:
            return
        if not self.table:
            self._draw([(explanation, entry)], sanity)
            return
        self._waiting.append((explanation, entry))
        if len(self._waiting) == self.each:
            if self.folder is None or _fits_table([one for one, _ in self._waiting]):
                self._draw(self._waiting, None)
            else:
                for one in self._waiting:
                    self._draw([one], None)
            self._waiting = []

    def _draw(self, shown: Sequence[tuple[Explanation, dict[str, Any]]], sanity: Sanity | None) -> None:
        """Draws explanations of one sample as one picture."""
        explanation, drawing = shown[0][0], self.drawing
        every = [one for one, _ in shown]
        path = self._path(every)
        if len(shown) > 1:
            figures = {path: plot_explanation(every, **vars(drawing))}
        else:
            whole = sanity is not None and _is_on_photo(explanation) and not explanation.labels
            figures = {path: figure_of(explanation, drawing, sanity if whole else None)}
            if sanity is not None and not whole:
                what = f"{explanation.sample}, {explanation.title}, {explanation.method}"
                curves = plot_faithfulness(sanity.faithfulness, subtitle=what)
                figures[path.with_name(f"{path.stem}-deletion{path.suffix}")] = curves
        for _, entry in shown:
            entry["file"] = path
            if self._paged:
                entry["page"] = self._pages + 1
        if self.folder is not None:
            make_folder(self.folder)  # not before something can be drawn
        if self._paged:
            if self._add_page is None:
                pages = self.options.pages(path, explanation.provenance.picture_record())
                self._add_page = self._stack.enter_context(pages)
                self.written.append(path)
            for figure in figures.values():
                self._add_page(figure)
            self._pages += len(figures)
            gc.collect()  # figures refer to themselves: without this dozens of pages wait for the collector's own time
            return
        record = explanation.provenance.picture_record([explanation.image])
        self.written.extend(self.options.save(figure, file, record) for file, figure in figures.items())

    def _path(self, shown: Sequence[Explanation]) -> Path:
        """Where the picture of explanations of one sample goes."""
        first, path = shown[0], self.file
        number = len(self.entries) - len(self._waiting or shown)
        if self.folder is not None:
            stem = Path(first.sample).stem
            place = number // self.each if self.table else number
            name = safe_name(place, stem) if self.several else bare_name(stem) or "input"
            kind = "table" if len(shown) > 1 else _kind(first) if self.each > 1 else _method(first)
            path = self.folder / f"{name}-{kind}.{self.options.format}"
        assert path is not None
        if path in self.written and not self._paged:  # rows of one array, which the model takes at once
            path = path.with_name(f"{path.stem}-{number}{path.suffix}")
        return path

    def close(self, failed: Sequence[tuple[str, str]] = ()) -> list[Path]:
        """Writes the archive and, into a folder, the manifest; the files that were written."""
        if not self.entries:
            raise nothing_usable(failed)
        self._stack.close()
        lost = [{"input": label, "error": error} for label, error in failed]
        manifest = {**self._manifest, "explanations": self.entries, "failed": lost}
        if self.folder is not None:
            self.written.append(write_manifest(self.folder, "explain", self.written, manifest))
        if self.save is not None:
            self.written.extend(save_arrays(self._arrays, self.save, manifest))
        return self.written


def _method(explanation: Explanation) -> str:
    """The method as a part of a file's name."""
    return explanation.method.replace("+", "p")


def _kind(explanation: Explanation) -> str:
    """The class and the method as a part of a file's name."""
    class_ = "" if explanation.class_ is None else f"class{explanation.class_}-"
    return f"{class_}{_method(explanation)}"


def _fits_table(explanations: Sequence[Explanation]) -> bool:
    """Whether explanations of one sample fit one table: all lie on the input, and are of the same parts of it."""
    first = explanations[0].labels
    return all(_is_on_input(one) and one.labels == first for one in explanations)


def figure_of(explanation: Explanation, drawing: DrawingOptions = _USUAL_DRAWING, sanity: Sanity | None = None) -> Any:
    """The overlay, or, where the input is no picture, the map alone."""
    if _is_on_input(explanation):
        return plot_explanation(
            explanation, sanity=sanity, smooth=drawing.smooth, cmap=drawing.cmap, bands=drawing.bands
        )
    refuse_unheeded(
        {"smooth": drawing.smooth, "bands": drawing.bands}, "the input is no picture, on which a map could lie"
    )
    parts = len(explanation.axes.parts)
    positions = explanation.map.ndim - parts
    return plot_maps(
        explanation.map.reshape(-1, *explanation.map.shape[parts:]),
        spatial=positions,
        first=None,
        scale="symmetric" if explanation.signed else "layer",
        cmap=drawing.cmap,
        title=explanation.title,
        subtitle=", ".join(explanation.facts),
    )


def _is_on_photo(explanation: Explanation) -> bool:
    """Whether the map is laid on a picture."""
    return _is_on_input(explanation) and explanation.map.ndim - len(explanation.axes.parts) == 2


def _is_on_input(explanation: Explanation) -> bool:
    """Whether the map is laid on a picture, a signal or the slices of a volume."""
    channels = explanation.input.shape[explanation.channel_axis] if explanation.channel_axis is not None else 1
    parts = len(explanation.axes.parts)
    positions = explanation.map.ndim - parts
    spatial = len(explanation.size) - len(explanation.case.axes.parts)
    return positions == spatial and channels >= 1 and (positions == 2 or (positions in (1, 3) and not parts))
