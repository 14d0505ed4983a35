"""The verdict on a drift: what rounding explains, and how severe what it does not explain is."""

from __future__ import annotations

from collections.abc import Iterator

from onnxviz.auditing.drift import Drift
from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.subject import Subject
from onnxviz.comparison.reading import Precision

# What rounding explains, as a share of the range of the answers. float32: reports of harmless exports reach 5.6e-4
# (onnx#5131: 0.0045 on -8…8; pytorch#66528: 0.0022); float16 has 11 bits, of which a deep network loses a few;
# eight bits: an SQNR of 20 dB, below which a layer counts as divergent, is a tenth.
FULL, HALF, QUANTISED = 1e-3, 1e-2, 0.1
_WORDS = {Precision.FULL: "full", Precision.HALF: "half", Precision.QUANTISED: "quantised"}


def judged(subject: Subject, found: Drift, what: str, kind: Precision, do: str) -> Iterator[Finding]:
    """An error where an answer flips beyond rounding, a warning where a value differs so, a note on any other flip.

    Args:
        subject: asked by a check that has the thresholds `full`, `half` and `quantised`.
        found: what was measured.
        what: how the message begins.
        kind: the lowest precision that takes part.
        do: what to do about it.
    """
    limit = limit_of(subject, kind)
    severity = Severity.ERROR if found.margin > limit else Severity.WARNING if found.error > limit else Severity.NOTE
    if severity is Severity.NOTE and not found.flips:
        return
    yield subject.finding(
        f"{what}, {found.words()} (rounding explains {limit:g})",
        do,
        severity=severity,
        where=found.flipped or found.worst,
        value=found.margin if found.flips else found.error,
        threshold=limit,
    )


def limit_of(subject: Subject, kind: Precision) -> float:
    """What rounding explains in a precision, as the check's thresholds have it."""
    return subject.threshold(_WORDS[kind])
