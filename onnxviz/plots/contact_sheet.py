"""A contact sheet: a photo a row, with the model's answer and the strongest channels of one layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.messages import one_of
from onnxviz.plots.lettering import rounded
from onnxviz.plots.mosaic import Picture, ValueRange, area_mean, as_numbers, flaw, measure_of, sort_channels
from onnxviz.plots.options import chosen_numbers
from onnxviz.plots.page import SEQUENTIAL
from onnxviz.plots.photos import Photo
from onnxviz.plots.sheet import Sheet, draw

ROWS_ON_A_PAGE = 12
"""Photos on one page of a contact sheet."""

TILE = 96
"""Pixels of the longer side of a map on a contact sheet."""


@dataclass(frozen=True, eq=False)
class ContactRow:
    """A row of a contact sheet: small enough to keep while a folder of photos streams by.

    Attributes:
        photo: what the model was given, its name and the answer.
        channels: the numbers of the channels that are shown, the strongest first, or as they were chosen.
        values: of each, what it was chosen by.
        by: what that is: "mean", "variance" or "norm".
        chosen: whether they were chosen by number, not by that.
        tiles: of each, its map over its own range: (96, 96) of 0..1, what the map does not cover masked.
        marks: of each, what is odd about it.
        count: how many channels the layer has.
    """

    photo: Photo
    channels: tuple[int, ...]
    values: tuple[float, ...]
    by: str
    chosen: bool
    tiles: tuple[Picture, ...]
    marks: tuple[str, ...]
    count: int

    @property
    def labels(self) -> list[str]:
        """Of each channel, its number and value."""
        return [f"{number}: {rounded(value)}" for number, value in zip(self.channels, self.values, strict=True)]

    @classmethod
    def of(
        cls,
        maps: ArrayLike,
        photo: Photo,
        *,
        first: int = 8,
        channels: Sequence[int] | None = None,
        by: Literal["mean", "variance", "norm"] = "mean",
    ) -> "ContactRow":
        """The row of one input.

        Args:
            maps: (C, H, W), any real type.
            photo: what the model was given.
            first: how many channels, those with the largest mean, variance or norm.
            channels: instead: which, in this order.
            by: what the strongest have the most of.

        Raises:
            InputError: the maps have not two spatial axes.
            SelectionError: a channel that is not there.
        """
        one_of("order of channels", by, ("mean", "variance", "norm"))
        values = as_numbers(maps)
        if values.ndim != 3:
            raise InputError(f"a contact sheet shows maps (C, H, W), not of shape {values.shape}")
        chosen = chosen_numbers(channels, None, len(values), "channel")
        if channels is None:
            chosen = [int(number) for number in sort_channels(values, by)[:first]]
        return cls(
            photo.reduced((TILE, TILE)),
            tuple(chosen),
            tuple(measure_of(values[number], by) for number in chosen),
            by,
            channels is not None,
            tuple(_tile(values[number]) for number in chosen),
            tuple(flaw(values[number]) for number in chosen),
            len(values),
        )


@typed
def plot_contact_sheet(
    rows: Sequence[ContactRow],
    *,
    cmap: str | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Figure:
    """Returns one page of a contact sheet: a row an input, with its photo, the model's answer, and its channels.

    Args:
        rows: Of one layer, as many as fit a page, about 12; see `ContactRow.of`.
        cmap: matplotlib colour map; None: "gray".
        title: First line, such as the layer's name; None: "Contact sheet".
        subtitle: Words put before the facts that the second line states.

    Returns:
        Figure: `figure.axes[0].images[0]` is the mosaic of maps, float32 0..1; the photos are images behind it.

    Raises:
        InputError: There are no rows, they have not equally many channels, or the colour map does not exist.
    """
    if not rows:
        raise InputError("a contact sheet needs at least one row")
    most = max(len(row.channels) for row in rows)
    if any(len(row.channels) != most for row in rows):
        raise InputError("the rows of a contact sheet show equally many channels; give ContactRow.of the same `first`")
    facts = [subtitle] if subtitle else []
    by = "Euclidean norm" if rows[0].by == "norm" else rows[0].by
    facts += [
        f"{most} of {rows[0].count} channels, " + ("as chosen" if rows[0].chosen else f"the largest {by} first"),
        f"above each map its channel and its {by}",
        "each map on its own scale",
    ]
    sheet = Sheet(
        pictures=(tile for row in rows for tile in row.tiles),
        shape=(TILE, TILE),
        columns=most,
        marks=[mark for row in rows for mark in row.marks],
        tile_labels=[label for row in rows for label in row.labels],
        largest=(TILE, TILE),
        row_photos=[row.photo for row in rows],
        facts=facts,
        cmap=cmap or SEQUENTIAL,
        framed=False,
    )
    return draw(sheet, title, "Contact sheet")


def _tile(one: NDArray[Any]) -> Picture:
    """A map (H, W) over its own range, in the middle of (96, 96): repeated a whole number of times, or area means."""
    placed = ValueRange.around(one).place(one)
    factor = TILE / max(one.shape)
    if factor >= 1:
        placed = placed.repeat(int(factor), axis=0).repeat(int(factor), axis=1)
    else:
        placed = area_mean(placed, *(max(1, round(side * factor)) for side in one.shape))
    height, width = placed.shape
    top, left = (TILE - height) // 2, (TILE - width) // 2
    whole: Picture = np.ma.MaskedArray(np.zeros((TILE, TILE), np.float32), mask=np.ones((TILE, TILE), bool))
    whole[top : top + height, left : left + width] = placed
    return whole
