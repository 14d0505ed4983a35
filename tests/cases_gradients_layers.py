"""Cases of the rules of dense layers, normalisations, shapes and resizing: nodes, inputs, and the right answer."""

from __future__ import annotations

import numpy as np
from gradient_cases import Case, seeded

I64 = np.int64


def ints(*values):
    return np.asarray(values, I64)


def gemm(name, a, b, c=None, constant=(), **attributes):
    given = {"a": seeded(*a, key=name), "b": seeded(*b, key="b"), "c": None if c is None else seeded(*c, key="c")}
    return Case("Gemm", name, given, constant=constant, attributes=attributes)


def matmul(a, b, **more):
    return Case("MatMul", f"{len(a)}x{len(b)}-{a[0]}", {"a": seeded(*a, key="a"), "b": seeded(*b, key="b")}, **more)


def einsum(equation, *shapes):
    given = {f"x{i}": seeded(*shape, key=str(i)) for i, shape in enumerate(shapes)}
    return Case("Einsum", equation, given, attributes={"equation": equation})


def batch_norm(name, x, **attributes):
    c = x[1]
    given = {
        "x": seeded(*x, key=name),
        "scale": seeded(c),
        "b": seeded(c),
        "mean": seeded(c),
        "var": seeded(c, low=0.5),
    }
    return Case("BatchNormalization", name, given, constant=("scale", "b", "mean", "var"), attributes=attributes)


def normalised(op, name, x, scale, bias=True, opset=18, **attributes):
    given = {"x": seeded(*x, key=name), "scale": seeded(*scale, key="s"), "b": seeded(*scale) if bias else None}
    if not bias:
        del given["b"]
    constant = ("scale", "b") if bias else ("scale",)
    return Case(op, name, given, constant=constant, opset=opset, attributes=attributes)


