"""Tables on a terminal: layers, and what a conversion found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from string import ascii_lowercase
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxviz.messages import dims, percent, printable
from onnxviz.model.layer import Layer
from onnxviz.model.listing import Layout, output_shape, weight_shape
from onnxviz.model.model import Model
from onnxviz.model.pixels.input_range import range_words

if TYPE_CHECKING:
    from onnxviz.conversion.convert import Conversion
    from onnxviz.maps.channel_statistics import Statistics
    from onnxviz.predictions.prediction import OutputPrediction, Prediction, Predictions

# Characters of an open size's name that is shown as it is.
_LONGEST_NAME = 10


def conversion_table(done: Conversion) -> RenderableType:
    """What a conversion found, for a reader: what it made, how it was compared, how long it took."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    model = done.model
    versions = ", ".join(f"{name} {version}" for name, version in done.versions.items())
    grid.add_row("source", Text(printable(f"{done.framework} model ({versions})", 500)))
    convolutions = count_of(len(model.layers), "convolution")
    grid.add_row("model", f"{convolutions}, {model.parameters:,} parameters, opset {model.opset['']}")
    checked = done.verification
    if checked is None:
        grid.add_row("verified", Text("no (--no-verify)", style="yellow"))
    else:
        for label, text in (
            ("filters", f"{count_of(checked.layers, 'layer')}: weights and biases identical, bit for bit"),
            (
                "maps",
                f"{count_of(checked.maps, 'feature map')}: within {checked.maps_max_rel_diff:.1e} of the largest value",
            ),
            ("outputs", f"within {checked.max_rel_diff:.1e} of the largest value"),
            ("fed", checked.inputs),
        ):
            grid.add_row(label, Text.assemble(("✓ ", "green"), text) if label != "fed" else Text(text, style="dim"))
        if checked.sensitivity:
            moved = f"the source itself moves by {checked.sensitivity:.1e} with its input's last place"
            grid.add_row("rounding", f"{moved}: {checked.tolerance:.1e} was allowed")
    grid.add_row("seconds", ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in done.seconds.items()))
    return grid


def ruled_table() -> Table:
    """A table without rows yet, with a rule below its headings."""
    return Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))


