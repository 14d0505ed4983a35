"""Cases of the rules of QuantizeLinear and DequantizeLinear: nodes, inputs and how the answer is known."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from gradient_cases import Case, seeded
from onnx import helper


def quantised(name, scale, zero, *, axis=None, low=None, high=None, between=(), x=(2, 3, 4)):
    """Quantised and read back; what stands for that is a line between the bounds."""
    zero = np.asarray(zero)
    limits = ml_dtypes.iinfo(zero.dtype)
    scale = np.asarray(scale, np.float32)
    options = {} if axis is None else {"axis": axis}
    along = [-1 if i == axis else 1 for i in range(len(x))]

    def line(x, s, z):
        s, z = (np.reshape(v, along if np.ndim(v) else ()).astype(np.float64) for v in (s, z))
        return np.clip(x, (limits.min - z) * s, (limits.max - z) * s)

    chain, last = [], "y0"
    for index, (op, attributes) in enumerate(between):
        chain.append(helper.make_node(op, [last], [f"m{index}"], **attributes))
        last = f"m{index}"
    chain.append(helper.make_node("DequantizeLinear", [last, "s", "z"], ["y"], **options))
    return Case(
        "QuantizeLinear",
        name,
        {"x": seeded(*x, key=name, low=-3, high=3), "s": scale, "z": zero},
        constant=("s", "z"),
        attributes=options,
        numpy=line,
        double=False,
        opset=21,
        then=tuple(chain),
    )


CASES = [
    quantised("uint8", 0.01, np.uint8(128)),
    quantised("relu", 0.02, np.uint8(0)),
    quantised("int8", 0.015, np.int8(5)),
    quantised("uint16", 0.00005, np.uint16(30000)),
    quantised("int16", 0.00005, np.int16(0)),
    quantised("int4", np.float32(0.2), np.asarray(1, ml_dtypes.int4)),
    quantised("per-channel", [0.01, 0.02, 0.005], np.asarray([0, 128, 200], np.uint8), axis=1),
]
