"""`audit`: whether a model is fit to deploy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from onnxviz.auditing.baseline import Baseline, ModelRecord
from onnxviz.auditing.check import Check, UnmeasuredError
from onnxviz.auditing.finding import Finding, NotRun, Severity, sorted_findings
from onnxviz.auditing.golden import Golden
from onnxviz.auditing.recording import check_same_model, record, since_baseline
from onnxviz.auditing.registry import chosen, load_checks, refuse_untaken
from onnxviz.auditing.sample_classes import Classes, sample_classes
from onnxviz.auditing.settings import Settings
from onnxviz.auditing.since_baseline import SinceBaseline
from onnxviz.auditing.subject import Extras, Subject
from onnxviz.errors import OnnxvizError, SelectionError
from onnxviz.files import write_json
from onnxviz.inputs.image_bands import Fit
from onnxviz.inputs.noise import check_noise_heeded
from onnxviz.inputs.preprocessing import Preprocessing
from onnxviz.inputs.provenance import Provenance
from onnxviz.inputs.samples import ImageOptions, InputLike
from onnxviz.messages import option_of, refuse_unheeded, spelt
from onnxviz.model.graph.shapes import shared_inference
from onnxviz.model.model import Source, load
from onnxviz.runtime.batching import DEFAULT_MEMORY
from onnxviz.runtime.session import RunOptions

FORMAT_VERSION = 1
# What reports have as well.
_LACKING = {
    "data": "no data were given ({data})",
    "labels": "the data have no classes: give folders of classes, or a CSV of path and class ({classes})",
    "against": "no model was given to hold it against ({against})",
}
_LACKING_IN_AUDITS = {"source": "source", "target": "target", "baseline": "baseline", "golden": "golden vectors"}


@dataclass(frozen=True)
class Audit:
    """What an audit of one model found.

    Attributes:
        label: what the model is called: its path as it was given.
        findings: the most severe first.
        not_run: checks that could not run, and why; by code.
        passed: codes of the checks that ran and found nothing, sorted.
        head: its provenance as JSON types, as every manifest begins: the model with its SHA-256, versions, the
            provider; empty where the model could not be audited.
        since: findings that are new and gone since the baseline; None without one.
        record: what a baseline keeps of the model, where `keep` asked for it; see `Baseline.of`.
    """

    label: str
    findings: tuple[Finding, ...]
    not_run: tuple[NotRun, ...]
    passed: tuple[str, ...]
    head: Mapping[str, Any]
    since: SinceBaseline | None = None
    record: ModelRecord | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Audit({self.label!r}, {len(self.findings)} findings, {len(self.not_run)} not run)"

    def fails(self, on: Severity | Literal["error", "warning", "note"] = Severity.ERROR) -> bool:
        """Whether a finding that is not accepted is as severe as `on`, or more."""
        limit = Severity(on)
        return any(one.severity.reaches(limit) and not one.reason for one in self.findings)

    @property
    def has_run(self) -> bool:
        """Whether any check ran, to its end or not: where none did, that nothing was found is no pass."""
        return bool(self.findings or self.passed)

    def passes(self, on: Severity | Literal["error", "warning", "note"] = Severity.ERROR) -> bool:
        """Whether a check ran, and no finding that is not accepted is as severe as `on`, or more."""
        return self.has_run and not self.fails(on)

    @property
    def codes(self) -> tuple[str, ...]:
        """Of all checks that were to run, each once, sorted."""
        return tuple(sorted({*(one.code for one in self.findings), *(one.code for one in self.not_run), *self.passed}))

    def count(self, severity: Severity) -> int:
        """How many findings of a severity are not accepted."""
        return sum(one.severity is severity and not one.reason for one in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """As JSON types: one entry of `models` in the document of `onnxviz audit --json`."""
        return {
            "path": self.label,
            "sha256": self.head["model"]["sha256"] if self.head else None,
            "findings": [one.as_dict() for one in self.findings],
            "not_run": [one.as_dict() for one in self.not_run],
            "passed": list(self.passed),
            "since_baseline": None if self.since is None else self.since.as_dict(),
            "provenance": self.head or None,
        }

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Audit:
        """The audit of which `as_dict` made the entry."""
        return cls(
            entry["path"],
            tuple(map(Finding.of, entry["findings"])),
            tuple(NotRun(one["code"], one["why"]) for one in entry["not_run"]),
            tuple(entry["passed"]),
            entry["provenance"] or {},
            SinceBaseline.of(entry["since_baseline"]) if entry.get("since_baseline") else None,
        )

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the document of `onnxviz audit --json` with this model alone.

        Raises:
            OnnxvizError: it cannot be written; nothing is left half-written.
        """
        return write_json(Path(path), document([self]))