def count_of(count: int, noun: str) -> str:
    """`1 layer`, `2,000 layers`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Column:
    """One column: its heading, a cell for each layer, and how early it is given up on a narrow terminal (0: never)."""

    heading: str
    cells: list[str]
    rank: int = 0
    style: str = ""
    right: bool = False

    @property
    def width(self) -> int:
        """In cells."""
        return max(map(cell_len, (self.heading, *self.cells)))


def layer_table(model: Model, layers: Sequence[Layer], layout: Layout, width: int) -> RenderableType:
    """A heading with the model's facts, and one row per layer.

    Columns that would say nothing are left out; so are, one by one, those that do not fit into `width` cells.
    """
    shapes = [output_shape(layer, layout) for layer in layers]
    short = short_names(shapes)
    legend = [Text(f"{name} = {printable(size, 200)}", style="dim") for size, name in short.items()]
    return Group(_heading(model, layers), *fitted_table(_columns(layers, layout, short), width), *legend)


def short_names(shapes: Sequence[Sequence[int | str | None] | None]) -> dict[str, str]:
    """A letter for each open size that is long to read, `floor(height/2 - 1/2) + 1`, in the order of the shapes.

    Short names of axes, `batch` or `height`, stay, and no letter is one of them.
    """
    sizes = list(dict.fromkeys(size for shape in shapes for size in shape or () if isinstance(size, str)))
    kept = {size for size in sizes if size.isidentifier() and len(size) <= _LONGEST_NAME}
    letters = (f"{letter}{turn or ''}" for turn in count() for letter in ascii_lowercase)
    free = (name for name in letters if name not in kept)
    return {size: next(free) for size in sizes if size not in kept}


def fitted_table(columns: Sequence[Column], width: int) -> list[RenderableType]:
    """A table of what fits into `width` cells, and a line that says which columns do not."""
    columns = [column for column in columns if any(column.cells) or column.rank == 0]
    left_out: list[str] = []
    while sum(column.width + 3 for column in columns) > width and any(column.rank for column in columns):
        least = max(columns, key=lambda column: column.rank)
        columns.remove(least)
        left_out.append(least.heading)
    table = ruled_table()
    for column in columns:
        table.add_column(
            column.heading,
            justify="right" if column.right else "left",
            style=column.style,
            no_wrap=column.heading != "layer",
            overflow="fold" if column.heading == "layer" else "ellipsis",
            min_width=min(column.width, 12),
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell) for cell in cells))
    note = f"not shown at this width: {', '.join(left_out)}"
    return [table, Text(note, style="dim")] if left_out else [table]


def _columns(layers: Sequence[Layer], layout: Layout, short: Mapping[str, str]) -> list[Column]:
    """All columns in the order they are shown."""
    filters = "filters (HWIO)" if layout == "keras" else "filters (OIHW)"
    if any(len(layer.kernel or (0, 0)) != 2 for layer in layers if layer.is_convolution):
        filters = "filters (…IO)" if layout == "keras" else "filters (OI…)"
    typed = any(layer.dtype not in ("float32", None) for layer in layers)
    traced = any(x.weight_source not in ("initializer", None) or x.counts for x in layers if x.is_convolution)
    outputs = [output_shape(layer, layout) for layer in layers]
    norms = {True: "folded in", False: "separate", None: ""}
    places = [layer.keras_index if layout == "keras" else None for layer in layers]
    return [
        Column("#", [str(layer.index) for layer in layers], style="dim", right=True),
        Column("Keras #", ["" if place is None else str(place) for place in places], rank=1, right=True),
        Column("layer", [layer.name for layer in layers], style="bold"),
        Column("operator", [layer.op for layer in layers], rank=2),
        Column(filters, [dims(weight_shape(x, layout), "×") if x.is_convolution else "" for x in layers]),
        Column(
            "bias", [str(x.weight_shape[0]) if x.has_bias and x.weight_shape else "" for x in layers], 5, right=True
        ),
        Column("stride", [dims(layer.strides, "×") if layer.strides else "" for layer in layers], rank=6),
        Column("pads", [_pads(layer.pads) if layer.strides else "" for layer in layers], rank=8),
        Column("dilation", [dims(x.dilations, "×") if max(x.dilations or (1,)) > 1 else "" for x in layers], rank=4),
        Column("groups", [_groups(layer) for layer in layers], rank=4),
        Column("output", [dims(shape and [short.get(str(size), size) for size in shape], "×") for shape in outputs]),
        Column("activation", [_activation(layer) for layer in layers], rank=3),
        Column("params", [f"{x.parameters:,}" if x.parameters else "" for x in layers], rank=3, right=True),
        Column("type", [(layer.dtype or "") if typed else "" for layer in layers], rank=5),
        Column("weight is", [_stored(layer) if traced else "" for layer in layers], rank=5),
        Column("batch norm", [norms[layer.folded_batch_norm] for layer in layers], rank=7),
        Column("inside", [printable(layer.scope) for layer in layers], rank=9),
    ]


def _activation(layer: Layer) -> str:
    """What lies behind the operator and is counted to the layer, or why nothing is."""
    found = layer.activation
    return ", ".join(found.through) or (f"none: {found.ends}" if found.ends else "")


def predictions_table(predictions: Predictions) -> RenderableType:
    """What a model says: of one input each output in full, of several a row an input."""
    head = Text(printable(predictions.provenance.model.label), style="bold")
    if len(predictions) == 1:
        return Group(head, *_prediction(predictions[0]))
    table = ruled_table()
    table.add_column("input", style="bold", overflow="fold")
    table.add_column("answer", overflow="fold")
    table.add_column("next", style="dim", overflow="fold")
    for one in predictions:
        said = [line.partition("  score")[0] for line in _said(one.answer)]
        table.add_row(*(Text(cell) for cell in (printable(one.input), said[0], ", ".join(said[1:]))))
    return Group(head, table)


def _prediction(one: Prediction) -> list[RenderableType]:
    """One input's outputs."""
    parts: list[RenderableType] = []
    for output in one.outputs:
        facts = [printable(one.input), f"{printable(output.name)} {dims(output.shape, '×')}".rstrip()]
        facts += [printable(output.remark)] if output.remark and output.top + output.boxes else []
        lines = "\n".join(f"  {line}" for line in _said(output))
        parts.append(Text.assemble((" · ".join(facts), "dim"), f"\n{lines}"))
    return parts


def _said(output: OutputPrediction) -> list[str]:
    """What an output says, a line a class, box or number."""
    if output.kind == "numbers":
        numbers = output.numbers
        listed = ", ".join(f"{value:.4g}" for value in numbers.get("first", []))
        if not listed:
            return [output.remark]
        return [listed if "min" not in numbers else f"{listed}{' …' if math.prod(output.shape) > 8 else ''}"]
    if output.kind == "boxes":
        return [
            f"{_called(box.class_, name)} {box.score:.3f}"
            + ("" if box.corners is None else f" at {', '.join(f'{side:.0f}' for side in box.corners)}")
            for box, name in output.boxes
        ] or ["no box"]
    return [
        f"{_called(one.number, one.name)}  "
        + (f"score {one.score:.4g}" if one.share is None else f"{percent(one.share)}  score {one.score:.4g}")
        for one in output.top
    ] or [output.remark]


