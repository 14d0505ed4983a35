"""Faults of older versions of the dependencies that tests meet; they leave out the fault, and that alone.

Each name says whether the installed version has the fault. With the newest versions nothing is left out; one whose last
bad version pyproject.toml no longer allows can go.
"""

from __future__ import annotations

import onnx
import onnxruntime
import PIL
from onnx import NodeProto


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


_ONNX, _RUNTIME, _PILLOW = (_release(one.__version__) for one in (onnx, onnxruntime, PIL))

AVERAGE_MISCOUNTS_PADS = _RUNTIME < (1, 25)
"""AveragePool with `count_include_pad` leaves pads at the ends of its axes, but for the last, out of its counts."""
FOLDING_IS_UNLIMITED = _RUNTIME < (1, 27)
"""onnxruntime does not know the limit of the constants that it computes when a session opens."""
EMPTY_REDUCTIONS_KEEP_AXES = _RUNTIME < (1, 32)
"""A reduction of a tensor without elements keeps the size of the axes that it should take to 1."""
YCBCR_TIFF_IS_CUT = _PILLOW < (13, 0)
"""Pillow cannot read the TIFF that it writes of a YCbCr picture."""


def misread_by_reference(node: NodeProto) -> bool:
    """The Conv of onnx.reference pads for VALID, and for SAME by the sizes of batch and channels."""
    return _ONNX < (1, 23) and node.op_type == "Conv" and any(one.name == "auto_pad" for one in node.attribute)
