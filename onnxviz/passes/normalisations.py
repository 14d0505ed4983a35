"""Normalisations that an exporter wrote as arithmetic: LayerNormalization, GroupNormalization, InstanceNormalization.

With the mean μ and the variance σ² of x over some axes, and constants γ, β and ε, each gives (x − μ)/√(σ² + ε)·γ + β
(Ulyanov et al. 2016; Ba et al. 2016; Wu & He 2018). However the arithmetic is ordered, it is a sum of products of x, μ,
1/√(σ² + ε) and constants: that sum is written down tensor by tensor, from the mean on, and compared with the formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from onnxviz.model.graph.scopes import attribute, operator
from onnxviz.model.graph.symbolic_sizes import Dim
from onnxviz.model.naming import source_path
from onnxviz.passes.patterns import Rewrites, View
from onnxviz.passes.values import KnownValue

_LAYER_NORMALIZATION = 17  # the operator set that has it first
_GROUP_NORMALIZATION = 21  # first with a scale a channel; that of 18, with one a group, is deprecated


@dataclass(frozen=True)
class _Statistics:
    """x, its mean, x − mean and √(variance + ε) over `axes`: names of tensors, and the nodes that make them from x."""

    x: str
    mean: str
    centred: str
    spread: str
    epsilon: float
    axes: tuple[int, ...]
    nodes: tuple[NodeProto, ...]


@dataclass(frozen=True)
class _Found:
    """A normalisation in arithmetic: `end` is (x − μ)/√(σ² + ε)·scale + offset; "" where there is none."""

    statistics: _Statistics
    end: str
    scale: str
    offset: str
    nodes: tuple[NodeProto, ...]


def normalisations(view: View) -> Rewrites:
    """Mean, variance, and what is made of them: one operator, or InstanceNormalization where it lacks groups."""
    for root in view.nodes:
        statistics = _statistics(view, root) if operator(root) == "Sqrt" else None
        for found in _formulas(view, statistics) if statistics is not None else ():
            rewritten = _grouped(view, found) or _along_last_axes(view, found)
            if rewritten is not None:
                yield rewritten
                break


def _statistics(view: View, root: NodeProto) -> _Statistics | None:
    """√(mean((x − μ)²) + ε), where `root` is the square root."""
    add = view.made_for_one(root.input[0], "Add")
    if add is None:
        return None
    for term, constant in (add.input, add.input[::-1]):
        epsilon = view.known.get(constant)
        variance = view.made_for_one(term, "ReduceMean")
        square = view.producers.get(variance.input[0]) if variance is not None else None
        if epsilon is None or epsilon.array.size != 1 or epsilon.array.dtype != np.float32:
            continue
        if variance is None or square is None or not _squares(view, square):
            continue
        centred = view.producers.get(square.input[0])
        mean = view.producers.get(centred.input[1]) if centred is not None and operator(centred) == "Sub" else None
        if centred is None or mean is None or operator(mean) != "ReduceMean" or mean.input[0] != centred.input[0]:
            continue
        axes = _kept_axes(view, mean)
        if axes is None or axes != _kept_axes(view, variance):
            continue
        nodes = (mean, centred, square, variance, add, root)
        made = (centred.input[0], mean.output[0], centred.output[0], root.output[0])
        return _Statistics(*made, float(epsilon.array.reshape(())), axes, nodes)
    return None


def _squares(view: View, node: NodeProto) -> bool:
    if operator(node) == "Pow":
        power = view.known.get(node.input[1])
        return power is not None and power.array.size == 1 and bool(power.array == 2)
    return operator(node) == "Mul" and node.input[0] == node.input[1]


def _kept_axes(view: View, reduction: NodeProto) -> tuple[int, ...] | None:
    """The axes of a reduction that keeps them, counted from the first; None where they are not known."""
    axes, sizes = view.axes(reduction), view.sizes.of(reduction.input[0])
    if not axes or sizes is None or attribute(reduction, "keepdims") == 0:
        return None
    return tuple(sorted({axis % len(sizes) for axis in axes}))


# ---- the arithmetic behind the statistics

# Of a term: whether it has x or the mean as a factor, and the power of the spread; then its sign and its constant.
_Key = tuple[str, int]
_Sum = Mapping[_Key, tuple[int, str]]
_ONE: _Key = ("", 0)


def _formulas(view: View, statistics: _Statistics) -> list[_Found]:
    """The tensors behind the statistics that are the formula, if nobody else reads what lies between; last first."""
    layer = source_path(statistics.nodes[-1])
    sums: dict[str, _Sum] = {
        statistics.x: {("x", 0): (1, "")},
        statistics.mean: {("mean", 0): (1, "")},
        statistics.centred: {("x", 0): (1, ""), ("mean", 0): (-1, "")},
        statistics.spread: {("", -1): (1, "")},
    }
    nodes = list(statistics.nodes)
    known = {id(node) for node in nodes}
    found: list[_Found] = []
    waiting: list[int] = []

    def wait_for_readers(tensor: str) -> None:
        for reader in view.consumers.get(tensor, []):
            if id(reader) not in known and source_path(reader) == layer:
                known.add(id(reader))
                heappush(waiting, view.places[id(reader)])

    for tensor in list(sums):
        wait_for_readers(tensor)
    while waiting:
        node = view.nodes[heappop(waiting)]
        operands = [sums.get(name) or _constant(name, view.known) for name in node.input]
        total = _total(node, operands)
        if total is None:
            continue
        sums[node.output[0]] = total
        nodes.append(node)
        wait_for_readers(node.output[0])
        formula = _formula(total)
        if formula is not None:
            own = _between(nodes, node)
            if view.closed(own, node.output[0]):
                found.append(_Found(statistics, node.output[0], *formula, tuple(own)))
    return found[::-1]


def _constant(name: str, known: Mapping[str, KnownValue]) -> _Sum | None:
    return {_ONE: (1, name)} if name in known else None


def _total(node: NodeProto, operands: Sequence[_Sum | None]) -> _Sum | None:
    """What the node makes of sums; None where it is no such sum, or one of its terms has two constants."""
    rule = _RULES.get(operator(node))
    given = [operand for operand in operands if operand is not None]
    return rule(*given) if rule is not None and len(given) == len(operands) else None


def _negative(operand: _Sum) -> _Sum:
    return {key: (-sign, factor) for key, (sign, factor) in operand.items()}


def _inverse(operand: _Sum) -> _Sum | None:
    """1/√(σ² + ε); None for any other sum."""
    return {("", 1): (1, "")} if operand == {("", -1): (1, "")} else None


def _added(first: _Sum, second: _Sum) -> _Sum | None:
    return None if first.keys() & second.keys() else {**first, **second}


def _subtracted(first: _Sum, second: _Sum) -> _Sum | None:
    return _added(first, _negative(second))


def _quotient(first: _Sum, second: _Sum) -> _Sum | None:
    inverse = _inverse(second)
    return _product(first, inverse) if inverse is not None else None


def _product(first: _Sum, second: _Sum) -> _Sum | None:
    total: dict[_Key, tuple[int, str]] = {}
    for (base, power), (sign, factor) in first.items():
        for (other_base, other_power), (other_sign, other_factor) in second.items():
            key = (base or other_base, power + other_power)
            if (base and other_base) or (factor and other_factor) or key in total:
                return None
            total[key] = (sign * other_sign, factor or other_factor)
    return total


_RULES: dict[str, Callable[..., _Sum | None]] = {
    "Add": _added,
    "Div": _quotient,
    "Mul": _product,
    "Neg": _negative,
    "Reciprocal": _inverse,
    "Sub": _subtracted,
}


def _formula(total: _Sum) -> tuple[str, str] | None:
    """Scale and offset, where the sum is x/σ·scale − μ/σ·scale + offset."""
    sign, scale = total.get(("x", 1), (0, ""))
    rest = {key: term for key, term in total.items() if key != ("x", 1)}
    if sign != 1 or rest.pop(("mean", 1), None) != (-1, scale):
        return None
    sign, offset = rest.pop(_ONE, (1, ""))
    return (scale, offset) if sign == 1 and not rest else None


def _between(nodes: Sequence[NodeProto], last: NodeProto) -> list[NodeProto]:
    """Those of `nodes` on which `last` depends, and `last`; in their order."""
    needed = set(last.input)
    kept = [last]
    for node in reversed(nodes):
        if node is not last and needed & set(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


# ---- the operators


def _along_last_axes(view: View, found: _Found) -> tuple[list[NodeProto], list[NodeProto]] | None:
    """LayerNormalization, which is over the last axes."""
    statistics = found.statistics
    sizes = view.sizes.of(statistics.x)
    if view.opset < _LAYER_NORMALIZATION or sizes is None:
        return None
    first = statistics.axes[0]
    lengths = sizes[first:]
    if statistics.axes != tuple(range(first, len(sizes))):
        return None
    whole = [*[1] * first, *lengths]
    scale = _constant_of(view, found, found.scale, whole, lengths, 1.0)
    offset = _constant_of(view, found, found.offset, whole, lengths, 0.0) if found.offset else ""
    if scale is None or offset is None:
        return None
    inputs = [statistics.x, scale, *([offset] if offset else [])]
    node = _node(view, found, "LayerNormalization", inputs, axis=first - len(sizes), epsilon=statistics.epsilon)
    node.output[0] = found.end
    return list(found.nodes), [node]


def _grouped(view: View, found: _Found) -> tuple[list[NodeProto], list[NodeProto]] | None:
    """GroupNormalization: the axis of channels split into groups, each normalised with all positions, and put together.

    InstanceNormalization where every channel is a group, and around it, where the operator set lacks groups, a Reshape
    that makes them channels. Both operators are for channels on axis 1: a Transpose or two are put around them.
    """
    statistics = found.statistics
    split, widen = view.producers.get(statistics.x), None
    if split is not None and operator(split) == "Cast":  # half precision is normalised in float32
        split, widen = view.producers.get(split.input[0]), split
    narrow = view.only_reader(found.end, "Cast")
    join = view.only_reader(narrow.output[0] if narrow is not None else found.end, "Reshape")
    if split is None or operator(split) != "Reshape" or join is None:
        return None
    source = split.input[0]
    sizes, parts = view.sizes.of(source), view.sizes.of(statistics.x)
    nodes = [node for node in (split, widen, *found.nodes, narrow, join) if node is not None]
    if sizes is None or parts is None or not view.closed(nodes, join.output[0]):
        return None
    left = [axis for axis in range(len(parts)) if axis not in statistics.axes]
    if len(sizes) < 3 or len(parts) != len(sizes) + 1 or len(left) != 2 or left[0] != 0:
        return None
    axis = left[1]  # of the groups, and in `source` of the channels
    groups, channels = parts[axis], sizes[axis] if axis < len(sizes) else None
    if axis not in (1, len(sizes) - 1) or not isinstance(groups, int) or not isinstance(channels, int):
        return None
    lengths = [groups, channels // groups]
    if not view.reshapes_to(split, [*sizes[:axis], *lengths, *sizes[axis + 1 :]]) or not view.reshapes_to(join, sizes):
        return None
    whole = [1] * axis + lengths + [1] * (len(sizes) - axis - 1)
    scale = _constant_of(view, found, found.scale, whole, [channels], 1.0)
    offset = _constant_of(view, found, found.offset, whole, [channels], 0.0)
    if scale is None or offset is None:
        return None
    order = [0, axis, *(one for one in range(1, len(sizes)) if one != axis)]
    back = [order.index(one) for one in range(len(sizes))]
    new: list[NodeProto] = []

    def add(op: str, **attributes: Any) -> None:
        new.append(_node(view, found, op, [new[-1].output[0] if new else source], **attributes))

    if widen is not None:
        add("Cast", to=attribute(widen, "to"))
    if axis != 1:
        add("Transpose", perm=order)
    tensor = new[-1].output[0] if new else source
    new += _normalised_groups(view, found, tensor, [sizes[one] for one in order], groups, scale, offset)
    if axis != 1:
        add("Transpose", perm=back)
    if narrow is not None:
        add("Cast", to=attribute(narrow, "to"))
    new[-1].output[0] = join.output[0]
    return nodes, new


def _normalised_groups(
    view: View, found: _Found, tensor: str, sizes: Sequence[Dim], groups: int, scale: str, offset: str
) -> list[NodeProto]:
    """The nodes that normalise `tensor`, (N, C, spatial…) of `sizes`, by groups of channels."""
    epsilon = found.statistics.epsilon
    if groups == sizes[1]:
        return [_node(view, found, "InstanceNormalization", [tensor, scale, offset], epsilon=epsilon)]
    if view.opset >= _GROUP_NORMALIZATION:
        inputs = [tensor, scale, offset]
        return [_node(view, found, "GroupNormalization", inputs, num_groups=groups, epsilon=epsilon)]
    stem = _stem(found)
    grouped = _node(view, found, "Reshape", [tensor, view.added(f"{stem}/groups", np.array([0, groups, -1]))])
    one_each = [view.added(f"{stem}/{word}", np.full(groups, fill, np.float32)) for word, fill in _NEUTRAL]
    normal = _node(view, found, "InstanceNormalization", [grouped.output[0], *one_each], epsilon=epsilon)
    new = [grouped, normal]
    if sum(not isinstance(size, int) for size in sizes[1:]) > 1:
        new.append(_node(view, found, "Shape", [tensor]))
        target = new[-1].output[0]
    else:
        target = view.added(f"{stem}/sizes", np.array([0, *(s if isinstance(s, int) else -1 for s in sizes[1:])]))
    new.append(_node(view, found, "Reshape", [normal.output[0], target]))
    for op, own, name in (("Mul", found.scale, scale), ("Add", found.offset, offset)):
        if own:
            wide = view.constant(name, "wide", view.known[name].array.reshape(-1, *[1] * (len(sizes) - 2)))
            new.append(_node(view, found, op, [new[-1].output[0], wide]))
    return new


_NEUTRAL = (("ones", 1.0), ("zeros", 0.0))


def _constant_of(
    view: View, found: _Found, name: str, whole: Sequence[Dim], shape: Sequence[Dim], fill: float
) -> str | None:
    """A constant of `shape` with the elements of `name`, whose sizes, with ones before them, are `whole`.

    Full of `fill` where `name` is "". None where its sizes are others, or `shape` is open.
    """
    sizes = [size for size in shape if isinstance(size, int)]
    if len(sizes) < len(shape):
        return None
    if not name:
        return view.added(f"{_stem(found)}/{fill:g}", np.full(sizes, fill, np.float32))
    array = view.known[name].array
    if (*[1] * (len(whole) - array.ndim), *array.shape) != tuple(whole):
        return None
    return name if array.shape == tuple(sizes) else view.constant(name, "normalisation", array.reshape(sizes))


def _node(view: View, found: _Found, op: str, inputs: Sequence[str], **attributes: Any) -> NodeProto:
    """A node of the layer that is found, with a name and an output of its own."""
    stem = f"{_stem(found)}/{op}"
    node = helper.make_node(op, inputs, [view.names.tensor(stem)], name=view.names.node(stem), **attributes)
    node.metadata_props.extend(found.nodes[-1].metadata_props)
    return node


def _stem(found: _Found) -> str:
    return source_path(found.nodes[-1]) or found.end
