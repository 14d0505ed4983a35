"""The systems of the gallery beside the programs whose place they take: whole processes, from model to pictures.

Seconds are those of the processor, of all threads and children together: a busy machine changes them little.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests" / "gallery"
# The script of each system, and what the original is given besides a folder; in MADE once it is trained or drawn.
SYSTEMS = {
    "s1": ("s1_vgg16.sh", ()),
    "s2": ("s2_blocks.sh", ()),
    "s3": ("s3_cats_and_dogs.sh", ("cats_and_dogs.keras",)),
    "s4": ("s4_sd_unet.sh", ("sd_unet.keras", "sample.npy")),
    "s5": ("s5_looks_for.sh", ()),
}
_CONVERT = re.compile(r"^onnxviz convert (?:.*\\\n)*.*\n", re.MULTILINE)


def measured(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """CPU seconds of a command, and the most memory in MiB that it and its children had at one time."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    before, peak = _of_children(), 0
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=said, stderr=said, env={**os.environ, "PATH": programs}
        )  # fmt: skip
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.05):
                try:
                    family = [psutil.Process(process.pid)]
                    family += family[0].children(recursive=True)
                    peak = max(peak, sum(one.memory_info().rss for one in family))
                except psutil.Error:
                    continue

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        seconds = _of_children() - before
        done.set()
        watcher.join()
    if code:
        raise SystemExit(f"{' '.join(command)} failed:\n{(folder / 'said.txt').read_text('utf-8')}")
    return seconds, peak / 2**20


def _of_children() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def systems(repeat: int, made: Path) -> list[tuple[str, tuple[float, float], tuple[float, float], float]]:
    """For each system: its name, ours and the original, and the CPU seconds that the conversion before ours took once.

    What must be trained for S3 and S4 is in `made`, the folder of `make gallery`; without it they are left out.
    """
    rows = []
    for name, (script, given) in SYSTEMS.items():
        sources = [str(made / one) for one in given]
        if not all(Path(one).exists() for one in sources):
            print(f"{name} is left out: make gallery trains it", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            text = (SCRIPTS / script).read_text("utf-8")
            start = text[: _CONVERT.search(text).end()]  # type: ignore[union-attr]
            (out / "convert.sh").write_text(start, "utf-8")
            (out / "look.sh").write_text(_CONVERT.sub("", text), "utf-8")
            convert, _ = measured(["sh", str(out / "convert.sh"), folder, *sources], out)
            original = [sys.executable, str(SCRIPTS / "originals.py"), name, f"{folder}/original", *sources]
            rounds = [
                (measured(["sh", str(out / "look.sh"), folder, *sources], out), measured(original, out))
                for _ in range(repeat)
            ]
            middle = len(rounds) // 2
            ours, theirs = ((sorted(r[side][0] for r in rounds)[middle], max(r[side][1] for r in rounds))
                            for side in (0, 1))  # fmt: skip
            rows.append((name.upper(), ours, theirs, convert))
    return rows
