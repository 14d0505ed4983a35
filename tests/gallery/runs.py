"""Runs of the gallery's scripts: in the folder that the environment's GALLERY names, where `make gallery` left them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SECONDS = 3600


def complete() -> Path | None:
    """The folder of `make gallery`; None where its scripts run in their short form."""
    folder = os.environ.get("GALLERY")
    return Path(folder).resolve() if folder else None


def run(script: str, folder: Path, *arguments: object) -> str:
    """Runs a script, or a program of `models/`, in the repository's root; gives its stdout, which it also keeps.

    Where the gallery is complete nothing is run, and the stdout is the one that was kept.
    """
    kept = folder / f"{Path(script).stem}.txt"
    if complete() is not None and kept.exists():
        return kept.read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    file = HERE / script if "/" not in script else ROOT / script
    start = ["sh"] if file.suffix == ".sh" else [sys.executable]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*start, str(file), *map(str, arguments)], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=SECONDS,
        env={**os.environ, "PATH": programs, "COLUMNS": "200"}, check=False,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"{script} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    kept.write_text(done.stdout, encoding="utf-8")
    return done.stdout
