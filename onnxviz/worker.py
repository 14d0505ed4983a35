"""Workers: all of a command in a child process that may die.

Native code of onnx and onnxruntime aborts or hangs on some crafted models, and does not see an interrupt while it
runs. So a command is run in a child process, forked before anything heavy is imported (1 ms): a crash becomes one line,
an interrupt an end, and files that the child left unfinished are removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from onnxviz import files

with contextlib.suppress(ImportError):  # not on Windows, where nothing is forked either
    import resource

CRASHED = 2
INTERRUPTED = 130
BUG = 70
# How long an interrupted child may take to end itself before it is killed.
GRACE_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1  # of Linux' prctl
_STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]


def supervised(work: Callable[[], int]) -> int:
    """The exit code of `work`, run in a child process where the system can fork; else run here."""
    if not hasattr(os, "fork"):
        return work()
    with tempfile.TemporaryFile(prefix="onnxviz-") as journal:
        child = os.fork()
        if child == 0:
            files.journal = journal
            _quiet_native_code()
            _finish(work)
        status = _wait(child)
        if status is None or os.WIFSIGNALED(status):
            _remove_unfinished(journal.fileno())
        if status is None:
            return INTERRUPTED
        if os.WIFSIGNALED(status):
            return _report(os.WTERMSIG(status))
        return os.WEXITSTATUS(status)


def _finish(work: Callable[[], int]) -> NoReturn:
    """Does the work and ends this process, without the parent's clean-up; a bug keeps its traceback."""
    code = BUG
    try:
        bind_to_parent()
        code = work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else BUG
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _quiet_native_code() -> None:
    """Gives Python's stderr a descriptor of its own and native code none.

    What libraries print when they abort is the model author's text or an assertion; the parent says it in one line.
    """
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
        kept = os.dup(2)
        sys.stderr = os.fdopen(kept, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _ignore(number: int, frame: object) -> None:
    """Does nothing: of SIG_IGN in its place Python complains on stderr, where the signal came just before."""


def bind_to_parent() -> None:
    """Ends with the parent, takes one interrupt only, and leaves a fifth of the machine's memory to others."""

    def interrupt(number: int, frame: object) -> None:
        signal.signal(number, _ignore)  # what is cleaned up now must not be interrupted again
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    with contextlib.suppress(Exception):  # each is a courtesy, and not every system has it
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        resource.setrlimit(resource.RLIMIT_DATA, (memory // 5 * 4, resource.RLIM_INFINITY))
    if sys.platform == "linux":
        with contextlib.suppress(Exception):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait(child: int) -> int | None:
    """The child's wait status; None if it had to be ended because the user interrupted."""

    def stop(number: int, frame: object) -> None:
        for one in _STOPS:  # a second interrupt must not interrupt the ending
            signal.signal(one, _ignore)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in _STOPS}
    try:
        status = os.waitpid(child, 0)[1]
        for number, handler in before.items():
            signal.signal(number, handler)
        return status
    except KeyboardInterrupt:
        # Python's end gives handlers up, and a signal would kill it then. What came until here is handled first.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        for one in _STOPS:
            signal.signal(one, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        return _end(child)  # the signals stay ignored: this process ends next


def _end(child: int) -> int | None:
    """Asks the child to end, then makes it."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGINT)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
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
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
                continue
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
