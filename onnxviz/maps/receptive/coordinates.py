"""Coordinate transformations of Resize: where a sample of the output lies among the input's, along one axis.

Source: the ONNX specification of Resize, `coordinate_transformation_mode` and `nearest_mode`.
"""

from __future__ import annotations

import math


def source_coordinate(mode: str, index: int, scale: float, size: int, count: int) -> float:
    """Where an output sample lies among the input's, in samples; 0 is the middle of the first.

    Args:
        mode: `coordinate_transformation_mode`; "tf_crop_and_resize" is not treated here.
        index: of the output sample.
        scale: output samples per input sample.
        size: number of input samples.
        count: number of output samples.
    """
    if mode == "asymmetric":
        return index / scale
    if mode == "align_corners":
        return index * (size - 1) / (count - 1) if count > 1 else 0.0
    if mode == "pytorch_half_pixel" and count == 1:
        return 0.0
    if mode == "half_pixel_symmetric":
        adjustment = count / (scale * size)
        return size / 2 * (1 - adjustment) + (index + 0.5) / scale - 0.5
    return (index + 0.5) / scale - 0.5


def nearest_sample(mode: str, coordinate: float) -> int:
    """The sample that `nearest_mode` takes for a coordinate; it may lie beyond the ends."""
    if mode == "floor":
        return math.floor(coordinate)
    if mode == "ceil":
        return math.ceil(coordinate)
    return math.ceil(coordinate - 0.5) if mode == "round_prefer_floor" else math.floor(coordinate + 0.5)
