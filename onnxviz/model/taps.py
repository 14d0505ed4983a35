"""Taps: the tensors of a layer that can be captured, its operator's output and its activation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxviz.messages import printable
from onnxviz.model.activations import Passage, Steps, label
from onnxviz.model.graph.constants import Constants, dequantize
from onnxviz.model.graph.islands import Island, Shore
from onnxviz.model.graph.operators import DENSE, Family, belongs, convolution_form, key_of, output_scale
from onnxviz.model.graph.reordering import Arrangements, Reordering
from onnxviz.model.graph.scopes import Scope, attribute, operator
from onnxviz.model.graph.settled import Settled

OWN_OUTPUT = "the operator's own output"
_MAX_MOVES = 16


@dataclass(frozen=True)
class Quantization:
    """How the numbers of a quantised tensor are read: (value − zero point) · scale, names seen from its scope."""

    scale: str
    zero_point: str

    @classmethod
    def of(cls, node: NodeProto) -> Quantization:
        """How a DequantizeLinear reads its input."""
        return cls(node.input[1], node.input[2] if len(node.input) > 2 else "")


@dataclass(frozen=True)
class ActivationTap:
    """The output of a layer as its source framework has it.

    Attributes:
        tensor: its name; the operator's own output where no activation follows or where it cannot be told.
        through: what lies between the operator's output and it, in order: operators, or several joined by `·` that
            together are a normalisation or an activation.
        reordered: where the activation is there, but with its axes in another order: its name, and which axis of the
            operator's output each of its axes is, negative for a new one of size 1.
        ends: where no activation is reached, why, in a few words; else "".
        scaled: where no activation is reached, the end of the constant factors, offsets and normalisations that follow
            all the same; the operator's own output where none do.
    """

    tensor: str
    through: tuple[str, ...] = ()
    ends: str = ""
    reordered: tuple[str, tuple[int, ...]] | None = None
    scaled: str = ""

    @property
    def activated(self) -> bool:
        """Whether it is an activation's output, not the operator's own or that with a dense layer's bias."""
        return bool(self.through) and not self.ends

    def __str__(self) -> str:
        if self.through:
            return f"after {', '.join(self.through)}"
        return f"{OWN_OUTPUT}: {self.ends}" if self.ends else OWN_OUTPUT


FoundTaps = dict[tuple[str, str], ActivationTap]
"""Activation taps by the path of a layer's graph and the layer's first output."""


