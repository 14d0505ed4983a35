"""Cases of the rules of arithmetic, activations and reductions: nodes, inputs and how the answer is known."""

from __future__ import annotations

import math

import numpy as np
from gradient_cases import Case, seeded, spaced

I64 = np.int64


def unary(op, low=-2.0, high=2.0, name="", **attributes):
    return Case(op, name, {"x": seeded(2, 3, 4, key=op, low=low, high=high)}, attributes=attributes)


def binary(op, name, a, b, low=-2.0, constant=(), **more):
    given = {"a": seeded(*a, key="a" + op, low=low), "b": seeded(*b, key="b" + op, low=low)}
    return Case(op, name, given, constant=constant, **more)


BROADCASTS = {
    "same": ((2, 3, 4), (2, 3, 4)),
    "scalar": ((2, 3, 4), ()),
    "channel": ((2, 3, 4), (3, 1)),
    "both": ((2, 1, 4), (3, 1)),
    "gate": ((2, 3, 4, 2), (2, 3, 1, 1)),
    "longer-right": ((4,), (2, 3, 4)),
    "ones": ((1, 1, 4), (1, 4)),
}


def reduction(op, name, axes, keepdims=1, low=-2.0, **attributes):
    given = {"x": spaced(2, 3, 4), "axes": None if axes is None else np.asarray(axes, I64)}
    if op not in ("ReduceMax", "ReduceMin"):
        given["x"] = seeded(2, 3, 4, key=op, low=low)
    constant = ("axes",) if axes is not None else ()
    return Case(op, name, given, constant=constant, attributes={"keepdims": keepdims, **attributes})


def prod_with_zeros(zeros):
    x = seeded(2, 3, 4, key="prod")
    for place in zeros:
        x[place] = 0
    return Case(
        "ReduceProd",
        f"{len(zeros)}-zeros",
        {"x": x, "axes": np.asarray([2], I64)},
        constant=("axes",),
        attributes={"keepdims": 0},
    )


def variadic(op, name, *shapes):
    return Case(op, name, {f"x{i}": spaced(*shape) + np.float32(i) / 8 for i, shape in enumerate(shapes)})


def erf(x):
    return np.vectorize(math.erf)(x)


def clip(name, low, high, **more):
    given = {
        "x": seeded(3, 5, key=name, low=-4, high=4),
        "low": None if low is None else np.float32(low),
        "high": None if high is None else np.float32(high),
    }
    constant = tuple(key for key, value in (("low", low), ("high", high)) if value is not None)
    return Case("Clip", name, given, constant=constant, **more)


