"""Memory: what a process needs to open a model and run it, measured in a child; `python -m onnxviz.runtime.memory`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxviz.errors import InputError, ModelError, OnnxvizError
from onnxviz.messages import printable
from onnxviz.model.model import Model, load
from onnxviz.runtime.session import RunOptions, Session

STATUS = Path("/proc/self/status")
"""Where Linux tells a process what it holds; other systems have none."""
SECONDS = 300
"""How long the child may take."""


@dataclass(frozen=True)
class MemoryUse:
    """What a process held at most, in bytes, without what it held before it opened the model.

    Attributes:
        opened: when the session was open.
        runs: after each run, in their order; None for one that failed.
    """

    opened: int
    runs: tuple[int | None, ...]


def measure_memory(model: Model, runs: Sequence[Mapping[str, NDArray[Any]]], options: RunOptions) -> MemoryUse:
    """Opens a model and runs it, in a process of its own.

    Args:
        model: the model.
        runs: for each run the arrays by input name.
        options: where it runs.

    Raises:
        InputError: this system does not tell what a process holds.
        ModelError: the child failed, or took longer than `SECONDS`.
    """
    if not STATUS.exists():
        raise InputError("what a process holds is read from /proc/self/status, which only Linux has")
    with tempfile.TemporaryDirectory(prefix="onnxviz-") as folder:
        files: list[tuple[str, list[str]]] = []
        for place, feeds in enumerate(runs):
            files.append((str(Path(folder) / f"{place}.npz"), list(feeds)))
            np.savez(files[-1][0], *feeds.values())
        told = Path(folder) / "memory.json"
        asked = json.dumps([str(model.file), options.provider, options.threads, files, str(told)])
        command = [sys.executable, "-P", "-m", __name__, asked]  # -P: no module of the current folder is run
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise ModelError(f"{model.label} was not run within {SECONDS} s") from None
        if done.returncode or not told.exists():
            said = printable("".join(done.stderr.strip().splitlines()[-1:]), 300)
            raise ModelError(
                f"{model.label} cannot be run in a process of its own (exit code {done.returncode}): {said}"
            )
        opened, measured = json.loads(told.read_text(encoding="utf-8"))
    return MemoryUse(opened, tuple(measured))


def held() -> int:
    """The most bytes that this process has held in memory so far."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def main(asked: str) -> None:
    """The child: writes, as JSON, what it held when the session was open and after each run."""
    path, provider, threads, files, told = json.loads(asked)
    runs = [dict(zip(names, np.load(file).values(), strict=True)) for file, names in files]
    model = load(path)
    before = held()
    session = Session.of(model, None, RunOptions(provider, threads=threads))
    opened = held() - before
    outputs = [port.name for port in model.outputs]
    measured: list[int | None] = []
    for feeds in runs:
        try:
            session.run(outputs, session.own(feeds))
            measured.append(held() - before)
        except OnnxvizError:
            measured.append(None)
    Path(told).write_text(json.dumps([opened, measured]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
