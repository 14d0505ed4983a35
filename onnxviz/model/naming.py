"""Layer names that exporters leave in a graph: paths that the person who trained the model would recognise."""

from __future__ import annotations

import ast
import re

from onnx import NodeProto

# Written into a node's metadata by onnxviz' own converters: the source layer's path.
LAYER_KEY = "onnxviz.layer"
# Beside it, where Keras' list of layers has the layer: the n of `model.layers[n]`.
INDEX_KEY = "onnxviz.keras_index"
_TORCH_SCOPES = "pkg.torch.onnx.name_scopes"

# The last part of a weight's path that says "a weight", in Keras, PyTorch, tf2onnx, PaddlePaddle and Caffe2 exports.
_WEIGHT_WORD = re.compile(
    r"(?:kernel|weights?|weight_(?:g|v|orig)|filters?|w|depthwise_kernel|pointwise_kernel|depthwise|pointwise|gamma)"
    r"(?:_0|:0|_quantized|_quant|_int8|_fp16|_transposed)*$",
    re.IGNORECASE,
)
_CAFFE2 = re.compile(r"^(?P<parent>.+)_(?:w|weights?|kernel|filter)(?:_0|_quantized)*$", re.IGNORECASE)
# PyTorch's weights that are computed from others: `layers.0.parametrizations.weight.original1`.
_PARAMETRIZED = re.compile(r"\.parametrizations\.\w+\.original\d*$")
# tf2onnx: `model/block1_conv1/convolution/ReadVariableOp:0`, `…/Conv2D/ReadVariableOp`.
_TF_TAIL = re.compile(
    r"/(?:Conv\dD|DepthwiseConv2dNative|depthwise|separable_conv2d|convolution|conv\dd_transpose|MatMul)?"
    r"(?:_\d+)?/?(?:ReadVariableOp|read)(?:[_:]\d+)*$"
)


def layer_name(node: NodeProto, weight: str | None) -> str:
    """The layer's name, "" where nothing in the model tells.

    In this order: what our converter noted; the parent of the weight's path (`block1_conv1/kernel`,
    `layers.0.conv.weight`); the innermost module that PyTorch's exporter noted; the node's own name.

    Args:
        node: the layer's node.
        weight: name of the stored tensor that holds its weight, None where there is none.
    """
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    return (
        metadata.get(LAYER_KEY, "")
        or (weight_parent(weight) if weight else "")
        or _innermost_module(metadata.get(_TORCH_SCOPES, ""))
        or node.name
    )


def source_path(node: NodeProto) -> str:
    """The path of the source layer that our converter noted, "" where it noted none."""
    return _noted(node, LAYER_KEY)


def keras_index(node: NodeProto) -> int | None:
    """The n of Keras' `model.layers[n]` that is the source layer, as our converter noted it; None where it did not."""
    noted = _noted(node, INDEX_KEY)
    return int(noted) if re.fullmatch(r"[0-9]{1,9}", noted) else None


def _noted(node: NodeProto, key: str) -> str:
    return next((entry.value for entry in node.metadata_props if entry.key == key), "")


def weight_parent(weight: str) -> str:
    """`block1_conv1` for `block1_conv1/kernel`; "" where the name has no parent that means a layer."""
    tail = _TF_TAIL.search(weight) or _PARAMETRIZED.search(weight)
    if tail:
        return weight[: tail.start()]
    for separator in ("/", "."):
        parent, found, word = weight.rpartition(separator)
        if found and parent and _WEIGHT_WORD.match(word):
            return parent
    match = _CAFFE2.match(weight)
    return match["parent"] if match and "::" not in weight else ""


def _innermost_module(scopes: str) -> str:
    """The module path in PyTorch's `['', 'layers', 'layers.0', 'layers.0.conv', 'conv2d_1']`, last entry = the op."""
    try:
        path = ast.literal_eval(scopes) if scopes else []
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""
    if not isinstance(path, list) or len(path) < 2 or not isinstance(path[-2], str):
        return ""
    return path[-2]
