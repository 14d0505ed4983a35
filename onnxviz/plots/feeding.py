"""A plot of what one filter reads most: the kernels of its strongest connections."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, SelectionError
from onnxviz.messages import percent
from onnxviz.plots.filter_matrix import norms_of
from onnxviz.plots.lettering import shortened, width_of
from onnxviz.plots.mosaic import flaw
from onnxviz.plots.options import chosen_numbers
from onnxviz.plots.sheet import Sheet, slices
from onnxviz.plots.weight_scale import Kind, WeightScale

FEEDERS = 16
"""How many connections are shown unless told."""

_TILE, _COLUMNS, _LETTERS = 140, 8, 7


def strongest_channels(weight: NDArray[Any], filter_: int) -> tuple[list[int], NDArray[np.float64]]:
    """Returns the input channels of a filter, that with the largest norm first, and each one's share, in that order.

    Args:
        weight: (O, I, spatial...).
        filter_: A filter, 0..O-1.

    Returns:
        (channels, shares): all I of them, equal ones in their order; shares of the filter's squared Euclidean norm,
        0..1, zeros where it has none. Kernels that are not finite come last, with a share of 0.
    """
    norms = norms_of(weight[filter_ : filter_ + 1])[0]
    finite = np.where(np.isfinite(norms), norms, -1.0)
    order = np.argsort(-finite, kind="stable")
    sizes = np.maximum(finite[order], 0)
    squares = (sizes / (sizes[0] or 1.0)) ** 2
    return order.tolist(), squares / (squares.sum() or 1.0)


def feeding_sheet(
    weight: NDArray[Any], filter_: int, first: int | None, sources: Sequence[str] | None, scale: Kind, cut: float | None
) -> tuple[Sheet, WeightScale]:
    """Returns a sheet of a filter's kernels, the strongest first, and its scale.

    Args:
        weight: (O, I, spatial...).
        filter_: The filter.
        first: How many kernels; None: 16.
        sources: What each of the I channels is called; None: its number.
        scale: Of the weights: over the layer, the filter, or about zero.
        cut: Where a scale about zero ends.

    Raises:
        SelectionError: There is no such filter.
        InputError: There are not as many names as channels, or 0 or fewer are asked for.
    """
    count, channels = weight.shape[:2]
    if not 0 <= filter_ < count:
        raise SelectionError(f"there is no filter {filter_}; there are {count}, 0 to {count - 1}")
    if sources is not None and len(sources) != channels:
        raise InputError(f"{len(sources)} names were given for {channels} input channels")
    if weight.ndim < 4:
        weight = weight.reshape(*weight.shape[:2], 1, -1)
    scaling = WeightScale.of(weight, scale, cut)
    order, shares = strongest_channels(weight, filter_)
    shown = chosen_numbers(None, FEEDERS if first is None else first, channels, "input channel")
    numbers = [order[place] for place in shown]
    kernels, place = weight[filter_], scaling.placing(weight[filter_])
    labels = [_label(sources[number] if sources else str(number), shares[at]) for at, number in enumerate(numbers)]
    facts = [
        f"filter {filter_} of {count}",
        f"the {len(numbers)} of {channels} input channels that it reads most, "
        f"{percent(float(shares[: len(numbers)].sum()))} of its squared norm",
        "of each its share",
    ]
    marks = [flaw(kernels[number]) for number in numbers]
    pictures = (place(kernels[number]) for number in numbers)
    if weight.ndim == 5:
        sheet = slices(pictures, weight.shape[2:], marks, labels, "input channels")
        return replace(sheet, facts=[*facts, *sheet.facts]), scaling
    sheet = Sheet(
        pictures=pictures,
        shape=(weight.shape[2], weight.shape[3]),
        columns=min(len(numbers), _COLUMNS),
        marks=marks,
        tile_labels=labels,
        largest=(_TILE, _TILE),
        facts=facts,
    )
    return sheet, scaling


def _label(name: str, share: float) -> str:
    """A channel's name and its share, as wide as a tile at most."""
    value = f": {percent(share)}"
    return shortened(name, _LETTERS, _TILE - 12 - width_of(value, _LETTERS)) + value
