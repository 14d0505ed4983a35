"""Sliding windows of convolutions and poolings: kernel, strides, dilations and padding, `auto_pad` worked out.

The only place that reads `auto_pad`. Axes are the spatial ones, those behind batch and channels.

Sources: the ONNX specifications of Conv, ConvTranspose, MaxPool, AveragePool and LpPool; Dumoulin & Visin 2016, "A
guide to convolution arithmetic", arXiv 1603.07285.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onnx import AttributeProto, NodeProto, helper

from onnxviz.model.graph.operators import Family, belongs, convolution_form
from onnxviz.model.graph.scopes import node_attributes

_SAME = ("SAME_UPPER", "SAME_LOWER")


def auto_pad(node: NodeProto) -> str:
    """The node's `auto_pad`, whatever it says; "NOTSET" where it has none."""
    given = node_attributes(node).get("auto_pad")
    return (given.s.decode("utf-8", "replace") if given is not None else "") or "NOTSET"


def kernel_of(node: NodeProto, shape_of: Callable[[str], Sequence[object] | None]) -> tuple[int, ...] | None:
    """The spatial size of the node's window; None where it is not known.

    Args:
        node: a convolution or pooling.
        shape_of: the shape of a tensor, None if not even its rank is known; asked for the weight, where the node does
            not state its kernel.
    """
    given = node_attributes(node).get("kernel_shape")
    if given is not None:
        return tuple(given.ints)
    form = convolution_form(node)
    shape = shape_of(node.input[form.weight]) if form is not None and form.weight < len(node.input) else None
    sizes = tuple(size for size in (shape or ())[2:] if isinstance(size, int))
    return sizes if sizes and shape is not None and len(sizes) == len(shape) - 2 else None


def explicit_pads(node: NodeProto, rank: int) -> tuple[int, ...] | None:
    """The pads that depend on no size: begin of each of `rank` axes, then end of each.

    Returns:
        None where `auto_pad` or `output_shape` makes them depend on sizes, or the node lists another number of pads.
    """
    attributes = node_attributes(node)
    if _states_output(node, attributes) or auto_pad(node) not in ("NOTSET", "VALID"):
        return None
    if auto_pad(node) == "VALID" or "pads" not in attributes:
        return (0,) * (2 * rank)
    pads = tuple(attributes["pads"].ints)
    return pads if len(pads) == 2 * rank else None


def depends_on_sizes(node: NodeProto) -> bool:
    """Whether the node leaves its pads to be worked out from sizes: SAME, or the size of its output stated."""
    return auto_pad(node) in _SAME or _states_output(node, node_attributes(node))


