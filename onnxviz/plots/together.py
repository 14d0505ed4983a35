"""A plot of one layer's maps for several photos: a column a photo, a row a channel."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.messages import one_of
from onnxviz.plots.lettering import rounded
from onnxviz.plots.maps import span_of
from onnxviz.plots.mosaic import ValueRange, as_numbers, flaw, standardize
from onnxviz.plots.options import chosen_channels, one_layer
from onnxviz.plots.page import DIVERGING, SEQUENTIAL
from onnxviz.plots.photos import Photo
from onnxviz.plots.sheet import Sheet, draw

MOST_TOGETHER = 12
"""How many photos fit side by side."""

_WORDS = {
    "channel": "each channel on one scale over all inputs",
    "map": "each map on its own scale",
    "layer": "one scale over all",
    "symmetric": "one scale about zero",
    "standardize": "each map standardized",
}


@typed
def plot_maps_together(
    maps: ArrayLike | Mapping[str, NDArray[Any]],
    *,
    layer: str | None = None,
    photos: Sequence[ArrayLike | None] | None = None,
    photo_names: Sequence[str] | None = None,
    answers: Sequence[str] | None = None,
    first: int | None = 12,
    channels: Sequence[int] | None = None,
    sort: Literal["mean", "variance", "norm"] | None = None,
    scale: Literal["channel", "map", "layer", "symmetric", "standardize"] | None = None,
    cmap: str | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Figure:
    """Returns a figure of one layer's maps for several inputs side by side: the same channels in each row.

    Args:
        maps: (N, C, H, W), or (N, C, positions) of signals, with up to 12 inputs; any real type. Or what
            `onnxviz.capture` gives.
        layer: Of what `capture` gives, the layer to draw; None where it has one.
        photos: What the model was given, one for each input: (H, W, 3) uint8, None where there is no picture.
        photo_names: What they are called, one for each input.
        answers: What the model says of them, one for each input.
        first: How many channels to show where `channels` is None; None: all.
        channels: Numbers of the channels to show, 0..C-1, in this order (before sorting).
        sort: Show the channels with the largest mean, variance or Euclidean norm over all inputs first.
        scale: "channel" (None): each channel over its range on all inputs, so that a row can be compared. "map": each
            map over its own. "layer": one range over everything, also channels not shown. "symmetric": the same about
            zero. "standardize": each map as 64 (x - mean) / std + 128, uint8.
        cmap: matplotlib colour map; None: "gray", "RdBu_r" with "symmetric".
        title: First line; None: the layer's name, "Feature maps" for an array.
        subtitle: Words put before the facts that the second line states.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic, a row a channel and a column an input, float32 0..1 or,
        standardized, uint8 0..255; the photos above it are images behind it.

    Raises:
        SelectionError: A layer or channel that is not there, or none is named of several layers.
        InputError: The maps cannot be drawn so, or photos, names or answers are not one for each input.
    """
    scale = scale or "channel"
    one_of("scale", scale, _WORDS)
    if isinstance(maps, Mapping):
        name, array = one_layer(maps, layer, "maps")
        title = name if title is None else title
    else:
        array = np.asarray(maps)
    values = as_numbers(array)
    if values.ndim not in (3, 4):
        kinds = "(N, C, H, W) or (N, C, positions)"
        raise InputError(f"maps side by side are {kinds}, not of shape {values.shape}; draw those of each input alone")
    if len(values) > MOST_TOGETHER:
        advice = f"give up to {MOST_TOGETHER}, or draw a contact sheet"
        raise InputError(f"{len(values)} inputs do not fit side by side; {advice}")
    columns = _columns(len(values), photos, photo_names, answers)
    over_all = np.moveaxis(values, 1, 0)
    chosen = chosen_channels(over_all, channels, first, sort)
    if values.ndim == 3:
        values, over_all = values[:, :, None], over_all[:, :, None]
    shared = ValueRange.around(values, symmetric=scale == "symmetric") if scale in ("layer", "symmetric") else None
    windows = {number: ValueRange.around(over_all[number]) for number in chosen} if scale == "channel" else {}

    def scaled(number: int, one: NDArray[Any]) -> Any:
        if scale == "standardize":
            return standardize(one)
        return (shared or windows.get(number) or ValueRange.around(one)).place(one)

    facts = [subtitle] if subtitle else []
    facts.append(f"{len(chosen)} of {len(over_all)} channels down, {len(values)} inputs across")
    facts.append(f"largest {sort} over all first" if sort else "in channel order" if channels is None else "as chosen")
    facts += ["×".join(map(str, array.shape[2:])), _WORDS[scale], span_of(values)]
    sheet = Sheet(
        pictures=(scaled(number, one) for number in chosen for one in over_all[number]),
        shape=values.shape[2:],
        columns=len(values),
        marks=[flaw(one) for number in chosen for one in over_all[number]],
        row_labels=[str(number) for number in chosen],
        row_notes=[f"{rounded(windows[number].low)} to {rounded(windows[number].high)}" for number in windows],
        largest=(150, 150) if values.shape[2] > 1 else (24, 240),
        column_photos=columns,
        facts=facts,
        window=shared,
        cmap=cmap or (DIVERGING if scale == "symmetric" else SEQUENTIAL),
        levels=255 if scale == "standardize" else 1,
    )
    return draw(sheet, title, "Feature maps")


def _columns(
    count: int,
    photos: Sequence[ArrayLike | None] | None,
    names: Sequence[str] | None,
    answers: Sequence[str] | None,
) -> list[Photo]:
    """What stands above each column.

    Raises:
        InputError: there is not one for each.
    """
    for what, given in (("photos", photos), ("photo_names", names), ("answers", answers)):
        if given is not None and len(given) != count:
            raise InputError(f"there are {count} inputs, but {len(given)} {what}; give one for each")
    if photos is None and names is None and answers is None:
        return [Photo(None, f"input {number}") for number in range(count)]
    none = [""] * count
    return [
        Photo.of(pixels, name, answer)
        for pixels, name, answer in zip(photos or [None] * count, names or none, answers or none, strict=True)
    ]
