"""Convolutions as channels-last frameworks export them, with transposes around."""

from __future__ import annotations

import onnx
import rewriting
from rewriting import node

NHWC = (0, 2, 3, 1)
NCHW = (0, 3, 1, 2)
HWIO = (3, 2, 0, 1)


def conv(name: str, source: str, target: str, **attributes: object) -> list[onnx.NodeProto]:
    """A convolution as an exporter from a channels-last framework writes it, with a kernel `NAME/kernel` in HWIO."""
    return [
        node("Transpose", f"{name}/kernel", f"{name}/k", perm=HWIO),
        node("Transpose", source, f"{name}/in", perm=NCHW),
        node("Conv", f"{name}/in {name}/k", f"{name}/out", **attributes),
        node("Transpose", f"{name}/out", target, perm=NHWC),
    ]


def turns(proto: onnx.ModelProto) -> int:
    return rewriting.operators(proto)["Transpose"]
