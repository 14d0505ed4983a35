"""A plot of synthetic inputs."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.plots.lettering import shortened
from onnxviz.plots.mosaic import as_numbers, flaw, grid_columns
from onnxviz.plots.sheet import Sheet, draw

_ROOM = 220  # pixels that the name of a row may take


class HasPictures(Protocol):
    """What `plot_synthetic` needs of synthetic inputs."""

    @property
    def images(self) -> NDArray[Any]:
        """(N, spatial..., C) in 0..1."""

    @property
    def labels(self) -> tuple[str, ...]:
        """One for each picture."""

    @property
    def rows(self) -> tuple[str, ...]:
        """For each picture the name of the row it goes in."""

    @property
    def alpha(self) -> NDArray[Any] | None:
        """(N, spatial...) in 0..1, how opaque each pixel is."""

    @property
    def facts(self) -> str:
        """How they were made."""


@typed
def plot_synthetic(
    images: ArrayLike | HasPictures,
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
            Or what `onnxviz.maximize` gives.
        labels: One for each picture; None: what `maximize` calls them, numbers for an array.
        rows: For each picture the name of the row it goes in, equal ones next to each other; None: those of `maximize`,
            as they come for an array.
        title: First line; None: the layer, if there is one, else "What excites it most"; for an array "Synthetic
            inputs".
        subtitle: Words put before the facts that the second line states; None: how `maximize` made them.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic, float32 0..1, with a fourth channel for what is left out.

    Raises:
        InputError: The pictures cannot be drawn, or there are not as many labels or rows.
    """
    if hasattr(images, "images"):
        made = cast(HasPictures, images)
        layers = list(dict.fromkeys(made.rows))
        images, labels = made.images, made.labels if labels is None else labels
        if made.alpha is not None:
            images = 1 - made.alpha[..., None] * (1 - images)  # on the white of the page
        rows = made.rows if rows is None and len(layers) > 1 else rows
        usual = layers[0] if len(layers) == 1 and layers[0] else "What excites it most"
        title, subtitle = usual if title is None else title, made.facts if subtitle is None else subtitle
    values = as_numbers(cast(ArrayLike, images)).astype(np.float32)
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
        row_labels=[shortened(head, 7, _ROOM) for head in heads] if any(heads) else [],
        tile_labels=["" if place is None else names[place] for place in places],
        largest=(64, 160) if lines else (256, 256),
        lines=lines,
        rgb=not flat,
        facts=facts,
    )
    return draw(sheet, title, "Synthetic inputs")
