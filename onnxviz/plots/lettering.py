"""Lettering of figures: the fonts that have a text's letters, widths of words, text that fits its room."""

import unicodedata
from bisect import bisect
from collections.abc import Sequence
from functools import cache, lru_cache

from matplotlib import ft2font
from matplotlib.backends.backend_agg import get_hinting_flag
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

DPI = 100
FONT = "DejaVu Sans"  # ships with matplotlib: the same picture on every machine

# Of letters that it lacks: families that systems bring along, by the script whose readers they are made for. A sign of
# Chinese looks otherwise in Japan; any family that has the letters is better than none.
_KANA = ("Noto Sans CJK JP", "Noto Sans JP", "Hiragino Sans", "Yu Gothic", "Meiryo", "IPAexGothic", "IPAGothic")
_HANGUL = ("Noto Sans CJK KR", "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", "NanumGothic")
_HAN = ("Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", "SimHei")
_OTHERS = ("Noto Sans", "Segoe UI", "Nirmala UI", "Leelawadee UI", "Kohinoor Devanagari", "Arial Unicode MS")
# These have a box with the name of its script for every letter, pictures that are no outlines, or the parts of formulas
# in the place of letters.
_NO_LETTERS = (
    "Last Resort",
    "LastResort",
    "Emoji",
    "STIXNonUnicode",
    "STIXSize",
    "cmb1",
    "cmex",
    "cmmi",
    "cmr1",
    "cms",
    "cmt",
)
# Without libraqm, which is in matplotlib since 3.11, Arabic and Hebrew would stand in the wrong order, unjoined.
_RIGHT_TO_LEFT = hasattr(ft2font, "__libraqm_version__")
_NORMAL, _BOLD = 400, 700
_NAMED = (" LETTER ", " SYLLABLE ", " VOWEL SIGN ")


def rounded(value: float) -> str:
    """Returns a number in three digits, with a true minus."""
    return f"{value:.3g}".replace("-", "−")


@lru_cache(maxsize=4096)
def families(words: str) -> tuple[str, ...]:
    """Returns the families of fonts that words are written in: the usual one, and those that have what it lacks."""
    if words.isascii():
        return (FONT,)
    missing = frozenset(sign for sign in words if not (sign.isspace() or _has(FONT, sign)))
    return (FONT, *_families_with(missing)) if missing else (FONT,)


@cache
def _families_with(letters: frozenset[str]) -> tuple[str, ...]:
    """The first family that has all of the letters; where there is none, those that have most, one after the other."""
    names = " ".join(unicodedata.name(letter, "") for letter in sorted(letters))
    order = sorted(((_KANA, "KANA"), (_HANGUL, "HANGUL"), (_HAN, "CJK")), key=lambda one: one[1] not in names)
    known = [family for group, _ in order for family in group] + [*_OTHERS]
    place = {family: number for number, family in enumerate(known)}
    there = {family for family, weight in _upright() if weight == _NORMAL}
    there = {family for family in there - {FONT} if not any(word in family for word in _NO_LETTERS)}
    found: list[str] = []
    left = letters
    candidates = sorted(there, key=lambda family: (place.get(family, len(place)), family))
    while left:
        having = {family: sum(_has(family, letter) for letter in left) for family in candidates}
        best = max(candidates, key=lambda family: having[family], default="")
        if not having.get(best):
            break
        found.append(best)
        left = frozenset(letter for letter in left if not _has(best, letter))
    return tuple(found)


@lru_cache(maxsize=2**16)
def _has(family: str, letter: str) -> bool:
    if not _RIGHT_TO_LEFT and unicodedata.bidirectional(letter) in ("R", "AL"):
        return False
    return bool(get_font([*_files((family,), _NORMAL)]).get_char_index(ord(letter)))


def _upright() -> set[tuple[str, object]]:
    """(family, weight) of the upright fonts that are installed, or that a program has added."""
    return {(entry.name, entry.weight) for entry in fontManager.ttflist if entry.style == "normal"}


def weight_of(words: str, *, bold: bool) -> int:
    """Returns the weight that words are written in: bold where all of their fonts have it."""
    fallback = families(words)[1:]
    return _BOLD if bold and (not fallback or {(name, _BOLD) for name in fallback} <= _upright()) else _NORMAL


