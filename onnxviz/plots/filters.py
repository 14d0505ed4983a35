"""A plot of a convolution's filters."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.messages import one_of, refuse_unheeded
from onnxviz.plots.feeding import feeding_sheet
from onnxviz.plots.filter_matrix import draw_matrix
from onnxviz.plots.mosaic import as_numbers, flaw, grid_columns, sort_channels
from onnxviz.plots.options import chosen_numbers
from onnxviz.plots.page import DIVERGING, SEQUENTIAL
from onnxviz.plots.seriation import alike_order
from onnxviz.plots.sheet import Sheet, draw, slices
from onnxviz.plots.weight_scale import WeightScale

Style = Literal["rows", "grid", "rgb", "lines", "matrix"]
STYLES: tuple[Style, ...] = ("rows", "grid", "rgb", "lines", "matrix")
# How many filters a picture shows unless told; a matrix shows all.
_USUAL = {"rows": 6, "lines": 6, "grid": 64, "rgb": 64}
# Channels of a row at most; and from how many on kernels are but dots, so that a matrix says more.
_MOST_CHANNELS, _DEEP = 64, 32
_SORTED = {"norm": "largest norm first", "cluster": "alike ones side by side"}

Numbers = Sequence[int] | Literal["all"] | None


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
    filters: Numbers = None,
    first: int | None = None,
    channels: Numbers = None,
    feeds: int | None = None,
    sources: Sequence[str] | None = None,
    style: Style | None = None,
    scale: Literal["layer", "filter", "symmetric"] | None = None,
    cut: float | None = None,
    sort: Literal["norm", "cluster"] | None = None,
    cmap: str | None = None,
    colours: Literal["RGB", "BGR"] | None = None,
    title: str | None = None,
    layout: Literal["onnx", "keras"] = "onnx",
) -> Figure:
    """Returns a figure of a convolution's filters; what light and dark mean is said in numbers.

    Args:
        layer: A layer, or its weights: (O, I/group, spatial...) with 0 to 3 spatial axes, any real type. The subtitle
            says where a layer's weights are quantisation steps without a scale (`Layer.counts`).
        filters: Numbers of the filters to show, 0..O-1, in this order, or "all"; None: the first `first`.
        first: How many filters to show where `filters` is None; None: 6 in rows, 64 in grids and in colour, all of a
            matrix. With `feeds`, how many input channels; None: 16.
        channels: Numbers of the input channels to show, 0..I-1, or "all"; None: the first 64 ("rows", "lines"), all
            others all.
        feeds: A filter whose kernels are shown, those with the largest Euclidean norm first: what it reads most.
        sources: With `feeds`, what each of the I input channels is called, "conv1 12"; None: its number.
        style: "rows": one row a filter, one column an input channel. "grid": one picture a filter, its only chosen
            channel or the mean over the chosen ones. "rgb": three-channel filters as colour. "lines": as "rows",
            for filters with one spatial axis. "matrix": one row a filter, one column an input channel, one dot a
            kernel: its only weight, or the Euclidean norm of its weights. With three spatial axes "rows" and "grid"
            are the same: one row a filter, one column a slice along the first spatial axis, up to 8 evenly spaced
            ones. None: "rgb" for three channels, unless a colour map is given; "grid" for one; "matrix" for kernels of
            one weight, and for more than 32 channels where no filter is named; "rows" for all others.
        scale: "symmetric" (None): one range about zero over the layer, filters that are not shown included, zero in
            the middle. "layer": one range over the whole layer, from the least weight to the greatest. "filter": each
            filter over its own range. Where means over channels are shown, ranges are those of the means of all
            filters. Norms in a matrix go from zero where `scale` is None.
        cut: The percentile of the magnitude, above 0 to 100, where a range about or from zero ends; what is beyond has
            the colour of the end. None: 99.5.
        sort: "norm": filters with the largest Euclidean norm first. "cluster": of those that are shown, alike ones side
            by side (`onnxviz.plots.seriation.alike_order`). In a matrix the input channels too.
        cmap: matplotlib colour map, not for "rgb" and "lines"; None: "RdBu_r" about zero, "viridis" for norms, else
            "gray".
        colours: What the three channels are, if that is known: "RGB" or "BGR", which "rgb" then turns around.
        title: None: the layer's name.
        layout: How the shape is written: "onnx" OIHW, "keras" HWIO. `layer` itself is always OIHW.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic, float32 0..1, or the matrix. Kernels that are constant or not
        finite are framed and named.

    Raises:
        SelectionError: A filter or channel that the layer does not have.
        InputError: The weights cannot be drawn, or an option does not exist or does not fit them.
        UnheededOptionError: An option would do nothing.
    """
    if style is not None:
        one_of("style", style, STYLES)
    if scale is not None:
        one_of("scale", scale, ("layer", "filter", "symmetric"))
    if sort is not None:
        one_of("sort", sort, _SORTED)
    one_of("layout", layout, ("onnx", "keras"))
    weight = as_numbers(getattr(layer, "weight", layer))  # type: ignore[arg-type]
    if not 2 <= weight.ndim <= 5:
        raise InputError(f"filters are (O, I, spatial...) with up to 3 spatial axes, not of shape {weight.shape}")
    title = title or str(getattr(layer, "name", "Filters"))
    facts = [_shape_in_words(weight.shape, layout)]
    if getattr(layer, "counts", False):
        facts.append("quantisation steps: the graph has no scale for them")
    if feeds is not None:
        given = {"filters": filters, "channels": channels, "style": style, "sort": sort, "colours": colours}
        refuse_unheeded(given, "{feeds} shows what one filter reads most")
        sheet, scaling = feeding_sheet(weight, feeds, first, sources, scale or "symmetric", cut)
        return _finished(sheet, scaling, [*facts, *sheet.facts], cmap, title)
    refuse_unheeded({"sources": sources}, "channels are named with {feeds} only")
    if filters is not None:
        refuse_unheeded({"first": first}, "{filters} says which are shown")
    style = style or usual_style(weight.shape, channels, named=filters is not None, coloured=cmap is None)
    if style in ("rgb", "lines"):
        refuse_unheeded({"cmap": cmap}, f"{style} has colours of its own")
    if style == "lines" and weight.ndim != 3:
        raise InputError(f"lines need filters with one spatial axis, not of shape {weight.shape}")
    chosen = _chosen(weight, filters, first if first is not None else _USUAL.get(style), sort)
    tiled = style in ("rows", "lines") and weight.ndim < 5
    if colours == "BGR" and style == "rgb" and channels is None:
        channels = [2, 1, 0]
    inputs = chosen_numbers(
        None if channels == "all" else channels,
        _MOST_CHANNELS if tiled and channels is None else None,
        weight.shape[1],
        "channel",
    )
    if style == "matrix":
        across = weight.swapaxes(0, 1)
        if sort is not None:
            inputs = [inputs[place] for place in _order(across[inputs], sort)]
            facts.append(f"rows and columns: {_SORTED[sort]}")
        return draw_matrix(weight, chosen, inputs, scale=scale, cut=cut, cmap=cmap, heading=(title, facts))
    if weight.ndim < 4:
        weight = weight.reshape(*weight.shape[:2], 1, -1)
    if tiled:
        sheet, scaling = _rows(weight, chosen, inputs, WeightScale.of(weight, scale or "symmetric", cut))
        sheet = replace(sheet, lines=style == "lines")
    elif style == "rgb":
        sheet, scaling = _colours(weight, chosen, inputs, scale, cut, known=colours is not None)
    else:
        sheet, scaling = _grid(weight, chosen, inputs, scale, cut)
    facts += [*sheet.facts, *([_SORTED[sort]] if sort is not None else [])]
    return _finished(sheet, scaling, facts, cmap, title)


def usual_style(shape: Sequence[int], channels: Numbers, *, named: bool, coloured: bool) -> Style:
    """Returns the style in which filters of a shape are drawn unless told.

    Args:
        shape: (O, I, spatial...).
        channels: Those that are chosen; None or "all": all.
        named: Whether filters were named, so that they are what is to be seen.
        coloured: Whether three channels may be drawn as colours.
    """
    count = shape[1] if channels is None or channels == "all" else len(channels)
    if math.prod(shape[2:]) == 1:
        return "matrix"
    if count == 3 and len(shape) == 4 and coloured:
        return "rgb"
    if len(shape) == 4 and count == 1:
        return "grid"
    return "matrix" if count > _DEEP and len(shape) < 5 and not named else "rows"


def _shape_in_words(shape: tuple[int, ...], layout: str) -> str:
    spatial = "DHW"[5 - len(shape) :]
    if layout == "keras":
        return f"{spatial}IO {'×'.join(map(str, (*shape[2:], shape[1], shape[0])))}"
    return f"OI{spatial} {'×'.join(map(str, shape))}"


def _chosen(weight: NDArray[Any], filters: Numbers, first: int | None, sort: str | None) -> list[int]:
    """The filters to show, in their order."""
    named = None if filters in (None, "all") else filters
    if filters == "all":
        first = None
    if sort == "norm" and named is None:
        ranked = sort_channels(weight, "norm").tolist()
        return [ranked[place] for place in chosen_numbers(None, first, len(weight), "filter")]
    found = chosen_numbers(named, first, len(weight), "filter")  # type: ignore[arg-type]  # "all" is None by now
    return found if sort is None else [found[place] for place in _order(weight[found], sort)]


def _order(weight: NDArray[Any], sort: str) -> NDArray[np.intp]:
    return sort_channels(weight, "norm") if sort == "norm" else alike_order(weight.reshape(len(weight), -1))


def _finished(sheet: Sheet, scaling: WeightScale, facts: list[str], cmap: str | None, title: str) -> Figure:
    """The figure of a sheet whose facts are followed by what its shades mean."""
    chosen = cmap or (DIVERGING if scaling.diverges else SEQUENTIAL)
    drawn = not sheet.lines
    words = scaling.words(chosen, coloured=sheet.rgb, drawn=drawn)
    window = scaling.window if drawn and not sheet.rgb else None
    return draw(replace(sheet, facts=[*facts, *words], window=window, beyond=scaling.beyond, cmap=chosen), None, title)


def _rows(
    weight: NDArray[Any], chosen: list[int], inputs: list[int], scaling: WeightScale
) -> tuple[Sheet, WeightScale]:
    pictures = (kernel for o in chosen for kernel in scaling.placing(weight[o])(weight[o][inputs]))
    facts = [
        f"rows: {len(chosen)} of {weight.shape[0]} filters",
        f"columns: {len(inputs)} of {weight.shape[1]} input channels",
    ]
    sheet = Sheet(
        pictures=pictures,
        shape=(weight.shape[2], weight.shape[3]),
        columns=len(inputs),
        marks=[flaw(weight[o, i]) for o in chosen for i in inputs],
        row_labels=[str(number) for number in chosen],
        column_labels=[str(number) for number in inputs],
        largest=(84, 160),
        facts=facts,
    )
    return sheet, scaling


def _colours(
    weight: NDArray[Any], chosen: list[int], inputs: list[int], scale: Any, cut: float | None, *, known: bool
) -> tuple[Sheet, WeightScale]:
    if len(inputs) != 3 or weight.ndim == 5:
        raise InputError(
            f"rgb needs 3 input channels and up to 2 spatial axes, not {len(inputs)} of shape {weight.shape}"
        )
    planes = weight[:, inputs]
    scaling = WeightScale.of(planes, scale or "symmetric", cut)
    numbers = ", ".join(map(str, inputs))
    what = f"red, green, blue: channels {numbers}"
    sheet = Sheet(
        pictures=(scaling.placing(planes[o])(planes[o]).transpose(1, 2, 0) for o in chosen),
        shape=(planes.shape[2], planes.shape[3]),
        columns=grid_columns(len(chosen)),
        marks=[flaw(planes[o]) for o in chosen],
        tile_labels=[str(number) for number in chosen],
        largest=(140, 140),
        rgb=True,
        facts=[
            f"{len(chosen)} of {weight.shape[0]} filters",
            what if known else f"{what}, though nothing says that they are colours",
        ],
    )
    return sheet, scaling


def _grid(
    weight: NDArray[Any], chosen: list[int], inputs: list[int], scale: Any, cut: float | None
) -> tuple[Sheet, WeightScale]:
    one = len(inputs) == 1
    means = weight[:, inputs[0]]
    ranged = weight
    if not one:
        with np.errstate(invalid="ignore", over="ignore"):
            means = ranged = weight[:, inputs].mean(axis=1, dtype=np.float64)
    scaling = WeightScale.of(ranged, scale or "symmetric", cut)
    marks, labels = [flaw(means[o]) for o in chosen], [str(number) for number in chosen]
    pictures = (scaling.placing(means[o])(means[o]) for o in chosen)
    if weight.ndim == 5:
        sheet = slices(pictures, means.shape[1:], marks, labels, "filters")
    else:
        sheet = Sheet(
            pictures=pictures,
            shape=(means.shape[1], means.shape[2]),
            columns=grid_columns(len(chosen)),
            marks=marks,
            tile_labels=labels,
            largest=(140, 140),
        )
    facts = [
        f"{len(chosen)} of {weight.shape[0]} filters",
        f"channel {inputs[0]}" if one else f"mean over {len(inputs)} input channels",
    ]
    return replace(sheet, facts=[*facts, *sheet.facts]), scaling
