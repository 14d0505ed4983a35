"""How much the dear tests try: some of it in `make test`, all of it in `make test-all`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

# Set by conftest.py before a test module is imported: whether tests marked slow run.
thorough = False


def examples(some: int, all_of_them: int) -> int:
    """How many examples hypothesis draws."""
    return all_of_them if thorough else some


def representatives(cases: Iterable[Any], kept: Collection[str]) -> list[Any]:
    """All cases as parameters; those that are not `kept`, by their text, are marked slow.

    Raises:
        ValueError: A kept one is not among the cases, so that nothing would stand for its kind.
    """
    cases = list(cases)
    if missing := set(kept) - {str(case) for case in cases}:
        raise ValueError(f"{', '.join(sorted(missing))}: no such case, so nothing stands for its kind in `make test`")
    return [pytest.param(case, marks=() if str(case) in kept else pytest.mark.slow) for case in cases]
