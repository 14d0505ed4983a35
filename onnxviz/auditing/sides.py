"""Sides of a check: the model where it runs, and what it is held against."""

from __future__ import annotations

from dataclasses import replace

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.subject import Subject
from onnxviz.comparison.fed_alike import PairedSample, settle_preprocessing
from onnxviz.comparison.side import Side
from onnxviz.messages import option
from onnxviz.runtime.providers import CPU, Provider


def side_of(subject: Subject, *, optimize: bool = True, threads: int | None = None) -> Side:
    """The model where it runs, with other options."""
    threads = subject.options.threads if threads is None else threads
    options = replace(subject.options, threads=threads, optimize=optimize)
    return Side(subject.model, subject.images, options, subject.model.label)


def fed_alike(subject: Subject) -> list[PairedSample]:
    """The data, the same for both sides."""
    return [PairedSample(one, one) for one in subject.samples]


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
            raise UnmeasuredError(
                f"no model was given to hold it against ({option('against')}), and it runs on the CPU"
            )
        label = f"{subject.model.label}@{CPU}"
        return Side(subject.model, subject.images, replace(subject.options, provider=CPU), label), own
    first, second, _ = settle_preprocessing(Side.of(against, subject.options, subject.images.asked), own)
    return first, second
