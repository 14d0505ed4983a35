"""Mosaics: arrays scaled, reduced and laid out as tiles of one array; pure numpy, nothing is drawn.

A *picture* is a masked array, (height, width) or (height, width, 3), of float32 in 0..1 or of uint8 in 0..255;
what is masked has no finite value. A *tile* is the place of one picture in a mosaic.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxviz.errors import InputError
from onnxviz.messages import one_of

Picture = np.ma.MaskedArray[Any, Any]

ZERO = "0 everywhere"
"""What a map of zeros is called."""

MIDDLE = 0.5
"""Where a value is drawn that has no range to be placed in: a constant map in its own range."""

_STATISTICS: dict[str, Callable[[NDArray[Any]], float]] = {
    "mean": lambda values: float(values.mean()),
    "variance": lambda values: float(values.var()),
    "norm": lambda values: float(np.linalg.norm(values)),
}

_WIDTH, _HEIGHT = 1200, 2400
"""A mosaic's usual limits in pixels; it grows beyond them only to keep its tiles recognisable."""

_LARGEST = 4000
"""The limit in pixels that no side of a mosaic may need to pass."""

_SMALL = 24
"""A tile's side in pixels below which gaps shrink."""

_THIN = 12
"""Pixels that a tile of one row or one column is stretched to."""


def as_numbers(values: ArrayLike) -> NDArray[Any]:
    """Returns `values` as a real numeric array, without a copy where it is one.

    Args:
        values: Any shape; bool, integer, floating point, or an extension type that float64 can hold (bfloat16).

    Raises:
        InputError: The array is empty, or is not made of real numbers.
    """
    array = np.asarray(values)
    if array.size == 0:
        raise InputError(f"an array of shape {array.shape} holds no values to draw")
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind in "iuf":
        return array
    if array.dtype.kind == "V" and np.can_cast(array.dtype, np.float64):
        return array.astype(np.float64)
    raise InputError(f"an array of {array.dtype} cannot be drawn; give real numbers")


def finite_range(values: NDArray[Any]) -> tuple[float, float] | None:
    """Returns the least and the greatest finite value, or None where there is none. Any shape."""
    with np.errstate(invalid="ignore"):
        low, high = float(values.min()), float(values.max())
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


def flaw(values: NDArray[Any]) -> str:
    """Returns what is odd about a map in a word or two: "0 everywhere", "constant 0.31", "NaN 3%", "inf"; else "".

    Args:
        values: One map or kernel, any shape. A single value is never called constant.
    """
    words = []
    nan = float(np.isnan(values).mean())
    if nan > 0:
        percent = min(round(100 * nan), 99 if nan < 1 else 100)
        words.append(f"NaN {percent}%" if percent else "NaN <1%")
    if np.isinf(values).any():
        words.append("inf")
    if not words and values.size > 1 and values.min() == values.max():
        words.append(f"constant {float(values.flat[0]):.3g}".replace("-", "−") if values.flat[0] else ZERO)
    return ", ".join(words)


def is_still(mark: str) -> bool:
    """Whether a map is called odd only for having one value everywhere."""
    return mark == ZERO or mark.startswith("constant")


def count_flaws(marks: list[str]) -> list[str]:
    """Returns one fact that counts the marked maps."""
    kinds = Counter("constant" if is_still(mark) else "not finite" for mark in marks if mark)
    return [f"marked: {', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))}"] if kinds else []


@dataclass(frozen=True)
class ValueRange:
    """The range of values that is drawn from black to white: `low` becomes 0, `high` becomes 1."""

    low: float
    high: float

    @classmethod
    def around(cls, values: NDArray[Any], *, symmetric: bool = False) -> "ValueRange":
        """Returns the window from the least to the greatest finite value of `values` (any shape).

        Args:
            values: What the window has to hold.
            symmetric: Centre the window on zero, so that zero becomes exactly 0.5.
        """
        low, high = finite_range(values) or (0.0, 0.0)
        if symmetric:
            high = max(abs(low), abs(high))
            low = -high
        return cls(low, high)

    def place(self, values: NDArray[Any]) -> Picture:
        """Returns (values - low) / (high - low) as float32 in 0..1, same shape, masked where not finite.

        Where `low` equals `high` everything finite becomes 0.5.
        """
        finite = np.isfinite(values)
        if self.low == self.high:
            placed = np.full(values.shape, MIDDLE, np.float32)
        else:
            # A power of two changes no digit, and keeps high - low finite for values near the type's limits.
            shift = -math.frexp(max(abs(self.low), abs(self.high)))[1]
            low, high = math.ldexp(self.low, shift), math.ldexp(self.high, shift)
            with np.errstate(invalid="ignore", over="ignore"):
                placed = ((np.ldexp(values.astype(np.float64), shift) - low) / (high - low)).astype(np.float32)
        return np.ma.MaskedArray(np.where(finite, placed, np.float32(0)), mask=~finite)


