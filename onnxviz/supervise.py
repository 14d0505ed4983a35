"""A command in a process that may die.

Native code of onnx and onnxruntime aborts or hangs on some crafted models, and does not see an interrupt while it
runs. So the work is done in a child process, forked before anything heavy is imported (1 ms); the parent turns a
crash into one line, an interrupt into an end, and removes files that the child left unfinished.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from onnxviz import files

CRASHED = 2
INTERRUPTED = 130
# How long an interrupted child may take to end itself before it is killed.
GRACE_SECONDS = 3.0


def supervised(work: Callable[[], int]) -> int:
    """The exit code of `work`, run in a child process where the system can fork; else run here."""
    if not hasattr(os, "fork"):
        return work()
    with tempfile.TemporaryFile(prefix="onnxviz-") as journal:
        child = os.fork()
        if child == 0:
            files.journal = journal
            code = 70
            try:
                code = work()
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        status = _wait(child)
        if status is None or os.WIFSIGNALED(status):
            _remove_unfinished(journal.fileno())
        if status is None:
            return INTERRUPTED
        if os.WIFSIGNALED(status):
            return _report(os.WTERMSIG(status))
        return os.WEXITSTATUS(status)


def _wait(child: int) -> int | None:
    """The child's wait status; None if it had to be ended because the user interrupted."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        while True:
            try:
                return os.waitpid(child, 0)[1]
            except KeyboardInterrupt:
                return _end(child)
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(child: int) -> int | None:
    """Asks the child to end, then makes it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGINT)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(KeyboardInterrupt):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status if os.WIFEXITED(status) else None
            time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _report(number: int) -> int:
    if number in (signal.SIGINT, signal.SIGTERM):
        return INTERRUPTED
    name = signal.Signals(number).name
    hint = " (out of memory?)" if number == signal.SIGKILL else ""
    print(
        f"error: onnx or onnxruntime crashed on this model with {name}{hint}; nothing was left half-written",
        file=sys.stderr,
    )
    return CRASHED


def _remove_unfinished(journal: int) -> None:
    size = os.fstat(journal).st_size
    for line in os.pread(journal, size, 0).decode("utf-8", "replace").splitlines():
        path = Path(line)
        if path.name.startswith(files.UNFINISHED):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
