"""The input above its maps: a signal above heat maps of its positions, slices of a volume above those of its maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.errors import InputError
from onnxviz.plots.lettering import DPI, rounded, shortened
from onnxviz.plots.mosaic import as_numbers, finite_range, spread
from onnxviz.plots.page import INK, FigurePage, PixelImage, write
from onnxviz.plots.signals import CAPTION, ROOM_FOR_POSITIONS, draw_signal, panel_height

_CHANNEL = 44
# Between tiles of a sheet, and above them.
_GAP, _COLUMN_LABELS = 4, 14
_SLICES = 8


def with_input_above(figure: Figure, given: NDArray[Any], positions: tuple[int, ...]) -> Figure:
    """Draws what a model was given between the captions of a figure of its maps and these.

    Args:
        figure: of maps with one or three spatial axes, as `plot_maps` makes it.
        given: (C, L) or (C, D, H, W).
        positions: of a map: (l,) or (d, h, w).

    Raises:
        InputError: it has other axes than the maps, or those are not one or three.
    """
    if given.ndim != len(positions) + 1 or len(positions) not in (1, 3):
        raise InputError(
            f"a signal (C, L) or a volume (C, D, H, W) is drawn above maps with as many axes, not {given.shape} above "
            f"maps of {'×'.join(map(str, positions))}"
        )
    if len(positions) == 1:
        return _with_signal(figure, as_numbers(given))
    return _with_volume(figure, as_numbers(given), positions[0])


def _with_signal(figure: Figure, signal: NDArray[Any]) -> Figure:
    """Draws a signal (C, L), as wide as the maps."""
    height = panel_height(len(signal), _CHANNEL)
    axes = _raised(figure, height + ROOM_FOR_POSITIONS + 8)
    top = -(height + ROOM_FOR_POSITIONS + 8)
    draw_signal(axes, signal, top=top, width=round(axes.get_xlim()[1]), each=_CHANNEL, ground=None)
    return figure


def _with_volume(figure: Figure, given: NDArray[Any], depth: int) -> Figure:
    """Draws slices of a volume (C, D, H, W), as wide as those of the maps, of which there are `depth`."""
    colours = len(given) in (3, 4)
    volume = given[:3] if colours else given[:1]
    words = "" if len(given) == 1 else f", channel{'s 0 to 2' if colours else ' 0'} of {len(given)}"
    shown = spread(depth, _SLICES)
    behind = slices_behind(shown, depth, volume.shape[1])
    tile = (figure.axes[0].get_xlim()[1] - _GAP * (len(shown) - 1)) / len(shown)
    high = round(tile * volume.shape[2] / volume.shape[3])
    top = -(_COLUMN_LABELS + 8 + high)
    axes = _raised(figure, 2 * CAPTION - top - _COLUMN_LABELS)
    low, most = finite_range(volume) or (0.0, 0.0)
    planes = np.where(np.isfinite(volume[:, behind]), volume[:, behind], low)
    planes = (planes - low) / (most - low) if most > low else np.full(planes.shape, 0.5)
    for column, place in enumerate(behind):
        left = column * (tile + _GAP)
        picture = np.broadcast_to(planes[:, column], (3, *planes.shape[2:])).transpose(1, 2, 0)
        extent = (left, left + tile, top + high, top)
        image = PixelImage(axes, extent=extent, interpolation="none", origin="upper")
        image.set(data=picture, clip_on=False)
        axes.add_image(image)
        write(axes, left + tile / 2, top - 4, str(place), 7, ha="center")
    slices = f"{len(shown)} of {volume.shape[1]} slices along the first axis"
    said = f"input{words}: {slices}, {rounded(low)} to {rounded(most)}"
    write(axes, 0, top - CAPTION - 4, shortened(said, 7, round(axes.get_xlim()[1])), 7, INK)
    return figure


def slices_behind(shown: Sequence[int], depth: int, deep: int) -> list[int]:
    """The slices of an input, 0…deep − 1, behind those of its maps, 0…depth − 1: at the same share of the depth."""
    return [min(int((place + 0.5) * deep / depth), deep - 1) for place in shown]


def _raised(figure: Figure, room: int) -> Axes:
    """Makes a figure taller between its facts and its picture, by so many pixels; gives the axes of the picture."""
    wide, tall = figure.get_size_inches()
    taller = tall + room / DPI
    places = [(axes, axes.get_position()) for axes in figure.axes]
    figure.set_size_inches(wide, taller)
    for axes, box in places:
        axes.set_position((box.x0, box.y0 * tall / taller, box.width, box.height * tall / taller))
    assert isinstance(figure, FigurePage)
    assert figure.heading is not None
    for text in (figure.heading, *figure.captions):
        across, down = text.get_position()
        text.set_position((across, down - room))
    return figure.axes[0]
