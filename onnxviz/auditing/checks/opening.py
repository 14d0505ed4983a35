"""The check of opening: whether a model can be audited at all."""

from __future__ import annotations

from collections.abc import Iterator

from onnxviz.auditing.finding import Finding, Severity
from onnxviz.auditing.registry import check
from onnxviz.auditing.subject import Subject


@check("G00", Severity.ERROR)
def not_audited(subject: Subject) -> Iterator[Finding]:
    """A model that cannot be audited.

    Why it matters: nothing else was looked at. A file that is refused, or that ends or hangs the process which opens
    or runs it, does so in deployment too.

    How it is measured: `onnxviz audit` audits each model in a process of its own. It is a finding where the model is
    refused, where that process crashes or is killed, and where it takes longer than --timeout or more memory than
    --memory-limit. The message says which check was at work. It is looked for whatever --select and --ignore say.

    What to do: what the message says. Where it is the time or the memory, give it more; where native code crashed,
    report the model to onnxruntime, and do not ship it.
    """
    yield from ()  # the process that waits for it gives it: see onnxviz/auditing/many.py
