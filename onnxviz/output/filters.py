"""Filters on disk: a picture for each layer, and the weights as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from onnxviz.arguments import typed
from onnxviz.errors import InputError, SelectionError
from onnxviz.files import is_picture, make_folder, safe_name, save_arrays
from onnxviz.inputs.failures import Progress
from onnxviz.inputs.provenance import Provenance
from onnxviz.messages import one_of, printable, refuse_unheeded
from onnxviz.model.channel_sources import Sources, channel_sources
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model, Source, load
from onnxviz.model.selection import numbers
from onnxviz.output.picture_options import PictureFormat, PictureOptions, recorded

Numbers = str | Sequence[int] | None
"""`0,3,5-9`, "all", a sequence of positions, or None for the usual ones."""


@dataclass(frozen=True)
class Connection:
    """An input channel of a filter.

    Attributes:
        channel: its number among those that the filter reads, as `Layer.weight` counts them.
        sources: (layer or input, filter or channel) of each that makes it, several behind a sum; none where the graph
            does not tell.
        share: of the filter's squared Euclidean norm, 0…1.
    """

    channel: int
    sources: Sources
    share: float

    @property
    def label(self) -> str:
        """`conv1 12`, or the channel's number."""
        return " + ".join(f"{printable(name)} {number}" for name, number in self.sources) or str(self.channel)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON types."""
        sources = [{"layer": name, "filter": number} for name, number in self.sources]
        return {"channel": self.channel, "sources": sources, "share": self.share}


@dataclass(frozen=True)
class FilterFiles:
    """Files that `filters` wrote.

    Attributes:
        model: what the model is called: its file's path.
        pictures: the picture of each layer, by its name.
        arrays: the `.npz` file and its manifest, none if no arrays were asked for.
        connections: with `feeds`, the input channels of the filter by its layer's name, the strongest first.
    """

    model: str
    pictures: dict[str, Path]
    arrays: tuple[Path, ...]
    connections: dict[str, tuple[Connection, ...]] = field(default_factory=dict)

    @property
    def written(self) -> list[Path]:
        """All of them, pictures first."""
        return [*self.pictures.values(), *self.arrays]


@typed
def filters(
    model: Source,
    layers: str | int | Sequence[str | int] = "first",
    *,
    first: int | None = None,
    filters: Numbers = None,
    channels: Numbers = None,
    feeds: int | None = None,
    style: Literal["rows", "grid", "rgb", "lines", "matrix"] | None = None,
    scale: Literal["layer", "filter", "symmetric"] | None = None,
    cut: float | None = None,
    sort: Literal["norm", "cluster"] | None = None,
    cmap: str | None = None,
    layout: Literal["onnx", "keras"] | None = None,
    output: str | PathLike[str] | None = None,
    format: PictureFormat | None = None,
    dpi: float | None = None,
    title: str | None = None,
    captions: bool = True,
    save: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> FilterFiles:
    """Writes pictures of filters, and their weights as arrays, for one or more layers.

    `plot_filters` makes one such picture as a figure; `Layer.weight` is one such array.

    Args:
        model: an opened model, or what `load` opens.
        layers: a selection (`block1_conv1,0-3`), a name or position, or several of them.
        first: how many filters a picture shows; by default 6 in rows, 64 in grids and in colour, all of a matrix.
        filters: which filters, in place of the first ones; "all" for each.
        channels: which input channels; "all" for each. By default all, at most 64 in rows; the colours of a first
            layer are turned to RGB where the model takes BGR images.
        feeds: a filter of each layer, of which the kernels are drawn that weigh most: which filters of the layers
            before feed it, in the picture and in `FilterFiles.connections`. `first` of them, 16 by default.
        style: "rows": a filter a row, its input channels side by side; "grid"; "rgb"; "lines" for one spatial axis;
            "matrix": a filter a row, a dot a kernel. None: what fits the layer; see `plot_filters`.
        scale: what shares a range of values: "symmetric" (None), the layer about zero; "layer"; "filter".
        cut: the percentile of the magnitude where a range about or from zero ends; 99.5 by default.
        sort: "norm", the largest Euclidean norm first, or "cluster", alike ones side by side.
        cmap: a matplotlib colour map; not for "rgb" and "lines".
        layout: the order of axes in titles: OIHW ("onnx", None), or HWIO as in Keras ("keras").
        output: a picture for one layer, or a folder for `NNN-layer.png`; without `output` and `save`, `filters/`.
        format: of pictures in a folder; "png" by default.
        dpi: dots per inch, as for `onnxviz.save_figure`.
        title: of pictures, as there.
        captions: likewise.
        save: a `.npz` for the weights, (O, I/group, spatial…) by layer name, with a manifest beside it.
        progress: called with (pictures drawn, pictures in all).

    Raises:
        SelectionError: no such layer, filter or channel, or a layer without constant weights.
        InputError: options that do not fit each other, or several layers for one picture.
        UnheededOptionError: an option would do nothing: of pictures where there are none, `first` beside `filters`, or
            `dpi` of SVG and PDF.
    """
    if style is not None:
        one_of("style", style, ("rows", "grid", "rgb", "lines", "matrix"))
    one_of("format", format or "png", get_args(PictureFormat))
    look: dict[str, Any] = {"first": first, "style": style, "scale": scale, "cut": cut, "sort": sort, "cmap": cmap}
    shown = {**look, "filters": filters, "channels": channels, "feeds": feeds}
    shown |= {"layout": layout, "dpi": dpi, "title": title}
    if output is None and save is not None:
        unseen = {"format": format, "no_captions": None if captions else True}
        refuse_unheeded({**shown, **unseen}, "{save} alone draws nothing, {output} beside it does")
    if feeds is not None:
        given = {"filters": filters, "channels": channels, "style": style, "sort": sort}
        refuse_unheeded(given, "{feeds} shows what one filter reads most")
    if filters is not None:
        refuse_unheeded({"first": first}, "{filters} says which are shown")
    if output is not None and is_picture(Path(output)):
        refuse_unheeded({"format": format}, "the name of the one file in {output} says its format")
    place = Path(output) if output is not None else Path("filters") if save is None else None
    asked = {"layers": layers, **shown, "captions": None if captions else False}
    record = recorded("filters", asked)
    options = PictureOptions(format=format or "png", dpi=dpi, title=title, captions=captions, record=record)
    options.check(place)
    opened = load(model)
    chosen = opened.select(layers)
    which = {"filters": _positions(filters, "filters"), "channels": _positions(channels, "channels"), "feeds": feeds}
    for layer in chosen:
        _check(layer, which["filters"] if feeds is None else [feeds], which["channels"])
    pictures: dict[str, Path] = {}
    connections: dict[str, tuple[Connection, ...]] = {}
    if place is not None:
        origin = Provenance(opened).picture_record()
        for done, (layer, target) in enumerate(zip(chosen, _targets(place, chosen, options.format), strict=True), 1):
            own = {**look, **which, "colours": _colours(opened, layer), "layout": layout or "onnx"}
            if feeds is not None:
                connections[layer.name] = found = _connections(opened, layer, feeds)
                labels = {one.channel: one.label for one in found}
                own |= {"colours": None, "sources": [labels[number] for number in range(len(found))]}
            figure = _draw(layer, own)
            if target != place:
                make_folder(target.parent)  # not before something can be drawn
            pictures[layer.name] = options.save(figure, target, origin)
            if progress is not None:
                progress(done, len(chosen))
    return FilterFiles(opened.label, pictures, _saved(opened, chosen, save), connections)


def _positions(given: Numbers, what: str) -> Any:
    """The positions that were named; "all", or None for the usual ones, as it is."""
    if given is None or given == "all":
        return given
    return numbers(given, what) if isinstance(given, str) else [int(number) for number in given]


def _check(layer: Layer, filters: Any, channels: Any) -> None:
    """Refuses what a layer does not have before any picture of another layer is written."""
    if layer.weight_shape is None:
        raise SelectionError(f"layer '{layer.name}' ({layer.op}) has no constant weight to draw")
    for positions, count, what in (
        (filters, layer.weight_shape[0], "filter"),
        (channels, layer.weight_shape[1], "channel"),
    ):
        named = positions if isinstance(positions, list) else ()
        beyond = [number for number in named if not 0 <= number < count]
        if beyond:
            raise SelectionError(f"'{layer.name}' has no {what} {beyond[0]}; there are {count}, 0 to {count - 1}")


def _colours(model: Model, layer: Layer) -> str | None:
    """What the channels of a first layer are, where model or metadata tell: "RGB" or "BGR"."""
    first = layer.index == 0 and model.preprocessing is not None
    return model.first_layer_order if first else None


def _connections(model: Model, layer: Layer, filter_: int) -> tuple[Connection, ...]:
    """What a filter reads, the strongest first."""
    from onnxviz.plots import strongest_channels

    order, shares = strongest_channels(layer.weight, filter_)
    sources = channel_sources(model, layer)
    begin = 0
    if layer.group is not None and layer.group > 1:  # a group's filters read its own channels
        begin = filter_ // (len(layer.weight) // layer.group) * len(order)
    own = [sources[begin + number] if sources is not None else () for number in order]
    return tuple(Connection(*one) for one in zip(order, own, shares.tolist(), strict=True))


def _draw(layer: Layer, look: dict[str, Any]) -> Any:
    from onnxviz.plots import known_cmap, plot_filters

    known_cmap(look["cmap"])
    return plot_filters(layer, **look)


def _targets(place: Path, chosen: Sequence[Layer], suffix: str) -> list[Path]:
    """A file for each layer: the one that was named, or `NNN-layer.png` in a folder."""
    if not is_picture(place):
        return [place / f"{safe_name(layer.index, layer.name)}.{suffix}" for layer in chosen]
    if len(chosen) > 1:
        raise InputError(f"{len(chosen)} layers were chosen for the one file {place}; give a folder")
    return [place]


def _saved(model: Model, chosen: Sequence[Layer], save: str | PathLike[str] | None) -> tuple[Path, ...]:
    if save is None:
        return ()
    manifest = {**Provenance(model).as_dict(), "layers": {layer.name: layer.row()["weight"] for layer in chosen}}
    return tuple(save_arrays({layer.name: layer.weight for layer in chosen}, Path(save), manifest))