def standardize(values: NDArray[Any]) -> Picture:
    """Returns 64 (values - mean) / std + 128, clipped to 0..255, as uint8 of the same shape.

    The display scaling of Chollet, Deep Learning with Python (2017), section 5.4.1. Mean and std are over the
    finite values; what is not finite is masked; a constant map becomes 128 throughout.
    """
    finite = np.isfinite(values)
    low, high = finite_range(values) or (0.0, 0.0)
    if low == high:
        return np.ma.MaskedArray(np.full(values.shape, 128, np.uint8), mask=~finite)
    # As in Window.place: the result does not depend on a common factor, overflow in the variance does.
    shift = -math.frexp(max(abs(low), abs(high)))[1]
    numbers = np.ldexp(np.where(finite, values, 0).astype(np.float64), shift)
    inside = numbers[finite]
    scaled = (numbers - inside.mean()) / inside.std() * 64 + 128
    return np.ma.MaskedArray(np.clip(scaled, 0, 255).astype(np.uint8), mask=~finite)


def scalings(
    values: NDArray[Any], chosen: list[int], scale: str, window: ValueRange | None
) -> Iterator[tuple[int, Callable[[NDArray[Any]], Picture]]]:
    """Yields each chosen number with the function that scales what belongs to it; ranges are found late."""
    for number in chosen:
        if window is not None:
            yield number, window.place
        elif scale == "standardize":
            yield number, standardize
        else:
            yield number, ValueRange.around(values[number]).place


def measure_of(values: NDArray[Any], by: str) -> float:
    """Returns the "mean", "variance" or "norm" (Euclidean) of the finite ones of values of any shape; −inf of none."""
    finite = values[np.isfinite(values)].astype(np.float64)
    return _STATISTICS[by](finite) if finite.size else -math.inf


def sort_channels(values: ArrayLike, by: str) -> NDArray[np.intp]:
    """Returns all channel numbers, the channel with the largest statistic first; equal ones stay in order.

    Args:
        values: (C, ...), any numeric type. Only finite values count; a channel without any comes last.
        by: "mean", "variance" or "norm" (the Euclidean norm, the root of the sum of squares).

    Raises:
        InputError: `by` is none of these, or `values` has no channel axis.
    """
    one_of("order of channels", by, _STATISTICS)
    channels = as_numbers(values)
    if channels.ndim == 0:
        raise InputError("a single number has no channels to sort")
    low, high = finite_range(channels) or (0.0, 0.0)
    # One common factor keeps the order; without it squares overflow.
    shift = -math.frexp(max(abs(low), abs(high)))[1]
    statistics = [measure_of(np.ldexp(channel.astype(np.float64), shift), by) for channel in channels]
    return np.argsort(-np.array(statistics), kind="stable")


def area_mean(picture: Picture, height: int, width: int) -> Picture:
    """Returns the picture reduced to (height, width): each entry the mean of the area it covers.

    Args:
        picture: (H, W) or (H, W, 3) with H >= height and W >= width. Masked entries do not count.
        height: Rows of the result.
        width: Columns of the result.
    """
    total = _reduce(_reduce(picture.filled(0), height, 0), width, 1)
    hidden = np.ma.getmaskarray(picture)
    if not hidden.any():
        return np.ma.MaskedArray(_like(total, picture.dtype), mask=np.zeros(total.shape, bool))
    weight = _reduce(_reduce(~hidden, height, 0), width, 1)
    # Sums of fractions leave crumbs; an area of which less than a thousandth is finite has no value.
    empty = weight < 1e-3
    mean = total / np.where(empty, 1, weight)
    return np.ma.MaskedArray(_like(np.where(empty, 0, mean), picture.dtype), mask=empty)


