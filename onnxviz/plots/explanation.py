"""A plot of an explanation: a heat map on a photo, a row of them for views and frames, or a table for classes."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.messages import one_of, refuse_unheeded
from onnxviz.plots.evidence import LEAST_ROOM, Evidence, HasEvidence
from onnxviz.plots.explanation_table import plot_table
from onnxviz.plots.has_map import HasMap
from onnxviz.plots.heat import HEAT, PERCENTILE, Heat
from onnxviz.plots.lettering import noun_of, shortened
from onnxviz.plots.mosaic import spread
from onnxviz.plots.options import known_cmap
from onnxviz.plots.outlines import draw_outlines
from onnxviz.plots.page import INK, MARGIN, page, write, write_on_plate
from onnxviz.plots.signals import Ribbon, SignalWords, plot_on_signal, refuse_look_of_signal
from onnxviz.plots.sliced_volume import SlicedVolume, refuse_look_of_volume
from onnxviz.plots.strip import MOST_IN_STRIP, WIDE, ZERO, Layout, Tiles, Words, add_picture, draw_strip

_GAP = 16
# Pixels along the longer side of a photo that stands with two maps in a row.
_THIRD = 352
_NO_EVIDENCE = "evidence stands below a single map on its picture"


@typed
def plot_explanation(
    explanation: HasMap | Sequence[HasMap],
    *,
    sanity: HasEvidence | None = None,
    smooth: Literal["none", "bilinear"] | None = None,
    cmap: str | None = None,
    title: str | None = None,
    bands: Sequence[int] | None = None,
) -> Figure:
    """Returns a figure of an explanation: the photo, the map laid on it, and the bare map with its colour bar.

    Views, frames or branches stand in a row, below each photo the map on it and the bare map, on one scale; up to 24 of
    them, evenly spaced. Slices of a volume likewise. A map along a signal is the colour behind its lines, and a ribbon
    below. Several explanations of one input make a table: a row a class, a column a method, the photo first; each
    method on one scale of its own.
    Only here is the map scaled: unsigned ones from zero (or their least value, where that is more than half the
    greatest) to the greatest; signed ones about zero. Maps of single pixels are cut at the 99th percentile.

    Args:
        explanation: What `onnxviz.explain` gives, with a map of as many axes as the input has positions along; or
            several of one input, each class by each method, as `onnxviz.explain_each` gives them of one sample.
        sanity: What `onnxviz.explain_sanity` gives of it: its verdict, its curves, with those of a random order and of
            a centred blob, and its maps stand below.
        smooth: How a map of fewer cells than pixels is enlarged: "bilinear" (None), or "none", each cell as it is.
        cmap: matplotlib colour map; None: "inferno", for signed maps "RdBu_r".
        title: First line; None: the class, or the classes.
        bands: Which of the input's channels are shown, counted from 0: one in grey, or three as red, green and blue;
            None: the first three of three or four, else the first.

    Returns:
        Figure: `figure.axes[0].images` are the photo, the map on the photo, the bare map, the colour bar, and maps of
        `sanity`; of several maps, all photos, all maps on them, all bare maps, and the bar; of a table, row by row its
        photo and maps, then the bars. The box that a score is of, and the region, are framed. A map that is zero
        everywhere says so.

    Raises:
        InputError: The map has other axes than the input, or the colour map or the way to smooth does not exist;
            several are not of one input, or not each class by each method once.
        SelectionError: There is no such band.
        UnheededOptionError: `sanity` of several maps or a signal, `smooth` of a signal or volume, `bands` of a signal.
    """
    known_cmap(cmap)
    if smooth is not None:
        one_of("smooth", smooth, ("none", "bilinear"))
    if isinstance(explanation, Sequence):
        if len(explanation) != 1:
            refuse_unheeded({"sanity": sanity}, _NO_EVIDENCE)
            return plot_table(explanation, smooth, cmap, title, bands)
        explanation = explanation[0]
    axes = explanation.map.ndim, explanation.given.ndim - 1
    if not explanation.labels and axes == (1, 1):
        refuse_look_of_signal(smooth, bands)
        refuse_unheeded({"sanity": sanity}, _NO_EVIDENCE)
        return _on_signal(explanation, Heat.of([explanation], cmap), title or explanation.title)
    cells = ""
    if not explanation.labels and axes == (3, 3):
        refuse_look_of_volume(smooth)
        explanation = SlicedVolume(explanation)
        cells = explanation.enlarged
    labels = explanation.labels
    if explanation.map.ndim != 2 and math.prod(explanation.map.shape[:-2]) != len(labels):
        raise InputError(f"a map of shape {explanation.map.shape} cannot be laid on a photo; draw it with plot_maps")
    if labels:
        refuse_unheeded({"sanity": sanity}, _NO_EVIDENCE)
    heat = Heat.of([explanation], cmap)
    facts = [fact for fact in (*explanation.facts, explanation.behind(bands)) if fact]
    if explanation.of_pixels:
        facts = [*facts, f"colours up to the {PERCENTILE}th percentile"]
    shown = spread(len(labels), MOST_IN_STRIP)
    layout = Layout.of(len(shown), one_photo=len(labels) > 1 and explanation.one_photo) if labels else None
    photos = explanation.photos(layout.longest if layout is not None else _THIRD, bands)
    size = photos[0].shape[:2]
    values = heat.at(explanation, size, smooth)
    rows, columns = explanation.map.shape[-2:]
    if not isinstance(explanation, SlicedVolume) and rows < size[0] and columns < size[1]:
        cells = f"map of {rows}×{columns}, {'not smoothed' if smooth == 'none' else 'enlarged bilinearly'}"
    if cells:
        facts = [*facts, cells]
    if layout is not None and len(labels) > 1:
        of = f"{len(shown)} of " if len(shown) < len(labels) else ""
        facts = [*facts, f"{of}{len(labels)} {noun_of(labels)}, one scale"]
    words = Words(title or explanation.title, facts, (explanation.source, explanation.method), explanation.warnings)
    if layout is None:
        return _draw_overlay(explanation, photos[0], values, heat, words, sanity)
    heats = values.reshape(-1, *values.shape[-2:])
    chosen = photos if len(photos) == 1 else [photos[number] for number in shown]
    tiles = Tiles(chosen, [heats[number] for number in shown], [labels[number] for number in shown])
    return draw_strip(tiles, layout, heat, words)


def overlays(explanation: HasMap, longest: int = WIDE) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Returns the pixels of `plot_explanation` without words: of each map its photo, and the map laid on it.

    Args:
        explanation: As for `plot_explanation`.
        longest: Pixels along the longer side of a photo.

    Returns:
        Pairs of (H, W, 3) uint8: the photo, and the map on a grey copy of it. One for each map; up to 24, evenly
        spaced.

    Raises:
        InputError: The map does not have two axes.
    """
    if explanation.map.ndim != 2 and math.prod(explanation.map.shape[:-2]) != len(explanation.labels):
        raise InputError(f"a map of shape {explanation.map.shape} cannot be laid on a photo; draw it with plot_maps")
    photos = explanation.photos(longest)
    heat = Heat.of([explanation], None)
    values = heat.at(explanation, photos[0].shape[:2])
    heats = values.reshape(-1, *values.shape[-2:])
    found = []
    for number in spread(len(heats), MOST_IN_STRIP):
        photo = photos[0 if len(photos) == 1 else number]
        found.append((photo, np.rint(255 * heat.on_photo(photo, heats[number])).astype(np.uint8)))
    return found


