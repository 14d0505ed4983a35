"""Gradients of whole networks beside those of the frameworks they come from; `python tests/accuracy` prints them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accuracy.measure import Case

SOURCES = ("from_pytorch", "from_keras", "from_files", "quantised")


def cases(source: str) -> Iterator[Case]:
    """The cases of one of `SOURCES`, each a module here, which imports its framework."""
    yield from importlib.import_module(f"accuracy.{source}").cases()