class ActivationTaps:
    """Finds the layers' activation taps.

    Follows an operator's output through normalisations (batch, instance, group, layer, local response, written as one
    node or in arithmetic) and constant Add, Mul … to the activation, while each link has one consumer; pairs of
    QuantizeLinear and DequantizeLinear on the way only round.

    Args:
        constants: finds weights, shapes and axes.
        found: taps of this graph that are known; those that are found are added.
    """

    def __init__(self, constants: Constants, found: FoundTaps | None = None) -> None:
        self.found: FoundTaps = {} if found is None else found
        self._constants = constants
        self._settled = Settled()
        self._steps: dict[str, Steps] = {}

    def find(self, scope: Scope, node: NodeProto) -> ActivationTap:
        """The activation tap of the layer that begins with `node`, in the graph `scope`.

        That of a convolution of any kind, and of a dense layer, a matrix product whose weight is constant; the bias
        that follows a product is the layer's, whether an activation follows or not. Other operators have their own
        output.
        """
        key = (scope.name, node.output[0])
        if key not in self.found:
            self.found[key] = self._found(scope, node)
        return self.found[key]

    def _found(self, scope: Scope, node: NodeProto) -> ActivationTap:
        if convolution_form(node) is not None:
            return self._followed(scope, node)
        filters = dense_filters(scope, node, self._constants)
        if filters is None:
            return ActivationTap(node.output[0])
        found = self._followed(scope, node)
        bias = None if found.activated else self._bias(scope, node, filters)
        return found if bias is None else replace(found, tensor=bias.output[0], through=(bias.op_type,))

    def _bias(self, scope: Scope, node: NodeProto, filters: int) -> NodeProto | None:
        """The Add of a number for each filter that alone reads what a dense layer's operator gives; None without."""
        add = scope.only_reader(node.output[0])
        if add is None or operator(add) != "Add":
            return None
        others = [self._constants.find(scope, name) for name in add.input if name != node.output[0]]
        shapes = [one.shape for one in others if one is not None]
        return add if shapes and shapes[0][-1:] == (math.prod(shapes[0]),) == (filters,) else None

    def _followed(self, scope: Scope, node: NodeProto) -> ActivationTap:
        start = tensor = node.output[0]
        steps = self._steps.get(scope.name)
        if steps is None:
            steps = self._steps[scope.name] = Steps(scope, self._constants, self._settled)
        axes = Arrangements(scope, self._constants, start, *self._rank_and_filters(scope, node))
        convolution = convolution_form(node) is not None
        passed: list[str] = []
        before: Island | None = None
        while True:
            island = steps.after(tensor)
            if isinstance(island, Shore):
                scaling = _dynamic_scale(node, island)
                if scaling is None:
                    return ActivationTap(start, ends=_ends(island, passed), scaled=_as_made(axes, tensor, start))
                axes.pass_through([scaling])
                tensor = scaling.output[0]
                continue
            quantize = island.nodes[0] if island.nodes[0].op_type == "QuantizeLinear" else None
            if quantize is not None:
                dequantize = _dequantize_alone(scope, quantize)
                if dequantize is None:
                    why = _behind(passed) + "its quantised values are read by several"
                    return ActivationTap(start, ends=why, scaled=_as_made(axes, tensor, start))
                axes.pass_through([quantize, dequantize])
                tensor = dequantize.output[0]
                if _saturates_at_zero(scope, quantize, self._constants):
                    return self._ended(steps, axes, start, tensor, [*passed, quantize.op_type])
                continue
            lies = axes.of(tensor)
            # The filters of a dense layer are its last axis, however many come before.
            filters = axes.channel_axes(tensor) if convolution else (-1,) if lies == Reordering() else ()
            kind = steps.kind(island, filters)
            axes.pass_through(island.nodes)
            then = axes.of(island.end)
            mixed = lies is None or (lies.reshaped and belongs(island.nodes[0], Family.SOFTMAX))
            if kind is Passage.OTHER or then is None or then.statistic or mixed:
                why = f"{_behind(passed)}{label(island) or 'another shape'} follows"
                return ActivationTap(start, ends=why, scaled=_as_made(axes, tensor, start))
            passed += filter(None, [label(island)])
            if kind is Passage.ACTIVATION:
                tensor, more = steps.whole(island, before)
                if tensor != island.end:
                    axes.place(tensor, then)
                return self._ended(steps, axes, start, tensor, [*passed, *more])
            before, tensor = island, island.end

    def _rank_and_filters(self, scope: Scope, node: NodeProto) -> tuple[int | None, int | None]:
        """Number of axes of a convolution's output, and size of its axis 1; None where they do not show."""
        form = convolution_form(node)
        weight = None
        if form is not None and form.weight < len(node.input):
            weight = self._constants.find(scope, node.input[form.weight])
        if form is None or weight is None or len(weight.shape) < 3:
            kernel = attribute(node, "kernel_shape")
            return None if kernel is None else len(kernel) + 2, None
        filters = weight.shape[1] * (attribute(node, "group") or 1) if form.transposed else weight.shape[0]
        return len(weight.shape), filters

    def _ended(self, steps: Steps, axes: Arrangements, start: str, tensor: str, through: list[str]) -> ActivationTap:
        """The activation's end, with the axes as the operator has them: perhaps a Transpose or two further on."""
        end = tensor
        while (lies := axes.of(end)) is None or not lies.as_made:
            island = steps.after(end)
            if isinstance(island, Shore) or steps.kind(island, ()) is not Passage.MOVE:
                return _elsewhere(start, tensor, axes, through)
            axes.pass_through(island.nodes)
            end = island.end
        return ActivationTap(end, tuple(through))


def dense_weight(node: NodeProto) -> tuple[str, bool]:
    """The tensor that a dense layer multiplies with, "" where it has none, and whether it is stored (O, I)."""
    form = DENSE.get(key_of(node))
    if form is None or form.weight >= len(node.input):
        return "", False
    return node.input[form.weight], bool(attribute(node, "transB"))


