"""Cases of the rules of convolutions and poolings: nodes, inputs and how the answer is known."""

from __future__ import annotations

import numpy as np
from gradient_cases import Case, seeded, spaced


def conv(name, x, w, **attributes):
    """A Conv; it is linear, so that a step of 1 is exact."""
    given = {"x": seeded(*x, key=name), "w": seeded(*w, key="w", low=-1, high=1), "b": seeded(w[0])}
    return Case("Conv", name, given, constant=("w", "b"), attributes=attributes, step=1.0)


def transposed(name, x, w, **attributes):
    given = {"x": seeded(*x, key=name), "w": seeded(*w, key="w", low=-1, high=1)}
    return Case("ConvTranspose", name, given, constant=("w",), attributes=attributes, step=1.0)


def pool(op, name, x, numpy=None, **attributes):
    """A pooling; averages are linear, and spaced inputs stay on one side of every kink for a step of an eighth."""
    step = None if numpy else 8.0 if "Average" in op else 0.125
    return Case(op, name, {"x": spaced(*x)}, attributes=attributes, step=step, numpy=numpy)


def padded_averages(x):
    """3x3 in steps of 2 with a pad around: a window that hangs over counts samples and pads alone.

    By the specification; onnxruntime before 1.30 counts what hangs over, too.
    """
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    starts = range(0, padded.shape[-1] - 1, 2)
    means = [[padded[..., i : i + 3, j : j + 3].mean((2, 3)) for j in starts] for i in starts]
    return np.array(means).transpose(2, 3, 0, 1)


