"""A sliced volume: an explanation of an input with three spatial axes, as maps of its slices side by side."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from onnxviz.messages import refuse_unheeded
from onnxviz.plots.has_map import HasMap
from onnxviz.plots.mosaic import spread


class SlicedVolume:
    """Slices along the first spatial axis of an explanation's input and map, as `plot_explanation` takes views.

    Args:
        explanation: whose map has three axes; it is interpolated to the depth of the input.
        most: how many slices at most; of more, so many, evenly spaced.

    Attributes:
        enlarged: How coarse the map is before that; "" where it is as fine as the input.
    """

    one_photo, source, region = False, "input", None
    outlines: tuple[tuple[tuple[float, float, float, float], str], ...] = ()

    def __init__(self, explanation: HasMap, most: int = 24) -> None:
        self._whole = explanation
        self.given = explanation.given
        self._depth, height, width = self.given.shape[1:]
        self.slices = spread(self._depth, most)
        self.map = self.upsampled((height, width))
        self.signed, self.of_pixels = explanation.signed, explanation.of_pixels
        self.title, self.method, self.warnings = explanation.title, explanation.method, explanation.warnings
        of = f": {len(self.slices)} of {self._depth}" if len(self.slices) < self._depth else ""
        cut = f"slices along the first axis{of}"
        self.facts, self.common = [*explanation.facts, cut], [*explanation.common, cut]
        self.answer, self.way, self.sample = explanation.answer, explanation.way, explanation.sample
        cells = explanation.map.shape
        coarse = any(own < whole for own, whole in zip(cells, self.given.shape[1:], strict=True))
        self.enlarged = f"map of {'×'.join(map(str, cells))}, enlarged linearly" if coarse else ""
        self.labels = tuple(f"slice {place}" for place in self.slices)

    def behind(self, bands: Sequence[int] | None = None) -> str:
        """Which of the input's channels are shown."""
        return self._whole.behind(bands)

    def upsampled(self, size: tuple[int, ...] | None = None) -> NDArray[Any]:
        """The map of each slice, at the input's height and width or at another size, interpolated along all axes."""
        size = self.given.shape[2:] if size is None else size
        return self._whole.upsampled((self._depth, *size))[self.slices]

    def photos(
        self, longest: int = 448, bands: Sequence[int] | None = None, slices: Sequence[int] | None = None
    ) -> list[NDArray[Any]]:
        """The slices of the input, (H, W, 3) uint8 each."""
        return self._whole.photos(longest, bands, slices if slices is not None else self.slices)


def refuse_look_of_volume(smooth: object) -> None:
    """Refuses how a picture would be enlarged, asked for of a volume; None is not asked for."""
    refuse_unheeded({"smooth": smooth}, "the input is no picture, and its map is interpolated along all axes")
