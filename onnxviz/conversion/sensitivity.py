"""Sensitivity of a source: how far its own values move when its input moves by one unit in the last place.

A network that amplifies rounding gives other values each time something is added up in another order, in its own
framework too: by how much is told by inputs that no float32 tells apart (Higham 2002, Accuracy and Stability of
Numerical Algorithms, section 1.6: forward error ≤ condition number · backward error).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.conversion.converter import SourceModel
from onnxviz.runtime.difference import difference

# A conversion rounds at each layer, not at the input alone: this many times the sensitivity is allowed, but no more
# than this share of the largest value, beyond which a network says nothing that could be compared.
FACTOR, MOST = 8, 1e-2
_DRAWS = 3


class Sensitivity:
    """The sensitivity of one source on one input; measured when it is asked for.

    Args:
        source: the model of another framework.
        feeds: its input.
    """

    def __init__(self, source: SourceModel, feeds: Mapping[str, NDArray[Any]]) -> None:
        self._source = source
        self._feeds = feeds

    def of_outputs(self) -> list[float]:
        """Of each output, the largest difference as a share of its largest value."""
        base = self._source.run(self._feeds).outputs
        moved = [self._source.run(feeds).outputs for feeds in self._moved()]
        return [max((_relative(one[place], known) for one in moved), default=0.0) for place, known in enumerate(base)]

    def of_map(self, path: str) -> float:
        """As `of_outputs`, of the feature maps of a layer, whichever call moves most."""
        base = self._source.run(self._feeds, [path]).maps[path]
        moved = [self._source.run(feeds, [path]).maps[path] for feeds in self._moved()]
        return max((_relative(a, b) for one in moved for a, b in zip(one, base, strict=True)), default=0.0)

    def _moved(self) -> list[dict[str, NDArray[Any]]]:
        """The input with each float one unit in the last place up or down, at random; none where it has no floats."""
        if not any(array.dtype.kind == "f" for array in self._feeds.values()):
            return []
        rng = np.random.default_rng(0)
        return [{name: _nudged(array, rng) for name, array in self._feeds.items()} for _ in range(_DRAWS)]


def allowed(tolerance: float, sensitivity: float) -> float:
    """The relative difference that rounding explains, where a source is so sensitive."""
    return max(tolerance, min(FACTOR * sensitivity, MOST))


def _nudged(array: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    towards = np.where(rng.integers(0, 2, array.shape) > 0, np.inf, -np.inf).astype(array.dtype)
    moved: NDArray[Any] = np.nextafter(array, towards)
    return moved


def _relative(one: Sequence[Any] | NDArray[Any], other: Sequence[Any] | NDArray[Any]) -> float:
    relative = difference(np.asarray(one), np.asarray(other))[1]
    return relative if np.isfinite(relative) else 0.0
