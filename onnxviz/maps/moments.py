"""Moments: counts, extremes, means and variances of channels, merged from parts.

Counts, sums of counts and extremes merge exactly. Means and sums of squared deviations merge in float64 by the
formulas of Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (1983).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[Any]


@dataclass
class Moments:
    """What is known of some values, channel by channel; each array is (channels,).

    Attributes:
        count: int64, how many values there were, NaN and infinite ones too.
        nonfinite: int64, how many of them were NaN or infinite; the other numbers leave those out.
        mean: float64; 0 where there were no values.
        deviations: float64, the sum of (x - mean)²; the variance is this over count - nonfinite.
        lowest, highest: float64, infinite where there were no values.
        zeros: int64, how many were 0.
        sample: int64, the number of the sample that gave `highest`, the first of equals; -1 where there is none.
    """

    count: Vector
    nonfinite: Vector
    mean: Vector
    deviations: Vector
    lowest: Vector
    highest: Vector
    zeros: Vector
    sample: Vector

    @classmethod
    def none(cls, channels: int) -> Moments:
        """Those of no values."""
        whole, real = np.zeros(channels, np.int64), np.zeros(channels)
        return cls(
            count=whole, nonfinite=whole.copy(), mean=real, deviations=real.copy(), lowest=np.full(channels, np.inf),
            highest=np.full(channels, -np.inf), zeros=whole.copy(), sample=np.full(channels, -1),
        )  # fmt: skip

    @classmethod
    def of(cls, values: NDArray[Any], sample: int) -> Moments:
        """Those of an array (rows, channels, …), computed in float64."""
        flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1).astype(np.float64)
        finite = np.isfinite(flat)
        there = finite.sum(1)
        kept = np.where(finite, flat, 0)
        mean = kept.sum(1) / np.maximum(there, 1)
        # The second term takes back what rounding left in the mean (Chan, Golub and LeVeque 1983, eq. 1.7).
        apart = np.where(finite, flat - mean[:, None], 0)
        rest = apart.sum(1) / np.maximum(there, 1)
        return cls(
            count=np.full(len(flat), flat.shape[1], np.int64),
            nonfinite=(flat.shape[1] - there).astype(np.int64),
            mean=mean + rest,
            deviations=(apart**2).sum(1) - rest**2 * there,
            lowest=np.where(finite, flat, np.inf).min(1, initial=np.inf),
            highest=np.where(finite, flat, -np.inf).max(1, initial=-np.inf),
            zeros=(flat == 0).sum(1).astype(np.int64),
            sample=np.where(there > 0, sample, -1).astype(np.int64),
        )

    @classmethod
    def joined(cls, parts: list[Moments]) -> Moments:
        """The channels of several, one behind the other."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def part(self, channels: slice | Vector) -> Moments:
        """Some of the channels."""
        return Moments(**{f.name: getattr(self, f.name)[channels] for f in fields(self)})

    def replace(self, channels: slice | Vector, other: Moments) -> None:
        """Puts others in the place of some channels."""
        for f in fields(self):
            getattr(self, f.name)[channels] = getattr(other, f.name)

    @property
    def variance(self) -> Vector:
        """float64, the mean of (x - mean)²; NaN where there are no finite values."""
        there = self.count - self.nonfinite
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(there > 0, self.deviations / there, np.nan)

    def add(self, other: Moments) -> None:
        """Takes in the values behind another, whose samples come later or are the same."""
        mine, theirs = self.count - self.nonfinite, other.count - other.nonfinite
        share = theirs / np.maximum(mine + theirs, 1)
        apart = other.mean - self.mean
        self.deviations = self.deviations + other.deviations + apart**2 * (mine * share)
        self.mean = self.mean + apart * share  # where there was nothing, the mean is 0 and the share 1
        self.sample = np.where(other.highest > self.highest, other.sample, self.sample)
        self.lowest = np.minimum(self.lowest, other.lowest)
        self.highest = np.maximum(self.highest, other.highest)
        self.count = self.count + other.count
        self.nonfinite = self.nonfinite + other.nonfinite
        self.zeros = self.zeros + other.zeros
