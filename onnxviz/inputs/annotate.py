"""`annotate`: the preprocessing of a model's images, kept in its metadata."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from onnxviz.errors import InputError
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.model.model import Source, load
from onnxviz.model.preprocessing_note import PREPROCESSING_KEY


def annotate(model: Source, preprocess: str | Preprocessing, output: str | PathLike[str]) -> Path:
    """Writes the model with a note of how its images are prepared, so that nothing later has to be told.

    Args:
        model: an opened model, or what `load` opens. It is not changed.
        preprocess: as for `capture`, but not "auto": "raw", "unit", "signed", "torch", "caffe", a formula, or a
            `Preprocessing`.
        output: the new file, `.onnx`.

    Returns:
        The file's path.

    Raises:
        InputError: this is no preprocessing, or "auto".
        ModelError: the file cannot be written.
    """
    opened = load(model)
    if preprocess == "auto":
        raise InputError("annotate keeps one preprocessing in the model; 'auto' is none: name raw, unit, torch …")
    chosen = Preprocessing.parse(preprocess) if isinstance(preprocess, str) else preprocess
    return opened.with_metadata({PREPROCESSING_KEY: chosen.to_json()}).save(output)