def _on_signal(explanation: HasMap, heat: Heat, title: str) -> Figure:
    """The figure of a map along a signal."""
    signal = explanation.given
    positions = len(explanation.map)
    facts = list(explanation.facts)
    if explanation.of_pixels:
        facts.append(f"colours up to the {PERCENTILE}th percentile")
    if positions < signal.shape[1]:
        facts.append(f"map of {positions:,} positions, enlarged linearly")
    values = heat.at(explanation, signal.shape[1:])
    ribbon = Ribbon(explanation.method, heat.alone(values), ZERO if not explanation.map.any() else "")
    words = SignalWords(title, facts, explanation.warnings)
    return plot_on_signal(signal, heat.on(np.ones((len(values), 3)), values), [ribbon], words, [("", heat)])


def _draw_overlay(
    explanation: HasMap,
    photo: NDArray[Any],
    values: NDArray[Any],
    heat: Heat,
    words: Words,
    sanity: HasEvidence | None,
) -> Figure:
    """Returns a figure: the photo, the heat map laid on a grey copy of it, and the bare map with a colour bar.

    Args:
        explanation: Whose boxes and region are framed.
        photo: (H, W, 3) uint8.
        values: (H, W), the map at the photo's size.
        heat: Its colours.
        words: Around it.
        sanity: What is drawn below; None: nothing.
    """
    height, width = photo.shape[:2]
    lefts = [place * (width + _GAP) for place in range(3)]
    room = max(lefts[-1] + width, 0 if sanity is None else LEAST_ROOM)
    said = words.said(room)
    evidence = None if sanity is None else Evidence(sanity, room, HEAT)
    figure, axes = page(
        (height, room),
        words.title,
        list(words.facts),
        left=MARGIN,
        above=14,
        below=34 + 15 * len(said) + (0 if evidence is None else evidence.height),
        right=MARGIN,
    )
    source, method = words.labels
    pictures = (photo / 255, heat.on_photo(photo, values), heat.alone(values))
    for left, picture, label in zip(lefts, pictures, (source, f"{method} on the {source}", method), strict=True):
        add_picture(axes, picture, (left, 0))
        write(axes, left, -5, shortened(label, 8, width), 8, INK)
    if not values.any():
        for left in lefts[1:]:
            write_on_plate(axes, left + width / 2, height / 2, ZERO)
    for left in lefts:
        draw_outlines(axes, explanation, (left, 0), (height, width), labelled=left == 0)
    heat.draw_bar(axes, lefts[-1], height + 10, width)
    for number, line in enumerate(said):
        write(axes, 0, height + 44 + 15 * number, line, 8)
    if evidence is not None:
        evidence.draw(axes, height + 34 + 15 * len(said))
    return figure
