"""The subject of an audit: a model, and what it is held against."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from onnxviz.auditing.baseline import ModelRecord
from onnxviz.auditing.check import Check, UnmeasuredError
from onnxviz.auditing.drift import Answers
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.golden import Golden
from onnxviz.auditing.integer_products import may_saturate
from onnxviz.auditing.layer_record import LayerChanges, LayerRecords, layer_changes, layer_records
from onnxviz.auditing.score_summary import ScoreSummary
from onnxviz.auditing.scorer import Scorer
from onnxviz.auditing.settings import Settings
from onnxviz.auditing.trained_weights import TrainedWeight, trained_weights
from onnxviz.comparison.compare import compare
from onnxviz.comparison.comparison import Comparison
from onnxviz.comparison.side import Side
from onnxviz.inputs.samples import ImageOptions, InputLike, Sample, samples
from onnxviz.maps.channel_statistics import Statistics
from onnxviz.maps.statistics import statistics
from onnxviz.messages import option_of
from onnxviz.model.model import Model
from onnxviz.predictions.predict import predict
from onnxviz.predictions.prediction import Predictions
from onnxviz.runtime.session import RunOptions, Session


@dataclass(frozen=True)
class Extras:
    """What a model is held against; None for what was not given.

    Attributes:
        data: images or arrays, as for `capture`.
        labels: the class of each sample, by its path or label; see `onnxviz.auditing.sample_classes`.
        against: a model that is taken as right, or another way to run this one (`MODEL@cuda`).
        source: what the model was converted from, for P01.
        weights: the source's weights, where they lie apart.
        target: the runtime that it is to run on, such as `onnxruntime==1.17`.
        baseline: what was kept of the release.
        golden: vectors that it is to answer as the release did.
    """

    data: InputLike = None
    labels: Mapping[str, int] | None = None
    against: str | None = None
    source: str | None = None
    weights: str | None = None
    target: str | None = None
    baseline: ModelRecord | None = None
    golden: Golden | None = None


@dataclass(eq=False)
class Subject:
    """What checks look at, one after the other; what several of them need is worked out when first asked for.

    Attributes:
        model: the model.
        images: how image files are prepared.
        options: where it runs.
        extras: what it is held against.
        settings: thresholds and severities.
        check: the check that looks; None before the first.
    """

    model: Model
    images: ImageOptions
    options: RunOptions
    extras: Extras
    settings: Settings
    check: Check | None = None

    def threshold(self, name: str) -> float:
        """A number of the check, as configured."""
        assert self.check is not None
        return self.settings.threshold(self.check, name)

    def finding(
        self,
        message: str,
        do: str,
        *,
        severity: Severity | None = None,
        layer: str = "",
        where: str = "",
        value: float | None = None,
        threshold: float | None = None,
    ) -> Finding:
        """A finding of the check; arguments as in `Finding`, the severity as the check's unless told."""
        assert self.check is not None
        told = self.settings.severity(self.check) or severity or self.check.severity
        value = value if value is not None and math.isfinite(value) else None  # JSON has no infinity
        return Finding(self.check.code, told, message, do, layer, None, where, value, threshold)

    @cached_property
    def weights(self) -> tuple[TrainedWeight, ...]:
        """Of all convolutions and dense layers; each is measured once."""
        return trained_weights(self.model)

    @cached_property
    def layer_records(self) -> LayerRecords:
        """Sketches of those layers."""
        return layer_records(self.model, self.weights)

    @cached_property
    def layer_changes(self) -> LayerChanges:
        """What became of the layers of the baseline.

        Raises:
            UnmeasuredError: there is none.
        """
        if self.extras.baseline is None:
            raise UnmeasuredError(f"no baseline was given ({option_of('audit', 'baseline')})")
        return layer_changes(self.extras.baseline.layers, self.layer_records, self.weights)

    @cached_property
    def samples(self) -> list[Sample]:
        """The data, as the model reads them."""
        return samples(self.model, self.extras.data, self.images)

    @cached_property
    def statistics(self) -> Statistics:
        """Of all convolutions of the main graph over the data; samples that fail are skipped.

        Raises:
            UnmeasuredError: there is none.
        """
        # A branch that does not run gives no maps at all.
        layers = [layer.name for layer in self.model.layers if not layer.scope]
        if not layers:
            raise UnmeasuredError("the model has no convolution in its main graph")
        return statistics(
            self.model, self.extras.data, layers=layers, complete=True, histogram=True, errors="skip",
            memory=self.options.memory, **self._options(),
        )  # fmt: skip

    @cached_property
    def comparison(self) -> Comparison:
        """With the model that it is held against: A is that one, B is this."""
        return compare(
            self.extras.against or self.model, self.model, self.extras.data, errors="skip",
            memory=self.options.memory, **self._options(),
        )  # fmt: skip

    @cached_property
    def may_saturate(self) -> bool:
        """Whether a processor without VNNI may cut off sums of the model's integer products."""
        return may_saturate(self.model)

    @cached_property
    def session(self) -> Session:
        """The model as it is, on its provider."""
        return Session.of(self.model, None, self.options)

    @cached_property
    def answers(self) -> Answers:
        """The model as it is, on its provider, ready to answer."""
        return Answers(Side(self.model, self.images, self.options, self.model.label))

    @cached_property
    def predictions(self) -> Predictions:
        """What the model says of the data, five classes each; samples that fail are skipped."""
        return predict(self.model, self.extras.data, errors="skip", **self._options())

    @cached_property
    def scorer(self) -> Scorer:
        """The model's scores of classes."""
        return Scorer(self.model, self.options)

    @cached_property
    def score_summary(self) -> ScoreSummary:
        """Of the model's scores over the data."""
        return ScoreSummary.of(self.scorer, self.samples)

    def _options(self) -> dict[str, Any]:
        """Where it runs and how images are prepared, as the verbs take it: of the latter only what was given."""
        return {**self.images.asked, "provider": self.options.provider, "threads": self.options.threads}
