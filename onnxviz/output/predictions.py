"""Predictions on disk: a picture of each input, a sheet of all, and a manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onnxviz.files import bare_name, check_parent, is_picture, make_folder, safe_name, write_manifest
from onnxviz.output.picture_options import PictureOptions
from onnxviz.plots import CARDS_ON_A_PAGE, plot_prediction, plot_predictions
from onnxviz.predictions.prediction import Prediction, Predictions


def check_output(output: Path) -> None:
    """Refuses a place that nothing can be written to, before the model is asked.

    Raises:
        InputError: it looks neither like a picture nor like a folder, or its folder is not there.
    """
    if is_picture(output):
        check_parent(output)


def write_predictions(found: Predictions, output: Path, options: PictureOptions) -> list[Path]:
    """Draws what a model says; gives the files that were written.

    Args:
        found: what it says.
        output: one picture, of several inputs a sheet, in PDF with pages; or a folder for a picture of each input, a
            sheet of all where there are several, and `manifest.json`.
        options: how pictures are written.
    """
    title = Path(found.provenance.model.label).name
    if is_picture(output):
        if len(found) == 1:
            return [_write_one(found, found[0], output, options)]
        return _write_sheet(found, output, options, title, one_file=True)
    make_folder(output)
    written, entries = [], []
    for number, one in enumerate(found):
        stem = Path(one.input).stem or "input"
        name = safe_name(number, stem) if len(found) > 1 else bare_name(stem) or "input"
        written.append(_write_one(found, one, output / f"{name}.{options.format}", options))
        entries.append({**one.as_dict(), "answer": one.answer.sentence or None, "picture": written[-1].name})
    sheets = _write_sheet(found, output / f"predictions.{options.format}", options, title) if len(found) > 1 else []
    written += sheets
    head = {**found.provenance.as_dict(), "names": found.names or None}
    failed = [{"input": label, "error": error} for label, error in found.failed]
    manifest = {**head, "predictions": entries, "sheets": [path.name for path in sheets], "failed": failed}
    return [*written, write_manifest(output, "predict", written, manifest)]


def _write_one(found: Predictions, one: Prediction, path: Path, options: PictureOptions) -> Path:
    figure = plot_prediction(one, subtitle=_mark(found))
    return options.save(figure, path, found.provenance.picture_record(_photos([one])))


def _write_sheet(
    found: Predictions, path: Path, options: PictureOptions, title: str, *, one_file: bool = False
) -> list[Path]:
    """A sheet of all: in PDF a page for some two dozen; in other formats as many files, or one."""
    if path.suffix.lower() == ".pdf":
        with options.pages(path, found.provenance.picture_record()) as add:
            for _, figure in _pages(found, title, CARDS_ON_A_PAGE):
                add(figure)
        return [path]
    written = []
    several = not one_file and len(found) > CARDS_ON_A_PAGE
    for number, (page, figure) in enumerate(_pages(found, title, CARDS_ON_A_PAGE if several else len(found)), 1):
        target = path.with_stem(f"{path.stem}-{number}") if several else path
        written.append(options.save(figure, target, found.provenance.picture_record(_photos(page))))
    return written


def _pages(found: Predictions, title: str, most: int) -> Iterator[tuple[Sequence[Prediction], Any]]:
    """(predictions, their figure), page by page."""
    for start in range(0, len(found), most):
        page = found[start : start + most]
        which = f"{start + 1} to {start + len(page)} of {len(found)}" if len(page) < len(found) else ""
        subtitle = " · ".join(filter(None, (which, _mark(found))))
        yield page, plot_predictions(page, title=title, subtitle=subtitle or None)


def _mark(found: Predictions) -> str | None:
    """What was assumed of the images."""
    images = found.provenance.images
    return (images.expected.mark or None) if images is not None else None


def _photos(page: Sequence[Prediction]) -> list[Any]:
    return [one.given.photo for one in page if one.given is not None]
