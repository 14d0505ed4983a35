"""Paths of models as their repository has them, which is how reports of it name files."""

from __future__ import annotations

import os
from pathlib import Path


def repository_path(label: str) -> str | None:
    """The path of a model from the top of the repository that the current folder lies in, with `/`.

    The top is the nearest folder above that has a `.git`, and the current folder where none has.

    Args:
        label: the path of the model, from the current folder.

    Returns:
        The path; None where the model lies outside.
    """
    here = Path.cwd()
    top = next((one for one in (here, *here.parents) if os.path.lexists(one / ".git")), here)
    path = os.path.relpath(label, top)
    return None if path.split(os.sep, 1)[0] == os.pardir else path.replace(os.sep, "/")