@lru_cache(maxsize=256)
def _files(names: tuple[str, ...], weight: int) -> tuple[str, ...]:
    """The files of fonts, by their families."""
    return tuple(findfont(FontProperties(family=name, weight=weight)) for name in names)


@lru_cache(maxsize=4096)
def spelt(words: str) -> str:
    """Returns words, with letters that no font here has spelt out: by their Unicode names, or as `U+7573`."""
    if words.isascii():
        return words
    fonts = families(words)
    found: list[tuple[str, bool]] = []
    for sign in words:
        known = sign.isspace() or any(_has(font, sign) for font in fonts)
        if known or not _is_accent(sign):
            found.append((sign if known else _name(sign), known))
    parts = []
    for (text, known), (_, known_before) in zip(found, [("", True), *found], strict=False):
        parts.append(text if known or known_before else f"-{text}")
    return "".join(parts)


def _is_accent(sign: str) -> bool:
    """Whether a sign only changes the one before it, which can be read without it."""
    return unicodedata.category(sign).startswith("M") and not any(kind in unicodedata.name(sign, "") for kind in _NAMED)


def _name(sign: str) -> str:
    """How a letter is spelt: `ka` for か, `(cat)` for a picture of one, its number where the name says nothing."""
    name = unicodedata.name(sign, "")
    last = name.rpartition(" ")[2]
    if any(kind in name for kind in _NAMED) and last.isalpha():
        return last.lower()
    return f"({name.lower()})" if name and unicodedata.category(sign) == "So" else f"U+{ord(sign):04X}"


def clean(words: str) -> str:
    """Returns words on one line without control and direction characters."""
    kept = (" " if sign.isspace() else sign for sign in words[:2000])
    return "".join(sign for sign in kept if not unicodedata.category(sign).startswith("C"))


@lru_cache(maxsize=4096)
def width_of(words: str, size: float, *, bold: bool = False) -> int:
    """Returns how many pixels words take at most: letters fitted to the pixels of one density or two, or to none."""
    fitted = get_hinting_flag()  # type: ignore[no-untyped-call]
    return max(
        _unfitted_width(words, size, bold=bold),
        *(_width(words, size, bold=bold, times=times, flags=fitted) for times in (1, 2)),
    )


def _unfitted_width(words: str, size: float, *, bold: bool) -> int:
    """Of letters that are fitted to no pixels: at most `width_of`."""
    return _width(words, size, bold=bold, times=1, flags=ft2font.LoadFlags.NO_HINTING)


def _width(words: str, size: float, *, bold: bool, times: int, flags: ft2font.LoadFlags) -> int:
    font = get_font([*_files(families(words), weight_of(words, bold=bold))])
    font.set_size(size, times * DPI)
    font.set_text(spelt(words), flags=flags)
    return -(-int(font.get_width_height()[0]) // (64 * times))


def noun_of(labels: Sequence[str]) -> str:
    """What numbered labels number, in the plural: `frames` of `frame 0`, `frame 1`; `branches` where they are names."""
    nouns = {label.rpartition(" ")[0] for label in labels}
    noun = nouns.pop() if len(nouns) == 1 else ""
    return f"{noun}s" if noun and not noun.endswith("ch") else f"{noun or 'branch'}es"


@lru_cache(maxsize=4096)
def shortened(words: str, size: float, room: int, *, bold: bool = False) -> str:
    """Returns words with their middle left out as far as `room` pixels demand."""
    if width_of(words, size, bold=bold) <= room:
        return words

    def keeping(count: int) -> str:
        return words[: -(-count // 2)] + "…" + words[len(words) - count // 2 :]

    def plain(count: int) -> int:
        return _unfitted_width(keeping(count), size, bold=bold)

    # A name may be thousands of characters long, and measuring takes as long as the text is: doubling, then bisection,
    # by one width of three, which none of the others undercuts.
    least, most = 0, 8
    while most < len(words) and plain(most) <= room:
        least, most = most, 2 * most
    most = min(most, len(words))
    count = least + bisect(range(least, most), room, key=plain) - 1
    while count > 0 and width_of(keeping(count), size, bold=bold) > room:
        count -= 1
    return keeping(max(count, 0))


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
