"""`report`: one self-contained HTML page about a model, for people to read and sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Literal

from onnxviz.arguments import typed
from onnxviz.auditing.audit import Audit, run_checks, wanted_checks
from onnxviz.auditing.finding import Severity
from onnxviz.auditing.sample_classes import Classes, sample_classes
from onnxviz.auditing.subject import Extras, Subject
from onnxviz.comparison.comparison import Comparison
from onnxviz.files import replacing
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.samples import ImageOptions, InputLike
from onnxviz.maps.channel_statistics import Statistics
from onnxviz.model.model import Source, load
from onnxviz.predictions.prediction import Predictions
from onnxviz.reports.assembly import Assembly, Inputs
from onnxviz.reports.html_page import render
from onnxviz.reports.page import Page, audit_part
from onnxviz.reports.time_budget import TimeBudget
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.session import RunOptions

SECONDS = 120.0
"""That a page takes at most, about."""


@dataclass(frozen=True)
class Report:
    """A page about a model.

    Attributes:
        html: the page; the same for the same inputs, as long as everything fits its time.
        audit: what the checks found.
        predictions: what the model says of the inputs; None where that is not known.
        statistics: of its layers over the data; None likewise.
        comparison: with the model it was held against; None likewise.
        left_out: (part, why) of what the page does not have.
        fail_on: from which severity on a finding makes the model unfit.
    """

    html: str
    audit: Audit
    predictions: Predictions | None
    statistics: Statistics | None
    comparison: Comparison | None
    left_out: tuple[tuple[str, str], ...]
    fail_on: Severity

    def __repr__(self) -> str:
        fit = "not fit" if self.audit.fails(self.fail_on) else "fit"
        return f"Report({self.audit.label!r}, {fit}, {len(self.html):,} characters)"

    @property
    def fails(self) -> bool:
        """Whether the model is not fit."""
        return self.audit.fails(self.fail_on)

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the page.

        Raises:
            OnnxvizError: it cannot be written; what was there stays.
        """
        return write_page(self.html, Path(path))


@typed
def report(
    model: Source,
    x: InputLike,
    *,
    data: InputLike = None,
    against: str | None = None,
    classes: Classes | None = None,
    labels: Sequence[str] | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    fail_on: Literal["error", "warning", "note"] | None = None,
    config: Path | None = None,
    preprocess: str | Preprocessing = "auto",
    size: tuple[int, int] | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    threads: int = 0,
    memory: int = DEFAULT_MEMORY,
    seconds: float = SECONDS,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """A page about a model: the verdict, its card, findings, layers, filters, maps, explanations, a comparison.

    Args:
        model: an opened model, or what `load` opens.
        x: images or arrays that are shown with what the model says of them, as for `capture`.
        data: what the model is audited on; None for `x`. Of images that the time is too short for, some are left out,
            evenly, and the page says so.
        against: a model that is taken as right (a path, with `@…` for where it runs).
        classes: the class of each sample, as for `audit`.
        labels: names of the classes; None for those in the model's metadata.
        select: prefixes of codes of checks; empty for all but those that are only run when asked for.
        ignore: prefixes of codes that are left out.
        fail_on: from which severity on a finding makes the model unfit; None for the settings', else "error".
        config: a TOML file with settings, as for `audit`.
        preprocess: what is done to images; `auto` asks the model's metadata, then its graph.
        size: (height, width) of images where the model leaves it open.
        fit: "stretch" images to the size (None), or "crop" them.
        background: colour behind transparent pixels; None for white.
        provider: where the model runs.
        threads: of one operator; 0 for onnxruntime's choice.
        memory: bytes that a batch may take, about.
        seconds: that the page may take, about; what does not fit is left out, and the page says so. What one check
            takes is not interrupted.
        progress: called with what begins.

    Raises:
        OnnxvizError: the model or none of `x` can be used, or an option cannot.
    """
    wanted, settings = wanted_checks({"select": select, "ignore": ignore, "config": config})
    limit = Severity(fail_on or settings.fail_on or "error")
    time = TimeBudget(seconds)
    opened = load(model)
    images = ImageOptions.of(opened, preprocess, size, fit, background)
    options = RunOptions(provider, memory, threads)
    assembly = Assembly(opened, Inputs(x, labels), images, options, time, progress)
    assembly.ask()
    data = x if data is None else data
    if isinstance(data, Sequence) and not isinstance(data, str) and len(data) == 1:
        data = data[0]  # a folder of folders may have classes
    extras = Extras(assembly.fitting(data), sample_classes(opened, data, classes), against)
    subject = Subject(opened, images, options, extras, settings)
    audit = run_checks(subject, wanted, assembly.tell, lambda: time.spent("checks"))
    part = assembly.part(subject, audit, limit)
    return Report(
        render(Page([part], version("onnxviz"), seconds)),
        audit,
        assembly.predictions,
        assembly.statistics,
        assembly.comparison,
        tuple(assembly.left_out),
        limit,
    )


def audits_page(audits: Sequence[Audit], fail_on: Severity) -> str:
    """The page of several audits, of which nothing but what the checks found is known."""
    return render(Page([audit_part(one, fail_on, number) for number, one in enumerate(audits, 1)], version("onnxviz")))


def write_page(html: str, path: Path) -> Path:
    """Writes a page, and gives its path.

    Raises:
        OnnxvizError: it cannot be written; what was there stays.
    """
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path
