"""A plot of a layer's feature maps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError, SelectionError
from onnxviz.messages import one_of, refuse_unheeded
from onnxviz.plots.bars import draw_bars
from onnxviz.plots.input_above import with_input_above
from onnxviz.plots.lettering import noun_of, rounded
from onnxviz.plots.mosaic import (
    ValueRange,
    as_numbers,
    finite_range,
    flaw,
    grid_columns,
    scalings,
)
from onnxviz.plots.options import chosen_channels, one_layer
from onnxviz.plots.page import DIVERGING, SEQUENTIAL
from onnxviz.plots.photos import Photo
from onnxviz.plots.sheet import Sheet, draw, slices

_HEAT_CELL, _HEAT_WIDTH = 18, 540
_STRIP = "viridis"


@typed
def plot_maps(
    maps: ArrayLike | Mapping[str, NDArray[Any]],
    *,
    layer: str | None = None,
    sample: int = 0,
    spatial: int | None = None,
    first: int | None = 64,
    channels: Sequence[int] | None = None,
    sort: Literal["mean", "variance", "norm"] | None = None,
    style: Literal["grid", "strip", "lines"] | None = None,
    columns: int | None = None,
    scale: Literal["map", "layer", "symmetric", "standardize"] | None = None,
    cmap: str | None = None,
    parts: Sequence[str] | None = None,
    behind: NDArray[Any] | None = None,
    title: str | None = None,
    subtitle: str | None = None,
    photo: ArrayLike | None = None,
    photo_name: str | None = None,
    answer: str | None = None,
) -> Figure:
    """Returns a figure of a layer's feature maps for one input.

    Args:
        maps: (N, C, spatial...) or, for one input, (C, spatial...); any real type. Two spatial axes: one picture a
            map. One: a heat map, channels down,
            positions across. Three: one row a channel, up to 8 evenly spaced slices along the first spatial axis.
            None, or all of length 1 (dense layers, global poolings): bars, from zero, on one scale. Or what
            `onnxviz.capture` gives.
        layer: Of what `capture` gives, the layer to draw; None where it has one.
        sample: Which of the N inputs to show, 0..N-1.
        spatial: Number of spatial axes, 0..3, where the shape alone does not tell. None: 2 for arrays of 3 or 4
            axes, 3 for 5 axes, 1 for 2 axes, 0 for 1 axis.
        first: How many maps to show where `channels` is None; None: all.
        channels: Numbers of the maps to show, 0..C-1, in this order (before sorting).
        sort: Show the maps with the largest mean, variance or Euclidean norm first.
        style: "grid" (None), "strip" (all in one row), or "lines" (one spatial axis: a small line plot for each
            channel).
        columns: Maps in a row of a grid; None: 8, more where there are more than 64.
        scale: "map": each map over its own range. "layer": one range over all maps, also those not shown.
            "symmetric": the same about zero. "standardize": each map as 64 (x - mean) / std + 128, uint8.
            None: "map" for a grid, "standardize" for a strip, "layer" for heat maps of one spatial axis.
        cmap: matplotlib colour map, not for "lines"; None: "gray" for a grid, "viridis" for strips and heat maps,
            "RdBu_r" with "symmetric".
        parts: What the first spatial axis counts, one label each: `frame 0`, `frame 1`, … of a clip. None: positions.
        behind: What the model was given, (C, spatial...), of maps with one or three spatial axes: a signal is drawn
            above the maps, slices of a volume above those of its maps.
        title: First line; None: the layer's name, "Feature maps" for an array.
        subtitle: Words put before the facts that the second line states.
        photo: What the model was given, (H, W, 3) or (H, W), uint8, drawn to the left of the maps; None for no photo.
        photo_name: What the input is called, written below the photo; without one, before the facts.
        answer: What the model says of it, as `OutputPrediction.sentence`; written behind the title.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic, float32 0..1 or, standardized, uint8 0..255; the photo and the
        colour bar of a shared scale are images behind it. Maps that are not finite are framed and named; a constant one
        is a grey field with its value.

    Raises:
        SelectionError: A layer, channel or sample that is not there, or none is named of several layers.
        InputError: The maps cannot be drawn, or an option does not exist or does not fit them.
        UnheededOptionError: Bars have no style, scale, colour map or columns; lines no colour map; a strip no columns.
    """
    one_of("style", style or "grid", ("grid", "strip", "lines"))
    if scale is not None:
        one_of("scale", scale, ("map", "layer", "symmetric", "standardize"))
    if isinstance(maps, Mapping):
        name, found = one_layer(maps, layer, "maps")
        title = name if title is None else title
        array, spatial = as_numbers(found), found.ndim - 2 if spatial is None else spatial
    else:
        refuse_unheeded({"layer": layer}, "an array is of one layer")
        array = as_numbers(maps)
    values, samples = one_sample(array, sample, spatial)
    shown = Photo.of(photo, photo_name or "") if photo is not None else None
    if columns is not None and columns < 1:
        raise InputError(f"a grid of {columns} columns cannot be drawn; give 1 or more")
    chosen = chosen_channels(values, channels, first, sort)
    facts = [words for words in (photo_name if photo is None else None, subtitle) if words]
    if samples > 1:
        facts.append(f"input {sample + 1} of {samples}")
    facts.append(f"{len(chosen)} of {len(values)} maps")
    if sort is not None:
        facts.append(f"largest {sort} first")
    elif len(chosen) > 1 and chosen == list(range(len(chosen))):
        facts.append("in channel order")
    name = titled(title or "Feature maps", answer)
    if are_bars(values):
        refuse_look_of_bars(style=style, scale=scale, cmap=cmap, columns=columns, behind=behind)
        return draw_bars(values.reshape(-1), chosen, name, facts, shown)
    sizes = values.shape[1:] if parts is None else values.shape[2:]
    if sizes:
        facts.append("×".join(map(str, sizes)) + (" positions" if values.ndim == 2 else ""))
    if style == "lines" and values.ndim != 2:
        raise InputError(f"lines need maps with one spatial axis, not of shape {values.shape}")
    if style == "lines":
        refuse_unheeded({"cmap": cmap}, "lines has one colour")
    if style == "strip" or values.ndim != 3:
        refuse_unheeded({"columns": columns} if style != "lines" else {}, "these maps have no grid")
    heat = values.ndim == 2 and style != "lines"
    if values.ndim == 2:
        values = values[:, None]
    if scale is None:
        scale = "standardize" if style == "strip" else "layer" if heat else "map"
    usual = DIVERGING if scale == "symmetric" else _STRIP if heat or style == "strip" else SEQUENTIAL
    one_scale = scale in ("layer", "symmetric")
    window = ValueRange.around(values, symmetric=scale == "symmetric") if one_scale else None
    marks = [flaw(values[c]) for c in chosen]
    labels = [str(c) for c in chosen]
    scaled = (place(values[c]) for c, place in scalings(values, chosen, scale, window))

    if values.ndim == 4:
        sheet = slices(scaled, values.shape[1:], marks, labels, "channels", parts)
    elif heat:
        # Cells of a few positions are made wide: square ones would give a ribbon.
        wide = max(1, _HEAT_WIDTH // (_HEAT_CELL * values.shape[2]))
        sheet = Sheet(
            pictures=(picture.repeat(wide, axis=-1) for picture in scaled),
            shape=(1, values.shape[2] * wide),
            columns=1,
            marks=marks,
            row_labels=labels,
            largest=(_HEAT_CELL, 1200),
            gap=0,
            positions=values.shape[2],
            facts=[f"channels down, {'positions' if parts is None else noun_of(parts)} across"],
        )
    else:
        width = len(chosen) if style == "strip" else min(columns or grid_columns(len(chosen)), len(chosen))
        in_order = chosen == list(range(len(chosen)))
        sheet = Sheet(
            pictures=scaled,
            shape=values.shape[1:],
            columns=width,
            marks=marks,
            narrow_labels=labels[::width] if in_order and style != "strip" else [],
            column_labels=labels if in_order and style == "strip" else [],
            tile_labels=[] if in_order and style == "strip" else labels,
            largest=(300, 300) if style != "lines" else (64, 160),
            lines=style == "lines",
            facts=[] if parts is None else [f"{noun_of(parts)} down, positions across"],
        )
    words = {"map": "each on its own scale", "layer": "one scale over the layer", "standardize": "each standardized"}
    facts += [*sheet.facts, words.get(scale, "one scale about zero"), span_of(values)]
    levels = 255 if scale == "standardize" else 1
    sheet = replace(sheet, facts=facts, window=window, cmap=cmap or usual, levels=levels, photo=shown)
    figure = draw(sheet, name, "Feature maps")
    return figure if behind is None else with_input_above(figure, behind, sizes)


def titled(title: str, answer: str | None) -> str:
    """A title with the answer behind it, where there is one: `block1_conv1 · German shepherd 87.9 %`."""
    return f"{title} · {answer}" if answer else title


def span_of(values: NDArray[Any]) -> str:
    """From which to which finite value maps reach, of any shape, in words; activations have no unit."""
    ends = finite_range(values)
    return "no finite value" if ends is None else f"values {rounded(ends[0])} to {rounded(ends[1])}, no unit"


def are_bars(maps: NDArray[Any]) -> bool:
    """Whether these maps of one input, (C, spatial...), are one number each, which is drawn as a bar."""
    return maps.size == len(maps)


def refuse_look_of_bars(**look: object) -> None:
    """Refuses options that bars do not heed, where any of them is given, that is, is not None.

    Raises:
        UnheededOptionError: one is.
    """
    refuse_unheeded(look, "each of these maps is one number, drawn as a bar")


def one_sample(values: NDArray[Any], sample: int, spatial: int | None) -> tuple[NDArray[Any], int]:
    """Returns the maps of one input, (C, spatial...), and how many inputs there are."""
    usual = {1: 0, 2: 1, 3: 2, 4: 2, 5: 3}
    axes = usual.get(values.ndim, 0) if spatial is None else spatial
    if not 0 <= axes <= 3 or values.ndim not in (axes + 1, axes + 2):
        raise InputError(
            f"maps are (N, C, spatial...) or (C, spatial...) with up to 3 spatial axes, not of shape {values.shape}"
            + (f" with {spatial} of them" if spatial is not None else "")
        )
    if values.ndim == axes + 1:
        return values, 1
    if not 0 <= sample < len(values):
        raise SelectionError(f"there is no input {sample}; there are {len(values)}, counted from 0")
    return values[sample], len(values)
