"""The adjoint of sliding a window: what convolutions and poolings share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.model.graph.windows import Window
from onnxviz.passes.correct_shapes import has_surplus


def window(step: Step, kernel: Sequence[int]) -> Window:
    """The window of a Conv or pooling node."""
    windows = geometry(step, kernel)
    if has_surplus(step.node, step.dims(step.x)):
        step.refuse("attribute-unsupported", "with ceil_mode, a last window in the padding is not supported")
    if min(windows.pads, default=0) < 0:
        step.refuse("attribute-unsupported", f"negative pads {windows.pads} are not supported")
    return windows


def geometry(step: Step, kernel: Sequence[int]) -> Window:
    """The window of a convolution, transposed or not, or pooling node."""
    axes = range(2, len(kernel) + 2)
    windows = Window.of(step.node, kernel, [step.dims(step.x)[axis] for axis in axes])
    if windows is None:
        step.sizes(step.x, axes)  # refuses where one is open
        reason = "its strides, dilations and pads do not fit its kernel, or onnxruntime does not pad as they say"
        step.refuse("attribute-unsupported", reason)
    return windows


def slide_back(
    step: Step, g: Value, windows: Window, group: int, weight: Value, flipped: Callable[[], Value | None]
) -> Value:
    """The adjoint of sliding `weight` over the node's first input.

    With stride 1 it is a convolution with the flipped weight, padded by (extent − 1 − pad), which onnxruntime runs
    faster than the general form, a ConvTranspose; its own `output_shape` would move the pads (Dumoulin & Visin 2016,
    "A guide to convolution arithmetic", chapter 4). A larger stride is one of 1 over g with zeros between its samples:
    also faster, where each channel has a kernel of its own.

    Args:
        step: the node.
        g: gradient with respect to its output, (N, O, spatial…).
        windows: the window.
        group: number of groups.
        weight: (O, I/group, spatial…).
        flipped: gives the weight as (I, O/group, spatial…) with its spatial axes reversed, None to do without.
    """
    rank = len(windows.kernel)
    rests = (0,) * rank
    outputs: list[int] = []
    strided = any(stride > 1 for stride in windows.strides)
    if strided or step.attribute("ceil_mode", 0):
        inputs, outputs = (step.sizes(value, range(2, rank + 2)) for value in (step.x, step.y))
        windows, rests = windows.covering(inputs, outputs)
    depthwise = group > 1 and step.dims(step.x)[1] == group and g.element_type == TensorProto.FLOAT
    if not strided or depthwise:
        turned = flipped()
        if turned is not None:
            if strided:
                g = _with_zeros_between(step, g, outputs, windows.strides)
            begin = [extent - 1 - pad for extent, pad in zip(windows.extents, windows.begin, strict=True)]
            ends = zip(windows.extents, windows.end, rests, windows.strides, strict=True)
            end = [extent - 1 - pad + rest - (stride - 1) for extent, pad, rest, stride in ends]
            pads = [max(pad, 0) for pad in (*begin, *end)]
            x = g.op("Conv", turned, dilations=list(windows.dilations), group=group, pads=pads)
            return _cropped(x, [max(-pad, 0) for pad in begin], [max(-pad, 0) for pad in end])
    return g.op(
        "ConvTranspose",
        weight,
        strides=list(windows.strides),
        dilations=list(windows.dilations),
        group=group,
        pads=windows.pads,
        output_padding=list(rests),
        kernel_shape=list(windows.kernel),
    )


def repeated(step: Step, value: Value, times: Sequence[int]) -> Value:
    """(N, C, Y…) as (N, C, Y·times…): each sample again and again along every axis; float32 only."""
    scales = step.builder.constant(np.asarray([1, 1, *times], np.float32))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return value.op("Resize", None, scales, **nearest)


def _with_zeros_between(step: Step, g: Value, sizes: Sequence[int], strides: Sequence[int]) -> Value:
    """(N, C, Y…) as (N, C, Y·s…): each sample followed by s − 1 zeros along every axis."""
    there = np.zeros([size * stride for size, stride in zip(sizes, strides, strict=True)], g.dtype)
    there[tuple(slice(None, None, stride) for stride in strides)] = 1
    return repeated(step, g, strides) * step.builder.constant(there[None, None])


def _cropped(value: Value, begin: Sequence[int], end: Sequence[int]) -> Value:
    """Without the first and last samples along the spatial axes: a 1x1 window with padding sees none of them."""
    if not any((*begin, *end)):
        return value
    axes = [axis for axis in range(len(begin)) if begin[axis] or end[axis]]
    ends = [-end[axis] if end[axis] else np.iinfo(np.int64).max for axis in axes]
    return value.slice([begin[axis] for axis in axes], ends, [axis + 2 for axis in axes])


def flip(weight: NDArray[Any], group: int) -> NDArray[Any]:
    """(O, I/group, spatial…) as (I, O/group, spatial…), spatial axes reversed."""
    outputs, inputs, *kernel = weight.shape
    grouped = weight.reshape(group, outputs // group, inputs, *kernel).swapaxes(1, 2)
    backwards = (slice(None, None, -1),) * len(kernel)
    return np.ascontiguousarray(grouped.reshape(group * inputs, outputs // group, *kernel)[:, :, *backwards])
