"""A trial: a model run on noise, at sizes and batches that its declaration allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.check import UnmeasuredError
from onnxviz.auditing.subject import Subject
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.inputs.noise import noise_samples
from onnxviz.inputs.picture_ports import image_size, is_picture
from onnxviz.inputs.samples import Feeds
from onnxviz.messages import dims
from onnxviz.runtime.batching import Batching

Outputs = dict[str, NDArray[Any]]
SIDE = 256
"""Of pictures whose size is open: a multiple of every usual stride."""
SAMPLES = 3
"""In a batch."""


@dataclass(frozen=True)
class Parting:
    """How far the outputs of two runs are apart.

    Attributes:
        output: the one that is farthest.
        difference: largest |a − b| over the range of a (its largest minus its smallest value, or its largest magnitude
            where it has one value); infinite where one is finite and the other is not; of whole numbers the share that
            differs.
        compared: how many outputs could be compared.
    """

    output: str = ""
    difference: float = 0.0
    compared: int = 0


class Trial:
    """Runs of a model on noise.

    Args:
        subject: the model, and where it runs.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.batching = Batching.of(subject.model, subject.options.memory)

    @cached_property
    def outputs(self) -> list[str]:
        """The names of the model's outputs."""
        return [port.name for port in self._subject.model.outputs]

    @cached_property
    def has_open_sides(self) -> bool:
        """Whether an input for pictures leaves a side open."""
        return any(is_picture(port) and image_size(port) is None for port in self._subject.model.inputs)

    def open(self) -> None:
        """Opens the model in onnxruntime.

        Raises:
            UnmeasuredError: it does not open; another check says so.
        """
        try:
            _ = self._subject.session
        except OnnxvizError as error:
            raise UnmeasuredError(f"the model does not open: {error}") from None

    def samples(self, count: int, side: int = SIDE) -> list[Feeds]:
        """Samples of noise; pictures whose size is open have this side, unless a size was given.

        Raises:
            UnmeasuredError: an input's values or sizes cannot be made up.
        """
        images = self._subject.images
        if images.size is None:
            images = replace(images, size=(side, side))
        try:
            return [sample.read() for sample in noise_samples(self._subject.model, images, count)]
        except InputError as error:
            raise UnmeasuredError(str(error)) from None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Outputs:
        """All outputs; a fixed batch is filled with copies.

        Raises:
            InputError: the model cannot run on these inputs.
        """
        session = self._subject.session
        values = session.run(self.outputs, session.own(self.batching.padded(feeds)))
        return dict(zip(self.outputs, values, strict=True))

    def together(self, samples: Sequence[Feeds]) -> Outputs:
        """All outputs for a batch of these samples."""
        return self.run(self.batching.joined(samples))


def repeated(one: Outputs, other: Outputs) -> Parting:
    """How far two runs on the same input are apart."""
    found = Parting()
    for name, value in one.items():
        found = _farther(found, name, _difference(value, other[name]))
    return found


def batched(alone: Sequence[Outputs], together: Outputs) -> tuple[Parting, str]:
    """How far the samples of a batch are from what each gives alone.

    Args:
        alone: the outputs for each sample.
        together: for all at once.

    Returns:
        How far those outputs are apart that have a row for each sample; and what is wrong with the rows of an output,
        "" where nothing is: it has the values of all samples and another first axis.
    """
    found, merged = Parting(), ""
    for name, value in together.items():
        rows = [one[name] for one in alone]
        shape = rows[0].shape
        if any(row.shape != shape for row in rows) or not shape or shape[0] != 1:
            continue
        if value.shape == (len(rows), *shape[1:]):
            parts = [_difference(row, value[place : place + 1]) for place, row in enumerate(rows)]
            found = _farther(found, name, max(parts))
        elif value.size == len(rows) * rows[0].size:
            merged = f"'{name}' of {len(rows)} samples is {dims(value.shape)}, of one {dims(shape)}"
    return found, merged


def first_rows(one: Outputs, other: Outputs, rows: int) -> Parting:
    """How far the first rows of two batches of so many samples are apart, in the outputs that have a row for each."""
    found = Parting()
    for name, value in one.items():
        if value.shape[:1] == (rows,) and value.shape == other[name].shape:
            found = _farther(found, name, _difference(value[:1], other[name][:1]))
    return found


def _farther(found: Parting, name: str, difference: float) -> Parting:
    if difference > found.difference or not found.output:
        return Parting(name, difference, found.compared + 1)
    return replace(found, compared=found.compared + 1)


def _difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind not in "fV":
        return float(np.mean(a != b)) if a.size else 0.0
    one, two = (np.asarray(value).astype(np.float64) for value in (a, b))
    is_finite = np.isfinite(one)
    if not np.array_equal(is_finite, np.isfinite(two)):
        return float("inf")
    one, two = one[is_finite], two[is_finite]
    if not one.size:
        return 0.0
    span = float(np.ptp(one)) or float(np.abs(one).max())
    gap = float(np.abs(one - two).max())
    return gap / span if span else (0.0 if gap == 0 else float("inf"))
