"""Confined work: parts of an audit, each in a child process of its own, with limits of time and memory.

What a part gives comes back, or why it ended: native code of onnx and onnxruntime aborts or hangs on some models, and
takes the process with it that it runs in.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import os
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from onnxviz import forks
from onnxviz.worker import GRACE_SECONDS, bind_to_parent

with contextlib.suppress(ImportError):  # not on Windows, where nothing is forked either
    import resource

_LONGEST_WAIT = 3600.0  # at a time; systems refuse to wait for years, as for a limit of 1e300 s

Tell = Callable[[str], None]
"""Called by work with what it begins to do, in a few words."""
Work = Callable[[Tell], bytes]
"""What is done in a process of its own."""


@dataclass(frozen=True)
class Limits:
    """What work may take.

    Attributes:
        seconds: of real time.
        memory: bytes that its process may take beyond those that it begins with, as `limit_memory` counts them; None
            where the work says it itself, by that function.
    """

    seconds: float
    memory: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How work ended.

    Attributes:
        result: what it gave; None where it did not come to its end.
        why: why it did not, such as `took more than 300 s`; "" where it did.
        stage: what it said last that it does.
        lasted: seconds since then.
    """

    result: bytes | None
    why: str = ""
    stage: str = ""
    lasted: float = field(default=0.0, compare=False)


def confined(
    works: Iterable[Work], limits: Limits, jobs: int = 1, told: Callable[[int, str], None] | None = None
) -> Iterator[tuple[int, Outcome]]:
    """Does each of `works` in a child process, `jobs` at a time; (number, ending) of each as they end.

    A child ends with its own child processes, and what it left in the temporary folder is removed. What it prints is
    lost. Where the system cannot fork the work is done here, without limits. Ends all children where the caller does
    not go on to the last, and where it is interrupted.

    Args:
        works: what is done; taken up as children become free.
        limits: of each.
        jobs: how many run side by side.
        told: called with the number of a work and what it says that it does.
    """
    if not hasattr(os, "fork"):
        for number, work in enumerate(works):
            yield number, Outcome(work(lambda stage: None))
        return
    waiting = enumerate(works)
    with selectors.DefaultSelector() as pipes:
        running: list[_Child] = []
        try:
            while True:
                while len(running) < jobs and (following := next(waiting, None)) is not None:
                    running.append(_Child.started(*following, limits))
                    pipes.register(running[-1].pipe, selectors.EVENT_READ, running[-1])
                if not running:
                    return
                first = min(child.deadline for child in running)
                for key, _ in pipes.select(min(_LONGEST_WAIT, max(0.0, first - time.monotonic()))):
                    key.data.read()
                    if told is not None:
                        told(key.data.number, key.data.stage)
                for child in [one for one in running if one.done or one.deadline <= time.monotonic()]:
                    pipes.unregister(child.pipe)
                    running.remove(child)
                    yield child.number, child.ended(limits)
        finally:
            for child in running:
                child.ended(limits)


_memory = 0  # what this process was last allowed, in bytes


def limit_memory(count: int) -> None:
    """Lets this process take `count` bytes more than it has, of private data (RLIMIT_DATA of Linux); raises nothing.

    Whoever goes beyond gets a MemoryError, or whatever else native code makes of it. Four fifths of the machine's
    memory are the most.
    """
    global _memory
    _memory = count
    with contextlib.suppress(Exception):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        most = min(pages * os.sysconf("SC_PAGE_SIZE") + count, memory // 5 * 4)
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))


_STAGE, _RESULT, _FAILURE = b"S", b"R", b"F"  # what begins a message of a child; its length follows, in eight bytes


