"""Plugin for pytest: the fixture `onnx_audit`, with which a test fails where a model is not fit to deploy.

It is found by its entry point, so every run of pytest imports it: what is heavy comes with the first audit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import chdir
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from onnxviz.auditing.audit import Audit
    from onnxviz.auditing.finding import Finding, Severity
    from onnxviz.inputs.samples import InputLike
    from onnxviz.model.model import Source

SECTION = "onnxviz audit"
"""Section of a test's report in which stands what does not fail it."""
_LONGEST = 1000


@pytest.fixture
def onnx_audit(request: pytest.FixtureRequest) -> Callable[..., Audit]:
    """A function that audits a model, fails the test where the model fails, and gives the audit where it passes.

    It takes what `onnxviz.audit` takes, and `fail_on`: from which severity on it fails, "error", "warning" or "note";
    None for what the settings say, else "error". Relative paths, and the settings' file, are looked for in pytest's
    rootdir, wherever pytest was started. What does not fail the test, what is accepted, and the checks that were not
    run stand in a section of the test's report.
    """

    def audited(
        model: Source,
        data: InputLike = None,
        *,
        fail_on: Literal["error", "warning", "note"] | None = None,
        **options: Any,
    ) -> Audit:
        __tracebackhide__ = True
        from onnxviz.auditing.audit import audit
        from onnxviz.errors import OnnxvizError
        from onnxviz.messages import printable

        refused = ""
        try:
            with chdir(request.config.rootpath):
                limit = _limit(fail_on, options)
                found = audit(model, data, **options)
        except OnnxvizError as error:
            refused = printable(str(error), _LONGEST)
        if refused:  # said here, where the error that it was is not shown with it
            name = printable(str(model), _LONGEST) if isinstance(model, str | PathLike) else "the model"
            pytest.fail(f"{name} could not be audited: {refused}", pytrace=False)
        if others := "\n".join(_others(found, limit)):
            request.node.add_report_section("call", SECTION, others)
        if found.fails(limit):
            pytest.fail(_failure(found, limit), pytrace=False)
        return found

    return audited


def _limit(fail_on: str | None, options: dict[str, Any]) -> Severity:
    """The severity from which on a test fails.

    Raises:
        InputError: there is no such severity, or the settings cannot be read.
    """
    from onnxviz.auditing.finding import Severity
    from onnxviz.auditing.registry import load_checks
    from onnxviz.auditing.settings import Settings
    from onnxviz.messages import one_of

    if fail_on is not None:
        one_of("severity to fail on", fail_on, [one.value for one in Severity])
    return Severity(fail_on or Settings.read(options.get("config"), load_checks()).fail_on or "error")


def _failure(audit: Audit, limit: Severity) -> str:
    """Why a model fails, as a sentence; a line each where there are several findings."""
    from onnxviz.auditing.finding import Severity
    from onnxviz.messages import printable

    failing = [one for one in audit.findings if one.severity.reaches(limit) and not one.reason]
    counts = [f"{count:,} {one.value}{'' if count == 1 else 's'}" for one in Severity if one.reaches(limit)
              and (count := audit.count(one))]  # fmt: skip
    head = f"{printable(audit.label, _LONGEST)} fails its audit with {_listed(counts)}"
    lines = list(_sentences(failing))
    if len(lines) == 1:
        return f"{head}: {lines[0].removeprefix(f'{failing[0].severity.value} ')}"
    return "\n".join([f"{head} ({', '.join(dict.fromkeys(one.code for one in failing))}):", *lines])


def _others(audit: Audit, limit: Severity) -> Iterator[str]:
    """Lines on the findings that do not fail the test, and on the checks that were not run."""
    from onnxviz.auditing.audit import reasons
    from onnxviz.messages import printable

    yield from _sentences(one for one in audit.findings if one.reason or not one.severity.reaches(limit))
    for codes, why in reasons([audit]):
        yield f"not run {' '.join(codes)}: {printable(why, _LONGEST)}."


def _sentences(findings: Iterable[Finding]) -> Iterator[str]:
    """A line a finding, such as `error W01 at conv1: 3 of 9 weights are NaN. What to do: export it again`."""
    from onnxviz.auditing.finding import alike
    from onnxviz.messages import printable

    for group in alike(findings):
        for one, place in group.told(lambda place: printable(place, 300)):
            at = f" {'at ' if group.parts else ''}{place}" if place else ""
            message, do = printable(one.message, _LONGEST), printable(one.do, _LONGEST)
            end = f"Accepted: {printable(one.reason, _LONGEST)}" if one.reason else f"What to do: {do}"
            yield f"{one.severity.value} {one.code}{at}: {message}. {end}."


def _listed(parts: Sequence[str]) -> str:
    """`1 error, 2 warnings and 3 notes`."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
