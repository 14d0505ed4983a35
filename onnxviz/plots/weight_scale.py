"""The scale of weights: how they become shades, and what light and dark mean in words."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.messages import refuse_unheeded
from onnxviz.plots.lettering import rounded
from onnxviz.plots.mosaic import Picture, ValueRange
from onnxviz.plots.page import DIVERGING, SEQUENTIAL

CUT = 99.5
"""The percentile of the magnitude where a range about or from zero ends, unless told."""

Kind = Literal["layer", "filter", "symmetric", "zero"]


@dataclass(frozen=True)
class WeightScale:
    """How weights become 0..1.

    Attributes:
        kind: "layer", one range over the layer; "filter", each filter over its own; "symmetric", one about zero;
            "zero", one from zero.
        window: The range; None where each filter has its own.
        cut: The percentile of the magnitude where the range ends; None where all is inside.
    """

    kind: Kind
    window: ValueRange | None
    cut: float | None = None

    @classmethod
    def of(cls, values: NDArray[Any], kind: Kind, cut: float | None) -> "WeightScale":
        """Returns the scale of a layer.

        Args:
            values: What is drawn of all filters, any shape.
            kind: As the attribute.
            cut: A percentile above 0 to 100; None: 99.5. Where so few values differ from zero that it falls on zero,
                nothing is cut.

        Raises:
            InputError: `cut` is no such percentile.
            UnheededOptionError: `cut` is given, and `kind` has no range that is cut.
        """
        if kind in ("layer", "filter"):
            refuse_unheeded({"cut": cut}, f"{{scale}} {kind} goes from the least weight to the greatest")
            return cls(kind, ValueRange.around(values) if kind == "layer" else None)
        percentile = CUT if cut is None else float(cut)
        if not 0 < percentile <= 100:  # also NaN
            raise InputError(f"cut is {percentile:g}; it must be a percentile above 0 to 100")
        sizes = np.abs(values.astype(np.float64) if values.dtype.kind in "iu" else values)
        most = float(sizes.max(initial=0))
        if not math.isfinite(most):
            sizes = sizes[np.isfinite(sizes)]
            most = float(sizes.max(initial=0))
        limit = _percentile(sizes, percentile) if sizes.size else 0.0
        limit = limit if limit > 0 and math.isfinite(limit) else most
        window = ValueRange(-limit if kind == "symmetric" else 0.0, limit)
        return cls(kind, window, percentile if limit < most else None)

    @property
    def diverges(self) -> bool:
        """Whether zero is in the middle."""
        return self.kind == "symmetric"

    @property
    def beyond(self) -> tuple[bool, bool]:
        """Whether there are weights below and above the range."""
        return self.cut is not None and self.diverges, self.cut is not None

    def placing(self, own: NDArray[Any]) -> Callable[[NDArray[Any]], Picture]:
        """Returns what puts weights into 0..1; `own` are all those of their filter."""
        window = self.window or ValueRange.around(own)
        if self.cut is None:
            return window.place

        def placed(values: NDArray[Any]) -> Picture:
            found = window.place(values)
            return np.ma.MaskedArray(np.clip(found.data, 0, 1), mask=found.mask)

        return placed

    def words(self, cmap: str, *, coloured: bool = False, drawn: bool = True) -> list[str]:
        """Returns what the shades mean.

        Args:
            cmap: Name of the colour map.
            coloured: Three channels are drawn as red, green and blue.
            drawn: Shades are drawn at all; lines have none.
        """
        if self.window is None:
            shades = [] if coloured or cmap != SEQUENTIAL or not drawn else ["black: its least, white: its greatest"]
            return ["each filter on its own scale", *shades]
        low, high = rounded(self.window.low), rounded(self.window.high)
        below, above = (" or less", " or more") if self.cut is not None else ("", "")
        if not drawn:
            facts = [f"from {low} to {high}"]
        elif coloured and self.diverges:
            facts = ["mid-grey: 0", f"black: {low}{below}", f"white: {high}{above}, of each colour alone"]
        elif coloured or cmap == SEQUENTIAL:
            facts = [f"black: {low}{below if self.diverges else ''}", f"white: {high}{above}"]
        elif cmap == DIVERGING and self.diverges:
            facts = ["white: 0", f"darkest blue: {low}{below}", f"darkest red: {high}{above}"]
        else:
            facts = [f"colours from {low}{below if self.diverges else ''} to {high}{above}"]
        if self.cut is not None:
            facts.append(f"cut at the magnitude's percentile {self.cut:g}")
        where = {"layer": "one scale over the layer", "symmetric": "one scale about zero over the layer"}
        return [*facts, where.get(self.kind, "one scale from zero over the layer")]


def _percentile(values: NDArray[Any], percent: float) -> float:
    """As `np.percentile`, which takes a whole sort's time for millions of values: between the two ranks around it."""
    rank = (values.size - 1) * percent / 100
    below = int(rank)
    parted = np.partition(values, below, axis=None)
    low = float(parted[below])
    return low + (float(parted[below + 1 :].min()) - low) * (rank - below) if below + 1 < values.size else low
