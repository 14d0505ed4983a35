"""Tiles of a page: filters and maps side by side in grey, what is between them transparent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.plots.mosaic import Grid, Picture, ValueRange, area_mean

_MAPS_A_ROW, _FILTERS_A_ROW = 8, 16


def map_tiles(maps: NDArray[Any], channels: Sequence[int], side: int, columns: int = _MAPS_A_ROW) -> NDArray[np.uint8]:
    """Maps of some channels, each on its own scale.

    Args:
        maps: (C, H, W), any real type.
        channels: numbers of those that are shown.
        side: pixels along the longer side of a tile, about.
        columns: of tiles.

    Returns:
        uint8 (height, width, 2): grey and opacity; what is not finite is transparent, as is what lies between.
    """
    height, width = maps.shape[1:]
    pictures = (ValueRange.around(maps[number]).place(maps[number]) for number in channels)
    return _laid(pictures, (len(channels), columns), (height, width), side)


def filter_tiles(weight: NDArray[Any], filters: Sequence[int], side: int) -> NDArray[np.uint8]:
    """Filters, each on its own scale, sixteen in a row: three channels in colour, of others the mean over channels.

    Args:
        weight: (O, I/group, H, W).
        filters: numbers of those that are shown.
        side: pixels along the longer side of a tile, about.

    Returns:
        uint8 (height, width, 4), RGB and opacity, of three channels; else (height, width, 2), grey and opacity.
    """
    height, width = weight.shape[2:]
    if weight.shape[1] != 3:
        with np.errstate(invalid="ignore", over="ignore"):
            return map_tiles(weight.mean(axis=1, dtype=np.float64), filters, side, _FILTERS_A_ROW)
    pictures = (ValueRange.around(weight[number]).place(weight[number]).transpose(1, 2, 0) for number in filters)
    return _laid(pictures, (len(filters), _FILTERS_A_ROW), (height, width), side)


def _laid(pictures: Iterable[Picture], counts: tuple[int, int], size: tuple[int, int], side: int) -> NDArray[np.uint8]:
    count, columns = counts
    grid = Grid.fit(count, min(count, columns), size, largest=(side, side), gap=2)
    mosaic = grid.lay(area_mean(one, *grid.entries) if one.shape[:2] != grid.entries else one for one in pictures)
    colours = mosaic if mosaic.ndim == 3 else mosaic[..., None]
    opaque = ~np.ma.getmaskarray(colours).any(axis=2, keepdims=True)
    grey = np.rint(255 * colours.filled(0)).astype(np.uint8)
    return np.concatenate([grey, np.where(opaque, 255, 0).astype(np.uint8)], axis=2)
