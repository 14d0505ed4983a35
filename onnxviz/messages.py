"""Parts of messages: strangers' text made printable, shapes in words, options as the reader spells them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

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

    written = str(given)[:200].casefold()
    by_letters = {choice.casefold(): choice for choice in choices}
    close = get_close_matches(written, list(by_letters)[:5000], n=1, cutoff=0.7)
    # Two letters of three that changed places leave two thirds; another letter, which is another word, as well.
    close = close or [word for word in by_letters if 2 < len(word) < 5 and sorted(word) == sorted(written)][:1]
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


# Whether who reads the messages of this process types command lines, or writes Python.
_types_commands = False


@contextmanager
def for_command_lines() -> Iterator[None]:
    """Has messages made meanwhile name options as a command line has them."""
    global _types_commands
    before, _types_commands = _types_commands, True
    try:
        yield
    finally:
        _types_commands = before


def option(name: str, value: str = "", python: str = "") -> str:
    """An option as its reader has it: `--size HxW` on a command line, `size=` in Python.

    Args:
        name: of the argument in Python; the flag is made of it. `no_captions` is `captions` turned off.
        value: what a command line has behind the flag.
        python: what Python has behind the `=`; `False` is `--no-…` on a command line.
    """
    if name.startswith("no_"):
        name, python = name.removeprefix("no_"), "False"
    return _flag(name, value, python) if _types_commands else _argument(name, python)


def _flag(name: str, value: str, python: str) -> str:
    flag = name.strip("_").replace("_", "-")
    return f"--{'no-' if python == 'False' else ''}{flag} {value}".rstrip()


def _argument(name: str, python: str) -> str:
    return f"{name}={python}"


def option_of(verb: str, name: str) -> str:
    """An option of a verb where another may have been called: `onnxviz audit --golden`, `onnxviz.audit(golden=)`."""
    return f"onnxviz {verb} {_flag(name, '', '')}" if _types_commands else f"onnxviz.{verb}({name}=)"


def for_reader(on_command_line: str, in_python: str) -> str:
    """That of two pieces of advice which the reader can follow, where it is more than an option."""
    return on_command_line if _types_commands else in_python


def spelt(message: str) -> str:
    """`message`, in which `{size}` is an option as its reader has it; strangers' text in it has no such braces."""
    return re.sub(r"\{(\w+)\}", lambda found: option(found[1]), message)


def unheeded(message: str) -> UnheededOptionError:
    """The error that says why options were given in vain; `{name}` in it is an option, spelt as its reader has it."""
    return UnheededOptionError(spelt(message))


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
