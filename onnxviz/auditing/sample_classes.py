"""Classes of samples: from folders that are named after them, or from a CSV of path and class."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from onnxviz.errors import InputError
from onnxviz.inputs.image_sets import images_in
from onnxviz.inputs.samples import InputLike, Sample
from onnxviz.messages import printable
from onnxviz.model.class_choice import keeping_labels
from onnxviz.model.model import Model
from onnxviz.model.scores import class_names

Classes = Mapping[str, int] | str | PathLike[str]
"""The class of each sample by its path or label, or the CSV that has them."""
_HEADER = ("path", "class")


def sample_classes(model: Model, data: InputLike, given: Classes | None) -> Mapping[str, int] | None:
    """The class of each sample, by its path or label.

    Args:
        model: the model; names of classes are those of its metadata, if all of them are there.
        data: the data; where they are a folder of folders, each is a class, in the order of their names, as
            torchvision's ImageFolder numbers them, unless the model has the names.
        given: classes by path or label; or a CSV, whose lines are a path, which may be relative to the CSV's folder,
            and a number or a name of the model's classes. A first line `path,class` is a header. None: the folders'.

    Returns:
        The classes; None where there are none.

    Raises:
        InputError: the CSV cannot be read, or names a class that the model does not have.
    """
    if isinstance(given, Mapping):
        return dict(given)
    names = class_names(model)
    if given is not None:
        return _from_csv(Path(given), names)
    if not isinstance(data, str | PathLike) or not Path(data).is_dir():
        return None
    inside = [(path, label.split("/")) for path, label in images_in(Path(data))]
    if any(len(parts) == 1 for _, parts in inside):
        return None
    folders = sorted({parts[0] for _, parts in inside})
    numbers = dict(zip(folders, _numbers(folders, names), strict=True))
    return {str(path): numbers[parts[0]] for path, parts in inside}


def class_of(sample: Sample, classes: Mapping[str, int]) -> int | None:
    """The class of a sample; None where it has none."""
    keys = [sample.path, sample.label, *([str(Path(sample.path).resolve())] if sample.path else [])]
    return next((classes[key] for key in keys if key in classes), None)


def _numbers(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """The numbers of classes that are named in order: the model's own, where it has all the names."""
    if names and all(name in known for name in names):
        return [known.index(name) for name in names]
    return list(range(len(names)))


def _from_csv(path: Path, names: Sequence[str]) -> dict[str, int]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV of path and class: {printable(str(error), 200)}") from None
    if rows and tuple(cell.strip().lower() for cell in rows[0]) == _HEADER:
        rows = rows[1:]
    found: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if len(row) != len(_HEADER):
            raise InputError(f"{path} has a line of {len(row)} cells, row {number}; each is a path and a class")
        name = row[1].strip()
        if name in names:
            value = names.index(name)
        elif name.isascii() and name.isdigit():
            value = int(name)
        else:
            raise InputError(
                f"{path} names the class '{printable(name, 60)}', which the model's metadata do not have: give its "
                f"number, from 0, or keep the names in the model ({keeping_labels()})"
            )
        place = path.parent / row[0].strip()
        for key in (row[0].strip(), str(place), str(place.resolve())):
            found[key] = value
    if not found:
        raise InputError(f"{path} has no line of path and class")
    return found
