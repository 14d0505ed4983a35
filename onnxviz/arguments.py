"""Arguments of public functions: one of a wrong type is refused in a line that says what is taken."""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from inspect import Parameter, getattr_static, signature
from numbers import Real
from os import PathLike
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from onnxviz.errors import InputError
from onnxviz.messages import meant, printable

Given = ParamSpec("Given")
Found = TypeVar("Found")

_WORDS = {
    int: "a whole number", float: "a number", str: "text", bytes: "bytes", bool: "True or False",
    type(None): "None", PathLike: "a path", Mapping: "a mapping", Sequence: "a sequence",
}  # fmt: skip


def typed(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """A public function whose arguments are held against their annotations when it is called.

    Raises (the function):
        InputError: an argument is not of its type; the message says what is taken.
        TypeError: there is none of that name, and one of a name much like it.
    """

    @wraps(function)
    def checked(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        _check(function, args, kwargs)
        return function(*args, **kwargs)

    return checked


def _check(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    taken, positional = _taken(function)
    for key in kwargs:
        if key not in taken and (hint := meant(key, taken)):
            raise TypeError(f"{function.__name__} has no argument '{printable(key)}'; {hint.strip()}")
    for key, value in (*zip(positional, args, strict=False), *kwargs.items()):
        if key in taken and not fits(value, taken[key]):
            shown = printable(repr(value), 60)
            name = function.__name__
            raise InputError(f"{name} takes {words(taken[key])} as {key}, not {shown} ({type(value).__name__})")


@cache
def _taken(function: Callable[..., Any]) -> tuple[dict[str, Any], list[str]]:
    """The type of each argument by name; and the names of those that need none, in order."""
    hints = get_type_hints(function, include_extras=True)
    found: dict[str, Any] = {}
    positional = []
    for name, parameter in signature(function).parameters.items():
        hint = hints[name]
        if parameter.kind is Parameter.VAR_KEYWORD:
            found.update(get_type_hints(get_args(hint)[0], include_extras=True))
            continue
        found[name] = hint
        if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD:
            positional.append(name)
    return found, positional


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type; numpy's numbers are numbers, and its arrays are sequences."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        if any(map(_is_numpys, parts)):
            return _is_arraylike(value) or any(fits(value, part) for part in _beside_numpys(parts))
        return any(fits(value, part) for part in parts)
    if kind is Any:
        return True
    if kind is Annotated:
        return fits(value, parts[0])
    if kind is Literal:
        return isinstance(value, str)  # a choice that there is not is refused with those there are
    if kind in (None, type(None)):
        return value is None
    if kind is tuple:
        inner = parts[:1] * len(value) if parts[1:] == (...,) and isinstance(value, tuple | list) else parts
        held = isinstance(value, tuple | list) and len(value) == len(inner)
        return held and all(fits(one, part) for one, part in zip(value, inner, strict=True))
    if kind is Sequence:
        held = not isinstance(value, str | bytes) and (isinstance(value, Sequence) or hasattr(value, "__array__"))
        return held and all(fits(one, parts[0]) for one in value)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(fits(one, parts[1]) for one in value.values())
    if kind is Callable:
        return callable(value)
    if kind in _NUMBERS:
        return _NUMBERS[kind](value)
    if getattr(kind, "_is_protocol", False):
        return all(_has(value, name) for name in _members(kind))
    return isinstance(value, kind) if isinstance(kind, type) else True


def words(hint: Any) -> str:
    """What is taken: `a whole number or None`; a type of several parts says what they are with `Annotated`."""
    found = list(dict.fromkeys(_words(hint)))
    if "a path" in found and "text" in found:
        found.remove("text")
    return " or ".join(sorted(found, key=lambda word: word == "None"))


def _words(hint: Any) -> list[str]:
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        if any(map(_is_numpys, parts)):
            return ["an array", *(word for part in _beside_numpys(parts) for word in _words(part))]
        return [word for part in parts for word in _words(part)]
    if kind is Annotated:
        return [str(parts[1])]
    if kind is Literal:
        return [repr(part) for part in parts]
    if kind is tuple:
        return [f"({words(parts[0])}, …)" if parts[1:] == (...,) else f"({', '.join(words(part) for part in parts)})"]
    if kind in (Sequence, Mapping):
        inner = words(parts[-1])
        return [f"{_WORDS[kind]} of {f'({inner})' if ' or ' in inner else inner}"]
    if kind is Callable:
        return ["a function"]
    if getattr(kind, "_is_protocol", False):  # it says so in its docstring
        return [(kind.__doc__ or "").partition(" needs of ")[2].partition(";")[0].rstrip(".") or kind.__name__]
    name = getattr(kind, "__name__", str(kind))
    return [_WORDS.get(kind, f"{'an' if name[0] in 'AEIOU' else 'a'} {name}")]


def _is_numpys(part: Any) -> bool:
    """Whether it is a part of numpy's `ArrayLike`, which is a union of its own types and Python's."""
    return str(getattr(get_origin(part) or part, "__module__", "")).startswith("numpy._typing")


def _beside_numpys(parts: Sequence[Any]) -> list[Any]:
    """What is taken in place of an array."""
    return [part for part in parts if not _is_numpys(part) and part not in (bool, int, float, complex, str, bytes)]


def _is_arraylike(value: object) -> bool:
    return hasattr(value, "__array__") or isinstance(value, Real | list | tuple)


def _is_whole(value: object) -> bool:
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, Real) or (hasattr(value, "__float__") and getattr(value, "ndim", 1) == 0)


_NUMBERS: dict[Any, Callable[[object], bool]] = {
    int: _is_whole,
    float: _is_number,
    bool: lambda value: isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"),
}


def _members(protocol: type) -> list[str]:
    named = {*dir(protocol), *getattr(protocol, "__annotations__", {})}
    return [name for name in named if not name.startswith("_") or (name == "__call__" and name in vars(protocol))]


def _has(value: object, name: str) -> bool:
    """Whether it has an attribute; a property is not asked, which may take long."""
    try:
        getattr_static(value, name)
    except AttributeError:
        return False
    return True