def document(audits: Sequence[Audit], fail_on: Severity = Severity.ERROR) -> dict[str, Any]:
    """The JSON document of several audits: all they found, and whether any fails on what is so severe."""
    return {
        "version": FORMAT_VERSION,
        "fail_on": fail_on.value,
        "fails": any(one.fails(fail_on) for one in audits),
        "models": [one.as_dict() for one in audits],
    }


def reasons(audits: Sequence[Audit]) -> list[tuple[tuple[str, ...], str]]:
    """Why checks were not run: for each reason the codes, and the reason, with the number of models if not of all."""
    codes: dict[str, Counter[str]] = {}
    audited = sum(bool(audit.head) for audit in audits)
    for audit in audits:
        for one in audit.not_run:
            codes.setdefault(one.why, Counter())[one.code] += 1
    found = []
    for why, counted in sorted(codes.items(), key=lambda one: min(one[1])):
        most = max(counted.values())
        models = "" if most == audited else f", in {most:,} of {audited:,} models"
        found.append((tuple(sorted(counted)), why + models))
    return found


def audit(
    model: Source,
    data: InputLike = None,
    *,
    against: str | None = None,
    classes: Classes | None = None,
    source: str | None = None,
    weights: str | None = None,
    target: str | None = None,
    baseline: Baseline | str | PathLike[str] | None = None,
    golden: Golden | str | PathLike[str] | None = None,
    keep: bool = False,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    config: Path | None = None,
    preprocess: str | Preprocessing = "auto",
    size: tuple[int, int] | None = None,
    fit: Fit | None = None,
    background: str | None = None,
    provider: str = "cpu",
    threads: int = 0,
    memory: int = DEFAULT_MEMORY,
    progress: Callable[[str], None] | None = None,
) -> Audit:
    """Whether a model is fit to deploy.

    Args:
        model: an opened model, or what `load` opens.
        data: images or arrays, as for `capture`; None: what needs them is not run.
        against: a model that is taken as right (a path, with `@…` for where it runs).
        classes: the class of each sample, by its path or label, or a CSV of path and class; None where folders in
            `data` are classes, or there are none; see `onnxviz.auditing.sample_classes`.
        source: what the model was converted from, as for `convert`.
        weights: the source's weights, where they lie apart.
        target: the runtime that it is to run on, such as `onnxruntime==1.17`; None for the installed one.
        baseline: of the release, or the file that holds it: what changed since then is told.
        golden: golden vectors of the release, or the folder that holds them, to be replayed.
        keep: whether `record` is filled, of which a baseline is made.
        select: prefixes of codes; empty for all but those that are only run when asked for.
        ignore: prefixes of codes that are left out.
        config: a TOML file with settings; None for `onnxviz.toml` or `pyproject.toml`, if there is one.
        preprocess: what is done to images; `auto` asks the model's metadata, then its graph.
        size: (height, width) of images where the model leaves it open.
        fit: "stretch" images to the size (None), or "crop" them.
        background: colour behind transparent pixels; None for white.
        provider: where the model runs.
        threads: of one operator; 0 for onnxruntime's choice.
        memory: bytes that a batch may take, about.
        progress: called with the code of the check that begins.

    Raises:
        OnnxvizError: the model cannot be opened, an option cannot be used, by none of the chosen checks for example, or
            baseline or golden vectors are broken or of another model. What a check cannot do is in `not_run`.
    """
    given = {
        "data": data, "against": against, "classes": classes, "source": source, "weights": weights, "target": target,
        "golden": golden, "select": select, "ignore": ignore, "config": config, "preprocess": preprocess, "size": size,
        "fit": fit, "keep": keep, "background": background, "provider": provider, "threads": threads,
    }  # fmt: skip
    wanted, settings = wanted_checks(given)
    opened = load(model)
    images = ImageOptions.of(opened, preprocess, size, fit, background)
    options = RunOptions(provider, memory, threads)
    release = Baseline.load(baseline) if isinstance(baseline, str | PathLike) else baseline
    released = None if release is None else release.model(opened.label)
    vectors = Golden.load(golden) if isinstance(golden, str | PathLike) else golden
    labels = sample_classes(opened, data, classes)
    extras = Extras(data, labels, against, source, weights, target, released, vectors)
    subject = Subject(opened, images, options, extras, settings)
    _ = opened.layers  # one that contradicts itself is refused here, before any native code sees it
    _check_heeded(subject)
    if vectors is not None:
        vectors.check_fits(opened)
    if release is not None and released is not None:
        check_same_model(subject, released, release.path)
    found = run_checks(subject, wanted, progress)
    ran = frozenset([*found.passed, *(one.code for one in found.findings)]) - {one.code for one in found.not_run}
    if released is not None:
        held = frozenset(one.code for one in load_checks() if {"baseline", "golden"} & {*one.needs})
        findings, since = since_baseline(subject, released, found.findings, ran, held)
        found = replace(found, findings=sorted_findings(findings), since=since)
    return replace(found, record=record(subject, found.head, found.findings, ran)) if keep else found


