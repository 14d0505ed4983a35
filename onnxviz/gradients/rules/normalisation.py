"""Normalisations, with respect to their input; scales and offsets are weights.

With x̂ = (x − μ)·r, r = 1/√(σ² + ε) and u = g·scale, all over the same axes:
x̄ = r·(u − mean(u) − x̂·mean(u·x̂)) (Ioffe & Szegedy 2015, section 3; Ba, Kiros & Hinton 2016).
"""

from __future__ import annotations

from collections.abc import Sequence

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule


def _through_statistics(x: Value, u: Value, axes: Sequence[int], epsilon: float) -> Value:
    """x̄ for u, the gradient with respect to x̂."""
    centred = x - x.mean(axes)
    rate = 1.0 / ((centred * centred).mean(axes) + epsilon).op("Sqrt")
    normal = centred * rate
    return rate * (u - u.mean(axes) - normal * (u * normal).mean(axes))


def _per_channel(step: Step, index: int) -> Value:
    """The input at `index`, one number a channel, with the shape (C, 1, …) that fits the first input."""
    return step.input(index).reshape([-1] + [1] * (step.rank(step.x) - 2))


@rule("BatchNormalization")
def batch_normalization(step: Step) -> Value:
    """x̄ = g·scale / √(var + ε) for each channel: outside training the statistics are constants."""
    if step.attribute("training_mode", 0):
        step.refuse(
            "training-mode",
            "it normalises by the batch (training_mode=1)",
            "export the model for inference (model.eval())",
        )
    rate = step.input(1) / (step.input(4) + step.attribute("epsilon", 1e-5)).op("Sqrt")
    return step.g * rate.reshape([-1] + [1] * (step.rank(step.x) - 2))


@rule("LayerNormalization")
def layer_normalization(step: Step) -> Value:
    """As above over the axes from `axis` on."""
    rank = step.rank(step.x)
    axes = list(range(step.attribute("axis", -1) % rank, rank))
    return _through_statistics(step.x, step.g * step.input(1), axes, step.attribute("epsilon", 1e-5))


@rule("RMSNormalization")
def rms_normalization(step: Step) -> Value:
    """y = x·r·scale, r = 1/√(mean(x²) + ε): x̄ = r·(u − x̂·mean(u·x̂)) (Zhang & Sennrich 2019)."""
    rank = step.rank(step.x)
    axes = list(range(step.attribute("axis", -1) % rank, rank))
    rate = 1.0 / ((step.x * step.x).mean(axes) + step.attribute("epsilon", 1e-5)).op("Sqrt")
    normal, u = step.x * rate, step.g * step.input(1)
    return rate * (u - normal * (u * normal).mean(axes))


@rule("InstanceNormalization")
def instance_normalization(step: Step) -> Value:
    """As above over the spatial axes."""
    u = step.g * _per_channel(step, 1)
    return _through_statistics(step.x, u, step.spatial(step.x), step.attribute("epsilon", 1e-5))


@rule("GroupNormalization")
def group_normalization(step: Step) -> Value:
    """As above over the channels of a group and the spatial axes (Wu & He 2018)."""
    groups = step.attribute("num_groups", 1)
    (scales,) = step.sizes(step.input(1), [0])
    (channels,) = step.sizes(step.x, [1])
    grouped = [0, groups, -1]
    if scales == channels:  # since opset 21 a scale a channel; before, one a group
        u = (step.g * _per_channel(step, 1)).reshape(grouped)
    else:
        u = step.g.reshape(grouped) * step.input(1).reshape([groups, 1])
    x = _through_statistics(step.x.reshape(grouped), u, [2], step.attribute("epsilon", 1e-5))
    return x.reshape(step.shape_of(step.x))


@rule("MeanVarianceNormalization")
def mean_variance_normalization(step: Step) -> Value:
    """As above over `axes`, without scale."""
    return _through_statistics(step.x, step.g, step.attribute("axes", [0, 2, 3]), 0.0)


@rule("LpNormalization")
def lp_normalization(step: Step) -> Value:
    """y = x / n: x̄ = (g − y·Σ g·y) / n for p = 2, (g − sign(x)·Σ g·y) / n for p = 1; y = 0 where n = 0."""
    axis = [step.attribute("axis", -1)]
    order = step.attribute("p", 2)
    norm = step.x.op(f"ReduceL{order}", step.builder.integers(axis), keepdims=1)
    along = step.y if order == 2 else step.x.op("Sign")
    return (step.g - along * (step.g * step.y).sum(axis)) / (norm + norm.equals(0.0))


@rule("LRN")
def local_response_normalization(step: Step) -> Value:
    """With D = bias + α/n·Σ x² over n channels around each: x̄ = g·D^−β − 2αβ/n · x · Σ g·x·D^(−β−1).

    The second sum is over the channels whose window holds this one (Krizhevsky et al. 2012, section 3.3). Both are
    averages over a window of n×1 in (N, 1, C, positions), zeros outside.
    """
    size = step.attribute("size", 1)
    alpha, beta = step.attribute("alpha", 1e-4), step.attribute("beta", 0.75)
    before, behind = (size - 1) // 2, size // 2

    def mean_around(value: Value, before: int, behind: int) -> Value:
        flat = value.reshape([0, 1, *step.sizes(step.x, [1]), -1])
        pads = [before, 0, behind, 0]
        mean = flat.op("AveragePool", kernel_shape=[size, 1], pads=pads, count_include_pad=1)
        return mean.reshape(step.shape_of(step.x))

    d = mean_around(step.x * step.x, before, behind) * alpha + step.attribute("bias", 1.0)
    scaled = step.g * d.op("Pow", -beta)
    return scaled - step.x * (mean_around(scaled * step.x / d, behind, before) * (2 * alpha * beta))
