"""Values that are not finite: where NaN and infinity begin, counted while maps stream by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.messages import printable


@dataclass(frozen=True)
class NotFinite:
    """Values of one layer, or of one input, that are not finite numbers.

    Attributes:
        where: "layer" or "input".
        name: of the layer, or of the model's input.
        nan, infinite: how many values are NaN, and how many ±infinity.
        values: how many there are of those samples that have any.
        samples: how many samples have any.
        first: label of the first of them.
    """

    where: str
    name: str
    nan: int
    infinite: int
    values: int
    samples: int
    first: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


class FiniteWatch:
    """Counts what is not finite; holds numbers alone, no arrays."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], NotFinite] = {}

    def see(self, where: str, name: str, values: NDArray[Any], labels: Sequence[str], axis: int = 0) -> None:
        """Looks at a batch.

        Args:
            where: "layer" or "input".
            name: of the layer or input.
            values: any shape and type.
            labels: of the batch's samples.
            axis: of `values`, which counts samples; where it has another length, `values` are the first sample's.
        """
        if values.dtype.kind != "f" or not values.size or _finite(values):
            return
        rows = [values]
        if values.ndim > axis and values.shape[axis] == len(labels):
            rows = list(np.moveaxis(values, axis, 0))
        for row, label in zip(rows, labels, strict=False):
            if not _finite(row):
                nan = int(np.isnan(row).sum())
                found = NotFinite(where, name, nan, int(np.isinf(row).sum()), row.size, 1, label)
                self._found[where, name] = _joined(self._found.get((where, name)), found)

    def found(self, layers: Sequence[str]) -> tuple[NotFinite, ...]:
        """What was seen, inputs first, then layers in the order of `layers`, the graph's: it begins in the first."""
        order = {name: place for place, name in enumerate(layers)}
        return tuple(sorted(self._found.values(), key=lambda one: (one.where == "layer", order.get(one.name, -1))))


def _finite(values: NDArray[Any]) -> bool:
    """Whether all values are: extremes hand NaN on, and no array of marks is made."""
    return bool(np.isfinite(values.min()) and np.isfinite(values.max()))


def _joined(before: NotFinite | None, found: NotFinite) -> NotFinite:
    if before is None:
        return found
    counts = {name: getattr(before, name) + getattr(found, name) for name in ("nan", "infinite", "values", "samples")}
    return NotFinite(found.where, found.name, first=before.first, **counts)


def words(found: Sequence[NotFinite], samples: int) -> str:
    """One line that says what is not finite and where it begins; "" where all is.

    Args:
        found: inputs first, then layers in the order of the graph.
        samples: how many samples there were.
    """
    if not found:
        return ""
    begin, behind = found[0], len(found) - 1
    kinds = [kind for kind, count in (("NaN", begin.nan), ("infinity", begin.infinite)) if count]
    text = (
        f"{' and '.join(kinds)} in the maps: it begins in {begin.where} '{printable(begin.name)}', in "
        f"{begin.nan + begin.infinite:,} of {begin.values:,} values"
    )
    text += f" of {begin.samples} of {samples} inputs, first in {begin.first}" if samples > 1 else f" of {begin.first}"
    if behind:
        text += f"; {behind} other layer{'s have' if behind > 1 else ' has'} values that are not finite, too"
    return text
