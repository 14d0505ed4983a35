"""`annotate`: the preprocessing of a model's images and the names of its classes, kept in its metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.inputs.labels import check_labels
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.model.model import Source, load
from onnxviz.model.preprocessing_note import PREPROCESSING_KEY
from onnxviz.model.scores import NAMES_KEY


@typed
def annotate(
    model: Source,
    preprocess: str | Preprocessing | None,
    output: str | PathLike[str],
    *,
    labels: Sequence[str] | None = None,
) -> Path:
    """Writes the model with notes of how its images are prepared and what its classes are called.

    Nothing later has to be told then.

    Args:
        model: an opened model, or what `load` opens. It is not changed.
        preprocess: as for `capture`, but not "auto": "raw", "unit", "signed", "torch", "caffe", a formula, or a
            `Preprocessing`; None to keep what the model says already.
        output: the new file, `.onnx`.
        labels: the name of each class, in order; None to keep those that the model has already.

    Returns:
        The file's path.

    Raises:
        InputError: this is no preprocessing, or "auto"; or the labels are not as many as the scores; or there is
            neither.
        ModelError: the file cannot be written.
    """
    if preprocess is None and labels is None:
        raise InputError("there is nothing to keep: give preprocess, labels, or both")
    opened = load(model)
    if preprocess == "auto":
        raise InputError("annotate keeps one preprocessing in the model; 'auto' is none: name raw, unit, torch …")
    notes: dict[str, str] = {}
    if preprocess is not None:
        chosen = Preprocessing.parse(preprocess) if isinstance(preprocess, str) else preprocess
        notes[PREPROCESSING_KEY] = chosen.to_json()
    if labels is not None:
        check_labels(opened, labels)
        notes[NAMES_KEY] = json.dumps(list(labels), ensure_ascii=False)
    return opened.with_metadata(notes).save(output)
