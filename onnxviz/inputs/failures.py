"""Failures of single inputs: skipped, counted, reported; and how progress is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnxviz.errors import InputError, OnnxvizError

# Called with (done, in all).
Progress = Callable[[int, int], None]
# Called with the label of an input that is skipped, and its error.
Failed = Callable[[str, OnnxvizError], None]


def nothing_usable(failed: Sequence[tuple[str, str]]) -> InputError:
    """The error to raise where every input was skipped; `failed` is (label, error) of each, one or more."""
    return InputError(f"none of {len(failed)} inputs could be used; the first: {failed[0][1]}")