CASES = [
    *(binary("Add", name, *shapes) for name, shapes in BROADCASTS.items()),
    *(binary("Sub", name, *shapes) for name, shapes in BROADCASTS.items()),
    *(binary("Mul", name, *shapes) for name, shapes in BROADCASTS.items()),
    *(binary("Div", name, *shapes, low=0.5) for name, shapes in BROADCASTS.items()),
    binary("Add", "constant", (2, 3), (2, 3), constant=("b",)),
    binary("Mod", "fmod", (2, 3), (2, 3), low=0.5, attributes={"fmod": 1}),
    binary("Mod", "fmod-broadcast", (2, 3), (1,), low=0.7, attributes={"fmod": 1}),
    binary("Pow", "both", (2, 3), (3,), low=0.5),
    *(
        Case("Pow", f"exponent-{e}", {"a": seeded(2, 3, low=0.5), "b": np.float32(e)}, constant=("b",))
        for e in (-1.5, 0, 0.5, 1, 2, 3)
    ),
    Case("Pow", "square-of-negative", {"a": seeded(2, 3), "b": np.float32(2)}, constant=("b",)),
    Case("Pow", "integer-exponents", {"a": seeded(2, 3), "b": np.asarray([0, 1, 3], I64)}, constant=("b",)),
    Case("Pow", "integer-exponent", {"a": seeded(2, 3), "b": np.asarray(3, I64)}, constant=("b",)),
    variadic("Sum", "three", (2, 3), (3,), (1, 1)),
    variadic("Sum", "one", (2, 3)),
    variadic("Mean", "three", (2, 3), (3,), (2, 1)),
    variadic("Max", "three", (2, 3), (3,), (1,)),
    variadic("Max", "one", (2, 3)),
    variadic("Min", "two", (2, 3), (2, 3)),
    Case("Where", "", {"c": seeded(2, 3) > 0, "a": seeded(2, 3, key="a"), "b": seeded(2, 3, key="b")}),
    Case(
        "Where",
        "broadcast",
        {"c": seeded(3, 1) > 0, "a": seeded(2, 1, 4, key="a"), "b": np.float32(0.5)},
        constant=("c",),
    ),
    unary("Identity"),
    unary("Dropout"),
    Case(
        "Dropout",
        "not-training",
        {"x": seeded(2, 3), "ratio": np.float32(0.5), "training": np.asarray(False)},
        constant=("ratio", "training"),
    ),
    Case("Cast", "", {"x": seeded(2, 3)}, attributes={"to": 1}, step=1.0),
    Case("CastLike", "", {"x": seeded(2, 3), "like": seeded(1)}, constant=("like",)),
    unary("Neg"),
    unary("Abs"),
    unary("Exp"),
    unary("Log", low=0.3),
    unary("Sqrt", low=0.3),
    unary("Reciprocal", low=0.5),
    *(unary(op) for op in ("Sin", "Cos", "Atan", "Sinh", "Cosh", "Asinh")),
    unary("Tan", low=-1, high=1),
    unary("Asin", low=-0.9, high=0.9),
    unary("Acos", low=-0.9, high=0.9),
    unary("Acosh", low=1.2, high=3),
    unary("Atanh", low=-0.9, high=0.9),
    Case("Erf", "", {"x": seeded(3, 5)}, numpy=erf),
    clip("both", -1, 2),
    clip("low", 0, None),
    clip("high", None, 1),
    clip("neither", None, None),
    unary("Relu"),
    unary("LeakyRelu"),
    unary("LeakyRelu", name="steep", alpha=0.3),
    unary("LeakyRelu", name="negative", alpha=-0.3),
    Case("PRelu", "channel", {"x": seeded(2, 3, 4), "slope": seeded(3, 1)}, constant=("slope",)),
    Case("PRelu", "scalar-slope-too", {"x": seeded(2, 3, 4), "slope": seeded(1)}),
    Case("PRelu", "slopes-too", {"x": seeded(2, 3, 4), "slope": seeded(3, 1)}),
    unary("ThresholdedRelu"),
    unary("ThresholdedRelu", name="negative", alpha=-0.5),
    unary("Elu"),
    unary("Elu", name="alpha", alpha=1.7),
    unary("Selu"),
    unary("Selu", name="own", alpha=1.2, gamma=0.7),
    unary("Celu"),
    unary("Celu", name="alpha", alpha=2.5),
    unary("Sigmoid", low=-5, high=5),
    unary("Tanh"),
    unary("HardSigmoid", low=-4, high=4),
    unary("HardSigmoid", low=-4, high=4, name="torch", alpha=1 / 6, beta=0.5),
    Case(
        "HardSwish",
        "",
        {"x": seeded(4, 9, low=-5, high=5)},
        numpy=lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    ),
    unary("Softplus"),
    unary("Softsign"),
    Case("Mish", "", {"x": seeded(3, 5)}, numpy=lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    Case("Gelu", "", {"x": seeded(3, 5)}, opset=20, numpy=lambda x: x * (1 + erf(x / np.sqrt(2))) / 2),
    Case(
        "Gelu",
        "tanh",
        {"x": seeded(3, 5)},
        opset=20,
        attributes={"approximate": "tanh"},
        numpy=lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    ),
    Case("Swish", "", {"x": seeded(3, 5)}, opset=24, numpy=lambda x: x / (1 + np.exp(-x))),
    Case(
        "Swish",
        "alpha",
        {"x": seeded(3, 5)},
        attributes={"alpha": 1.702},
        opset=24,
        numpy=lambda x: x / (1 + np.exp(-1.702 * x)),
    ),
    unary("Shrink"),
    unary("Shrink", name="biased", lambd=0.7, bias=0.2),
    unary("Softmax"),
    unary("Softmax", name="middle", axis=1),
    unary("Softmax", name="negative", axis=-2),
    unary("LogSoftmax"),
    unary("LogSoftmax", name="first", axis=0),
    *(reduction(op, "keep", [1]) for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")),
    *(reduction(op, "drop", [0, -1], 0) for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")),
    *(reduction(op, "all", None, 0) for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")),
    *(reduction(op, "noop", None, noop_with_empty_axes=1) for op in ("ReduceSum", "ReduceMean", "ReduceMax")),
    *(reduction(op, "keep", [2], low=0.3) for op in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum")),
    *(reduction(op, "drop", [0, 2], 0) for op in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")),
    reduction("ReduceLogSum", "drop", [1], 0, low=0.3),
    reduction("ReduceLogSumExp", "all", None),
    prod_with_zeros([]),
    prod_with_zeros([(0, 1, 2)]),
    prod_with_zeros([(0, 1, 2), (0, 1, 0), (1, 2, 3)]),
    *(
        Case(
            "CumSum",
            f"exclusive{exclusive}-reverse{reverse}",
            {"x": seeded(2, 3, 4), "axis": np.asarray(1, I64)},
            constant=("axis",),
            attributes={"exclusive": exclusive, "reverse": reverse},
        )
        for exclusive in (0, 1)
        for reverse in (0, 1)
    ),
]
