"""Receptive-field rules: the interval of each input that an interval of a node's output depends on, by operator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxviz.errors import InputError
from onnxviz.maps.receptive.coordinates import nearest_sample, source_coordinate
from onnxviz.maps.receptive.groups import before_groups
from onnxviz.messages import printable
from onnxviz.model.graph.operators import OPERATORS, Family, Key, convolution_form, key_of, names
from onnxviz.model.graph.windows import Window, kernel_of
from onnxviz.passes.prepare import Prepared

Interval = tuple[int, int]
"""First and last index, both inside."""


@dataclass(frozen=True)
class Extent:
    """An interval along one axis of an input."""

    tensor: str
    axis: int
    interval: Interval


@dataclass(frozen=True)
class FieldStep:
    """One node on the way back.

    Attributes:
        prepared: the graph.
        node: the node.
        output: the output of which an interval is known.
        axis: the axis that it is along.
        first, last: the interval.
        gates: whether what is the same for all positions counts.
    """

    prepared: Prepared
    node: NodeProto
    output: str
    axis: int
    first: int
    last: int
    gates: bool

    @property
    def x(self) -> str:
        """The first input."""
        return str(self.node.input[0])

    @property
    def changing(self) -> list[str]:
        """The inputs that are not constant."""
        return [name for name in self.node.input if name and self.prepared.constant(name) is None]

    def sizes(self, tensor: str) -> list[int]:
        """The shape of a tensor."""
        return known_sizes(self.prepared, tensor)

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the node; text as `str`."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def constant(self, place: int) -> NDArray[Any] | None:
        """The values of a constant input, None if there is none there or it is not constant."""
        name = self.node.input[place] if place < len(self.node.input) else ""
        found = self.prepared.constant(name) if name else None
        return None if found is None else np.asarray(found.array)

    def same(self, tensor: str, axis: int | None = None) -> Extent:
        """The same interval of an input."""
        return Extent(tensor, self.axis if axis is None else axis, (self.first, self.last))

    def aligned(self, tensor: str) -> int:
        """The axis of an input that stands where `axis` stands, counted from the end; negative where it has none."""
        return self.axis - (len(self.sizes(self.output)) - len(self.sizes(tensor)))

    def gate(self, tensor: str, axis: int) -> list[Extent] | None:
        """What is seen of an input that is the same for all positions.

        Args:
            tensor: the input.
            axis: the axis, of size 1, that it is stretched along; negative where it has no such axis.

        Returns:
            None for a scalar, which has no axis to be followed along.
        """
        if axis >= 0:
            return [Extent(tensor, axis, (0, 0))]
        return [self.all_of(tensor, own) for own in range(len(self.sizes(tensor)))] or None

    def all_of(self, tensor: str, axis: int) -> Extent:
        """The whole of one axis of an input."""
        return Extent(tensor, axis, (0, self.sizes(tensor)[axis] - 1))


def known_sizes(prepared: Prepared, tensor: str) -> list[int]:
    """The shape of a tensor.

    Raises:
        InputError: it is not known.
    """
    shape = prepared.shape(tensor)
    sizes = [dim for dim in shape or () if isinstance(dim, int)]
    if shape is None or len(sizes) != len(shape):
        raise InputError(f"the size of '{printable(tensor)}' in {prepared.label} is not known, so nor is what it sees")
    return sizes


Rule = Callable[[FieldStep], list[Extent] | None]
"""What the node sees; None where that cannot be told, so that it is everything."""
RULES: dict[Key, Rule] = {}


def _rule(*operators: str, families: Family | None = None) -> Callable[[Rule], Rule]:
    """Registers the rule of operators of ONNX' own, or of all that are of any of `families`; a later rule counts."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys((("", name) for name in operators), rule))
        if families is not None:
            RULES.update(dict.fromkeys((key for key, known in OPERATORS.items() if known & families), rule))
        return rule

    return register


