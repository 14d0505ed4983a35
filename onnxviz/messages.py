"""Parts of messages: strangers' text made printable, shapes and shares in words, choices that do not exist."""

import re
from collections.abc import Iterable, Mapping, Sequence

from onnxviz.errors import InputError, OnnxvizError, UnheededOptionError


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


def percent(share: float) -> str:
    """`99.2 %`; never a round 0 or 100 that is not quite."""
    text = f"{100 * share:.1f} %"
    return {"0.0 %": "below 0.1 %", "100.0 %": "above 99.9 %"}.get(text, text) if 0 < share < 1 else text


def meant(given: object, choices: Iterable[str]) -> str:
    """`did you mean conv1? ` (with the space) where one of the choices is spelt much like `given`; else ""."""
    from difflib import get_close_matches  # late: few commands fail

    by_letters = {choice.casefold(): choice for choice in choices}
    close = get_close_matches(str(given)[:200].casefold(), list(by_letters)[:5000], n=1, cutoff=0.7)
    return f"did you mean {printable(by_letters[close[0]])}? " if close else ""


def one_of(what: str, given: object, choices: Iterable[str], error: type[OnnxvizError] = InputError) -> None:
    """Refuses what is not among the choices, and lists them: `there is no tap 'x'; there are activation, conv`.

    Args:
        what: what is chosen, a noun.
        given: what was asked for.
        choices: all there are, in the order in which they are listed.
        error: what is raised.

    Raises:
        OnnxvizError: `given` is none of them; an `error`.
    """
    known = list(choices)
    if given not in known:
        hint = meant(given, known)
        raise error(f"there is no {what} '{printable(str(given))}'; {hint}there are {', '.join(known)}")


def unheeded(message: str) -> UnheededOptionError:
    """The error that says why options were given in vain; `{name}` in it is an option, spelt as its reader has it.

    A flag that turns something off, `{no_name}`, is `name=False` in Python.
    """
    flags = re.sub(r"\{(\w+)\}", lambda found: "--" + found[1].rstrip("_").replace("_", "-"), message)
    python = re.sub(r"\{no_(\w+)\}", r"\1=False", message)
    return UnheededOptionError(re.sub(r"\{(\w+)\}", r"\1", python), flags)


def refuse_unheeded(options: Mapping[str, object], why: str) -> None:
    """Refuses options that nothing would heed, where any of them is given.

    Args:
        options: by name; those that are None are not given.
        why: how the message begins; `{name}` in it is an option, spelt as its reader has it.

    Raises:
        UnheededOptionError: one is given.
    """
    given = [f"{{{name}}}" for name, value in options.items() if value is not None]
    if given:
        raise unheeded(f"{why}: leave out {', '.join(given)}")
