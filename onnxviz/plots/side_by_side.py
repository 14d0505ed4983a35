"""Side by side: explanations of several classes on one photo, as maps of one row and one scale."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.plots.has_map import HasMap


class SideBySide:
    """Explanations of one picture by one method, as `plot_explanation` takes maps of views.

    Args:
        explanations: one or more.

    Raises:
        InputError: they are of several inputs or methods, or a map has other axes than height and width.
    """

    one_photo = True
    outlines: tuple[tuple[tuple[float, float, float, float], str], ...] = ()

    def __init__(self, explanations: Sequence[HasMap]) -> None:
        if not explanations:
            raise InputError("no explanation was given")
        self._each = explanations
        first = explanations[0]
        if any(not np.array_equal(one.given, first.given) for one in explanations):
            raise InputError("explanations stand side by side where they are of one input; these are of several")
        if len({one.method for one in explanations}) > 1:
            raise InputError("maps on one scale are of one method, not of several")
        if any(one.map.ndim != 2 or one.given.ndim != 3 or one.labels for one in explanations):
            raise InputError("classes stand side by side in one file where the input is one picture; give a folder")
        self.map = np.stack([one.map for one in explanations])
        self.signed, self.of_pixels, self.method = first.signed, first.of_pixels, first.method
        self.given, self.source = first.given, first.source
        self.labels = tuple(one.title for one in explanations)
        self.title = ", ".join(self.labels)
        self.warnings = tuple(dict.fromkeys(text for one in explanations for text in one.warnings))

    @property
    def facts(self) -> list[str]:
        """What is true of all: sample, method, layer."""
        return [fact for fact in self._each[0].facts if all(fact in one.facts for one in self._each)]

    def behind(self, bands: Sequence[int] | None = None) -> str:
        """Which of the input's channels are shown."""
        return self._each[0].behind(bands)

    def upsampled(self, size: tuple[int, ...] | None = None) -> NDArray[Any]:
        """The maps at another size."""
        return np.stack([one.upsampled(size) for one in self._each])

    def photos(
        self, longest: int = 448, bands: Sequence[int] | None = None, slices: Sequence[int] | None = None
    ) -> list[NDArray[Any]]:
        """The one picture behind all, (H, W, 3) uint8."""
        return self._each[0].photos(longest, bands, slices)
