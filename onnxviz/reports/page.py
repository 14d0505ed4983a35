"""A page: what the template shows, model by model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxviz.auditing.audit import Audit
from onnxviz.auditing.finding import Severity
from onnxviz.comparison.comparison import Comparison
from onnxviz.predictions.prediction import Prediction
from onnxviz.reports.finding_groups import FindingGroup, Verdict, finding_groups, titles, verdict
from onnxviz.reports.layer_rows import LayerRow
from onnxviz.reports.model_card import ModelCard
from onnxviz.reports.picture_budget import PageImage
from onnxviz.reports.sample_views import SampleView


@dataclass(frozen=True)
class AnswerCard:
    """What the model says of one input, with its picture; None where there is none."""

    prediction: Prediction
    picture: PageImage | None


@dataclass(frozen=True)
class LayerTable:
    """The layers, and how many more there are.

    Attributes:
        rows: a row each.
        more: layers that are not listed.
        images: over how many images the statistics are; None where there are none.
    """

    rows: Sequence[LayerRow]
    more: int
    images: int | None


@dataclass(frozen=True)
class FilterPicture:
    """The filters of a layer: its name, what is shown of it, and the picture; None where it did not fit."""

    layer: str
    words: str
    picture: PageImage | None


@dataclass(frozen=True)
class ComparisonPart:
    """The comparison with another model, and the maps of the layer that differs most: (whose, picture)."""

    comparison: Comparison
    maps: Sequence[tuple[str, PageImage]]


@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """A model on a page.

    Attributes:
        anchor: what ids of its sections begin with.
        label: what it is called.
        sha256: of its file; None where it could not be read.
        verdict: on it.
        groups: its findings.
        titles: of the checks that were not run, by code.
        card: its card; None where only its audit is known.
        answers: what it says of the inputs.
        more_answers: how many more inputs there are.
        remarks: what is to be said about the answers.
        table: its layers.
        filters: of its first layer.
        views: maps and explanations of the inputs.
        comparison: with another model.
        left_out: (part, why) of what did not fit or could not be made.
    """

    anchor: str
    label: str
    sha256: str | None
    verdict: Verdict
    groups: Sequence[FindingGroup]
    titles: Mapping[str, str]
    card: ModelCard | None = None
    answers: Sequence[AnswerCard] = ()
    more_answers: int = 0
    remarks: Sequence[str] = ()
    table: LayerTable | None = None
    filters: FilterPicture | None = None
    views: Sequence[SampleView] = ()
    comparison: ComparisonPart | None = None
    left_out: Sequence[tuple[str, str]] = ()

    @property
    def name(self) -> str:
        """The name of its file, without folders."""
        return Path(self.label).name or self.label


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        models: what it shows.
        version: of onnxviz.
        seconds: that it was allowed to take; None for a page of audits alone.
    """

    models: Sequence[ModelPart]
    version: str
    seconds: float | None = None

    @property
    def failing(self) -> int:
        """How many models are not fit."""
        return sum(not one.verdict.fit for one in self.models)


def audit_part(audit: Audit, fail_on: Severity, number: int) -> ModelPart:
    """What a page shows of a model of which only the audit is known."""
    return ModelPart(
        anchor=f"m{number}",
        label=audit.label,
        sha256=audit.head["model"]["sha256"] if audit.head else None,
        verdict=verdict(audit, fail_on),
        groups=finding_groups(audit),
        titles=titles([one.code for one in audit.not_run]),
    )
