"""`onnxviz audit`: whether models are fit to deploy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onnxviz.cli.heeding import ALWAYS, Mode
from onnxviz.cli.options import (
    AgainstOption,
    BackgroundOption,
    ClassesOption,
    ConfigOption,
    FailOnOption,
    FitOption,
    IgnoreOption,
    JsonOption,
    MemoryOption,
    PreprocessOption,
    ProviderOption,
    QuietOption,
    SelectOption,
    SizeOption,
    ThreadsOption,
    parse_bytes,
    parse_codes,
    parse_size,
)
from onnxviz.cli.program import command
from onnxviz.cli.terminal import print_json, print_text, say, stdout
from onnxviz.errors import InputError, OnnxvizError
from onnxviz.files import destination, replacing
from onnxviz.messages import printable

if TYPE_CHECKING:
    from onnxviz.auditing.audit import Audit
    from onnxviz.auditing.finding import Severity

_AUDITING = Mode(lambda given: not given["listed"] and given["explain"] is None, "{list} and {explain} audit nothing")
_ONE = Mode(lambda given: not given["listed"], "{list} lists all checks")
_SEEN = Mode(lambda given: bool(given["data"]), "no image is read without {data}")
_COMPARED = Mode(
    lambda given: bool(given["data"]), "two models are compared on data, and there are none without {data}"
)
_CONVERTED = Mode(lambda given: given["source"] is not None, "weights are loaded into {source}")
_FORMATTED = Mode(
    lambda given: not given["as_json"] or (given["output"] is not None and given["report"] != "github"),
    "{json} says the format of what is printed",
)


def _writes_text(given: Mapping[str, Any]) -> bool:
    """Whether the report for people is written, on the terminal or into a file."""
    report, output = given["report"], given["output"]
    printed = not given["as_json"] and (report in (None, "text") or (output is not None and report != "github"))
    named = report in (None, "github") and output is not None and output.suffix.lower() == ".txt"
    return printed or named or (output is not None and report == "text")


_WORDED = Mode(_writes_text, "{verbose} is for the text report, and none is written")
_HEEDS = {
    ALWAYS: "models listed as_json quiet",
    _ONE: "explain",
    _AUDITING: "data classes against baseline write_baseline golden write_golden select ignore fail_on target source "
    "weights config preprocess size fit background "
    "provider threads memory timeout memory_limit jobs report output verbose",
    _SEEN: "classes preprocess fit background",
    _COMPARED: "against",
    _CONVERTED: "weights",
    _FORMATTED: "report",
    _WORDED: "verbose",
}


@command(_HEEDS, epilog="Example: onnxviz audit model.onnx --data photos")
def audit(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="Files, folders, globs, or @FILE that lists them.", show_default=False),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT",
            help="Images, folders, lists of paths (.txt), .npy, .npz, or NAME=PATH; may be repeated.",
            show_default=False,
        ),
    ] = None,
    classes: ClassesOption = None,
    against: AgainstOption = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of the release: what changed since then.", show_default=False),
    ] = None,
    write_baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep what later versions are held against.", show_default=False)
    ] = None,
    golden: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Golden vectors, to be replayed.", show_default=False)
    ] = None,
    write_golden: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep inputs and answers, as ONNX test data.", show_default=False),
    ] = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    fail_on: FailOnOption = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="RUNTIME", help="What it is to run on: onnxruntime==1.17.", show_default="this one"),
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="What it was converted from, as for convert.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of the source.")] = None,
    config: ConfigOption = None,
    preprocess: PreprocessOption = "auto",
    size: SizeOption = None,
    fit: FitOption = None,
    background: BackgroundOption = None,
    provider: ProviderOption = "cpu",
    threads: ThreadsOption = 0,
    memory: MemoryOption = "1GiB",
    timeout: Annotated[float, typer.Option(metavar="S", help="Seconds that a model may take.", min=0.1)] = 300,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES", help="Memory that a model may take.", show_default="3 x weights + --memory + 1GiB"
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="N", help="Models audited side by side.", min=1)] = 1,
    report: Annotated[
        Literal["text", "json", "sarif", "junit", "html", "markdown", "github"] | None,
        typer.Option(
            "--format",
            help="Of the report; github: a step's annotations and summary.",
            show_default="as the name of -o says, else text",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to.", show_default="nowhere")
    ] = None,
    explain: Annotated[
        str | None, typer.Option(metavar="CODE", help="Print the manual of a check.", show_default=False)
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List all checks.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Each finding by itself, where one line tells of many that are alike.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Audit models: is each fit to deploy? Exit code 1 where one has a finding that fails it."""
    from onnxviz.auditing.model_list import model_list

    if listed or explain is not None:
        if models:
            raise InputError(f"{'--list' if listed else '--explain'} audits nothing: leave out {models[0]}")
        _say_checks(None if explain is None else explain.upper(), as_json)
        return
    annotated = report == "github"  # in the log, where GitHub reads them; a file is of the kind that its name says
    form = report if report and not annotated else _format_of(output)
    for file in (output, write_baseline):
        if file is not None:
            destination(file)
    paths = model_list(models or [])
    options = {
        "data": data[0] if data and len(data) == 1 else data or None,  # a folder of folders may have classes
        "classes": classes, "against": against, "source": source, "baseline": baseline, "golden": golden,
        "keep": write_baseline is not None,
        "weights": None if weights is None else str(weights), "target": target, "select": parse_codes(select),
        "ignore": parse_codes(ignore), "config": config, "preprocess": preprocess, "size": parse_size(size), "fit": fit,
        "background": background, "provider": provider, "threads": threads, "memory": parse_bytes(memory),
    }  # fmt: skip

    from onnxviz.auditing.audit import document, reasons
    from onnxviz.auditing.baseline import Baseline
    from onnxviz.auditing.finding import Severity
    from onnxviz.auditing.formats import WRITERS
    from onnxviz.auditing.formats.github import append_summary
    from onnxviz.auditing.many import Confinement, audit_each
    from onnxviz.auditing.registry import load_checks
    from onnxviz.auditing.settings import Settings
    from onnxviz.cli.findings_table import findings_table, findings_text
    from onnxviz.cli.progress import reporting, stages

    confinement = Confinement(timeout, None if memory_limit is None else parse_bytes(memory_limit), jobs)
    with _annotating_errors(annotated):
        limit = Severity(fail_on or Settings.read(config, load_checks()).fail_on or "error")
        if len(paths) == 1:
            with stages(quiet) as stage:
                found = audit_each(
                    paths, confinement, options, write_golden=write_golden, progress=lambda done, what: stage(what)
                )
        else:
            with reporting(quiet, "auditing") as step:
                count = None if step is None else lambda done, what: step(done, len(paths))
                found = audit_each(paths, confinement, options, write_golden=write_golden, progress=count)
    text = partial(findings_text, verbose=verbose)
    writer = _html if form == "html" else text if form == "text" else WRITERS[form]
    if output is not None:
        with replacing(output) as temporary:
            temporary.write_text(writer(found, limit), encoding="utf-8")
    if annotated:
        print_text(WRITERS["github"](found, limit))
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            append_summary(found, limit, Path(summary))
    elif as_json:
        print_json(document(found, limit))
    elif output is None and form != "text":
        print_text(writer(found, limit))
    else:
        console = stdout()
        console.print(findings_table(found, limit, console.width, verbose=verbose))
    written = [path for path in (write_baseline, write_golden) if path is not None]
    if written and (lost := [one.label for one in found if not one.head]):
        raise InputError(f"{written[0]} was not written: {printable(lost[0])} could not be audited")
    if write_baseline is not None:
        Baseline.of(*(one.record for one in found)).save(write_baseline)
    for path in [*([output] if output is not None else []), *written]:
        if not as_json and (path == output or form == "text" or annotated):
            say(str(path), 10_000)
    if not written and not any(one.has_run for one in found):
        raise InputError(f"no check could run, so nothing was audited: {reasons(found)[0][1]}")
    if any(one.fails(limit) for one in found):
        raise typer.Exit(1)


