"""Rules of axes: what the axes of a node's outputs are made of, by operator, given those of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import NodeProto

from onnxviz.model.axes.axis_step import AxisStep, TracedTensor
from onnxviz.model.axes.factors import (
    CONSTANT,
    PARTS,
    POSITIONS,
    UNTOLD,
    Axes,
    Axis,
    axis_of,
    cut,
    fresh,
    joined,
    kinds,
    length,
    regrouped,
    resized,
    untold,
)
from onnxviz.model.axes.stacking import broadcast, stacked
from onnxviz.model.graph.operators import KEEPS_SHAPE, Family, belongs, key_of
from onnxviz.model.graph.scopes import attribute

# The letters of positions by their number.
_LETTERS = {1: "W", 2: "HW", 3: "DHW"}


Rule = Callable[[AxisStep], list[Axes]]


def traced_outputs(step: AxisStep) -> list[TracedTensor]:
    """What is known of the outputs; nothing but the sizes where no rule tells, or none fits."""
    try:
        found = _rule(step.node)(step)
    except (
        ValueError,
        LookupError,
        TypeError,
        ArithmeticError,
    ):  # not treated, or sizes that are not known
        found = []
    known = [one for one in step.given if one is not None]
    inputs = frozenset().union(*(one.inputs for one in known))
    picks = frozenset().union(*(one.picks for one in known))
    outputs = []
    for place, size in enumerate(step.sizes):
        axes = found[place] if place < len(found) else untold(size or ())
        if size is not None and tuple(map(length, axes)) != size:
            axes = untold(size)
        outputs.append(TracedTensor(axes, inputs, picks | {step.picked[place]} if place in step.picked else picks))
    return outputs


def _rule(node: NodeProto) -> Rule:
    special = _RULES.get(key_of(node))
    if special is not None:
        return special
    for families, rule in _BY_FAMILY:
        if belongs(node, families):
            return rule
    return _unknown


def _unknown(step: AxisStep) -> list[Axes]:
    raise ValueError(step.node.op_type)


def _kept(step: AxisStep) -> list[Axes]:
    return [step.x]


def _scattered(step: AxisStep) -> list[Axes]:
    """Written into a tensor; into a constant, what is written tells its axes."""
    data, updates = step.given[0], step.given[2]
    if (data is not None and data.inputs) or updates is None or len(updates.axes) != len(step.size):
        return _kept(step)
    return [tuple(resized(axis, size) for axis, size in zip(updates.axes, step.size, strict=True))]


def _with_features(step: AxisStep) -> list[Axes]:
    """The first input's axes, but that the last are new features: attention in one node."""
    return [(*step.x[:-1], axis_of("C", step.size[-1]))]


def _broadcast(step: AxisStep) -> list[Axes]:
    return [broadcast([one.axes for one in step.operands])]


def _positions(before: Axes, sizes: Sequence[int]) -> list[Axis]:
    """The axes that a window slid along: positions, by the letter that they had before or by their place.

    Frames stay frames where the positions of their pictures are in another axis; alone, they are the positions.
    """
    found: list[Axis] = []
    pictures = bool(set().union(*map(kinds, before)) & set(POSITIONS))
    for axis, size, letter in zip(before[2:], sizes, _LETTERS[len(sizes)], strict=True):
        known = kinds(axis)
        stays = len(known) == 1 and known in (PARTS + POSITIONS if pictures else POSITIONS)
        found.append((fresh(known if stays else letter, size),))
    return found


def _convolved(step: AxisStep) -> list[Axes]:
    first = resized(step.x[0], step.size[0])
    return [(first, (fresh("C", step.size[1]),), *_positions(step.x, step.size[2:]))]


def _pooled(step: AxisStep) -> list[Axes]:
    pooled = (*step.x[:2], *_positions(step.x, step.size[2:]))
    return [pooled for _ in step.sizes]


def _sampled(step: AxisStep) -> list[Axes]:
    """Padded, enlarged or otherwise of other sizes, axis by axis."""
    return [tuple(resized(axis, size) for axis, size in zip(step.x, step.size, strict=True))]


def _shuffled(step: AxisStep) -> list[Axes]:
    first, channels, *sides = step.size
    places = [resized(axis, side) for axis, side in zip(step.x[2:], sides, strict=True)]
    return [(resized(step.x[0], first), axis_of("C", channels), *places)]


