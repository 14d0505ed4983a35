"""Forks: what a child process must not wait for, since a fork leaves all threads but its own in the parent."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

stranded = ""
"""In a child, the library of its parent that does not run here: it would wait without end. "" where there is none."""


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """For the parent that forks: nothing is collected as garbage meanwhile.

    What is garbage here may be a session of onnxruntime, whose end waits for its threads, and a child has none of them.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def begin() -> None:
    """For the child, before it does anything: sets aside what it was born with, and what cannot run without threads.

    Its parent's objects are never collected here. PyTorch gets one thread: it would wait for those that OpenMP has in
    the parent, as its own data loaders would. TensorFlow cannot be helped once it has run: see `stranded`.
    """
    global stranded
    gc.freeze()
    gc.enable()
    with contextlib.suppress(Exception):  # each is loaded or not, and of any version
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)
    with contextlib.suppress(Exception):
        context = getattr(sys.modules.get("tensorflow.python.eager.context"), "context_safe", lambda: None)()
        stranded = "TensorFlow" if context is not None and context._initialized else ""
