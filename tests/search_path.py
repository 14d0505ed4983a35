"""Where a process that a test starts finds modules."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (ROOT, ROOT / "converters")


def search_path(*folders: Path | str) -> str:
    """`PYTHONPATH` of `folders` before what it holds here. Never an empty entry, which is the working folder."""
    held = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([*map(str, folders), *filter(None, held)])
