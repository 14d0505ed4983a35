"""Explanations on disk: an overlay for each input, the raw maps, and a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.explanations.explanation import Explanation
from onnxviz.explanations.sanity import Sanity
from onnxviz.files import check_archive, is_picture, make_folder, safe_name, save_arrays, write_manifest
from onnxviz.inputs.failures import nothing_usable
from onnxviz.messages import refuse_unheeded
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


class ExplanationsWriter:
    """Draws explanations one after the other, and keeps only the raw maps that are to be saved.

    Args:
        output: a picture for a single input, or a folder; None to draw nothing.
        save: an `.npz` for the raw maps; None not to keep them.
        several: whether there is more than one input.
        by_class: whether there is more than one class of each; in a single picture they stand side by side.
        pictures: how they are written; None for the usual way.
        drawing: how maps are drawn; None for the usual way.

    Raises:
        InputError: the names do not fit what they are for.
    """

    def __init__(
        self,
        output: Path | None,
        save: Path | None,
        *,
        several: bool,
        by_class: bool = False,
        pictures: PictureOptions | None = None,
        drawing: DrawingOptions | None = None,
    ) -> None:
        check_archive(save)
        single = output is not None and is_picture(output)
        if several and single:
            raise InputError(f"several inputs were given for the one file {output}; give a folder")
        for file in (output if single else None, save):
            if file is not None and not file.parent.is_dir():  # said before anything is computed
                raise InputError(f"{file} cannot be written: there is no folder {file.parent}")
        self.file = output if single else None
        self.folder = None if single else output
        self.several = several
        self.by_class = by_class
        self.save = save
        self.options = pictures or PictureOptions()
        self.drawing = drawing or DrawingOptions()
        self.together: list[Explanation] | None = [] if single and by_class else None
        self.written: list[Path] = []
        self.entries: list[dict[str, Any]] = []
        self._arrays: dict[str, NDArray[Any]] = {}
        self._manifest: dict[str, Any] = {}

    def add(self, explanation: Explanation, sanity: Sanity | None = None) -> Path | None:
        """Draws one explanation; the picture's path, None if nothing is drawn.

        Args:
            explanation: what is drawn.
            sanity: how far it can be trusted; drawn below it; of several maps, and where the input is no picture,
                the curves alone, as `NAME-deletion`.

        Raises:
            InputError: classes are to stand side by side in one picture, and there is a sanity check of each.
        """
        if self.together is not None and sanity is not None:
            raise InputError(f"a sanity check of each class has pictures of its own: give a folder, not {self.file}")
        number = len(self.entries)
        path = self.file
        if self.folder is not None:
            stem = Path(explanation.sample).stem
            name = safe_name(number, stem) if self.several else safe_name(0, stem).partition("-")[2] or "input"
            name += f"-class{explanation.class_}" if self.by_class else ""
            path = self.folder / f"{name}-{explanation.method.replace('+', 'p')}.{self.options.format}"
        if self.together is not None:
            self.together.append(explanation)
        elif path is not None and path in self.written:  # rows of one array, which the model takes at once
            path = path.with_name(f"{path.stem}-{number}{path.suffix}")
        entry: dict[str, Any] = {**explanation.as_dict(), "file": path}
        if sanity is not None:
            entry |= {"sanity": sanity.as_dict(), "faithfulness": sanity.faithfulness.as_dict()}
        if path is not None and self.together is None:
            whole = sanity is not None and _is_on_photo(explanation) and not explanation.labels
            figures = {path: figure_of(explanation, self.drawing, sanity if whole else None)}
            if sanity is not None and not whole:
                what = f"{explanation.sample}, {explanation.title}, {explanation.method}"
                curves = plot_faithfulness(sanity.faithfulness, subtitle=what)
                figures[path.with_name(f"{path.stem}-deletion{path.suffix}")] = curves
            if self.folder is not None:
                make_folder(self.folder)  # not before something can be drawn
            record = explanation.provenance.picture_record([explanation.image])
            self.written.extend(self.options.save(figure, file, record) for file, figure in figures.items())
        self.entries.append(entry)
        if not self._manifest:
            self._manifest = {**explanation.provenance.as_dict(), "settings": explanation.options}
        if self.save is not None:
            prefix = f"{safe_name(number, explanation.sample)}/" if self.several or number else ""
            self._arrays.update({f"{prefix}{name}": array for name, array in explanation.arrays().items()})
        return path

    def close(self, failed: Sequence[tuple[str, str]] = ()) -> list[Path]:
        """Writes the archive and, into a folder, the manifest; the files that were written."""
        if not self.entries:
            raise nothing_usable(failed)
        if self.together and self.file is not None:
            figure = plot_explanation(self.together, **vars(self.drawing))
            first = self.together[0]
            self.written.append(self.options.save(figure, self.file, first.provenance.picture_record([first.image])))
        lost = [{"input": label, "error": error} for label, error in failed]
        manifest = {**self._manifest, "explanations": self.entries, "failed": lost}
        if self.folder is not None:
            self.written.append(write_manifest(self.folder, "explain", self.written, manifest))
        if self.save is not None:
            self.written.extend(save_arrays(self._arrays, self.save, manifest))
        return self.written


def figure_of(explanation: Explanation, drawing: DrawingOptions | None = None, sanity: Sanity | None = None) -> Any:
    """The overlay, or, where the input is no picture, the map alone."""
    drawing = drawing or DrawingOptions()
    if _is_on_input(explanation):
        return plot_explanation(explanation, sanity=sanity, **vars(drawing))
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
