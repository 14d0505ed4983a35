"""QuantizeLinear and DequantizeLinear, straight through: rounding is taken as the identity, saturation is kept.

Quantisers take every Relu out and let the range of the integers do its work, so the saturation must be seen
(Bengio et al. 2013, straight-through estimator; Jacob et al. 2018, section 3).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule

HOW = (
    "rounding is taken as the identity (straight through), saturation as zero gradient; beside a gradient, values come "
    "from float32 operators, some quantisation steps from those of onnxruntime's fused integer ones"
)


@rule("QuantizeLinear")
def quantize_linear(step: Step) -> Value:
    """x̄ = g where q_min ≤ round(x / scale) + zero ≤ q_max: where the integers' range cuts nothing off.

    So does PyTorch's `fake_quantize_per_tensor_affine`. Half a step is left beyond either bound: numbers that stand on
    it, as all do that were quantised before, or that a sum brings to 0, are not thrown about by float32's rounding.
    """
    scale = step.constant(1, "scale")
    zero = step.constant(2, "zero point") if step.has(2) else None
    if zero is not None:
        dtype = zero.dtype
    else:
        kind = step.attribute("output_dtype", 0)
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind) if kind else np.uint8)
    if step.attribute("block_size", 0) or not _is_integer(dtype):
        step.refuse("attribute-unsupported", f"quantising to {dtype} or by blocks is not supported")
    step.approximate(HOW)
    low, high = _limits(dtype)
    offset = 0.0 if zero is None else zero.astype(np.float64)
    bounds = [((limit - offset) * scale.astype(np.float64)) for limit in (low - 0.5, high + 0.5)]
    x = step.x
    below, above = (step.builder.constant(_along(step, bound).astype(x.dtype)) for bound in bounds)
    return step.g * (x >= below) * (x <= above)


@rule("DequantizeLinear")
def dequantize_linear(step: Step) -> Value:
    """x̄ = g: a quantised tensor stands for the numbers that it is read as."""
    return step.g


def _along(step: Step, bound: NDArray[Any]) -> NDArray[Any]:
    """A bound for everything, or one for each index of `axis`."""
    bound = np.asarray(bound)
    if bound.size == 1:
        return bound.reshape(())
    rank = step.rank(step.x)
    axis = step.attribute("axis", 1) % rank
    return bound.reshape([-1 if i == axis else 1 for i in range(rank)])


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name in ("int4", "uint4", "int2", "uint2")


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    bits = int(dtype.name[-1])
    return (0, 2**bits - 1) if dtype.name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
