"""Filters on disk: a picture for each layer, and the weights as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from onnxviz.arguments import typed
from onnxviz.errors import InputError, SelectionError
from onnxviz.files import is_picture, make_folder, safe_name, save_arrays
from onnxviz.inputs.failures import Progress
from onnxviz.inputs.provenance import Provenance
from onnxviz.messages import one_of, refuse_unheeded
from onnxviz.model.layer import Layer
from onnxviz.model.model import Model, Source, load
from onnxviz.model.selection import numbers
from onnxviz.output.picture_options import PictureFormat, PictureOptions, recorded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = str | Sequence[int] | None
"""`0,3,5-9`, "all", a sequence of positions, or None for the usual ones."""


@dataclass(frozen=True)
class FilterFiles:
    """Files that `filters` wrote.

    Attributes:
        model: what the model is called: its file's path.
        pictures: the picture of each layer, by its name.
        arrays: the `.npz` file and its manifest, none if no arrays were asked for.
    """

    model: str
    pictures: dict[str, Path]
    arrays: tuple[Path, ...]

    @property
    def written(self) -> list[Path]:
        """All of them, pictures first."""
        return [*self.pictures.values(), *self.arrays]


@dataclass(frozen=True)
class _Look:
    """The options of `plot_filters` that hold for all layers."""

    first: int | None
    style: str
    scale: str
    cmap: str | None
    layout: str


@typed
def filters(
    model: Source,
    layers: str | int | Sequence[str | int] = "first",
    *,
    first: int | None = None,
    filters: Numbers = None,
    channels: Numbers = None,
    style: Literal["rows", "grid", "rgb", "lines"] | None = None,
    scale: Literal["layer", "filter", "symmetric"] | None = None,
    cmap: str | None = None,
    layout: Literal["onnx", "keras"] | None = None,
    output: str | PathLike[str] | None = None,
    format: Literal["png", "jpg", "webp", "svg", "pdf"] | None = None,
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
        first: how many filters a picture shows; by default 6 with "rows" and "lines", else 64.
        filters: which filters, in place of the first ones; "all" for each.
        channels: which input channels; "all" for each. By default all, at most 64 in rows; the colours of a first
            layer are turned to RGB where the model takes BGR images.
        style: "rows" (None): a filter a row, its input channels side by side; "grid"; "rgb"; "lines" for one spatial
            axis.
        scale: what shares a range of values; "layer" by default.
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
    one_of("style", style or "rows", ("rows", "grid", "rgb", "lines"))
    one_of("format", format or "png", get_args(PictureFormat))
    shown: dict[str, Any] = {"first": first, "filters": filters, "channels": channels, "style": style, "scale": scale}
    shown |= {"cmap": cmap, "layout": layout, "dpi": dpi, "title": title}
    if output is None and save is not None:
        unseen = {"format": format, "no_captions": None if captions else True}
        refuse_unheeded({**shown, **unseen}, "{save} alone draws nothing, {output} beside it does")
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
    which, inputs = _positions(filters, "filters"), _positions(channels, "channels")
    for layer in chosen:
        _check(layer, which, inputs)
    pictures: dict[str, Path] = {}
    if place is not None:
        count = first if first is not None else (64 if style in ("grid", "rgb") else 6)
        look = _Look(None if filters == "all" else count, style or "rows", scale or "layer", cmap, layout or "onnx")
        origin = Provenance(opened).picture_record()
        for done, (layer, target) in enumerate(zip(chosen, _targets(place, chosen, options.format), strict=True), 1):
            figure = _draw(layer, which, _channels(opened, layer, channels, inputs, look.style), look)
            if target != place:
                make_folder(target.parent)  # not before something can be drawn
            pictures[layer.name] = options.save(figure, target, origin)
            if progress is not None:
                progress(done, len(chosen))
    return FilterFiles(opened.label, pictures, _saved(opened, chosen, save))


def _positions(given: Numbers, what: str) -> list[int] | None:
    """The positions that were named; None for all, or for the usual ones."""
    if given is None or given == "all":
        return None
    return numbers(given, what) if isinstance(given, str) else [int(number) for number in given]


def _check(layer: Layer, filters: Sequence[int] | None, channels: Sequence[int] | None) -> None:
    """Refuses what a layer does not have before any picture of another layer is written."""
    if layer.weight_shape is None:
        raise SelectionError(f"layer '{layer.name}' ({layer.op}) has no constant weight to draw")
    for positions, count, what in (
        (filters, layer.weight_shape[0], "filter"),
        (channels, layer.weight_shape[1], "channel"),
    ):
        beyond = [number for number in positions or () if not 0 <= number < count]
        if beyond:
            raise SelectionError(f"'{layer.name}' has no {what} {beyond[0]}; there are {count}, 0 to {count - 1}")


def _channels(model: Model, layer: Layer, channels: Numbers, chosen: list[int] | None, style: str) -> list[int] | None:
    """The channels a picture shows; None for those that its style shows unless told."""
    if channels == "all":
        return list(range(layer.weight_shape[1])) if layer.weight_shape else None
    if style == "rgb" and chosen is None and layer.index == 0 and model.first_layer_order == "BGR":
        return [2, 1, 0]  # as the first layer sees the model's images
    return chosen


def _draw(layer: Layer, which: list[int] | None, channels: list[int] | None, look: _Look) -> Figure:
    from onnxviz.plots import known_cmap, plot_filters

    options: dict[str, Any] = {"style": look.style, "scale": look.scale, "layout": look.layout}
    return plot_filters(
        layer, filters=which, first=look.first, channels=channels, cmap=known_cmap(look.cmap), **options
    )


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
