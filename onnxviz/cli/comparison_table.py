"""The table of a comparison on a terminal: a row a layer, and below it what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from onnxviz.cli.tables import Column, fitted_table
from onnxviz.messages import printable

if TYPE_CHECKING:
    from onnxviz.comparison.comparison import Comparison, Difference

_FLIPS, _NAMES = 10, 12


def comparison_table(found: Comparison, width: int) -> RenderableType:
    """Both models, a row for each layer and output, where they part, how they answer, what to leave unconverted."""
    head = Text.assemble(
        ("A ", "dim"), (printable(found.labels[0]), "bold"), ("\nB ", "dim"), (printable(found.labels[1]), "bold"),
        (f"\n{found.fed}", "dim"), "\n",
    )  # fmt: skip
    rows = [*found.layers, *found.outputs]
    parts: list[RenderableType] = [head]
    if rows:
        parts += fitted_table(_columns(found, rows), width)
    return Group(*parts, Text(""), *_conclusions(found))


def _columns(found: Comparison, rows: Sequence[Difference]) -> list[Column]:
    outputs = {id(one) for one in found.outputs}
    first = found.first_divergent
    names = [printable(one.a) for one in rows]
    others = ["" if one.a == one.b else printable(one.b) for one in rows]
    alone = [one.alone for one in rows]
    return [
        Column("layer", names, style="bold"),
        Column("in B", others, rank=8),
        Column("operator", ["output" if id(one) in outputs else _operators(one.ops) for one in rows], rank=6),
        Column("SQNR dB", [_decibels(one.sqnr) for one in rows], right=True),
        *([Column("", ["◂ first" if one is first else "" for one in rows], style="red")] if first is not None else []),
        Column("cosine", [_cosine(one.cosine) for one in rows], rank=5, right=True),
        Column("largest", [f"{one.max_abs_diff:.3g}" for one in rows], rank=4, right=True),
        Column("RMSE/step", [_number(one.rmse_over_scale) for one in rows], rank=3, right=True),
        Column("not finite", [f"{one.unlike:,}" if one.unlike else "" for one in rows], rank=1, right=True),
        Column("worst channel", [_worst(one) for one in rows], rank=7),
        Column("alone dB", [_decibels(one.sqnr) if one else "" for one in alone], rank=2, right=True),
        Column("costs answer dB", [_decibels(one.output_sqnr) if one else "" for one in alone], rank=2, right=True),
    ]


def _conclusions(found: Comparison) -> list[Text]:
    lines = []
    first = found.first_divergent
    if first is not None:
        where = f"{printable(first.a)} ({first.ratio})"
        lines.append(_line("first below", f"{found.below:g} dB: {where}"))
    elif found.layers:
        same = all(one.identical for one in found.layers)
        words = "no layer differs" if same else f"no layer is below {found.below:g} dB"
        lines.append(_line("layers", words))
    if found.agreement is not None:
        top = found.agreement
        noun = "positions" if top.positions else "inputs"
        nan = f"; the answer is NaN for {top.unknown:,}" if top.unknown else ""
        lines.append(_line("top class", f"the same for {top.agreeing:,} of {top.total:,} {noun}{nan}"))
        for flip in top.flips[:_FLIPS]:
            both = f"{_class(*flip.a[:2])} became {_class(*flip.b[:2])}"
            both = "NaN in both" if max(flip.a[0], flip.b[0]) < 0 else both
            lines.append(_line("", f"{printable(flip.sample)}: {both}"))
        if len(top.flips) > _FLIPS:
            lines.append(_line("", f"and {len(top.flips) - _FLIPS:,} more"))
    if found.exclusion is not None and any(one.is_below(found.below) for one in (*found.layers, *found.outputs)):
        share = f"{found.exclusion.share:.0%} of the noise that layers cause one by one, worst first:"
        lines.append(_line("leave out", share))
        listed = ", ".join(f'"{printable(name, 200)}"' for name in found.exclusion.nodes)
        lines.append(_line("", f"{found.exclusion.option}=[{listed}]"))
    for noun, only in (("only in A", found.only_a), ("only in B", found.only_b)):
        if only:
            shown = ", ".join(printable(name) for name in only[:_NAMES])
            lines.append(_line(noun, shown + (f" and {len(only) - _NAMES:,} more" if len(only) > _NAMES else "")))
    for a, b, why in found.not_compared:
        lines.append(_line("not compared", f"{printable(a)} and {printable(b)}: {why}"))
    return lines


def _line(label: str, words: str) -> Text:
    return Text.assemble((f"{label:14}", "dim"), words)


def _operators(ops: tuple[str, str]) -> str:
    return ops[0] if ops[0] == ops[1] else f"{ops[0]} → {ops[1]}"


def _decibels(ratio: float) -> str:
    if math.isnan(ratio):
        return "–"
    return ("equal" if ratio > 0 else "–") if math.isinf(ratio) else f"{ratio:.1f}"


def _cosine(value: float) -> str:
    """Six digits, and never a 1 that is not quite."""
    if math.isnan(value):
        return "–"
    return f"1 − {1 - value:.1e}" if 0 < 1 - value < 5e-5 else f"{value:.4f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _worst(one: Difference) -> str:
    if one.worst_channel < 0:
        return ""
    return f"{one.worst_channel} ({one.worst_channel_share:.0%} of the noise)"


def _class(number: int, name: str) -> str:
    if number < 0:
        return "NaN"
    return f"{printable(name, 60)} ({number})" if name else f"class {number}"