CASES = [
    conv("plain", (2, 3, 5, 6), (4, 3, 3, 3)),
    conv("same-pads", (1, 2, 5, 6), (3, 2, 3, 3), pads=[1, 1, 1, 1]),
    conv("pointwise", (1, 4, 3, 3), (5, 4, 1, 1)),
    conv("pointwise-padded", (1, 2, 3, 4), (3, 2, 1, 1), pads=[1, 0, 0, 2]),
    conv("too-much-padding", (1, 2, 4, 4), (2, 2, 2, 3), pads=[2, 3, 3, 2]),
    conv("asymmetric", (1, 2, 6, 5), (3, 2, 3, 3), pads=[0, 1, 1, 2]),
    conv("stride-2-even", (1, 2, 6, 8), (3, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    conv("stride-2-odd", (1, 2, 7, 5), (3, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    conv("stride-2-asymmetric", (1, 2, 7, 6), (3, 2, 3, 3), strides=[2, 2], pads=[0, 0, 1, 1]),
    conv("stride-3-kernel-2", (1, 2, 8, 7), (3, 2, 2, 2), strides=[3, 3]),
    conv("strides-differ", (1, 2, 7, 9), (2, 2, 3, 3), strides=[1, 3], pads=[1, 0, 1, 0]),
    conv("stride-2-pointwise", (1, 3, 5, 6), (2, 3, 1, 1), strides=[2, 2]),
    conv("dilation", (1, 2, 8, 9), (2, 2, 3, 2), dilations=[2, 3], pads=[2, 1, 2, 2]),
    conv("dilation-stride", (1, 2, 9, 8), (2, 2, 3, 3), dilations=[2, 2], strides=[2, 2], pads=[1, 2, 2, 1]),
    conv("groups", (1, 4, 5, 5), (6, 2, 3, 3), group=2, pads=[1, 1, 1, 1]),
    conv("groups-stride", (1, 4, 6, 5), (6, 2, 3, 3), group=2, strides=[2, 2], pads=[1, 1, 0, 1]),
    conv("depthwise", (1, 4, 5, 5), (4, 1, 3, 3), group=4, pads=[1, 1, 1, 1]),
    conv("depthwise-multiplier", (1, 3, 5, 5), (6, 1, 3, 3), group=3, strides=[2, 1], pads=[1, 1, 1, 1]),
    conv("same-upper", (1, 2, 6, 7), (3, 2, 3, 4), strides=[2, 2], auto_pad="SAME_UPPER"),
    conv("same-lower", (1, 2, 6, 7), (3, 2, 3, 4), strides=[2, 2], auto_pad="SAME_LOWER"),
    conv("same-upper-stride-1", (1, 2, 5, 5), (3, 2, 2, 4), auto_pad="SAME_UPPER"),
    conv("same-lower-stride-1", (1, 2, 5, 5), (3, 2, 2, 4), auto_pad="SAME_LOWER"),
    conv("valid", (1, 2, 6, 6), (3, 2, 3, 3), strides=[2, 2], auto_pad="VALID"),
    conv("1d", (2, 3, 9), (4, 3, 3), strides=[2], pads=[1, 0]),
    conv("1d-stride-1", (2, 3, 9), (4, 3, 3), dilations=[2], pads=[1, 3]),
    conv("3d", (1, 2, 4, 5, 4), (3, 2, 3, 2, 3), strides=[2, 1, 1], pads=[1, 0, 1, 1, 1, 1]),
    conv("3d-stride-1", (1, 2, 3, 4, 3), (2, 2, 2, 2, 3), pads=[1, 0, 1, 0, 1, 1]),
    transposed("plain", (1, 3, 4, 5), (3, 2, 3, 3)),
    transposed("stride-2", (1, 3, 4, 5), (3, 2, 2, 2), strides=[2, 2]),
    transposed("padded", (1, 3, 4, 5), (3, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    transposed("output-padding", (1, 3, 4, 5), (3, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    transposed("output-padding-beyond", (1, 2, 3, 3), (2, 2, 2, 2), strides=[3, 2], output_padding=[2, 1]),
    transposed("asymmetric", (1, 3, 4, 4), (3, 2, 3, 4), strides=[2, 2], pads=[0, 1, 2, 1]),
    transposed("dilation", (1, 2, 4, 4), (2, 3, 3, 3), dilations=[2, 2], pads=[1, 2, 2, 1]),
    transposed("groups", (1, 4, 4, 4), (4, 2, 3, 3), group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
    transposed("output-shape", (1, 2, 4, 4), (2, 3, 3, 3), strides=[2, 2], output_shape=[8, 8]),
    transposed(
        "output-shape-upper", (1, 2, 4, 4), (2, 3, 3, 3), strides=[2, 2], output_shape=[8, 8], auto_pad="SAME_UPPER"
    ),
    transposed("same-upper", (1, 2, 4, 3), (2, 3, 3, 4), strides=[2, 2], auto_pad="SAME_UPPER"),
    transposed("same-lower", (1, 2, 4, 3), (2, 3, 3, 4), strides=[2, 2], auto_pad="SAME_LOWER"),
    transposed("1d", (1, 2, 5), (2, 3, 4), strides=[3], pads=[1, 0]),
    transposed("3d", (1, 2, 2, 3, 2), (2, 2, 2, 3, 2), strides=[2, 1, 2]),
    pool("MaxPool", "disjoint", (2, 3, 6, 4), kernel_shape=[2, 2], strides=[2, 2]),
    pool("MaxPool", "disjoint-rest", (1, 2, 7, 5), kernel_shape=[2, 2], strides=[2, 2]),
    pool("MaxPool", "overlapping", (1, 2, 7, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    pool("MaxPool", "stride-1", (1, 2, 5, 5), kernel_shape=[5, 5], pads=[2, 2, 2, 2]),
    pool("MaxPool", "asymmetric", (1, 2, 6, 6), kernel_shape=[3, 2], strides=[2, 1], pads=[0, 1, 1, 0]),
    pool("MaxPool", "ceil", (1, 2, 6, 7), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    pool("MaxPool", "dilation", (1, 2, 7, 7), kernel_shape=[2, 3], dilations=[3, 2], strides=[1, 2]),
    pool("MaxPool", "same-upper", (1, 2, 6, 5), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    pool("MaxPool", "same-lower", (1, 2, 6, 5), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    pool("MaxPool", "1d", (2, 2, 9), kernel_shape=[3], strides=[2]),
    pool("MaxPool", "3d", (1, 2, 4, 4, 5), kernel_shape=[2, 2, 3], strides=[2, 2, 2], pads=[0, 0, 1, 0, 0, 1]),
    pool("AveragePool", "disjoint", (1, 2, 6, 4), kernel_shape=[2, 2], strides=[2, 2]),
    pool("AveragePool", "disjoint-rest", (1, 2, 7, 5), kernel_shape=[3, 2], strides=[3, 2]),
    pool("AveragePool", "overlapping", (1, 2, 7, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    pool("AveragePool", "stride-1", (1, 2, 5, 6), kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    pool("AveragePool", "stride-1-unpadded", (1, 2, 5, 6), kernel_shape=[3, 2]),
    pool(
        "AveragePool",
        "counting-pads",
        (1, 2, 6, 6),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        count_include_pad=1,
    ),
    pool("AveragePool", "ceil", (1, 2, 6, 7), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    pool("AveragePool", "ceil-disjoint", (1, 2, 5, 7), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    pool(
        "AveragePool", "ceil-padded", (1, 2, 6, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1
    ),
    pool(
        "AveragePool",
        "ceil-counting-pads",
        (1, 2, 6, 6),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        ceil_mode=1,
        count_include_pad=1,
        numpy=padded_averages,
    ),
    pool("AveragePool", "asymmetric", (1, 2, 6, 5), kernel_shape=[3, 2], strides=[2, 1], pads=[0, 1, 1, 0]),
    pool("AveragePool", "same-upper", (1, 2, 6, 5), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    pool("AveragePool", "same-lower", (1, 2, 6, 5), kernel_shape=[2, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    pool("AveragePool", "1d", (1, 3, 9), kernel_shape=[4], strides=[2], pads=[1, 1]),
    pool("AveragePool", "3d", (1, 2, 4, 4, 5), kernel_shape=[2, 2, 3], strides=[2, 2, 2], pads=[0, 0, 1, 0, 0, 1]),
    Case(
        "AveragePool",
        "dilation",
        {"x": spaced(1, 2, 7, 7)},
        attributes={"kernel_shape": [2, 3], "dilations": [2, 2], "strides": [1, 2]},
        step=8.0,
        opset=19,
    ),
    pool("GlobalAveragePool", "", (2, 3, 4, 5)),
    pool("GlobalAveragePool", "1d", (2, 3, 7)),
    pool("GlobalMaxPool", "", (2, 3, 4, 5)),
    *(
        Case(
            "LpPool",
            f"p{p}",
            {"x": seeded(1, 2, 6, 5)},
            attributes={"p": p, "kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]},
        )
        for p in (1, 2, 3)
    ),
    *(
        Case(
            "GlobalLpPool",
            f"p{p}",
            {"x": seeded(1, 2, 4, 3)},
            attributes={"p": p},
            numpy=lambda x, p=p: (np.abs(x) ** p).sum((2, 3), keepdims=True) ** (1 / p),
        )
        for p in (1, 2, 3)
    ),
]