def _called(number: int, name: str) -> str:
    return f"{printable(name, 60)} ({number})" if name else f"class {number}"


def statistics_table(statistics: Statistics, *, extremes: bool = False) -> RenderableType:
    """A heading with the model and the number of images, and a row per layer; if asked, what gave its highest value."""
    table = ruled_table()
    counted = any(layer.zeros is not None for layer in statistics.values())
    still = any(layer.constant.any() for layer in statistics.values())
    broken = any(layer.nonfinite.any() for layer in statistics.values())
    headings = ["layer", "channels", "mean", "deviation", "lowest", "highest", *(["zeros"] if counted else []),
                *(["of one value"] if still else []), *(["NaN, infinite"] if broken else []),
                *(["highest in"] if extremes else [])]  # fmt: skip
    for heading in headings:
        left = heading in ("layer", "highest in")
        table.add_column(
            heading, justify="left" if left else "right", style="bold" if heading == "layer" else "",
            no_wrap=not left, overflow="fold" if left else "ellipsis",
        )  # fmt: skip
    for name, layer in statistics.items():
        one = layer.whole
        zeros = "" if layer.zeros is None else f"{layer.zeros.sum() / max(1, layer.count.sum()):.1%}"
        constant = int(layer.constant.sum())
        cells = [printable(name), f"{len(layer.count):,}", f"{one['mean']:.4g}", f"{one['deviation']:.4g}",
                 f"{one['lowest']:.4g}", f"{one['highest']:.4g}", *([zeros] if counted else []),
                 *([f"{constant:,}" if constant else ""] if still else []),
                 *([f"{layer.nonfinite.sum():,}"] if broken else []),
                 *([printable(statistics.top_sample(name))] if extremes else [])]  # fmt: skip
        table.add_row(*(Text(cell) for cell in cells))
    images = count_of(statistics.images, "image")
    return Group(Text.assemble((printable(statistics.head["model"]["path"]), "bold"), f"\n{images}\n"), table)


def _stored(layer: Layer) -> str:
    if layer.weight_source is None:
        return "not constant" if layer.is_convolution else ""
    return "counts, no scale" if layer.counts else layer.weight_source


def _heading(model: Model, layers: Sequence[Layer]) -> Text:
    opsets = ", ".join(f"{domain + ' ' if domain else ''}{version}" for domain, version in model.opset.items())
    producer = printable(model.proto.producer_name) or "unknown"
    convolutions = sum(layer.is_convolution for layer in layers)
    others = len(layers) - convolutions
    what = f"{convolutions} convolutions" + (f" and {others} other layers" if others else "")
    text = Text()
    text.append(printable(model.label), style="bold")
    text.append(f"\n{what} · {model.parameters:,} parameters · opset {printable(opsets)} · exported by {producer}\n")
    for label, ports in (("in ", model.inputs), ("out", model.outputs)):
        for port in ports:
            layout = f" {port.layout}" if port.layout else ""
            text.append(f"{label} ", style="dim")
            text.append(f"{printable(port.name)}  {dims(port.shape, '×')} {port.dtype}{layout}\n")
    text.append("pre ", style="dim")
    text.append(f"{_preprocessing(model)}\n")
    if model.preprocessing_conflict:
        text.append(f"{model.preprocessing_conflict}\n", style="yellow")
    if model.shapes.failure:
        text.append(f"output shapes are missing: {printable(model.shapes.failure)}\n", style="yellow")
    return text


def _preprocessing(model: Model) -> str:
    """How images are prepared, and what of it the model does itself."""
    stated, expected = model.preprocessing, model.expected_range
    words = printable(range_words(stated) if stated is not None else "not stated in the model")
    if stated is None:
        several = [f"{printable(name)} {one.words}, {one.why}" for name, one in model.input_ranges.items()]
        return f"{words} ({'; '.join(several)})" if several else words
    if expected is None or model.preprocessing_conflict:
        return words
    order = "; whether it wants RGB or BGR cannot be told" if expected.order_is_open else ""
    return f"{words}: {expected.why}{order}"


def _pads(pads: tuple[int, ...] | None) -> str:
    """`1×1` where begin and end agree, else `0,0 – 1,1`."""
    if pads is None:
        return "?"
    half = len(pads) // 2
    begin, end = pads[:half], pads[half:]
    return dims(begin, "×") if begin == end else f"{','.join(map(str, begin))}–{','.join(map(str, end))}"


def _groups(layer: Layer) -> str:
    group = layer.group or 1
    if group == 1:
        return ""
    depthwise = layer.weight_shape is not None and layer.weight_shape[1] == 1
    return f"{group} depthwise" if depthwise else str(group)
