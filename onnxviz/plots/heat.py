"""Heat: the colours of explanations' maps, alone and laid on a photo, and the bar that says what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from onnxviz.plots.colour_bar import ColourBar
from onnxviz.plots.has_map import HasMap
from onnxviz.plots.mosaic import ValueRange
from onnxviz.plots.page import DIVERGING

HEAT = "inferno"
"""The colour map of maps without sign."""

PERCENTILE = 99
"""Up to which single pixels have colours of their own: some stand out so far that the rest would be black."""

Smooth = Literal["none", "bilinear"]
# How much of a heat map's colour covers the photo where the map is largest, and how far the photo fades below it.
_COVER, _FADE = 0.82, 0.45


@dataclass(frozen=True)
class Heat:
    """How the values of maps become colours, of one map or of several on one scale.

    Attributes:
        low: The value that the colours begin at.
        high: The value that they end at; where it is `low`, nothing stands out, and nothing is coloured.
        cmap: Name of a matplotlib colour map.
        signed: Whether the middle of the range, not its low end, is "nothing" and so transparent.
        beyond: Whether there are values below and above the range, which have the colours of its ends.
    """

    low: float
    high: float
    cmap: str
    signed: bool
    beyond: tuple[bool, bool] = (False, False)

    @classmethod
    def of(cls, explanations: Sequence[HasMap], cmap: str | None) -> "Heat":
        """That of maps of one kind.

        Args:
            explanations: one or more, all signed or none.
            cmap: None for the usual one.
        """
        first = explanations[0]
        values = np.concatenate([one.map.astype(np.float64).reshape(-1) for one in explanations])
        least, most = float(values.min()), float(values.max())
        share = PERCENTILE if first.of_pixels else 100
        if first.signed:
            high = float(np.percentile(np.abs(values), share))
            return cls(-high, high, cmap or DIVERGING, True, (least < -high, most > high))
        high = max(float(np.percentile(values, share)), 0.0)
        low = least if least > high / 2 else 0.0
        return cls(low, high, cmap or HEAT, False, (False, most > high))

    @property
    def window(self) -> ValueRange:
        """The range of values, which is not empty."""
        return ValueRange(self.low, self.high if self.high > self.low else self.low + 1)

    def at(self, explanation: HasMap, size: tuple[int, ...], smooth: Smooth | None = None) -> NDArray[np.float64]:
        """The map, or maps, at the size of a photo, cut to the range.

        Args:
            explanation: whose map it is.
            size: of the photo, (H, W), or (L,) of a signal.
            smooth: as for `plot_explanation`.
        """
        if smooth != "none":
            large = explanation.upsampled(size)
        else:  # each pixel is of the cell that its centre lies in
            rows, columns = (
                (np.arange(pixels) * 2 + 1) * cells // (2 * pixels)
                for pixels, cells in zip(size, explanation.map.shape[-2:], strict=True)
            )
            large = explanation.map[..., rows, :][..., columns]
        return np.clip(large.astype(np.float64), self.low, self.high)

    def alone(self, heat: NDArray[Any]) -> NDArray[Any]:
        """The colours (…, 3) of values (…), 0…1."""
        colours: NDArray[Any] = mpl.colormaps[self.cmap](self._placed(heat))[..., :3]
        return colours

    def on(self, ground: NDArray[Any], heat: NDArray[Any]) -> NDArray[Any]:
        """Colours over a ground (…, 3) of 0…1, the more opaque the further a value is from nothing."""
        placed = self._placed(heat)
        strength = np.abs(2 * placed - 1) if self.signed else placed
        cover = (_COVER * strength)[..., None]
        return ground * (1 - cover) + self.alone(heat) * cover

    def on_photo(self, photo: NDArray[Any], heat: NDArray[Any]) -> NDArray[Any]:
        """Colours over a grey copy of a photo, (H, W, 3) uint8, to 0…1."""
        return self.on(_grey(photo), heat)

    def _placed(self, heat: NDArray[Any]) -> NDArray[Any]:
        placed: NDArray[Any] = self.window.place(heat).filled(0.5 if self.signed else 0)
        return placed

    def draw_bar(self, axes: Axes, left: float, top: float, width: float) -> None:
        """Draws the colour bar of the bare map."""
        ColourBar(self.window, self.cmap, beyond=self.beyond).draw(axes, left, top, width)


def _grey(photo: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3) uint8 as pale grey, 0…1: colour is left to the map (luma of ITU-R BT.601)."""
    luma = photo @ np.array([0.299, 0.587, 0.114]) / 255
    pale: NDArray[Any] = np.clip(1 - (1 - _FADE) * (1 - luma[..., None]) - _FADE * 0.25, 0, 1)
    return pale.repeat(3, axis=2)
