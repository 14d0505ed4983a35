"""Sides of a check: the model where it runs, and what it is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.drift import precision
from onnxviz.auditing.subject import Subject
from onnxviz.comparison.fed_alike import settle_preprocessing
from onnxviz.comparison.reading import Precision
from onnxviz.comparison.side import Side
from onnxviz.inputs.samples import Feeds, ImageOptions
from onnxviz.model.model import load
from onnxviz.runtime.place import split_place
from onnxviz.runtime.providers import CPU, Provider


def side_of(subject: Subject, *, optimize: bool = True, threads: int | None = None) -> Side:
    """The model where it runs, with other options."""
    threads = subject.options.threads if threads is None else threads
    options = replace(subject.options, threads=threads, optimize=optimize)
    return Side(subject.model, subject.images, options, subject.model.label)


def fed_alike(subject: Subject) -> Iterator[tuple[str, Feeds, Feeds]]:
    """(label, arrays, the same arrays) of each sample of the data."""
    for one in subject.samples:
        feeds = one.read()
        yield one.label, feeds, feeds


def sides(subject: Subject) -> tuple[Side, Side]:
    """What the model is held against, and the model.

    Raises:
        UnmeasuredError: it is held against nothing.
        OnnxvizError: the other cannot be opened.
    """
    own = side_of(subject)
    against = subject.extras.against
    if against is None:
        if Provider.parse(subject.options.provider).name == CPU:
            raise UnmeasuredError("no model was given to hold it against (--against), and it runs on the CPU")
        label = f"{subject.model.label}@{CPU}"
        return Side(subject.model, subject.images, replace(subject.options, provider=CPU), label), own
    path, place = split_place(against)
    model = load(path)
    options = subject.options if path == against else place.options(subject.options.memory, subject.options.threads)
    given = subject.images
    images = ImageOptions.of(
        model,
        given.preprocessing if "preprocess" in given.given else "auto",
        given.size,
        given.fit if "fit" in given.given else None,
        given.background if "background" in given.given else None,
    )
    first, second, _ = settle_preprocessing(Side(model, images, options, against), own)
    return first, second


def lowest_precision(*both: Side) -> Precision:
    """The lower of what models compute in."""
    found = [precision(one.model) for one in both]
    return next((one for one in (Precision.QUANTISED, Precision.HALF) if one in found), Precision.FULL)
