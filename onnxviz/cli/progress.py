"""Progress bars on stderr, if that is a terminal; imported late, since it brings the larger half of rich."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from onnxviz.cli.terminal import note, showing, stderr
from onnxviz.messages import printable

if TYPE_CHECKING:
    from onnxviz.maximization.maximize import Progress as Step


# Seconds that are worth a warning, of a method and of a climb; and how many steps of a climb tell how long it takes.
_LONG, _LONG_CLIMB, _TIMED = 20, 10, 4
# Seconds of a run that tell how long the whole takes, and from how many on that is said where no bar shows it.
_TELLING, _LONG_RUN = 2, 10


@contextmanager
def _live(quiet: bool, *columns: ProgressColumn) -> Iterator[Progress | None]:
    """What is drawn while it lasts; None where nothing is to be seen."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    console = stderr()
    with Progress(*columns, console=console, transient=True) as live, showing(console):
        yield live


def _words() -> TextColumn:
    return TextColumn("{task.description}")


@dataclass(frozen=True)
class Bar:
    """A bar that counts inputs or layers.

    Attributes:
        advance: called with how many more are done; 1 unless told.
        part: called with (done, of) of the one that is worked on; None where no bar is shown.
    """

    advance: Callable[..., None]
    part: Callable[[int, int], None] | None


class _Outlook:
    """Says once about how long a run takes, when its first seconds tell; for where no bar shows it.

    Args:
        quiet: whether nothing is to be said.
        what: what is done, a word.
        clock: seconds.
    """

    def __init__(self, quiet: bool, what: str, clock: Callable[[], float]) -> None:
        self._silent, self._what, self._clock = quiet, what, clock
        self._began = clock()
        self._done = 0

    def __call__(self, done: int, of: int) -> None:
        """`done` of `of` steps are done."""
        gone = self._clock() - self._began
        if self._silent or not 0 < done < of or gone < _TELLING:
            return
        self._silent = True
        whole = gone / done * of
        if whole >= _LONG_RUN:
            note(False, f"{self._what}: {done:,} of {of:,} in {duration(gone)}, about {duration(whole)} in all")

    def advance(self, count: int, of: int) -> None:
        """`count` more are done."""
        self._done += count
        self(self._done, of)


@contextmanager
def counting(quiet: bool, what: str, total: int, clock: Callable[[], float] = monotonic) -> Iterator[Bar]:
    """Gives a bar of `total` steps; where none is shown, what is long is announced.

    Args:
        quiet: whether nothing is to be said.
        what: what is done, a word.
        total: how many steps there are.
        clock: seconds.
    """
    with _live(quiet, _words(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as live:
        if live is None:
            outlook = _Outlook(quiet, what, clock)
            yield Bar(lambda count=1: outlook.advance(count, total), None)
            return
        whole = live.add_task(what, total=total)
        one = live.add_task("this one", total=None, visible=False)

        def part(done: int, of: int) -> None:
            live.update(one, completed=done, total=of, visible=True)

        yield Bar(lambda count=1: live.advance(whole, count), part)


class Forecast:
    """Says once how many runs a method makes and about how long they take, where that is long; told as methods tell.

    Args:
        quiet: whether nothing is to be said.
        what: what runs, a word.
        inputs: how many inputs there are, each with as many runs.
        fewer: how to have fewer of them; "" where one cannot.
        part: called with (done, of), too; None where no bar is shown.
        clock: seconds.
        long: from how many on there is something to say; None for 20.
    """

    def __init__(
        self,
        quiet: bool,
        what: str,
        inputs: int,
        fewer: str = "",
        part: Callable[[int, int], None] | None = None,
        clock: Callable[[], float] = monotonic,
        long: float | None = None,
    ) -> None:
        self._long = _LONG if long is None else long
        self._say: Callable[[str], None] | None = lambda text: note(quiet, text)
        self._what, self._inputs, self._fewer = what, inputs, fewer
        self._part, self._clock = part, clock
        self._began = clock()

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` runs are done for the input that is worked on."""
        if self._part is not None:
            self._part(done, total)
        if self._say is None:
            return
        if not done:
            self._began = self._clock()
            return
        seconds = (self._clock() - self._began) / done * total * self._inputs
        if seconds >= self._long:
            each = f" for each of {self._inputs} maps" if self._inputs > 1 else ""
            fewer = f"; {self._fewer}" if self._fewer else ""
            self._say(f"{self._what}: {total:,} runs of the model{each}, about {duration(seconds)}{fewer}")
        self._say = None


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def reporting(
    quiet: bool, what: str, clock: Callable[[], float] = monotonic
) -> Iterator[Callable[[int, int], None] | None]:
    """Gives what a verb reports (done, of) to, for a bar; where none is shown, what is long is announced.

    Args:
        quiet: whether nothing is to be said; then it gives None.
        what: what is done, a word.
        clock: seconds.
    """
    with _live(quiet, _words(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as live:
        if live is None:
            yield None if quiet else _Outlook(quiet, what, clock)
            return
        task = live.add_task(what, total=None)
        yield lambda done, of: live.update(task, completed=done, total=of)


@contextmanager
def stages(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Gives a function that names the stage that begins; shows it, and for how long."""
    with _live(quiet, SpinnerColumn(), _words(), TimeElapsedColumn()) as live:
        if live is None:
            yield lambda stage: None
            return
        task = live.add_task("", total=None)
        yield lambda stage: live.update(task, description=stage)


@contextmanager
def climbing(quiet: bool, clock: Callable[[], float] = monotonic) -> Iterator[Callable[[Step], None] | None]:
    """Gives what `maximize` reports to: a bar with the activation, and how long it takes, where that is long.

    Args:
        quiet: whether nothing is to be said; then it gives None.
        clock: seconds.
    """
    with _live(quiet, _words(), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()) as live:
        if quiet:
            yield None
            return
        task = live.add_task("preparing", total=None) if live is not None else None
        fewer = "fewer --steps or pictures take less, and Ctrl-C keeps what there is"
        forecast = Forecast(quiet, "maximize", 1, fewer, clock=clock, long=_LONG_CLIMB)
        first: int | None = None
        told = 0

        def tell(now: Step) -> None:
            nonlocal first, told
            if first is None:
                first = now.done
                forecast(0, now.total)
            elif told == _TIMED:
                forecast(now.done - first, now.total)
            told += 1
            if live is not None and task is not None:
                words = f"{printable(now.target, 40)}  activation {now.activation:.4g}"
                live.update(task, completed=now.done, total=now.total, description=words)

        yield tell
