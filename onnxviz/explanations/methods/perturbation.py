"""Perturbation methods (occlusion, RISE): the input is changed and the score observed; no gradient is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.explanations.case import Case
from onnxviz.explanations.method import Method, MethodResult, check_finite, check_least
from onnxviz.inputs.interpolate import resized
from onnxviz.messages import printable

# Windows along the shorter side unless a window is given, and those of a volume, along its slices too: a picture is
# covered by 15 x 15 of them, which overlap by half, a volume by 7 x 7 x 7.
_WINDOWS, _WINDOWS_OF_VOLUME = 8, 4


class _OfPositions(Method):
    """What the methods share: the input has positions."""

    def check(self, case: Case) -> None:
        """Refuses an input without positions."""
        if not case.spatial[len(case.axes.parts) :]:
            raise InputError(f"input '{printable(case.probe.port.name)}' has no positions for {self.name} to cover")


@dataclass(frozen=True)
class Occlusion(_OfPositions):
    """By how much the score falls where a square is covered (Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2).

    A position's value is the mean fall over the squares that cover it, as in captum. Squares start every `stride`
    pixels until one reaches the far side; the last is cut off there. Of several views or frames each is covered alone.
    In volumes and clips a box is covered. Slices and frames (D) are no pixels: its default depth is a share of theirs.

    Attributes:
        window: side of the square or cube in pixels; None for an eighth of the shorter side, in volumes for a quarter
            of the shorter side of a slice, and a quarter of the slices.
        stride: its step in pixels; None for half a window.
        baseline: what is put there, in the model's input.
    """

    name: ClassVar[str] = "occlusion"
    source: ClassVar[str] = "Zeiler & Fergus 2014"
    signed: ClassVar[bool] = True
    window: int | None = None
    stride: int | None = None
    baseline: float = 0.0

    def __post_init__(self) -> None:
        check_least("window", self.window)
        check_least("stride", self.stride)
        check_finite("baseline", self.baseline)

    def __call__(self, case: Case) -> MethodResult:
        """The map of the input."""
        self.check(case)
        spatial, parts = case.spatial, len(case.axes.parts)
        window, stride = self._steps(spatial[parts:], case.axes.positions)
        views = product(*(range(size) for size in spatial[:parts]))
        squares = [(*view, *square) for view, square in product(views, list(_squares(spatial[parts:], window, stride)))]
        falls, covered = np.zeros(spatial), np.zeros(spatial)
        case.tell(0, len(squares))
        for first in range(0, len(squares), case.batch):
            part = squares[first : first + case.batch]
            masks = np.zeros((len(part), *spatial), bool)
            for mask, square in zip(masks, part, strict=True):
                mask[square] = True
            scores = case.scores(np.where(case.over_channels(masks), self.baseline, case.x))
            for square, score in zip(part, scores, strict=True):
                falls[square] += case.score - score
                covered[square] += 1
            case.tell(first + len(part), len(squares))
        return MethodResult(map=falls / np.maximum(covered, 1))

    def _steps(self, sizes: tuple[int, ...], letters: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(window, stride) along each axis of positions; `letters` says what those count, "" where it is not told."""
        sliced = [letter == "D" for letter in letters] if len(letters) > 2 else [False] * len(sizes)
        side = min(size for size, apart in zip(sizes, sliced, strict=True) if not apart)
        count = _WINDOWS_OF_VOLUME if len(sizes) > 2 else _WINDOWS
        shares = [size if apart else side for size, apart in zip(sizes, sliced, strict=True)]
        window = [self.window or max(1, round(share / count)) for share in shares]
        stride = [self.stride or max(1, one // 2) for one in window]
        for step, one in zip(stride, window, strict=True):
            if step > one:
                raise InputError(f"with a stride of {step}, squares of {one} would leave gaps; take {one} or less")
        return tuple(window), tuple(stride)


@dataclass(frozen=True)
class Rise(_OfPositions):
    """E[P(x·M)·M] / keep over random masks M (Petsiuk et al. 2018, RISE, arXiv 1806.07421, equation 6).

    P is the class's probability where the target is a classifier's, else the score. Masks are `cells`² random bits,
    enlarged linearly and shifted by a random part of a cell, as in the authors' code. Each view or frame has its own.

    Attributes:
        samples: number of masks.
        cells: along each side of a mask, before it is enlarged.
        keep: the share of cells that stay, above 0 and up to 1.
        seed: of the masks.
    """

    name: ClassVar[str] = "rise"
    source: ClassVar[str] = "Petsiuk et al. 2018"
    samples: int = 1000
    cells: int = 7
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_least("samples", self.samples)
        check_least("cells", self.cells)
        check_least("seed", self.seed, 0)
        if not 0 < self.keep <= 1:
            raise InputError(f"keep is {self.keep:g}; it is a share, above 0 and up to 1")

    def __call__(self, case: Case) -> MethodResult:
        """The map of the input."""
        self.check(case)
        spatial, parts = case.spatial, len(case.axes.parts)
        views = math.prod(spatial[:parts])
        rng = np.random.default_rng(self.seed)
        total = np.zeros(spatial)
        case.tell(0, self.samples)
        for first in range(0, self.samples, case.batch):
            rows = min(case.batch, self.samples - first)
            drawn = [random_mask(rng, spatial[parts:], self.cells, self.keep) for _ in range(rows * views)]
            masks = np.stack(drawn).reshape(rows, *spatial)
            scores = case.probabilities(case.x * case.over_channels(masks))
            total += np.tensordot(scores, masks.astype(np.float64), 1)
            case.tell(first + rows, self.samples)
        return MethodResult(map=total / self.samples / self.keep)


def _squares(spatial: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    starts = [
        range(0, math.ceil(max(size - side, 0) / step) * step + 1, step)
        for size, side, step in zip(spatial, window, stride, strict=True)
    ]
    for corner in product(*starts):
        yield tuple(
            slice(start, min(start + side, size)) for start, side, size in zip(corner, window, spatial, strict=True)
        )


def random_mask(rng: np.random.Generator, spatial: tuple[int, ...], cells: int, keep: float) -> NDArray[Any]:
    """One mask, (spatial…) float32 0…1."""
    grid = (rng.random((cells,) * len(spatial)) < keep).astype(np.float32)
    cell = [math.ceil(size / cells) for size in spatial]
    shift = [int(rng.integers(0, side)) for side in cell]
    large = resized(grid, [(cells + 1) * side for side in cell])
    return large[tuple(slice(start, start + size) for start, size in zip(shift, spatial, strict=True))]