def seen_by(step: FieldStep) -> list[Extent]:
    """What of its inputs an interval of a node's output depends on; constant inputs are left out."""
    rule = RULES.get(key_of(step.node))
    if (found := rule(step) if rule is not None else None) is None:
        found = [step.all_of(name, axis) for name in step.changing for axis in range(len(step.sizes(name)))]
    return [seen for seen in found if step.prepared.constant(seen.tensor) is None]


@_rule(families=Family.ELEMENTWISE | Family.PER_AXIS)
def _elementwise(step: FieldStep) -> list[Extent] | None:
    """The same place of the first input; the others are settings, which are gates where they depend on the picture."""
    gates = [step.gate(name, -1) for name in step.changing if name != step.x]
    return _with_gates(step, [step.same(step.x)], gates)


@_rule(families=Family.BROADCASTING)
def _broadcast(step: FieldStep) -> list[Extent] | None:
    """Axes are aligned at the end; an input that is stretched along the axis is a gate."""
    found, gates = list[Extent](), list[list[Extent] | None]()
    for name in step.changing:
        axis = step.aligned(name)
        if axis >= 0 and step.sizes(name)[axis] == step.sizes(step.output)[step.axis]:
            found.append(step.same(name, axis))
        else:
            gates.append(step.gate(name, axis))
    return _with_gates(step, found, gates)


@_rule("Expand")
def _expanded(step: FieldStep) -> list[Extent] | None:
    """As in broadcasting; the second input is a shape."""
    axis = step.aligned(step.x)
    if axis >= 0 and step.sizes(step.x)[axis] == step.sizes(step.output)[step.axis]:
        return [step.same(step.x, axis)]
    return _with_gates(step, [], [step.gate(step.x, axis)])


def _with_gates(step: FieldStep, found: list[Extent], gates: list[list[Extent] | None]) -> list[Extent] | None:
    """What is seen, gates too where they count; None where one of them cannot be followed."""
    if not step.gates:
        return found
    known = [gate for gate in gates if gate is not None]
    return [*found, *(seen for gate in known for seen in gate)] if len(known) == len(gates) else None


