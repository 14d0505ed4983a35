"""Sketches of filters: numbers of a layer, few enough to be kept, by which its filters in a later version are told."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.trained_weights import TrainedWeight, batch_norm, real
from onnxviz.errors import InputError
from onnxviz.model.graph.scopes import operator

PROJECTIONS = 16
"""Of each filter. The square of a distance that they tell has a standard deviation of √(2/16) = 35 % of itself, that of
a whole layer's filters together 35 % over the root of their number."""
# Of so many filters every input channel is kept, and so many input channels of every filter.
_SAMPLED = 8
# Elements that are looked at at once.
_CHUNK = 2**20


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is kept of a layer's filters; arrays are float32.

    The filters are those that the layer has once a batch normalisation right behind it is multiplied in, so that a
    model in which it stands apart and one in which it is folded have the same ones. What is not finite counts as 0.

    Attributes:
        shape: (O, I/group, spatial…) of the weight.
        folded: whether a batch normalisation right behind was multiplied in for the sketch.
        scaled: whether filters have their lengths; not those of a dense layer of integers, whose scale is elsewhere.
        dtype: in which the weights are stored.
        digest: SHA-256 of all filters as float32, in hex.
        norm: (O,), the Euclidean norm of each filter.
        bias: (O,), what is added to each filter's sums; 0 where there is none.
        gain: (O,), what the batch normalisation multiplied each filter with; 1 without one.
        projection: (O, PROJECTIONS), the filters times `signs` over √PROJECTIONS (Johnson and Lindenstrauss, 1984;
            with signs: Achlioptas, 2003): distances between filters are, on average, those between their projections.
        rows: (up to 8, I/group), of the filters that `chosen` names, `cells` of all input channels.
        columns: (O, up to 8), of all filters, `cells` of the input channels that `chosen` names.
    """

    shape: tuple[int, ...]
    folded: bool
    scaled: bool
    dtype: str
    digest: str
    norm: NDArray[np.float32]
    bias: NDArray[np.float32]
    gain: NDArray[np.float32]
    projection: NDArray[np.float32]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]

    @property
    def filters(self) -> int:
        """O."""
        return self.shape[0]

    @property
    def inputs(self) -> int:
        """I/group."""
        return self.shape[1]

    @property
    def window(self) -> tuple[int, ...]:
        """Sizes of the kernel; without those of 1, as a 1-D convolution may be written in 2-D."""
        return tuple(size for size in self.shape[2:] if size > 1)

    @cached_property
    def least(self) -> float:
        """The norm below which a filter is dead: a thousandth of what a tenth of the layer's filters exceed."""
        return 1e-3 * float(np.sort(self.norm)[::-1][len(self.norm) // 10])

    @property
    def dead(self) -> NDArray[np.bool_]:
        """(O,), whether a filter is zero or nearly so."""
        dead: NDArray[np.bool_] = (self.norm < self.least) | (self.norm == 0)
        return dead

    @cached_property
    def scale(self) -> NDArray[np.float64]:
        """(O,), what distances are told in: the norm, of dead filters `least`."""
        return np.maximum(self.norm.astype(np.float64), self.least)

    def plain(self) -> Sketch:
        """The same without the batch normalisation, of the weights as they are stored; without biases."""
        return replace(self._over(self.gain), folded=False)

    def directions(self) -> Sketch:
        """The same of filters divided by their lengths; without biases."""
        return self._over(self.norm)

    def _over(self, divisor: NDArray[np.float32]) -> Sketch:
        """The same of filters divided by a number each, those by 0 as zeros; without biases."""
        factor = np.where(divisor == 0, 0, 1 / np.where(divisor == 0, 1, divisor)).astype(np.float32)
        return replace(
            self, digest="", norm=self.norm * np.abs(factor), bias=np.zeros_like(self.bias),
            gain=np.ones_like(self.gain), projection=self.projection * factor[:, None],
            rows=self.rows * factor[chosen(self.filters), None], columns=self.columns * factor[:, None],
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """As JSON types, without the numbers that `packed` gives."""
        return {
            "shape": list(self.shape), "folded": self.folded, "scaled": self.scaled, "dtype": self.dtype,
            "digest": self.digest,
        }  # fmt: skip

    def packed(self) -> NDArray[np.float32]:
        """All its numbers, one behind the other."""
        return np.concatenate([getattr(self, name).ravel() for name in _sizes(self.shape)])

    @classmethod
    def of(cls, entry: Mapping[str, Any], numbers: NDArray[Any]) -> Sketch:
        """The sketch of which `as_dict` made the entry and `packed` the numbers.

        Raises:
            InputError: they do not belong together.
        """
        shape = tuple(int(size) for size in entry["shape"])
        sizes = _sizes(shape)
        if min(shape) < 1 or numbers.dtype != np.float32 or numbers.shape != (sketch_size(shape),):
            raise InputError(f"the sketch of a layer of shape {shape} has {numbers.size} numbers of {numbers.dtype}")
        parts, start = {}, 0
        for name, size in sizes.items():
            parts[name] = numbers[start : start + math.prod(size)].reshape(size)
            start += math.prod(size)
        folded, scaled = bool(entry["folded"]), bool(entry["scaled"])
        return cls(shape, folded, scaled, str(entry["dtype"]), str(entry["digest"]), **parts)


def _sizes(shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shape of each part of a sketch, by the shape of the weight."""
    count, inputs = shape[0], shape[1]
    return {
        "norm": (count,), "bias": (count,), "gain": (count,), "projection": (count, PROJECTIONS),
        "rows": (min(count, _SAMPLED), inputs), "columns": (count, min(inputs, _SAMPLED)),
    }  # fmt: skip


def sketch_size(shape: Sequence[int]) -> int:
    """How many numbers the sketch of a weight of this shape has."""
    return sum(map(math.prod, _sizes(shape).values()))


def sketch(weight: TrainedWeight) -> Sketch:
    """The sketch of a layer's filters, in one pass over them."""
    shape = weight.shape
    norm, projected = np.empty(shape[0], np.float32), np.empty((shape[0], PROJECTIONS), np.float32)
    columns = np.empty((shape[0], len(chosen(shape[1]))), np.float32)
    rows = np.empty((len(chosen(shape[0])), shape[1]), np.float32)
    place = {int(row): number for number, row in enumerate(chosen(shape[0]))}
    directions = signs(shape).reshape(-1, PROJECTIONS)
    digest = hashlib.sha256()
    for start, part in effective_filters(weight):
        stop = start + len(part)
        digest.update(part.tobytes())
        wide = part.astype(np.float64)
        norm[start:stop] = np.sqrt(np.square(wide).sum(1))
        projected[start:stop] = wide @ directions / math.sqrt(PROJECTIONS)
        found = cells(part, shape)
        columns[start:stop] = found[:, chosen(shape[1])]
        for row in place.keys() & range(start, stop):
            rows[place[row]] = found[row - start]
    gain, bias = _affine(weight)
    factors = np.ones(shape[0], np.float32) if gain is None else _finite(gain)
    scaled = weight.is_float or weight.layer.is_convolution
    return Sketch(
        shape, gain is not None, scaled, weight.stored_dtype, digest.hexdigest(), norm, bias, factors, projected, rows,
        columns,
    )  # fmt: skip


def effective_filters(weight: TrainedWeight, *, plain: bool = False) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Some filters at a time, (rows, elements), and the number of the first; a batch normalisation multiplied in.

    Args:
        weight: of a layer.
        plain: whether the normalisation is left out.
    """
    gain = None if plain else _affine(weight)[0]
    filters = weight.filters
    rows = max(1, _CHUNK // max(1, filters.shape[1]))
    for start in range(0, len(filters), rows):
        part = real(np.asarray(filters[start : start + rows]))
        with np.errstate(over="ignore", invalid="ignore"):
            if gain is not None:
                part = part * gain[start : start + rows, None]
            part = part.astype(np.float32)
        yield start, np.nan_to_num(np.ascontiguousarray(part), posinf=0, neginf=0)


def cells(filters: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """(rows, I/group), one number of each filter and input channel: the window's weights, each with a drawn sign.

    Args:
        filters: (rows, elements).
        shape: (O, I/group, spatial…) of the layer.
    """
    windows = filters.reshape(len(filters), shape[1], -1)
    total = np.zeros(windows.shape[:2])
    for place, sign in enumerate(_signs(windows.shape[2], seed=1)):
        total += sign * windows[:, :, place]  # in one order, so that a filter gives the same wherever it stands
    return total.astype(np.float32)


def signs(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(I/group, elements of a window, PROJECTIONS), 1 or -1: the directions on which filters are projected."""
    window = math.prod(shape[2:])
    return _signs(shape[1] * window * PROJECTIONS, seed=0).reshape(shape[1], window, PROJECTIONS)


def chosen(count: int) -> NDArray[np.int64]:
    """Which of so many are sampled: up to 8, drawn by their number, sorted."""
    return np.sort(np.argsort(_bits(count, seed=2), kind="stable")[:_SAMPLED])


def _signs(count: int, seed: int) -> NDArray[np.float64]:
    bits = np.unpackbits(_bits(-(-count // 64), seed).astype("<u8").view(np.uint8))[:count]
    return 2.0 * bits.astype(np.float64) - 1.0


def _bits(count: int, seed: int) -> NDArray[np.uint64]:
    """Raw bits of PCG64, which are the same in every version of numpy (NEP 19)."""
    return np.asarray(np.random.PCG64(seed).random_raw(count), np.uint64)


def _affine(weight: TrainedWeight) -> tuple[NDArray[np.float64] | None, NDArray[np.float32]]:
    """What a batch normalisation right behind multiplies each filter with, None without one; and the biases, (O,)."""
    layer, count = weight.layer, weight.shape[0]
    own = weight.bias
    bias = np.zeros(count) if own is None or own.size != count else real(own).astype(np.float64).reshape(-1)
    behind = layer.graph_scope.only_reader(layer.taps["conv"])
    found = batch_norm(layer, behind) if behind is not None and operator(behind) == "BatchNormalization" else None
    if found is None or found.scale.shape != (count,) or not found.is_finite:
        return None, _finite(bias)
    return found.gain, _finite((bias - found.mean) * found.gain + found.shift)


def _finite(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