def dense_filters(scope: Scope, node: NodeProto, constants: Constants) -> int | None:
    """How many filters a dense layer has; None where the node is none: a product of other than a constant matrix."""
    name, turned = dense_weight(node)
    weight = constants.find(scope, name) if name else None
    if weight is None or len(weight.shape) != 2:
        return None
    return weight.shape[0] if turned else weight.shape[1]


def quantization(scope: Scope, tensor: str) -> Quantization | None:
    """How to read `tensor` if it is quantised: from the operator that makes it, or from the one that reads it."""
    node = scope.producers.get(tensor)
    seen = 0
    while node is not None and seen < _MAX_MOVES:
        stated = output_scale(node)
        if stated is not None:
            return Quantization(*stated) if stated[0] else None
        if not belongs(node, Family.MOVING) or belongs(node, Family.MERGING):
            break
        node = scope.producers.get(node.input[0])
        seen += 1
    for reader in scope.consumers.get(tensor, []):
        if reader.op_type == "DequantizeLinear" and reader.input[0] == tensor:
            return Quantization.of(reader)
    return None


def real_values(scope: Scope, constants: Constants, tensor: str, values: NDArray[Any]) -> NDArray[Any] | None:
    """A tensor's values as real numbers, dequantised where they are quantised; None for integers of unknown scale."""
    if values.dtype.kind not in "iu":
        return values
    found = quantization(scope, tensor)
    scale = constants.value(scope, found.scale) if found is not None else None
    if found is None or scale is None:
        return None
    return dequantize(values, scale, constants.value(scope, found.zero_point))


def _as_made(axes: Arrangements, tensor: str, start: str) -> str:
    """`tensor` where its axes are as the operator makes them, else the operator's own output."""
    lies = axes.of(tensor)
    return tensor if lies is not None and lies.as_made else start


def _elsewhere(start: str, tensor: str, axes: Arrangements, through: list[str]) -> ActivationTap:
    """An activation that is not (N, C, spatial…)."""
    lies = axes.of(tensor)
    order = lies.order if lies is not None and lies.channel_axis is not None else None
    ends = f"{', '.join(through)} gives '{printable(tensor)}', which is not (N, C, spatial…)"
    return ActivationTap(start, ends=ends, reordered=(tensor, order) if order is not None else None)


def _ends(shore: Shore, passed: list[str]) -> str:
    """Why the walk ends, in words."""
    if shore.output:
        why = "nothing of the graph follows"
    elif shore.joins is not None:
        why = f"{printable(shore.joins.op_type)} joins another branch"
    elif len(shore.readers) > 1:
        names = list(dict.fromkeys(printable(node.op_type) for node in shore.readers))
        why = f"read by {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
    else:
        why = f"{printable(shore.readers[0].op_type)} follows"
    return _behind(passed) + why


def _behind(passed: list[str]) -> str:
    return f"no activation behind {', '.join(passed)}: " if passed else ""


def _dynamic_scale(layer: NodeProto, shore: Shore) -> NodeProto | None:
    """The Mul behind a ConvInteger or MatMulInteger whose factor dynamic quantisation computes from the input."""
    joins = shore.joins
    sums = belongs(layer, Family.INTEGER) and output_scale(layer) is None
    scales = sums and joins is not None and joins.op_type == "Mul" and len(shore.readers) == 1
    return joins if scales else None


def _dequantize_alone(scope: Scope, quantize: NodeProto) -> NodeProto | None:
    """The DequantizeLinear behind a QuantizeLinear, None where another operator reads the quantised values."""
    reader = scope.only_reader(quantize.output[0])
    return reader if reader is not None and reader.op_type == "DequantizeLinear" else None


def _saturates_at_zero(scope: Scope, quantize: NodeProto, constants: Constants) -> bool:
    """Whether a QuantizeLinear acts as a ReLU: its zero point is the smallest number of the type.

    Quantisation tools remove a ReLU where the saturation already cuts at zero.
    """
    name = quantize.input[2] if len(quantize.input) > 2 else ""
    if not name:  # the default is uint8 with zero point 0
        return not any(a.name == "output_dtype" for a in quantize.attribute)
    zero = constants.value(scope, name)
    return zero is not None and zero.dtype.kind in "iu" and bool((zero == np.iinfo(zero.dtype).min).all())