def _reduced(step: AxisStep) -> list[Axes]:
    """One number for all along some axes; where none are named, for all."""
    rank = len(step.x)
    axes = step.numbers(1, "axes")
    if axes is None and "axis" in {one.name for one in step.node.attribute}:
        axes = [step.along(0)]
    gone = {axis % rank for axis in axes} if axes else set(range(rank))
    if attribute(step.node, "keepdims") == 0:
        return [tuple(axis for place, axis in enumerate(step.x) if place not in gone)]
    return [tuple(() if place in gone else axis for place, axis in enumerate(step.x))]


def _reshaped(step: AxisStep) -> list[Axes]:
    return [regrouped(step.x, step.size)]


def _squeezed(step: AxisStep) -> list[Axes]:
    axes = step.numbers(1, "axes")
    if axes is None:
        return _reshaped(step)
    rank = len(step.x) + (len(axes) if step.node.op_type == "Unsqueeze" else 0)
    places = {axis % rank for axis in axes}
    if step.node.op_type == "Squeeze":
        return [tuple(axis for place, axis in enumerate(step.x) if place not in places)]
    left = iter(step.x)
    return [tuple(() if place in places else next(left) for place in range(rank))]


def _transposed(step: AxisStep) -> list[Axes]:
    perm = attribute(step.node, "perm") or reversed(range(len(step.x)))
    return [tuple(step.x[place] for place in perm)]


def _expanded(step: AxisStep) -> list[Axes]:
    grown = (*[()] * (len(step.size) - len(step.x)), *step.x)
    return [tuple(_repeated(axis, size) for axis, size in zip(grown, step.size, strict=True))]


def _repeated(axis: Axis, size: int) -> Axis:
    times = size // length(axis)
    return axis if times == 1 else (fresh(CONSTANT, times), *(one for one in axis if one.size > 1))


def _sliced(step: AxisStep) -> list[Axes]:
    starts = step.numbers(1, "starts")
    axes, steps = step.numbers(3, "axes"), step.numbers(4)
    found = list(step.x)
    for place, size in enumerate(step.size):
        if axes is None and starts is not None:
            axes = list(range(len(starts)))
        order = [axis % len(found) for axis in axes or ()]
        index = order.index(place) if place in order else None
        stride = steps[index] if steps is not None and index is not None else 1
        before = length(found[place])
        if stride != 1:
            found[place] = found[place] if before == 1 else _thinned(found[place], size, stride)
        elif size != before:
            first = None
            if starts is not None and index is not None:
                first = slice(starts[index], None).indices(before)[0]
            found[place] = _cut(step, found[place], first, size)
    return [tuple(found)]


def _thinned(axis: Axis, size: int, stride: int) -> Axis:
    """Every so many of an axis; turned round, positions are no longer where they were."""
    told = kinds(axis)
    return axis_of(told if told == "C" or (stride > 0 and len(told) == 1) else UNTOLD, size)


