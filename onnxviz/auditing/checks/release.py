"""Checks of the release: metadata that whoever deploys the model needs."""

from __future__ import annotations

from collections.abc import Iterator

from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.errors import SelectionError
from onnxviz.inputs.picture_ports import is_picture
from onnxviz.messages import printable
from onnxviz.model.preprocessing_note import PREPROCESSING_KEY
from onnxviz.model.scores import class_names, find_scores


@check("I03", Severity.NOTE, classes=2.0)
def metadata(subject: Subject) -> Iterator[Finding]:
    """Names of classes and preprocessing that the file does not tell, or tells twice and otherwise.

    Why it matters: an `.onnx` file is passed on without the code that trained it. What it does not say has to be
    guessed: which class number 7 is, whether pixels are 0 to 1 or 0 to 255, RGB or BGR (onnx issue 2928).

    How it is measured: names of classes in the metadata (`classes`, `names`, `labels`, …), where an output scores at
    least `classes` classes; preprocessing in the metadata (`onnxviz.preprocessing`), or in the graph's first operators,
    where an input takes pictures; whether the two agree, and whether the names are as many as the scores.

    What to do: `onnxviz annotate MODEL` writes both into the file.
    """
    model = subject.model
    if any(is_picture(port) for port in model.inputs):
        if model.preprocessing_conflict:
            yield subject.finding(
                f"metadata and graph contradict each other: {printable(model.preprocessing_conflict, 300)}",
                "correct the note with onnxviz annotate", severity=Severity.WARNING, where=PREPROCESSING_KEY,
            )  # fmt: skip
        elif model.preprocessing_source is None:
            yield subject.finding(
                "neither the metadata nor the graph tell how pictures are prepared",
                "write it into the file with onnxviz annotate", where=PREPROCESSING_KEY,
            )  # fmt: skip
    try:
        scores = find_scores(model)
    except SelectionError:
        return  # no output is known to score classes
    shape = model.shapes.of(scores.tensor) if scores.head is None else None
    count = scores.head.count if scores.head is not None else scores.count(shape)
    names = class_names(model)
    least = subject.threshold("classes")
    if names and scores.misfit(shape):
        yield subject.finding(
            f"{len(names):,} classes are named, and '{printable(scores.output)}' has {count or 0:,}",
            "write the right names with onnxviz annotate", severity=Severity.WARNING, where=printable(scores.output),
            value=float(len(names)), threshold=float(count or 0),
        )  # fmt: skip
    elif not names and count is not None and count >= least:
        yield subject.finding(
            f"'{printable(scores.output)}' scores {count:,} classes, and the metadata name none",
            "write their names into the file with onnxviz annotate", where=printable(scores.output),
            value=float(count), threshold=least,
        )  # fmt: skip