def _like(mean: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns float means in the picture's own type and range."""
    limited: NDArray[Any] = np.clip(np.rint(mean), 0, 255) if dtype == np.uint8 else np.clip(mean, 0, 1)
    return limited.astype(dtype)


def _reduce(values: NDArray[Any], size: int, axis: int) -> NDArray[Any]:
    """Returns area means along one axis: sums between whole entries, corrected by the parts at fractional edges."""
    length = values.shape[axis]
    if length == size:
        return values.astype(np.float64)
    rows = np.moveaxis(values, axis, 0)
    edges = np.linspace(0, length, size + 1)[:-1]
    whole = edges.astype(np.intp)
    parts = (edges - whole).reshape(-1, *[1] * (rows.ndim - 1)) * rows[whole]
    means = np.add.reduceat(rows, whole, axis=0, dtype=np.float64) - parts
    means[:-1] += parts[1:]
    means *= size / length
    return np.moveaxis(means, 0, axis)


@dataclass(frozen=True)
class Grid:
    """Where each tile of a mosaic lies, in pixels from the top left corner.

    Attributes:
        count: Number of tiles.
        columns: Tiles in a row.
        entries: (height, width) of a picture after reduction, before its entries are repeated.
        zoom: (down, across): how often each entry is repeated.
        gap: Pixels between tiles.
        header: Pixels kept free above each tile for a label.
    """

    count: int
    columns: int
    entries: tuple[int, int]
    zoom: tuple[int, int]
    gap: int
    header: int

    @classmethod
    def fit(
        cls,
        count: int,
        columns: int,
        picture: tuple[int, int],
        *,
        largest: tuple[int, int],
        gap: int = 4,
        header: int = 0,
    ) -> "Grid":
        """Returns the grid whose tiles are as large as the mosaic's usual size allows.

        Args:
            count: Number of pictures, at least 1.
            columns: Pictures in a row, at least 1.
            picture: (height, width) of every picture.
            largest: (height, width) in pixels that a tile should not pass by much.
            gap: Pixels between tiles; at most 2 where tiles become small.
            header: Pixels above each tile for a label.

        Raises:
            InputError: So many pictures do not fit one mosaic of 4000 pixels a side.
        """
        rows = -(-count // columns)
        if min(_HEIGHT // rows, _WIDTH // columns) < _SMALL:
            gap = min(gap, 2)
        room = (
            min(_room(rows, picture[0], _HEIGHT, gap + header), largest[0]),
            min(_room(columns, picture[1], _WIDTH, gap), largest[1]),
        )
        if min(room) < 1:
            raise InputError(f"{rows} rows of {columns} pictures do not fit one figure; choose fewer")
        factor = min(room[0] / picture[0], room[1] / picture[1])
        entries, zoom = picture, 1
        if factor < 1:
            entries = (max(1, round(picture[0] * factor)), max(1, round(picture[1] * factor)))
        else:
            # A little over the limit is better than far below it: zoom is a whole number.
            zoom = int(factor * 1.15)
        down, across = (max(zoom, int(min(_THIN, room[axis]) // entries[axis])) for axis in (0, 1))
        return cls(count, columns, entries, (down, across), gap, header)

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.count // self.columns)

    @property
    def tile(self) -> tuple[int, int]:
        """(height, width) of a tile in pixels."""
        return self.entries[0] * self.zoom[0], self.entries[1] * self.zoom[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the mosaic in pixels."""
        height = self.rows * (self.tile[0] + self.header + self.gap) - self.gap
        return height, self.columns * (self.tile[1] + self.gap) - self.gap

    def corner(self, number: int) -> tuple[int, int]:
        """(top, left) of tile `number` in pixels, below its header."""
        row, column = divmod(number, self.columns)
        top = row * (self.tile[0] + self.header + self.gap) + self.header
        return top, column * (self.tile[1] + self.gap)

    def cut(self, mosaic: Picture, number: int) -> Picture:
        """Returns the picture in tile `number` of `mosaic`, its repeated entries taken once."""
        top, left = self.corner(number)
        height, width = self.tile
        cut: Picture = mosaic[top : top + height : self.zoom[0], left : left + width : self.zoom[1]]
        return cut

    def lay(self, pictures: Iterable[Picture]) -> Picture:
        """Returns one array with every picture in its tile; everything between tiles is masked.

        Args:
            pictures: `count` pictures of one shape and type; pictures larger than `entries` are reduced.

        Returns:
            (height, width) or (height, width, 3), the pictures' own type.
        """
        mosaic: Picture | None = None
        for number, picture in enumerate(pictures):
            if picture.shape[:2] != self.entries:
                picture = area_mean(picture, *self.entries)
            if mosaic is None:
                shape = self.shape + picture.shape[2:]
                mosaic = np.ma.MaskedArray(np.zeros(shape, picture.dtype), mask=np.ones(shape, bool))
            top, left = self.corner(number)
            place = (slice(top, top + self.tile[0]), slice(left, left + self.tile[1]))
            mosaic[place] = picture.repeat(self.zoom[0], axis=0).repeat(self.zoom[1], axis=1)
        if mosaic is None:
            raise InputError("a mosaic needs at least one picture")
        return mosaic


def _room(tiles: int, size: int, usual: int, between: int) -> int:
    """Returns the pixels one of `tiles` tiles gets along an axis, 0 where they do not fit at all."""
    side = max(usual, min(tiles * (min(size, 32) + between), _LARGEST))
    room = (side + between) // tiles - between
    return room if room >= min(size, 3) else 0


def grid_columns(count: int) -> int:
    """Returns how many pictures go in a row: 8, more where 64 do not suffice, always a multiple of 8."""
    return min(count, max(8, 8 * math.ceil(math.sqrt(count) / 8)))


def spread(length: int, most: int) -> list[int]:
    """Returns up to `most` evenly spaced positions from 0 to length - 1, both ends included."""
    return [int(position) for position in np.linspace(0, length - 1, min(length, most)).round()]


def label_step(labels: Sequence[str], pitch: int, needed: int) -> int:
    """Returns 1, 2, 4, 8 ...: how many places of `pitch` pixels a label needs that takes `needed` pixels."""
    step = 1
    while step * pitch < needed and step < len(labels):
        step *= 2
    return step
