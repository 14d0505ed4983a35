"""The assembly of a page: its parts made one after the other, each within its share of the time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.finding import Severity
from onnxviz.auditing.subject import Subject
from onnxviz.comparison.comparison import Comparison
from onnxviz.errors import OnnxvizError
from onnxviz.inputs.samples import ImageOptions, InputLike, Sample, samples
from onnxviz.maps.channel_statistics import Statistics
from onnxviz.messages import option
from onnxviz.model.model import Model
from onnxviz.plots.mosaic import spread
from onnxviz.predictions.predict import predict
from onnxviz.predictions.prediction import Predictions
from onnxviz.reports.finding_groups import finding_groups, titles, verdict
from onnxviz.reports.finding_pictures import Illustrator
from onnxviz.reports.layer_rows import layer_rows
from onnxviz.reports.model_card import model_card
from onnxviz.reports.page import AnswerCard, ComparisonPart, FilterPicture, LayerTable, ModelPart
from onnxviz.reports.picture_budget import PageImage, PictureBudget
from onnxviz.reports.sample_views import SampleView, Viewed
from onnxviz.reports.tiles import filter_tiles, map_tiles
from onnxviz.reports.time_budget import PASSES, OutOfTimeError, Pace, TimeBudget
from onnxviz.runtime.session import RunOptions

SHOWN = 4
"""Inputs with maps and an explanation."""
ANSWERS = 24
"""Inputs whose answers are shown."""
_LEAST = 4  # images of the data, however long they take
_THUMBNAIL = 160
_FILTERS, _FILTER_SIDE = 64, 64


@dataclass(frozen=True)
class Inputs:
    """What is shown: the inputs, and names of the classes in place of the model's own."""

    given: InputLike
    labels: Sequence[str] | None


