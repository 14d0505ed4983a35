"""The layout of the vector that `onnxviz.passes.reductions` makes of a sample, and the moments that it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.maps.moments import Moments
from onnxviz.passes.reductions import TINY

# Longer rows of positions are not counted exactly in float32.
_MOST_POSITIONS = 2**23
# A float32 sum of more equal values is off by more than 1e-5.
_MOST_AT_ONCE = 2**13


@dataclass(frozen=True)
class _Turn:
    """One row of each tensor that has as many: most have one.

    Attributes:
        channels: which of all channels.
        rectified: where those stand that cannot be negative, among these.
        positions: of each of these channels.
        quantities: where their quantities stand, (quantities, channels).
        centred: which of these channels are centred; where their two numbers stand, (2, centred); and the centres.
    """

    channels: NDArray[Any]
    rectified: NDArray[Any]
    positions: NDArray[Any]
    quantities: NDArray[Any]
    centred: tuple[NDArray[Any], ...]


class ReducedLayout:
    """Where each number stands, for samples of one size.

    Args:
        shapes: int64 (tensors, 4): N, C, positions, and how many of these are averaged first.
        own: of each tensor, which of the N rows are the sample's own.
        rectified: of each tensor, whether none of its values is negative.
        centred: of each tensor, the channels that are also taken relative to a number, and the numbers.
        complete: as for `reduce_channels`.

    Attributes:
        channels: how many each tensor has.
        size: bytes of all the tensors, as float32.
    """

    def __init__(
        self,
        shapes: NDArray[Any],
        own: Sequence[NDArray[Any]],
        rectified: Sequence[bool],
        centred: Sequence[tuple[NDArray[Any], NDArray[Any]]],
        *,
        complete: bool,
    ) -> None:
        quantities = 5 if complete else 4
        counts = shapes[:, 1]
        self.complete = complete
        self.channels = tuple(int(count) for count in counts)
        self.size = int(4 * shapes[:, :3].prod(1).sum())
        self.tensor = np.repeat(np.arange(len(shapes)), counts)
        positions, lines = shapes[:, 2], np.maximum(shapes[:, 3], 1)
        longest = np.maximum(lines, positions // lines)  # what is added at once
        self.told = (positions > 0) & (positions < _MOST_POSITIONS) & (longest <= _MOST_AT_ONCE)
        first = np.cumsum(counts) - counts
        widths = quantities * counts + 2 * np.array([len(some) for some, _ in centred])
        begin = np.cumsum(shapes[:, 0] * widths) - shapes[:, 0] * widths
        self.turns: list[_Turn] = []
        for turn in range(max(len(rows) for rows in own)):
            there = [tensor for tensor, rows in enumerate(own) if len(rows) > turn]
            starts = {tensor: begin[tensor] + own[tensor][turn] * widths[tensor] for tensor in there}
            before = dict(zip(there, np.cumsum(counts[there]) - counts[there], strict=True))
            relative = [
                (
                    before[tensor] + centred[tensor][0],
                    starts[tensor] + quantities * counts[tensor] + _grid(2, len(centred[tensor][0])),
                    centred[tensor][1].astype(np.float64),
                )
                for tensor in there
            ]
            channels = np.concatenate([first[tensor] + np.arange(counts[tensor]) for tensor in there])
            tensor_of = self.tensor[channels]
            self.turns.append(
                _Turn(
                    channels,
                    np.flatnonzero(np.array(rectified)[tensor_of]),
                    positions[tensor_of],
                    np.concatenate([starts[tensor] + _grid(quantities, counts[tensor]) for tensor in there], 1),
                    tuple(np.concatenate(one, axis=-1) for one in zip(*relative, strict=True)),
                )
            )

    def moments(self, vector: NDArray[Any], sample: int) -> tuple[Moments, NDArray[Any]]:
        """The moments of all channels, and of which tensors they tell everything.

        Others have values that are not finite, or that cannot be counted so.

        Args:
            vector: what the sample was reduced to.
            sample: its number.
        """
        total = None
        told = self.told.copy()
        for turn in self.turns:
            one, doubtful = self._moments(turn, vector, sample)
            told[self.tensor[turn.channels[doubtful]]] = False
            if total is None and len(turn.channels) == len(self.tensor):
                total = one
                continue
            total = Moments.none(len(self.tensor)) if total is None else total
            before = total.part(turn.channels)
            before.add(one)
            total.replace(turn.channels, before)
        return Moments.none(len(self.tensor)) if total is None else total, told

    def _moments(self, turn: _Turn, vector: NDArray[Any], sample: int) -> tuple[Moments, NDArray[Any]]:
        """Those of one row of each tensor, and which of its channels are in doubt."""
        found = vector.take(turn.quantities).astype(np.float64)
        mean, squares, highest, fourth = found[:4]
        rectified, positions = turn.rectified, turn.positions
        channels = len(mean)
        with np.errstate(invalid="ignore", over="ignore"):
            doubtful = ~np.isfinite(found.sum(0))
            positive = fourth[rectified] * (positions[rectified] / TINY)
            counted = np.rint(positive)
            # What is smaller than the number that counts as one shows in a fraction.
            doubtful[rectified] |= ~(np.abs(positive - counted) <= 0.1)
            zeros = positions - found[4] if self.complete else np.zeros(channels)
            zeros[rectified] = positions[rectified] - counted
            fourth[rectified] = found[4][rectified] if self.complete else 0
            deviations = np.maximum(squares - mean**2, 0) * positions
            some, places, centres = turn.centred
            if some.size:
                apart, square = vector.take(places).astype(np.float64)
                deviations[some] = np.maximum(square - apart**2, 0) * positions[some]
                mean[some] = centres + apart
            moments = Moments(
                count=positions.copy(), nonfinite=np.zeros(channels, np.int64), mean=mean, deviations=deviations,
                lowest=fourth, highest=highest, zeros=zeros.astype(np.int64), sample=np.full(channels, sample),
            )  # fmt: skip
        return moments, doubtful


def _grid(rows: int, columns: int) -> NDArray[Any]:
    """Row by row, the numbers from 0."""
    return np.arange(rows * columns).reshape(rows, columns)