def _html(audits: Sequence[Audit], fail_on: Severity) -> str:
    from onnxviz.reports.report import audits_page  # late: it brings what draws

    return audits_page(audits, fail_on)


@contextmanager
def _annotating_errors(annotated: bool) -> Iterator[None]:
    """Says in an annotation too why nothing could be audited."""
    from onnxviz.auditing.formats.github import refusal

    try:
        yield
    except OnnxvizError as error:
        if annotated:
            print_text(refusal(str(error)))
        raise


def _say_checks(explain: str | None, as_json: bool) -> None:
    """Prints the list of checks, or the manual of one."""
    from onnxviz.auditing.registry import known_code, load_checks
    from onnxviz.cli.findings_table import check_manual, checks_table

    checks = load_checks()
    if explain is not None:
        if not any(check.code == explain for check in checks):
            known_code(explain, checks)
        checks = tuple(check for check in checks if check.code.startswith(explain))
    console = stdout()
    if as_json:
        print_json({"version": 1, "checks": [check.as_dict() for check in checks]})
    elif explain is None:
        console.print(checks_table(checks, console.width))
    else:
        for check in checks:
            console.print(check_manual(check))


def _format_of(output: Path | None) -> str:
    """The format that the name of a file says."""
    from onnxviz.auditing.formats import SUFFIXES

    if output is None:
        return "text"
    form = SUFFIXES.get(output.suffix.lower())
    if form is None:
        raise InputError(f"the name of {output} does not say a format ({', '.join(SUFFIXES)}): give --format")
    return form
