"""Audits of what strangers made: one line each, in time, and the others' reports are what they are without them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hostile import UNSAFE, small, write
from hostile_models import KINDS, write_kinds

from onnxviz.auditing.audit import Audit, document
from onnxviz.auditing.finding import Severity
from onnxviz.auditing.formats import WRITERS
from onnxviz.auditing.many import Confinement, audit_each
from onnxviz.cli.findings_table import findings_text

# No deadline: each model has its own time, and that is what is tested.
pytestmark = [pytest.mark.usefixtures("room"), pytest.mark.inference_worker]

# What a model may take: many times what a sound one does, also where one on data starts processes of its own.
SECONDS, ON_DATA = 10.0, 60.0
# Beyond its time: what ends it, and how much longer all takes on a machine that is busy with something else.
ENDING, BUSY = 2.0, 10.0
CRASHED = "the audit crashed onnx or onnxruntime with SIGABRT, while A0[17] was at work"
LATE = "the audit took more than [16]0 s: [AG]0[1-9] was at work"
# What the one finding of a model says that is refused, crashes or does not end.
SAYS = {
    "empty": "is empty", "text": "is not an ONNX model", "cut short": "is not an ONNX model",
    "random bytes": "is not an ONNX model", "page": "is an HTML page", "pointer": "git lfs pull",
    "many empty nodes": "more than 200,000 nodes", "sizes that overflow": "the limit is",
    "sizes that are huge": "holds 216", "sizes unlike the bytes": "holds 212", "negative sizes": "negative dimension",
    "sparse flood": "more than 1 GiB", "fill": "asks for a tensor", "functions": "functions expand to",
    "recursion": "calls itself", "cycle": "a cycle", "group 0": "has group 0", "stride 0": r"has strides \[0, 0\]",
    "no text": "not UTF-8", "outside": "plain relative path", "absolute": "plain relative path",
    "symbolic link": "is a symbolic link", "hard link": "hard links", "pipe": "not a regular file",
    "aborting": CRASHED, "endless": LATE, "endless with a convolution": LATE, "folding": LATE,
    "fill within the limit": LATE,
}  # fmt: skip
# Those can be looked at; what finds them, and what only says that it could not run.
FOUND = {"flood": "G09", "unknown operator": "G04", "wrong checksum": "G05", "negative sides": "G03"}
# Each takes all of its time; one of them is enough where there is no hurry.
SLOW = ("endless with a convolution", "folding", "fill within the limit")
TEN = ("pointer", "cut short", "negative sizes", "functions", "cycle", "hard link", "aborting", "endless", "flood",
       "wrong checksum")  # fmt: skip


def made(folder: Path) -> dict[str, Path]:
    """A file of each kind."""
    folder.mkdir()
    return write_kinds(folder)


def good(folder: Path, count: int) -> list[str]:
    """Sound models that differ."""
    folder.mkdir()
    paths = []
    for number in range(count):
        proto = small()
        proto.doc_string = f"model {number}"
        values = np.frombuffer(proto.graph.initializer[0].raw_data, np.float32) * np.float32(1 + number / 100)
        proto.graph.initializer[0].raw_data = values.tobytes()
        paths.append(str(write(folder, proto, f"good{number}.onnx")))
    return paths


def audits(paths: Sequence[str], jobs: int = 1, **options: object) -> list[Audit]:
    """Of each, by all checks; none takes longer than its time, and what it takes to end it."""
    begun: dict[str, float] = {}
    taken: dict[str, float] = {}

    def told(done: int, what: str) -> None:
        now = time.monotonic()
        path, _, _ = what.partition(".onnx: ")
        begun.setdefault(path.removesuffix(".onnx"), now)
        taken[path.removesuffix(".onnx")] = now - begun[path.removesuffix(".onnx")]

    seconds = ON_DATA if "data" in options else SECONDS
    found = audit_each(paths, Confinement(seconds, jobs=jobs), options, progress=told)
    assert len(taken) == len(paths)
    assert max(taken.values()) < seconds + ENDING + BUSY
    return found


def check_kind(kind: str, found: Audit) -> None:
    if kind in SAYS:
        (one,) = found.findings
        assert (one.code, one.severity, found.passed, found.not_run) == ("G00", Severity.ERROR, (), ()), kind
        assert re.search(SAYS[kind], one.message), (kind, one.message)
        assert one.message.isprintable()
        return
    assert FOUND[kind] in {one.code for one in found.findings}, (kind, found.findings)
    assert found.passed
    assert not any("bug" in one.why for one in found.not_run), kind


def check_formats(found: Sequence[Audit]) -> None:
    """Nothing that a terminal or a reader of the format could take for more than text."""
    for name, writer in {**WRITERS, "text": findings_text}.items():
        assert not UNSAFE.search(writer(found, Severity.ERROR)), name


def test_every_kind_is_tried():
    assert KINDS.keys() == SAYS.keys() | FOUND.keys()
    assert not SAYS.keys() & FOUND.keys()


def test_each_kind_is_one_row(tmp_path: Path) -> None:
    """By all checks that need no data, beside three sound models, which do not notice."""
    bad = {kind: path for kind, path in made(tmp_path / "in").items() if kind not in SLOW}
    sound = good(tmp_path / "good", 3)
    found = audits([sound[0], *map(str, bad.values()), *sound[1:]], jobs=2)
    for kind, one in zip(bad, found[1:-2], strict=True):
        check_kind(kind, one)
    check_formats(found)
    for one, alone in zip([found[0], *found[-2:]], audits(sound), strict=True):
        assert json.dumps(document([one])) == json.dumps(document([alone]))
    assert not any(one.code == "G00" for audit in (found[0], *found[-2:]) for one in audit.findings)


@pytest.mark.parametrize("kind", ["aborting", "flood", "unknown operator", "wrong checksum", "negative sides", "cycle"])
def test_what_data_reach_is_one_row_too(kind: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((8, 3, 8, 8), dtype=np.float32))
    (sound,) = good(tmp_path / "good", 1)
    found = audits([sound, str(made(tmp_path / "in")[kind])], data=str(tmp_path / "x.npy"))
    check_kind(kind, found[1])
    check_formats(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOW)
def test_what_does_not_end_is_one_row(kind: str, tmp_path: Path) -> None:
    (sound,) = good(tmp_path / "good", 1)
    check_kind(kind, audits([sound, str(made(tmp_path / "in")[kind])])[1])


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("data", [False, True])
def test_forty_models_of_which_ten_are_hostile(data: bool, jobs: int, tmp_path: Path) -> None:
    """By all checks; the other thirty reports are byte for byte those of a run without the ten."""
    options: dict[str, object] = {}
    if data:
        np.save(tmp_path / "x.npy", np.random.default_rng(0).random((8, 3, 8, 8), dtype=np.float32))
        options = {"data": str(tmp_path / "x.npy"), "ignore": ("P11",)}  # it starts an interpreter for each model
    sound, bad = good(tmp_path / "good", 30), made(tmp_path / "in")
    mixed = list(sound)
    for number, kind in enumerate(TEN):
        mixed.insert(4 * number + 2, str(bad[kind]))
    assert len(mixed) == 40
    found = dict(zip(mixed, audits(mixed, jobs, **options), strict=True))
    for kind in TEN:
        check_kind(kind, found[str(bad[kind])])
    for one in audits(sound, jobs, **options):
        assert json.dumps(document([found[one.label]])) == json.dumps(document([one]))
