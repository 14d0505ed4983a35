"""Labels: names of classes in a text file, made those of a model's scores where they fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxviz.errors import InputError, SelectionError
from onnxviz.messages import printable
from onnxviz.model.model import Model
from onnxviz.model.scores import Scores, find_scores, names_fit

_MOST_BYTES = 10**7


def read_labels(path: Path) -> tuple[str, ...]:
    """The names in a text file, one a line; lines behind the last name are left out.

    Raises:
        InputError: it cannot be read, or has no names.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as names of classes, one a line: {printable(str(error))}") from None
    names = [line.strip() for line in text.rstrip().splitlines()]
    if not names:
        raise InputError(f"{path} has no names of classes; write one a line")
    return tuple(names)


def check_labels(model: Model, labels: Sequence[str]) -> None:
    """Refuses names that are not as many as the model's scores, where their number is known before it runs.

    Raises:
        InputError: they are not, or no output is known to be scores.
    """
    try:
        scores = find_scores(model, labelled=True)
    except SelectionError as error:
        raise InputError(f"labels were given, but {error}") from None
    fitting_names(labels, scores, scores.count(model.shapes.of(scores.tensor)))


def fitting_names(labels: Sequence[str], scores: Scores, count: int | None) -> tuple[str, ...]:
    """The labels as names of the classes of these scores.

    Args:
        labels: one for each class, in order; the class of a detector that means "no object" may go without.
        scores: what they are to name.
        count: how many scores there are, None where that is not known; of a detector its head tells.

    Raises:
        InputError: they are not as many.
    """
    if scores.head is not None:
        if names := scores.head.names_for(labels):
            return names
        there = f"{scores.head.count} classes of boxes"
    elif names_fit(labels, count):
        return tuple(labels)
    else:
        there = "one logit, which has 2 classes," if count == 1 else f"{count} scores"
    raise InputError(f"{len(labels)} labels were given for {there} of '{printable(scores.output)}'")
