"""Text that strangers wrote, made fit for a terminal; shapes in words."""

from collections.abc import Sequence


def printable(text: str | bytes, limit: int = 120) -> str:
    """`text` from a stranger, fit for a terminal: no control or bidirectional characters, no more than `limit`."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= limit else clean[: limit // 2 - 1] + "…" + clean[-limit // 2 :]


def dims(shape: Sequence[int | str | None] | None, times: str = "x") -> str:
    """`1x3x224x224`; `?` for what is not known."""
    if shape is None:
        return "?"
    return times.join(printable(str(dim)) if dim is not None else "?" for dim in shape) or "scalar"
