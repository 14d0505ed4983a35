"""Said axes: what a caller says that the axes of a tensor count, where the graph does not tell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxviz.errors import InputError, SelectionError
from onnxviz.messages import dims, option, printable, unheeded
from onnxviz.model.axes.factors import CONSTANT, POSITIONS, UNTOLD, Axes, Axis, Factor, axis_of, fresh
from onnxviz.model.graph.scopes import Scope
from onnxviz.model.graph.symbolic_sizes import Dim

_LETTERS = "NVTCDHW"
_TERM = re.compile(rf"(?:(\d{{1,9}})\+)?([{_LETTERS}]\d{{0,9}}(?:\*[{_LETTERS}]\d{{0,9}})*)(?:\+(\d{{1,9}}))?")
_MEANING = (
    "N samples, V views, T frames, C channels, D, H and W positions; N*V where several were flattened into one axis, "
    "1+H*W where a class token stands before a picture's (H14*W14 where its sides differ)"
)


@dataclass(frozen=True)
class SaidAxis:
    """One axis as it is written: `1+H14*W14`.

    Attributes:
        before, after: entries that count nothing of it, such as a class token.
        factors: (letter, size) of each, None for a size that follows from the others.
    """

    before: int
    factors: tuple[tuple[str, int | None], ...]
    after: int

    @property
    def letters(self) -> str:
        """The letters alone."""
        return "".join(letter for letter, _ in self.factors)

    def of(self, size: int, samples: int) -> Axis | None:
        """What an axis of that size is made of, None if it does not fit; `samples` is what a bare N counts."""
        inner = size - self.before - self.after
        sizes = [samples if letter == "N" and given is None else given for letter, given in self.factors]
        known = math.prod(one for one in sizes if one is not None)
        left = [place for place, one in enumerate(sizes) if one is None]
        if inner < 1 or known < 1 or inner % known:
            return None
        rest = inner // known
        if len(left) == 2 and all(self.factors[place][0] in POSITIONS for place in left):
            side = math.isqrt(rest)
            fits = side * side == rest
        else:
            side, fits = rest, len(left) == 1 or (not left and rest == 1)
        if not fits:
            return None
        factors = [
            fresh(letter, side if one is None else one) for (letter, _), one in zip(self.factors, sizes, strict=True)
        ]
        axis = tuple(factors) if len(factors) > 1 else axis_of(factors[0].kind, factors[0].size)
        if not (self.before or self.after):
            return axis
        pieces = [axis_of(CONSTANT, self.before)] * bool(self.before) + [axis]
        pieces += [axis_of(CONSTANT, self.after)] * bool(self.after)
        return (Factor(UNTOLD, size, size, pieces=tuple(pieces)),)


@dataclass(frozen=True)
class SaidAxes:
    """What each axis of one tensor counts, as a caller says.

    Attributes:
        text: as it was written.
        axes: the axes.
    """

    text: str
    axes: tuple[SaidAxis, ...]

    @classmethod
    def parse(cls, text: str) -> SaidAxes:
        """What `N,V,C,H,W` means.

        Raises:
            InputError: it cannot be read so.
        """
        axes = []
        for word in str(text).replace(" ", "").split(","):
            found = _TERM.fullmatch(word)
            if found is None:
                raise InputError(f"'{printable(str(text))}' does not say what axes count; write N,V,C,H,W: {_MEANING}")
            before, factors, after = found.groups()
            parts = [(one[0], int(one[1:]) if one[1:] else None) for one in factors.split("*")]
            axes.append(SaidAxis(int(before or 0), tuple(parts), int(after or 0)))
        letters = "".join(axis.letters for axis in axes)
        twice = sorted({letter for letter in letters if letter != "C" and letters.count(letter) > 1})
        if twice:
            raise InputError(f"'{printable(str(text))}' says {twice[0]} of two axes; each letter stands once")
        return cls(str(text), tuple(axes))

    def layout(self, name: str, shape: Sequence[Dim] | None) -> str:
        """One letter for each axis of an input.

        Raises:
            InputError: it has other axes, or one is said to be made of several, or the batch is not in front.
        """
        letters = "".join(axis.letters for axis in self.axes)
        plain = all(len(axis.factors) == 1 and not axis.before and not axis.after for axis in self.axes)
        if not plain or letters[0] != "N" or (shape is not None and len(shape) != len(letters)):
            raise InputError(
                f"input '{printable(name)}' is {dims(shape)}: {self.text} must be one letter for each axis, N in front"
            )
        return letters

    def of(self, tensor: str, sizes: Sequence[int], samples: int) -> Axes:
        """What the axes of a tensor of that shape are made of.

        Args:
            tensor: its name, for messages.
            sizes: its shape.
            samples: how many samples it is of.

        Raises:
            InputError: it has other axes than was said, or sizes that cannot be made so.
        """
        if len(sizes) != len(self.axes):
            raise InputError(
                f"'{printable(tensor)}' has {len(sizes)} axes ({dims(sizes)}), not {len(self.axes)}: {self.text}"
            )
        found = [axis.of(size, samples) for axis, size in zip(self.axes, sizes, strict=True)]
        if None in found:
            place = found.index(None)
            raise InputError(
                f"axis {place} of '{printable(tensor)}' ({dims(sizes)}) cannot be what was said of it, {self.text}, "
                f"with {samples} sample{'s' if samples > 1 else ''}: {_MEANING}"
            )
        return tuple(axis for axis in found if axis is not None)


def read_axes(given: Sequence[str]) -> dict[str, str]:
    """What `--axes NAME=N,V,C,H,W`, given several times perhaps, says of each name.

    Raises:
        InputError: one of them is not of that form.
    """
    found = {}
    for one in given:
        name, equals, text = one.rpartition("=")
        if not equals or not name:
            raise InputError(f"'{printable(one)}' does not say what axes count; write NAME=N,V,C,H,W: {_MEANING}")
        found[name] = text
    return found


def read_said(
    axes: Mapping[str, str], scope: Scope, taps: Mapping[str, Sequence[str]], told: Mapping[str, str]
) -> dict[str, SaidAxes]:
    """What is said, by tensor.

    Args:
        axes: what is said, by the name of an input, a layer or a tensor.
        scope: the main graph.
        taps: the tensors of each layer, by its name.
        told: the letters of the axes of each input, as the graph tells them; "" where it does not.

    Raises:
        SelectionError: there is no such tensor.
        InputError: it cannot be read, or is what the graph tells.
    """
    found: dict[str, SaidAxes] = {}
    for name, text in axes.items():
        if name not in {*scope.inputs, *scope.producers, *taps}:
            there = ", ".join(map(printable, scope.inputs))
            raise SelectionError(f"there is no input, layer or tensor '{printable(name)}'; inputs: {there}")
        if told.get(name) and told[name] == "".join(text.split()).replace(",", ""):
            raise unheeded(f"the graph tells that input '{printable(name)}' is {told[name]}: leave out {{axes}}")
        found |= dict.fromkeys(taps.get(name, (name,)), SaidAxes.parse(text))
    return found


def saying_axes(tensor: str, letters: str) -> str:
    """How it is said what the axes of a tensor count."""
    name = printable(tensor)
    return option("axes", f"{name}={letters}", f"{{'{name}': '{letters}'}}")