@dataclass
class Assembly:
    """A page in the making.

    Attributes:
        model: the model.
        inputs: what is shown.
        images: how image files are prepared.
        options: where the model runs.
        time: what there is of it.
        progress: called with what begins; None.
        predictions, statistics, comparison: what was found; None before, and where there is none.
        left_out: (part, why) of what the page does not have.
    """

    model: Model
    inputs: Inputs
    images: ImageOptions
    options: RunOptions
    time: TimeBudget
    progress: Callable[[str], None] | None
    predictions: Predictions | None = None
    statistics: Statistics | None = None
    comparison: Comparison | None = None
    left_out: list[tuple[str, str]] = field(default_factory=list)
    _pictures: PictureBudget = field(default_factory=PictureBudget)
    _pace: float | None = None

    def tell(self, stage: str) -> None:
        """Says what begins."""
        if self.progress is not None:
            self.progress(stage)

    def ask(self) -> None:
        """Asks the model about the inputs; notes how long one takes.

        Raises:
            OnnxvizError: none can be used.
        """
        self.tell("answers")
        pace = Pace(self.time.progress("answers"), self.time.clock)
        try:
            self.predictions = predict(
                self.model, self.inputs.given, labels=self.inputs.labels, errors="skip", progress=pace,
                provider=self.options.provider, threads=self.options.threads, **self.images.asked,
            )  # fmt: skip
        except OutOfTimeError as error:
            self.left_out.append(("answers", str(error)))
        self._pace = pace.seconds

    def fitting(self, data: InputLike) -> InputLike:
        """The data, or as many of its images, evenly spaced, as the checks have time for."""
        found = samples(self.model, data, self.images)
        by_path = all(one.path for one in found) and len(self.model.inputs) == 1
        pace = self._paced(found) if by_path and len(found) > _LEAST else None
        if not pace:
            return data
        most = max(_LEAST, math.floor(self.time.left("checks") / (PASSES * pace)))
        if len(found) <= most:
            return data
        text = f"{most:,} of {len(found):,} images, evenly spaced: more did not fit the {self.time.seconds:g} s"
        self.left_out.append(("data", f"{text} of the page ({option('seconds')})"))
        return [found[place].path for place in spread(len(found), most)]

    def _paced(self, found: Sequence[Sample]) -> float | None:
        """Seconds for an image: as the inputs told, or else as the first three of the data do."""
        if self._pace is None:
            pace = Pace(lambda done, of: None, self.time.clock)
            with suppress(OnnxvizError):
                predict(
                    self.model, [one.path for one in found[:3]], errors="skip", progress=pace,
                    provider=self.options.provider, threads=self.options.threads, **self.images.asked,
                )  # fmt: skip
            self._pace = pace.seconds
        return self._pace

    def part(self, subject: Subject, audit: Audit, fail_on: Severity) -> ModelPart:
        """Everything that is known of the model, as the template shows it."""
        viewed = Viewed(self.model, self.images, self.options, self.inputs.labels, self._pictures, self.time)
        unusable = {label for label, _ in self.predictions.failed} if self.predictions is not None else set()
        every = samples(self.model, self.inputs.given, self.images)
        given = [one for one in every if one.label not in unusable]
        self.tell("statistics")
        with self._may_fail("statistics"):
            self._check_time(subject, "statistics")
            self.statistics = subject.statistics
        if subject.extras.against is not None:
            self.tell("comparison")
            with self._may_fail("comparison"):
                self._check_time(subject, "comparison")
                self.comparison = subject.comparison
        answers = self._answers(viewed, given)
        groups = finding_groups(audit, Illustrator(viewed, given, self.statistics, subject.weights))
        filters = self._filters()
        views = self._views(viewed, given[:SHOWN])
        rows, more = layer_rows(self.model, self.statistics)
        compared = None if self.comparison is None else self._compared(self.comparison)
        if len(given) > SHOWN:
            self.left_out.append(("maps and explanations", f"of {len(given):,} inputs the first {SHOWN} are shown"))
        if self._pictures.left_out:
            self.left_out.append(("pictures", f"{self._pictures.left_out:,} did not fit the size of the page"))
        predictions = self.predictions
        return ModelPart(
            anchor="m1",
            label=audit.label,
            sha256=audit.head["model"]["sha256"],
            verdict=verdict(audit, fail_on),
            groups=groups,
            titles=titles([one.code for one in audit.not_run]),
            card=model_card(self.model, self.images, audit.head),
            answers=answers,
            more_answers=0 if predictions is None else max(0, len(predictions) - len(answers)),
            remarks=() if predictions is None else self._remarks(predictions),
            table=LayerTable(rows, more, None if self.statistics is None else self.statistics.images),
            filters=filters,
            views=views,
            comparison=compared,
            left_out=tuple(self.left_out),
        )

    def _check_time(self, subject: Subject, part: str) -> None:
        """Refuses a part that is late, unless a check has worked it out already."""
        if part not in vars(subject):
            self.time.check(part)

    @contextmanager
    def _may_fail(self, part: str, who: str = "") -> Iterator[None]:
        """What does not fit or cannot be made is left out, and why; `who` says that, where it speaks of its options."""
        try:
            yield
        except OutOfTimeError as error:
            self.left_out.append((part, str(error)))
        except OnnxvizError as error:
            self.left_out.append((part, f"{who}{error}"))

    def _answers(self, viewed: Viewed, given: Sequence[Sample]) -> list[AnswerCard]:
        photos = {one.label: one for one in given[:ANSWERS]}
        made = []
        for prediction in list(self.predictions or ())[:ANSWERS]:
            sample = photos.get(prediction.input)
            photo = viewed.photo(sample, _THUMBNAIL) if sample is not None else None
            picture = None if photo is None else self._pictures.add(photo, prediction.input, "webp")
            made.append(AnswerCard(prediction, picture))
        return made

    def _remarks(self, predictions: Predictions) -> tuple[str, ...]:
        skipped = [f"{label} could not be used: {error}" for label, error in predictions.failed[:ANSWERS]]
        return (*predictions.notes, *skipped)

    def _filters(self) -> FilterPicture | None:
        """The filters of the first convolution that has constant weights of two positions axes."""
        layer = next((one for one in self.model.layers if one.weight_source and len(one.kernel or ()) == 2), None)
        if layer is None:
            return None
        made: FilterPicture | None = None
        with self._may_fail("maps"):
            weight = layer.weight
            if not np.isfinite(weight).any():
                return None
            shown = list(range(min(len(weight), _FILTERS)))
            colours = weight.shape[1] == 3
            if colours and self.model.first_layer_order == "BGR":
                weight = weight[:, ::-1]
            what = "in colour" if colours else f"means over {weight.shape[1]:,} channels"
            tiles = filter_tiles(weight, shown, _FILTER_SIDE)
            words = f"{len(shown):,} of {len(weight):,} filters, {what}, each on its own scale"
            made = FilterPicture(layer.name, words, self._pictures.add(tiles, f"filters of {layer.name}"))
        return made

    def _views(self, viewed: Viewed, given: Sequence[Sample]) -> list[SampleView]:
        views = [SampleView(one.label) for one in given]
        self.tell("maps")
        with self._may_fail("maps"):
            for view, maps in zip(views, viewed.maps(given, self.statistics), strict=False):
                view.maps = maps
        self.tell("explanations")
        with self._may_fail("explanations", "onnxviz explain: "):
            for view, explained in zip(views, viewed.explained(given), strict=False):
                view.explained = explained
        return views

    def _compared(self, comparison: Comparison) -> ComparisonPart:
        """The comparison, and of the worst layer the map of the channel that differs most."""
        maps: list[tuple[str, PageImage]] = []
        worst = comparison.worst_maps
        if worst is not None and worst.a.ndim == 3 and 0 <= worst.layer.worst_channel < len(worst.a):
            channel = worst.layer.worst_channel
            sides: tuple[tuple[str, NDArray[Any]], ...] = (
                (comparison.labels[0], worst.a),
                (comparison.labels[1], worst.b),
                ("difference", worst.a - worst.b),
            )
            for name, array in sides:
                picture = self._pictures.add(map_tiles(array, [channel], 220), f"{name}, channel {channel}")
                if picture is not None:
                    maps.append((name, picture))
        return ComparisonPart(comparison, maps)
