"""How long something may take, on a machine of any speed that may be busy with something else.

What must be quick is held to seconds of processor time, which other programs do not lengthen, times how much slower
than the machine of these figures this one is. What must end at all is waited for in real time for `HANG_SECONDS`, which
is far beyond what anything here needs: the endless runs of these tests would outlast it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest

HANG_SECONDS = 600
# Processor seconds of `_work` on an AMD EPYC 7003 at 2.4 GHz, one thread, Python 3.11.
_REFERENCE = 0.08


def _work() -> None:
    """What the tests spend their time with: the interpreter, small objects, arrays."""
    found = {}
    for number in range(100_000):
        found[str(number)] = [number, number + 1]
    values = np.arange(200_000, dtype=np.float32)
    for _ in range(20):
        values = np.sqrt(values * values + 1)


@cache
def slowness() -> float:
    """How many times the processor time of the machine of these figures this one takes; at least 1."""
    taken = []
    for _ in range(3):
        begin = time.process_time()
        _work()
        taken.append(time.process_time() - begin)
    return max(1.0, min(taken) / _REFERENCE)


def allowed(seconds: float) -> float:
    """`seconds` of processor time on the machine of these figures, in those of this one."""
    return seconds * slowness()


@contextmanager
def processor_seconds(seconds: float) -> Iterator[None]:
    """Fails the test if the block takes more processor time, of all threads together, or never ends."""
    limit = allowed(seconds)

    def over(number: int, frame: object) -> None:
        what = f"{limit:.0f} s of processor time" if number == signal.SIGPROF else f"{HANG_SECONDS} s"
        pytest.fail(f"took more than {what}")

    before = {number: signal.signal(number, over) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, limit)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


def gone(process: int) -> bool:
    """Whether a process ends within moments: one that was killed may not be reaped yet."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False
