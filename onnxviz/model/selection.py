"""Selections of layers: `block1_conv1,4,7-9,block*_conv2`, `all`, `first`, `last`, `block-ends`, `every:4`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from onnxviz.errors import SelectionError
from onnxviz.messages import for_reader, meant
from onnxviz.model.layer import Layer

_RANGE = re.compile(r"^([0-9]{1,9})-([0-9]{1,9})$")
_EVERY = re.compile(r"^every:([0-9]{1,9})$")
_NUMBER = re.compile(r"^[0-9]{1,9}$")
_WORDS = ("all", "first", "last", "block-ends")
_LISTED = 12
_LONGEST = 100_000


def select(
    selection: str | int | Sequence[str | int], layers: Sequence[Layer], model: str, *, exactly_one: bool = False
) -> tuple[Layer, ...]:
    """The layers that a selection means, each once, in graph order.

    Args:
        selection: names, globs, 0-based positions and ranges of them, separated by commas or in a sequence; or
            `all`, `first`, `last`, `every:N` (the first and each Nth after it), `block-ends` (the last layer before
            each change of spatial size, and the last of all). A name wins over another meaning of the same text.
        layers: what there is.
        model: how messages call the model.
        exactly_one: whether more than one layer is an error.

    Raises:
        SelectionError: a part means no layer; the message lists those there are.
    """
    parts: list[str | int] = []
    for item in [selection] if isinstance(selection, str | int) else selection:
        parts.extend(parts_of(item, layers))
    if not layers:
        raise SelectionError(
            f"{model} has no convolution; {for_reader(f'onnxviz layers {model} --all', 'all_layers')} lists what it has"
        )
    if not parts:
        raise SelectionError(f"the selection {selection!r} is empty; {_what_there_is(layers, model)}")
    chosen: set[int] = set()
    for part in parts:
        chosen.update(_meaning(part, layers, model))
    if exactly_one and len(chosen) != 1:
        raise SelectionError(f"{selection!r} means {len(chosen)} layers of {model}; name one")
    return tuple(layers[index] for index in sorted(chosen))


def chosen_operators(ops: Iterable[str], there: Sequence[str], model: str) -> set[str]:
    """The operators that are named, without their domains.

    Args:
        ops: `Conv`, or with its domain, `com.microsoft::QLinearConv`.
        there: those that the model uses.
        model: how messages call the model.

    Raises:
        SelectionError: none is named, or one that the model does not use; the message lists those it does.
    """
    wanted = {op.rpartition(":")[2] for op in ops}
    if unused := sorted(wanted.difference(there)):
        hint = meant(unused[0], there)
        raise SelectionError(f"{model} has no {', '.join(unused)}; {hint}it has {', '.join(there)}")
    if not wanted:
        raise SelectionError(f"no operator was named; {model} has {', '.join(there)}")
    return wanted


def parts_of(item: str | int, layers: Sequence[Layer]) -> list[str | int]:
    """The parts of one item of a selection: what commas separate, unless the whole is a layer's name."""
    if isinstance(item, int) or any(layer.name == item for layer in layers):
        return [item]
    return [part.strip() for part in str(item).split(",") if part.strip()]


def numbers(text: str, what: str) -> list[int]:
    """The numbers that `0,3,5-9` means, in that order.

    Raises:
        SelectionError: it is not such a list; `what` says what the numbers are for.
    """
    found: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = _RANGE.match(part)
        if match:
            start, end = int(match[1]), int(match[2])
            if end < start:
                raise SelectionError(f"the range '{part}' of {what} does not count upwards")
            if end - start >= _LONGEST:
                raise SelectionError(f"the range '{part}' of {what} is longer than {_LONGEST:,}")
            found.extend(range(start, end + 1))
        elif _NUMBER.match(part):
            found.append(int(part))
        else:
            raise SelectionError(f"'{part}' is not a number or a range of {what}, such as 0,3,5-9")
    if not found:
        raise SelectionError(f"'{text}' names no {what}; write numbers and ranges, such as 0,3,5-9")
    return list(dict.fromkeys(found))


def _meaning(part: str | int, layers: Sequence[Layer], model: str) -> Sequence[int]:
    count = len(layers)
    if isinstance(part, str):
        named = [i for i, layer in enumerate(layers) if layer.name == part]
        if named:
            return named
        if part == "all":
            return range(count)
        if part in ("first", "last"):
            return [0 if part == "first" else count - 1]
        if part == "block-ends":
            return _block_ends(layers, model)
        if every := _EVERY.match(part):
            if int(every[1]) < 1:
                raise SelectionError(f"'{part}': N of every:N must be 1 or more")
            return range(0, count, int(every[1]))
        if spread := _RANGE.match(part):
            start, end = int(spread[1]), int(spread[2])
            if start <= end < count:
                return range(start, end + 1)
            raise SelectionError(f"no positions {part} in {model}; {_what_there_is(layers, model)}")
        if any(sign in part for sign in "*?["):
            matching = [i for i, layer in enumerate(layers) if fnmatchcase(layer.name, part)]
            if matching:
                return matching
        if not _NUMBER.match(part):
            hint = meant(part, [*(layer.name for layer in layers), *_WORDS])
            raise SelectionError(f"no layer is called '{part}' in {model}; {hint}{_what_there_is(layers, model)}")
        part = int(part)
    if not -count <= part < count:
        raise SelectionError(f"no layer has position {part} in {model}; {_what_there_is(layers, model)}")
    return [part % count]


def _block_ends(layers: Sequence[Layer], model: str) -> list[int]:
    sizes = [layer.output_shape[2:] if layer.output_shape else None for layer in layers]
    if any(size is None or any(not isinstance(dim, int) for dim in size) for size in sizes):
        raise SelectionError(
            f"block-ends needs the layers' spatial sizes, which {model} leaves open; choose layers by name or position"
        )
    return [i for i in range(len(layers)) if i == len(layers) - 1 or sizes[i + 1] != sizes[i]]


def _what_there_is(layers: Sequence[Layer], model: str) -> str:
    names = [layer.name for layer in layers]
    shown = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    positions = f"positions 0-{len(names) - 1}" if len(names) > 1 else "position 0"
    listing = for_reader(f"onnxviz layers {model}", "Model.layers")
    return f"it has {shown} ({positions}; {listing} lists them)"