def group_norm(name, scale, opset, epsilon=1e-5):
    """Two groups of two channels; a scale a group in opset 18, a scale a channel since opset 21."""

    def formula(x, scale, bias):
        grouped = x.reshape(2, 2, -1)
        grouped = (grouped - grouped.mean(2, keepdims=True)) / np.sqrt(grouped.var(2, keepdims=True) + epsilon)
        wide = (np.repeat(v, 4 // v.size).reshape(4, 1, 1) for v in (scale, bias))
        return next(wide) * grouped.reshape(x.shape) + next(wide)

    given = {"x": seeded(2, 4, 3, 3), "scale": seeded(*scale, key="s"), "b": seeded(*scale)}
    attributes = {"num_groups": 2, "epsilon": epsilon}
    return Case("GroupNormalization", name, given, ("scale", "b"), attributes, opset=opset, numpy=formula)


def shaped(op, name, x, *operands, **attributes):
    given = {"x": seeded(*x, key=name)}
    given.update({f"p{i}": operand for i, operand in enumerate(operands)})
    constant = tuple(n for n, a in given.items() if n != "x" and a is not None)
    return Case(op, name, given, constant=constant, attributes=attributes, step=1.0)


def lrn(x, size, alpha, beta, bias):
    """Local response normalisation by its definition; onnx.reference takes the batch for the channels."""
    reach = [x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1] for c in range(x.shape[1])]
    squares = np.stack([(part**2).sum(1) for part in reach], 1)
    return x * (bias + alpha / size * squares) ** -beta


def resize(name, x, *, scales=None, sizes=None, roi=None, opset=18, **attributes):
    """Linear in x; against onnxruntime, since it is onnxruntime that rounds and extrapolates its own way."""
    given = {
        "x": seeded(*x, key=name),
        "roi": None if roi is None else np.asarray(roi, np.float32),
        "scales": None if scales is None else np.asarray(scales, np.float32),
        "sizes": None if sizes is None else ints(*sizes),
    }
    constant = tuple(n for n, a in given.items() if n != "x" and a is not None)
    return Case("Resize", name, given, constant=constant, attributes=attributes, step=4.0, opset=opset)


RESIZES = [
    resize(
        "nearest-2",
        (1, 2, 3, 4),
        scales=[1, 1, 2, 3],
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    resize("nearest-2-half-pixel", (1, 2, 3, 4), scales=[1, 1, 2, 2]),
    resize("nearest-sizes", (1, 2, 3, 4), sizes=[1, 2, 6, 4]),
    resize("nearest-fraction", (1, 2, 4, 5), scales=[1, 1, 1.5, 2.3]),
    resize("nearest-down", (1, 2, 6, 7), scales=[1, 1, 0.5, 0.6]),
    *(
        resize(
            f"nearest-{mode}-{rounding}",
            (1, 1, 5, 4),
            scales=[1, 1, 1.7, 0.6],
            coordinate_transformation_mode=mode,
            nearest_mode=rounding,
        )
        for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    *(
        resize(f"{kind}-{mode}", (1, 2, 4, 5), scales=[1, 1, 2, 1.6], mode=kind, coordinate_transformation_mode=mode)
        for kind in ("linear", "cubic")
        for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    ),
    resize("linear-sizes", (1, 2, 4, 5), sizes=[1, 2, 7, 3], mode="linear"),
    resize(
        "linear-to-one",
        (1, 2, 4, 5),
        sizes=[1, 2, 1, 1],
        mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel",
    ),
    resize("linear-fractional-scale", (1, 1, 5, 5), scales=[1, 1, 1.3, 1.3], mode="linear"),
    resize("linear-antialias", (1, 2, 8, 9), scales=[1, 1, 0.4, 0.7], mode="linear", antialias=1),
    resize("cubic-antialias", (1, 2, 8, 9), scales=[1, 1, 0.4, 0.7], mode="cubic", antialias=1),
    resize("cubic-own", (1, 2, 4, 5), scales=[1, 1, 1.5, 2], mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1),
    resize(
        "linear-crop",
        (1, 2, 6, 6),
        sizes=[1, 2, 4, 5],
        mode="linear",
        roi=[0, 0, 0.2, 0.1, 1, 1, 0.7, 1.2],
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=3.0,
    ),
    resize("linear-axes", (1, 2, 4, 5), scales=[2, 1.5], axes=[2, 3], mode="linear"),
    resize("nearest-axes-sizes", (1, 2, 4, 5), sizes=[8, 10], axes=[2, 3]),
    resize("linear-3d", (1, 1, 3, 4, 3), scales=[1, 1, 2, 1.5, 2], mode="linear"),
    resize("nearest-1d", (1, 2, 5), scales=[1, 1, 2]),
    resize("linear-last-axis-first", (1, 4, 5, 2), scales=[1, 2, 2, 1], mode="linear"),
]

CASES = [
    gemm("plain", (2, 3), (3, 4)),
    gemm("trans-b", (2, 3), (4, 3), transB=1, alpha=0.7),
    gemm("trans-a", (3, 2), (3, 4), transA=1, alpha=1.3),
    gemm("both", (3, 2), (4, 3), transA=1, transB=1, alpha=0.5),
    gemm("bias", (2, 3), (3, 4), (4,), beta=0.6),
    gemm("bias-column", (2, 3), (3, 4), (2, 1), beta=2.0),
    gemm("bias-full", (2, 3), (3, 4), (2, 4)),
    gemm("dense", (2, 3), (4, 3), (4,), constant=("b", "c"), transB=1),
    matmul((2, 3), (3, 4)),
    matmul((3,), (3,)),
    matmul((3,), (3, 4)),
    matmul((2, 3), (3,)),
    matmul((2, 5, 3), (3, 4)),
    matmul((5, 3), (2, 3, 4)),
    matmul((2, 1, 5, 3), (4, 3, 2)),
    matmul((2, 5, 3), (2, 3, 4)),
    matmul((3,), (2, 3, 4)),
    matmul((2, 4, 3), (3,)),
    einsum("ij,jk->ik", (2, 3), (3, 4)),
    einsum("bij,bkj->bik", (2, 3, 4), (2, 5, 4)),
    einsum("ij,jk", (2, 3), (3, 4)),
    einsum("ij,k->ik", (2, 3), (4,)),
    einsum("...ij,...jk->...ik", (2, 2, 3), (2, 3, 4)),
    einsum("ij->ji", (2, 3)),
    einsum("ijk->j", (2, 3, 4)),
    einsum("nchw,dc->ndhw", (1, 2, 3, 2), (4, 2)),
    batch_norm("2d", (2, 3, 4, 3)),
    batch_norm("1d", (2, 3, 4), epsilon=1e-3),
    batch_norm("flat", (2, 3)),
    normalised("LayerNormalization", "last", (2, 3, 5), (5,)),
    normalised("LayerNormalization", "no-bias", (2, 3, 5), (5,), bias=False, epsilon=1e-3),
    normalised("LayerNormalization", "two-axes", (2, 3, 5), (3, 5), axis=1),
    normalised("LayerNormalization", "channels-first", (2, 3, 2, 2), (3, 2, 2), axis=-3),
    normalised("InstanceNormalization", "", (2, 3, 4, 3), (3,), epsilon=1e-3),
    normalised("InstanceNormalization", "1d", (2, 3, 6), (3,)),
    group_norm("per-group", (2,), 18),
    group_norm("per-channel", (4,), 21, epsilon=1e-3),
    Case(
        "RMSNormalization",
        "",
        {"x": seeded(2, 3, 5), "scale": seeded(5)},
        constant=("scale",),
        opset=23,
        numpy=lambda x, s: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * s,
    ),
    Case(
        "MeanVarianceNormalization",
        "",
        {"x": seeded(2, 3, 4, 3)},
        numpy=lambda x: (x - x.mean((0, 2, 3), keepdims=True)) / x.std((0, 2, 3), keepdims=True),
    ),
    Case(
        "MeanVarianceNormalization",
        "axes",
        {"x": seeded(2, 3, 4)},
        attributes={"axes": [2]},
        numpy=lambda x: (x - x.mean(2, keepdims=True)) / x.std(2, keepdims=True),
    ),
    *(
        Case(
            "LpNormalization",
            f"p{p}-axis{axis}",
            {"x": seeded(2, 3, 4)},
            attributes={"p": p, "axis": axis},
            numpy=lambda x, p=p, axis=axis: x / (np.abs(x) ** p).sum(axis, keepdims=True) ** (1 / p),
        )
        for p in (1, 2)
        for axis in (-1, 1)
    ),
    *(
        Case(
            "LRN",
            f"size-{size}",
            {"x": seeded(2, 7, 2, 3)},
            attributes={"size": size, "alpha": 0.7, "beta": 0.6, "bias": 1.3},
            numpy=lambda x, size=size: lrn(x, size, 0.7, 0.6, 1.3),
        )
        for size in (1, 3, 5)
    ),
    shaped("Reshape", "", (2, 3, 4), ints(4, -1)),
    shaped("Reshape", "zero", (2, 3, 4), ints(0, -1)),
    shaped("Flatten", "", (2, 3, 4), axis=2),
    shaped("Squeeze", "axes", (2, 1, 3, 1), ints(1, -1)),
    shaped("Squeeze", "all", (2, 1, 3, 1)),
    shaped("Unsqueeze", "", (2, 3), ints(0, -1)),
    shaped("Transpose", "", (2, 3, 4), perm=[2, 0, 1]),
    shaped("Transpose", "default", (2, 3, 4)),
    Case(
        "Concat",
        "three",
        {"a": seeded(2, 1, 3), "b": seeded(2, 2, 3), "c": seeded(2, 3, 3)},
        constant=("b",),
        attributes={"axis": 1},
        step=1.0,
    ),
    Case("Concat", "last", {"a": seeded(2, 1), "b": seeded(2, 2)}, attributes={"axis": -1}, step=1.0),
    *(
        Case(
            "Split",
            f"output-{of}",
            {"x": seeded(2, 6), "s": ints(1, 3, 2)},
            constant=("s",),
            attributes={"axis": 1},
            outputs=3,
            of=of,
            step=1.0,
        )
        for of in range(3)
    ),
    Case("Split", "even", {"x": seeded(6, 2)}, attributes={"num_outputs": 3}, outputs=3, of=1, step=1.0),
    shaped("Expand", "", (3, 1), ints(2, 3, 4)),
    shaped("Expand", "smaller", (2, 3), ints(1, 3)),
    shaped("Tile", "", (2, 3), ints(2, 3)),
    shaped("Tile", "some", (2, 3, 2), ints(1, 3, 1)),
    shaped("Tile", "none", (2, 3), ints(1, 1)),
    shaped("DepthToSpace", "dcr", (1, 8, 2, 3), blocksize=2),
    shaped("DepthToSpace", "crd", (2, 8, 2, 3), blocksize=2, mode="CRD"),
    shaped("SpaceToDepth", "", (1, 2, 4, 6), blocksize=2),
    shaped("Slice", "plain", (4, 5), ints(1, 0), ints(3, 4)),
    shaped("Slice", "axes", (2, 5, 6), ints(1, -3), ints(2**63 - 1, -1), ints(1, -1)),
    shaped("Slice", "everything", (2, 5), ints(0), ints(2**63 - 1), ints(1)),
    shaped("Slice", "step", (2, 7), ints(1), ints(7), ints(1), ints(2)),
    shaped("Slice", "step-all", (7, 8), ints(0, 0), ints(2**63 - 1, 8), ints(0, 1), ints(2, 3)),
    shaped("Slice", "backwards", (2, 7), ints(-1), ints(-(2**63)), ints(1), ints(-1)),
    shaped("Slice", "backwards-step", (2, 7), ints(5), ints(0), ints(1), ints(-2)),
    shaped("Slice", "beyond", (2, 4), ints(-9), ints(99), ints(1)),
    shaped("Gather", "", (5, 3), ints(3, 0)),
    shaped("Gather", "consecutive", (5, 3), ints(1, 2, 3)),
    shaped("Gather", "scalar", (2, 5, 3), np.asarray(2, I64), axis=1),
    shaped("Gather", "negative", (2, 5), ints(-1, 0), axis=-1),
    shaped("Gather", "twice", (2, 5), ints(1, 1, 4), axis=1),
    shaped("Gather", "twice-first", (5, 2, 3), ints(4, 4, 0), axis=0),
    shaped("Gather", "table", (2, 5, 3), np.asarray([[0, 4], [2, 3]], I64), axis=1),
    shaped("Gather", "permutation", (2, 4), ints(2, 0, 3, 1), axis=1),
    shaped("GatherElements", "", (3, 4), np.asarray([[0, 2, 1], [1, 1, 3]], I64), axis=1),
    shaped("Trilu", "", (3, 4)),
    shaped("Trilu", "lower", (2, 3, 4), np.asarray(1, I64), upper=0),
    shaped("Pad", "constant", (2, 3), ints(1, 0, 0, 2)),
    shaped("Pad", "value", (2, 3), ints(1, 2, 0, 0), np.float32(5)),
    shaped("Pad", "negative", (4, 5), ints(-1, 2, 1, -2)),
    shaped("Pad", "axes", (2, 3, 4), ints(1, 2), None, ints(-1)),
    shaped("Pad", "reflect", (1, 1, 4, 5), ints(0, 0, 2, 1, 0, 0, 3, 4), mode="reflect"),
    shaped("Pad", "edge", (1, 1, 4, 5), ints(0, 0, 2, 1, 0, 0, 0, 3), mode="edge"),
    shaped("Pad", "reflect-channels", (1, 4, 2, 2), ints(0, 1, 0, 0, 0, 2, 0, 0), mode="reflect"),
    Case(
        "Pad",
        "wrap",
        {"x": seeded(1, 1, 4, 5), "p": ints(0, 0, 2, 1, 0, 0, 3, 2)},
        constant=("p",),
        attributes={"mode": "wrap"},
        step=1.0,
        opset=19,
    ),
    *RESIZES,
]
