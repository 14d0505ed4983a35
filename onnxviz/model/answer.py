"""The answer of a model with several outputs: the one that the graph proves to be scores, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnxviz.errors import SelectionError
from onnxviz.messages import dims, printable
from onnxviz.model.graph.operators import Family, belongs
from onnxviz.model.graph.scopes import operator
from onnxviz.model.model import Model

_MOST_LISTED = 8


@dataclass(frozen=True)
class Ending:
    """An output and the scores behind it.

    Attributes:
        output: its name.
        tensor: what it is computed from: the values before softmax, sigmoid or arg-max.
        proven: whether there is such an end.
        axis: of the tensor's classes, the batch axis counted.
    """

    output: str
    tensor: str
    proven: bool
    axis: int


def choose_output(model: Model, endings: Sequence[Ending], names: Sequence[str]) -> str:
    """The output that scores classes.

    The only one; else the only one that fits the names of classes, or that ends in a softmax, sigmoid or arg-max; else
    what is left without those that another is computed from; else the finest of several with the same classes.

    Args:
        model: the model.
        endings: of each output.
        names: of the classes, as the model's metadata give them.

    Raises:
        SelectionError: several qualify; the message names them.
    """
    first = {ending.tensor: ending for ending in reversed(endings)}  # of one tensor, the first output
    there = [ending for ending in endings if first[ending.tensor] is ending]
    floats = {port.name for port in model.outputs if port.dtype.startswith("float") or not port.dtype}
    there = [one for one in there if one.output in floats or one.proven] or there
    if len(there) == 1:
        return there[0].output
    named = [one for one in there if names and _classes(model, one) == len(names)]
    proven = [one for one in there if one.proven]
    left = named or proven or there
    if len(left) > 1:
        left = _last(model, left) or left
    if len(left) > 1:
        left = _finest(model, left)
    if len(left) == 1:
        return left[0].output
    listed = [f"{printable(one.output)} ({_size(model, one.output)})" for one in left[:_MOST_LISTED]]
    more = ", …" if len(left) > _MOST_LISTED else ""
    raise SelectionError(
        f"{model.label} has {len(left)} outputs that may be scores, and nothing tells which is meant: "
        f"{', '.join(listed)}{more}"
    )


def _classes(model: Model, ending: Ending) -> int | None:
    shape = model.shapes.of(ending.tensor)
    size = shape[ending.axis] if shape is not None and -len(shape) <= ending.axis < len(shape) else None
    return size if isinstance(size, int) else None


def _last(model: Model, there: Sequence[Ending]) -> list[Ending]:
    """Those that no other of the outputs is computed from."""
    needs = [model.scope.ancestors([one.tensor]).tensors - {one.tensor} for one in there]
    return [one for one in there if not any(one.tensor in needed for needed in needs)]


def _finest(model: Model, there: list[Ending]) -> list[Ending]:
    """The one with the most positions, where all score as many classes at positions; else all."""
    shapes = [model.example_shapes.of(one.tensor) or () for one in there]
    kinds = {(len(shape), shape[one.axis]) for shape, one in zip(shapes, there, strict=True) if len(shape) > 2}
    sizes = [math.prod(size for size in shape if isinstance(size, int)) for shape in shapes]
    open_ = any(not isinstance(size, int) for shape in shapes for size in shape)
    if len(kinds) != 1 or open_ or any(len(shape) < 3 for shape in shapes):
        return there
    best = [one for one, size in zip(there, sizes, strict=True) if size == max(sizes)]
    return best if len(best) == 1 else there


def _size(model: Model, tensor: str) -> str:
    shape = model.shapes.of(tensor)
    return "of unknown size" if shape is None else dims(shape)


def askable(model: Model, outputs: Sequence[str]) -> list[str]:
    """Tensors that something makes probabilities of, the last first: what may be asked for in place of an output."""
    scope = model.scope
    found = []
    for node in reversed(scope.ancestors(outputs).nodes):
        if not belongs(node, Family.PROBABILITY) or belongs(node, Family.INTEGER):
            continue
        readers = scope.consumers.get(node.output[0], [])
        swish = any(operator(reader) == "Mul" and node.input[0] in reader.input for reader in readers)
        if not swish:
            found.append(node.input[0])
    return list(dict.fromkeys(found))
