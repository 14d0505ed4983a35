"""Checks of golden vectors: whether a model still answers as the release did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.drift import Drift, Values, precision
from onnxviz.auditing.drift_verdict import FULL, HALF, QUANTISED, judged
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject
from onnxviz.comparison.reading import Precision
from onnxviz.errors import SelectionError
from onnxviz.messages import printable
from onnxviz.model.model import Model
from onnxviz.model.scores import Scores, find_scores, with_both

_ORDER = (Precision.QUANTISED, Precision.HALF, Precision.FULL)


@check("R02", Severity.ERROR, needs=("golden",), full=FULL, half=HALF, quantised=QUANTISED)
def golden_vectors(subject: Subject) -> Iterator[Finding]:
    """Answers that are not those of the golden vectors.

    Why it matters: golden vectors are what the release was tested with. A later version, another runtime or the device
    that answers otherwise to the same numbers is not what was tested (onnxruntime#5667).

    How it is measured: the model runs on each input that `--write-golden` kept, as it is, and what it gives is held
    against the outputs kept. The largest difference counts as a share of the range of the kept answers, a class that
    flips by how far it was ahead, as the same share. What rounding explains is no error: `full` of float32, `half` of
    float16, `quantised` where either model computes with integers. A flip beyond that is an error, a value beyond it a
    warning, a flip within it a note.

    What to do: where the weights changed on purpose (R01), write new vectors; else find the first layer that differs
    with `onnxviz compare`, or look at the runtime.
    """
    golden = subject.extras.golden
    assert golden is not None
    names = [one.name for one in golden.outputs]
    scores = _scores(subject.model, names)
    found = Drift()
    for vector in golden.vectors:
        answers = subject.session.run(names, subject.session.own(vector.inputs))
        now = dict(zip(names, answers, strict=True))
        before, after = (_values(one, scores) for one in (vector.outputs, now))
        found.take(vector.label, before, after, scores=scores is not None)
    kind = min(golden.precision, precision(subject.model), key=_ORDER.index)
    made = f"{len(golden.vectors)} golden vectors of {printable(golden.head['model']['path'])}"
    yield from judged(
        subject, found, f"held against {made} ({printable(str(golden.head['provider']))})", kind,
        "write new vectors where the weights changed on purpose; else `onnxviz compare` names the first layer that "
        "differs",
    )  # fmt: skip


def _scores(model: Model, outputs: list[str]) -> Scores | None:
    """Where an output scores classes that exclude one another; None where none does."""
    try:
        found = find_scores(model)
    except SelectionError:
        return None
    port = next((one for one in model.outputs if one.name == found.output), None)
    is_there = found.head is None and found.output in outputs
    return found if is_there and port is not None and port.dtype.startswith(("float", "bfloat")) else None


def _values(outputs: Mapping[str, NDArray[Any]], scores: Scores | None) -> Values:
    """The scores as (N, classes, positions), where there are any; then all outputs that are numbers."""
    found: Values = [one.astype(np.float64) for one in outputs.values() if one.dtype.kind in "fiub" or _is_narrow(one)]
    if scores is None:
        return found
    by_class = [scores.by_class(row) for row in outputs[scores.output].astype(np.float64)]
    return [np.stack([_both(row, scores) for row in by_class]), *found]


def _is_narrow(array: NDArray[Any]) -> bool:
    """Whether it is of a type of ml_dtypes, such as bfloat16."""
    return array.dtype.kind == "V" and "float" in array.dtype.name


def _both(row: NDArray[np.float64], scores: Scores) -> NDArray[np.float64]:
    """Scores of each class; one probability is that of class 1, what is left that of class 0."""
    return np.concatenate([1 - row, row]) if len(row) == 1 and scores.link else with_both(row)
