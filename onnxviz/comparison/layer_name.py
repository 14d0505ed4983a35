"""The name of a layer as two exports of one network may both have it; names that count operators are none."""

from __future__ import annotations

import re

from onnxviz.model.layer import Layer

# Words that say which operator it is, or where the file comes from, and not which layer.
_GENERIC = frozenset(
    "node op onnx model conv conv1d conv2d conv3d convolution convtranspose conv1dtranspose conv2dtranspose "
    "conv3dtranspose transpose depthwise depthwiseconv2d separable fused quant quantized gemm matmul dense "
    "linear".split()
)
# The number behind an operator that many exporters count by, as in `Conv_12`; a module `conv1` is called so.
_COUNT = re.compile(r"_\d+(?=$|[/._])")


def comparable_name(layer: Layer) -> str:
    """The layer's path without the operator's name at its end; "" where it only counts operators.

    `/layer1/layer1.0/conv1/Conv`, `layer1.0.conv1` and `/layer1/layer1.0/conv1/Conv_quant` are the same.
    """
    text = re.sub(r"_(?:quant|quantized)$", "", layer.name)
    operator = layer.op.rpartition(":")[2].lower()
    parts: list[str] = []
    for part in filter(None, text.split("/")):
        if parts and part.startswith(parts[-1] + "."):
            parts[-1] = part  # PyTorch's exporter writes the path of each module on the way
        else:
            parts.append(part)
    if len(parts) > 1 and layer.is_convolution and re.fullmatch(r"[a-z]*conv\w*", parts[-1].lower()):
        del parts[-1]
    words = re.findall(r"[a-z][a-z0-9]*", _COUNT.sub("", text.lower()))
    named = [word for word in words if word not in _GENERIC and word != operator]
    return ".".join(parts) if named else ""


def name_stem(name: str) -> str:
    """A name without its numbers."""
    return re.sub(r"\d+", "#", name)
