"""Lettering of figures: the characters a font has, widths of words, text that fits its room."""

import unicodedata
from bisect import bisect
from collections.abc import Sequence
from typing import Any

from matplotlib.font_manager import FontProperties, findfont, get_font

DPI = 100
FONT = "DejaVu Sans"  # ships with matplotlib: the same picture on every machine


def rounded(value: float) -> str:
    """Returns a number in three digits, with a true minus."""
    return f"{value:.3g}".replace("-", "−")


def _font(bold: bool) -> Any:
    return get_font(findfont(FontProperties(family=FONT, weight="bold" if bold else "normal")))


def clean(words: str) -> str:
    """Returns words on one line without control and direction characters; a box for what the font lacks."""
    font = _font(False)
    kept = []
    for sign in words[:2000]:
        if sign.isspace():
            kept.append(" ")
        elif not unicodedata.category(sign).startswith("C"):
            kept.append(sign if font.get_char_index(ord(sign)) else "□")
    return "".join(kept)


def width_of(words: str, size: float, *, bold: bool = False) -> int:
    """Returns how many pixels words take."""
    font = _font(bold)
    font.set_size(size, DPI)
    font.set_text(words)
    return -(-int(font.get_width_height()[0]) // 64)


def noun_of(labels: Sequence[str]) -> str:
    """What numbered labels number, in the plural: `frames` of `frame 0`, `frame 1`; `branches` where they are names."""
    nouns = {label.rpartition(" ")[0] for label in labels}
    noun = nouns.pop() if len(nouns) == 1 else ""
    return f"{noun}s" if noun and not noun.endswith("ch") else f"{noun or 'branch'}es"


def shortened(words: str, size: float, room: int, *, bold: bool = False) -> str:
    """Returns words with their middle left out as far as `room` pixels demand."""
    if width_of(words, size, bold=bold) <= room:
        return words

    def keeping(count: int) -> str:
        return words[: -(-count // 2)] + "…" + words[len(words) - count // 2 :]

    # Bisection: a name may be thousands of characters long.
    return keeping(
        max(bisect(range(len(words)), room, key=lambda count: width_of(keeping(count), size, bold=bold)) - 1, 0)
    )


def wrapped(facts: list[str], room: int) -> list[str]:
    """Returns facts joined into lines of at most `room` pixels."""
    lines: list[str] = []
    for fact in facts:
        longer = f"{lines[-1]}  ·  {fact}" if lines else fact
        if lines and width_of(longer, 8.5) <= room:
            lines[-1] = longer
        else:
            lines.append(shortened(fact, 8.5, room))
    return lines


def broken(words: str, room: int) -> list[str]:
    """Returns words in lines of at most `room` pixels."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if width_of(longer, 8) > room and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
