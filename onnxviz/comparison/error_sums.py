"""Error sums: signal, noise and largest difference of each channel, added up over samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class ErrorSums:
    """What two arrays differ by, channel by channel; each array is (channels,), float64 or int64.

    Values that are not finite in either are left out of all sums but `unlike`.

    Attributes:
        signal: Σ a².
        noise: Σ (a − b)².
        cross: Σ a·(a − b).
        largest: the largest |a − b|.
        count: how many values went into the sums.
        unlike: how many are NaN or infinite in one and something else in the other.
        sample: the number of the sample with the most noise in relation to its signal; -1 where there is none.
        worst: Σ (a − b)² / Σ a² of that sample, over all channels.
    """

    signal: NDArray[Any]
    noise: NDArray[Any]
    cross: NDArray[Any]
    largest: NDArray[Any]
    count: NDArray[Any]
    unlike: NDArray[Any]
    sample: int = -1
    worst: float = -1.0

    @classmethod
    def of(cls, a: NDArray[Any], b: NDArray[Any], axis: int, sample: int) -> ErrorSums:
        """Those of one sample.

        Args:
            a: any shape.
            b: of the same shape.
            axis: which axis counts channels; of fewer axes the last counts them, a number alone is one channel.
            sample: its number.
        """
        a, b = np.atleast_1d(a), np.atleast_1d(b)
        axis = min(axis, a.ndim - 1)
        one, other = (np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) for array in (a, b))
        one, other = one.astype(np.float64), other.astype(np.float64)
        unlike = np.zeros(len(one), np.int64)
        count = np.full(len(one), one.shape[1], np.int64)
        finite = np.isfinite(one) & np.isfinite(other)
        if not finite.all():
            same = (one == other) | (np.isnan(one) & np.isnan(other))
            unlike, count = (~finite & ~same).sum(1), finite.sum(1)
            one, other = np.where(finite, one, 0), np.where(finite, other, 0)
        apart = one - other
        signal, noise = np.einsum("cp,cp->c", one, one), np.einsum("cp,cp->c", apart, apart)
        total = float(noise.sum())
        worst = 0.0 if not total else total / float(signal.sum()) if signal.any() else np.inf
        if unlike.any():
            worst = np.inf
        largest = np.abs(apart).max(1, initial=0)
        return cls(signal, noise, np.einsum("cp,cp->c", one, apart), largest, count, unlike, sample, worst)

    @classmethod
    def total(cls, parts: Sequence[ErrorSums]) -> ErrorSums:
        """Those of several samples together; one at least."""
        found = replace(parts[0])
        for part in parts[1:]:
            found.add(part)
        return found

    def add(self, other: ErrorSums) -> None:
        """Takes in another sample's."""
        self.signal = self.signal + other.signal
        self.noise = self.noise + other.noise
        self.cross = self.cross + other.cross
        self.largest = np.maximum(self.largest, other.largest)
        self.count = self.count + other.count
        self.unlike = self.unlike + other.unlike
        if other.worst > self.worst:
            self.sample, self.worst = other.sample, other.worst

    @property
    def sqnr(self) -> float:
        """10·log₁₀(Σ a² / Σ (a − b)²) in dB; infinite where nothing differs, NaN where `unlike` is not 0."""
        if self.unlike.any():
            return float("nan")
        return decibels(float(self.signal.sum()), float(self.noise.sum()))

    @property
    def channel_sqnr(self) -> NDArray[Any]:
        """float64 (channels,), as `sqnr`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = 10 * np.log10(self.signal / self.noise)
        found: NDArray[Any] = np.where(self.unlike > 0, np.nan, np.where(self.noise == 0, np.inf, ratios))
        return found

    @property
    def cosine(self) -> float:
        """Σ ab / √(Σ a² · Σ b²), −1…1; 1 where nothing differs, NaN where either is zero throughout.

        Worked out from a and a − b, which tells 1 − 1e-14 from 1. That leaves no digits of a b that is 10⁵ times
        smaller than a, for which it is NaN as well.
        """
        a, d, cross = float(self.signal.sum()), float(self.noise.sum()), float(self.cross.sum())
        b = a - 2 * cross + d
        if a <= 0 or b <= 1e-10 * a:
            return 1.0 if d == 0 else float("nan")
        return float(np.clip((a - cross) / np.sqrt(a * b), -1, 1))

    @property
    def worst_channel(self) -> int:
        """The channel with the largest part of the noise; one that is `unlike` first; -1 where nothing differs."""
        if self.unlike.any():
            return int(self.unlike.argmax())
        return int(self.noise.argmax()) if self.noise.any() else -1


def decibels(signal: float, noise: float) -> float:
    """10·log₁₀(signal / noise): infinite without noise, −infinite without signal."""
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")
