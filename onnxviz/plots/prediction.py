"""A plot of what a model says of an input: the photo, and classes with bars, a coloured mask, or boxes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from onnxviz.arguments import typed
from onnxviz.errors import InputError
from onnxviz.messages import percent
from onnxviz.plots.card import GAP, LARGE, SMALL, Card, Row
from onnxviz.plots.lettering import rounded
from onnxviz.plots.page import MARGIN, page
from onnxviz.plots.palette import OTHERS, colours_of
from onnxviz.plots.photos import Photo

_BETWEEN = 22
_ACROSS = 3
_COVER = 0.58

CARDS_ON_A_PAGE = 24
"""Photos on one page of predictions."""


class HasClass(Protocol):
    """A class that a model speaks for."""

    @property
    def number(self) -> int:
        """From 0."""

    @property
    def name(self) -> str:
        """What it is called, "" where nothing tells."""

    @property
    def called(self) -> str:
        """Its name, or its number in words."""

    @property
    def value(self) -> str:
        """Its share or score in words."""

    @property
    def score(self) -> float:
        """Before softmax or sigmoid."""

    @property
    def share(self) -> float | None:
        """0…1, or None."""


class HasAnswer(Protocol):
    """What one output says."""

    @property
    def name(self) -> str:
        """The output."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample, without the batch axis."""

    @property
    def kind(self) -> str:
        """One of "classes", "probability", "mask", "boxes" and "numbers"."""

    @property
    def remark(self) -> str:
        """How shares were made."""

    @property
    def sentence(self) -> str:
        """What it says in a few words."""

    @property
    def top(self) -> Sequence[HasClass]:
        """The classes, the largest first."""

    @property
    def boxes(self) -> Sequence[tuple[Any, str]]:
        """(box with `class_`, `score` and `corners`, name), the best first."""

    @property
    def numbers(self) -> dict[str, Any]:
        """Of an output of numbers."""

    @property
    def ground(self) -> Sequence[int]:
        """Of a mask, the classes that are left as the photo is."""

    @property
    def mask(self) -> NDArray[Any] | None:
        """(H, W): which class wins where."""


class HasPrediction(Protocol):
    """What `plot_prediction` needs of a prediction."""

    @property
    def input(self) -> str:
        """Its label."""

    @property
    def outputs(self) -> Sequence[Any]:
        """What each output says."""

    @property
    def answer(self) -> Any:
        """The output that answers, a `HasAnswer`."""

    def photo(self) -> NDArray[Any] | None:
        """What the model was given."""


