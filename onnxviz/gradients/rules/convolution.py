"""Conv and ConvTranspose, with respect to their input."""

from __future__ import annotations

import math

import numpy as np

from onnxviz.gradients.builder import Value
from onnxviz.gradients.rules.windows import flip, geometry, slide_back, window
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule
from onnxviz.model.graph.tensors import frozen

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
    found = geometry(step, kernel)
    # Negative where the output reaches further than the padding.
    end = [pad - rest for pad, rest in zip(found.end, found.rest, strict=True)]
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