def run_checks(
    subject: Subject,
    wanted: Sequence[Check],
    progress: Callable[[str], None] | None = None,
    spent: Callable[[], str] = lambda: "",
) -> Audit:
    """What checks find, one after the other.

    Args:
        subject: what they look at.
        wanted: the checks, in the order in which they run.
        progress: called with the code of the check that begins.
        spent: asked before each; why no more are to run, "" where they are.
    """
    findings: list[Finding] = []
    not_run: list[NotRun] = []
    passed: list[str] = []
    with shared_inference():
        for check in wanted:
            if progress is not None:
                progress(check.code)
            why_not = _lacking(check, subject.extras) or spent()
            found, why = ([], why_not) if why_not else _asked(check, subject)
            findings += found
            if why:
                not_run.append(NotRun(check.code, why))
            elif not found:
                passed.append(check.code)
    reads_images = subject.extras.data is not None and any(sample.path for sample in subject.samples)
    provenance = Provenance(subject.model, subject.options, subject.images if reads_images else None)
    not_run.sort(key=lambda one: one.code)
    return Audit(
        subject.model.label, sorted_findings(findings), tuple(not_run), tuple(sorted(passed)), provenance.as_dict()
    )


def wanted_checks(options: Mapping[str, Any]) -> tuple[tuple[Check, ...], Settings]:
    """The checks that an audit with these options runs, and the settings by which they judge.

    Args:
        options: of `audit`, by name.

    Raises:
        OnnxvizError: the settings cannot be read, there is no such check, none is left, or none of the chosen heeds an
            option.
    """
    checks = load_checks()
    settings = Settings.read(options.get("config"), checks)
    select, ignore = options.get("select", ()), options.get("ignore", ())
    wanted = chosen(checks, select or settings.select, (*ignore, *settings.ignore), settings.budgets)
    if not wanted:
        by = f", by {settings.path} too" if settings.ignore else ""
        ignored = ", ".join((*ignore, *settings.ignore))
        why = (
            f"all that are chosen are ignored ({ignored}{by})"
            if ignored
            else "those chosen are to be asked for by code"
        )
        raise SelectionError(f"no check is left to run: {why}")
    refuse_untaken(wanted, checks, options)
    return wanted, settings


def _check_heeded(subject: Subject) -> None:
    """Refuses data that cannot be read, and options that nothing heeds: without data there is noise, of a size."""
    images, against = subject.images, subject.extras.against
    if subject.extras.data is not None:
        images.check_heeded(subject.model, subject.samples)
        return
    refuse_unheeded({"against": against}, "two models are compared on data, and there are none without {data}")
    refuse_unheeded(dict.fromkeys(set(images.given) - {"size"}, True), "no image is read without {data}")
    check_noise_heeded(subject.model, images)


def _asked(check: Check, subject: Subject) -> tuple[list[Finding], str]:
    """What a check finds, and why it could not run, or not to its end; "" where it could."""
    found: list[Finding] = []
    subject.check = check
    try:
        for one in check.run(subject):
            found.append(subject.settings.judged(one))  # kept where a later part cannot be measured
    except UnmeasuredError as error:
        return found, str(error)
    except OnnxvizError as error:
        return found, f"it failed: {str(error).removeprefix(f'{subject.model.label}: ')}"
    return found, ""


def _lacking(check: Check, extras: Extras) -> str:
    """Why a check cannot run for lack of what was not given; "" where it can."""
    need = next((one for one in check.needs if getattr(extras, one) is None), None)
    if need is None:
        return ""
    if need in _LACKING:
        return spelt(_LACKING[need])
    verb = "were" if need == "golden" else "was"
    return f"no {_LACKING_IN_AUDITS[need]} {verb} given ({option_of('audit', need)})"
