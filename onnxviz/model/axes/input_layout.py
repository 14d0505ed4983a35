"""The layout of an input that no first reader tells: which of its axes the convolutions behind it slide over.

A convolution over two axes that reads an input of five was given the views of a sample beside one another: (N, V, C, H,
W) is then no volume.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from onnx import NodeProto

from onnxviz.model.axes.axis_trace import AxisTrace, input_axes
from onnxviz.model.axes.factors import Axes, kinds
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import Scope
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.graph.windows import kernel_of
from onnxviz.model.ports import Port

# Words that say that an axis, or an input's pictures, follow one another in time.
_TIME = frozenset("t time times frame frames clip clips video videos seq sequence length".split())
_LETTERS = {1: "W", 2: "HW", 3: "DHW"}
# Stands for a size that is left open.
_OPEN = 64

Trace = Callable[[dict[str, Axes], dict[str, tuple[int, ...]]], AxisTrace]
"""Follows the axes of inputs of given sizes."""


def followed_layout(port: Port, ports: Sequence[Port], scope: Scope, trace: Trace) -> str:
    """The letters of a port's axes: V or T for views or frames; "" if they cannot be told.

    Where no convolution slides over fewer axes than the input has, it may be what its sizes say, and that stays.

    Args:
        port: the input, batch axis in front.
        ports: all inputs.
        scope: the main graph.
        trace: follows axes through it.
    """
    reading = _reading(scope, port.name)
    if not reading:
        return port.layout  # nothing to follow the axes to
    sizes = {one.name: stand_ins(one.shape) for one in ports if one.shape is not None}
    rank = len(sizes[port.name])
    starts = {one.name: input_axes(one.layout, sizes[one.name]) for one in ports if one.name in sizes}
    starts[port.name] = input_axes("N" + "".join(str(axis) for axis in range(1, rank)), sizes[port.name])
    found = trace(starts, sizes)
    places: dict[int, set[int]] = defaultdict(set)
    ranks = set()
    for _, axes in found.convolved:
        if kinds(axes[1]) == "C":
            continue  # behind another one
        of_input = [(int(f.kind), place) for place, axis in enumerate(axes) for f in axis if f.kind.isdigit()]
        for axis, place in of_input:
            places[axis].add(place)
        if of_input:
            ranks.add(len(axes) - 2)
    letters = _letters(port, scope, places, ranks) if ranks else ""
    stays = rank < 5 or min(_sliding(scope, reading), default=rank) >= rank - 2
    return letters or (port.layout if stays else "")


def _reading(scope: Scope, tensor: str) -> list[NodeProto]:
    """The convolutions that depend on a tensor."""
    behind = scope.descendants([tensor])
    return [node for node in scope.graph.node if belongs(node, Family.CONVOLUTION) and behind.intersection(node.input)]


def _sliding(scope: Scope, convolutions: Sequence[NodeProto]) -> list[int]:
    """Over how many axes each of the convolutions slides whose weight tells."""

    def stored(name: str) -> tuple[int, ...] | None:
        return tuple(scope.initializers[name].dims) if name in scope.initializers else None

    return [len(kernel) for node in convolutions if (kernel := kernel_of(node, stored)) is not None]


def _letters(port: Port, scope: Scope, places: dict[int, set[int]], ranks: set[int]) -> str:
    sizes = stand_ins(port.shape)
    rank = len(sizes)
    sliding = sorted((min(where), axis) for axis, where in places.items() if len(where) == 1 and min(where) > 1)
    channels = [axis for axis, where in places.items() if where == {1}]
    parts = [axis for axis in range(1, rank) if places.get(axis, {0}) == {0}]
    if len(channels) > 1:  # frames that were put beside one another as channels
        colours = [axis for axis in channels if sizes[axis] in (1, 3, 4)]
        if len(colours) != 1:
            return ""
        parts += [axis for axis in channels if axis not in colours]
        channels = colours
    if not channels and any(sizes[axis] == 1 for axis in parts):
        channels = [next(axis for axis in reversed(parts) if sizes[axis] == 1)]
        parts.remove(channels[0])
    if len(ranks) != 1 or len(channels) != 1 or len(sliding) != max(ranks) or len(parts) > 2:
        return ""
    if 1 + len(channels) + len(sliding) + len(parts) != rank:
        return ""
    letters = dict(zip((axis for _, axis in sliding), _LETTERS[len(sliding)], strict=True))
    letters |= {
        0: "N",
        channels[0]: "C",
        **dict(zip(sorted(parts), _part_letters(port, scope, sorted(parts)), strict=True)),
    }
    return "".join(letters[axis] for axis in range(rank))


def _part_letters(port: Port, scope: Scope, parts: Sequence[int]) -> str:
    """V for views, T for frames: what names say, or an operator that runs along a sequence; no number hangs on it."""
    if len(parts) != 1:
        return "VT"[: len(parts)]
    named = port.shape[parts[0]] if port.shape is not None else None
    words = _words([port.name, named if isinstance(named, str) else ""])
    recurrent = any(belongs(node, Family.RECURRENT | Family.LOOPING) for node in scope.graph.node)
    return "T" if words & _TIME or recurrent else "V"


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))


def stand_ins(shape: Sequence[Dim] | None) -> tuple[int, ...]:
    """A shape whose open sizes are filled in: 1 for the batch, and enough for any convolution."""
    return tuple(size if isinstance(size, int) else _OPEN if axis else 1 for axis, size in enumerate(shape or ()))