@dataclass
class _Child:
    """A child process at work."""

    number: int
    process: int
    pipe: int
    folder: str
    deadline: float
    done: bool = False
    stage: str = ""
    staged: float = field(default_factory=time.monotonic)
    result: bytes | None = None
    failure: str = ""
    unread: bytearray = field(default_factory=bytearray)

    @classmethod
    def started(cls, number: int, work: Work, limits: Limits) -> _Child:
        pipe, end = os.pipe()
        folder = tempfile.mkdtemp(prefix="onnxviz-")
        with forks.uncollected():
            process = os.fork()
            if process == 0:
                os.close(pipe)
                _confine(work, limits, end, folder)
        os.close(end)
        with contextlib.suppress(OSError):  # the child does so too: whoever comes first
            os.setpgid(process, process)
        return cls(number, process, pipe, folder, time.monotonic() + limits.seconds)

    def read(self) -> None:
        """Takes what the pipe holds."""
        data = os.read(self.pipe, 1 << 20)
        self.unread += data
        while len(self.unread) >= 9 and len(self.unread) >= (end := 9 + int.from_bytes(self.unread[1:9], "little")):
            kind, body = bytes(self.unread[:1]), bytes(self.unread[9:end])
            del self.unread[:end]
            if kind == _STAGE:
                self.stage, self.staged = body.decode("utf-8", "replace"), time.monotonic()
            elif kind == _FAILURE:
                self.failure = body.decode("utf-8", "replace")
            else:
                self.result = body
        self.done = not data or self.result is not None or bool(self.failure)

    def ended(self, limits: Limits) -> Outcome:
        """How it ended; it is killed if it has not."""
        lasted = time.monotonic() - self.staged
        why = f"took more than {limits.seconds:g} s" if not self.done else self.failure
        if self.done and self.result is None and not why:  # its end of the pipe was closed by its end
            why = self._death()
        self._kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.process, 0)
        os.close(self.pipe)
        shutil.rmtree(self.folder, ignore_errors=True)
        return Outcome(None if why else self.result, why, self.stage, lasted)

    def _death(self) -> str:
        """Why it ended that sent no result; waits for its end no longer than an interrupted one is given."""
        deadline = time.monotonic() + GRACE_SECONDS
        while not (found := os.waitpid(self.process, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                return "closed its connection to onnxviz"
            time.sleep(0.005)
        status = found[1]
        if not os.WIFSIGNALED(status):
            return f"ended its process with exit code {os.WEXITSTATUS(status)}"
        if os.WTERMSIG(status) == signal.SIGKILL:
            return "was killed (out of memory?)"
        return f"crashed onnx or onnxruntime with {signal.Signals(os.WTERMSIG(status)).name}"

    def _kill(self) -> None:
        """Ends its process group: itself, if it is not ended yet, and child processes of its own."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process, signal.SIGKILL)


def _confine(work: Work, limits: Limits, pipe: int, folder: str) -> NoReturn:
    """Does the work in this process, a child, sends what comes of it, and ends without the parent's clean-up."""

    def send(kind: bytes, body: bytes) -> None:
        message = memoryview(kind + len(body).to_bytes(8, "little") + body)
        while message:
            message = message[os.write(pipe, message) :]

    try:
        forks.begin()
        os.setpgid(0, 0)
        bind_to_parent()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent ends it
        _silence()
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        with contextlib.suppress(Exception):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if limits.memory is not None:
            limit_memory(limits.memory)
        send(_RESULT, work(lambda stage: send(_STAGE, stage.encode("utf-8", "replace"))))
    except BaseException as error:
        if _is_out_of_memory(error):
            limit = _memory / 2**30
            limit_memory(1 << 28)  # to say so
            send(_FAILURE, f"needed more memory than its limit of {limit:.1f} GiB".encode())
        else:
            where = traceback.extract_tb(error.__traceback__)[-1]
            bug = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
            send(_FAILURE, f"met a bug of onnxviz, {bug}".encode("utf-8", "replace"))
    finally:
        os._exit(0)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether Python was refused memory; a thread that has none for its stack is a RuntimeError."""
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return refused or isinstance(error, MemoryError) or "can't start new thread" in str(error)


def _silence() -> None:
    """What this process prints goes nowhere, a crash's traceback too."""
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    sys.stdout = sys.stderr = os.fdopen(nowhere, "w", encoding="utf-8", errors="replace")
