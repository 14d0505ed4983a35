"""Conv and ConvTranspose, with respect to their input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxviz.gradients.builder import Value
from onnxviz.gradients.rules.windows import Window, flip, slide_back, window
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule
from onnxviz.weights import frozen

# Channels that onnxruntime's convolutions work on at once: fewer outputs cost as many, unlike in a ConvTranspose.
BLOCK = 16


@rule("Conv")
def conv(step: Step) -> Value:
    """x̄ = g slid back over W: ConvTranspose(g, W), or Conv(g, flipped W) where the stride is 1 and that is faster.

    Source: Dumoulin & Visin 2016, chapter 4; ONNX Conv and ConvTranspose specifications.
    """
    weight = step.input(1)
    group = step.attribute("group", 1)
    kernel = step.sizes(weight, range(2, step.rank(weight)))

    def flipped() -> Value | None:
        stored = step.stored(1)
        if stored is None or (group == 1 and stored.shape[1] < BLOCK):
            return None
        if not step.builder.may_copy(math.prod(stored.shape) * np.dtype(stored.dtype).itemsize):
            return None
        return step.builder.later(weight.dtype, lambda: frozen(flip(stored.array, group)), f"flipped/{weight.name}")

    return slide_back(step, step.g, window(step, kernel), group, weight, flipped)


@rule("ConvTranspose")
def conv_transpose(step: Step) -> Value:
    """x̄ = Conv(g, W) with the forward's pads, the end pad being (X − 1)·s + extent − O − p_begin.

    The output's size O absorbs `output_padding` and `output_shape`. Source: ONNX ConvTranspose specification.
    """
    weight = step.input(1)
    kernel = step.sizes(weight, range(2, step.rank(weight)))
    found, end = _transposed_window(step, kernel)
    g = step.g
    if min(end) < 0:  # the output reaches beyond what any input touches
        axes = [axis for axis, pad in enumerate(end) if pad < 0]
        g = g.slice([0] * len(axes), [end[axis] for axis in axes], [axis + 2 for axis in axes])
    return g.op(
        "Conv",
        weight,
        strides=list(found.strides),
        dilations=list(found.dilations),
        group=step.attribute("group", 1),
        pads=[*found.begin, *(max(pad, 0) for pad in end)],
        kernel_shape=kernel,
    )


def _transposed_window(step: Step, kernel: Sequence[int]) -> tuple[Window, list[int]]:
    """The window that a ConvTranspose slides back, and its end pads, negative where the output reaches further."""
    rank = len(kernel)
    strides = tuple(step.attribute("strides", [1] * rank))
    dilations = tuple(step.attribute("dilations", [1] * rank))
    pads = step.attribute("pads", [0] * (2 * rank))
    extra = step.attribute("output_padding", [0] * rank)
    auto = step.attribute("auto_pad", "NOTSET")
    found = Window(tuple(kernel), strides, dilations, tuple(pads[:rank]), tuple(pads[rank:]))
    if auto == "VALID":
        found = Window(tuple(kernel), strides, dilations, (0,) * rank, (0,) * rank)
    if auto.startswith("SAME") or "output_shape" in step:
        inputs, outputs = (step.sizes(value, range(2, rank + 2)) for value in (step.x, step.y))
        reach = [(size - 1) * s + e for size, s, e in zip(inputs, strides, found.extents, strict=True)]
        totals = [max(r + more - out, 0) for r, more, out in zip(reach, extra, outputs, strict=True)]
        begin = tuple(t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in totals)
        end = [r - out - pad for r, out, pad in zip(reach, outputs, begin, strict=True)]
        return Window(tuple(kernel), strides, dilations, begin, begin), end
    return found, [pad - more for pad, more in zip(found.end, extra, strict=True)]
