"""Activations. Masks are taken from the output where possible, so that onnxruntime still fuses Conv and Relu."""

from __future__ import annotations

import math

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule


@rule("Relu")
def relu(step: Step) -> Value:
    """x̄ = g where y > 0.

    Mode "guided": and where g > 0 (Springenberg et al. 2015, guided backpropagation); "deconv": where g > 0 only
    (Zeiler & Fergus 2014).
    """
    g = step.g
    if step.mode != "plain":
        step.steered = True
        g = g.op("Relu")
    if step.mode == "deconv":
        return g
    pooled = g.spread
    return pooled.spread(pooled.g * pooled.maxima.positive()) if pooled else g * step.y.positive()


@rule("LeakyRelu")
def leaky_relu(step: Step) -> Value:
    """x̄ = g where x > 0, else α·g."""
    alpha = step.attribute("alpha", 0.01)
    positive = (step.y if alpha >= 0 else step.x) > 0.0
    return step.g * (positive * (1.0 - alpha) + alpha)


@rule("PRelu", broadcasts=True)
def prelu(step: Step) -> list[Value]:
    """x̄ = g where x > 0, else slope·g; the slope's is g·x where x ≤ 0."""
    positive = step.x > 0.0
    negative = 1.0 - positive
    return [step.g * (positive + negative * step.input(1)), step.g * negative * step.x]


@rule("ThresholdedRelu")
def thresholded_relu(step: Step) -> Value:
    """x̄ = g where x > α."""
    return step.g * (step.x > step.attribute("alpha", 1.0))


@rule("Elu")
def elu(step: Step) -> Value:
    """x̄ = g where x > 0, else g·(y + α), since y = α(eˣ − 1)."""
    positive = step.x > 0.0
    return step.g * (positive + (1.0 - positive) * (step.y + step.attribute("alpha", 1.0)))


@rule("Selu")
def selu(step: Step) -> Value:
    """x̄ = γ·g where x > 0, else g·(y + γα), since y = γα(eˣ − 1)."""
    alpha = step.attribute("alpha", 1.67326319217681884765625)
    gamma = step.attribute("gamma", 1.05070102214813232421875)
    positive = step.x > 0.0
    return step.g * (positive * gamma + (1.0 - positive) * (step.y + gamma * alpha))


@rule("Celu")
def celu(step: Step) -> Value:
    """x̄ = g where x > 0, else g·(y/α + 1), since y = α(exp(x/α) − 1)."""
    positive = step.x > 0.0
    return step.g * (positive + (1.0 - positive) * (step.y / step.attribute("alpha", 1.0) + 1.0))


@rule("Sigmoid")
def sigmoid(step: Step) -> Value:
    """x̄ = g·y·(1 − y)."""
    return step.g * (step.y * (1.0 - step.y))


@rule("Tanh")
def tanh(step: Step) -> Value:
    """x̄ = g·(1 − y²)."""
    return step.g * (1.0 - step.y * step.y)


@rule("HardSigmoid")
def hard_sigmoid(step: Step) -> Value:
    """x̄ = α·g where 0 < y < 1."""
    inside = (step.y > 0.0) * (step.y < 1.0)
    return step.g * (inside * step.attribute("alpha", 0.2))


@rule("HardSwish")
def hard_swish(step: Step) -> Value:
    """y = x·max(0, min(1, x/6 + 1/2)): x̄ = 0 below −3, g above 3, else g·(x/3 + 1/2)."""
    above = step.x >= 3.0
    inside = (step.x > -3.0) - above
    return step.g * (inside * (step.x / 3.0 + 0.5) + above)


@rule("Softplus")
def softplus(step: Step) -> Value:
    """x̄ = g·sigmoid(x)."""
    return step.g * step.x.op("Sigmoid")


@rule("Softsign")
def softsign(step: Step) -> Value:
    """x̄ = g / (1 + |x|)²."""
    scale = 1.0 + step.x.op("Abs")
    return step.g / (scale * scale)


@rule("Mish")
def mish(step: Step) -> Value:
    """y = x·t, t = tanh(softplus x): x̄ = g·(t + x·(1 − t²)·sigmoid x)."""
    t = step.x.op("Softplus").op("Tanh")
    return step.g * (t + step.x * (1.0 - t * t) * step.x.op("Sigmoid"))


@rule("Swish")
def swish(step: Step) -> Value:
    """y = x·s, s = sigmoid(αx): x̄ = g·(s + αx·s·(1 − s))."""
    scaled = step.x * step.attribute("alpha", 1.0)
    s = scaled.op("Sigmoid")
    return step.g * (s + scaled * (s * (1.0 - s)))


@rule("Gelu")
def gelu(step: Step) -> Value:
    """x̄ = g·(Φ(x) + x·φ(x)), or the derivative of the tanh form (Hendrycks & Gimpel 2016)."""
    x = step.x
    if step.attribute("approximate", "none") == "tanh":
        k, c = math.sqrt(2 / math.pi), 0.044715
        square = x * x
        t = (x * (square * (k * c) + k)).op("Tanh")
        inner = square * (3 * k * c) + k
        return step.g * ((t + 1.0) * 0.5 + x * (1.0 - t * t) * inner * 0.5)
    phi = (x * x * -0.5).op("Exp") * (1 / math.sqrt(2 * math.pi))
    above = ((x * math.sqrt(0.5)).op("Erf") + 1.0) * 0.5
    return step.g * (above + x * phi)


@rule("Shrink")
def shrink(step: Step) -> Value:
    """x̄ = g where |x| > λ."""
    return step.g * (step.x.op("Abs") > step.attribute("lambd", 0.5))


@rule("Softmax")
def softmax(step: Step) -> Value:
    """x̄ = y·(g − Σ g·y) along the axis."""
    axis = [step.attribute("axis", -1)]
    return step.y * (step.g - (step.g * step.y).sum(axis))


@rule("LogSoftmax")
def log_softmax(step: Step) -> Value:
    """x̄ = g − eʸ·Σ g along the axis."""
    axis = [step.attribute("axis", -1)]
    return step.g - step.y.op("Exp") * step.g.sum(axis)
