"""Refusals: why an operator has no gradient here, and what can be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass


Kind = Literal[
    "no-rule",
    "attribute-unsupported",
    "unknown-static-shape",
    "non-float",
    "custom-domain",
    "training-mode",
    "quantised",
    "no-path",
]


class Refusal(Exception):
    """A node cannot be differentiated as it is.

    Attributes:
        kind: what sort of reason.
        reason: the reason, as the end of a sentence that begins with the node.
        remedy: what the user can do, "" if nothing.
    """

    def __init__(self, kind: Kind, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.kind: Kind = kind
        self.reason = reason
        self.remedy = remedy
