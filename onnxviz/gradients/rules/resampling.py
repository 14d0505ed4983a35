"""Resize, and Upsample, which becomes one: each axis is multiplied by a matrix, and its adjoint by the transposed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxviz.gradients.builder import Value
from onnxviz.gradients.step import Step
from onnxviz.gradients.table import rule
from onnxviz.runtime.session import RunOptions, Session

# Where each of k copies of a sample comes from that sample, whatever the rounding: (coordinates, roundings).
_REPEATS = {
    "asymmetric": ("floor",),
    "half_pixel": ("round_prefer_floor", "round_prefer_ceil"),
    "pytorch_half_pixel": ("round_prefer_floor", "round_prefer_ceil"),
}


@rule("Resize")
def resize(step: Step) -> Value:
    """x̄ = Mᵀ·g along each axis that is resized.

    M is read off the operator itself, run on the unit vectors: rounding, coordinates, cubic coefficients and
    antialiasing are then what onnxruntime does. Nearest by an integer factor is a sum over each block.
    """
    policy = step.attribute("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        step.refuse(
            "attribute-unsupported", f"keep_aspect_ratio_policy='{policy}' is not supported (supported: 'stretch')"
        )
    rank = step.rank(step.x)
    axes = [axis % rank for axis in step.attribute("axes", list(range(rank)))]
    scales = _scales(step, axes)
    resized = [axis for axis in axes if not _is_kept(step, axis, scales.get(axis))]
    factor = _block(step, resized, scales, rank)
    if factor is not None:
        return step.g.op("AveragePool", kernel_shape=factor, strides=factor) * float(math.prod(factor))
    g = step.g
    for axis in resized:
        before, behind = step.sizes(step.x, [axis])[0], step.sizes(step.y, [axis])[0]
        node = _one_axis(step, axes.index(axis), len(axes), behind, scales.get(axis))
        g = step.along(g, axis, rank, lambda node=node, size=before: _matrix(node, size))  # type: ignore[misc]
    return g


def _scales(step: Step, axes: list[int]) -> dict[int, float]:
    """The scale of each axis, where scales are given."""
    if step.has(2):
        values = np.asarray(step.constant(2, "scales")).reshape(-1)
        if values.size:
            return {axis: float(value) for axis, value in zip(axes, values, strict=True)}
    return {}


def _is_kept(step: Step, axis: int, scale: float | None) -> bool:
    """Whether an axis comes out as it went in."""
    before, behind = step.dims(step.x)[axis], step.dims(step.y)[axis]
    if step.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        roi = step.constant(1, "region of interest").reshape(-1)
        here = step.attribute("axes", list(range(step.rank(step.x)))).index(axis)
        if (roi[here], roi[here + len(roi) // 2]) != (0.0, 1.0):
            return False
    if scale is not None:
        return scale == 1.0
    return before == behind and before is not None


def _block(step: Step, resized: list[int], scales: dict[int, float], rank: int) -> list[int] | None:
    """The integer factors of a nearest Resize that repeats each sample, None for any other."""
    coordinates = step.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = step.attribute("nearest_mode", "round_prefer_floor")
    if step.attribute("mode", "nearest") != "nearest" or rounding not in _REPEATS.get(coordinates, ()):
        return None
    if not resized or min(resized) < 2:
        return None
    factors = [1] * (rank - 2)
    for axis in resized:
        (before,), (behind,) = step.sizes(step.x, [axis]), step.sizes(step.y, [axis])
        factor = scales.get(axis, behind / before)
        if factor != int(factor) or behind != before * factor:
            return None
        factors[axis - 2] = int(factor)
    return factors


def _one_axis(step: Step, place: int, count: int, size: int, scale: float | None) -> dict[str, Any]:
    """What the Resize of a tensor (vectors, 1, size, 1) needs to do along axis 2 what `step` does along its own.

    Args:
        step: the Resize.
        place: the axis' place among those the node lists.
        count: how many axes the node lists.
        size: the axis' size behind it.
        scale: its scale, None where sizes are given.
    """
    attributes = {k: v for k, v in step.attributes().items() if k not in ("axes", "keep_aspect_ratio_policy")}
    inputs: dict[str, NDArray[Any]] = {}
    if attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        roi = step.constant(1, "region of interest").reshape(-1).astype(np.float32)
        start, end = roi[place], roi[place + count]
        inputs["roi"] = np.asarray([0, 0, start, 0, 1, 1, end, 1], np.float32)
    if scale is not None:
        inputs["scales"] = np.asarray([1, 1, scale, 1], np.float32)
    else:
        inputs["sizes"] = np.asarray([0, 1, size, 1], np.int64)
    return {"attributes": attributes, "inputs": inputs, "opset": step.builder.prepared.newest}


def _matrix(node: dict[str, Any], size: int) -> NDArray[Any]:
    """The matrix M (size after, size before) of one axis: the node run on the unit vectors.

    What it makes of zeros is taken off: tf_crop_and_resize fills what lies outside with a constant.
    """
    inputs = dict(node["inputs"])
    if "sizes" in inputs:
        inputs["sizes"][0] = size + 1
    names = [name if name in inputs else "" for name in ("roi", "scales", "sizes")]
    while not names[-1]:
        names.pop()
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", *names], ["y"], **node["attributes"])],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size + 1, 1, size, 1])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(value, name) for name, value in inputs.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node["opset"])], ir_version=8)
    units = np.concatenate([np.eye(size, dtype=np.float32), np.zeros((1, size), np.float32)])
    session = Session(proto, Path(), "a Resize along one axis", RunOptions(threads=1))
    (rows,) = session.run(["y"], {"x": units.reshape(size + 1, 1, size, 1)})
    rows = rows.reshape(size + 1, -1)
    return np.asarray((rows[:-1] - rows[-1]).T)
