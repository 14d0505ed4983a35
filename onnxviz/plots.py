"""Filters and feature maps as matplotlib figures: one image a figure, however many tiles it has.

What is asked for becomes a `Sheet` here, of scaled pictures and words; `sheet` draws it with matplotlib.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import ArrayLike

from onnxviz.errors import InputError, SelectionError
from onnxviz.files import replacing
from onnxviz.mosaic import (
    Array,
    Picture,
    Window,
    as_numbers,
    flaw,
    grid_columns,
    sort_channels,
    spread,
    standardize,
)
from onnxviz.overlay import plot_explanation, plot_patches
from onnxviz.sheet import Sheet, draw, draw_bars, save_figure
from onnxviz.trust import plot_faithfulness, plot_sanity

__all__ = [
    "plot_explanation",
    "plot_faithfulness",
    "plot_filters",
    "plot_maps",
    "plot_patches",
    "plot_sanity",
    "plot_synthetic",
    "save_figure",
    "save_picture",
]

_MOST_CHANNELS = 64
_HEAT_CELL, _HEAT_WIDTH = 18, 540
_SEQUENTIAL, _DIVERGING, _STRIP = "gray", "RdBu_r", "viridis"


class HasWeight(Protocol):
    """What `plot_filters` needs of a layer."""

    @property
    def name(self) -> str:
        """Title of the figure."""

    @property
    def weight(self) -> Array:
        """(O, I, spatial...)."""


def plot_filters(
    layer: HasWeight | ArrayLike,
    *,
    filters: Sequence[int] | None = None,
    first: int | None = 6,
    channels: Sequence[int] | None = None,
    style: Literal["rows", "grid", "rgb", "lines"] = "rows",
    scale: Literal["layer", "filter", "symmetric"] = "layer",
    cmap: str | None = None,
    title: str | None = None,
    layout: Literal["onnx", "keras"] = "onnx",
) -> Figure:
    """Returns a figure of a convolution's filters.

    Args:
        layer: A layer, or its weights: (O, I/group, spatial...) with 0 to 3 spatial axes, any real type.
        filters: Numbers of the filters to show, 0..O-1, in this order; None: the first `first`.
        first: How many filters to show where `filters` is None; None: all.
        channels: Numbers of the input channels to show, 0..I-1; None: the first 64 ("rows", "lines"), all others all.
        style: "rows": one row a filter, one column an input channel. "grid": one picture a filter, its only chosen
            channel or the mean over the chosen ones. "rgb": three-channel filters as colour. "lines": as "rows",
            for filters with one spatial axis. With three spatial axes "rows" and "grid" are the same: one row a
            filter, one column a slice along the first spatial axis, up to 8 evenly spaced ones.
        scale: "layer": one range over the whole layer, filters that are not shown included. "filter": each filter
            over its own range. "symmetric": one range about zero, zero in the middle. Where means over channels are
            shown, ranges are those of the means of all filters.
        cmap: matplotlib colour map; None: "gray", with "symmetric" "RdBu_r".
        title: None: the layer's name.
        layout: How the shape is written: "onnx" OIHW, "keras" HWIO. `layer` itself is always OIHW.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic, float32 0..1. Kernels that are constant or not finite are
        framed and named.

    Raises:
        SelectionError: A filter or channel that the layer does not have.
        InputError: The weights cannot be drawn, or an option does not exist or does not fit them.
    """
    _one_of("style", style, ("rows", "grid", "rgb", "lines"))
    _one_of("scale", scale, ("layer", "filter", "symmetric"))
    _one_of("layout", layout, ("onnx", "keras"))
    weight = as_numbers(getattr(layer, "weight", layer))  # type: ignore[arg-type]
    name = str(getattr(layer, "name", "Filters"))
    if not 2 <= weight.ndim <= 5:
        raise InputError(f"filters are (O, I, spatial...) with up to 3 spatial axes, not of shape {weight.shape}")
    spatial = "DHW"[5 - weight.ndim :]
    written = f"OI{spatial}", weight.shape
    if layout == "keras":
        written = f"{spatial}IO", (*weight.shape[2:], weight.shape[1], weight.shape[0])
    facts = [f"{written[0]} {'×'.join(map(str, written[1]))}"]
    if style == "lines" and weight.ndim != 3:
        raise InputError(f"lines need filters with one spatial axis, not of shape {weight.shape}")
    if weight.ndim < 4:
        weight = weight.reshape(*weight.shape[:2], 1, -1)
    chosen = _chosen(filters, first, weight.shape[0], "filter")
    tiled = style in ("rows", "lines") and weight.ndim < 5
    inputs = _chosen(channels, _MOST_CHANNELS if tiled else None, weight.shape[1], "channel")
    shown = f"{len(chosen)} of {weight.shape[0]} filters"
    cmap = cmap or (_DIVERGING if scale == "symmetric" else _SEQUENTIAL)
    window = Window.around(weight, symmetric=scale == "symmetric") if scale != "filter" else None
    labels = [str(number) for number in chosen]

    if tiled:
        facts += [f"rows: {shown}", f"columns: {len(inputs)} of {weight.shape[1]} input channels"]
        places = _places(weight, chosen, scale, window)
        scaled = (kernel for o, place in places for kernel in place(weight[o])[inputs])
        sheet = Sheet(
            pictures=scaled,
            shape=weight.shape[2:],
            columns=len(inputs),
            marks=[flaw(weight[o, i]) for o in chosen for i in inputs],
            row_labels=labels,
            column_labels=[str(i) for i in inputs],
            largest=(84, 160),
            lines=style == "lines",
        )
    elif style == "rgb":
        if len(inputs) != 3 or weight.ndim == 5:
            raise InputError(
                f"rgb needs 3 input channels and up to 2 spatial axes, not {len(inputs)} of shape {weight.shape}"
            )
        facts += [shown, f"red, green, blue: channels {', '.join(map(str, inputs))}"]
        planes = weight[:, inputs]
        places = _places(planes, chosen, scale, window)
        sheet = Sheet(
            pictures=(place(planes[o]).transpose(1, 2, 0) for o, place in places),
            shape=planes.shape[2:],
            columns=grid_columns(len(chosen)),
            marks=[flaw(planes[o]) for o in chosen],
            tile_labels=labels,
            largest=(140, 140),
            rgb=True,
        )
    else:
        one = len(inputs) == 1
        facts += [shown, f"channel {inputs[0]}" if one else f"mean over {len(inputs)} input channels"]
        means = weight[:, inputs[0]]
        if len(inputs) > 1:
            with np.errstate(invalid="ignore", over="ignore"):
                means = weight[:, inputs].mean(axis=1, dtype=np.float64)
            window = window and Window.around(means, symmetric=scale == "symmetric")
        marks = [flaw(means[o]) for o in chosen]
        scaled = (place(means[o]) for o, place in _places(means, chosen, scale, window))
        if weight.ndim == 5:
            sheet = _slices(scaled, means.shape[1], means.shape[2:], marks, labels, "filters")
        else:
            sheet = Sheet(
                pictures=scaled,
                shape=means.shape[1:],
                columns=grid_columns(len(chosen)),
                marks=marks,
                tile_labels=labels,
                largest=(140, 140),
            )
    words = {"layer": "one scale over the layer", "filter": "each filter on its own scale"}
    facts += [*sheet.facts, words.get(scale, "one scale about zero")]
    return draw(replace(sheet, facts=facts, window=window, cmap=cmap), title, name)


def plot_maps(
    maps: ArrayLike,
    *,
    sample: int = 0,
    spatial: int | None = None,
    first: int | None = 64,
    channels: Sequence[int] | None = None,
    sort: Literal["mean", "variance", "norm"] | None = None,
    style: Literal["grid", "strip", "lines"] = "grid",
    columns: int | None = None,
    scale: Literal["map", "layer", "symmetric", "standardize"] | None = None,
    cmap: str | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Figure:
    """Returns a figure of a layer's feature maps for one input.

    Args:
        maps: (N, C, spatial...) or, for one input, (C, spatial...); any real type. Two spatial axes: one picture a
            map. One: a heat map, channels down,
            positions across. Three: one row a channel, up to 8 evenly spaced slices along the first spatial axis.
            None, or all of length 1 (dense layers, global poolings): bars, from zero, on one scale.
        sample: Which of the N inputs to show, 0..N-1.
        spatial: Number of spatial axes, 0..3, where the shape alone does not tell. None: 2 for arrays of 3 or 4
            axes, 3 for 5 axes, 1 for 2 axes, 0 for 1 axis.
        first: How many maps to show where `channels` is None; None: all.
        channels: Numbers of the maps to show, 0..C-1, in this order (before sorting).
        sort: Show the maps with the largest mean, variance or Euclidean norm first.
        style: "grid", "strip" (all in one row), or "lines" (one spatial axis: a small line plot for each channel).
        columns: Maps in a row of a grid; None: 8, more where there are more than 64.
        scale: "map": each map over its own range. "layer": one range over all maps, also those not shown.
            "symmetric": the same about zero. "standardize": each map as 64 (x - mean) / std + 128, uint8.
            None: "map" for a grid, "standardize" for a strip, "layer" for heat maps of one spatial axis.
        cmap: matplotlib colour map; None: "gray" for a grid, "viridis" for strips and heat maps, "RdBu_r" with
            "symmetric".
        title: First line; None: "Feature maps".
        subtitle: Words put before the facts that the second line states.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic, float32 0..1 or, standardized, uint8 0..255. Maps that are
        constant or not finite are framed and named.

    Raises:
        SelectionError: A channel or sample that is not there.
        InputError: The maps cannot be drawn, or an option does not exist or does not fit them.
    """
    _one_of("style", style, ("grid", "strip", "lines"))
    _one_of("scale", scale, (None, "map", "layer", "symmetric", "standardize"))
    values, samples = _one_sample(as_numbers(maps), sample, spatial)
    if columns is not None and columns < 1:
        raise InputError(f"a grid of {columns} columns cannot be drawn; give 1 or more")
    chosen = _chosen(channels, first if sort is None else None, len(values), "channel")
    if sort is not None:
        order = sort_channels(values[chosen], sort)
        chosen = [chosen[place] for place in order[: first if channels is None else None]]
    facts = [subtitle] if subtitle else []
    if samples > 1:
        facts.append(f"input {sample} of {samples}")
    facts.append(f"{len(chosen)} of {len(values)} maps")
    if sort is not None:
        facts.append(f"largest {sort} first")
    if values.size == len(values):
        return draw_bars(values.reshape(-1), chosen, title, facts)
    facts.append("×".join(map(str, values.shape[1:])) + (" positions" if values.ndim == 2 else ""))
    if style == "lines" and values.ndim != 2:
        raise InputError(f"lines need maps with one spatial axis, not of shape {values.shape}")
    heat = values.ndim == 2 and style != "lines"
    if values.ndim == 2:
        values = values[:, None]
    if scale is None:
        scale = "standardize" if style == "strip" else "layer" if heat else "map"
    usual = _DIVERGING if scale == "symmetric" else _STRIP if heat or style == "strip" else _SEQUENTIAL
    one_scale = scale in ("layer", "symmetric")
    window = Window.around(values, symmetric=scale == "symmetric") if one_scale else None
    marks = [flaw(values[c]) for c in chosen]
    labels = [str(c) for c in chosen]
    scaled = (place(values[c]) for c, place in _places(values, chosen, scale, window))

    if values.ndim == 4:
        sheet = _slices(scaled, values.shape[1], values.shape[2:], marks, labels, "channels")
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
            facts=["channels down, positions across"],
        )
    else:
        width = len(chosen) if style == "strip" else min(columns or grid_columns(len(chosen)), len(chosen))
        in_order = chosen == list(range(len(chosen)))
        sheet = Sheet(
            pictures=scaled,
            shape=values.shape[1:],
            columns=width,
            marks=marks,
            row_labels=labels[::width] if in_order and style != "strip" else [],
            column_labels=labels if in_order and style == "strip" else [],
            tile_labels=[] if in_order else labels,
            largest=(300, 300) if style != "lines" else (64, 160),
            lines=style == "lines",
        )
    words = {"map": "each on its own scale", "layer": "one scale over the layer", "standardize": "each standardized"}
    facts += [*sheet.facts, words.get(scale, "one scale about zero")]
    levels = 255 if scale == "standardize" else 1
    return draw(replace(sheet, facts=facts, window=window, cmap=cmap or usual, levels=levels), title, "Feature maps")


def plot_synthetic(
    images: ArrayLike,
    *,
    labels: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Figure:
    """Returns a figure of synthetic inputs, such as `onnxviz.maximize` makes.

    Args:
        images: (N, spatial..., C) in 0..1. Two spatial axes: one picture each, of three channels in colour, of one in
            grey, of others a grey picture a channel. One: a line a channel. Three: the middle slice along the first.
        labels: One for each picture; None: their numbers.
        rows: For each picture the name of the row it goes in, equal ones next to each other; None: as they come.
        title: First line; None: "Synthetic inputs".
        subtitle: Words put before the facts that the second line states.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic, float32 0..1, with a fourth channel for what is left out.

    Raises:
        InputError: The pictures cannot be drawn, or there are not as many labels or rows.
    """
    values = as_numbers(images).astype(np.float32)
    if not 3 <= values.ndim <= 5:
        raise InputError(f"pictures are (N, spatial..., C) with 1 to 3 spatial axes, not of shape {values.shape}")
    facts = [*([subtitle] if subtitle else []), "×".join(map(str, values.shape[1:-1])) + " input"]
    if values.ndim == 5:
        facts.append(f"slice {values.shape[1] // 2} of {values.shape[1]}")
        values = values[:, values.shape[1] // 2]
    lines = values.ndim == 3
    if lines:
        values = values[:, None]
    names = [str(number) for number in range(len(values))] if labels is None else list(labels)
    groups = [""] * len(values) if rows is None else list(rows)
    if {len(names), len(groups)} != {len(values)}:
        raise InputError(f"{len(values)} pictures need as many labels and rows, not {len(names)} and {len(groups)}")
    if values.shape[3] not in (1, 3) or lines:
        # A row for each picture, a column for each channel.
        groups = [f"{group} {name}".strip() for group, name in zip(groups, names, strict=True)]
        names = [f"channel {channel}" for channel in range(values.shape[3])] * len(values)
        groups = [group for group in groups for _ in range(values.shape[3])]
        values = np.moveaxis(values, 3, 1).reshape(-1, *values.shape[1:3], 1)
    kinds = list(dict.fromkeys(groups))
    width = max(groups.count(kind) for kind in kinds) if rows is not None or kinds != [""] else len(values)
    columns = grid_columns(len(values)) if kinds == [""] else min(width, 8)
    places: list[int | None] = []
    heads: list[str] = []
    for kind in kinds:
        mine = [number for number, group in enumerate(groups) if group == kind]
        filled = -(-len(mine) // columns) * columns
        places += [*mine, *[None] * (filled - len(mine))]
        heads += [kind, *[""] * (filled // columns - 1)]
    while places and places[-1] is None and kinds == [""]:
        places.pop()
    flat = values.shape[3] == 1
    blank = np.ma.masked_array(np.zeros(values.shape[1:3] if flat else values.shape[1:], np.float32), mask=True)
    drawn = [np.ma.masked_invalid(value[..., 0] if flat else value) for value in values]
    sheet = Sheet(
        pictures=(blank if place is None else drawn[place] for place in places),
        shape=values.shape[1:3],
        columns=columns,
        marks=["" if place is None else flaw(values[place]).replace("const", "") for place in places],
        row_labels=heads if any(heads) else [],
        tile_labels=["" if place is None else names[place] for place in places],
        largest=(64, 160) if lines else (256, 256),
        lines=lines,
        rgb=not flat,
        facts=facts,
    )
    return draw(sheet, title, "Synthetic inputs")


def save_picture(image: ArrayLike, path: Path) -> Path:
    """Writes one picture as a PNG of its own size, and returns its path; the file appears whole or not at all.

    Args:
        image: (H, W, C) in 0..1; C is 1 (grey) or 3 (RGB), of others the channels are put side by side in grey.
        path: Ends in .png.

    Raises:
        OnnxvizError: The folder does not exist, or the file cannot be written.
    """
    pixels = np.rint(np.clip(np.asarray(image, np.float64), 0, 1) * 255).astype(np.uint8)
    if pixels.shape[2] != 3:
        pixels = np.concatenate(np.moveaxis(pixels, 2, 0), axis=1)[..., None].repeat(3, axis=2)
    with replacing(path) as unfinished:
        imsave(unfinished, pixels, format="png", metadata={"Software": ""})
    return path


def known_cmap(name: str | None) -> str | None:
    """Returns `name` if matplotlib has a colour map of that name, or None for None.

    Raises:
        SelectionError: It has none.
    """
    if name is not None and name not in colormaps:
        raise SelectionError(f"there is no colour map '{name}'; some of {len(colormaps)}: gray, viridis, magma, RdBu_r")
    return name


def _one_sample(values: Array, sample: int, spatial: int | None) -> tuple[Array, int]:
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


def _one_of(option: str, given: str | None, known: tuple[str | None, ...]) -> None:
    if given not in known:
        raise InputError(f"{option} {given!r} does not exist; choose from {', '.join(filter(None, known))}")


def _chosen(asked: Sequence[int] | None, first: int | None, count: int, noun: str) -> list[int]:
    """Returns the numbers to show: those asked for, or the first `first` of `count`."""
    if asked is None:
        if first is not None and first < 1:
            raise InputError(f"the first {first} {noun}s cannot be drawn; give 1 or more")
        return list(range(count if first is None else min(first, count)))
    numbers = [operator.index(number) for number in asked]
    if not numbers:
        raise SelectionError(f"no {noun} is chosen; there are {count}, 0 to {count - 1}")
    for number in numbers:
        if not 0 <= number < count:
            raise SelectionError(f"there is no {noun} {number}; there are {count}, 0 to {count - 1}")
    return numbers


def _places(
    values: Array, chosen: list[int], scale: str, window: Window | None
) -> Iterator[tuple[int, Callable[[Array], Picture]]]:
    """Yields each chosen number with the function that scales what belongs to it; ranges are found late."""
    for number in chosen:
        if window is not None:
            yield number, window.place
        elif scale == "standardize":
            yield number, standardize
        else:
            yield number, Window.around(values[number]).place


def _slices(
    volumes: Iterable[Picture], depth: int, shape: tuple[int, int], marks: list[str], labels: list[str], noun: str
) -> Sheet:
    """Returns a sheet with a row for each volume (D, H, W)."""
    shown = spread(depth, 8)
    return Sheet(
        pictures=(volume[position] for volume in volumes for position in shown),
        shape=shape,
        columns=len(shown),
        marks=marks,
        tiles_a_mark=len(shown),
        row_labels=labels,
        column_labels=[str(position) for position in shown],
        largest=(140, 140),
        facts=[f"rows: {noun}", f"columns: {len(shown)} of {depth} slices along the first axis"],
    )
