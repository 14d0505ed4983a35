"""The time budget of a page: seconds that its parts share; what does not fit is left out, and said."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from onnxviz.errors import InputError, OnnxvizError
from onnxviz.messages import option

SHARES = {
    "answers": 0.12, "checks": 0.5, "statistics": 0.08, "comparison": 0.1, "maps": 0.08, "explanations": 0.12,
}  # fmt: skip
"""The parts in their order, and the share of the time that each may take beside what those before it have left."""
PASSES = 25
"""Runs that all checks together make of one image, about: of ResNet-50 on four photos 23 times `predict`."""


class OutOfTimeError(OnnxvizError):
    """A part of a page does not fit the time; the message says how much of it was spent."""


@dataclass
class TimeBudget:
    """Seconds that a page may take, counted from when this is made.

    Attributes:
        seconds: in all.
        clock: gives seconds.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise InputError(f"a page takes some seconds, not {self.seconds:g}")
        self._start = self.clock()

    def left(self, part: str) -> float:
        """Seconds until the part has to end; negative where it is late."""
        names = list(SHARES)
        until = sum(SHARES[name] for name in names[: names.index(part) + 1]) * self.seconds
        return self._start + until - self.clock()

    def spent(self, part: str, needed: float = 0.0) -> str:
        """Why nothing more of a part is begun, which takes so many seconds; "" where it may be."""
        if self.left(part) > needed:
            return ""
        return f"it did not fit the {self.seconds:g} s of the page: give it more ({option('seconds')})"

    def check(self, part: str, needed: float = 0.0) -> None:
        """Ends a part that is late, or would be with what comes next.

        Raises:
            OutOfTimeError: it is.
        """
        if why := self.spent(part, needed):
            raise OutOfTimeError(why)

    def progress(self, part: str) -> Callable[[int, int], None]:
        """What a verb reports (done, of) to; ends it, unless it is done, where the part is late.

        The function raises `OutOfTimeError`.
        """

        def told(done: int, of: int) -> None:
            if done < of:
                self.check(part)

        return told


@dataclass
class Pace:
    """How long a verb takes for one sample, once it runs: what it reports (done, of) to, and passes on.

    Attributes:
        then: what is told next.
        clock: gives seconds.
    """

    then: Callable[[int, int], None]
    clock: Callable[[], float] = time.monotonic
    _first: tuple[float, int] | None = None
    _last: tuple[float, int] | None = None

    def __call__(self, done: int, of: int) -> None:
        """Notes the time."""
        self._last = (self.clock(), done)
        self._first = self._first or self._last
        self.then(done, of)

    @property
    def seconds(self) -> float | None:
        """For a sample; None where fewer than two were made."""
        if self._first is None or self._last is None or self._last[1] == self._first[1]:
            return None
        return (self._last[0] - self._first[0]) / (self._last[1] - self._first[1])
