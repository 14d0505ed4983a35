"""Prints how accurate gradients of whole networks are, and which networks have one: `python tests/accuracy`.

`python tests/accuracy from_pytorch resnet` measures those with every one of the words in their source, name or
exporter; all of them take about an hour on one core.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from accuracy import SOURCES, cases
from accuracy.measure import ANGLE, Case, Measured, measure


def main(texts: list[str]) -> None:
    """Measures and prints a row at a time, then what is differentiable."""
    print(
        "| model | exporter | nodes | 1 − cos | same sides of kinks | framework's float32 | length | value | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    rows = []
    for case in chosen(texts):
        found = tried(case)
        rows.append((case, found))
        if isinstance(found, Measured) and not found.refused and case.truth:
            own = f"{found.own:.1e}" if found.own else ""
            held = "" if found.held is None else f"{found.held:.1e}"
            figures = f"{found.angle:.1e} | {held} | {own} | {found.norm:.1e} | {found.value:.1e} | {found.seconds:.1f}"
            print(f"| {case.name} | {case.exporter} | {found.nodes} | {figures} |", flush=True)
        gc.collect()
    print("\n| model | exporters | differentiable |\n|---|---|---|")
    alike: dict[tuple[str, str], list[str]] = {}
    for case, found in rows:
        alike.setdefault((case.name, verdict(found)), []).append(case.exporter)
    for (name, answer), exporters in alike.items():
        print(f"| {name} | {', '.join(exporters)} | {answer} |")
    good = [case for case, found in rows if isinstance(found, Measured) and found]
    print(f"\n{len(rows)} exports; {len(good)} compared, with 1 − cos < {ANGLE:g}", flush=True)


def chosen(texts: list[str]) -> Iterator[Case]:
    """Those with every one of the texts in their source, name and exporter."""
    for source in SOURCES:
        for case in cases(source):
            if all(text in f"{source} {case.name} {case.exporter}" for text in texts):
                yield case


def tried(case: Case) -> Measured | str:
    """What was measured, or why there is nothing to measure: the exporter's own failure, in a line."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return measure(case, Path(folder))
        except Exception as error:
            traceback.print_exc()
            return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]


def verdict(found: Measured | str) -> str:
    """Whether there is a gradient, and in what way not."""
    if isinstance(found, str):
        return f"not compared: {found}"
    if found.refused:
        return f"no: {found.refused}"
    return "; ".join(("yes", *dict.fromkeys(found.approximations)))


if __name__ == "__main__":
    main(sys.argv[1:])
