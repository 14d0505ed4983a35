"""The HTML of a page: a template with everything inlined, and a policy that lets a browser load nothing else.

Whatever a model says goes through `printable` and then through Jinja's autoescape, so that no name, label or entry of
metadata is ever markup.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnxviz.messages import percent, printable

_LONGEST = 2000  # characters of a name or message that a page shows


def render(page: object) -> str:
    """The text of a page.

    Args:
        page: what the template calls `page`: an `onnxviz.reports.page.Page`.
    """
    style, script = _source("report.css"), _source("report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template("report.html.jinja")
    return template.render(page=page, style=style, script=script, policy=policy) + "\n"


def _source(name: str) -> str:
    return files("onnxviz.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The source expression of an inlined text in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("onnxviz.reports"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(parts=_parts, pieces=_pieces, number=_number, count=_count, share=_share, exact=_exact)
    return made


def _shown(value: Any) -> Any:
    """What an expression of the template puts out: text of ours as it is, all else printable."""
    return value if hasattr(value, "__html__") else printable(str(value), _LONGEST) if value is not None else ""


def _parts(text: str) -> list[tuple[bool, str]]:
    """(whether it is code, text) of the parts of a sentence, where code stands between backquotes."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return [(False, text)]
    return [(bool(place % 2), piece) for place, piece in enumerate(pieces)]


def _pieces(name: str) -> list[str]:
    """A name or shape in the pieces between which it may be broken: behind its separators."""
    return re.findall(r"[^/._:×-]*[/._:×-]+|[^/._:×-]+", name)


def _number(value: float | None) -> str:
    """Four digits; "–" for none."""
    return "–" if value is None or math.isnan(value) else f"{value:.4g}".replace("-", "−")


def _count(value: int) -> str:
    return f"{value:,}"


def _share(value: float | None) -> str:
    if value is not None and not math.isfinite(value):
        return "not finite"
    return "–" if value is None else percent(value).replace("below ", "< ").replace("above ", "> ")


def _exact(value: float | None) -> str:
    """A number in full, as scripts read and sort it; "" for none."""
    return "" if value is None or not math.isfinite(value) else repr(float(value))