def _cut(step: AxisStep, axis: Axis, first: int | None, size: int, output: int = 0) -> Axis:
    """A stretch of an axis; what it picks, where it is one part of several."""
    if first is None:
        return axis_of("C" if kinds(axis) == "C" else UNTOLD, size)
    outer, inner = (axis[0], length(axis[1:])) if axis else (None, 1)
    if outer is not None and size == inner and outer.size > 1 and outer.kind not in ("N", "C", CONSTANT, UNTOLD):
        step.picked[output] = outer.kind, (outer.start + outer.step * (first // inner)) % outer.whole
    return cut(axis, first, size)


def _split(step: AxisStep) -> list[Axes]:
    place, first = step.along(0), 0
    found = []
    for output, size in enumerate(step.sizes):
        if size is None:
            raise ValueError("sizes are not known")
        axis = _cut(step, step.x[place], first, size[place], output)
        found.append((*step.x[:place], axis, *step.x[place + 1 :]))
        first += size[place]
    return found


def _gathered(step: AxisStep) -> list[Axes]:
    place = step.along(0)
    axis, behind = step.x[place], step.x[place + 1 :]
    added = len(step.size) - len(step.x) + 1
    indices = step.numbers(1)
    if added == 0:
        if indices is None:
            raise ValueError("which are picked is not known")
        _cut(step, axis, indices[0] % length(axis), 1)
        return [(*step.x[:place], *behind)]
    size = step.size[place : place + added]
    if indices is None or added > 1:
        picked: Axes = tuple(axis_of("C" if kinds(axis) == "C" else UNTOLD, one) for one in size)
        return [(*step.x[:place], *picked, *behind)]
    order = [index % length(axis) for index in indices]
    if order == list(range(order[0], order[0] + len(order))):
        return [(*step.x[:place], _cut(step, axis, order[0], len(order)), *behind)]
    told = kinds(axis)
    if len(told) == 1 and told in PARTS:
        branches = tuple(axis[0].branch(index) for index in order)
        return [(*step.x[:place], (fresh(told, len(order), branches),), *behind)]
    return [(*step.x[:place], axis_of("C" if told == "C" else UNTOLD, len(order)), *behind)]


def _concatenated(step: AxisStep) -> list[Axes]:
    return [stacked(step.operands, step.along(0))]


def _multiplied(step: AxisStep) -> list[Axes]:
    first, second = step.operands[:2]
    a, b = (axes if len(axes) > 1 else () for axes in (first.axes, second.axes))
    batch = broadcast([a[:-2], b[:-2]])
    rows = [_mixed(first, a[-2])] if a else []
    columns = [_mixed(second, b[-1])] if b else []
    return [(*batch, *rows, *columns)]


def _mixed(operand: TracedTensor, axis: Axis) -> Axis:
    """What a product leaves of an operand's axis: itself, or features, where the operand is a weight."""
    return axis if operand.inputs else axis_of("C", length(axis))


def _dense(step: AxisStep) -> list[Axes]:
    rows = step.x[1 if attribute(step.node, "transA") else 0]
    return [(rows, axis_of("C", step.size[1]))]


def _recurrent(step: AxisStep) -> list[Axes]:
    time, samples = step.x[:2]
    if attribute(step.node, "layout"):
        raise ValueError("samples first")
    found: list[Axes] = []
    for size in step.sizes:
        features = axis_of("C", size[-1]) if size else ()
        directions = axis_of("C", size[-3]) if size and len(size) > 2 else ()
        found.append(
            (time, directions, samples, features) if size and len(size) == 4 else (directions, samples, features)
        )
    return found


def _einsum(step: AxisStep) -> list[Axes]:
    equation = (attribute(step.node, "equation") or b"").decode().replace(" ", "")
    terms, arrow, result = equation.partition("->")
    if not arrow or "." in equation:
        raise ValueError(equation)
    found: dict[str, Axis] = {}
    for term, operand in zip(terms.split(","), step.given, strict=True):
        if operand is None:
            raise ValueError(equation)
        for letter, axis in zip(term, operand.axes, strict=True):
            found[letter] = joined(found.get(letter, ()), _mixed(operand, axis))
    return [tuple(found[letter] for letter in result)]


_MICROSOFT = "com.microsoft"
_RULES: dict[tuple[str, str], Rule] = {
    ("", "Transpose"): _transposed,
    ("", "Expand"): _expanded,
    ("", "Tile"): _expanded,
    ("", "Slice"): _sliced,
    ("", "Split"): _split,
    ("", "Gather"): _gathered,
    ("", "Concat"): _concatenated,
    (_MICROSOFT, "QLinearConcat"): _concatenated,
    ("", "Pad"): _sampled,
    ("", "Gemm"): _dense,
    (_MICROSOFT, "FusedGemm"): _dense,
    (_MICROSOFT, "QGemm"): _dense,
    ("", "Einsum"): _einsum,
    ("", "ScatterND"): _scattered,
    ("", "ScatterElements"): _scattered,
    ("", "Attention"): _with_features,
    (_MICROSOFT, "Attention"): _with_features,
    (_MICROSOFT, "MultiHeadAttention"): _with_features,
    (_MICROSOFT, "SkipLayerNormalization"): _kept,
    ("", "ArgMax"): _reduced,
    ("", "ArgMin"): _reduced,
}
_BY_FAMILY: tuple[tuple[Family, Rule], ...] = (
    (Family.CONVOLUTION, _convolved),
    (Family.POOLING | Family.GLOBAL_POOLING, _pooled),
    (Family.UNIT_AXES, _squeezed),
    (Family.RESHAPING, _reshaped),
    (Family.REDUCTION, _reduced),
    (Family.MATRIX, _multiplied),
    (Family.RECURRENT, _recurrent),
    (Family.RESIZING, _sampled),
    (Family.SHUFFLING, _shuffled),
    (Family.BROADCASTING, _broadcast),
    (KEEPS_SHAPE | Family.IDENTITY, _kept),
)
