"""What PyTorch raises, in one line that says where."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path

from onnxviz.messages import printable

_COLOUR = re.compile(r"\x1b?\[[0-9;]*m")
_INSIDE = ("torch", "onnxscript", "onnx_ir", "onnxviz_converters")


def reason(error: BaseException, limit: int = 240) -> str:
    """The kind of `error` and the line of its message that says most."""
    if isinstance(error, RecursionError):
        return "RecursionError: it calls itself without end"
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines()]
    lines = [line for line in lines if line and not set(line) <= set("~^ ")]
    if lines and lines[0].startswith("The following operation failed in the TorchScript interpreter"):
        lines = lines[-1:]
        return printable(lines[0], limit)
    kind = type(error).__name__
    return printable(f"{kind}: {lines[0]}" if lines else kind, limit)


def place(error: BaseException) -> str:
    """Where in the user's code it happened, `net.py:12 in forward`; "" where torch does not tell."""
    found = ""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        for frame in traceback.extract_tb(current.__traceback__):
            if not _is_inside(frame.filename):
                found = f"{printable(Path(frame.filename).name, 60)}:{frame.lineno} in {printable(frame.name, 60)}"
        if found:
            return found
        current = current.__cause__ or current.__context__
    return found


def located(error: BaseException) -> str:
    """`reason`, and `place` where it is known."""
    where = place(error)
    return f"{reason(error)} ({where})" if where else reason(error)


def _is_inside(filename: str) -> bool:
    """Whether a file belongs to a framework, the standard library or us."""
    if filename.startswith("<"):
        return True
    path = Path(filename)
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1] in _INSIDE
    return "onnxviz_converters" in path.parts or path.is_relative_to(Path(sys.base_prefix) / "lib")
