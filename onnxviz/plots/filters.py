"""A plot of a convolution's filters."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.messages import one_of, refuse_unheeded
from onnxviz.plots.mosaic import ValueRange, as_numbers, flaw, grid_columns, scalings
from onnxviz.plots.options import chosen_numbers
from onnxviz.plots.page import DIVERGING, SEQUENTIAL
from onnxviz.plots.sheet import Sheet, draw, slices

_MOST_CHANNELS = 64


class HasWeight(Protocol):
    """What `plot_filters` needs of a layer."""

    @property
    def name(self) -> str:
        """Title of the figure."""

    @property
    def weight(self) -> NDArray[Any]:
        """(O, I, spatial...)."""


@typed
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
        layer: A layer, or its weights: (O, I/group, spatial...) with 0 to 3 spatial axes, any real type. The subtitle
            says where a layer's weights are quantisation steps without a scale (`Layer.counts`).
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
        cmap: matplotlib colour map, not for "rgb" and "lines"; None: "gray", with "symmetric" "RdBu_r".
        title: None: the layer's name.
        layout: How the shape is written: "onnx" OIHW, "keras" HWIO. `layer` itself is always OIHW.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic, float32 0..1. Kernels that are constant or not finite are
        framed and named.

    Raises:
        SelectionError: A filter or channel that the layer does not have.
        InputError: The weights cannot be drawn, or an option does not exist or does not fit them.
        UnheededOptionError: The style has no colour map.
    """
    one_of("style", style, ("rows", "grid", "rgb", "lines"))
    one_of("scale", scale, ("layer", "filter", "symmetric"))
    one_of("layout", layout, ("onnx", "keras"))
    if style in ("rgb", "lines"):
        refuse_unheeded({"cmap": cmap}, f"{style} has colours of its own")
    weight = as_numbers(getattr(layer, "weight", layer))  # type: ignore[arg-type]
    name = str(getattr(layer, "name", "Filters"))
    if not 2 <= weight.ndim <= 5:
        raise InputError(f"filters are (O, I, spatial...) with up to 3 spatial axes, not of shape {weight.shape}")
    spatial = "DHW"[5 - weight.ndim :]
    written = f"OI{spatial}", weight.shape
    if layout == "keras":
        written = f"{spatial}IO", (*weight.shape[2:], weight.shape[1], weight.shape[0])
    facts = [f"{written[0]} {'×'.join(map(str, written[1]))}"]
    if getattr(layer, "counts", False):
        facts.append("quantisation steps: the graph has no scale for them")
    if style == "lines" and weight.ndim != 3:
        raise InputError(f"lines need filters with one spatial axis, not of shape {weight.shape}")
    if weight.ndim < 4:
        weight = weight.reshape(*weight.shape[:2], 1, -1)
    chosen = chosen_numbers(filters, first, weight.shape[0], "filter")
    tiled = style in ("rows", "lines") and weight.ndim < 5
    inputs = chosen_numbers(channels, _MOST_CHANNELS if tiled else None, weight.shape[1], "channel")
    shown = f"{len(chosen)} of {weight.shape[0]} filters"
    cmap = cmap or (DIVERGING if scale == "symmetric" else SEQUENTIAL)
    window = ValueRange.around(weight, symmetric=scale == "symmetric") if scale != "filter" else None
    labels = [str(number) for number in chosen]

    if tiled:
        facts += [f"rows: {shown}", f"columns: {len(inputs)} of {weight.shape[1]} input channels"]
        places = scalings(weight, chosen, scale, window)
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
        places = scalings(planes, chosen, scale, window)
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
            window = window and ValueRange.around(means, symmetric=scale == "symmetric")
        marks = [flaw(means[o]) for o in chosen]
        scaled = (place(means[o]) for o, place in scalings(means, chosen, scale, window))
        if weight.ndim == 5:
            sheet = slices(scaled, means.shape[1:], marks, labels, "filters")
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