@typed
def plot_prediction(
    prediction: HasPrediction,
    *,
    photo: ArrayLike | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Figure:
    """Returns a figure of what a model says of one input, beside the photo that it was given.

    Classes are names with bars and their shares, or their scores where they have none; the second line says how shares
    were made. A mask of classes lies in colours over the photo, with a legend. Boxes are drawn on the photo.

    Args:
        prediction: One of those that `onnxviz.predict` gives.
        photo: What the model was given, (H, W, 3) uint8, whose pixels the corners of boxes count; None: as the
            prediction has it, or no photo where the input is no picture.
        title: First line; None: the answer in a few words.
        subtitle: Words put before the facts that the second line states.

    Returns:
        Figure: `figure.axes[0].images` are the photo, and the mask on the photo if there is one.

    Raises:
        InputError: The photo is none.
    """
    own = prediction.photo() if photo is None else photo
    answer = prediction.answer
    colours = _colours([answer])
    card = _card(answer, Photo.of(own) if own is not None else None, colours, whole=True)
    facts = [*([subtitle] if subtitle else []), prediction.input, *_unit(answer)]
    if len(prediction.outputs) > 1:
        facts.append(f"{answer.name}, one of {len(prediction.outputs)} outputs")
    height, width = card.size(LARGE)
    figure, axes = page(
        (height, width), title or answer.sentence or "Prediction", facts, left=MARGIN, above=4, below=0,
        right=MARGIN,
    )  # fmt: skip
    card.draw(axes, 0, 0, LARGE)
    return figure


@typed
def plot_predictions(
    predictions: Sequence[HasPrediction],
    *,
    columns: int | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Figure:
    """Returns a sheet of what a model says of several inputs: of each the photo and the answer.

    Args:
        predictions: What `onnxviz.predict` gives, or a part of it: some 24 fit a page.
        columns: How many stand side by side; None: as many as are broad enough for 3.
        title: First line; None: "Predictions".
        subtitle: Words put before the facts that the second line states.

    Returns:
        Figure: `figure.axes[0].images` are the photos, in order, with the mask on each where there is one.

    Raises:
        InputError: There are none.
    """
    if not predictions:
        raise InputError("there are no predictions to draw")
    if columns is not None and columns < 1:
        raise InputError(f"a sheet of {columns} columns cannot be drawn; give 1 or more")
    answers = [one.answer for one in predictions]
    colours = _colours(answers)
    cards = [
        _card(answer, Photo.of(one.photo(), one.input), colours)
        for one, answer in zip(predictions, answers, strict=True)
    ]
    sizes = [card.size(SMALL) for card in cards]
    across = min(columns or _ACROSS, len(cards))
    rows = [range(start, min(start + across, len(cards))) for start in range(0, len(cards), across)]
    pitch = max(width for _, width in sizes) + GAP
    heights = [max(sizes[number][0] for number in row) + _BETWEEN for row in rows]
    facts = [*([subtitle] if subtitle else []), f"{len(cards)} inputs" if len(cards) > 1 else "1 input"]
    for said in dict.fromkeys(unit for answer in answers for unit in _unit(answer)):
        facts.append(said)
    whole = (sum(heights) - _BETWEEN, pitch * across - GAP)
    figure, axes = page(whole, title or "Predictions", facts, left=MARGIN, above=4, below=0, right=MARGIN)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for place, number in enumerate(row):
            cards[number].draw(axes, place * pitch, top, SMALL)
        top += height
    return figure


def _unit(answer: HasAnswer) -> list[str]:
    """What the numbers are, in words."""
    plain = {"mask": "shares of the positions", "boxes": "scores 0 to 1", "numbers": _numbers_in_words(answer)}
    if answer.kind in plain:
        return [plain[answer.kind], *([answer.remark] if answer.remark else [])]
    what = "shares" if any(one.share is not None for one in answer.top) else "scores, no unit"
    return [f"{what}: {answer.remark}" if answer.remark else what]


def _numbers_in_words(answer: HasAnswer) -> str:
    """How many numbers an output has, and how many of them are shown."""
    there, shown = math.prod(answer.shape), len(answer.numbers.get("first", ()))
    return f"the first {shown} of {there:,} numbers, no unit" if 0 < shown < there else "numbers, no unit"


def _colours(answers: Sequence[HasAnswer]) -> dict[int, str]:
    """The colours of all classes that masks and boxes name."""
    masks = [one.number for a in answers if a.kind == "mask" for one in a.top if one.number not in a.ground]
    return colours_of([*masks, *(box.class_ for answer in answers for box, _ in answer.boxes)])


def _card(answer: HasAnswer, photo: Photo | None, colours: dict[int, str], *, whole: bool = False) -> Card:
    """What is drawn of one answer; `whole`: of a mask the photo itself too."""
    photos = [photo] if photo is not None else []
    if answer.kind == "mask":
        mask = answer.mask
        if mask is not None:
            below = photo or Photo()
            covered = replace(below, pixels=_covered(mask, below.pixels, colours, set(answer.ground)))
            photos = [photo, covered] if whole and photo is not None and photo.pixels is not None else [covered]
        rows = []
        for one in answer.top:
            colour = "none" if one.number in answer.ground else colours[one.number]
            rows.append(Row(one.called, percent(one.share or 0), (0, one.share or 0), colour))
        lost = 0.0 if mask is None else float((mask < 0).mean())
        if lost:
            rows.append(Row("no class: a score is NaN", percent(lost)))
        rest = 1 - lost - sum(one.share or 0 for one in answer.top)
        return Card(photos, [], [*rows, *([Row("others", percent(rest), (0, rest), OTHERS)] if rest > 1e-9 else [])])
    if answer.kind == "boxes":
        outlines = []
        rows = []
        for box, name in answer.boxes:
            called, colour = name or f"class {box.class_}", colours[box.class_]
            rows.append(Row(called, f"{box.score:.2f}", (0, min(max(box.score, 0), 1)), colour))
            if box.corners is not None:
                outlines.append((box.corners, f"{called} {box.score:.2f}", colour))
        return Card(photos, outlines, rows or [Row("no box", "")])
    if answer.kind == "numbers":
        numbers = [(name, answer.numbers[name]) for name in ("min", "max", "mean") if name in answer.numbers]
        first = [(f"number {place}", value) for place, value in enumerate(answer.numbers.get("first", ()))]
        return Card(photos, [], [Row(name, rounded(value)) for name, value in (*first, *numbers)])
    return Card(photos, [], _class_rows(answer.top))


def _class_rows(top: Sequence[HasClass]) -> list[Row]:
    """A row a class: bars of shares from 0 to 1, of scores from zero to the largest."""
    finite = [one.score for one in top if np.isfinite(one.score)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    rows = []
    for one in top:
        bar: tuple[float, float] | None = None
        if one.share is not None:
            bar = (0.0, float(np.clip(one.share, 0, 1))) if np.isfinite(one.share) else None
        elif high > low and np.isfinite(one.score):
            ends = sorted((-low / (high - low), (one.score - low) / (high - low)))
            bar = (ends[0], ends[1])
        rows.append(Row(one.called, one.value, bar))
    return rows


def _covered(
    mask: NDArray[Any], photo: NDArray[Any] | None, colours: dict[int, str], ground: set[int]
) -> NDArray[np.uint8]:
    """A photo (H, W, 3) uint8 under the colours of a mask's classes; the mask alone where there is no photo."""
    height, width = mask.shape if photo is None else photo.shape[:2]
    rows, columns = (np.arange(size) * own // size for size, own in zip((height, width), mask.shape, strict=True))
    placed = mask[rows][:, columns]
    below = np.full((height, width, 3), 255.0) if photo is None else photo.astype(np.float64)
    shown = below.copy()
    for number in np.unique(placed):
        if number < 0 or int(number) in ground:  # below zero, a score is NaN
            continue
        colour = 255 * np.array(to_rgb(colours.get(int(number), OTHERS)))
        there = placed == number
        shown[there] = (1 - _COVER) * below[there] + _COVER * colour if photo is not None else colour
    pixels: NDArray[np.uint8] = np.rint(shown).astype(np.uint8)
    return pixels
