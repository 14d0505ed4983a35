"""The note on preprocessing in a model's metadata: read, and compared with what the graph expects."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from onnxviz.messages import option, printable
from onnxviz.model.pixels.input_range import InputRange, range_name, range_words

PREPROCESSING_KEY = "onnxviz.preprocessing"
"""Of the metadata."""


def read_note(text: str) -> dict[str, Any] | None:
    """The note as JSON types, under the name that its numbers have; None where it cannot be read."""
    try:
        note = json.loads(text, parse_constant=float)
    except (ValueError, RecursionError):
        return None
    if not isinstance(note, dict):
        return None
    with suppress(ValueError, TypeError, KeyError, OverflowError):
        note["name"] = range_name(note)
    return note


def conflict(text: str, expected: InputRange) -> str:
    """That the note and the graph say different things of how images are prepared; "" where they do not."""
    with suppress(ValueError, TypeError, KeyError, OverflowError):
        note = read_note(text) or {}
        if not expected.agrees(note):
            return (
                f"the metadata say '{printable(range_words(note))}', but '{expected.words}' is what the graph "
                f"expects, since {expected.why}: the metadata win "
                f"({option('preprocess', expected.words, repr(expected.words))} follows the graph)"
            )
    return ""