@dataclass(frozen=True)
class Window:
    """A window of `kernel` taps slid over an input; one entry per spatial axis.

    Attributes:
        kernel: taps.
        strides, dilations: in samples.
        begin, end: padding. A transposed window takes as many samples away.
        rest: of a transposed window: samples behind the last that any input reaches (`output_padding`, or what
            `output_shape` asks beyond); else 0.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    rest: tuple[int, ...] = ()

    @classmethod
    def of(cls, node: NodeProto, kernel: Sequence[int], inputs: Sequence[object] | None = None) -> Window | None:
        """The window of a convolution or pooling node.

        With SAME there are as many outputs as input / stride, rounded up; a transposed one gives input · stride. The
        odd sample of padding is at the end for SAME_UPPER, else at the begin. onnxruntime 1.32 leaves the dilation out
        of account in SAME, and gives fewer outputs for it; `onnxviz convert` therefore writes the pads out where it
        can.

        Args:
            node: a convolution or pooling.
            kernel: its spatial size, as `kernel_of` gives it.
            inputs: the spatial sizes of its first input; anything but an int leaves one open, None all of them.

        Returns:
            None where padding depends on a size that is open, where the attributes contradict each other, and where
            onnxruntime does not pad as they say.
        """
        rank = len(kernel)
        attributes = node_attributes(node)
        strides, dilations, rest = (
            _listed(attributes, key, rank, default)
            for key, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
        )
        if strides is None or dilations is None or rest is None or min((*strides, *dilations), default=1) < 1:
            return None
        found = cls(tuple(kernel), strides, dilations, (0,) * rank, (0,) * rank, rest)
        pads = explicit_pads(node, rank)
        if pads is not None:
            return replace(found, begin=pads[:rank], end=pads[rank:])
        if not depends_on_sizes(node):
            return None
        sizes = list(inputs) if inputs is not None else [None] * rank
        if len(sizes) != rank:
            return None
        form = convolution_form(node)
        return found._transposed(node, sizes) if form is not None and form.transposed else found._same(node, sizes)

    def _same(self, node: NodeProto, sizes: Sequence[object]) -> Window | None:
        totals = []
        for size, extent, stride in zip(sizes, self.extents, self.strides, strict=True):
            if stride == 1:
                totals.append(extent - 1)
            elif isinstance(size, int):
                totals.append((-(-size // stride) - 1) * stride + extent - size)
            else:
                return None
        # Where the stride leaves samples out there is nothing to pad. The poolings of onnxruntime 1.32 take such a
        # number halved all the same, and so begin behind the first sample: that is not the specification's window.
        if min(totals, default=0) < -1 and belongs(node, Family.POOLING):
            return None
        return self._halved(node, [max(total, 0) for total in totals])

    def _transposed(self, node: NodeProto, sizes: Sequence[object]) -> Window | None:
        """Pads of a ConvTranspose that states its output's size, or SAME (ONNX ConvTranspose specification)."""
        known = [size for size in sizes if isinstance(size, int)]
        given = node_attributes(node).get("output_shape")
        wanted = list(given.ints)[-len(sizes) :] if given is not None else []
        if len(known) < len(sizes) or (given is not None and len(wanted) < len(sizes)):
            return None
        wanted = wanted or [size * stride for size, stride in zip(known, self.strides, strict=True)]
        reach = [s * (size - 1) + extent for s, size, extent in zip(self.strides, known, self.extents, strict=True)]
        totals = [max(r + more - out, 0) for r, more, out in zip(reach, self.rest, wanted, strict=True)]
        rest = tuple(out - r + total for r, out, total in zip(reach, wanted, totals, strict=True))
        return replace(self._halved(node, totals), rest=rest)

    def _halved(self, node: NodeProto, totals: Sequence[int]) -> Window:
        small, large = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        begin, end = (small, large) if auto_pad(node) == "SAME_UPPER" else (large, small)
        return replace(self, begin=begin, end=end)

    @property
    def extents(self) -> tuple[int, ...]:
        """How far the window reaches, (k − 1)·d + 1."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def pads(self) -> list[int]:
        """As ONNX lists them: the begins, then the ends."""
        return [*self.begin, *self.end]

    @property
    def disjoint(self) -> bool:
        """Whether no sample is in two windows."""
        return all(extent <= stride for extent, stride in zip(self.extents, self.strides, strict=True))

    def keeps_size(self, axis: int) -> bool:
        """Whether there are as many outputs along a spatial axis as inputs, whatever their number."""
        return self.strides[axis] == 1 and self.begin[axis] + self.end[axis] == self.extents[axis] - 1

    def sees(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """First and last sample along a spatial axis that outputs `first` to `last` see; padding included.

        Output i sees i·s − p … i·s − p + (k − 1)·d.
        """
        stride, begin = self.strides[axis], self.begin[axis]
        return first * stride - begin, last * stride - begin + self.extents[axis] - 1

    def reached_from(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """First and last sample that reach outputs `first` to `last` of a transposed window; beyond the ends too.

        Sample i reaches i·s − p … i·s − p + (k − 1)·d; this is that, read backwards.
        """
        stride, begin, reach = self.strides[axis], self.begin[axis], self.extents[axis] - 1
        return -((reach - first - begin) // stride), (last + begin) // stride

    def covering(self, inputs: Sequence[int], outputs: Sequence[int]) -> tuple[Window, tuple[int, ...]]:
        """The window with its end padding grown to hold all outputs, and the samples that no window covers.

        With ceil_mode the last window may hang over the padded input; without it, up to stride − 1 samples at the
        end may be left: r = X + p_begin + p_end − extent − (Y − 1)·s.
        """
        ends, rests = [], []
        for size, count, extent, stride, begin, end in zip(
            inputs, outputs, self.extents, self.strides, self.begin, self.end, strict=True
        ):
            needed = (count - 1) * stride + extent - size - begin
            ends.append(max(end, needed))
            rests.append(max(end, needed) - needed)
        return replace(self, end=tuple(ends)), tuple(rests)


def with_pads(node: NodeProto, window: Window) -> NodeProto:
    """A copy of the node that states the window's pads, in the place of `auto_pad`."""
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.attribute.extend(one for one in node.attribute if one.name not in ("auto_pad", "pads"))
    copy.attribute.append(helper.make_attribute("pads", window.pads))
    return copy


def _states_output(node: NodeProto, attributes: dict[str, AttributeProto]) -> bool:
    """Whether a transposed convolution states the size of its output, from which its pads follow."""
    form = convolution_form(node)
    return form is not None and form.transposed and "output_shape" in attributes


def _listed(attributes: dict[str, AttributeProto], key: str, rank: int, default: int) -> tuple[int, ...] | None:
    """A list with an entry for each axis, None where it has another length."""
    values = tuple(attributes[key].ints) if key in attributes else (default,) * rank
    return values if len(values) == rank else None
