"""A pixel of a tensor that is made of a model's inputs: slope · input + offset for each channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.model.graph.scopes import attribute
from onnxviz.model.graph.symbolic_sizes import Dim

# Values of a pixel; what has more is no picture, and a graph of a few nodes can double it forty times.
MOST_VALUES = 2**14


@dataclass(frozen=True, eq=False)
class Pixel:
    """What a tensor holds at one pixel: slope · input[source] + offset.

    Attributes:
        source: (1, C, 1, 1) or with another order of axes, int64; the channel of the inputs that it comes from, counted
            through all inputs, or −1 − i for any channel of input i.
        slope: as `source`, float64.
        offset: as `source`, float64.
        axis: which axis counts channels, None where that is lost.
        bounds: what values below and above are cut to; None where they are not. Of an untouched input only.
    """

    source: NDArray[np.int64]
    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    axis: int | None
    bounds: tuple[float | None, float | None] = (None, None)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return self.source.ndim

    @property
    def is_untouched(self) -> bool:
        """Whether every value is an input's own."""
        return bool(np.all(self.slope == 1) and np.all(self.offset == 0))

    @property
    def is_reversed(self) -> bool:
        """Whether the first three channels are an input's, the last first."""
        if self.axis is None or self.source.shape[self.axis] < 3:
            return False
        first = np.moveaxis(self.source, self.axis, 0).reshape(self.source.shape[self.axis], -1)[:3, 0]
        return bool(first[0] - first[1] == 1 and first[1] - first[2] == 1)

    def each(self, change: Callable[[NDArray[Any]], NDArray[Any]], axis: int | None) -> Pixel:
        """The same values arranged anew."""
        return Pixel(change(self.source), change(self.slope), change(self.offset), axis)

    def affine(self, factor: NDArray[Any] | float, summand: NDArray[Any] | float) -> Pixel | None:
        """factor · self + summand; None where that is not finite or loses the input."""
        with np.errstate(all="ignore"):
            slope, offset = self.slope * factor, self.offset * factor + summand
        if not (np.all(np.isfinite(slope)) and np.all(np.isfinite(offset)) and np.all(slope != 0)):
            return None
        slope, offset = np.broadcast_arrays(slope, offset)
        return Pixel(np.broadcast_to(self.source, slope.shape), slope, offset, self.axis)


class ReadingKind(Enum):
    """What a reading tells."""

    ARITHMETIC = "arithmetic"
    """The values of a tensor."""
    BATCH_NORM = "batch norm"
    """A batch normalisation's own statistics: what has a mean of 0 and a variance of 1 behind it."""
    BOUNDS = "bounds"
    """What is cut off: nothing below 0 or above 255 passes."""


@dataclass(frozen=True, eq=False)
class PixelReading:
    """One step of the arithmetic on the inputs.

    Attributes:
        pixel: the tensor's values.
        kind: what they tell.
    """

    pixel: Pixel
    kind: ReadingKind = ReadingKind.ARITHMETIC


@dataclass(frozen=True, eq=False)
class PixelStep:
    """A node on the way from the inputs, as a rule sees it.

    Attributes:
        node: the node.
        pixels: what is known of the tensors so far, by name.
        channels: the numbers of each input's channels.
        constant: gives the values of a constant, None where a tensor is none.
        shape: gives the inferred shape of a tensor, None where it is not known.
        readings: what the rules have found besides the tensors' values.
    """

    node: NodeProto
    pixels: Mapping[str, Pixel]
    channels: Sequence[range]
    constant: Callable[[str], NDArray[Any] | None]
    shape: Callable[[str], tuple[Dim, ...] | None]
    readings: list[PixelReading]

    @property
    def pixel(self) -> Pixel:
        """The tensor that a node of one data input changes; KeyError where it is another."""
        return self.pixels[self.node.input[0]]

    def attribute(self, name: str) -> Any:
        """The value of the node's attribute, None where it has none."""
        return attribute(self.node, name)

    def operand(self, place: int, name: str = "") -> NDArray[Any] | None:
        """A setting of the node: its input at `place`, or, in older operator sets, its attribute `name`."""
        if place < len(self.node.input) and self.node.input[place]:
            return self.constant(self.node.input[place])
        given = self.attribute(name) if name else None
        return None if given is None else np.asarray(given)

    def owner(self, channel: int) -> int:
        """The number of the input that a channel belongs to."""
        return -1 - channel if channel < 0 else next(i for i, own in enumerate(self.channels) if channel in own)

    def note(self, pixel: Pixel | None, kind: ReadingKind) -> None:
        """Keeps a reading of another kind than a tensor's values."""
        if pixel is not None:
            self.readings.append(PixelReading(pixel, kind))


def aligned(values: NDArray[Any], pixel: Pixel, axis: int | None, *, varying: bool) -> NDArray[Any] | None:
    """A constant as it meets one pixel, None where it does something else than to treat channels differently.

    Args:
        values: the constant.
        pixel: what it is computed with.
        axis: where its first axis lies among the picture's, as operator sets before 7 say it; None: aligned at the end.
        varying: whether it may differ from place to place, as a mean image does; its mean stands for it then.
    """
    if values.size == 1:
        return values.reshape((1,) * pixel.rank)
    if axis is not None:
        values = values.reshape((*values.shape, *[1] * (pixel.rank - values.ndim - axis % pixel.rank)))
    if values.ndim > pixel.rank or pixel.axis is None:
        return None
    values = values.reshape((*[1] * (pixel.rank - values.ndim), *values.shape))
    channels = pixel.source.shape[pixel.axis]
    elsewhere = [a for a in range(pixel.rank) if a != pixel.axis and values.shape[a] > 1]
    if values.shape[pixel.axis] not in (1, channels) and channels != 1:
        return None
    if elsewhere and (not varying or len(elsewhere) != pixel.rank - 2):
        return None
    return values.mean(axis=tuple(elsewhere), keepdims=True) if elsewhere else values
