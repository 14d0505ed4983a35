"""Arithmetic on each element, with broadcasting. The engine sums where an input was repeated."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule


@rule("Add", broadcasts=True)
def add(step: Step) -> Sequence[Value]:
    """ā = b̄ = g."""
    return step.g, step.g


@rule("Sub", broadcasts=True)
def sub(step: Step) -> Sequence[Value]:
    """ā = g, b̄ = −g."""
    return step.g, -step.g


@rule("Mul", broadcasts=True)
def mul(step: Step) -> Sequence[Value]:
    """ā = g·b, b̄ = g·a."""
    return step.g * step.input(1), step.g * step.input(0)


@rule("Div", broadcasts=True)
def div(step: Step) -> Sequence[Value]:
    """ā = g / b, b̄ = −g·y / b."""
    part = step.g / step.input(1)
    return part, -(part * step.y)


@rule("Mod", broadcasts=True)
def mod(step: Step) -> Sequence[Value]:
    """y = a − b·trunc(a / b) (fmod=1, floats): ā = g, b̄ = −g·trunc(a / b) = −g·(a − y) / b."""
    return step.g, -(step.g * ((step.x - step.y) / step.input(1)))


@rule("Pow", broadcasts=True)
def power(step: Step) -> Sequence[Value]:
    """y = xᵉ: x̄ = g·e·x^(e−1), 0 where e = 0; ē = g·y·log x, 0 where x = 0."""
    x, g = step.x, step.g
    stored = step.stored(1)
    if stored is not None and math.prod(stored.shape) == 1:
        exponent = float(stored.array.reshape(()))
        if exponent == 1:
            return [g]
        if exponent == 2:
            return [g * x * 2.0]
        return [g * (x.op("Pow", exponent - 1) * exponent)] if exponent else [g * 0.0]
    e = step.input(1)
    if e.element_type != x.element_type:
        e = e.cast(x.element_type)
    lower = e - 1.0 + e.equals(0.0)  # x⁰ where e = 0: 0·x⁻¹ would be undefined at x = 0
    return g * e * x.op("Pow", lower), g * step.y * (x + x.equals(0.0)).op("Log")


@rule("Sum", broadcasts=True)
def sum_(step: Step) -> Sequence[Value]:
    """Each: g."""
    return [step.g] * len(step.node.input)


@rule("Mean", broadcasts=True)
def mean(step: Step) -> Sequence[Value]:
    """Each of n: g / n."""
    return [step.g / float(len(step.node.input))] * len(step.node.input)


@rule("Max", "Min", broadcasts=True)
def extreme(step: Step) -> Sequence[Value]:
    """Each: g where it is the extreme one, shared evenly where several are."""
    if len(step.node.input) == 1:
        return [step.g]
    chosen = [step.y.equals(step.input(index)) for index in range(len(step.node.input))]
    total = chosen[0]
    for other in chosen[1:]:
        total = total + other
    share = step.g / total
    return [share * one for one in chosen]


@rule("Where", broadcasts=True)
def where(step: Step) -> Sequence[Value | None]:
    """y = c ? a : b: ā = g·c, b̄ = g·(1 − c)."""
    chosen = step.builder.tensor(step.node.input[0], TensorProto.BOOL).cast(step.g.element_type)
    return None, step.g * chosen, step.g * (1.0 - chosen)


@rule("Identity")
def identity(step: Step) -> Value:
    """x̄ = g."""
    return step.g


@rule("Dropout")
def dropout(step: Step) -> Value:
    """x̄ = g: outside training, dropout does nothing."""
    if step.has(2) and bool(np.asarray(step.constant(2, "training mode")).reshape(())):
        step.refuse("training-mode", "it drops values at random (training_mode=1)", "export the model for inference")
    return step.g


@rule("Cast", "CastLike")
def cast(step: Step) -> Value:
    """x̄ = g in the type of x."""
    return step.g.cast(step.x.element_type)


@rule("Clip")
def clip(step: Step) -> Value:
    """x̄ = g where low < y < high.

    At the bounds 0, as PyTorch's relu6 and hardtanh have it (its clamp passes g there).
    """
    if step.has(1) and step.has(2):
        return step.g * step.y.between(step.input(1), step.input(2))
    if step.has(1):
        return step.g * (step.y > step.input(1))
    return step.g * (step.y < step.input(2)) if step.has(2) else step.g


def _unary(op: str, formula: str, derivative: Callable[[Value, Value], Value]) -> None:
    """Registers x̄ = g · derivative(x, y)."""

    def apply(step: Step) -> Value:
        return step.g * derivative(step.x, step.y)

    apply.__doc__ = formula
    apply.__name__ = op.lower()
    rule(op)(apply)


def _square(value: Value) -> Value:
    return value * value


_unary("Neg", "x̄ = −g.", lambda x, y: x.number(-1.0))
_unary("Abs", "x̄ = g·sign x.", lambda x, y: x.op("Sign"))
_unary("Exp", "x̄ = g·y.", lambda x, y: y)
_unary("Log", "x̄ = g / x.", lambda x, y: 1.0 / x)
_unary("Sqrt", "x̄ = g / 2y.", lambda x, y: 0.5 / y)
_unary("Reciprocal", "x̄ = −g·y².", lambda x, y: -_square(y))
_unary("Sin", "x̄ = g·cos x.", lambda x, y: x.op("Cos"))
_unary("Cos", "x̄ = −g·sin x.", lambda x, y: -x.op("Sin"))
_unary("Tan", "x̄ = g·(1 + y²).", lambda x, y: 1.0 + _square(y))
_unary("Asin", "x̄ = g / √(1 − x²).", lambda x, y: 1.0 / (1.0 - _square(x)).op("Sqrt"))
_unary("Acos", "x̄ = −g / √(1 − x²).", lambda x, y: -1.0 / (1.0 - _square(x)).op("Sqrt"))
_unary("Atan", "x̄ = g / (1 + x²).", lambda x, y: 1.0 / (1.0 + _square(x)))
_unary("Sinh", "x̄ = g·cosh x.", lambda x, y: x.op("Cosh"))
_unary("Cosh", "x̄ = g·sinh x.", lambda x, y: x.op("Sinh"))
_unary("Asinh", "x̄ = g / √(x² + 1).", lambda x, y: 1.0 / (_square(x) + 1.0).op("Sqrt"))
_unary("Acosh", "x̄ = g / √(x² − 1).", lambda x, y: 1.0 / (_square(x) - 1.0).op("Sqrt"))
_unary("Atanh", "x̄ = g / (1 − x²).", lambda x, y: 1.0 / (1.0 - _square(x)))
_unary("Erf", "x̄ = g·2/√π·exp(−x²).", lambda x, y: (-_square(x)).op("Exp") * (2 / math.sqrt(math.pi)))