@_rule("LRN")
def _local_response(step: FieldStep) -> list[Extent] | None:
    """Position by position; along the channels, axis 1, `size` neighbours."""
    if step.axis != 1:
        return [step.same(step.x)]
    size = int(step.attribute("size", 1))
    return [Extent(step.x, 1, (step.first - (size - 1) // 2, step.last + size // 2))]


@_rule(*names(Family.CONVOLUTION | Family.POOLING))
def _window(step: FieldStep) -> list[Extent] | None:
    """What lies under the window, padding included (`onnxviz.model.graph.windows`)."""
    place = step.axis - 2
    if place < 0:
        return []
    kernel = kernel_of(step.node, step.sizes)
    window = Window.of(step.node, kernel, step.sizes(step.x)[2:]) if kernel is not None else None
    form = convolution_form(step.node)
    if window is None:
        return None
    looks = window.reached_from if form is not None and form.transposed else window.sees
    return [Extent(step.x, step.axis, looks(place, step.first, step.last))]


@_rule(*names(Family.GLOBAL_POOLING))
def _global(step: FieldStep) -> list[Extent] | None:
    """The whole of the axis; a channel, of which no position is asked, sees all positions."""
    axes = [step.axis] if step.axis >= 2 else range(2, len(step.sizes(step.x)))
    return [step.all_of(step.x, axis) for axis in axes]


@_rule("InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization", "LpNormalization")
def _statistics(step: FieldStep) -> list[Extent] | None:
    """Each position sees itself, and the others only through what is the same for all."""
    return [step.all_of(step.x, step.axis) if step.gates else step.same(step.x)]


@_rule("LayerNormalization", "RMSNormalization", "Softmax", "LogSoftmax", "Hardmax")
def _along_axes(step: FieldStep) -> list[Extent] | None:
    rank = len(step.sizes(step.output))
    start = step.attribute("axis", -1) % rank
    inside = step.axis >= start if "Norm" in step.node.op_type else step.axis == start
    soft = not step.gates and "Norm" in step.node.op_type
    return [step.all_of(step.x, step.axis) if inside and not soft else step.same(step.x)]


@_rule(families=Family.REDUCTION)
def _reduced(step: FieldStep) -> list[Extent] | None:
    rank = len(step.sizes(step.x))
    given = step.constant(1)
    axes = step.attribute("axes", None) if given is None else given.reshape(-1).tolist()
    if len(step.node.input) > 1 and step.node.input[1] and given is None:
        return None
    if not axes:
        axes = [] if step.attribute("noop_with_empty_axes", 0) else list(range(rank))
    reduced = {int(axis) % rank for axis in axes}
    found = [step.all_of(step.x, axis) for axis in reduced]
    if step.attribute("keepdims", 1):
        own = step.axis
    else:
        own = [axis for axis in range(rank) if axis not in reduced][step.axis]
    return found if own in reduced else [*found, step.same(step.x, own)]


@_rule("Concat")
def _joined(step: FieldStep) -> list[Extent] | None:
    rank = len(step.sizes(step.output))
    if step.attribute("axis", 0) % rank != step.axis:
        return [step.same(name) for name in step.changing]
    found, start = [], 0
    for name in step.node.input:
        size = step.sizes(name)[step.axis]
        first, last = max(step.first - start, 0), min(step.last - start, size - 1)
        found += [Extent(name, step.axis, (first, last))] if first <= last else []
        start += size
    return found


@_rule("Split")
def _parted(step: FieldStep) -> list[Extent] | None:
    rank = len(step.sizes(step.x))
    if step.attribute("axis", 0) % rank != step.axis:
        return [step.same(step.x)]
    start = 0
    for name in step.node.output:
        if name == step.output:
            break
        start += step.sizes(name)[step.axis]
    return [Extent(step.x, step.axis, (step.first + start, step.last + start))]


@_rule("Slice")
def _sliced(step: FieldStep) -> list[Extent] | None:
    rank, size = len(step.sizes(step.x)), step.sizes(step.x)[step.axis]
    starts, axes, steps = step.constant(1), step.constant(3), step.constant(4)
    if starts is None or (axes is None and len(step.node.input) > 3 and step.node.input[3]):
        return None
    which = list(range(starts.size)) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
    if step.axis not in which:
        return [step.same(step.x)]
    place = which.index(step.axis)
    stride = 1 if steps is None else int(steps.reshape(-1)[place])
    start = int(starts.reshape(-1)[place])
    start = min(max(start + size if start < 0 else start, 0), size - 1 if stride < 0 else size)
    ends = start + stride * step.first, start + stride * step.last
    return [Extent(step.x, step.axis, (min(ends), max(ends)))]


@_rule("Pad")
def _padded(step: FieldStep) -> list[Extent] | None:
    rank, size = len(step.sizes(step.x)), step.sizes(step.x)[step.axis]
    given, axes = step.constant(1), step.constant(3)
    pads = step.attribute("pads", None) if given is None else given.reshape(-1).tolist()
    if pads is None:
        return None
    which = list(range(rank)) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
    begin = int(pads[which.index(step.axis)]) if step.axis in which else 0
    first, last = step.first - begin, step.last - begin
    mode = step.attribute("mode", "constant")
    if mode == "wrap" and (first < 0 or last >= size):
        return [step.all_of(step.x, step.axis)]
    spans = [(max(first, 0), min(last, size - 1))] if mode != "constant" else [(first, last)]
    if mode == "edge":
        spans = [(min(max(first, 0), size - 1), min(max(last, 0), size - 1))]
    if mode == "reflect":  # what lies beyond an end is as far inside of it
        end = size - 1
        spans += [(max(-last, 1), -first)] if first < 0 else []
        spans += [(2 * end - last, min(2 * end - first, end - 1))] if last > end else []
    return [Extent(step.x, step.axis, span) for span in spans if span[0] <= span[1]]


@_rule("Transpose")
def _transposition(step: FieldStep) -> list[Extent] | None:
    rank = len(step.sizes(step.x))
    return [step.same(step.x, int(step.attribute("perm", list(range(rank))[::-1])[step.axis]))]


@_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshaped(step: FieldStep) -> list[Extent] | None:
    """An axis goes on where as many elements stand before it in both shapes, and it keeps its size."""
    before, after = step.sizes(step.x), step.sizes(step.output)
    wanted = math.prod(after[: step.axis])
    for axis, size in enumerate(before):
        if size == after[step.axis] and math.prod(before[:axis]) == wanted:
            return [step.same(step.x, axis)]
    ungrouped = None if step.gates else before_groups(step.prepared, step.node)
    return None if ungrouped is None else [step.same(ungrouped)]


@_rule("DepthToSpace", "SpaceToDepth")
def _blocks(step: FieldStep) -> list[Extent] | None:
    block = int(step.attribute("blocksize", 1)) if step.axis >= 2 else 1
    if step.node.op_type == "DepthToSpace":
        return [Extent(step.x, step.axis, (step.first // block, step.last // block))]
    return [Extent(step.x, step.axis, (step.first * block, step.last * block + block - 1))]


@_rule("MatMul")
def _product(step: FieldStep) -> list[Extent] | None:
    """Rows of the first, columns of the second; what is summed over is seen whole."""
    rank, found = len(step.sizes(step.output)), []
    for place, name in enumerate(step.node.input):
        if name not in step.changing:
            continue
        own = step.sizes(name)
        summed = len(own) - 1 if place == 0 or len(own) == 1 else len(own) - 2
        found.append(step.all_of(name, summed))
        axis = step.axis - (rank - len(own))
        if axis >= 0 and axis != summed and own[axis] > 1:
            found.append(step.same(name, axis))
    return found


@_rule("Gather")
def _picked(step: FieldStep) -> list[Extent] | None:
    rank = len(step.sizes(step.x))
    axis = step.attribute("axis", 0) % rank
    indices = step.constant(1)
    if indices is None:
        return None
    wide = indices.ndim
    if not axis <= step.axis < axis + wide:
        return [step.same(step.x, step.axis if step.axis < axis else step.axis - wide + 1)]
    if wide != 1:
        return [step.all_of(step.x, axis)]
    chosen = indices[step.first : step.last + 1] % step.sizes(step.x)[axis]
    return [Extent(step.x, axis, (int(chosen.min()), int(chosen.max())))]


@_rule("Resize")
def _resized(step: FieldStep) -> list[Extent] | None:
    """The coordinate transformations of the ONNX Resize specification."""
    size, count = step.sizes(step.x)[step.axis], step.sizes(step.output)[step.axis]
    given = step.constant(2)
    which = step.attribute("axes", None) or list(range(len(step.sizes(step.x))))
    scales = None if given is None or given.size == 0 else given.reshape(-1).tolist()
    moved = step.attribute("coordinate_transformation_mode", "half_pixel")
    if moved == "tf_crop_and_resize":
        return None
    scale = float(scales[which.index(step.axis)]) if scales and step.axis in which else count / size
    if scale == 1 and size == count:
        return [step.same(step.x)]
    low, high = (source_coordinate(moved, index, scale, size, count) for index in (step.first, step.last))
    mode = step.attribute("mode", "nearest")
    wide = 1 / scale if step.attribute("antialias", 0) and scale < 1 else 1.0
    if mode == "nearest":
        rounding = step.attribute("nearest_mode", "round_prefer_floor")
        span = nearest_sample(rounding, low), nearest_sample(rounding, high)
    elif wide > 1:
        reach = wide * (1 if mode == "linear" else 2)
        span = math.floor(low - reach) + 1, math.ceil(high + reach) - 1
    else:
        reach = 0 if mode == "linear" else 1
        span = math.floor(low) - reach, math.ceil(high) + reach
    return [Extent(step.x, step.axis, (max(span[0], 0), min(span[1], size - 1)))]
